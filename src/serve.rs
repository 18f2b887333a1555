//! `stockade serve`: the daemon, in the foreground.

use std::{error::Error, io, process::ExitCode};

use stockade_daemon::{
    config::{self, ConfigErrors},
    log, supervisor,
};

use crate::{cli::Serve, exit};

/// Serves until told to stop; what went wrong is on standard error.
pub(crate) fn serve(Serve { config: file }: &Serve) -> ExitCode {
    let config = match config::read(file, &config::System) {
        Ok(config) => config,
        Err(errors) => return failed(&errors, code(&errors)),
    };
    log::start(config.daemon.log_level);
    match supervisor::run(config, file.clone()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error, error.exit_code()),
    }
}

fn code(errors: &ConfigErrors) -> u8 {
    match errors {
        ConfigErrors::Unreadable { reason, .. }
            if reason.kind() == io::ErrorKind::PermissionDenied =>
        {
            exit::NOT_PERMITTED
        }
        ConfigErrors::Unreadable { .. } | ConfigErrors::Wrong { .. } => exit::CONFIGURATION,
    }
}

#[expect(
    clippy::print_stderr,
    reason = "this is where errors are printed, once"
)]
fn failed(error: &dyn Error, code: u8) -> ExitCode {
    eprintln!("{error}");
    ExitCode::from(code)
}
