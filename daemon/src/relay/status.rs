//! Answers those who ask how everything stands: puts the pools' readings together, and adds what the system says of the workers.

use std::{os::fd::OwnedFd, os::unix::net::UnixStream as StdUnixStream, time::Duration};

use nix::unistd::{SysconfVar, getppid, sysconf};
use tokio::{io::AsyncWriteExt, net::UnixStream, sync::mpsc, time::timeout};

use super::{pool_thread::ToPool, reading::Reading};
use crate::{
    clock::Clock,
    control::{
        admin::Answer,
        status::{Status, WorkerStatus},
    },
};

/// How long a pool's thread may take to read its pools, and who asked to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whom to ask, and since when the daemon runs.
#[derive(Clone, Debug)]
pub(super) struct Observer {
    threads: Vec<mpsc::UnboundedSender<ToPool>>,
    clock: Clock,
    /// The daemon's, when the clock began.
    uptime: Duration,
}

/// Everything at one moment.
#[derive(Clone, Debug)]
pub(super) struct Overview {
    pub(super) status: Status,
    /// What was read of the pools, in the same order.
    pub(super) readings: Vec<Reading>,
}

impl Observer {
    /// An observer of the pools on `threads`, in a daemon that has run for `uptime`.
    pub(super) fn new(threads: Vec<mpsc::UnboundedSender<ToPool>>, uptime: Duration) -> Self {
        Self {
            threads,
            clock: Clock::start(),
            uptime,
        }
    }

    /// How everything stands. A thread that does not answer is left out.
    pub(super) async fn look(&self) -> Overview {
        let (sender, mut readings) = mpsc::unbounded_channel();
        for thread in &self.threads {
            if thread.send(ToPool::Read(sender.clone())).is_err() {
                tracing::debug!("relay: a thread has ended before the relay");
            }
        }
        drop(sender);
        let mut all: Vec<Reading> = Vec::new();
        let gather = async {
            while let Some(some) = readings.recv().await {
                all.extend(some);
            }
        };
        if timeout(PATIENCE, gather).await.is_err() {
            tracing::warn!("relay: a thread did not say how its pools stand");
        }
        all.sort_by(|one, other| {
            let key = |reading: &Reading| (reading.status.name.clone(), reading.leaves);
            key(one).cmp(&key(other))
        });
        // a pool that goes may have given its name to another
        all.dedup_by(|next, one| next.status.name == one.status.name);
        for worker in all
            .iter_mut()
            .flat_map(|reading| &mut reading.status.workers)
        {
            look_at_process(worker);
        }
        let uptime = self.uptime + self.clock.now().since_origin();
        let status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: getppid().as_raw(),
            uptime_seconds: uptime.as_secs_f64(),
            pools: all.iter().map(|reading| reading.status.clone()).collect(),
        };
        Overview {
            status,
            readings: all,
        }
    }

    /// Answers an operator's question on the connection that came with it.
    pub(super) async fn answer(self, connection: OwnedFd) {
        let answer = Answer::Status(self.look().await.status);
        let Ok(mut line) = serde_json::to_vec(&answer) else {
            return;
        };
        line.push(b'\n');
        let Ok(mut connection) = UnixStream::from_std(StdUnixStream::from(connection)) else {
            return;
        };
        // who asked may have gone
        drop(timeout(PATIENCE, connection.write_all(&line)).await);
    }
}

/// Memory and processor time, where the system tells.
fn look_at_process(worker: &mut WorkerStatus) {
    if worker.pid == 0 {
        return;
    }
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", worker.pid)).ok();
    worker.resident_bytes = read("statm").and_then(|text| resident_bytes(&text));
    worker.cpu_seconds = read("stat").and_then(|text| cpu_seconds(&text));
}

/// The second number of statm, pages.
fn resident_bytes(statm: &str) -> Option<u64> {
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    pages.checked_mul(setting(SysconfVar::PAGE_SIZE)?)
}

/// The 14th and 15th fields of stat, ticks in user and kernel mode; the 2nd, in brackets, may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11).map(str::parse::<u32>);
    let (user, kernel) = (fields.next()?.ok()?, fields.next()?.ok()?);
    let ticks = u32::try_from(setting(SysconfVar::CLK_TCK)?).ok()?;
    Some((f64::from(user) + f64::from(kernel)) / f64::from(ticks))
}

fn setting(name: SysconfVar) -> Option<u64> {
    u64::try_from(sysconf(name).ok()??).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_look_like_the_fields() {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 150 50 0 0";
        let seconds = cpu_seconds(&format!("42 (a) b) {fields}")).unwrap();
        let ticks = setting(SysconfVar::CLK_TCK).unwrap();
        assert!((seconds - 200.0 / f64::from(u32::try_from(ticks).unwrap())).abs() < 1e-9);
        assert_eq!(cpu_seconds("42 (a"), None);
    }

    #[test]
    fn we_have_memory() {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        assert!(resident_bytes(&text).unwrap() > 100_000);
        assert_eq!(resident_bytes("12"), None);
    }
}
