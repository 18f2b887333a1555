//! `slow-request`: who has run for long is told of once, while it runs.
//!
//! As with `request-timeout`, running requests are looked through only when `next_slow` has come: most requests end unseen.

use super::chain::Place;
use super::machine::Dispatch;
use super::requests::Request;
use super::vocabulary::Action;
use crate::Time;

impl Dispatch {
    /// A request was handed out.
    pub(super) fn expect_slow(&mut self, place: Place) {
        if let Some(slow) = self.requests.at(place).and_then(|it| self.slow_at(it)) {
            self.next_slow = Some(self.next_slow.map_or(slow, |at| at.min(slow)));
        }
    }

    /// Tells of every request that has run for `slow-request`.
    pub(super) fn note_slow(&mut self, now: Time) {
        if self.next_slow.is_none_or(|check| now < check) {
            return;
        }
        for worker in self.workers.places() {
            let mut position = 0;
            while let Some(place) = self.place_at(worker, position) {
                position = position.saturating_add(1);
                if let Some(request) = self.requests.at(place)
                    && self.slow_at(request).is_some_and(|slow| slow <= now)
                {
                    let request = request.key;
                    if let Some(known) = self.requests.at_mut(place) {
                        known.told_slow = true;
                    }
                    self.act(Action::NoteSlow { request });
                }
            }
        }
        self.next_slow = self.earliest_slow();
    }

    /// When the next of those that run is slow.
    pub(super) fn earliest_slow(&self) -> Option<Time> {
        self.workers
            .iter()
            .flat_map(|(_, worker)| &worker.running)
            .filter_map(|place| self.slow_at(self.requests.at(*place)?))
            .min()
    }

    /// When the request is to be told of; None: it does not run, or was told of.
    fn slow_at(&self, request: &Request) -> Option<Time> {
        let run = request
            .run()
            .filter(|run| !request.told_slow && !run.over())?;
        self.settings.slow_request.deadline(run.since)
    }

    fn place_at(&self, worker: Place, position: usize) -> Option<Place> {
        self.workers.at(worker)?.running.get(position).copied()
    }
}
