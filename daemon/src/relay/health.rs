//! `probe`: asks a worker that is up for a path, until it answers below 500: only then is it given requests.
//!
//! One request after the other, each on a connection of its own. A worker that never answers well is ended by its `startup-timeout`; what it
//! answered last is then among its last lines.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use stockade_policy::WorkerId;
use stockade_protocol::{
    encode::{self, Role},
    head,
    name_value::encode_pair,
    record::{HEADER_LEN, RecordType},
    web_server::{Answer, WebServer},
};

use super::{
    address::Address,
    connection::{Connection, Peer, drive},
    output::LastLines,
    pool::Pool,
};
use crate::control::FromRelay;

/// Between two requests, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Of a response's head, in bytes.
const HEAD_LIMIT: usize = 64 * 1024;
/// The request's id.
const ID: u16 = 1;

struct Probe {
    connection: Connection,
    web_server: RefCell<WebServer>,
    head: RefCell<Vec<u8>>,
    ended: Cell<bool>,
}

/// Says `WorkerProbed` when the worker answers below 500; ends without a word when it dies.
pub(super) async fn run(
    pool: Rc<Pool>,
    worker: WorkerId,
    address: Address,
    path: String,
    lines: LastLines,
) {
    let mut pause = FIRST_PAUSE;
    let mut last = String::new();
    loop {
        let answer = match address.connect().and_then(Connection::new) {
            Ok(connection) => ask(connection, &path).await,
            // it is gone
            Err(_) => return,
        };
        let outcome = match answer {
            Some(status) if status < 500 => {
                tracing::debug!(
                    "pool {}: worker {worker}: probe {path} answered {status}",
                    pool.name
                );
                return pool.state().say(FromRelay::WorkerProbed(worker));
            }
            Some(status) => format!("probe {path} answered {status}"),
            None => format!("probe {path} was not answered"),
        };
        if outcome != last {
            tracing::warn!(
                "pool {}: worker {worker}: {outcome}: it is asked again until `startup-timeout`",
                pool.name
            );
            lines.add(&outcome);
            last = outcome;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// One request; the status of its answer, if it was a whole one.
async fn ask(connection: Connection, path: &str) -> Option<u16> {
    let mut web_server = WebServer::new();
    web_server.begin(ID);
    let probe = Probe {
        connection,
        web_server: RefCell::new(web_server),
        head: RefCell::default(),
        ended: Cell::new(false),
    };
    let mut pairs = Vec::new();
    for (name, value) in parameters(path) {
        encode_pair(&mut pairs, name.as_bytes(), value.as_bytes());
    }
    probe.connection.queue(|out| {
        encode::begin_request(out, ID, Role::Responder, false);
        // they are short
        encode::params(out, ID, &pairs).unwrap_or_default();
        encode::stream_end(out, RecordType::Stdin, ID);
    });
    probe.connection.flush();
    drive(&probe).await;
    let head = probe.head.borrow();
    let end = head::find_end(&head, 0).filter(|_| probe.ended.get())?;
    head::parse(&head[..end]).ok().map(|head| head.status)
}

/// What CGI asks for, as of a client on this machine.
fn parameters(path: &str) -> [(&'static str, &str); 16] {
    let (script, query) = path.split_once('?').unwrap_or((path, ""));
    [
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SERVER_SOFTWARE", "stockade"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("REQUEST_METHOD", "GET"),
        ("REQUEST_URI", path),
        ("SCRIPT_NAME", script),
        ("SCRIPT_FILENAME", script),
        ("QUERY_STRING", query),
        ("CONTENT_LENGTH", ""),
        ("SERVER_NAME", "localhost"),
        ("SERVER_ADDR", "127.0.0.1"),
        ("SERVER_PORT", "80"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REMOTE_PORT", "0"),
        ("HTTP_HOST", "localhost"),
        ("HTTP_USER_AGENT", "stockade-probe"),
    ]
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
                Ok(Some(Answer::Stdout(fragment))) => {
                    let mut head = self.head.borrow_mut();
                    let content = fragment.content.of(buffer);
                    let room = HEAD_LIMIT.saturating_sub(head.len());
                    head.extend_from_slice(&content[..content.len().min(room)]);
                }
                Ok(Some(Answer::End { .. })) => {
                    self.ended.set(true);
                    self.connection.close();
                    return;
                }
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(_) => {
                    self.connection.close();
                    return;
                }
            }
        }
    }
}
