//! What workers write to standard output and standard error: line by line to the log, with pool, worker and pid. The last lines are
//! kept, for those who ask what a worker died of.

use std::{
    collections::VecDeque,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use stockade_policy::{PoolId, WorkerId};
use tokio::{io::AsyncReadExt, net::unix::pipe, sync::watch, task::yield_now};

/// A longer line is cut into lines of this many bytes, so that a line of the log is written in one piece.
const LINE_LIMIT: usize = 3500;
/// Bytes taken in one read.
const READ_SIZE: usize = 8 * 1024;
/// Bytes after which others of the thread have their turn: each may be a line, and who writes without a pause would have them wait.
const TURN_SIZE: usize = 512;

/// What a worker writes to, as the log has it.
const STREAMS: [&str; 2] = ["stdout", "stderr"];

/// Lines that are kept of a worker, and characters of each.
const LAST_LINES: usize = 20;
const LAST_LINE: usize = 500;

/// The last lines that a worker has written. Written by who reads its pipes, read by who is asked for the status.
#[derive(Clone, Debug, Default)]
pub(super) struct LastLines(Arc<Kept>);

#[derive(Debug, Default)]
struct Kept {
    lines: Mutex<VecDeque<String>>,
    /// Pipes that more may come from.
    open: watch::Sender<usize>,
}

impl LastLines {
    /// No lines, from so many pipes.
    pub(super) fn from_pipes(count: usize) -> Self {
        let last = Self::default();
        last.0.open.send_replace(count);
        last
    }

    /// The lines, the latest last.
    pub(super) fn all(&self) -> Vec<String> {
        self.lines().iter().cloned().collect()
    }

    /// These lines, written before.
    pub(super) fn of(lines: Vec<String>) -> Self {
        let last = Self::default();
        *last.lines() = lines.into();
        last
    }

    /// Lines that were written before, unless there are any.
    pub(super) fn restore(&self, earlier: Vec<String>) {
        let mut lines = self.lines();
        if lines.is_empty() {
            *lines = earlier.into();
        }
    }

    /// Waits until its pipes have come to their end.
    pub(super) async fn ended(&self) {
        let mut open = self.0.open.subscribe();
        // the sender is ours: there is no error
        drop(open.wait_for(|open| *open == 0).await);
    }

    /// A pipe has come to its end.
    fn pipe_ended(&self) {
        self.0
            .open
            .send_modify(|open| *open = open.saturating_sub(1));
    }

    fn lines(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more.
    pub(super) fn add(&self, line: &str) {
        let line = line.chars().take(LAST_LINE).collect();
        let mut lines = self.lines();
        if lines.len() == LAST_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

/// A pipe of a worker's, and what has come of it.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) pool: PoolId,
    pub(super) pool_name: String,
    pub(super) worker: WorkerId,
    /// The worker's name in logs.
    pub(super) title: String,
    /// 0: standard output; 1: standard error.
    pub(super) stream: usize,
    pub(super) pipe: OwnedFd,
    /// The beginning of a line.
    pub(super) pending: Vec<u8>,
    pub(super) last: LastLines,
}

/// Reads a pipe to its end, or until `stop` says so: then it is given back.
pub(super) async fn run(output: Output, mut stop: watch::Receiver<bool>) -> Option<Output> {
    let Output {
        pool: pool_id,
        pool_name: pool,
        worker: worker_id,
        title: worker,
        stream: number,
        pipe,
        pending,
        last,
    } = output;
    let stream = STREAMS.get(number).copied().unwrap_or_default();
    let mut pipe = match pipe::Receiver::from_owned_fd(pipe) {
        Ok(pipe) => pipe,
        Err(error) => {
            tracing::error!("pool {pool}: could not read {stream} of {worker}: {error}");
            last.pipe_ended();
            return None;
        }
    };
    let mut lines = Lines { pending };
    let mut buffer = vec![0; READ_SIZE];
    loop {
        let read = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => {
                return Some(Output {
                    pool: pool_id,
                    pool_name: pool,
                    worker: worker_id,
                    title: worker,
                    stream: number,
                    pipe: pipe.into_nonblocking_fd().ok()?,
                    pending: lines.pending,
                    last,
                });
            }
            read = pipe.read(&mut buffer) => read,
        };
        match read {
            Ok(0) => break,
            Ok(count) => {
                for turn in buffer[..count].chunks(TURN_SIZE) {
                    lines.feed(turn, |line| {
                        log_line(&pool, &worker, stream, line, &last);
                    });
                    yield_now().await;
                }
            }
            Err(error) => {
                tracing::error!("pool {pool}: could not read {stream} of {worker}: {error}");
                break;
            }
        }
    }
    lines.end(|line| log_line(&pool, &worker, stream, line, &last));
    last.pipe_ended();
    None
}

/// Logs text that is complete in itself, line by line, as far as there is room for. How many lines it has.
pub(super) fn log_lines(
    pool: &str,
    worker: &str,
    stream: &str,
    text: &[u8],
    last: &LastLines,
    room: u32,
) -> u32 {
    let mut count = 0_u32;
    let mut each = |line: &[u8]| {
        if count < room {
            log_line(pool, worker, stream, line, last);
        }
        count = count.saturating_add(1);
    };
    let mut lines = Lines::default();
    lines.feed(text, &mut each);
    lines.end(&mut each);
    count
}

fn log_line(pool: &str, worker: &str, stream: &str, line: &[u8], last: &LastLines) {
    let text = clean(line);
    tracing::info!("pool {pool}: {worker} {stream}: {text}");
    last.add(&text);
}

/// The line's text; what could forge a line or steer a terminal is escaped.
fn clean(line: &[u8]) -> String {
    let mut text = String::with_capacity(line.len());
    for character in String::from_utf8_lossy(line).chars() {
        if character.is_control() && character != '\t' {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    text
}

/// Puts lines together out of what comes.
#[derive(Debug, Default)]
struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.add(&bytes[..end], &mut each);
            let line = std::mem::take(&mut self.pending);
            each(line.strip_suffix(b"\r").unwrap_or(&line));
            bytes = &bytes[end + 1..];
        }
        self.add(bytes, &mut each);
    }

    fn add(&mut self, mut bytes: &[u8], each: &mut impl FnMut(&[u8])) {
        while self.pending.len() + bytes.len() > LINE_LIMIT {
            let (now, later) = bytes.split_at(LINE_LIMIT - self.pending.len());
            self.pending.extend_from_slice(now);
            each(&self.pending);
            self.pending.clear();
            bytes = later;
        }
        self.pending.extend_from_slice(bytes);
    }

    fn end(&mut self, mut each: impl FnMut(&[u8])) {
        if !self.pending.is_empty() {
            each(&std::mem::take(&mut self.pending));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let mut seen = Vec::new();
        let mut lines = Lines::default();
        for piece in pieces {
            lines.feed(piece, |line| seen.push(clean(line)));
        }
        lines.end(|line| seen.push(clean(line)));
        seen
    }

    #[test]
    fn lines_are_whole_however_they_come() {
        assert_eq!(
            lines(&[b"a\nb", b"c\r\n", b"", b"last"]),
            ["a", "bc", "last"]
        );
        assert_eq!(lines(&[b"\n\n"]), ["", ""]);
    }

    #[test]
    fn a_line_without_end_is_cut_and_nothing_is_lost() {
        let long = vec![b'x'; LINE_LIMIT * 2 + 5];
        let seen = lines(&[&long, b"\n"]);
        assert_eq!(
            seen.iter().map(String::len).collect::<Vec<_>>(),
            [LINE_LIMIT, LINE_LIMIT, 5]
        );
    }

    #[test]
    fn the_last_lines_are_kept_and_long_ones_cut() {
        let last = LastLines::default();
        for number in 0..25 {
            last.add(&number.to_string());
        }
        last.add(&"\u{e9}".repeat(LAST_LINE + 1));
        let kept = last.all();
        assert_eq!((kept.len(), &*kept[0]), (LAST_LINES, "6"));
        assert_eq!(kept[19].chars().count(), LAST_LINE);
    }

    #[test]
    fn a_worker_cannot_forge_lines_or_steer_the_terminal() {
        assert_eq!(lines(&[b"a\x1b[2J\rb\xff\n"]), ["a\\u{1b}[2J\\rb\u{fffd}"]);
    }
}
