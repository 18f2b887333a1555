//! The only place where processes are started: our own executable as the launcher, which becomes the program of a plan.
//!
//! The executable is opened once, at the start of the daemon: a package upgrade may swap the file underneath. Launchers
//! are started by the supervisor's main thread only, for the parent-death signal follows the thread that forked.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{fs::OpenOptionsExt, net::UnixStream as StdUnixStream, process::CommandExt},
    },
    process::{Command, Stdio},
};

use nix::libc;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::UnixStream,
};

use super::process::Process;
use crate::{
    control::send_once,
    launch::plan::{Failure, Plan, Slot},
};

/// The most that is read of a failure.
const MAX_FAILURE: u64 = 64 * 1024;

/// Starts launchers.
#[derive(Debug)]
pub(super) struct Spawner {
    executable: File,
}

/// A launcher that has not been told its plan.
#[derive(Debug)]
pub(super) struct Launch {
    socket: UnixStream,
    plan: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Spawner {
    /// Opens our own executable.
    pub(super) fn open() -> io::Result<Self> {
        let executable = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH)
            .open("/proc/self/exe")?;
        Ok(Self { executable })
    }

    /// The executable, to be given away as [`Slot::Program`].
    pub(super) fn executable(&self) -> io::Result<OwnedFd> {
        self.executable.as_fd().try_clone_to_owned()
    }

    /// Starts a launcher for `plan` with what its slots name. The descriptors are closed here once they are sent.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that starts processes"
    )]
    pub(super) fn spawn(
        &self,
        mut plan: Plan,
        descriptors: Vec<(Slot, OwnedFd)>,
    ) -> io::Result<(Process, Launch)> {
        let (slots, descriptors) = descriptors.into_iter().unzip();
        plan.descriptors = slots;
        let plan = serde_json::to_vec(&plan)?;
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let socket = UnixStream::from_std(ours)?;
        let child = Command::new(format!("/proc/self/fd/{}", self.executable.as_raw_fd()))
            .arg0("stockade")
            .arg("launch")
            .env_clear()
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()?;
        let process = Process::of(child)?;
        let launch = Launch {
            socket,
            plan,
            descriptors,
        };
        Ok((process, launch))
    }
}

impl Launch {
    /// Tells the plan and waits: until exec, or until a step failed. A launcher that was killed looks like exec; its exit
    /// follows. After a failure the process ends by itself.
    pub(super) async fn outcome(self) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::of("tell the launcher its plan", error);
        let Self {
            mut socket,
            plan,
            descriptors,
        } = self;
        if let Err(error) = tell(&mut socket, &plan, descriptors).await
            && !is_closed(&error)
        {
            return Err(failed(error));
        }
        let mut answer = Vec::new();
        match socket.take(MAX_FAILURE).read_to_end(&mut answer).await {
            Err(error) if !is_closed(&error) => Err(failed(error)),
            _ if answer.is_empty() => Ok(()),
            _ => Err(serde_json::from_slice(&answer)
                .unwrap_or_else(|error| Failure::of("understand the launcher", error))),
        }
    }
}

/// Sends the plan, the descriptors with its first bytes, and closes this direction.
async fn tell(socket: &mut UnixStream, plan: &[u8], descriptors: Vec<OwnedFd>) -> io::Result<()> {
    let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    let sent = socket
        .async_io(Interest::WRITABLE, || {
            send_once(socket.as_raw_fd(), plan, &borrowed)
        })
        .await?;
    // The worker is to be the only one that holds its listening socket.
    drop(descriptors);
    socket.write_all(&plan[sent..]).await?;
    socket.shutdown().await
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
    )
}
