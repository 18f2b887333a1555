//! Why the supervisor could not start.

use std::{io, path::PathBuf};

use crate::launch::plan::Failure;

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
    #[error("could not listen on {0}: another process answers there")]
    AddressInUse(String),
    /// Something that is not a socket is where one is to be.
    #[error("could not listen on unix:{0}: a file that is not a socket is in the way")]
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
    /// There is no adapter to run WSGI applications with.
    #[error("pool {pool} is a WSGI application, but the Python adapter was not found: neither {} nor {} is there", .looked[0].display(), .looked[1].display())]
    NoAdapter {
        /// A pool that needs it.
        pool: String,
        /// Where it was looked for.
        looked: [PathBuf; 2],
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

    /// The exit code of the command (manual, section 2).
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::AddressInUse(_) | Self::Occupied(_) => 75,
            Self::Step { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => 77,
                io::ErrorKind::AddrInUse => 75,
                _ => 1,
            },
            Self::Unsafe(_) => 77,
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
