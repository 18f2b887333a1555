//! One relay takes over from another: what the process does on either side.
//!
//! ```text
//! new: told everything ─▶ Serve ─▶ accepts, listens to the old one ─▶ Told ─▶ reads workers' pipes, answers questions
//! old: HandOver ─▶ accepts no more ─▶ gives pipes, counts and idle hosts ─▶ nothing is left ─▶ ends
//! ```
//! Until the old one has said `Told`, or has ended, the new one does not read workers' pipes and answers no question: each line is read by
//! one of them, and no count goes back.

use std::{future::pending, os::fd::AsFd, os::fd::OwnedFd, time::Duration};

use nix::errno::Errno;
use stockade_policy::PoolId;
use tokio::{
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    task::{self, JoinHandle},
    time::{sleep, timeout},
};

use super::{
    http,
    listener::Accepting,
    output::{LastLines, Output},
    pool_thread::ToPool,
    successor::Parcel,
    threads::{Relay, RelayError},
};
use crate::control::{Channel, ChannelError, FromRelay, MAX_MESSAGE, handover::Handed};

/// How long a relay that hands over may take until it has said `Told`.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long handing over rests when the kernel has no room.
const PAUSE: Duration = Duration::from_millis(20);

/// What comes from relays that this one has replaced.
#[derive(Debug)]
pub(super) struct Incoming {
    /// The one that served before has said everything, or there is none.
    told: bool,
    heard: UnboundedSender<Heard>,
    hears: UnboundedReceiver<Heard>,
    /// Those that still speak.
    predecessors: usize,
    /// Pipes that are not read yet.
    held: Vec<Output>,
    /// Questions for the status that are not answered yet.
    asked: Vec<OwnedFd>,
    /// The sockets of `status-listen`, until they are listened on.
    pub(super) status: Vec<OwnedFd>,
}

/// What came of one of them.
#[derive(Debug)]
pub(super) enum Heard {
    Handed(Box<Handed>, Option<OwnedFd>),
    /// It has ended; `awaited`: it is the one whose word was waited for.
    Ended {
        awaited: bool,
    },
    /// That one has not said enough in time.
    Late,
}

/// The way to the relay that serves in our place.
#[derive(Debug)]
pub(super) struct Outgoing {
    parcels: UnboundedSender<Parcel>,
    channels: UnboundedSender<Channel>,
    courier: JoinHandle<()>,
    /// Ends when the pools have nothing left.
    left: Option<UnboundedReceiver<()>>,
}

impl Incoming {
    /// Nobody is known to hand over.
    pub(super) fn new(status: Vec<OwnedFd>) -> Self {
        let (heard, hears) = mpsc::unbounded_channel();
        Self {
            told: false,
            heard,
            hears,
            predecessors: 0,
            held: Vec::new(),
            asked: Vec::new(),
            status,
        }
    }

    /// The next thing that comes.
    pub(super) async fn next(&mut self) -> Heard {
        match self.hears.recv().await {
            Some(heard) => heard,
            None => pending().await,
        }
    }
}

/// The new side.
impl Relay {
    /// All that there is was told: from here on hosts are accepted.
    pub(super) fn serve(&mut self, awaits: bool, sockets: Vec<OwnedFd>) -> Result<(), RelayError> {
        for (number, socket) in sockets.into_iter().enumerate() {
            let channel = Channel::new(socket).map_err(|source| RelayError::System {
                step: "register the socket of another relay",
                source,
            })?;
            self.incoming.predecessors += 1;
            let awaited = awaits && number == 0;
            let heard = self.incoming.heard.clone();
            task::spawn_local(listen(channel, awaited, heard));
        }
        self.accepting.send_replace(Accepting::Yes);
        self.say(FromRelay::Serving);
        // what was needed to get here is not needed again
        if let Err(error) = stockade_mappings::give_up_code() {
            tracing::debug!("relay: it keeps the code of its start: {error}");
        }
        if awaits {
            let heard = self.incoming.heard.clone();
            task::spawn_local(async move {
                sleep(PATIENCE).await;
                // nobody hears it when the relay has ended
                drop(heard.send(Heard::Late));
            });
        } else {
            self.told();
        }
        Ok(())
    }

    /// Something came of a relay that hands over.
    pub(super) fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Handed(handed, descriptor) => self.take_handed(*handed, descriptor),
            Heard::Ended { awaited } => {
                self.incoming.predecessors -= 1;
                if awaited {
                    self.told();
                }
                self.leave_when_last();
            }
            Heard::Late => {
                if !self.incoming.told {
                    tracing::warn!("relay: the one that served before does not hand over");
                }
                self.told();
            }
        }
    }

    fn take_handed(&mut self, handed: Handed, descriptor: Option<OwnedFd>) {
        match &handed {
            Handed::Host { pool, .. }
            | Handed::Counted { pool, .. }
            | Handed::Exited { pool, .. } => {
                let pool = *pool;
                self.tell(pool, ToPool::Handed(pool, handed, descriptor));
            }
            Handed::Pipe { .. } => match (&self.outgoing, descriptor) {
                (Some(outgoing), pipe) => outgoing.send(Parcel::Message(Box::new(handed), pipe)),
                (None, Some(pipe)) if !self.incoming.told => self.take_pipe(handed, pipe),
                // it is read already
                (None, _) => {}
            },
            Handed::Told => self.told(),
        }
    }

    /// A worker that is known has its pipes from the supervisor; of one that is gone, something still holds them open.
    fn take_pipe(&mut self, handed: Handed, pipe: OwnedFd) {
        let Handed::Pipe {
            pool,
            worker,
            title,
            stream,
            pending,
            last,
        } = handed
        else {
            return;
        };
        let mut held = self.incoming.held.iter_mut();
        let known = held.find(|output| output.worker == worker && output.stream == stream);
        if let Some(output) = known {
            output.pending = pending;
            output.last.restore(last);
            return;
        }
        let output = Output {
            pool,
            pool_name: self.pool_name(pool),
            worker,
            title,
            stream,
            pipe,
            pending,
            last: LastLines::of(last),
        };
        self.incoming.held.push(output);
    }

    /// The relay that served before has said everything.
    fn told(&mut self) {
        if self.incoming.told {
            return;
        }
        self.incoming.told = true;
        for output in std::mem::take(&mut self.incoming.held) {
            self.read(output);
        }
        for connection in std::mem::take(&mut self.incoming.asked) {
            self.answer(connection);
        }
        for listener in std::mem::take(&mut self.incoming.status) {
            let accepting = self.accepting.subscribe();
            task::spawn_local(http::serve(listener, self.observer.clone(), accepting));
        }
    }

    /// An operator asks how everything stands.
    pub(super) fn asked(&mut self, connections: Vec<OwnedFd>) {
        if !self.incoming.told {
            self.incoming.asked.extend(connections);
            return;
        }
        for connection in connections {
            self.answer(connection);
        }
    }

    fn answer(&mut self, connection: OwnedFd) {
        while self.answers.try_join_next().is_some() {}
        self.answers
            .spawn_local(self.observer.clone().answer(connection));
    }

    /// Reads a pipe of a worker's, when it is ours to read.
    pub(super) fn read(&mut self, output: Output) {
        if let Some(outgoing) = &self.outgoing {
            outgoing.send(Parcel::pipe(output));
        } else if self.incoming.told {
            while self.outputs.try_join_next().is_some() {}
            let stop = self.stop_reading.subscribe();
            self.outputs.spawn_local(super::output::run(output, stop));
        } else {
            self.incoming.held.push(output);
        }
    }

    pub(super) fn pool_name(&self, pool: PoolId) -> String {
        let known = self.pools.get(&pool);
        known.map_or_else(|| pool.to_string(), |(_, name)| name.clone())
    }
}

/// The old side.
impl Relay {
    /// Another relay serves, or yet another.
    pub(super) async fn hand_over(&mut self, sockets: Vec<OwnedFd>) -> Result<(), RelayError> {
        let first = self.outgoing.is_none();
        let mut pipes = Vec::new();
        if first {
            self.accepting.send_replace(Accepting::HandedOver);
            self.stop_reading.send_replace(true);
            pipes = std::mem::take(&mut self.incoming.held);
            while let Some(ended) = self.outputs.join_next().await {
                pipes.extend(ended.ok().flatten());
            }
            self.incoming.status.clear();
            self.told();
        }
        let outgoing = self.outgoing.get_or_insert_with(Outgoing::new);
        for socket in sockets {
            let channel = Channel::new(socket).map_err(|source| RelayError::System {
                step: "register the socket of the next relay",
                source,
            })?;
            // the courier ends after the last parcel only
            drop(outgoing.channels.send(channel));
        }
        for pipe in pipes {
            outgoing.send(Parcel::pipe(pipe));
        }
        let (done, mut all_done) = mpsc::unbounded_channel();
        for thread in &self.threads {
            let message = ToPool::HandOver(outgoing.parcels.clone(), done.clone());
            if thread.send(message).is_err() {
                tracing::debug!("relay: a thread has ended before the relay");
            }
        }
        drop(done);
        while all_done.recv().await.is_some() {}
        if first {
            outgoing.send(Parcel::Message(Box::new(Handed::Told), None));
        }
        self.leave_when_last();
        Ok(())
    }

    /// Everything has been handed over; who has asked before still gets an answer.
    pub(super) async fn farewell(&mut self) {
        let answered = async { while self.answers.join_next().await.is_some() {} };
        if timeout(PATIENCE, answered).await.is_err() {
            tracing::info!("relay: an operator does not take the status");
        }
    }

    /// When nobody hands anything to us any more, the pools may end.
    fn leave_when_last(&mut self) {
        let Some(outgoing) = &mut self.outgoing else {
            return;
        };
        if self.incoming.predecessors > 0 || outgoing.left.is_some() {
            return;
        }
        let (left, all_left) = mpsc::unbounded_channel();
        outgoing.left = Some(all_left);
        for thread in &self.threads {
            if thread.send(ToPool::Leave(left.clone())).is_err() {
                tracing::debug!("relay: a thread has ended before the relay");
            }
        }
    }
}

impl Outgoing {
    fn new() -> Self {
        let (parcels, for_courier) = mpsc::unbounded_channel();
        let (channels, for_it_too) = mpsc::unbounded_channel();
        Self {
            parcels,
            channels,
            courier: task::spawn_local(carry(for_courier, for_it_too)),
            left: None,
        }
    }

    fn send(&self, parcel: Parcel) {
        if self.parcels.send(parcel).is_err() {
            tracing::debug!("relay: nothing more goes to the next relay");
        }
    }
}

/// Waits until everything has been handed over; for ever while this relay serves. May be dropped at any time.
pub(super) async fn handed_over(outgoing: &mut Option<Outgoing>) {
    let Some(Outgoing {
        parcels,
        courier,
        left: Some(left),
        ..
    }) = outgoing
    else {
        return pending().await;
    };
    while left.recv().await.is_some() {}
    // said again when this was dropped here; the courier takes the first
    drop(parcels.send(Parcel::Last));
    drop(courier.await);
}

/// Takes parcels to the relay that serves; when that one has gone, they wait for the next.
async fn carry(mut parcels: UnboundedReceiver<Parcel>, mut channels: UnboundedReceiver<Channel>) {
    let Some(mut channel) = channels.recv().await else {
        return;
    };
    loop {
        let parcel = tokio::select! {
            biased;
            Some(newer) = channels.recv() => {
                channel = newer;
                continue;
            }
            parcel = parcels.recv() => parcel,
        };
        let Some(Parcel::Message(message, descriptor)) = parcel else {
            return;
        };
        let bytes = match serde_json::to_vec(&message) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!("relay: could not word a message to the next relay: {error}");
                continue;
            }
        };
        let descriptors: Vec<_> = descriptor.iter().map(AsFd::as_fd).collect();
        loop {
            let sent = tokio::select! {
                biased;
                Some(newer) = channels.recv() => {
                    channel = newer;
                    continue;
                }
                sent = channel.send(&bytes, &descriptors) => sent,
            };
            match sent.err().map(Trouble::of) {
                None => break,
                Some(Trouble::Gone) => match channels.recv().await {
                    Some(newer) => channel = newer,
                    None => return,
                },
                Some(Trouble::Full) => sleep(PAUSE).await,
                Some(Trouble::Lost(error)) => {
                    tracing::error!("relay: could not hand over to the next relay: {error}");
                    break;
                }
            }
        }
    }
}

/// Why a parcel was not taken.
enum Trouble {
    /// Nobody is there: it waits for the next relay.
    Gone,
    /// As many descriptors are under way as the kernel allows.
    Full,
    /// It never will be.
    Lost(ChannelError),
}

impl Trouble {
    fn of(error: ChannelError) -> Self {
        let ChannelError::Io(cause) = &error else {
            return Self::Gone;
        };
        match cause.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN) => Self::Gone,
            Some(Errno::ETOOMANYREFS | Errno::ENOBUFS | Errno::ENOMEM) => Self::Full,
            _ => Self::Lost(error),
        }
    }
}

/// Hears a relay that hands over, to its end.
async fn listen(channel: Channel, awaited: bool, heard: UnboundedSender<Heard>) {
    let mut buffer = vec![0; MAX_MESSAGE];
    loop {
        let (length, descriptors) = match channel.receive(&mut buffer).await {
            Ok(received) => received,
            Err(ChannelError::Closed) => break,
            Err(error @ ChannelError::Cut) => {
                tracing::warn!("relay: the relay that hands over said too much: {error}");
                continue;
            }
            Err(error) => {
                tracing::warn!("relay: could not hear the relay that hands over: {error}");
                break;
            }
        };
        match serde_json::from_slice(&buffer[..length]) {
            Ok(handed) => {
                let handed = Heard::Handed(Box::new(handed), descriptors.into_iter().next());
                if heard.send(handed).is_err() {
                    return;
                }
            }
            Err(error) => tracing::warn!("relay: the relay that hands over said: {error}"),
        }
    }
    // nobody hears it when the relay has ended
    drop(heard.send(Heard::Ended { awaited }));
}
