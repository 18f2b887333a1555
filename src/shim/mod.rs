//! The shim: the bundled HTTP host. HTTP/1.1 from clients, FastCGI to the pools' sockets, and static files.
//!
//! It is a process of its own, started by the supervisor with its listening sockets and one message that says how to run
//! ([`stockade_daemon::control::shim`]). It is never root, runs no application code, and knows nothing of workers: towards a pool it is
//! what nginx would be.
//!
//! - `serve`: accepting, and the stop; `connection`: a client's, with its times.
//! - `routes`: which requests go where; `answers`: what the shim says by itself.
//! - `files`, `conditions`: static files, and what headers ask of them.
//! - `pool`, `stream`: connections to a pool, kept; `exchange`: one request on one; `cgi`: its parameters; `upload`: its body;
//!   `head`: the head of its response.
//! - `reply`: the body of a response.

mod answers;
mod cgi;
mod conditions;
mod connection;
mod exchange;
mod files;
mod head;
mod pool;
mod reply;
mod routes;
mod serve;
mod stream;
mod upload;

use std::process::ExitCode;

use stockade_daemon::control::shim::PlanError;

/// Why the shim ended.
#[derive(Debug, thiserror::Error)]
enum ShimError {
    #[error("could not {step}: {source}")]
    System {
        step: &'static str,
        source: std::io::Error,
    },
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl ShimError {
    fn of(step: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::System { step, source }
    }
}

/// The shim's process: runs until it is told to stop.
pub(crate) fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("shim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), ShimError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(ShimError::of("make a runtime"))?
        .block_on(serve::serve())
}
