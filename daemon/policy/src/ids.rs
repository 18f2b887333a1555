//! Names of things. A worker's number is never used again, so whatever comes back late names only what it meant.

use core::fmt;

use serde::{Deserialize, Serialize};

/// A pool, by its number in the daemon's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PoolId(pub u32);

/// One life of one worker. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(pub u64);

/// The workers started from one reading of configuration and code; counts from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u32);

/// How a pool stands (manual, section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PoolState {
    /// No worker is ready (yet, or at this moment), and the last ones have not failed too often: requests wait.
    Starting,
    /// At least one worker is ready, or the pool is on demand and starts one when a request comes.
    Serving,
    /// No worker is ready and the last ones died before their first request: requests are refused at once.
    Failing,
    /// Stopped by the operator or with the daemon.
    Stopped,
}

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for PoolState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Failing => "failing",
            Self::Stopped => "stopped",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manuals_words() {
        for state in [
            PoolState::Starting,
            PoolState::Serving,
            PoolState::Failing,
            PoolState::Stopped,
        ] {
            assert_eq!(
                serde_json::to_string(&state).unwrap(),
                format!("\"{state}\"")
            );
        }
    }

    #[test]
    fn a_number_prints_as_it_is_saved() {
        assert_eq!(
            serde_json::to_string(&WorkerId(7)).unwrap(),
            WorkerId(7).to_string()
        );
        assert_eq!(
            serde_json::to_string(&PoolId(7)).unwrap(),
            PoolId(7).to_string()
        );
        assert_eq!(
            serde_json::to_string(&Generation(7)).unwrap(),
            Generation(7).to_string()
        );
    }
}
