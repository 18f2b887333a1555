//! The controllers that limits need.

use std::fmt;

use crate::config::resolved::CgroupLimits;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Controller {
    Memory,
    Pids,
    Cpu,
}

impl Controller {
    /// Those that `limits` need.
    pub(super) fn needed_by(limits: &CgroupLimits) -> impl Iterator<Item = Self> {
        let CgroupLimits {
            memory_max,
            memory_high,
            pids_max,
            cpu_max,
            cpu_weight,
        } = limits;
        [
            (Self::Memory, memory_max.is_some() || memory_high.is_some()),
            (Self::Pids, pids_max.is_some()),
            (Self::Cpu, cpu_max.is_some() || cpu_weight.is_some()),
        ]
        .into_iter()
        .filter_map(|(controller, needed)| needed.then_some(controller))
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        })
    }
}

/// What is written into the files of a pool's cgroup: all that there are, so that a limit that is no longer set is lifted.
pub(super) fn files(limits: &CgroupLimits) -> [(&'static str, bool, String); 5] {
    let bytes =
        |limit: Option<u64>| limit.map_or_else(|| "max".to_owned(), |bytes| bytes.to_string());
    let pids = limits.pids_max;
    let quota = limits
        .cpu_max
        .map(|percent| u64::from(percent) * (CPU_PERIOD / 100));
    let weight = limits.cpu_weight;
    [
        (
            "memory.high",
            limits.memory_high.is_some(),
            bytes(limits.memory_high),
        ),
        (
            "memory.max",
            limits.memory_max.is_some(),
            bytes(limits.memory_max),
        ),
        ("pids.max", pids.is_some(), bytes(pids.map(u64::from))),
        (
            "cpu.max",
            quota.is_some(),
            format!("{} {CPU_PERIOD}", bytes(quota)),
        ),
        (
            "cpu.weight",
            weight.is_some(),
            weight.unwrap_or(CPU_WEIGHT).to_string(),
        ),
    ]
}

/// Of `cpu.max`, in microseconds; the kernel's own default.
const CPU_PERIOD: u64 = 100_000;
/// The kernel's default.
const CPU_WEIGHT: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_need_their_controllers_alone() {
        let none = CgroupLimits::default();
        assert_eq!(Controller::needed_by(&none).count(), 0);
        let some = CgroupLimits {
            memory_high: Some(1),
            cpu_weight: Some(1),
            ..none
        };
        let needed: Vec<_> = Controller::needed_by(&some).collect();
        assert_eq!(needed, [Controller::Memory, Controller::Cpu]);
    }

    #[test]
    fn limits_are_worded_as_the_kernel_has_them() {
        let limits = CgroupLimits {
            memory_max: Some(1 << 30),
            memory_high: None,
            pids_max: Some(200),
            cpu_max: Some(150),
            cpu_weight: None,
        };
        assert_eq!(
            files(&limits).map(|(file, set, words)| (file, set, words)),
            [
                ("memory.high", false, "max".to_owned()),
                ("memory.max", true, "1073741824".to_owned()),
                ("pids.max", true, "200".to_owned()),
                ("cpu.max", true, "150000 100000".to_owned()),
                ("cpu.weight", false, "100".to_owned()),
            ]
        );
        assert_eq!(files(&CgroupLimits::default())[3].2, "max 100000");
    }
}
