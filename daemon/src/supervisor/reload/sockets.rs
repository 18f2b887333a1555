//! The sockets of a reload. What can fail is done before anything else changes, and undone when something does fail: addresses that are new
//! are bound, names get their owner and mode. Then each pool gets its own; an address that one pool gives up for another goes over with
//! whoever waits on it.

use stockade_policy::PoolId;

use super::Refusal;
use crate::{
    config::{
        changes::{Change, Changes},
        resolved::{Listen, Pool, SocketOwner},
    },
    supervisor::{
        listeners::{Listener, Listeners, Moves},
        shell::Shell,
        systemd::Passed,
    },
};

/// What was made and changed for a reload.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// Sockets that are new, by the name of their pool.
    fresh: Vec<(String, Listener)>,
    /// Names whose owner was changed: whose they are, and what it was.
    changed: Vec<(PoolId, Listen, SocketOwner)>,
}

/// Listeners that their pools give up.
#[derive(Debug, Default)]
pub(super) struct Loose(Vec<(PoolId, u32, Listener)>);

impl Shell {
    /// Binds what `changes` needs; when it cannot, nothing has changed.
    pub(super) fn prepare_sockets(&mut self, changes: &Changes) -> Result<Prepared, Refusal> {
        let mut prepared = Prepared::default();
        for keys in changes.wanted() {
            for listen in &keys.listen {
                if let Err(refusal) = self.prepare_socket(changes, keys, listen, &mut prepared) {
                    self.undo(prepared);
                    return Err(refusal);
                }
            }
        }
        Ok(prepared)
    }

    fn prepare_socket(
        &mut self,
        changes: &Changes,
        keys: &Pool,
        listen: &Listen,
        prepared: &mut Prepared,
    ) -> Result<(), Refusal> {
        let failed = |error: crate::supervisor::SupervisorError| {
            Refusal::new(error.exit_code(), format!("pool {}: {error}", keys.name))
        };
        let mut pools = self.pools.values_mut();
        let found = pools.find_map(|record| {
            let (id, name) = (record.id, &record.name);
            Some((id, name, record.listeners.of(listen)?))
        });
        let found = found.filter(|(_, _, listener)| listener.is_found());
        let Some((id, name, listener)) = found else {
            let fresh = Listener::bind(listen, keys, &mut Passed::default()).map_err(failed)?;
            prepared.fresh.push((keys.name.clone(), fresh));
            return Ok(());
        };
        if *name != keys.name && !gives_up(changes, name, listen) {
            return Err(Refusal::new(
                75,
                format!(
                    "pool {} is to listen on {listen}, where pool {name} listens: reload both at once, with `stockade reload`",
                    keys.name
                ),
            ));
        }
        if let Some(before) = listener.own(keys.socket).map_err(failed)? {
            prepared.changed.push((id, listen.clone(), before));
        }
        Ok(())
    }

    /// The reload does not come about.
    pub(super) fn undo(&mut self, prepared: Prepared) {
        for (id, listen, before) in prepared.changed {
            let listener = self.pools.get_mut(&id);
            let listener = listener.and_then(|record| record.listeners.of(&listen));
            if let Some(Err(error)) = listener.map(|listener| listener.own(before)) {
                tracing::warn!("{error}");
            }
        }
    }

    /// What the pools that change or go do not keep.
    pub(super) fn loosen(&mut self, changes: &Changes) -> Loose {
        let mut loose = Loose::default();
        for record in self.pools.values_mut().filter(|record| !record.closing) {
            let kept = changes
                .kept
                .iter()
                .find(|(keys, _)| keys.name == record.name);
            let keep: &[Listen] = match kept {
                Some((_, Change::Replaced)) => &[],
                Some((keys, _)) => &keys.listen,
                None if changes.removed.contains(&record.name) => &[],
                None => continue,
            };
            let given = record.listeners.take_others(keep);
            let given = given.into_iter();
            loose
                .0
                .extend(given.map(|(number, each)| (record.id, number, each)));
        }
        loose
    }

    /// The sockets of a pool that is new.
    pub(super) fn listeners_of_new(
        &mut self,
        keys: &Pool,
        prepared: &mut Prepared,
        loose: &mut Loose,
    ) -> Listeners {
        let mut listeners = Listeners::default();
        for listen in &keys.listen {
            if let Some(listener) = self.find(keys, listen, prepared, loose) {
                listeners.add(listener);
            }
        }
        listeners
    }

    /// A pool that goes on has these addresses; the relay is told of those that begin.
    pub(super) fn listen_where(
        &mut self,
        id: PoolId,
        keys: &Pool,
        prepared: &mut Prepared,
        loose: &mut Loose,
    ) {
        let mut moves = Moves::default();
        for listen in &keys.listen {
            let own = self.pools.get_mut(&id);
            let own = own.and_then(|record| record.listeners.of(listen));
            let kept = own.is_some_and(|listener| {
                listener.set_backlog(keys.listen_backlog);
                listener.is_found()
            });
            if kept {
                continue;
            }
            let found = self.find(keys, listen, prepared, loose);
            let (Some(listener), Some(record)) = (found, self.pools.get_mut(&id)) else {
                continue;
            };
            // its name is somebody else's by now, or nobody's
            let lost = record.listeners.take(listen);
            moves.ends.extend(lost.map(|(number, _)| number));
            moves.begins.push(record.listeners.add(listener));
        }
        self.tell_moves(id, moves);
    }

    /// An address that was made for the pool, or that another has given up.
    fn find(
        &mut self,
        keys: &Pool,
        listen: &Listen,
        prepared: &mut Prepared,
        loose: &mut Loose,
    ) -> Option<Listener> {
        let mut fresh = prepared.fresh.iter();
        let place = fresh.position(|(name, each)| *name == keys.name && each.listen == *listen);
        if let Some(place) = place {
            return Some(prepared.fresh.swap_remove(place).1);
        }
        let place = (loose.0.iter()).position(|(_, _, each)| each.listen == *listen)?;
        let (from, number, listener) = loose.0.swap_remove(place);
        listener.set_backlog(keys.listen_backlog);
        let leaves = vec![number];
        self.tell_moves(
            from,
            Moves {
                leaves,
                ..Moves::default()
            },
        );
        Some(listener)
    }

    /// Nobody wants these: they are closed.
    pub(super) fn close_loose(&mut self, loose: Loose) {
        for (id, number, listener) in loose.0 {
            let ends = vec![number];
            self.tell_moves(
                id,
                Moves {
                    ends,
                    ..Moves::default()
                },
            );
            drop(listener);
        }
    }

    fn tell_moves(&mut self, id: PoolId, moves: Moves) {
        let record = self.pools.get(&id);
        let told = record.and_then(|record| record.listeners.moved(id, moves));
        if let Some((message, sockets)) = told {
            self.relay.tell(&message, &sockets);
        }
    }
}

/// Whether the pool `name` will not listen there any more.
fn gives_up(changes: &Changes, name: &str, listen: &Listen) -> bool {
    let kept = changes.kept.iter().find(|(keys, _)| keys.name == name);
    let keeps = kept.map(|(keys, _)| keys.listen.contains(listen));
    keeps.map_or_else(
        || changes.removed.iter().any(|each| each == name),
        |keeps| !keeps,
    )
}
