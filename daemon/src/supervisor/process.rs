//! A process that we started: the launcher first, then what it became. It is known by its pidfd; its number is used only
//! while it has not been reaped, when nobody else can have it.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    process::Child,
    str::FromStr,
    sync::Arc,
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use rustix::process::{
    Pid as RustixPid, PidfdFlags, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open,
    pidfd_send_signal,
};
use stockade_policy::supervision::Exit;
use tokio::io::unix::AsyncFd;

use crate::descriptor::register;

/// The exit status of a process whose status the kernel did not tell.
const UNKNOWN: i32 = 255;

/// A process that has not been reaped.
#[derive(Debug)]
pub(super) struct Process {
    pid: i32,
    pidfd: Arc<AsyncFd<OwnedFd>>,
}

/// Tells when a process is gone.
#[derive(Clone, Debug)]
pub(super) struct End(Arc<AsyncFd<OwnedFd>>);

impl Process {
    /// Takes over `child`, which nobody has waited for.
    pub(super) fn of(mut child: Child) -> io::Result<Self> {
        let pid = child.id().cast_signed();
        let opened = RustixPid::from_raw(pid)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
            .and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?))
            .and_then(register);
        match opened {
            Ok(pidfd) => Ok(Self {
                pid,
                pidfd: Arc::new(pidfd),
            }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error)
            }
        }
    }

    /// Takes over a process that became our child by the end of its parent.
    pub(super) fn adopt(pid: i32) -> io::Result<Self> {
        let number = RustixPid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
        let pidfd = register(pidfd_open(number, PidfdFlags::empty())?)?;
        // of who is nobody's child but ours the kernel tells: the number may be another's by now
        let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), peek)?;
        Ok(Self {
            pid,
            pidfd: Arc::new(pidfd),
        })
    }

    /// Its number; its process group's too once the launcher has started a session.
    pub(super) const fn pid(&self) -> i32 {
        self.pid
    }

    /// To wait for its end with.
    pub(super) fn end(&self) -> End {
        End(Arc::clone(&self.pidfd))
    }

    /// Sends `signal` to its process group, or to itself when the launcher has not started a session yet.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match killpg(Pid::from_raw(self.pid), signal) {
            Err(Errno::ESRCH) => {
                let signal = rustix::process::Signal::from_named_raw(signal as i32)
                    .ok_or(io::ErrorKind::InvalidInput)?;
                Ok(pidfd_send_signal(self.pidfd.as_fd(), signal)?)
            }
            result => Ok(result?),
        }
    }

    /// Reaps it; to be called when its [`End`] has come. What is left of its group is killed before: as long as the
    /// leader is there the group's number is nobody else's.
    pub(super) fn reap(self) -> Exit {
        self.reap_with_core().0
    }

    /// The same, and whether a core file was written or handed on.
    pub(super) fn reap_with_core(self) -> (Exit, bool) {
        let pid = self.pid;
        match killpg(Pid::from_raw(pid), Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => tracing::warn!("could not kill what process {pid} left behind: {error}"),
        }
        let id = WaitId::PidFd(self.pidfd.as_fd());
        let status = match rustix::process::waitid(id, WaitIdOptions::EXITED) {
            Ok(status) => status,
            Err(error) => {
                tracing::error!("could not reap process {pid}: {error}");
                None
            }
        };
        let signal = status.as_ref().and_then(WaitIdStatus::terminating_signal);
        let core_dumped = status.as_ref().is_some_and(WaitIdStatus::dumped);
        let exit = match (signal, status.and_then(|status| status.exit_status())) {
            (Some(signal), _) => Exit::Signal(signal),
            (None, Some(code)) => Exit::Code(code),
            (None, None) => Exit::Code(UNKNOWN),
        };
        (exit, core_dumped)
    }
}

impl End {
    /// Waits until the process is gone, though not reaped.
    pub(super) async fn come(&self) {
        // An error would say that the runtime is gone, and nobody waits then.
        drop(self.0.readable().await);
    }
}

/// The first number behind a field of /proc/PID/status. The process's name, which is in it too, may be made of any bytes.
pub(super) fn status_number<T: FromStr>(status: &[u8], field: &str) -> Option<T> {
    let status = String::from_utf8_lossy(status);
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, pipe},
        os::unix::process::CommandExt,
        process::Command,
    };

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a process to look after")]
    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    fn start(command: &mut Command) -> Process {
        Process::of(command.spawn().unwrap()).unwrap()
    }

    #[tokio::test]
    async fn an_exit_is_told_once_it_has_come() {
        let process = start(shell("exit 7").process_group(0));
        process.end().come().await;
        assert_eq!(process.reap(), Exit::Code(7));
    }

    #[tokio::test]
    async fn a_signal_reaches_a_process_without_a_group_of_its_own() {
        let process = start(&mut shell("while :; do :; done"));
        process.signal(Signal::SIGTERM).unwrap();
        process.end().come().await;
        assert_eq!(process.reap(), Exit::Signal(15));
    }

    #[tokio::test]
    async fn what_is_left_of_the_group_goes_with_its_leader() {
        let (mut read, write) = pipe().unwrap();
        let process = start(shell("sleep 1000 & exit 0").process_group(0).stdout(write));
        process.end().come().await;
        assert_eq!(process.reap(), Exit::Code(0));
        // The sleeper held the other end.
        let mut rest = Vec::new();
        read.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"");
    }
}
