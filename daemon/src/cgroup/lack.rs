//! Why limits by cgroup cannot hold, and what to do about it.

use std::{io, path::Path};

use thiserror::Error;

use super::controller::Controller;

/// Each prints as the end of a sentence, remedy included.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Lack {
    #[error("this system has no cgroup v2: boot it with systemd.unified_cgroup_hierarchy=1")]
    Absent,
    #[error(
        "cgroup v2 is mounted nowhere where {cgroup}, the daemon's own cgroup, can be seen: mount it at /sys/fs/cgroup"
    )]
    OutOfSight { cgroup: String },
    #[error(
        "{cgroup}, the daemon's own cgroup, is not delegated to it: write Delegate=yes below [Service] in its unit and start it again"
    )]
    NotDelegated { cgroup: String },
    #[error(
        "{cgroup}, the daemon's own cgroup, is mounted read-only: mount it so that it can be written to"
    )]
    ReadOnly { cgroup: String },
    #[error("the controller {controller} is not in {cgroup}, the daemon's own cgroup: {remedy}")]
    NoController {
        controller: Controller,
        cgroup: String,
        remedy: &'static str,
    },
    #[error(
        "{cgroup}, the daemon's own cgroup, is that of other processes too (pid {pid}): start the daemon in one of its own, as a systemd unit with Delegate=yes does"
    )]
    Shared { cgroup: String, pid: i32 },
    #[error("could not {step}: {reason}")]
    Step { step: String, reason: String },
}

impl Lack {
    /// A step failed for the system's reason.
    pub(super) fn step(step: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        |error| Self::Step {
            step: step.into(),
            reason: error.to_string(),
        }
    }

    /// No cgroup could be made in `cgroup`, at `path`.
    pub(super) fn of_making(cgroup: &str, path: &Path, error: &io::Error) -> Self {
        let cgroup = cgroup.to_owned();
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::NotDelegated { cgroup },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { cgroup },
            _ => Self::Step {
                step: format!("make the cgroup {}", path.display()),
                reason: error.to_string(),
            },
        }
    }
}
