//! `stockade serve`: the daemon, in the foreground.

use std::{io, process::ExitCode};

use stockade_daemon::{
    config::{self, ConfigErrors},
    log,
    supervisor::{self, Source},
};

use crate::{cli::Serve, exit, failed};

/// Serves until told to stop; what went wrong is on standard error.
pub(crate) fn serve(Serve { config: file }: &Serve) -> ExitCode {
    let config = match config::read(file, &config::System) {
        Ok(config) => config,
        Err(errors) => return failed(&errors, code(&errors)),
    };
    let _log = log::start(config.daemon.log_level);
    match supervisor::run(config, Source::File(file.clone())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error, error.exit_code()),
    }
}

/// The exit code of a command that could not read a configuration.
pub(crate) fn code(errors: &ConfigErrors) -> u8 {
    match errors {
        ConfigErrors::Unreadable { reason, .. }
            if reason.kind() == io::ErrorKind::PermissionDenied =>
        {
            exit::NOT_PERMITTED
        }
        ConfigErrors::Unreadable { .. }
        | ConfigErrors::TooLarge { .. }
        | ConfigErrors::Wrong { .. } => exit::CONFIGURATION,
    }
}
