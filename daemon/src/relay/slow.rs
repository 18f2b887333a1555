//! `slow-request`: a line about a request that has run for long, while it runs, and one at its end.

use std::time::Duration;

use stockade_policy::{Time, dispatch::RequestKey};

use super::pool::State;

/// Requests of a pool that are told of in one second.
const MOST: u32 = 10;

/// How many were told of in this second.
#[derive(Debug, Default)]
pub(super) struct SlowLines {
    since: Option<Time>,
    told: u32,
    silent: u64,
}

impl SlowLines {
    /// Whether one more may be told of; and how many were not before it.
    fn next(&mut self, now: Time) -> Option<u64> {
        if self
            .since
            .is_none_or(|since| now.since(since).as_secs() >= 1)
        {
            self.since = Some(now);
            self.told = 0;
        }
        if self.told == MOST {
            self.silent += 1;
            return None;
        }
        self.told += 1;
        Some(std::mem::take(&mut self.silent))
    }
}

impl State {
    /// It has run for `slow-request`, and goes on.
    pub(super) fn note_slow(&mut self, key: RequestKey) {
        let now = self.clock.now();
        let Some(silent) = self.slow_lines.next(now) else {
            return;
        };
        let (title, worker, name) = (self.title(key), self.last_worker(key), self.name());
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        request.seen.slow = true;
        let runs = seconds(now.since(request.handed_out));
        let waited = seconds(request.seen.waited.unwrap_or_default());
        let more = match silent {
            0 => String::new(),
            _ => format!(" ({silent} more slow requests were not told of)"),
        };
        tracing::warn!(
            "pool {name}: request {title} is slow: it has run for {runs} in {worker}, after {waited} in the queue{more}"
        );
        self.want_stacks_of_slow(key);
    }

    /// It is about to be forgotten.
    pub(super) fn end_slow(&mut self, key: RequestKey) {
        let Some(request) = self.requests.get_mut(key).filter(|it| it.seen.slow) else {
            return;
        };
        request.seen.slow = false;
        let runs = seconds(self.clock.now().since(request.handed_out));
        let (title, worker, name) = (self.title(key), self.last_worker(key), self.name());
        tracing::warn!(
            "pool {name}: slow request {title} has ended: it ran for {runs} in {worker}"
        );
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_slow_requests_is_a_few_lines_a_second() {
        let mut lines = SlowLines::default();
        let at = |milliseconds| Time::new(Duration::from_millis(milliseconds));
        let told = (0..500).filter(|number| lines.next(at(*number)).is_some());
        assert_eq!(told.count(), 10);
        assert_eq!(lines.next(at(1000)), Some(490));
        assert_eq!(lines.next(at(1001)), Some(0));
    }
}
