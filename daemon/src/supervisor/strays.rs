//! Processes that workers left behind and that came to us, who are their subreaper.
//!
//! What is left of a worker's process group is killed with it (`process`). What has left the group by a session of its own comes to us
//! when its parent is gone: nobody else's processes do, for the supervisor starts no others, unless it is the first process of a
//! container, to whom everything comes. Whose a stray was the kernel says where workers have cgroups (`cgroup`), and only there. So one is
//! ended with a worker when it is neither in the cgroup nor of the session of a worker that lives, nor has the account of another pool.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
};

use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    },
    unistd::{Pid, getsid},
};

use super::process::status_number;
use crate::cgroup;

/// Whom to leave alone when a worker is gone.
#[derive(Debug, Default)]
pub(super) struct Living {
    /// Whom the worker that is gone had become; none: it was who we are.
    pub(super) gone: Option<u32>,
    /// Our own children, whose ends are waited for elsewhere.
    pub(super) known: BTreeSet<i32>,
    /// The cgroups of the workers that live.
    pub(super) leaves: BTreeSet<Arc<Path>>,
    /// Users whose processes may be those of other workers than the one that is gone.
    pub(super) others: BTreeSet<u32>,
}

/// The strays that were told to end, and have not yet.
#[derive(Debug, Default)]
pub(super) struct Strays {
    /// And with a worker of which account.
    killed: BTreeMap<i32, Option<u32>>,
}

impl Strays {
    /// Ends those that a worker which is gone may have left.
    pub(super) fn end(&mut self, living: &Living) {
        // strangers come to the first process too: they are reaped, no more
        if std::process::id() == 1 {
            return;
        }
        for pid in children() {
            if living.known.contains(&pid)
                || self.killed.contains_key(&pid)
                || is_left_alone(pid, living)
            {
                continue;
            }
            // It is our child and not reaped, so its number is its own.
            match kill(Pid::from_raw(pid), Signal::SIGKILL) {
                Ok(()) => {
                    tracing::debug!("process {pid}, left behind by a worker, killed");
                    self.killed.insert(pid, living.gone);
                }
                Err(error) => {
                    tracing::warn!(
                        "could not kill process {pid}, left behind by a worker: {error}"
                    );
                }
            }
        }
    }

    /// Reaps those that have ended. What those have left behind themselves that were ended with a worker of these accounts is to be
    /// ended now.
    pub(super) fn reap(&mut self, known: &BTreeSet<i32>) -> BTreeSet<Option<u32>> {
        let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let mut accounts = BTreeSet::new();
        while let Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _)) =
            waitid(Id::All, peek)
        {
            // The first in line is ours: its reaping calls again.
            if known.contains(&pid.as_raw()) {
                break;
            }
            match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(_) => tracing::debug!("process {pid}, left behind by a worker, was reaped"),
                Err(_) => break,
            }
            accounts.extend(self.killed.remove(&pid.as_raw()));
        }
        accounts
    }
}

/// In the cgroup or of the session of a worker that lives, or of another pool's account. What cannot be asked is gone.
fn is_left_alone(pid: i32, living: &Living) -> bool {
    let Ok(session) = getsid(Some(Pid::from_raw(pid))) else {
        return true;
    };
    living.known.contains(&session.as_raw())
        || is_in_one_of(pid, &living.leaves)
        || user_of(pid).is_none_or(|user| living.others.contains(&user))
}

/// Whether it is in one of these cgroups, or in one that was made in them.
fn is_in_one_of(pid: i32, leaves: &BTreeSet<Arc<Path>>) -> bool {
    // where there are none nothing is read
    if leaves.is_empty() {
        return false;
    }
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    cgroup::name_in(&text)
        .is_some_and(|name| (Path::new(name).ancestors()).any(|above| leaves.contains(above)))
}

/// The user that the process is.
fn user_of(pid: i32) -> Option<u32> {
    let status = fs::read(format!("/proc/{pid}/status")).ok()?;
    status_number(&status, "Uid:")
}

/// Every child of this process, whichever thread has it.
fn children() -> Vec<i32> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten();
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| {
            let numbers = list.split_ascii_whitespace().map(str::parse);
            numbers.flatten().collect::<Vec<i32>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{os::unix::ffi::OsStringExt, process::Command};

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a process to look at")]
    fn a_process_has_a_user_whatever_its_name_is() {
        let folder = tempfile::tempdir().unwrap();
        let name = std::ffi::OsString::from_vec(b"\xffUid:\t7".to_vec());
        let program = folder.path().join(name);
        fs::copy("/bin/sleep", &program).unwrap();
        let mut child = Command::new(&program).arg("1000").spawn().unwrap();
        let user = user_of(child.id().cast_signed());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(user, Some(nix::unistd::getuid().as_raw()));
    }
}
