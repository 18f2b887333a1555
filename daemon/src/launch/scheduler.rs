//! How much of the processors the program gets.

use nix::{errno::Errno, libc};
use rustix::process::setpriority_process;

use super::plan::Failure;
use crate::config::confinement::CpuPolicy;

/// `cpu-policy`.
pub(super) fn schedule(policy: CpuPolicy) -> Result<(), Failure> {
    match policy {
        CpuPolicy::Inherit => Ok(()),
        CpuPolicy::Batch => {
            // a daemon that was given another policy was given it for all it starts; and nobody fails for want of a finer share
            if current() == Ok(libc::SCHED_OTHER) {
                set(libc::SCHED_BATCH).unwrap_or_default();
            }
            Ok(())
        }
        CpuPolicy::Idle => set(libc::SCHED_IDLE)
            .map_err(|error| Failure::of("set cpu-policy = \"idle\"", error.desc())),
    }
}

/// `cpu-priority`, before the account is changed: only root may go before others.
pub(super) fn prioritise(priority: i32) -> Result<(), Failure> {
    if priority == 0 {
        return Ok(());
    }
    setpriority_process(None, priority).map_err(|error| {
        Failure::of(
            format!("set cpu-priority = {priority}"),
            Errno::from_raw(error.raw_os_error()).desc(),
        )
    })?;
    // Where the scheduler groups processes by session, a number counts within ours alone, and the group has one of its own.
    drop(std::fs::write(AUTOGROUP, priority.to_string()));
    Ok(())
}

#[expect(unsafe_code, reason = "sched_getscheduler has no safe wrapper")]
fn current() -> nix::Result<libc::c_int> {
    // SAFETY: it takes no pointer; 0 is this process.
    Errno::result(unsafe { libc::sched_getscheduler(0) })
}

#[expect(unsafe_code, reason = "sched_setscheduler has no safe wrapper")]
fn set(policy: libc::c_int) -> nix::Result<()> {
    // the only priority that these policies have
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the kernel reads the one struct and keeps no pointer to it; 0 is this process.
    Errno::result(unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) }).map(drop)
}

const AUTOGROUP: &str = "/proc/self/autogroup";
