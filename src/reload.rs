//! `stockade reload`: a new generation of workers.

use std::process::ExitCode;

use stockade_daemon::control::admin::{Answer, Request};

use crate::{
    ask::{ask, print},
    cli::Reload,
};

/// Asks for it; with `--wait` the exit code says whether it serves.
pub(crate) fn reload(asked: &Reload) -> ExitCode {
    let request = Request::Reload {
        pool: asked.pool.clone(),
        wait: asked.wait,
    };
    match ask(&asked.daemon, &request) {
        Ok(Answer::Done { lines }) => print(
            &lines
                .iter()
                .map(|line| format!("{line}\n"))
                .collect::<String>(),
        ),
        Ok(Answer::Status(_) | Answer::Failed { .. }) => ExitCode::FAILURE,
        Err(code) => code,
    }
}
