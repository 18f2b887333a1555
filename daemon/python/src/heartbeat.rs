//! Shows the supervisor that the interpreter goes on (`STOCKADE_HEARTBEAT_FD`): the number in the file changes as often as its lock was
//! obtained.

use std::{
    io,
    os::fd::{OwnedFd, RawFd},
    time::Duration,
};

use nix::{
    sys::uio::pwrite,
    time::{ClockId, clock_gettime},
};

use crate::descriptor;

/// An idle system is not woken more often.
const LONGEST_INTERVAL: Duration = Duration::from_secs(5);
/// Nor is a busy one.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(50);

/// See the module.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    file: OwnedFd,
    interval: Duration,
    beats: u64,
}

impl Heartbeat {
    /// Takes the descriptor over.
    pub(crate) fn take(number: RawFd, deadlock_timeout: Duration) -> io::Result<Self> {
        let file = descriptor::take(number, "/memfd:")?;
        Ok(Self::new(file, deadlock_timeout))
    }

    /// One that came with a message.
    pub(crate) fn new(file: OwnedFd, deadlock_timeout: Duration) -> Self {
        Self {
            file,
            interval: (deadlock_timeout / 4).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL),
            beats: 0,
        }
    }

    /// One more.
    pub(crate) fn beat(&mut self) -> io::Result<()> {
        self.beats = self.beats.wrapping_add(1);
        pwrite(&self.file, &self.beats.to_ne_bytes(), 0)?;
        Ok(())
    }

    /// How long until the next: all workers of a machine beat at the same time, so that it is woken once.
    pub(crate) fn until_next(&self) -> io::Result<Duration> {
        let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
        let interval = self.interval.as_nanos();
        let past = now.as_nanos() % interval;
        Ok(Duration::from_nanos(
            u64::try_from(interval - past).unwrap_or(u64::MAX),
        ))
    }
}
