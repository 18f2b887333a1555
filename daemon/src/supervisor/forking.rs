//! Workers that a template forks (`preload`).
//!
//! The template is sent the worker's descriptors. The process that it forks speaks first, on the worker's own control socket; who it is
//! the kernel says (SCM_CREDENTIALS), not the template. It is taken over when it is a child of ours (we are the subreaper, and its
//! template's child that forked it is gone), of the pool's account, and no worker already. From there on it is a worker like any other.

use std::{collections::BTreeSet, io, sync::Arc};

use nix::{
    sys::socket::UnixCredentials,
    unistd::{Uid, getuid},
};
use stockade_policy::{
    WorkerId,
    supervision::{Cause, Event},
};
use tokio::task::AbortHandle;

use super::{
    process::Process,
    shell::{Senders, Shell, Turn},
    words::Seconds,
    workers::Worker,
};
use crate::control::{
    Channel, ToRelay,
    worker::{FromWorker, MESSAGE_LEN, ToWorker},
};

/// Who said that it was forked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Forked(UnixCredentials);

impl Shell {
    /// The process that a template has forked speaks.
    pub(super) fn forked(&mut self, worker: WorkerId, forked: Forked) {
        let known = self.living(None).known;
        let Some(waiting) = self.workers.get_mut(&worker) else {
            return;
        };
        if waiting.forking.take().is_none() {
            return;
        }
        let taken = take_over(waiting, forked, &known);
        match taken {
            Ok(()) => {
                if let Some(process) = &waiting.process {
                    self.senders.follow_to_the_end(worker, process.end());
                }
                self.launched(worker, "forked");
            }
            Err(error) => {
                let why = format!("could not take over what its template forked: {error}");
                self.not_forked(worker, &why);
            }
        }
    }

    /// It has answered `maximum-requests`; or `refork-after`, if it may become a template.
    pub(super) fn has_answered_many(&mut self, worker: WorkerId) {
        let known = self.workers.get(&worker);
        let seasons = known.is_some_and(|known| known.description.seasons);
        self.tell_machine(if seasons {
            Event::WorkerSeasoned { worker }
        } else {
            let cause = Cause::MaximumRequests;
            Event::WorkerTired { worker, cause }
        });
    }

    /// A worker without requests is to become a template.
    pub(super) fn make_template(&mut self, worker: WorkerId) {
        let Some(known) = self.workers.get_mut(&worker) else {
            return;
        };
        let name = known.name();
        tracing::info!("{name} becomes the next template: refork-after");
        known.description.template = true;
        (known.description.offered, known.description.retired) = (false, false);
        known.heartbeat = None;
        if let Err(error) = known.control.try_send(&ToWorker::Template.encode(), &[]) {
            // it ends, or is ended by its time to start
            tracing::warn!("{name}: could not tell it: {error}");
        }
        let pool = known.description.pool;
        self.senders
            .listen(worker, Arc::clone(&known.control), name);
        let message = ToRelay::TemplateMade { pool, worker };
        self.relay.tell(&message, &[]);
    }

    /// A template says that it can be forked.
    pub(super) fn template_ready(&mut self, worker: WorkerId) {
        let now = self.clock.now();
        if let Some(known) = self.workers.get(&worker) {
            let age = Seconds(known.age(now));
            match known.description.seasons {
                true => tracing::info!("{} can be forked", known.name()),
                false => tracing::info!("{} can be forked after {age}", known.name()),
            }
        }
        self.tell_machine(Event::WorkerReady { worker });
    }

    /// It will not be.
    pub(super) fn not_forked(&mut self, worker: WorkerId, why: &str) {
        let Some(known) = self.workers.get_mut(&worker) else {
            return;
        };
        if let Some(waits) = known.forking.take() {
            waits.abort();
        }
        let pool = known.description.pool_name.clone();
        self.not_started(worker, &pool, why);
    }
}

/// Makes the process the worker's, and has it begin.
fn take_over(worker: &mut Worker, Forked(sender): Forked, known: &BTreeSet<i32>) -> io::Result<()> {
    let refused = |why: &str| io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned());
    let pid = sender.pid();
    if known.contains(&pid) {
        return Err(refused("it is another worker"));
    }
    if Uid::from_raw(sender.uid()) != worker.user().map_or_else(getuid, Uid::from_raw) {
        return Err(refused("it is of another account"));
    }
    let process = Process::adopt(pid)?;
    if let Some(leaf) = &worker.leaf {
        leaf.admit(pid)?;
    }
    worker
        .control
        .try_send(&ToWorker::Begin.encode(), &[])
        .map_err(|error| io::Error::other(error.to_string()))?;
    worker.runs_as(process);
    Ok(())
}

impl Senders {
    /// Waits for the first word of a worker that is to be forked.
    pub(super) fn expect_fork(&self, worker: WorkerId, control: Arc<Channel>) -> AbortHandle {
        let turns = self.turns();
        let waits = tokio::spawn(async move {
            let mut buffer = [0; MESSAGE_LEN + 1];
            let turn = match control.receive_from(&mut buffer).await {
                Ok((length, Some(sender)))
                    if FromWorker::decode(&buffer[..length]) == Some(FromWorker::Forked) =>
                {
                    Turn::Forked(Forked(sender))
                }
                Ok(_) => Turn::NotForked("said what is not the word of a worker that was forked"),
                Err(_) => Turn::NotForked("its template did not fork it, or it ended at once"),
            };
            drop(turns.send((worker, turn)).await);
        });
        waits.abort_handle()
    }
}
