//! What a pool was told, by the laws' own reckoning.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use stockade_policy::supervision::{Scale, Settings};
use stockade_policy::{Generation, PoolState, Time};

/// After this long the relay is not expected to answer any more.
const SHED_OVER: Duration = Duration::from_secs(5);

pub(super) struct Pool {
    pub(super) settings: BTreeMap<Generation, Settings>,
    /// For the next generation.
    pub(super) changed: Option<Settings>,
    /// An operator's scale.
    pub(super) scaled: Option<Scale>,
    pub(super) standing: Standing,
    pub(super) accepted: Generation,
    pub(super) newest: Generation,
    pub(super) state: Option<PoolState>,
    /// By the machine.
    pub(super) wanted: u32,
    /// What the relay told last.
    pub(super) used: Option<Used>,
    /// What the relay was asked to shed and has not, and when.
    asked: u32,
    asked_at: Time,
    /// More than there were above those wanted: to make room for others.
    for_others: bool,
    /// By the backoffs that were announced.
    pub(super) not_before: Time,
    /// A reload was asked for while no worker was ready: it may be accepted at once.
    pub(super) down: bool,
    pub(super) finished: BTreeSet<Generation>,
    pub(super) abandoned: BTreeSet<Generation>,
    /// Workers started of a generation before it was accepted.
    pub(super) tried: BTreeMap<Generation, u32>,
    pub(super) ready_once: BTreeSet<Generation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Runs,
    Halted,
    Removed,
    Forgotten,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    busy: u32,
    waiting: u32,
    /// No growth goes beyond.
    most: u32,
    /// It has made room for others since: those that were busy may be fewer.
    gave_up: bool,
}

impl Pool {
    pub(super) fn new(settings: &Settings) -> Self {
        let first = Generation(1);
        Self {
            settings: BTreeMap::from([(first, settings.clone())]),
            changed: None,
            scaled: None,
            standing: Standing::Runs,
            accepted: first,
            newest: first,
            state: None,
            wanted: 0,
            used: None,
            asked: 0,
            asked_at: Time::default(),
            for_others: false,
            not_before: Time::default(),
            down: false,
            finished: BTreeSet::new(),
            abandoned: BTreeSet::new(),
            tried: BTreeMap::new(),
            ready_once: BTreeSet::new(),
        }
    }

    pub(super) fn is_there(&self) -> bool {
        matches!(self.standing, Standing::Runs | Standing::Halted)
    }

    pub(super) fn runs(&self) -> bool {
        self.standing == Standing::Runs
    }

    pub(super) fn keys(&self) -> &Settings {
        &self.settings[&self.accepted]
    }

    pub(super) fn scale(&self) -> Scale {
        self.scaled.unwrap_or_else(|| self.keys().scale)
    }

    /// It is to have no worker from here on.
    pub(super) fn empty(&mut self, standing: Standing) {
        self.standing = standing;
        self.used = None;
        self.asked = 0;
    }

    pub(super) fn reload(&mut self, down: bool) {
        let pending = !self.abandoned.contains(&self.newest);
        let base = if pending { self.newest } else { self.accepted };
        let settings = self.changed.take();
        let settings = settings.unwrap_or_else(|| self.settings[&base].clone());
        self.newest = Generation(self.newest.0 + 1);
        self.settings.insert(self.newest, settings);
        self.down = down;
    }

    /// The generation that new keys are of at once: the one that is to take over, or serves.
    pub(super) fn adjustable(&self) -> Generation {
        if self.abandoned.contains(&self.newest) {
            self.accepted
        } else {
            self.newest
        }
    }

    pub(super) fn adjust(&mut self, settings: &Settings) {
        self.changed = None;
        let generation = self.adjustable();
        let before = self.settings.insert(generation, settings.clone());
        if before.is_none_or(|before| before.scale != settings.scale) {
            self.scaled = None;
        }
        if self.scale().is_static() {
            self.used = None;
        }
    }

    pub(super) fn accept(&mut self, generation: Generation) {
        self.accepted = generation;
        self.not_before = Time::default();
        self.scaled = None;
        if self.scale().is_static() {
            self.used = None;
        }
    }

    pub(super) fn told(&mut self, busy: u32, waiting: u32, useful: u32) {
        if self.runs() && !self.scale().is_static() {
            let most = useful + useful.max(1);
            self.used = Some(Used {
                busy,
                waiting,
                most,
                gave_up: false,
            });
        }
    }

    /// What is wanted is within the scale, what is used and spare, and at most double for what waits.
    pub(super) fn wants(&self, wanted: u32) {
        let scale = self.scale();
        let within = |count: u32| count.min(scale.maximum).max(scale.minimum);
        let used = within(self.used.map_or(0, |used| used.busy) + scale.spare);
        let least = match self.used {
            Some(Used { gave_up: true, .. }) => scale.minimum,
            _ => used,
        };
        let most = match self.used {
            Some(known) if known.waiting > 0 => used.max(within(known.most)),
            _ => used,
        };
        assert!(
            (least..=most).contains(&wanted),
            "{wanted} wanted, not {least}..{most}: {:?} of {scale:?}",
            self.used
        );
    }

    /// `ready`: before.
    pub(super) fn ask_to_shed(&mut self, count: u32, ready: usize, limited: bool, now: Time) {
        let ready = u32::try_from(ready).expect("few");
        let over = now >= self.asked_at.after(SHED_OVER);
        assert!(self.asked == 0 || over, "asked twice");
        assert!(count > 0 && self.runs());
        let above = count <= ready.saturating_sub(self.wanted);
        let gives_up = limited && count == 1 && ready > self.scale().minimum;
        assert!(above || gives_up, "{count} of {ready} are too many");
        self.for_others = !above;
        self.asked = count;
        self.asked_at = now;
    }

    pub(super) fn shed(&mut self) {
        self.asked = self.asked.saturating_sub(1);
        if let Some(used) = self.used.as_mut().filter(|_| self.for_others) {
            used.gave_up = true;
        }
    }
}
