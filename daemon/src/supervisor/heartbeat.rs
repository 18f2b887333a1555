//! One worker's heartbeat (`deadlock-timeout`).
//!
//! The adapter takes the interpreter's lock now and then, and writes another number into a file of eight bytes: a memfd of this worker
//! alone, whose size is sealed. It is read, never mapped, and nothing of it is believed but that it has changed: when, says our own
//! clock.

use std::{
    ffi::CStr,
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::FileExt},
    time::Duration,
};

use nix::{
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::memfd::{MFdFlags, memfd_create},
};
use stockade_policy::Time;

const NAME: &CStr = c"stockade-heartbeat";
const LENGTH: usize = size_of::<u64>();
/// An idle system is not woken more often.
const LONGEST_INTERVAL: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub(super) struct Heartbeat {
    file: File,
    timeout: Duration,
    /// What was read last, and since when it has been that; none: it is not looked at yet.
    seen: Option<(u64, Time)>,
}

impl Heartbeat {
    /// A heartbeat, and the worker's end of it.
    pub(super) fn new(timeout: Duration) -> io::Result<(Self, OwnedFd)> {
        let file = memfd_create(NAME, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
        let file = File::from(file);
        file.set_len(LENGTH as u64)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        let theirs = file.try_clone()?.into();
        let heartbeat = Self {
            file,
            timeout,
            seen: None,
        };
        Ok((heartbeat, theirs))
    }

    /// How long there is between two looks at it. The worker beats as often.
    pub(super) fn interval(&self) -> Duration {
        (self.timeout / 4).min(LONGEST_INTERVAL)
    }

    /// It has the whole time from here on.
    pub(super) fn begin(&mut self, now: Time) {
        self.seen = Some((self.read(), now));
    }

    /// Looks at it; how long it has been silent, if that is too long. Told once: it has the whole time again.
    pub(super) fn look(&mut self, now: Time) -> Option<Duration> {
        let (number, since) = self.seen?;
        let read = self.read();
        let silent = now.since(since);
        if read != number {
            self.seen = Some((read, now));
            return None;
        }
        if silent < self.timeout {
            return None;
        }
        self.begin(now);
        Some(silent)
    }

    fn read(&self) -> u64 {
        let mut bytes = [0; LENGTH];
        // what cannot be read has not changed
        self.file.read_exact_at(&mut bytes, 0).unwrap_or_default();
        u64::from_ne_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::new(Duration::from_secs(seconds))
    }

    #[test]
    fn one_that_beats_is_alive_and_one_that_stops_is_told_of_once_in_its_time() {
        let (mut heartbeat, theirs) = Heartbeat::new(Duration::from_secs(60)).unwrap();
        let theirs = File::from(theirs);
        assert_eq!(heartbeat.interval(), Duration::from_secs(5));
        // it may take any time to become ready
        assert_eq!(heartbeat.look(at(500)), None);
        heartbeat.begin(at(500));
        assert_eq!(heartbeat.look(at(559)), None);
        theirs.write_all_at(&7_u64.to_ne_bytes(), 0).unwrap();
        assert_eq!(heartbeat.look(at(565)), None);
        assert_eq!(heartbeat.look(at(624)), None);
        assert_eq!(heartbeat.look(at(625)), Some(Duration::from_secs(60)));
        assert_eq!(heartbeat.look(at(630)), None);
    }

    #[test]
    fn its_size_is_not_the_workers_to_change() {
        let (_, theirs) = Heartbeat::new(Duration::from_secs(1)).unwrap();
        let theirs = File::from(theirs);
        for length in [0, LENGTH as u64 + 1] {
            assert!(theirs.set_len(length).is_err());
        }
        assert!(theirs.write_all_at(&[1], LENGTH as u64).is_err());
        assert!(fcntl(&theirs, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE)).is_err());
    }
}
