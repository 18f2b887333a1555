//! The supervisor's signals (manual, section 5), and what each asks for.

use std::io;

use tokio::{
    select,
    signal::unix::{Signal, SignalKind, signal},
};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// TERM, INT: stop gracefully. A second one: fast.
    Stop,
    /// QUIT: stop fast.
    FastStop,
    /// HUP: read the configuration again.
    Reload,
    /// USR1: open log files again.
    ReopenLogs,
    /// USR2: what this version does not do.
    Unsupported(&'static str),
    /// CHLD: a process that is not ours may have to be reaped.
    Reap,
}

/// The signals that are waited for.
#[derive(Debug)]
pub(super) struct Signals {
    term: Signal,
    int: Signal,
    quit: Signal,
    hup: Signal,
    usr1: Signal,
    usr2: Signal,
    chld: Signal,
}

impl Signals {
    /// Takes them over from here on.
    pub(super) fn take() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
            usr2: signal(SignalKind::user_defined2())?,
            chld: signal(SignalKind::child())?,
        })
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Asked {
        select! {
            biased;
            _ = self.quit.recv() => Asked::FastStop,
            _ = self.term.recv() => Asked::Stop,
            _ = self.int.recv() => Asked::Stop,
            _ = self.hup.recv() => Asked::Reload,
            _ = self.usr1.recv() => Asked::ReopenLogs,
            _ = self.usr2.recv() => Asked::Unsupported("USR2 (upgrade)"),
            _ = self.chld.recv() => Asked::Reap,
        }
    }
}
