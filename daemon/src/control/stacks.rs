//! What every thread of a worker is doing: as the relay is told how to find out, and as it tells (`stockade stacks --json`). Fields are
//! added, never renamed.

use serde::{Deserialize, Serialize};
use stockade_policy::{PoolId, WorkerId};

use super::status::CurrentRequest;

/// What the supervisor says to the relay of a question for stacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Its number, which is never used again.
    pub number: u64,
    /// What is said.
    pub about: About,
}

/// What is said of a question, in this order; `Seen` may come behind `Answer`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum About {
    /// It is about this worker. Descriptor: the read end of a pipe, if the worker was given the other end to write to.
    Worker {
        /// Whose.
        pool: PoolId,
        /// The pool's name.
        name: String,
        /// The worker.
        worker: WorkerId,
        /// Its process.
        pid: i32,
        /// Why it was given none.
        why: Option<String>,
    },
    /// The kernel's view of its threads.
    Seen {
        /// The worker.
        worker: WorkerId,
        /// The threads.
        threads: Vec<Thread>,
    },
    /// These are all workers: answer. Descriptor: the operator's connection; none: for the log.
    Answer,
}

/// A worker's stacks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerStacks {
    /// The pool's name.
    pub pool: String,
    /// Its number.
    pub worker: WorkerId,
    /// Its process.
    pub pid: i32,
    /// The requests that it has.
    pub requests: Vec<CurrentRequest>,
    /// Who tells.
    pub source: Source,
    /// What the worker tells: a paragraph for each thread, task and greenlet.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// Why the worker does not tell, when it is the kernel that does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What the kernel tells of its threads, when it is the kernel that does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub threads: Vec<Thread>,
}

/// Who tells what a worker's threads are doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The interpreter, under its lock.
    Python,
    /// The interpreter, without its lock, which was not obtained.
    PythonWithoutLock,
    /// The worker, in its own words.
    Worker,
    /// The kernel.
    Kernel,
}

/// A thread, as the kernel sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread {
    /// Its number.
    pub id: i32,
    /// Its name, which the worker may have given it: what is not printable is escaped.
    pub name: String,
    /// What it is about: running, sleeping, in uninterruptible sleep, stopped ...
    pub state: String,
    /// The kernel's function that it waits in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_in: Option<String>,
    /// The system call that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
}

impl Thread {
    /// A line about it.
    #[must_use]
    pub fn line(&self) -> String {
        let Self {
            id,
            name,
            state,
            waits_in,
            call,
        } = self;
        let mut line = format!("thread {id} {name}: {state}");
        if let Some(call) = call {
            line.push_str(&format!(", in the system call {call}"));
        }
        if let Some(function) = waits_in {
            line.push_str(&format!(", waits in {function}"));
        }
        line
    }
}

impl Source {
    /// What a worker wrote: who tells, and what. Nothing may be wrong with it: it is text, and control characters are escaped.
    #[must_use]
    pub fn of(written: &[u8]) -> (Self, String) {
        let written = String::from_utf8_lossy(written);
        let (source, text) = match written.split_once('\n') {
            Some(("python", text)) => (Self::Python, text),
            Some(("python-without-lock", text)) => (Self::PythonWithoutLock, text),
            _ => (Self::Worker, &*written),
        };
        let mut printable = String::with_capacity(text.len());
        for character in text.trim_matches('\n').chars() {
            if character.is_control() && character != '\n' {
                printable.extend(character.escape_default());
            } else {
                printable.push(character);
            }
        }
        (source, printable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_worker_writes_is_text_and_no_more() {
        let of = |written: &[u8]| Source::of(written);
        let (source, text) = of(b"python\n\nthread main\n  File\n");
        assert_eq!((source, &*text), (Source::Python, "thread main\n  File"));
        let (source, text) = of(b"python-without-lock\nx");
        assert_eq!((source, &*text), (Source::PythonWithoutLock, "x"));
        let (source, text) = of(b"\x1b[2J\xff\r\nlast");
        assert_eq!(
            (source, &*text),
            (Source::Worker, "\\u{1b}[2J\u{fffd}\\r\nlast")
        );
    }

    #[test]
    fn a_thread_is_a_line() {
        let mut thread = Thread {
            id: 7,
            name: "php".to_owned(),
            state: "sleeping".to_owned(),
            waits_in: Some("do_epoll_wait".to_owned()),
            call: Some("epoll_wait".to_owned()),
        };
        assert_eq!(
            thread.line(),
            "thread 7 php: sleeping, in the system call epoll_wait, waits in do_epoll_wait"
        );
        (thread.waits_in, thread.call) = (None, None);
        assert_eq!(thread.line(), "thread 7 php: sleeping");
    }
}
