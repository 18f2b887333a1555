//! What the kernel says of a process's threads: what each is about, and where it waits.
//!
//! Of what is read only a thread's name may have been written by it: that is passed on escaped, and not looked at. It is read on a thread that
//! nobody waits for: while a process becomes another by exec the kernel may not answer.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    thread,
};

use nix::libc;
use procfs::process::Process;
use stockade_policy::WorkerId;
use tokio::sync::mpsc;

use crate::control::stacks::Thread;

/// Threads of one process that are told of.
const MOST: usize = 100;

/// A worker to look at: its folder in /proc, opened while it was ours, which no later process of the same number can be behind.
#[derive(Debug)]
pub(super) struct Subject {
    worker: WorkerId,
    process: Process,
}

impl Subject {
    /// A worker that has not been reaped; none when the system says nothing of it.
    pub(super) fn new(worker: WorkerId, pid: i32) -> Option<Self> {
        let process = Process::new(pid).ok()?;
        Some(Self { worker, process })
    }
}

/// Looks at workers on a thread of its own, and says of one after the other what it has seen, and at last nothing.
pub(super) fn look<T: Send + 'static>(
    subjects: Vec<Subject>,
    seen: mpsc::Sender<T>,
    say: impl Fn(Option<(WorkerId, Vec<Thread>)>) -> T + Send + 'static,
) -> std::io::Result<()> {
    let look = move || {
        for Subject { worker, process } in subjects {
            let threads = threads(&process);
            // nobody hears it when the daemon ends
            drop(seen.blocking_send(say(Some((worker, threads)))));
        }
        drop(seen.blocking_send(say(None)));
    };
    thread::Builder::new()
        .name("threads".to_owned())
        .spawn(look)
        .map(drop)
}

fn threads(process: &Process) -> Vec<Thread> {
    let tasks = process.tasks().into_iter().flatten().flatten();
    tasks
        .take(MOST)
        .filter_map(|task| seen(process, task.tid))
        .collect()
}

fn seen(process: &Process, id: i32) -> Option<Thread> {
    let folder = PathBuf::from(format!("task/{id}"));
    let read = |file: &str| read(process, &folder.join(file));
    let stat = read("stat")?;
    // behind the last bracket: the name is in brackets
    let state = stat.rsplit(|byte| *byte == b')').next()?.get(1)?;
    let name = read("comm").unwrap_or_default();
    Some(Thread {
        id,
        name: name.trim_ascii_end().escape_ascii().to_string(),
        state: words(*state).to_owned(),
        waits_in: read("wchan").and_then(|function| function_of(&function)),
        call: read("syscall").and_then(|call| call_of(&call)),
    })
}

fn read(process: &Process, file: &Path) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let mut file = process.open_relative(file).ok()?;
    file.read_to_end(&mut text).ok()?;
    Some(text)
}

const fn words(state: u8) -> &'static str {
    match state {
        b'R' => "running",
        b'S' => "sleeping",
        b'D' => "in uninterruptible sleep",
        b'T' => "stopped",
        b't' => "stopped by a debugger",
        b'Z' => "gone, not reaped",
        b'X' => "gone",
        b'I' => "idle",
        _ => "in a state without a name",
    }
}

/// "0" when it waits in none, or we are not to know.
fn function_of(wchan: &[u8]) -> Option<String> {
    let name = wchan.trim_ascii_end();
    (!name.is_empty() && name != b"0").then(|| name.escape_ascii().to_string())
}

/// The number stands first; it is "running", or -1 in none.
fn call_of(syscall: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(syscall).ok()?;
    let number: libc::c_long = text.split_ascii_whitespace().next()?.parse().ok()?;
    let known = CALLS.iter().find(|(of, _)| *of == number);
    match known {
        Some((_, name)) => Some((*name).to_owned()),
        None => (number >= 0).then(|| format!("number {number}")),
    }
}

/// Those in which programs wait.
const CALLS: &[(libc::c_long, &str)] = &[
    (libc::SYS_accept, "accept"),
    (libc::SYS_accept4, "accept4"),
    (libc::SYS_clock_nanosleep, "clock_nanosleep"),
    (libc::SYS_connect, "connect"),
    (libc::SYS_epoll_pwait, "epoll_pwait"),
    (libc::SYS_fcntl, "fcntl"),
    (libc::SYS_fdatasync, "fdatasync"),
    (libc::SYS_flock, "flock"),
    (libc::SYS_fsync, "fsync"),
    (libc::SYS_futex, "futex"),
    (libc::SYS_nanosleep, "nanosleep"),
    (libc::SYS_openat, "openat"),
    (libc::SYS_ppoll, "ppoll"),
    (libc::SYS_pread64, "pread64"),
    (libc::SYS_pselect6, "pselect6"),
    (libc::SYS_read, "read"),
    (libc::SYS_recvfrom, "recvfrom"),
    (libc::SYS_recvmsg, "recvmsg"),
    (libc::SYS_rt_sigsuspend, "rt_sigsuspend"),
    (libc::SYS_rt_sigtimedwait, "rt_sigtimedwait"),
    (libc::SYS_sendmsg, "sendmsg"),
    (libc::SYS_sendto, "sendto"),
    (libc::SYS_wait4, "wait4"),
    (libc::SYS_waitid, "waitid"),
    (libc::SYS_write, "write"),
    (libc::SYS_writev, "writev"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_epoll_wait, "epoll_wait"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, "open"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_pause, "pause"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_poll, "poll"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_select, "select"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_stat, "stat"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_threads_are_seen_with_their_names() {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let waiting = thread::Builder::new()
            .name("a) b\n".to_owned())
            .spawn(move || ended.recv().is_err())
            .unwrap();
        let subject = Subject::new(WorkerId(3), std::process::id().cast_signed()).unwrap();
        let (sender, mut seen) = mpsc::channel(2);
        look(vec![subject], sender, |it| it).unwrap();
        let (worker, threads) = seen.blocking_recv().unwrap().unwrap();
        assert_eq!(worker, WorkerId(3));
        let names: Vec<&str> = threads.iter().map(|thread| &*thread.name).collect();
        assert!(names.contains(&"a) b"), "{names:?}");
        assert!(
            threads.iter().any(|it| it.state == "running"),
            "{threads:?}"
        );
        assert_eq!(seen.blocking_recv().unwrap(), None);
        drop(end);
        assert!(waiting.join().unwrap());
    }

    #[test]
    fn calls_and_functions_have_their_names() {
        assert_eq!(call_of(b"running\n"), None);
        assert_eq!(call_of(b"-1 0x7ff 0x55\n"), None);
        let text = format!("{} 0x7ff 0x55\n", libc::SYS_futex);
        assert_eq!(call_of(text.as_bytes()), Some("futex".to_owned()));
        assert_eq!(call_of(b"100000 0x0"), Some("number 100000".to_owned()));
        assert_eq!(function_of(b"0"), None);
        assert_eq!(function_of(b"do_wait\n"), Some("do_wait".to_owned()));
    }
}
