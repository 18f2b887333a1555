//! The supervisor: starts, watches and stops the relay and the workers. It may be root, and never reads a byte that a
//! host or a client sent; what the relay and workers say to it is fixed-size and typed.
//!
//! ```text
//!   signals, relay, workers ──▶ shell ──▶ policy/supervision ──▶ execute ──▶ spawn ──▶ launcher ──▶ worker
//! ```
//! - `shell`: the loop; `execute`: the machine's actions; `admin`: the admin socket; `reload`: HUP and `stockade reload`.
//! - `pools`, `workers`, `relay_process`, `shim_process`: what is held of each; `process`: a process by its pidfd; `relay_life`, `line`: talk
//!   with a relay; `words`: the log's.
//! - `samples`, `sampling`, `usage`: what workers take of the machine; `burial`: one is gone.
//! - `succession`: relays come and go, workers stay; `leases`: whose a worker's slots are.
//! - `strays`: what workers leave behind.
//! - `scale`: how many workers a pool has, as the relay and operators say.
//! - `order`: what starting a worker takes; `forking`: a template forks it.
//! - `spawn`: the only place where processes are started.
//! - `systemd`: what systemd is told and passes.
//! - `listeners`: where pools listen; `removal`: pools that go; `watching`: files whose change reloads a pool.
//! - `sockets`, `runtime_dir`, `adapter`, `signals`: what is made, taken or opened at the start.
//!
//! It decides nothing about workers: that is `stockade_policy::supervision`.

mod access_logs;
mod adapter;
mod admin;
mod burial;
mod error;
mod execute;
mod forking;
mod hangs;
mod heartbeat;
mod leases;
mod line;
mod listeners;
mod order;
mod pools;
mod process;
mod relay_life;
mod relay_process;
mod reload;
mod removal;
mod runtime_dir;
mod samples;
mod sampling;
mod scale;
mod shell;
mod shim_process;
mod signals;
mod sockets;
mod spawn;
mod stacks;
mod strays;
mod succession;
mod systemd;
mod threads;
mod usage;
mod watching;
mod words;
mod workers;

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::PathBuf,
};

use nix::sys::{
    prctl,
    resource::{Resource, getrlimit, setrlimit},
};
use stockade_policy::{
    PoolId, Random,
    supervision::{Event, Supervision},
};
use tokio::runtime;

pub use error::SupervisorError;

use crate::{
    cgroup::Cgroups,
    clock::Clock,
    config::{
        self,
        resolved::{Config, Kind, Pool},
    },
};
use access_logs::AccessLogs;
use adapter::Adapter;
use admin::Admin;
use hangs::Looks;
use pools::PoolRecord;
use relay_life::Role;
use relay_process::RelayProcess;
use reload::Reloads;
use runtime_dir::RuntimeDir;
use sampling::Sampling;
use shell::{Inbox, Shell};
use shim_process::ShimProcess;
use signals::Signals;
use spawn::Spawner;
use stacks::Questions;
use strays::Strays;
use systemd::{Passed, Systemd};
use watching::Watcher;

/// Where a configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, which can be read again.
    File(PathBuf),
    /// A command line. The daemon ends when its application fails before it ever served: somebody waits for it at a terminal.
    CommandLine,
}

/// Serves `config`, which came from `source`, until a signal ends it. To be called on the main thread: workers end
/// with the thread that started them.
///
/// # Errors
/// When it cannot start; see [`SupervisorError::exit_code`].
pub fn run(config: Config, source: Source) -> Result<(), SupervisorError> {
    if let Err(error) = raise_descriptor_limit() {
        tracing::warn!("could not raise the limit of descriptors: {error}");
    }
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(SupervisorError::step("make a runtime"))?;
    runtime.block_on(async {
        let (mut shell, inbox) = prepare(config, source)?;
        begin(&mut shell).await?;
        shell.run(inbox).await;
        if let Some(shim) = &mut shell.shim {
            shim.end().await;
        }
        shell.relay.end().await;
        tracing::info!("stopped");
        match shell.never_served.take() {
            Some(pool) => Err(SupervisorError::NeverServed(pool)),
            None => Ok(()),
        }
    })
}

/// Takes what has to be taken; starts nothing.
fn prepare(config: Config, source: Source) -> Result<(Shell, Inbox), SupervisorError> {
    let signals = Signals::take().map_err(SupervisorError::step("take the signals"))?;
    prctl::set_child_subreaper(true)
        .map_err(io::Error::from)
        .map_err(SupervisorError::step("become a subreaper"))?;
    warn(&config);
    let daemon = config.daemon;
    let mut adapter = Adapter::default();
    adapter.open_for(&config.pools)?;
    let mut access_logs = AccessLogs::default();
    access_logs.open_for(&config.pools)?;
    let spawner = Spawner::open().map_err(SupervisorError::step("open our own executable"))?;
    let runtime_dir = RuntimeDir::take(&daemon.runtime_dir, daemon.relay_user.as_ref())?;
    let cgroups = cgroups_for(&config.pools)?;
    let mut shim = match config.shim {
        Some(keys) => Some(ShimProcess::bind(keys, daemon.log_level)?),
        None => None,
    };
    let pools = bind(config.pools)?;
    let mut random = Random::new(seed()?);
    if let Some(shim) = &mut shim {
        shim.seed(random.next());
    }
    let (admin, requests) = Admin::bind(&daemon.admin_socket)?;
    let (senders, inbox) = shell::inbox(signals, requests);
    let mut machine = Supervision::new(random.next());
    machine.set_maximum_processes(daemon.maximum_processes);
    let shell = Shell {
        clock: Clock::start(),
        machine,
        sampling: Sampling::default(),
        source,
        relay: RelayProcess::new(&daemon, random.next())?,
        wanting: VecDeque::new(),
        shim,
        daemon,
        next_pool: pools.keys().last().map_or(1, |last| last.0 + 1),
        closing: BTreeMap::new(),
        pools,
        workers: BTreeMap::new(),
        launch_failures: BTreeMap::new(),
        looks: Looks::default(),
        questions: Questions::default(),
        spawner,
        adapter,
        access_logs,
        cgroups,
        runtime_dir,
        _admin: admin,
        reloads: Reloads::default(),
        watcher: Watcher::default(),
        systemd: Systemd::new(),
        strays: Strays::default(),
        random,
        senders,
        stopping: false,
        finished: false,
        never_served: None,
    };
    Ok((shell, inbox))
}

/// Binds the pools' sockets, or takes those that systemd has passed.
fn bind(configured: Vec<Pool>) -> Result<BTreeMap<PoolId, PoolRecord>, SupervisorError> {
    let mut passed = Passed::take()?;
    let mut pools = BTreeMap::new();
    for (id, pool) in (1..).map(PoolId).zip(configured) {
        pools.insert(id, PoolRecord::bind(id, pool, &mut passed)?);
    }
    for name in passed.left() {
        tracing::warn!(
            "systemd has passed a socket {name}, which no pool listens on: it is closed; `listen` takes it as \"systemd:{name}\""
        );
    }
    Ok(pools)
}

/// Starts the relay and the shim, which have to come up this time, and gives the machine its pools.
async fn begin(shell: &mut Shell) -> Result<(), SupervisorError> {
    let now = shell.clock.now();
    let launch = shell
        .relay
        .start(&shell.spawner, now)
        .map_err(SupervisorError::Relay)?;
    launch.outcome().await.map_err(SupervisorError::Relay)?;
    shell.tell_everything(Role::Serving);
    if let Some(shim) = &mut shell.shim {
        let launch = shim
            .start(&shell.spawner, now)
            .map_err(SupervisorError::Shim)?;
        launch.outcome().await.map_err(SupervisorError::Shim)?;
        shim.tell_addresses();
    }
    let waited_for = shell.source == Source::CommandLine;
    let pools: Vec<_> = shell
        .pools
        .values()
        .filter(|record| record.kind() != Kind::Upstream)
        .map(|record| (record.id, record.supervision(waited_for)))
        .collect();
    let (version, count) = (env!("CARGO_PKG_VERSION"), shell.pools.len());
    let plural = if count == 1 { "" } else { "s" };
    tracing::info!(
        "stockade {version} (pid {}) serving {count} pool{plural}",
        std::process::id()
    );
    for (pool, settings) in pools {
        shell.tell_machine(Event::PoolAdded { pool, settings });
    }
    shell.watch_pools();
    shell.tell_systemd();
    Ok(())
}

/// Each pool has sockets, each worker pipes, and nothing is gained by a soft limit.
fn raise_descriptor_limit() -> nix::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)
}

/// Takes cgroups, and has the limits of these pools hold.
fn cgroups_for(pools: &[Pool]) -> Result<Cgroups, SupervisorError> {
    let mut cgroups = Cgroups::take();
    hold(&mut cgroups, pools)?;
    for pool in pools {
        limit(&mut cgroups, pool)?;
    }
    Ok(cgroups)
}

/// Whether the limits of all pools can be had.
fn hold(cgroups: &mut Cgroups, pools: &[Pool]) -> Result<(), SupervisorError> {
    for pool in pools {
        let held = cgroups.can_hold(&pool.cgroup);
        held.map_err(|lack| SupervisorError::cgroup(pool, &lack))?;
    }
    Ok(())
}

/// Has the limits of a pool hold.
fn limit(cgroups: &mut Cgroups, pool: &Pool) -> Result<(), SupervisorError> {
    let limited = cgroups.limit(&pool.name, pool.cgroup);
    limited.map_err(|lack| SupervisorError::cgroup(pool, &lack))
}

/// Says what is odd in `config`.
fn warn(config: &Config) {
    for warning in config::warnings::warnings(config, &config::System) {
        tracing::warn!("{warning}");
    }
}

fn seed() -> Result<u64, SupervisorError> {
    getrandom::u64()
        .map_err(io::Error::other)
        .map_err(SupervisorError::step("draw a random seed"))
}
