//! Where a worker, or an upstream, is reached.

use std::{
    fmt, io,
    net::SocketAddr,
    os::fd::{AsRawFd, OwnedFd},
    path::PathBuf,
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, UnixAddr, connect, getsockopt,
        setsockopt, socket, sockopt,
    },
};
use tokio::io::unix::AsyncFd;

use crate::{config::resolved::Listen, descriptor::register};

/// An address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// A unix socket's path.
    Unix(PathBuf),
    /// TCP.
    Tcp(SocketAddr),
}

impl Address {
    /// One of `upstream`; none: systemd's sockets are for listening.
    pub(super) fn of(listen: &Listen) -> Option<Self> {
        match listen {
            Listen::Unix(path) => Some(Self::Unix(path.clone())),
            Listen::Tcp(address) => Some(Self::Tcp(*address)),
            Listen::Systemd(_) => None,
        }
    }

    /// A non-blocking connection. Over a unix socket it is complete: the backlog takes it at once; over TCP it may be under way, and
    /// what is written waits for it.
    pub(super) fn connect(&self) -> io::Result<OwnedFd> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        match self {
            Self::Unix(path) => {
                let ours = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
                connect(ours.as_raw_fd(), &UnixAddr::new(path)?)?;
                Ok(ours)
            }
            Self::Tcp(address) => {
                let family = if address.is_ipv4() {
                    AddressFamily::Inet
                } else {
                    AddressFamily::Inet6
                };
                let ours = socket(family, SockType::Stream, flags, None)?;
                setsockopt(&ours, sockopt::TcpNoDelay, &true)?;
                match connect(ours.as_raw_fd(), &SockaddrStorage::from(*address)) {
                    Ok(()) | Err(Errno::EINPROGRESS) => Ok(ours),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    /// Whether a connection may be under way when [`Address::connect`] has given it.
    pub(super) const fn takes_time(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }

    /// Connects, and closes the connection.
    pub(super) async fn answers(&self) -> io::Result<()> {
        established(&register(self.connect()?)?).await
    }
}

/// Waits until a connection that is under way is there.
pub(super) async fn established(socket: &AsyncFd<OwnedFd>) -> io::Result<()> {
    drop(socket.writable().await?);
    match getsockopt(socket.get_ref(), sockopt::SocketError)? {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}
