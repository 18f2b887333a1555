//! What the relay was asked to take out of rotation, and has not.
//!
//! One request is out at a time: two at once would take more than there is above what is wanted. The relay takes only
//! what is idle, and may die before it answers, so a request is over after a while and the rest may be asked for again.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Time;

/// A relay that has an idle worker answers at once.
const OVER: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Shedding {
    /// How many are to come, and when that is over.
    asked: Option<(u32, Time)>,
    /// It is for other pools.
    for_others: bool,
    /// The last request was over before it was answered: none was idle.
    in_vain: bool,
}

impl Shedding {
    pub(super) fn ask(&mut self, count: u32, for_others: bool, now: Time) {
        self.for_others = for_others;
        self.asked = Some((count, now.after(OVER)));
    }

    /// The relay has taken one. True: to make room for others.
    pub(super) fn answered(&mut self) -> bool {
        self.in_vain = false;
        self.asked = self.asked.and_then(|(count, until)| {
            let left = count.checked_sub(1).filter(|left| *left > 0)?;
            Some((left, until))
        });
        self.for_others
    }

    pub(super) fn expire(&mut self, now: Time) {
        if self.asked.take_if(|(_, until)| *until <= now).is_some() {
            self.in_vain = true;
        }
    }

    pub(super) const fn was_in_vain(&self) -> bool {
        self.in_vain
    }

    /// The use of the pool has changed: another may be idle.
    pub(super) const fn hope(&mut self) {
        self.in_vain = false;
    }

    pub(super) fn expected(&self) -> u32 {
        self.asked.map_or(0, |(count, _)| count)
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.asked.map(|(_, until)| until)
    }
}
