//! How the pool is used, for supervision, which scales it: how many workers are busy at once, and who waits for want of one.
//!
//! A report is made at once when more are busy than were told of, when requests have waited for `scale.queue-wait` (again each such time
//! while they do), and at the end of a window of `scale.idle-timeout` when fewer were busy in all of it: the low-water mark. A pool at rest
//! of which that was told has no timer, and one whose number of workers is fixed nothing of all this.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::machine::Dispatch;
use super::queue::Lane;
use super::vocabulary::Action;
use super::workers::Standing;
use crate::Time;

/// `scale`, as far as dispatch needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    /// `maximum`: with so many workers nobody is told of who waits.
    pub maximum: u32,
    /// `queue-wait`; not zero.
    pub queue_wait: Duration,
    /// `idle-timeout`; not zero.
    pub idle_timeout: Duration,
}

/// What was told, and what is to be told.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Load {
    /// The most workers that were busy at once since the window began.
    peak: u32,
    /// The most, as told last.
    told: u32,
    /// When the window ends.
    window: Option<Time>,
    /// Something came of which supervision is to hear how it is used, even when that is as little as before: a worker, other keys.
    owed: bool,
    /// When it was told last that requests wait.
    told_waiting: Option<Time>,
    /// So many workers are to be shed as they become idle, until then.
    to_shed: Option<(u32, Time)>,
}

/// What was asked for is forgotten before supervision asks again.
const SHED_WITHIN: Duration = Duration::from_secs(4);

impl Dispatch {
    /// A worker came, or not all could be shed: a report is due at the end of a window.
    pub(super) const fn owe_report(&mut self) {
        self.load.owed = true;
    }

    /// Other keys: what was told of before does not count.
    pub(super) fn forget_load(&mut self) {
        self.load = Load {
            owed: true,
            to_shed: self.load.to_shed,
            ..Load::default()
        };
    }

    /// So many idle workers are to be taken out of rotation: those there are, and the next ones that have nothing to do. What was asked
    /// before does not count any more.
    pub(super) fn pool_shed(&mut self, count: u32, now: Time) {
        self.load.to_shed = Some((count, now.after(SHED_WITHIN)));
        self.shed_idle(now);
        if self.load.to_shed.is_some() {
            self.owe_report();
        }
    }

    /// Takes idle workers out of rotation that are to go, the longest unused first. A busy one is never among them, nor one that something
    /// waits for; part of every entry, behind what is handed out.
    pub(super) fn shed_idle(&mut self, now: Time) {
        let due = self.load.to_shed.take();
        let Some((mut left, until)) = due.filter(|(_, until)| *until > now) else {
            return;
        };
        while left > 0
            && let Some(place) = self.workers.longest_unused()
        {
            left = left.saturating_sub(1);
            self.workers.enter(place, Standing::SetAside);
            if let Some(worker) = self.workers.at(place) {
                let worker = worker.id;
                self.act(Action::ReportShed { worker });
            }
        }
        self.load.to_shed = (left > 0).then_some((left, until));
        // those that went are not missed for having been busy once
        let most = self.workers.offered();
        self.load.peak = self.load.peak.min(most);
        self.load.told = self.load.told.min(most);
    }

    /// Tells what is to be told at this time; part of every entry.
    pub(super) fn report_load(&mut self, now: Time) {
        let Some(scale) = self.reported_scale() else {
            return;
        };
        let busy = self.workers.busy();
        let Load { told, owed, .. } = self.load;
        self.load.peak = self.load.peak.max(busy);
        let over = self.load.window.is_some_and(|end| end <= now);
        let waits = self.waits_long(scale, now).is_some_and(|at| at <= now);
        let tell = if busy > told {
            Some(busy)
        } else if over && (self.load.peak < told || owed) {
            Some(self.load.peak)
        } else {
            waits.then_some(told)
        };
        if over || busy > told {
            self.load.window = None;
            self.load.peak = busy;
            self.load.owed = owed && !over;
        }
        if let Some(busy) = tell {
            self.tell_load(busy, scale, now);
        }
        if self.load.window.is_none() && (self.load.owed || self.load.told > 0) {
            self.load.window = Some(now.after(scale.idle_timeout));
        }
    }

    /// When there is something to tell, unless something happens before.
    pub(super) fn next_load_report(&self) -> Option<Time> {
        let scale = self.reported_scale()?;
        let begins = (self.load.owed && self.load.window.is_none()).then_some(self.latest);
        [
            self.load.window,
            self.waits_long(scale, self.latest),
            begins,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// None: the number of workers is fixed, or another relay tells.
    fn reported_scale(&self) -> Option<Scale> {
        self.settings.scale.filter(|_| !self.leases.taken_over)
    }

    fn tell_load(&mut self, busy: u32, scale: Scale, now: Time) {
        let waiting = self.long_waiting(scale, now);
        if waiting > 0 {
            self.load.told_waiting = Some(now);
        }
        self.load.told = busy;
        self.act(Action::ReportUsed { busy, waiting });
    }

    /// Requests of another relay that want a slot have waited already.
    const fn wanted_elsewhere(&self) -> u32 {
        self.leases.wanted()
    }

    /// When it is to be told that requests wait; the past: at once. None: none does, or there cannot be more workers.
    fn waits_long(&self, scale: Scale, now: Time) -> Option<Time> {
        let waiting = self.queue.length() > 0 || self.wanted_elsewhere() > 0;
        if !waiting || self.workers.offered() >= scale.maximum {
            return None;
        }
        let at_once = self.workers.offered() == 0 || self.wanted_elsewhere() > 0;
        let since = match self.oldest() {
            Some(oldest) if !at_once => oldest.after(scale.queue_wait),
            Some(_) | None => now,
        };
        let again = self.load.told_waiting.map(|at| at.after(scale.queue_wait));
        Some(again.map_or(since, |again| again.max(since)))
    }

    /// Requests that have waited for `queue-wait`, or for the first worker; no more than can have any consequence.
    fn long_waiting(&self, scale: Scale, now: Time) -> u32 {
        let any = self.workers.offered() == 0;
        let most = scale.maximum as usize;
        let long = |place: &u32| {
            let since = self.requests.queued_since(*place);
            any || since.is_some_and(|since| since.after(scale.queue_wait) <= now)
        };
        let waiting: usize = Lane::ALL
            .into_iter()
            .map(|lane| self.queue.iter(lane).take(most).take_while(long).count())
            .sum();
        u32::try_from(waiting)
            .unwrap_or(u32::MAX)
            .saturating_add(self.wanted_elsewhere())
            .min(scale.maximum)
    }
}
