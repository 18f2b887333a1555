//! The relay: accepts hosts' connections, queues requests, hands each to a free slot, reads what workers write.
//!
//! It is a process of its own, never root. What it serves it is told by the supervisor over one control socket
//! (`crate::control`). A pool lives on exactly one of its threads: on the path of a request there is no lock.
//!
//! ```text
//!   threads ──▶ pool ──▶ front (hosts' connections) ──▶ request ──▶ dispatch (policy) ──▶ link, trunk (workers' connections)
//! ```
//! - [`threads`]: the control socket and the threads; [`pool_thread`]: the way of each message to its pool.
//! - [`pool`]: one pool: the table of requests, the workers, the policy's actions.
//! - [`front`]: from a host's bytes to events of a request; [`body`]: how it comes in; [`spool`]: bodies in files.
//! - [`upstream`]: workers that are addresses of somebody else's; [`address`]: how either is reached.
//! - [`trunk`]: a connection to a worker; [`link`]: one request's way on it; [`demux`]: what comes on the former;
//!   [`response`]: from a request's part of it to the host.
//! - [`connection`]: reading, writing and waiting, the same for both sides; [`outbox`]: what waits; [`socket_timeout`]: hosts that do neither.
//! - [`ledger`]: what is counted; [`exits`]: workers that are gone; [`reading`]: how a pool stands; [`status`], [`metrics`], [`http`]: for those who ask. [`stacks`], [`stack_log`]: what workers' threads are doing.
//! - [`failures`]: why a reload failed. [`probe`]: whether a worker is ready, and [`health`]: whether it answers `probe`.
//! - [`succession`], [`successor`]: one relay takes over from another: what the process does, what a pool does.
//! - [`access_log`], [`access_file`]: a line for each request; [`slow`]: requests that run for long; [`interrupted`]: too long; [`seen`]: what is remembered for both.
//! - [`folded`]: headers that a host has folded together; [`stderr`]: FCGI_STDERR.
//! - [`answers`]: what the relay says by itself; [`episode`]: what it logs only once in a while. [`output`]: what workers write to their pipes.
//!
//! It never decides (that is `stockade_policy::dispatch`), and it never starts or stops a process.

use std::{process::ExitCode, time::Duration};

mod access_file;
mod access_log;
mod actions;
mod address;
mod answers;
mod body;
mod connection;
mod cut;
mod demux;
mod episode;
mod exits;
mod failures;
mod folded;
mod front;
mod health;
mod http;
mod ids;
mod interrupted;
mod ledger;
mod link;
mod listener;
mod metrics;
mod outbox;
mod output;
mod own_header;
mod page;
mod pool;
mod pool_thread;
mod probe;
mod reading;
mod request;
mod response;
mod response_head;
mod seen;
mod slow;
mod socket_timeout;
mod spool;
mod stack_log;
mod stacks;
mod start;
mod status;
mod stderr;
mod succession;
mod successor;
mod threads;
mod trunk;
mod upstream;
mod workers;

/// How long the end of the relay waits for what access logs have not written.
const LAST_LINES: Duration = Duration::from_millis(500);

/// The relay's process: runs until the supervisor says so or is gone.
#[must_use]
pub fn main() -> ExitCode {
    let ran = threads::run();
    access_file::finish(LAST_LINES);
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("relay: {error}");
            ExitCode::FAILURE
        }
    }
}
