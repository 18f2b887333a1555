//! The way of an access log's lines to its file: a thread beside the pool's writes them, as many at a time as have come together.
//!
//! What waits is bounded. A disk that is full, or a pipe that nobody reads, costs lines, which are counted and told of, never a
//! request. The file may be another from any moment on. The lock between the two threads is held while bytes are copied or two
//! buffers change places, never while something is written.

use std::{
    fs::File,
    io::{self, Write as _},
    mem,
    os::fd::OwnedFd,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::Duration,
};

use stockade_policy::Time;

use crate::clock::Clock;

/// What may wait for the file. In bytes.
const WAITING: usize = 1024 * 1024;
/// A buffer that grew beyond this is given back. In bytes.
const KEPT: usize = 64 * 1024;
/// Lost lines are told of once in this long.
const PAUSE: Duration = Duration::from_secs(10);

/// Every log of the process, to be waited for at its end.
static ALL: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

/// Where lines go in. When it is dropped, what waits is still written.
#[derive(Debug)]
pub(super) struct Lines(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pool: String,
    clock: Clock,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// What is to be written to from here on.
    next: Option<File>,
    /// Something is being written.
    writing: bool,
    /// No more lines come.
    closed: bool,
    losses: Losses,
}

/// Lines that were not written, and are not told of yet.
#[derive(Debug, Default)]
struct Losses {
    lines: u64,
    /// Of the last of them.
    why: String,
    told: Option<Time>,
}

impl Lines {
    /// A log of `pool` without a file yet: what comes before there is one waits.
    pub(super) fn start(pool: &str, clock: Clock) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            pool: pool.to_owned(),
            clock,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let writer = Arc::clone(&shared);
        thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || writer.run())?;
        let mut all = lock(&ALL);
        all.retain(|log| log.strong_count() > 0);
        all.push(Arc::downgrade(&shared));
        Ok(Self(shared))
    }

    /// What waits, and what comes, is written to this file.
    pub(super) fn write_to(&self, file: OwnedFd) {
        lock(&self.0.state).next = Some(file.into());
        self.0.changed.notify_all();
    }

    /// One line, its end included.
    pub(super) fn push(&self, line: &[u8]) {
        let shared = &*self.0;
        let mut state = lock(&shared.state);
        if state.waiting.len() + line.len() > WAITING {
            shared.lose(state, 1, "it does not take them fast enough");
            return;
        }
        let first = state.waiting.is_empty();
        state.waiting.extend_from_slice(line);
        drop(state);
        if first {
            shared.changed.notify_all();
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        lock(&self.0.state).closed = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn run(&self) {
        let mut file: Option<File> = None;
        let mut lines = Vec::new();
        let mut torn = false;
        loop {
            let mut state = self.wait(file.is_some());
            if let Some(next) = state.next.take() {
                (file, torn) = (Some(next), false);
            }
            if state.closed && (file.is_none() || state.waiting.is_empty()) {
                state.waiting.clear();
                self.changed.notify_all();
                return;
            }
            let Some(open) = file.as_mut().filter(|_| !state.waiting.is_empty()) else {
                continue;
            };
            mem::swap(&mut state.waiting, &mut lines);
            state.writing = true;
            drop(state);
            let written = write(open, &lines, &mut torn);
            lines.clear();
            if lines.capacity() > KEPT {
                lines = Vec::new();
            }
            let mut state = lock(&self.state);
            state.writing = false;
            match written {
                Ok(()) => self.tell(state),
                Err((lost, error)) => self.lose(state, lost, &error.to_string()),
            }
            self.changed.notify_all();
        }
    }

    /// Waits for something to do.
    fn wait(&self, open: bool) -> MutexGuard<'_, State> {
        let idle = |state: &mut State| {
            let lines = !state.waiting.is_empty() && open;
            !lines && state.next.is_none() && !state.closed
        };
        self.changed
            .wait_while(lock(&self.state), idle)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts lost lines.
    fn lose(&self, mut state: MutexGuard<'_, State>, lines: u64, why: &str) {
        state.losses.lines += lines;
        why.clone_into(&mut state.losses.why);
        self.tell(state);
    }

    /// Tells of lost lines, unless it has just done so.
    fn tell(&self, mut state: MutexGuard<'_, State>) {
        let losses = &mut state.losses;
        if losses.lines == 0 {
            return;
        }
        let now = self.clock.now();
        if losses.told.is_some_and(|told| now.since(told) < PAUSE) {
            return;
        }
        losses.told = Some(now);
        let (lines, why) = (mem::take(&mut losses.lines), losses.why.clone());
        drop(state);
        tracing::warn!(
            "pool {}: {lines} lines of the access log lost since the last such line: {why}",
            self.pool
        );
    }
}

/// Waits, for no longer than `limit`, until every log has written what it had.
pub(super) fn finish(limit: Duration) {
    let clock = Clock::start();
    let logs: Vec<_> = lock(&ALL).iter().filter_map(Weak::upgrade).collect();
    for log in logs {
        let left = limit.saturating_sub(clock.now().since_origin());
        let busy = |state: &mut State| state.writing || !state.waiting.is_empty();
        // what is not written by then is lost
        drop(log.changed.wait_timeout_while(lock(&log.state), left, busy));
    }
}

/// How many lines were not written, and why. `torn`: the last line in the file has no end.
fn write(file: &mut File, lines: &[u8], torn: &mut bool) -> Result<(), (u64, io::Error)> {
    let mut rest = lines;
    if *torn {
        file.write_all(b"\n")
            .map_err(|error| (count(rest), error))?;
        *torn = false;
    }
    while !rest.is_empty() {
        match file.write(rest) {
            Ok(0) => return Err((count(rest), io::ErrorKind::WriteZero.into())),
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let whole = lines.len() - rest.len();
                *torn = whole > 0 && lines[whole - 1] != b'\n';
                return Err((count(rest), error));
            }
        }
    }
    Ok(())
}

fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

/// A thread that panicked has left whole lines behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{io::Read as _, os::unix::net::UnixStream};

    use super::*;

    fn log() -> Lines {
        Lines::start("blog", Clock::start()).unwrap()
    }

    /// A file, and what has been written to it.
    fn pipe() -> (OwnedFd, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (ours.into(), theirs)
    }

    fn read_line(source: &mut UnixStream) -> String {
        let (mut line, mut byte) = (Vec::new(), [0]);
        while source.read_exact(&mut byte).is_ok() && byte != *b"\n" {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn lines_wait_for_a_file_and_go_to_the_one_that_came_last() {
        let log = log();
        log.push(b"one\n");
        let (first, mut read_first) = pipe();
        log.write_to(first);
        assert_eq!(read_line(&mut read_first), "one");
        let (second, mut read_second) = pipe();
        log.write_to(second);
        log.push(b"two\n");
        assert_eq!(read_line(&mut read_second), "two");
        // the first file is closed
        assert_eq!(read_first.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn what_waits_is_written_when_the_log_is_let_go_of() {
        let log = log();
        let (file, mut read) = pipe();
        for number in 0..100 {
            log.push(format!("{number}\n").as_bytes());
        }
        log.write_to(file);
        drop(log);
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        assert_eq!(text.lines().count(), 100);
    }

    #[test]
    fn what_nobody_reads_is_bounded_and_counted() {
        let log = log();
        let line = [[b'x'; 1023].as_slice(), b"\n"].concat();
        for _ in 0..2000 {
            log.push(&line);
        }
        let state = lock(&log.0.state);
        assert_eq!(state.waiting.len(), WAITING);
        // the first was told of at once
        assert_eq!(state.losses.lines, 2000 - 1024 - 1);
    }

    #[test]
    fn the_end_waits_for_what_waits_but_not_for_ever() {
        let log = log();
        let (file, mut read) = pipe();
        let lines = [[b'x'; 1023].as_slice(), b"\n"].concat().repeat(1000);
        log.push(&lines);
        log.write_to(file);
        // nobody reads
        finish(Duration::from_millis(10));
        assert!(lock(&log.0.state).writing);
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            read.read_to_end(&mut all).unwrap();
            all.len()
        });
        finish(Duration::from_secs(60));
        assert!(!lock(&log.0.state).writing);
        drop(log);
        assert_eq!(reader.join().unwrap(), lines.len());
    }

    #[test]
    fn a_file_that_takes_nothing_costs_lines_and_nothing_else() {
        let log = log();
        log.write_to(File::create("/dev/full").unwrap().into());
        log.push(b"one\ntwo\n");
        finish(Duration::from_secs(60));
        assert!(lock(&log.0.state).losses.told.is_some());
        let (file, mut read) = pipe();
        log.write_to(file);
        log.push(b"three\n");
        assert_eq!(read_line(&mut read), "three");
    }
}
