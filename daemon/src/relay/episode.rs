//! What may happen a thousand times a second is logged once in a while.

use std::{fmt, time::Duration};

use stockade_policy::Time;

/// Between two lines about the same.
const PAUSE: Duration = Duration::from_secs(10);

/// When something was last logged, and how often it was not.
#[derive(Debug, Default)]
pub(super) struct Episode {
    logged: Option<Time>,
    silent: u64,
}

/// How often it happened without a line, to be put behind one, without a space between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct More(u64);

impl Episode {
    /// What happens next is worth a line in any case.
    pub(super) fn begin_anew(&mut self) {
        self.logged = None;
    }

    /// It happened. Some: a line is due.
    pub(super) fn happened(&mut self, now: Time) -> Option<More> {
        if self.logged.is_some_and(|at| now.since(at) < PAUSE) {
            self.silent += 1;
            return None;
        }
        self.logged = Some(now);
        Some(More(std::mem::take(&mut self.silent)))
    }
}

impl fmt::Display for More {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            silent => write!(f, " ({silent} more since the last such line)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_ten_seconds_counts_the_others() {
        let at = |seconds| Time::new(Duration::from_secs(seconds));
        let mut episode = Episode::default();
        assert_eq!(episode.happened(at(5)), Some(More(0)));
        assert_eq!(episode.happened(at(5)), None);
        assert_eq!(episode.happened(at(14)), None);
        let line = episode.happened(at(15)).unwrap();
        assert_eq!(line.to_string(), " (2 more since the last such line)");
        assert_eq!(episode.happened(at(16)), None);
        episode.begin_anew();
        assert_eq!(episode.happened(at(17)), Some(More(1)));
        assert_eq!(episode.happened(at(27)).unwrap().to_string(), "");
    }
}
