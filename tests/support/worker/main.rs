//! A FastCGI worker that does what it is told, so that each fault has a one-line test.
//!
//! It serves one connection after the other from the socket on descriptor 0, as libfcgi programs do: single-threaded, connections kept
//! when asked, GET_VALUES answered. Its own reading of the specification, independent of the crate under test.
//!
//! Arguments tell it how to start: `ignore-term`, `exit=STATUS` (at once), `mute` (accepts nothing), `generation=TEXT` (shown in answers),
//! `multiplex` (many requests on one connection; see [`multiplex`]).
//! The query string of a request tells it how to answer; see [`script`].

mod multiplex;
mod records;
mod script;

#[path = "../pattern.rs"]
mod pattern;

use std::{
    env,
    io::{self, Write as _},
    os::{fd::AsFd as _, unix::net::UnixListener, unix::net::UnixStream},
    process::ExitCode,
};

use nix::sys::signal::{SigSet, Signal};

use records::{Kind, Request};
use script::Outcome;

/// What lives as long as the process.
#[derive(Default)]
pub(crate) struct Life {
    /// Connections accepted.
    pub(crate) connections: u64,
    /// Requests begun.
    pub(crate) requests: u64,
    /// Memory taken for good.
    pub(crate) leaked: Vec<Vec<u8>>,
    /// The argument `generation`.
    pub(crate) generation: String,
}

fn main() -> ExitCode {
    let (mut life, mut multiplexes) = (Life::default(), false);
    for argument in env::args().skip(1) {
        match argument.split_once('=').unwrap_or((&argument, "")) {
            ("ignore-term", _) => SigSet::from(Signal::SIGTERM)
                .thread_block()
                .expect("TERM can be blocked"),
            ("exit", status) => return ExitCode::from(status.parse::<u8>().unwrap_or(1)),
            ("mute", _) => loop {
                std::thread::park();
            },
            ("generation", text) => text.clone_into(&mut life.generation),
            ("multiplex", _) => multiplexes = true,
            _ => {
                tell(&format!("unknown argument {argument}"));
                return ExitCode::from(2);
            }
        }
    }
    let listener = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map(UnixListener::from)
        .expect("descriptor 0 is the listening socket");
    if multiplexes {
        multiplex::serve(&listener, &life.generation);
    }
    loop {
        let accepted = listener.accept().map(|(connection, _)| connection);
        life.connections += 1;
        match accepted.and_then(|mut connection| serve(&mut connection, &mut life)) {
            // a connection that breaks is its peer's affair
            Ok(Outcome::Next) | Err(_) => {}
            Ok(Outcome::Exit(status)) => return ExitCode::from(status),
        }
    }
}

/// One connection, until it ends.
fn serve(connection: &mut UnixStream, life: &mut Life) -> io::Result<Outcome> {
    while let Some(record) = records::read(connection)? {
        match record.kind {
            Kind::GET_VALUES => records::answer_values(connection, &record.content)?,
            Kind::BEGIN_REQUEST => {
                life.requests += 1;
                let request = Request::begin(connection, &record)?;
                let keep = request.keep;
                match script::run(connection, request, life)? {
                    Outcome::Next if keep => {}
                    outcome => return Ok(outcome),
                }
            }
            // late records of a request that has been answered
            _ => {}
        }
    }
    Ok(Outcome::Next)
}

/// A line on standard error.
pub(crate) fn tell(line: &str) {
    // nobody is left to be told of a failure
    drop(writeln!(io::stderr(), "{line}"));
}
