//! `stockade start`, `stop` and `scale`: what an operator does to one pool of a running daemon.

use std::process::ExitCode;

use clap::Args;
use stockade_daemon::control::admin::Request;

use crate::{ask::ask_for, cli::Daemon};

/// `stockade start` and `stockade stop`.
#[derive(Args, Debug)]
pub(crate) struct Of {
    /// The pool
    pub(crate) pool: String,
    #[command(flatten)]
    pub(crate) daemon: Daemon,
}

/// `stockade scale`.
#[derive(Args, Debug)]
pub(crate) struct Scale {
    /// The pool
    pub(crate) pool: String,
    /// So many workers, or as many as there is work for between two numbers
    #[arg(value_name = "N|MIN..MAX", value_parser = bounds)]
    pub(crate) workers: (u32, u32),
    #[command(flatten)]
    pub(crate) daemon: Daemon,
}

/// Starts a pool that was stopped.
pub(crate) fn start(of: Of) -> ExitCode {
    ask_for(&of.daemon, &Request::Start { pool: of.pool })
}

/// Stops a pool.
pub(crate) fn stop(of: Of) -> ExitCode {
    ask_for(&of.daemon, &Request::Stop { pool: of.pool })
}

/// Has it have so many workers.
pub(crate) fn scale(scale: Scale) -> ExitCode {
    let (minimum, maximum) = scale.workers;
    let pool = scale.pool;
    let request = Request::Scale {
        pool,
        minimum,
        maximum,
    };
    ask_for(&scale.daemon, &request)
}

/// `5` or `0..10`.
fn bounds(text: &str) -> Result<(u32, u32), String> {
    let number = |text: &str| text.parse().ok().filter(|number| *number <= MOST);
    let bounds = match text.split_once("..") {
        Some((minimum, maximum)) => number(minimum).zip(number(maximum)),
        None => number(text).map(|number| (number, number)),
    };
    match bounds {
        Some((_, 0)) => Err("to have no workers write `stockade stop POOL`".to_owned()),
        Some((minimum, maximum)) if minimum > maximum => Err(format!(
            "the smaller number comes first: {maximum}..{minimum}"
        )),
        Some(bounds) => Ok(bounds),
        None => Err(format!(
            "write a number of workers from 1 to {MOST}, or two of them like 0..10"
        )),
    }
}

/// Workers of a pool.
const MOST: u32 = 10_000;

pub(crate) const START_EXAMPLE: &str = "\
Example:
  stockade start blog

Exit codes: 0 it is started, or was not stopped; 1 there is no such pool; 69 daemon not reachable; 77 not permitted";

pub(crate) const STOP_EXAMPLE: &str = "\
Example: keep visitors out while the database is changed
  stockade stop blog && ./migrate; stockade start blog

Exit codes: 0 it is stopped, or was already; 1 there is no such pool; 69 daemon not reachable; 77 not permitted";

pub(crate) const SCALE_EXAMPLE: &str = "\
Examples: ten workers; as many as there is work for, from 2 to 20; on demand
  stockade scale blog 10
  stockade scale blog 2..20
  stockade scale blog 0..5

Exit codes: 0 it is done; 1 there is no such pool; 69 daemon not reachable; 77 not permitted";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_or_two() {
        assert_eq!(bounds("5"), Ok((5, 5)));
        assert_eq!(bounds("0..10"), Ok((0, 10)));
        assert_eq!(bounds("3..3"), Ok((3, 3)));
        for (text, words) in [
            ("0", "stockade stop"),
            ("0..0", "stockade stop"),
            ("9..2", "2..9"),
            ("many", "from 1 to 10000"),
            ("1..", "from 1 to 10000"),
            ("-3", "from 1 to 10000"),
            ("20000", "from 1 to 10000"),
        ] {
            let said = bounds(text).unwrap_err();
            assert!(said.contains(words), "{text}: {said}");
        }
    }
}
