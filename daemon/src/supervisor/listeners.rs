//! Where a pool's hosts connect to: its listening sockets, each with the number by which the relay knows its address.

use std::{os::fd::OwnedFd, sync::Arc};

use stockade_policy::PoolId;

use super::{
    error::SupervisorError,
    sockets::{self, SocketFile},
    systemd::Passed,
};
use crate::{
    config::resolved::{Listen, Pool, SocketOwner},
    control::ToRelay,
};

/// The sockets of one of `listen`.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) listen: Listen,
    /// One; of an address that systemd knows perhaps several.
    sockets: Vec<Arc<OwnedFd>>,
    /// Its name, if it is a unix socket of ours.
    file: Option<SocketFile>,
    owner: SocketOwner,
}

/// Those of a pool. A number is never given again.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    all: Vec<(u32, Listener)>,
    next: u32,
}

/// What the relay is to be told of a pool's addresses.
#[derive(Debug, Default)]
pub(super) struct Moves {
    pub(super) begins: Vec<u32>,
    pub(super) ends: Vec<u32>,
    pub(super) leaves: Vec<u32>,
}

impl Listener {
    /// Binds it, or takes what systemd has passed.
    pub(super) fn bind(
        listen: &Listen,
        keys: &Pool,
        passed: &mut Passed,
    ) -> Result<Self, SupervisorError> {
        let (sockets, file) = match listen {
            Listen::Unix(path) => {
                let bound = sockets::bind_public(path, keys.socket, keys.listen_backlog)?;
                (vec![bound.listener], Some(bound.file))
            }
            Listen::Tcp(address) => {
                let bound = sockets::bind_tcp(*address, keys.listen_backlog)?;
                (vec![bound.into()], None)
            }
            Listen::Systemd(name) => (passed.of(name, keys)?, None),
        };
        Ok(Self {
            listen: listen.clone(),
            sockets: sockets.into_iter().map(Arc::new).collect(),
            file,
            owner: keys.socket,
        })
    }

    /// Whether hosts still find it: the name of a unix socket may be somebody else's by now, or nobody's.
    pub(super) fn is_found(&self) -> bool {
        self.file.as_ref().is_none_or(SocketFile::is_ours)
    }

    /// Gives its name this owner and mode. What they were before, when that has changed.
    pub(super) fn own(
        &mut self,
        owner: SocketOwner,
    ) -> Result<Option<SocketOwner>, SupervisorError> {
        if let (Some(file), true) = (&self.file, self.owner != owner) {
            file.give_to(owner)?;
            return Ok(Some(std::mem::replace(&mut self.owner, owner)));
        }
        Ok(None)
    }

    /// Sets `listen-backlog`. Those of systemd have their unit's.
    pub(super) fn set_backlog(&self, backlog: i32) {
        if matches!(self.listen, Listen::Systemd(_)) {
            return;
        }
        for socket in &self.sockets {
            if let Err(error) = sockets::listen_with(socket, backlog) {
                tracing::warn!("could not set listen-backlog of {}: {error}", self.listen);
            }
        }
    }
}

impl Listeners {
    /// Binds all that `keys` names.
    pub(super) fn bind(keys: &Pool, passed: &mut Passed) -> Result<Self, SupervisorError> {
        let mut listeners = Self::default();
        for listen in &keys.listen {
            listeners.add(Listener::bind(listen, keys, passed)?);
        }
        Ok(listeners)
    }

    /// One more; its number.
    pub(super) fn add(&mut self, listener: Listener) -> u32 {
        let number = self.next;
        self.next += 1;
        self.all.push((number, listener));
        number
    }

    /// The one of this address.
    pub(super) fn of(&mut self, listen: &Listen) -> Option<&mut Listener> {
        let mut all = self.all.iter_mut();
        all.find(|(_, listener)| listener.listen == *listen)
            .map(|(_, listener)| listener)
    }

    /// Gives away what `keep` does not have.
    pub(super) fn take_others(&mut self, keep: &[Listen]) -> Vec<(u32, Listener)> {
        let gone = |(_, listener): &mut (u32, Listener)| !keep.contains(&listener.listen);
        self.all.extract_if(.., gone).collect()
    }

    /// Gives away the one of this address.
    pub(super) fn take(&mut self, listen: &Listen) -> Option<(u32, Listener)> {
        let place = (self.all.iter()).position(|(_, listener)| listener.listen == *listen)?;
        Some(self.all.remove(place))
    }

    /// Closes them: whoever connects from here on is refused.
    pub(super) fn close(&mut self) {
        self.all.clear();
    }

    /// The addresses, for the status.
    pub(super) fn names(&self) -> Vec<String> {
        let names = self.all.iter().map(|(_, each)| each.listen.to_string());
        names.collect()
    }

    /// What a relay is told that knows nothing of them.
    pub(super) fn told(&self, pool: PoolId) -> Option<(ToRelay, Vec<Arc<OwnedFd>>)> {
        let begins = self.all.iter().map(|(number, _)| *number).collect();
        let moves = Moves {
            begins,
            ..Moves::default()
        };
        self.moved(pool, moves)
    }

    /// What a relay is told of what has changed.
    pub(super) fn moved(&self, pool: PoolId, moves: Moves) -> Option<(ToRelay, Vec<Arc<OwnedFd>>)> {
        let Moves {
            begins,
            ends,
            leaves,
        } = moves;
        if [&begins, &ends, &leaves].iter().all(|each| each.is_empty()) {
            return None;
        }
        let new = (self.all.iter()).filter(|(number, _)| begins.contains(number));
        let sockets = new.flat_map(|(number, listener)| {
            let sockets = listener.sockets.iter();
            sockets.map(|socket| (*number, Arc::clone(socket)))
        });
        let (begins, sockets): (Vec<u32>, Vec<Arc<OwnedFd>>) = sockets.unzip();
        let message = ToRelay::PoolListens {
            pool,
            begins,
            ends,
            leaves,
        };
        Some((message, sockets))
    }
}
