//! What one worker takes of the machine, and what it may take: `maximum-memory`, `cpu-time-limit`.

use std::time::Duration;

use stockade_policy::{Random, Time, supervision::Cause};

use crate::{config::resolved::Pool, control::record::Sample};

/// A worker is not replaced for what it takes so soon after it was ready: the next one may well be no better.
pub(super) const RESTRAINT: Duration = Duration::from_secs(5);

/// One that was too large when it was ready may grow by half, and by so much in any case.
const GROWTH: u64 = 16 << 20;

/// One worker's.
#[derive(Clone, Debug, Default)]
pub(super) struct Usage {
    /// What it took when it was looked at last.
    pub(super) sample: Sample,
    /// When that was.
    pub(super) at: Option<Time>,
    /// It has answered a request, or has none to answer.
    pub(super) served: bool,
    /// `maximum-memory` with its jitter.
    maximum_memory: Option<u64>,
    /// `cpu-time-limit` with its jitter.
    cpu_time_limit: Option<Duration>,
    /// Since when it is ready, and the memory that it had then.
    ready: Option<(Time, u64)>,
    /// It was above `maximum-memory` before its first request.
    heavy: bool,
    /// It is to be replaced.
    tired: bool,
}

/// What is to be said of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is to be replaced.
    Tired(Cause),
    /// It is above `maximum-memory`, and has done nothing yet: the next one will be too.
    Heavy,
}

impl Usage {
    /// Of a new worker.
    pub(super) fn new(keys: &Pool, random: &mut Random) -> Self {
        Self {
            maximum_memory: keys
                .wear
                .maximum_memory
                .map(|bytes| random.less_a_tenth(bytes)),
            cpu_time_limit: keys.wear.cpu_time_limit.0.map(|limit| {
                let milliseconds = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
                Duration::from_millis(random.less_a_tenth(milliseconds))
            }),
            ..Self::default()
        }
    }

    /// What it takes is watched.
    pub(super) fn is_limited(&self) -> bool {
        !self.tired && (self.maximum_memory.is_some() || self.has_cpu_limit())
    }

    /// `cpu-time-limit` is set.
    pub(super) fn has_cpu_limit(&self) -> bool {
        self.cpu_time_limit.is_some()
    }

    /// It is ready, and had so much at that moment.
    pub(super) fn ready(&mut self, sample: Sample, now: Time) {
        self.ready = Some((now, sample.resident_bytes.unwrap_or_default()));
    }

    /// It was looked at.
    pub(super) fn took(&mut self, sample: Sample, now: Time) {
        // of one that was gone by then the last one that says something is kept
        if sample.cpu.is_none() && sample.resident_bytes.is_none() {
            return;
        }
        self.sample = Sample {
            resident_bytes: sample.resident_bytes.or(self.sample.resident_bytes),
            private_bytes: sample.private_bytes.or(self.sample.private_bytes),
            cpu: sample.cpu.or(self.sample.cpu),
        };
        self.at = Some(now);
        if let (Some((_, loaded)), Some(bytes), false) =
            (&mut self.ready, sample.resident_bytes, self.served)
        {
            *loaded = (*loaded).max(bytes);
        }
    }

    /// What is to be said of it; each thing is said once.
    pub(super) fn judge(&mut self, now: Time) -> Option<Verdict> {
        let (since, loaded) = self.ready.filter(|_| !self.tired)?;
        if let Some(maximum) = self.maximum_memory
            && loaded > maximum
            && !self.heavy
        {
            self.heavy = true;
            return Some(Verdict::Heavy);
        }
        if !self.served || now.since(since) < RESTRAINT {
            return None;
        }
        let cause = if self.uses_too_much(loaded) {
            Cause::MaximumMemory
        } else if self.ran_too_long() {
            Cause::CpuTimeLimit
        } else {
            return None;
        };
        self.tired = true;
        Some(Verdict::Tired(cause))
    }

    /// One that was too large when it was ready is not replaced for that: another would be no smaller.
    fn uses_too_much(&self, loaded: u64) -> bool {
        let (Some(maximum), Some(bytes)) = (self.maximum_memory, self.sample.resident_bytes) else {
            return false;
        };
        let allowed = if self.heavy {
            loaded.saturating_add((loaded / 2).max(GROWTH))
        } else {
            maximum
        };
        bytes > allowed
    }

    fn ran_too_long(&self) -> bool {
        let (limit, used) = (self.cpu_time_limit, self.sample.cpu);
        limit.is_some_and(|limit| used.is_some_and(|used| used >= limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn at(seconds: u64) -> Time {
        Time::new(Duration::from_secs(seconds))
    }

    fn sample(mebibytes: u64, seconds: u64) -> Sample {
        Sample {
            resident_bytes: Some(mebibytes * MIB),
            private_bytes: None,
            cpu: Some(Duration::from_secs(seconds)),
        }
    }

    /// Ready at 10 s with so much memory; at most 100 MiB and 60 s.
    fn ready(mebibytes: u64) -> Usage {
        let mut usage = Usage {
            maximum_memory: Some(100 * MIB),
            cpu_time_limit: Some(Duration::from_secs(60)),
            ..Usage::default()
        };
        usage.ready(sample(mebibytes, 1), at(10));
        usage
    }

    #[test]
    fn one_that_has_grown_is_tired_once_and_not_before_it_has_served() {
        let mut usage = ready(50);
        usage.took(sample(60, 1), at(20));
        assert_eq!(usage.judge(at(20)), None);
        usage.served = true;
        usage.took(sample(101, 1), at(30));
        assert_eq!(usage.judge(at(12)), None, "too soon");
        let tired = Some(Verdict::Tired(Cause::MaximumMemory));
        assert_eq!(usage.judge(at(30)), tired);
        assert_eq!(usage.judge(at(40)), None);
        assert!(!usage.is_limited());
    }

    #[test]
    fn one_that_was_too_large_at_once_is_told_of_and_may_grow_by_half() {
        for mut usage in [ready(101), ready(50)] {
            usage.took(sample(101, 1), at(11));
            assert_eq!(usage.judge(at(11)), Some(Verdict::Heavy));
            usage.served = true;
            usage.took(sample(151, 1), at(21));
            assert_eq!(usage.judge(at(21)), None);
            usage.took(sample(152, 1), at(31));
            let tired = Some(Verdict::Tired(Cause::MaximumMemory));
            assert_eq!(usage.judge(at(31)), tired);
        }
    }

    #[test]
    fn processor_time_tires_too() {
        let mut usage = ready(50);
        usage.served = true;
        usage.took(sample(50, 59), at(80));
        assert_eq!(usage.judge(at(80)), None);
        usage.took(sample(50, 60), at(90));
        let tired = Some(Verdict::Tired(Cause::CpuTimeLimit));
        assert_eq!(usage.judge(at(90)), tired);
    }

    #[test]
    fn what_a_dead_one_took_is_what_it_took_before() {
        let mut usage = ready(50);
        usage.took(sample(60, 3), at(20));
        usage.took(Sample::default(), at(25));
        assert_eq!((usage.sample, usage.at), (sample(60, 3), Some(at(20))));
    }
}
