//! What the launcher is told, and what it answers.
//!
//! The launcher's standard input is a SOCK_STREAM socket: one JSON object ([`Plan`]) with the descriptors attached to its first byte,
//! then end of file. On success the socket closes by exec and nothing is written; else one JSON object ([`Failure`]) comes back.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{confinement::Confinement, resolved::Account};

/// What to become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The program: an absolute path, or none for our own executable (the descriptor named [`Slot::Program`]).
    pub program: Option<PathBuf>,
    /// Its arguments, `argv[0]` included.
    pub arguments: Vec<String>,
    /// Its whole environment.
    pub environment: BTreeMap<String, String>,
    /// Whom to become; none: stay.
    pub account: Option<Account>,
    /// The working directory.
    pub home: PathBuf,
    /// The file mode creation mask.
    pub umask: u32,
    /// What it may have and reach.
    pub confinement: Confinement,
    /// What the attached descriptors are for, in order. Every other descriptor is closed.
    pub descriptors: Vec<Slot>,
    /// The supervisor's pid: when it is not our parent any more, there is nothing to start.
    pub parent: i32,
}

/// Where an attached descriptor goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Slot {
    /// Descriptor 0: the worker's listening socket.
    Input,
    /// Descriptor 1.
    Output,
    /// Descriptor 2.
    Error,
    /// Passed on at a number of its own, told in `STOCKADE_CONTROL_FD`.
    Control,
    /// Passed on at a number of its own, told in `STOCKADE_ADAPTER_FD`: the Python extension, readable whatever the account.
    Adapter,
    /// Passed on at a number of its own, told in `STOCKADE_HEARTBEAT_FD`: where a worker shows that it lives.
    Heartbeat,
    /// The `cgroup.procs` of the cgroup to enter before anything else; not passed on.
    Cgroup,
    /// Our own executable, to be executed; not passed on.
    Program,
}

/// The step that failed. Serialised in the answer, named in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What was attempted, on what: "change to the working directory /srv/blgo".
    pub step: String,
    /// Why it failed: the system's words.
    pub reason: String,
    /// The program could not be executed (cause `not-executable`), as opposed to a step before it.
    pub exec: bool,
}

impl Failure {
    /// A step before exec that failed with `reason`.
    pub(crate) fn of(step: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self {
            step: step.into(),
            reason: reason.to_string(),
            exec: false,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {}: {}", self.step, self.reason)
    }
}
