//! HUP and `stockade reload`: the configuration is read again. One that is wrong changes nothing; one of a command line is as it was.
//!
//! What is different is for `config::changes` to say. First everything that can fail: files are opened, addresses bound
//! (`sockets`). Then pools are closed (`removal`), added, told their new keys, and get a new generation. `waiting`: who waits for it.

mod sockets;
mod waiting;

use std::{collections::BTreeMap, path::Path};

use stockade_policy::{PoolId, supervision::Event};

use self::sockets::{Loose, Prepared};
pub(super) use self::waiting::Reloads;
use super::{Source, admin::Asked, pools::PoolRecord, shell::Shell, shim_process::ShimProcess};
use crate::{
    config::{
        self, ConfigErrors,
        changes::{Change, Changes},
        resolved::{Config, Daemon, Kind, Pool},
    },
    control::admin::Answer,
    log,
};

/// What is to be reloaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reload {
    /// One pool; none: all.
    pub(super) pool: Option<String>,
    /// Workers go on where no key has changed that needs new ones.
    pub(super) changed: bool,
}

/// A reload that was begun.
#[derive(Debug)]
pub(super) struct Begun {
    /// The pools that get a new generation, or are new.
    pools: BTreeMap<PoolId, String>,
    /// What else is to be said: what a running daemon cannot take over, and what holds at once.
    notes: Vec<String>,
}

/// The pools' keys, those of `[daemon]` if there is a file, and what takes effect at the next start only.
type Read = (Vec<Pool>, Option<Daemon>, Vec<String>);

/// Why a reload was not begun. Nothing has changed.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The exit code of the command.
    code: u8,
    /// For who asked: lines.
    reason: String,
    /// For the log: an event each.
    events: Vec<String>,
}

impl Refusal {
    fn new(code: u8, reason: impl std::fmt::Display) -> Self {
        let reason = format!("{REFUSED}{reason}");
        Self {
            code,
            events: vec![reason.clone()],
            reason,
        }
    }

    /// A wrong configuration, with an event for each of its mistakes.
    fn wrong(errors: &ConfigErrors) -> Self {
        let sentences = errors.sentences();
        Self {
            code: 78,
            reason: format!("{REFUSED}{errors}"),
            events: sentences
                .iter()
                .map(|each| format!("{REFUSED}{each}"))
                .collect(),
        }
    }

    /// Logs it.
    pub(super) fn log(&self) {
        for event in &self.events {
            tracing::warn!("{event}");
        }
    }
}

impl Shell {
    /// `stockade reload`.
    pub(super) fn reload_asked(&mut self, what: &Reload, wait: bool, asked: Asked) {
        let answer = match self.reload(what) {
            Err(refusal) => {
                refusal.log();
                let lines = refusal.reason.lines().map(str::to_owned).collect();
                let code = refusal.code;
                Answer::Failed { code, lines }
            }
            Ok(begun) if wait => {
                self.reloads.wait_for(begun, asked, &mut self.relay);
                return;
            }
            Ok(Begun { pools, notes }) => Answer::Done {
                lines: pools
                    .values()
                    .map(|name| format!("pool {name}: reload begun"))
                    .chain(notes)
                    .collect(),
            },
        };
        // who asked may have gone
        drop(asked.reply.send(answer));
    }

    /// Reads the configuration again and does what it says.
    pub(super) fn reload(&mut self, what: &Reload) -> Result<Begun, Refusal> {
        if self.stopping {
            return Err(Refusal::new(75, "the daemon is stopping"));
        }
        let only = what.pool.as_deref();
        let (read, daemon, mut notes) = self.read_again()?;
        let running: Vec<&Pool> = self.staying().map(PoolRecord::in_force).collect();
        let changes = Changes::between(&running, read, only);
        if let (Some(name), true) = (only, changes == Changes::default()) {
            return Err(Refusal::new(1, self.no_pool(name)));
        }
        let prepared = self.prepare(&changes)?;
        let of = only.map_or_else(String::new, |name| format!(" of pool {name}"));
        tracing::info!("reload{of} begun");
        for line in &notes {
            tracing::warn!("{line}");
        }
        if let Some(daemon) = daemon {
            self.take_over(&daemon);
        }
        let mut begun = BTreeMap::new();
        self.apply(changes, prepared, what.changed, &mut begun, &mut notes);
        self.watch_pools();
        if begun.is_empty() && notes.is_empty() {
            notes.push("nothing has changed".to_owned());
        }
        self.systemd.reloading(begun.keys().copied());
        self.tell_systemd();
        Ok(Begun {
            pools: begun,
            notes,
        })
    }

    fn read_again(&self) -> Result<Read, Refusal> {
        let Source::File(source) = &self.source else {
            let same = self.pools.values().map(PoolRecord::in_force).cloned();
            return Ok((same.collect(), None, Vec::new()));
        };
        let config =
            config::read(source, &config::System).map_err(|errors| Refusal::wrong(&errors))?;
        super::warn(&config);
        let waits = self.what_waits(&config);
        Ok((config.pools, Some(config.daemon), waits))
    }

    /// What of `[daemon]` holds at once.
    fn take_over(&mut self, read: &Daemon) {
        self.daemon.shutdown_timeout = read.shutdown_timeout;
        if self.daemon.maximum_processes != read.maximum_processes {
            self.daemon.maximum_processes = read.maximum_processes;
            self.machine.set_maximum_processes(read.maximum_processes);
        }
        if self.daemon.log_level != read.log_level {
            self.daemon.log_level = read.log_level;
            log::set_level(read.log_level);
            self.relay.set_log_level(read.log_level);
            if let Some(shim) = &mut self.shim {
                shim.set_log_level(read.log_level);
            }
        }
    }

    /// Everything that can fail; when it does, nothing has changed.
    fn prepare(&mut self, changes: &Changes) -> Result<Prepared, Refusal> {
        let pools: Vec<Pool> = changes.wanted().cloned().collect();
        self.adapter
            .open_for(&pools)
            .and_then(|()| self.access_logs.open_for(&pools))
            .and_then(|()| super::hold(&mut self.cgroups, &pools))
            .map_err(|error| Refusal::new(error.exit_code(), error))?;
        self.prepare_sockets(changes)
    }

    fn apply(
        &mut self,
        changes: Changes,
        mut prepared: Prepared,
        only_changed: bool,
        begun: &mut BTreeMap<PoolId, String>,
        notes: &mut Vec<String>,
    ) {
        let mut loose = self.loosen(&changes);
        let mut leaving: Vec<PoolId> = (changes.removed.iter())
            .filter_map(|name| self.known(name))
            .collect();
        for name in &changes.removed {
            notes.push(format!("pool {name}: removed"));
        }
        let mut new = changes.added;
        for (keys, change) in changes.kept {
            let Some(pool) = self.known(&keys.name) else {
                continue;
            };
            if change == Change::Replaced {
                leaving.push(pool);
                new.push(keys);
                continue;
            }
            self.listen_where(pool, &keys, &mut prepared, &mut loose);
            let change = if only_changed {
                change
            } else {
                change.max(Change::NewWorkers)
            };
            self.reload_pool(pool, keys, change, begun, notes);
        }
        for keys in new {
            self.add_pool(keys, (&mut prepared, &mut loose), begun, notes);
        }
        self.close_loose(loose);
        for pool in leaving {
            self.close_pool(pool);
        }
    }

    /// The pool of this name that is not about to go.
    pub(super) fn known(&self, name: &str) -> Option<PoolId> {
        let mut records = self.staying();
        let found = records.find(|record| record.name == name);
        found.map(|record| record.id)
    }

    /// The pools that are not about to go.
    fn staying(&self) -> impl Iterator<Item = &PoolRecord> {
        self.pools.values().filter(|record| !record.closing)
    }

    /// An operator has named a pool that there is not.
    pub(super) fn no_pool(&self, name: &str) -> String {
        let known: Vec<&str> = self.staying().map(|record| record.name.as_str()).collect();
        let known = known.join(", ");
        format!("there is no pool {name:?}: the pools are {known}")
    }

    fn add_pool(
        &mut self,
        keys: Pool,
        (prepared, loose): (&mut Prepared, &mut Loose),
        begun: &mut BTreeMap<PoolId, String>,
        notes: &mut Vec<String>,
    ) {
        // the cgroup may be there: of a pool of this name that goes
        self.limit(&keys, notes);
        let listeners = self.listeners_of_new(&keys, prepared, loose);
        let id = PoolId(self.next_pool);
        self.next_pool += 1;
        let mut record = PoolRecord::of(id, keys, listeners);
        let name = record.name.clone();
        tracing::info!("pool {name}: added");
        let is_supervised = record.kind() != Kind::Upstream;
        record.is_new = is_supervised;
        for (message, descriptors) in record.handover(&self.access_logs) {
            self.relay.tell(&message, &descriptors);
        }
        let settings = record.supervision(false);
        self.pools.insert(id, record);
        if is_supervised {
            begun.insert(id, name);
            self.tell_machine(Event::PoolAdded { pool: id, settings });
        } else {
            notes.push(format!("pool {name}: added"));
        }
    }

    fn reload_pool(
        &mut self,
        pool: PoolId,
        keys: Pool,
        change: Change,
        begun: &mut BTreeMap<PoolId, String>,
        notes: &mut Vec<String>,
    ) {
        self.limit(&keys, notes);
        let Some(record) = self.pools.get_mut(&pool) else {
            return;
        };
        let at_once = record.kind() == Kind::Upstream || change < Change::NewWorkers;
        if !at_once {
            record.allow(&keys);
            record.change(keys);
        } else if record.in_force() == &keys {
            record.forget_abandoned();
            return;
        } else {
            record.adjust(keys);
            let note = format!("pool {}: the new configuration holds", record.name);
            tracing::info!("{note}");
            notes.push(note);
        }
        let (name, kind) = (record.name.clone(), record.kind());
        let settings = record.supervision(false);
        for (message, descriptors) in record.changed(&self.access_logs) {
            self.relay.tell(&message, &descriptors);
        }
        if !at_once {
            self.tell_machine(Event::PoolChanged { pool, settings });
            self.tell_machine(Event::ReloadRequested { pool });
            begun.insert(pool, name);
        } else if kind != Kind::Upstream {
            self.tell_machine(Event::PoolAdjusted { pool, settings });
            self.tell_wanted(pool);
        }
    }

    fn limit(&mut self, keys: &Pool, notes: &mut Vec<String>) {
        if let Err(error) = super::limit(&mut self.cgroups, keys) {
            tracing::warn!("{error}");
            notes.push(error.to_string());
        }
    }

    /// A new generation of the pool, with the keys that it has: one of its files has changed.
    pub(super) fn reload_because(&mut self, pool: PoolId, path: &Path) {
        let Some(record) = self.pools.get_mut(&pool).filter(|record| !record.closing) else {
            return;
        };
        let shown = path.display();
        tracing::info!("reload of pool {} begun: {shown} has changed", record.name);
        record.forget_abandoned();
        let settings = record.supervision(false);
        self.tell_machine(Event::PoolChanged { pool, settings });
        self.tell_machine(Event::ReloadRequested { pool });
        self.systemd.reloading(std::iter::once(pool));
    }

    /// What a running daemon cannot take over.
    fn what_waits(&self, config: &Config) -> Vec<String> {
        let mut waits = Vec::new();
        let mut wait = |what: &str| waits.push(format!("{what}: takes effect at the next start"));
        let (is, read) = (&self.daemon, &config.daemon);
        for (key, same) in [
            ("runtime-dir", is.runtime_dir == read.runtime_dir),
            ("relay-user", is.relay_user == read.relay_user),
            ("relay-threads", is.relay_threads == read.relay_threads),
            ("admin-socket", is.admin_socket == read.admin_socket),
            ("status-listen", is.status_listen == read.status_listen),
        ] {
            if !same {
                wait(&format!("[daemon] `{key}` has changed"));
            }
        }
        if config.shim.as_ref() != self.shim.as_ref().map(ShimProcess::keys) {
            wait("[shim] has changed");
        }
        waits
    }
}

const REFUSED: &str = "reload refused, nothing changes: ";
