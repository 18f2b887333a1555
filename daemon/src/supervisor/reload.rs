//! HUP and `stockade reload`: the configuration is read again. One that is wrong changes nothing; one of a command line is as it was.

use std::collections::{BTreeMap, BTreeSet};

use stockade_policy::{Generation, PoolId, supervision::Event};
use tokio::sync::oneshot;

use super::{Source, pools::PoolRecord, shell::Shell, shim_process::ShimProcess};
use crate::{
    config::{
        self, ConfigErrors,
        resolved::{Config, Kind, Pool},
    },
    control::admin::Answer,
};

/// Those who wait for the end of a reload.
#[derive(Debug, Default)]
pub(super) struct Reloads(Vec<Waiter>);

#[derive(Debug)]
struct Waiter {
    /// The pools that have not come to an end, by their names.
    left: BTreeMap<PoolId, String>,
    /// How the others did.
    lines: Vec<String>,
    failed: bool,
    reply: oneshot::Sender<Answer>,
}

/// A reload that was begun.
#[derive(Debug)]
pub(super) struct Begun {
    /// The pools that get a new generation.
    pools: BTreeMap<PoolId, String>,
    /// What else is to be said: what a running daemon cannot take over, and what holds at once.
    notes: Vec<String>,
}

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
    pub(super) fn reload_asked(
        &mut self,
        pool: Option<&str>,
        wait: bool,
        reply: oneshot::Sender<Answer>,
    ) {
        let answer = match self.reload(pool) {
            Err(refusal) => {
                refusal.log();
                let lines = refusal.reason.lines().map(str::to_owned).collect();
                let code = refusal.code;
                Answer::Failed { code, lines }
            }
            Ok(begun) if wait => {
                self.reloads.wait_for(begun, reply);
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
        drop(reply.send(answer));
    }

    /// Reads the configuration again and begins a new generation of the pool `only`, or of each.
    pub(super) fn reload(&mut self, only: Option<&str>) -> Result<Begun, Refusal> {
        if self.stopping {
            return Err(Refusal::new(75, "the daemon is stopping"));
        }
        let (keys, mut notes) = self.read_again()?;
        let known: Vec<&str> = self.pools.values().map(|pool| pool.name.as_str()).collect();
        if let Some(name) = only.filter(|name| !known.contains(name)) {
            let known = known.join(", ");
            return Err(Refusal::new(
                1,
                format!("there is no pool {name:?}: the pools are {known}"),
            ));
        }
        if let Some(name) = only.filter(|name| keys.iter().all(|keys| keys.name != *name)) {
            return Err(Refusal::new(
                1,
                format!(
                    "pool {name} is no longer in the configuration: it is removed at the next start"
                ),
            ));
        }
        let of = only.map_or_else(String::new, |name| format!(" of pool {name}"));
        tracing::info!("reload{of} begun");
        for line in &notes {
            tracing::warn!("{line}");
        }
        let mut pools = BTreeMap::new();
        for keys in keys {
            if only.is_none_or(|name| keys.name == name) {
                self.reload_pool(keys, &mut pools, &mut notes);
            }
        }
        self.systemd.reloading(pools.keys().copied());
        Ok(Begun { pools, notes })
    }

    /// The pool's new generation serves.
    pub(super) fn reload_finished(&mut self, pool: PoolId, generation: Generation) {
        let how = format!("generation {generation} serves");
        self.reloads.ended(pool, &how, false);
        self.systemd.reloaded(pool);
    }

    /// The pool's new generation was given up, or is down.
    pub(super) fn reload_failed(&mut self, pool: PoolId, why: &str) {
        self.reloads.ended(pool, why, true);
        self.systemd.reloaded(pool);
    }

    /// The pools' keys as they are now, and what of them takes effect at the next start only.
    fn read_again(&mut self) -> Result<(Vec<Pool>, Vec<String>), Refusal> {
        let Source::File(source) = &self.source else {
            let same = self.pools.values().map(PoolRecord::latest).collect();
            return Ok((same, Vec::new()));
        };
        let config =
            config::read(source, &config::System).map_err(|errors| Refusal::wrong(&errors))?;
        self.adapter
            .open_for(&config.pools)
            .map_err(|error| Refusal::new(error.exit_code(), error))?;
        self.access_logs
            .open_for(&config.pools)
            .map_err(|error| Refusal::new(error.exit_code(), error))?;
        super::hold(&mut self.cgroups, &config.pools)
            .map_err(|error| Refusal::new(error.exit_code(), error))?;
        super::warn(&config);
        let waits = self.what_waits(&config);
        Ok((config.pools, waits))
    }

    fn reload_pool(
        &mut self,
        keys: Pool,
        begun: &mut BTreeMap<PoolId, String>,
        notes: &mut Vec<String>,
    ) {
        let same = |record: &&mut PoolRecord| {
            record.name == keys.name && record.kind() == keys.application.kind()
        };
        let Some(record) = self.pools.values_mut().find(same) else {
            return;
        };
        if let Err(error) = super::limit(&mut self.cgroups, &keys) {
            tracing::warn!("{error}");
            notes.push(error.to_string());
        }
        record.change(keys);
        let (pool, name, settings) = (record.id, record.name.clone(), record.supervision(false));
        if record.kind() == Kind::Upstream {
            record.take_over();
            for (message, descriptors) in record.changed(&self.access_logs) {
                self.relay.tell(&message, &descriptors);
            }
            notes.push(format!("pool {name}: the new configuration holds"));
            return;
        }
        self.tell_machine(Event::PoolChanged { pool, settings });
        self.tell_machine(Event::ReloadRequested { pool });
        begun.insert(pool, name);
    }

    /// What a running daemon cannot take over.
    fn what_waits(&self, config: &Config) -> Vec<String> {
        let mut waits = Vec::new();
        let mut wait = |what: String| waits.push(format!("{what}: takes effect at the next start"));
        if config.daemon != self.daemon {
            wait("[daemon] has changed".to_owned());
        }
        if config.shim.as_ref() != self.shim.as_ref().map(ShimProcess::keys) {
            wait("[shim] has changed".to_owned());
        }
        let names: BTreeSet<&str> = config.pools.iter().map(|pool| pool.name.as_str()).collect();
        for record in self.pools.values() {
            if !names.contains(record.name.as_str()) {
                wait(format!("pool {} was removed", record.name));
            }
        }
        for keys in &config.pools {
            let name = &keys.name;
            match self.pools.values().find(|record| record.name == *name) {
                None => wait(format!("pool {name} is new")),
                Some(record) if record.kind() != keys.application.kind() => {
                    wait(format!("pool {name}: runs something of another kind"));
                }
                Some(record) if !has_same_sockets(record.bound(), keys) => {
                    wait(format!("pool {name}: its sockets have changed"));
                }
                Some(_) => {}
            }
        }
        waits
    }
}

impl Reloads {
    fn wait_for(&mut self, begun: Begun, reply: oneshot::Sender<Answer>) {
        self.0.retain(|waiter| !waiter.reply.is_closed());
        self.0.push(Waiter {
            left: begun.pools,
            lines: begun.notes,
            failed: false,
            reply,
        });
        self.answer();
    }

    /// The daemon stops: nothing is to be waited for.
    pub(super) fn give_up(&mut self) {
        for waiter in &mut self.0 {
            let names = std::mem::take(&mut waiter.left).into_values();
            let lines = names.map(|name| format!("pool {name}: the daemon is stopping"));
            waiter.lines.extend(lines);
            waiter.failed = true;
        }
        self.answer();
    }

    fn ended(&mut self, pool: PoolId, how: &str, failed: bool) {
        for waiter in &mut self.0 {
            if let Some(name) = waiter.left.remove(&pool) {
                waiter.lines.push(format!("pool {name}: {how}"));
                waiter.failed |= failed;
            }
        }
        self.answer();
    }

    fn answer(&mut self) {
        for waiter in self.0.extract_if(.., |waiter| waiter.left.is_empty()) {
            let lines = waiter.lines;
            let answer = if waiter.failed {
                Answer::Failed { code: 1, lines }
            } else {
                Answer::Done { lines }
            };
            // who asked may have gone
            drop(waiter.reply.send(answer));
        }
    }
}

fn has_same_sockets(bound: &Pool, keys: &Pool) -> bool {
    (&bound.listen, bound.socket, bound.listen_backlog)
        == (&keys.listen, keys.socket, keys.listen_backlog)
}

const REFUSED: &str = "reload refused, nothing changes: ";
