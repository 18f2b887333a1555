//! What a program under test writes, line by line, collected as it comes.

use std::{
    io::{BufRead, BufReader, Read},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use super::deadline::{DEADLINE, now};

/// The lines so far; a clone sees the same lines.
#[derive(Clone, Default)]
pub(crate) struct Log {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

impl Log {
    /// Collects what `source` yields until it ends.
    pub(crate) fn follow(source: impl Read + Send + 'static) -> Self {
        let log = Self::default();
        let collector = log.clone();
        thread::spawn(move || collector.collect(source));
        log
    }

    /// The first line that contains every one of `words`; waits for it.
    pub(crate) fn wait(&self, words: &[&str]) -> String {
        self.wait_times(1, words).swap_remove(0)
    }

    /// Waits for `times` such lines.
    pub(crate) fn wait_times(&self, times: usize, words: &[&str]) -> Vec<String> {
        let start = now();
        let mut lines = self.lines();
        loop {
            let found = matching(&lines, words);
            if found.len() >= times {
                return found;
            }
            let left = DEADLINE.saturating_sub(start.elapsed());
            assert!(
                !left.is_zero(),
                "waited in vain for {times} line(s) with {words:?} in the log:\n{}",
                lines.join("\n")
            );
            lines = self
                .shared
                .grown
                .wait_timeout(lines, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// The lines so far that contain every one of `words`.
    pub(crate) fn matching(&self, words: &[&str]) -> Vec<String> {
        matching(&self.lines(), words)
    }

    /// Everything so far.
    pub(crate) fn text(&self) -> String {
        self.lines().join("\n")
    }

    fn collect(&self, source: impl Read) {
        let mut source = BufReader::new(source);
        let mut line = Vec::new();
        while matches!(source.read_until(b'\n', &mut line), Ok(length) if length > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            self.lines().push(text);
            self.shared.grown.notify_all();
        }
    }

    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        // a failed assertion elsewhere leaves the lines as they were
        self.shared
            .lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn matching(lines: &[String], words: &[&str]) -> Vec<String> {
    lines
        .iter()
        .filter(|line| words.iter().all(|word| line.contains(word)))
        .cloned()
        .collect()
}
