//! A pool's listening sockets: accepts hosts until the pool drains, or has the address no more.

use std::{
    io,
    net::IpAddr,
    os::fd::{AsRawFd, OwnedFd},
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use nix::sys::socket::{
    SockFlag, SockaddrStorage, accept4, getpeername, getsockname, setsockopt, sockopt::TcpNoDelay,
};
use tokio::{
    io::unix::AsyncFd,
    sync::{oneshot, watch},
};

use super::{
    front::Host,
    pool::{Pool, State},
};
use crate::descriptor::own;

/// How long accepting rests when there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// Descriptors that hosts' connections do not get: those of workers' connections and pipes.
const RESERVE: u64 = 256;

/// Hosts' connections that are open, on all threads, and how many may be.
static OPEN: AtomicU64 = AtomicU64::new(0);
static MOST: AtomicU64 = AtomicU64::new(u64::MAX);

/// Sets how many hosts' connections are taken when there are `descriptors`; the others wait in the backlog.
pub(super) fn leave_room(descriptors: u64) {
    MOST.store(
        descriptors.saturating_sub(RESERVE).max(descriptors / 2),
        Ordering::Relaxed,
    );
}

/// One of the hosts' connections; it is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Place(());

/// Whether hosts are accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Accepting {
    /// Another relay does it still.
    #[default]
    NotYet,
    /// Yes.
    Yes,
    /// No more: what the kernel has accepted already is taken.
    Draining,
    /// No more: another relay does it, what the kernel has accepted already included.
    HandedOver,
}

impl Place {
    /// A place of a connection that is open already, however many there are.
    pub(super) fn of_open() -> Self {
        OPEN.fetch_add(1, Ordering::Relaxed);
        Self(())
    }

    fn take() -> io::Result<Self> {
        let place = Self(());
        if OPEN.fetch_add(1, Ordering::Relaxed) >= MOST.load(Ordering::Relaxed) {
            return Err(io::Error::other(
                "as many are open as there are descriptors for",
            ));
        }
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a pool accepts no more on an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Parting {
    /// Nobody does.
    #[default]
    Ended,
    /// Another pool does, what the kernel has accepted already included.
    Left,
}

/// One of a pool's listening sockets.
#[derive(Debug)]
pub(super) struct Listener {
    /// The number of its address.
    pub(super) address: u32,
    pub(super) socket: AsyncFd<OwnedFd>,
    /// Says when the pool has the address no more.
    pub(super) parting: oneshot::Receiver<Parting>,
}

/// Accepts hosts when and until `accepting` says so, or the pool has the address no more.
pub(super) async fn run(
    pool: Rc<Pool>,
    mut listener: Listener,
    mut accepting: watch::Receiver<Accepting>,
) {
    let begun = tokio::select! {
        begun = accepting.wait_for(|accepting| *accepting != Accepting::NotYet) => begun.is_ok(),
        _ = &mut listener.parting => return pool.state().listener_left(),
    };
    if !begun {
        return;
    }
    let parting = accept(&pool, &mut listener, &mut accepting).await;
    if *accepting.borrow() == Accepting::HandedOver {
        return;
    }
    let tcp = over_tcp(listener.socket.get_ref());
    if parting != Some(Parting::Left)
        && let Err(error) = take_all(&pool, &listener, tcp)
    {
        tracing::error!(
            "pool {}: could not accept a host's connection: {error}",
            pool.name
        );
    }
    drop(listener);
    pool.state().listener_left();
}

/// Accepts until it is to stop; why, when the pool has the address no more.
async fn accept(
    pool: &Rc<Pool>,
    listener: &mut Listener,
    accepting: &mut watch::Receiver<Accepting>,
) -> Option<Parting> {
    let mut exhausted = false;
    let tcp = over_tcp(listener.socket.get_ref());
    loop {
        let ready = tokio::select! {
            biased;
            _ = accepting.wait_for(|accepting| *accepting != Accepting::Yes) => return None,
            parting = &mut listener.parting => return Some(parting.unwrap_or(Parting::Ended)),
            ready = listener.socket.readable() => ready,
        };
        let Ok(mut ready) = ready else { return None };
        match take_all(pool, listener, tcp) {
            Ok(()) => {
                exhausted = false;
                ready.clear_ready();
            }
            Err(error) => {
                if !exhausted {
                    tracing::error!(
                        "pool {}: could not accept a host's connection: {error}",
                        pool.name
                    );
                }
                exhausted = true;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Accepts until nobody waits.
fn take_all(pool: &Rc<Pool>, listener: &Listener, tcp: bool) -> io::Result<()> {
    loop {
        let place = Place::take()?;
        match accept4(
            listener.socket.as_raw_fd(),
            SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
        ) {
            Ok(raw) => {
                let socket = own(raw);
                if tcp {
                    if !pool.state().allows(&socket) {
                        continue;
                    }
                    setsockopt(&socket, TcpNoDelay, &true).unwrap_or_default();
                }
                Host::serve(pool, socket, (listener.address, tcp), place)?;
            }
            Err(nix::Error::EAGAIN) => return Ok(()),
            // the host gave up while it waited
            Err(nix::Error::ECONNABORTED | nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

impl State {
    /// Whether `allowed-clients` has the other side of a TCP connection. One that is gone already need not be served.
    fn allows(&mut self, socket: &OwnedFd) -> bool {
        let Some(client) = address_of(getpeername(socket.as_raw_fd())) else {
            return false;
        };
        let networks = &self.plan.allowed_clients;
        if networks.iter().any(|network| network.contains(&client)) {
            return true;
        }
        self.ledger.refused(ALLOWED_CLIENTS);
        if let Some(more) = self.strangers.happened(self.clock.now()) {
            let name = self.name();
            tracing::warn!(
                "pool {name}: refused a connection from {client}, which is not in `allowed-clients`{more}"
            );
        }
        false
    }
}

/// Whether a socket is one of TCP.
pub(super) fn over_tcp(socket: &OwnedFd) -> bool {
    address_of(getsockname(socket.as_raw_fd())).is_some()
}

/// The IP address, IPv4 as such; none of a unix socket.
fn address_of(address: nix::Result<SockaddrStorage>) -> Option<IpAddr> {
    let address = address.ok()?;
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    let v6 = || address.as_sockaddr_in6().map(|v6| v6.ip().to_canonical());
    v4.or_else(v6)
}

/// As what its refusals are counted.
const ALLOWED_CLIENTS: &str = "allowed-clients";
