//! What workers take of the machine, as /proc tells it: of a worker and of everything in its session, which the launcher has begun.
//!
//! How much of the memory is whose ([`look`]) the kernel says only while nothing changes the process's memory: of one that hangs in the kernel
//! it may be silent for ever. So that is asked on a thread that nobody waits for; the loop itself asks only what is at hand ([`glance`]).

use std::{collections::BTreeMap, io::Read as _, thread, time::Duration};

use procfs::{
    process::{MMapExtension, Process, Stat, all_processes},
    ticks_per_second,
};
use stockade_policy::WorkerId;
use tokio::sync::mpsc;

use super::process::status_number;
use crate::control::record::Sample;

/// In the way of /proc.
const KIB: u64 = 1024;

/// A worker to look at: its folder in /proc, opened while it was ours, which no later process of the same number can be behind.
#[derive(Debug)]
pub(super) struct Subject {
    worker: WorkerId,
    process: Process,
}

impl Subject {
    /// A worker that has not been reaped; none when the system says nothing of it.
    pub(super) fn new(worker: WorkerId, pid: i32) -> Option<Self> {
        let process = Process::new(pid).ok()?;
        Some(Self { worker, process })
    }
}

/// Looks at workers on a thread of its own, and says what it has seen.
pub(super) fn look(
    subjects: Vec<Subject>,
    seen: mpsc::Sender<Vec<(WorkerId, Sample)>>,
) -> std::io::Result<()> {
    let look = move || {
        let mut families = families(&subjects);
        let samples = subjects.into_iter().map(|subject| {
            let Subject { worker, process } = subject;
            let family = families.remove(&process.pid).unwrap_or_default();
            (worker, sample(&process, &family, memory))
        });
        // nobody hears it when the daemon ends
        drop(seen.blocking_send(samples.collect()));
    };
    thread::Builder::new()
        .name("samples".to_owned())
        .spawn(look)
        .map(drop)
}

/// What is known at once of a process that has not been reaped; of its family nothing.
pub(super) fn glance(pid: i32) -> Sample {
    Process::new(pid)
        .map(|process| sample(&process, &[], at_hand))
        .unwrap_or_default()
}

/// The other processes of the workers' sessions, by the worker's.
fn families(subjects: &[Subject]) -> BTreeMap<i32, Vec<Process>> {
    let mut families: BTreeMap<i32, Vec<Process>> = subjects
        .iter()
        .map(|subject| (subject.process.pid, Vec::new()))
        .collect();
    let all = all_processes().into_iter().flatten().flatten();
    for process in all {
        if let Ok(stat) = process.stat()
            && stat.pid != stat.session
            && let Some(family) = families.get_mut(&stat.session)
        {
            family.push(process);
        }
    }
    families
}

fn sample(process: &Process, family: &[Process], memory: fn(&Process) -> Memory) -> Sample {
    let Memory { part, private } = memory(process);
    let mut sample = Sample {
        resident_bytes: part,
        private_bytes: private,
        cpu: cpu(process),
    };
    for other in family.iter().map(memory) {
        let more = |own: Option<u64>, of: Option<u64>| Some(own? + of.unwrap_or_default());
        sample.resident_bytes = more(sample.resident_bytes, other.part);
        sample.private_bytes = more(sample.private_bytes, other.private);
    }
    if let Some(used) = &mut sample.cpu {
        *used += family.iter().filter_map(cpu).sum::<Duration>();
    }
    sample
}

/// What a process has of the memory.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    /// Its part, or what is its own.
    part: Option<u64>,
    /// What nobody else has.
    private: Option<u64>,
}

fn memory(process: &Process) -> Memory {
    let rollup = process.smaps_rollup().ok();
    let shares = rollup.and_then(|rollup| {
        let MMapExtension { map, .. } = &rollup.memory_map_rollup.0.first()?.extension;
        let private = map.get("Private_Clean").zip(map.get("Private_Dirty"));
        Some(Memory {
            part: Some(*map.get("Pss")?),
            private: private.map(|(clean, dirty)| clean + dirty),
        })
    });
    shares.unwrap_or_else(|| at_hand(process))
}

/// What is known without waiting.
fn at_hand(process: &Process) -> Memory {
    Memory {
        part: anonymous(process),
        private: None,
    }
}

fn anonymous(process: &Process) -> Option<u64> {
    let mut status = Vec::new();
    let mut file = process.open_relative("status").ok()?;
    file.read_to_end(&mut status).ok()?;
    let kibibytes: u64 = status_number(&status, "RssAnon:")?;
    Some(kibibytes * KIB)
}

/// Its own, and that of its children that have ended.
fn cpu(process: &Process) -> Option<Duration> {
    let Stat {
        utime,
        stime,
        cutime,
        cstime,
        ..
    } = process.stat().ok()?;
    let ended = u64::try_from(cutime + cstime).unwrap_or_default();
    let ticks = utime + stime + ended;
    Some(Duration::from_secs(ticks) / u32::try_from(ticks_per_second()).ok()?)
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::CommandExt, process::Command};

    use super::*;

    fn ourselves() -> i32 {
        std::process::id().cast_signed()
    }

    #[test]
    fn we_have_memory_and_use_time() {
        let (sender, mut seen) = mpsc::channel(1);
        let worker = WorkerId(7);
        look(vec![Subject::new(worker, ourselves()).unwrap()], sender).unwrap();
        let (of, sample) = seen.blocking_recv().unwrap()[0];
        assert_eq!(of, worker);
        assert!(sample.resident_bytes.unwrap() > 100_000);
        assert!(sample.cpu.is_some());
        assert!(glance(ourselves()).resident_bytes.unwrap() > 100_000);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a process to look at")]
    fn of_one_that_is_gone_nothing_is_said() {
        let mut child = Command::new("/bin/sh")
            .args(["-c", "read line"])
            .stdin(std::process::Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let pid = child.id().cast_signed();
        let subject = Subject::new(WorkerId(1), pid).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let (sender, mut seen) = mpsc::channel(1);
        look(vec![subject], sender).unwrap();
        assert_eq!(seen.blocking_recv().unwrap()[0].1, Sample::default());
        assert_eq!(glance(pid), Sample::default());
    }
}
