//! Asks a program that says nothing by itself whether it is ready: a connection with GET_VALUES on it.
//!
//! It is ready when it answers, or takes the connection and closes it: some programs close on what they do not know, and libfcgi
//! answers only when more follows, so our side is ended behind the question. Connecting alone says nothing: the kernel
//! does that for a program that has not begun, or hangs.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use stockade_policy::{WorkerId, dispatch::RequestKey};
use stockade_protocol::{
    encode,
    record::HEADER_LEN,
    values::NAMES,
    web_server::{Answer, WebServer},
};

use super::{
    address::Address,
    connection::{Connection, Peer, drive},
    pool::Pool,
};
use crate::control::FromRelay;

struct Probe {
    connection: Connection,
    web_server: RefCell<WebServer>,
    answered: Cell<bool>,
}

/// Says `WorkerAnswered` when the worker does; ends without a word when it dies.
pub(super) async fn run(pool: Rc<Pool>, worker: WorkerId, socket: Address) {
    if answers(&pool.name, worker, &socket).await {
        pool.state().say(FromRelay::WorkerAnswered(worker));
    }
}

/// Tells the pool when the worker takes connections again after a request that nobody waits for, or is gone.
pub(super) async fn until_free(pool: Rc<Pool>, worker: WorkerId, socket: Address, key: RequestKey) {
    let free = answers(&pool.name, worker, &socket).await;
    tracing::debug!(
        "pool {}: worker {worker} has left a request: {free}",
        pool.name
    );
    pool.state().left(key);
}

async fn answers(pool: &str, worker: WorkerId, socket: &Address) -> bool {
    let connection = match socket.connect().and_then(Connection::new) {
        Ok(connection) => connection,
        Err(error) => {
            tracing::info!("pool {pool}: could not connect to worker {worker}: {error}");
            return false;
        }
    };
    let probe = Probe {
        connection,
        web_server: RefCell::new(WebServer::new()),
        answered: Cell::new(false),
    };
    probe.connection.queue(|out| {
        encode::get_values(out, &NAMES);
    });
    probe.connection.flush();
    probe.connection.end_output();
    let end = drive(&probe).await;
    let answered = probe.answered.get();
    tracing::debug!("pool {pool}: probe of worker {worker}: {end:?}, answered: {answered}");
    answered || listens(socket)
}

/// Whether the socket is still some process's: a dead worker's refuses.
fn listens(socket: &Address) -> bool {
    socket.connect().is_ok()
}

impl Peer for Probe {
    fn connection(&self) -> &Connection {
        &self.connection
    }

    fn bytes(&self, buffer: &mut [u8]) {
        let mut at = HEADER_LEN;
        let mut web_server = self.web_server.borrow_mut();
        loop {
            match web_server.next(buffer, &mut at) {
                Ok(Some(Answer::Values)) => {
                    self.answered.set(true);
                    self.connection.close();
                    return;
                }
                Ok(Some(_)) => {}
                Ok(None) => return,
                // it speaks, if not FastCGI: its first request will show it
                Err(_) => {
                    self.connection.close();
                    return;
                }
            }
        }
    }
}
