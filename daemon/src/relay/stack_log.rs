//! Stacks in the log: where a request is that is slow, or whose time is over. The supervisor is asked before it hears that the time is over, so
//! that the worker is still at the request when it is told to tell; nothing waits for the answer.

use std::{collections::BTreeMap, time::Duration};

use stockade_policy::{Time, WorkerId, dispatch::RequestKey};

use super::pool::State;
use crate::control::{
    FromRelay,
    stacks::{Source, Thread, WorkerStacks},
};

/// A worker is asked once in this time for slow requests.
const PAUSE: Duration = Duration::from_secs(5);
/// Requests that one answer is looked through for.
const REQUESTS: usize = 20;
/// Lines of one answer that are written.
const LINES: usize = 100;

/// Workers that were asked lately.
#[derive(Debug, Default)]
pub(super) struct StackLog(BTreeMap<WorkerId, Asked>);

#[derive(Debug)]
struct Asked {
    at: Time,
    /// The names of the requests because of which it was.
    requests: Vec<String>,
}

impl StackLog {
    /// Whether the worker is to be asked about this request; not when it was within `pause`.
    fn wants(&mut self, worker: WorkerId, request: String, pause: Duration, now: Time) -> bool {
        self.0.retain(|_, asked| now.since(asked.at) < PAUSE);
        let asked = self.0.entry(worker);
        let fresh = matches!(asked, std::collections::btree_map::Entry::Vacant(_));
        let asked = asked.or_insert_with(|| Asked {
            at: now,
            requests: Vec::new(),
        });
        if asked.requests.len() == REQUESTS {
            asked.requests.remove(0);
        }
        asked.requests.push(request);
        if fresh || now.since(asked.at) >= pause {
            asked.at = now;
            return true;
        }
        false
    }

    /// The requests because of which it was asked.
    fn requests_of(&mut self, worker: WorkerId) -> Vec<String> {
        let asked = self.0.get_mut(&worker);
        asked.map_or_else(Vec::new, |asked| std::mem::take(&mut asked.requests))
    }
}

impl State {
    /// The request is slow: the log is to say where it is.
    pub(super) fn want_stacks_of_slow(&mut self, key: RequestKey) {
        self.want_stacks(key, PAUSE);
    }

    /// The request's time is over: the log is to say where it was.
    pub(super) fn want_stacks_of_late(&mut self, key: RequestKey) {
        self.want_stacks(key, Duration::from_secs(1));
    }

    fn want_stacks(&mut self, key: RequestKey, pause: Duration) {
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        let (name, Some(worker)) = (request.name().into_owned(), request.worker) else {
            return;
        };
        // other programs have nothing to tell
        let tells = self.workers.get(&worker).is_some_and(|known| known.tells);
        let now = self.clock.now();
        if tells && self.stack_log.wants(worker, name, pause, now) {
            self.say(FromRelay::StacksWanted(worker));
        }
    }

    /// What the threads of a worker are doing goes to the log.
    pub(super) fn log_stacks(&mut self, told: &WorkerStacks) {
        let requests = self.stack_log.requests_of(told.worker);
        let (pool, worker, pid) = (&told.pool, told.worker, told.pid);
        let all = lines(told, &requests);
        for line in all.iter().take(LINES) {
            tracing::warn!("pool {pool}: worker {worker} (pid {pid}): {line}");
        }
        if let Some(more) = all.len().checked_sub(LINES).filter(|more| *more > 0) {
            tracing::warn!(
                "pool {pool}: worker {worker} (pid {pid}): and {more} lines more, which `stockade stacks {worker}` shows"
            );
        }
    }
}

/// What is written of it: the paragraphs about these requests, or all where there are none.
fn lines(told: &WorkerStacks, requests: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    match told.source {
        Source::Python | Source::Worker => {}
        Source::PythonWithoutLock => lines.push(
            "its interpreter's lock could not be had for 1 s; without it, its threads are here:"
                .to_owned(),
        ),
        Source::Kernel => lines.push(format!(
            "what the kernel says of its threads, for {}:",
            told.why.as_deref().unwrap_or("it does not answer")
        )),
    }
    lines.extend(told.threads.iter().map(Thread::line));
    let paragraphs: Vec<&str> = told.text.split("\n\n").collect();
    let meant = |paragraph: &&&str| {
        let title = paragraph.lines().next().unwrap_or_default();
        let named = |request: &String| title.contains(&format!("(request {request})"));
        requests.iter().any(named)
    };
    let chosen: Vec<&&str> = paragraphs.iter().filter(meant).collect();
    let chosen = if chosen.is_empty() {
        paragraphs.iter().collect()
    } else {
        chosen
    };
    let text = chosen.into_iter().flat_map(|paragraph| paragraph.lines());
    lines.extend(text.map(str::to_owned));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(source: Source, text: &str) -> WorkerStacks {
        WorkerStacks {
            pool: "app".to_owned(),
            worker: WorkerId(1),
            pid: 7,
            requests: Vec::new(),
            source,
            text: text.to_owned(),
            why: Some("it does not answer".to_owned()),
            threads: Vec::new(),
        }
    }

    #[test]
    fn the_paragraphs_about_the_requests_are_chosen() {
        let text = "thread main waits\n\nthread a: GET / (request r-1), 1 s\n  File 1\n\nthread b: GET / (request r-12), 1 s\n  File 2";
        let told = told(Source::Python, text);
        let of = |request: &str| lines(&told, &[request.to_owned()]);
        assert_eq!(
            of("r-1"),
            ["thread a: GET / (request r-1), 1 s", "  File 1"]
        );
        // one that has left the worker meanwhile
        assert_eq!(of("r-2").len(), 5);
    }

    #[test]
    fn of_a_silent_worker_it_is_said_why_the_kernel_tells() {
        let lines = lines(&told(Source::Kernel, ""), &[]);
        assert_eq!(
            lines,
            ["what the kernel says of its threads, for it does not answer:"]
        );
    }

    #[test]
    fn a_worker_is_asked_once_in_a_while() {
        let mut log = StackLog::default();
        let at = |seconds| Time::new(Duration::from_secs(seconds));
        let mut wants = |worker, seconds, pause: u64| {
            let pause = Duration::from_secs(pause);
            log.wants(WorkerId(worker), format!("r-{seconds}"), pause, at(seconds))
        };
        assert!(wants(1, 0, 5));
        assert!(!wants(1, 2, 5));
        assert!(wants(2, 2, 5));
        assert!(wants(1, 3, 1));
        assert!(!wants(1, 3, 1));
        assert!(!wants(1, 6, 5));
        assert_eq!(log.requests_of(WorkerId(2)), ["r-2"]);
        assert!(log.requests_of(WorkerId(2)).is_empty());
        let pause = Duration::from_secs(5);
        assert!(log.wants(WorkerId(1), "r-8".to_owned(), pause, at(8)));
        // the latest are kept
        for number in 0..30 {
            log.wants(WorkerId(1), format!("r-{number}"), pause, at(9));
        }
        let requests = log.requests_of(WorkerId(1));
        assert_eq!((requests.len(), &*requests[19]), (REQUESTS, "r-29"));
    }
}
