//! Why the supervisor could not start.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::{cgroup::Lack, config::resolved::Pool, launch::plan::Failure};

/// Names the step and its subject.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// A step failed for the system's reason.
    #[error("could not {step}: {source}")]
    Step {
        /// What was attempted, on what.
        step: String,
        /// The system's error.
        source: io::Error,
    },
    /// Somebody else serves this address.
    #[error(
        "could not listen on {0}: another process answers there: stop it, or choose another address with `listen` (`--listen` of `stockade run`)"
    )]
    AddressInUse(String),
    /// An address cannot be listened on for the system's reason.
    #[error("could not listen on {address}: {source}: {remedy}")]
    Address {
        /// As it is configured: "unix:PATH" or "IP:PORT".
        address: String,
        /// The system's error.
        source: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// The folder of our own sockets cannot be made or used.
    #[error(
        "could not {step}: {source}: name a folder that this account may write to, with `runtime-dir` in [daemon]"
    )]
    RuntimeDir {
        /// What was attempted, on what.
        step: String,
        /// The system's error.
        source: io::Error,
    },
    /// Something that is not a socket is where one is to be.
    #[error(
        "could not listen on unix:{0}: a file that is not a socket is in the way: remove it, or choose another path with `listen`"
    )]
    NotASocket(PathBuf),
    /// Another daemon has this runtime-dir.
    #[error("another stockade runs in {0}; stop it, or give this one a runtime-dir of its own")]
    Occupied(PathBuf),
    /// Somebody else could put files there.
    #[error(
        "runtime-dir {0} belongs to or can be written by somebody else: change its owner and mode, or name another"
    )]
    Unsafe(PathBuf),
    /// systemd was to pass a socket, and did not.
    #[error(
        "pool {pool} is to listen on systemd:{name}, but {passed}; start this by a unit whose socket unit has FileDescriptorName={name}"
    )]
    NotPassed {
        /// The pool.
        pool: String,
        /// The socket's name.
        name: String,
        /// What was passed.
        passed: String,
    },
    /// A socket that systemd passed is of no use.
    #[error("could not listen on systemd:{name}: the socket {why}")]
    Unfit {
        /// The socket's name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no adapter to run Python applications with.
    #[error("pool {pool} is a Python application, but the Python adapter was not found: there is no {}: install it as `make install` or the wheel does", shown(.looked))]
    NoAdapter {
        /// A pool that needs it.
        pool: String,
        /// Where it was looked for.
        looked: Vec<PathBuf>,
    },
    /// The limits of a pool cannot be had.
    #[error("pool {pool}: [pool.{pool}.cgroup] cannot hold: {lack}")]
    Cgroup {
        /// The pool.
        pool: String,
        /// Why, and what to do.
        lack: String,
    },
    /// The shim did not come up.
    #[error("could not start the shim: {0}")]
    Shim(Failure),
    /// The application of a command line failed before it ever served.
    #[error("pool {0}: the application did not start; the lines above say why")]
    NeverServed(String),
    /// The relay did not come up.
    #[error("could not start the relay: {0}")]
    Relay(Failure),
}

impl SupervisorError {
    /// The step that failed.
    pub(super) fn step(step: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Step {
            step: step.into(),
            source,
        }
    }

    /// The limits of `pool` cannot be had.
    pub(super) fn cgroup(pool: &Pool, lack: &Lack) -> Self {
        Self::Cgroup {
            pool: pool.name.clone(),
            lack: lack.to_string(),
        }
    }

    /// `path` cannot be listened on.
    pub(super) fn unix(path: &Path, source: io::Error) -> Self {
        let remedy = match source.kind() {
            io::ErrorKind::NotFound => "make its folder, or choose another path with `listen`",
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                "choose a path in a folder that this account may write to, with `listen`"
            }
            _ => "choose another path with `listen`",
        };
        Self::Address {
            address: format!("unix:{}", path.display()),
            source,
            remedy,
        }
    }

    /// The TCP `address` cannot be listened on.
    pub(super) fn tcp(address: SocketAddr, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::AddrInUse {
            return Self::AddressInUse(address.to_string());
        }
        let remedy = match source.kind() {
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 are root's: choose a higher one, or start this as root"
            }
            io::ErrorKind::AddrNotAvailable => {
                "this machine does not have the address: choose one that `ip address` shows, or 127.0.0.1"
            }
            _ => "choose another address",
        };
        Self::Address {
            address: address.to_string(),
            source,
            remedy,
        }
    }

    /// The exit code of the command (manual, section 2).
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::AddressInUse(_) | Self::Occupied(_) => 75,
            Self::Step { source, .. }
            | Self::Address { source, .. }
            | Self::RuntimeDir { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => 77,
                io::ErrorKind::AddrInUse => 75,
                _ => 1,
            },
            Self::Unsafe(_) | Self::Cgroup { .. } => 77,
            Self::NotASocket(_)
            | Self::NotPassed { .. }
            | Self::Unfit { .. }
            | Self::NoAdapter { .. }
            | Self::Relay(_)
            | Self::Shim(_)
            | Self::NeverServed(_) => 1,
        }
    }
}

fn shown(places: &[PathBuf]) -> String {
    let places: Vec<String> = places
        .iter()
        .map(|place| place.display().to_string())
        .collect();
    places.join(" and no ")
}
