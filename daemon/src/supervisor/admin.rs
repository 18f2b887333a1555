//! The admin socket: who may ask, and the way of a request into the loop and of its answer out (`control::admin`).
//!
//! A connection has a task of its own; how many there are, how long a request is, and how long it takes to come are bounded. It is
//! root's own socket: what is read from it was written by root or by our own account.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use nix::unistd::Uid;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc, oneshot},
    time::{sleep, timeout},
};

use super::{
    error::SupervisorError,
    sockets::{self, SocketFile},
};
use crate::{
    config::resolved::SocketOwner,
    control::admin::{Answer, MAX_REQUEST, Request},
};

/// Connections at a time; more wait in the backlog.
const MOST: usize = 64;
/// How long a request may take to come, and an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long accepting rests when there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// A request, and where its answer goes.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: Request,
    /// The connection, for the relay to answer on; `reply` is dropped then.
    pub(super) connection: OwnedFd,
    pub(super) reply: oneshot::Sender<Answer>,
}

/// The socket, while the daemon takes requests.
#[derive(Debug)]
pub(super) struct Admin {
    _file: SocketFile,
}

impl Admin {
    /// Listens at `path`; what is asked comes out of the receiver.
    pub(super) fn bind(
        path: &std::path::Path,
    ) -> Result<(Self, mpsc::Receiver<Asked>), SupervisorError> {
        let owner = SocketOwner {
            uid: None,
            gid: None,
            mode: 0o600,
        };
        let bound = sockets::bind_public(path, owner, 64)?;
        let listener = UnixListener::from_std(bound.listener.into())
            .map_err(SupervisorError::step("register the admin socket"))?;
        let (asked, receiver) = mpsc::channel(MOST);
        tokio::spawn(accept(listener, asked));
        Ok((Self { _file: bound.file }, receiver))
    }
}

async fn accept(listener: UnixListener, asked: mpsc::Sender<Asked>) {
    let places = Arc::new(Semaphore::new(MOST));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((connection, _)) => {
                let asked = asked.clone();
                tokio::spawn(async move {
                    serve(connection, asked).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!("could not accept a connection to the admin socket: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn serve(connection: UnixStream, asked: mpsc::Sender<Asked>) {
    let mut connection = BufReader::new(connection);
    let request = match read(&mut connection).await {
        Ok(request) => request,
        Err(answer) => return say(connection.into_inner(), &answer).await,
    };
    let Ok(copy) = connection.get_ref().as_fd().try_clone_to_owned() else {
        return;
    };
    let (reply, replied) = oneshot::channel();
    let asked_now = Asked {
        request,
        connection: copy,
        reply,
    };
    if asked.send(asked_now).await.is_err() {
        return;
    }
    let mut rest = [0];
    tokio::select! {
        answer = replied => if let Ok(answer) = answer {
            say(connection.into_inner(), &answer).await;
        },
        // who asked has gone, and waits for nothing
        _ = connection.read(&mut rest) => {}
    }
}

/// The request on a connection, or what to say instead of an answer.
async fn read(connection: &mut BufReader<UnixStream>) -> Result<Request, Answer> {
    let refused = |code, why: &str| Answer::Failed {
        code,
        lines: vec![why.to_owned()],
    };
    let peer = connection.get_ref().peer_cred();
    let own = Uid::effective().as_raw();
    if !peer.is_ok_and(|peer| [0, own].contains(&peer.uid())) {
        return Err(refused(
            77,
            "only root and the account that stockade runs as may ask it",
        ));
    }
    let mut line = Vec::new();
    let mut limited = connection.take(MAX_REQUEST as u64);
    match timeout(PATIENCE, limited.read_until(b'\n', &mut line)).await {
        Ok(Ok(_)) if line.ends_with(b"\n") => serde_json::from_slice(&line).map_err(|_| {
            refused(1, "this stockade does not know that request: use the command of the version that runs")
        }),
        _ => Err(refused(1, "no request came")),
    }
}

async fn say(mut connection: UnixStream, answer: &Answer) {
    let Ok(mut line) = serde_json::to_vec(answer) else {
        return;
    };
    line.push(b'\n');
    // who asked may have gone
    drop(timeout(PATIENCE, connection.write_all(&line)).await);
}
