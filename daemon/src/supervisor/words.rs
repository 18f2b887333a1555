//! How the log words what happened to workers.

use std::{fmt, time::Duration};

use nix::sys::signal::Signal;
use stockade_policy::supervision::{Cause, Exit};

/// "0.4 s"; below that "3 ms".
#[derive(Clone, Copy, Debug)]
pub(super) struct Seconds(pub(super) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < Duration::from_millis(100) {
            return write!(f, "{} ms", self.0.as_millis());
        }
        write!(f, "{:.1} s", self.0.as_secs_f64())
    }
}

/// "51.2 MiB".
#[derive(Clone, Copy, Debug)]
pub(super) struct Size(pub(super) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{} MiB",
            self.0 >> 20,
            ((self.0 & 0xf_ffff) * 10) >> 20
        )
    }
}

/// A cause with its detail: "exit-code 3", "signal SIGKILL".
#[derive(Clone, Copy, Debug)]
pub(super) struct Why(pub(super) Cause);

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let detail = detail(self.0);
        let space = if detail.is_empty() { "" } else { " " };
        write!(f, "{}{space}{detail}", self.0)
    }
}

/// The number or name that belongs to a cause, or nothing.
pub(super) fn detail(cause: Cause) -> String {
    match cause {
        Cause::ExitCode(code) => code.to_string(),
        Cause::Signal(number) => signal_name(number),
        Cause::Requested
        | Cause::ScaledDown
        | Cause::MaximumRequests
        | Cause::RestartInterval
        | Cause::MaximumMemory
        | Cause::CpuTimeLimit
        | Cause::Inactivity
        | Cause::Refork
        | Cause::RequestTimeout
        | Cause::Deadlock
        | Cause::StartupTimeout
        | Cause::ProtocolError
        | Cause::OutOfMemory
        | Cause::NotExecutable
        | Cause::Unknown => String::new(),
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended(pub(super) Exit);

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Exit::Code(code) => Why(Cause::ExitCode(code)).fmt(f),
            Exit::Signal(number) => Why(Cause::Signal(number)).fmt(f),
            Exit::OutOfMemory => Why(Cause::OutOfMemory).fmt(f),
        }
    }
}

/// Its name; the number of one that has none.
fn signal_name(number: i32) -> String {
    Signal::try_from(number).map_or_else(|_| number.to_string(), |signal| signal.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_have_their_detail() {
        assert_eq!(Why(Cause::ExitCode(3)).to_string(), "exit-code 3");
        assert_eq!(Why(Cause::Signal(9)).to_string(), "signal SIGKILL");
        assert_eq!(Why(Cause::Signal(40)).to_string(), "signal 40");
        assert_eq!(Why(Cause::MaximumRequests).to_string(), "maximum-requests");
        assert_eq!(Ended(Exit::Code(0)).to_string(), "exit-code 0");
        assert_eq!(Ended(Exit::OutOfMemory).to_string(), "out-of-memory");
        assert_eq!(Seconds(Duration::from_micros(3900)).to_string(), "3 ms");
        assert_eq!(Seconds(Duration::from_millis(1449)).to_string(), "1.4 s");
        assert_eq!(Size(51 * 1024 * 1024 + 256 * 1024).to_string(), "51.2 MiB");
    }
}
