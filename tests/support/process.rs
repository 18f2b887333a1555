//! Processes as /proc shows them, and signals.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A program to start.
#[expect(
    clippy::disallowed_methods,
    reason = "the tests start what they test and what it needs"
)]
pub(crate) fn command(program: impl AsRef<Path>) -> Command {
    Command::new(program.as_ref())
}

/// Sends `signal`; false when there is no such process any more.
pub(crate) fn signal(pid: i32, signal: Signal) -> bool {
    kill(Pid::from_raw(pid), signal).is_ok()
}

/// Whether the process runs (a zombie does not).
pub(crate) fn alive(pid: i32) -> bool {
    stat(pid).is_some_and(|(_, state)| state != "Z" && state != "X")
}

/// The processes whose parent is `pid`.
pub(crate) fn children(pid: i32) -> Vec<i32> {
    all()
        .into_iter()
        .filter(|candidate| stat(*candidate).is_some_and(|(parent, _)| parent == pid))
        .collect()
}

/// The children of `pid`, their children, and so on.
pub(crate) fn descendants(pid: i32) -> Vec<i32> {
    let mut found = children(pid);
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(children(parent));
        at += 1;
    }
    found
}

/// The file that the process executes.
pub(crate) fn executable(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// Whether the process is a relay, past its launch.
pub(crate) fn is_relay(pid: i32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == b"stockade\0relay\0")
}

/// The sockets that a process holds.
pub(crate) fn sockets(pid: i32) -> BTreeSet<PathBuf> {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("the worker runs")
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter(|open| open.to_string_lossy().starts_with("socket:"))
        .collect()
}

/// The user that the process is.
pub(crate) fn user_of(pid: i32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    field(&status, "Uid:")?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

/// The most memory the process ever had resident, in KiB.
pub(crate) fn peak_resident_kib(pid: i32) -> Option<u64> {
    kib(pid, "VmHWM:")
}

/// The memory that the process has resident, in KiB.
pub(crate) fn resident_kib(pid: i32) -> Option<u64> {
    kib(pid, "VmRSS:")
}

/// The processor time that the process has had, in hundredths of a second.
pub(crate) fn processor_time(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let fields = stat.rsplit_once(')').expect("its name ends").1;
    // user and system
    let fields = fields.split_whitespace().skip(11).take(2);
    fields.filter_map(|field| field.parse::<u64>().ok()).sum()
}

fn kib(pid: i32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let value = field(&status, name)?.split_whitespace().next()?;
    value.parse().ok()
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name))
}

/// Parent and state.
fn stat(pid: i32) -> Option<(i32, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // the name may contain anything, parentheses included: what follows the last one is ours to read
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.to_owned();
    Some((fields.next()?.parse().ok()?, state))
}

fn all() -> Vec<i32> {
    fs::read_dir("/proc")
        .expect("/proc is mounted")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}
