//! A pool's listening sockets: accepts hosts until the pool drains.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    rc::Rc,
    time::Duration,
};

use nix::sys::socket::{SockFlag, accept4, setsockopt, sockopt::TcpNoDelay};
use tokio::{io::unix::AsyncFd, sync::watch};

use super::{front::Host, pool::Pool};
use crate::descriptor::own;

/// How long accepting rests when there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts hosts until `draining` says so; then what the kernel has accepted already is still taken.
pub(super) async fn run(
    pool: Rc<Pool>,
    listener: AsyncFd<OwnedFd>,
    mut draining: watch::Receiver<bool>,
) {
    let mut exhausted = false;
    loop {
        let ready = tokio::select! {
            biased;
            _ = draining.wait_for(|draining| *draining) => break,
            ready = listener.readable() => ready,
        };
        let Ok(mut ready) = ready else { break };
        match take_all(&pool, &listener) {
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
    if let Err(error) = take_all(&pool, &listener) {
        tracing::error!(
            "pool {}: could not accept a host's connection: {error}",
            pool.name
        );
    }
    pool.state().drain();
}

/// Accepts until nobody waits.
fn take_all(pool: &Rc<Pool>, listener: &AsyncFd<OwnedFd>) -> io::Result<()> {
    loop {
        match accept4(
            listener.as_raw_fd(),
            SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
        ) {
            Ok(raw) => {
                let socket = own(raw);
                // a unix socket has no such option, and nothing to switch off
                setsockopt(&socket, TcpNoDelay, &true).unwrap_or_default();
                Host::serve(pool, socket)?;
            }
            Err(nix::Error::EAGAIN) => return Ok(()),
            // the host gave up while it waited
            Err(nix::Error::ECONNABORTED | nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
