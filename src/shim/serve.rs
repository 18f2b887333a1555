//! Accepting connections, and the stop: on TERM no more are accepted, requests are finished, and the process ends.

use std::{net::TcpListener as StdListener, os::fd::OwnedFd, sync::Arc, time::Duration};

use stockade_daemon::{
    control::shim::{self, ShimPlan},
    log,
};
use tokio::{
    net::TcpListener,
    select,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
    time::sleep,
};

use super::{
    ShimError,
    connection::{self, Limits},
    routes::Routes,
};

/// When no descriptors are left: some may come back in this time.
const PAUSE: Duration = Duration::from_millis(100);

/// What every connection needs.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) routes: Routes,
    pub(super) limits: Limits,
}

/// Serves until TERM.
pub(super) async fn serve() -> Result<(), ShimError> {
    let mut term = signal(SignalKind::terminate()).map_err(ShimError::of("take the signals"))?;
    // the socket stays open for as long as we run
    let (plan, listeners, _control) = shim::receive().await?;
    let _log = log::start(plan.log_level);
    let ShimPlan {
        header_timeout,
        keep_alive_timeout,
        routes,
        ..
    } = plan;
    let site = Arc::new(Site {
        routes: Routes::new(routes),
        limits: Limits {
            header_timeout,
            keep_alive_timeout,
        },
    });
    let (stop, stopping) = watch::channel(false);
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let listener = listen(listener).map_err(ShimError::of("use a listening socket"))?;
        accepting.spawn(accept(listener, Arc::clone(&site), stopping.clone()));
    }
    term.recv().await;
    tracing::debug!("shim: stopping");
    stop.send_replace(true);
    while accepting.join_next().await.is_some() {}
    Ok(())
}

fn listen(listener: OwnedFd) -> std::io::Result<TcpListener> {
    TcpListener::from_std(StdListener::from(listener))
}

/// Accepts until the stop, then waits for its connections.
async fn accept(listener: TcpListener, site: Arc<Site>, mut stopping: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(connection::run(stream, peer, Arc::clone(&site), stopping.clone()));
                }
                Err(error) => {
                    tracing::warn!("shim: could not accept a connection: {error}");
                    sleep(PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
            _ = stopping.changed() => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}
