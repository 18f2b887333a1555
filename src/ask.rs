//! Asks a running daemon: finds its admin socket, says what is asked, prints what is answered.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use stockade_daemon::{
    config,
    control::admin::{self, Answer, Request},
};

use crate::{cli::Daemon, failed, serve};

/// Where a daemon is configured unless somebody says otherwise.
const DEFAULT_CONFIG: &str = "/etc/stockade/stockade.toml";

/// The daemon's answer; what went wrong is on standard error.
pub(crate) fn ask(daemon: &Daemon, request: &Request) -> Result<Answer, ExitCode> {
    let socket = socket(daemon)?;
    match admin::ask(&socket, request) {
        Ok(Answer::Failed { code, lines }) => Err(failed(&lines.join("\n"), code)),
        Ok(answer) => Ok(answer),
        Err(error) => Err(failed(&error, error.exit_code())),
    }
}

fn socket(daemon: &Daemon) -> Result<PathBuf, ExitCode> {
    if let Some(socket) = &daemon.socket {
        return Ok(socket.clone());
    }
    let file = match &daemon.config {
        Some(file) => file.as_path(),
        None if Path::new(DEFAULT_CONFIG).exists() => Path::new(DEFAULT_CONFIG),
        None => return Ok(config::default_admin_socket(&config::System)),
    };
    config::admin_socket(file, &config::System)
        .map_err(|errors| failed(&errors, serve::code(&errors)))
}

/// Prints to standard output. That nobody reads it any more (`| head`) is no error.
pub(crate) fn print(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => failed(
            &format!("could not write to standard output: {error}"),
            crate::exit::FAILED,
        ),
        Ok(()) | Err(_) => ExitCode::SUCCESS,
    }
}
