//! The launcher: a fresh, single-threaded process that takes a plan, confines itself and becomes the worker by exec.
//!
//! It is our own executable, started as `stockade launch` by the supervisor (`supervisor::spawn`). Its standard input is
//! a socket: the [`plan`] comes in with the descriptors it needs; a [`plan::Failure`] that names the step goes back, or
//! nothing when exec closes the socket. So no step runs between a fork and an exec in a threaded program.
//!
//! - `receive`: the plan and its descriptors.
//! - `transform`: the steps in their order, and exec.
//! - `descriptors`: which of them the program finds where.
//! - `identity`: user and group; `capabilities`: the powers of root.
//! - `limits`: memory, files, time; `scheduler`: the processors; `paths`, `private_tmp`: what of the file system is in reach.
//! - [`python`]: how an interpreter is started.

mod capabilities;
mod descriptors;
mod identity;
mod limits;
mod paths;
pub mod plan;
mod private_tmp;
pub mod python;
mod receive;
mod scheduler;
mod transform;

use std::{
    io::{self, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    process::ExitCode,
};

use plan::Failure;

/// The launcher's process. Returns only when the program could not be started.
#[must_use]
pub fn main() -> ExitCode {
    if let Err(error) = launch() {
        // Whoever should be told is not there: it was not the supervisor that started us, or it is gone.
        drop(writeln!(
            io::stderr(),
            "stockade launch is started by the daemon only: {error}"
        ));
    }
    ExitCode::FAILURE
}

/// Becomes the program, or tells on the launch socket why not.
fn launch() -> io::Result<()> {
    // A copy of standard input, which is to become something else; exec closes it.
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let failure = match receive::plan(&socket) {
        Ok((plan, descriptors)) => transform::run(&plan, descriptors),
        Err(failure) => failure,
    };
    tell(&mut socket, &failure)
}

fn tell(socket: &mut UnixStream, failure: &Failure) -> io::Result<()> {
    let bytes = serde_json::to_vec(failure)?;
    socket.write_all(&bytes)
}
