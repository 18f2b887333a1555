//! `stockade reload`: a new generation of workers.

use std::process::ExitCode;

use stockade_daemon::control::admin::Request;

use crate::{ask::ask_for, cli::Reload};

/// Asks for it; with `--wait` the exit code says whether it serves.
pub(crate) fn reload(asked: &Reload) -> ExitCode {
    let request = Request::Reload {
        pool: asked.pool.clone(),
        changed: asked.changed,
        wait: asked.wait,
    };
    ask_for(&asked.daemon, &request)
}
