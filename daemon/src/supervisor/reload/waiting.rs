//! Those who wait for the end of a reload, and what they are told.

use std::{collections::BTreeMap, os::fd::OwnedFd};

use stockade_policy::{Generation, PoolId, WorkerId};
use tokio::sync::oneshot;

use super::Begun;
use crate::{
    control::{admin::Answer, relay::Told},
    supervisor::{admin::Asked, relay_process::RelayProcess, shell::Shell, workers::Worker},
};

/// Those who wait for the end of a reload.
#[derive(Debug, Default)]
pub(in crate::supervisor) struct Reloads(Vec<Waiter>);

#[derive(Debug)]
struct Waiter {
    /// The pools that have not come to an end, by their names.
    left: BTreeMap<PoolId, String>,
    /// How the others did.
    lines: Vec<Told>,
    failed: bool,
    /// Where the relay may answer, who knows what workers have written.
    connection: OwnedFd,
    reply: oneshot::Sender<Answer>,
}

/// Lines of an answer that the relay is told in one message.
const MOST_LINES: usize = 100;

impl Shell {
    /// What was begun with the pool has come to a good end.
    pub(in crate::supervisor) fn reload_ended(&mut self, pool: PoolId, how: &str) {
        self.reloads.ended(pool, how, None, &mut self.relay);
        self.systemd.reloaded(pool);
    }

    /// The pool's new generation was given up, or is down.
    pub(in crate::supervisor) fn reload_failed(&mut self, pool: PoolId, why: &str) {
        let record = self.pools.get(&pool);
        let worker = record.and_then(|record| record.last_failed);
        self.failed_because_of(pool, worker, why);
    }

    /// The generation did not come up.
    pub(in crate::supervisor) fn generation_failed(
        &mut self,
        pool: PoolId,
        generation: Generation,
        why: &str,
    ) {
        let is_of = |worker: &&Worker| {
            let description = &worker.description;
            description.pool == pool && description.generation == generation
        };
        // one that took too long is not gone yet
        match self.workers.values().find(is_of) {
            Some(worker) => self.failed_because_of(pool, Some(worker.description.worker), why),
            None => self.reload_failed(pool, why),
        }
    }

    /// It failed, and the worker whose last lines say why, if one does.
    pub(in crate::supervisor) fn failed_because_of(
        &mut self,
        pool: PoolId,
        worker: Option<WorkerId>,
        why: &str,
    ) {
        self.reloads.ended(pool, why, Some(worker), &mut self.relay);
        self.systemd.reloaded(pool);
    }
}

impl Reloads {
    pub(super) fn wait_for(&mut self, begun: Begun, asked: Asked, relay: &mut RelayProcess) {
        self.0.retain(|waiter| !waiter.reply.is_closed());
        self.0.push(Waiter {
            left: begun.pools,
            lines: begun.notes.into_iter().map(Told::of).collect(),
            failed: false,
            connection: asked.connection,
            reply: asked.reply,
        });
        self.answer(relay);
    }

    /// The daemon stops: nothing is to be waited for.
    pub(in crate::supervisor) fn give_up(&mut self) {
        for mut waiter in self.0.drain(..) {
            let names = std::mem::take(&mut waiter.left).into_values();
            let lines = names.map(|name| format!("pool {name}: the daemon is stopping"));
            waiter.lines.extend(lines.map(Told::of));
            waiter.failed = true;
            waiter.answer_by_ourselves();
        }
    }

    /// `failed`: it did, and the worker that did, if one is known.
    fn ended(
        &mut self,
        pool: PoolId,
        how: &str,
        failed: Option<Option<WorkerId>>,
        relay: &mut RelayProcess,
    ) {
        for waiter in &mut self.0 {
            if let Some(name) = waiter.left.remove(&pool) {
                waiter.lines.push(Told {
                    line: format!("pool {name}: {how}"),
                    worker: failed.flatten().map(|worker| (pool, worker)),
                });
                waiter.failed |= failed.is_some();
            }
        }
        self.answer(relay);
    }

    fn answer(&mut self, relay: &mut RelayProcess) {
        for waiter in self.0.extract_if(.., |waiter| waiter.left.is_empty()) {
            let knows = waiter.lines.iter().any(|told| told.worker.is_some());
            if knows && waiter.lines.len() <= MOST_LINES && relay.listens() {
                relay.tell_failure(waiter.lines, waiter.connection);
            } else {
                waiter.answer_by_ourselves();
            }
        }
    }
}

impl Waiter {
    fn answer_by_ourselves(self) {
        let lines = self.lines.into_iter().map(|told| told.line).collect();
        let answer = if self.failed {
            Answer::Failed { code: 1, lines }
        } else {
            Answer::Done { lines }
        };
        // who asked may have gone
        drop(self.reply.send(answer));
    }
}
