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

/// Has the daemon do something, and prints what it did.
pub(crate) fn ask_for(daemon: &Daemon, request: &Request) -> ExitCode {
    match ask(daemon, request) {
        Ok(Answer::Done { lines }) => print(
            &lines
                .iter()
                .map(|line| format!("{line}\n"))
                .collect::<String>(),
        ),
        Ok(Answer::Status(_) | Answer::Stacks { .. } | Answer::Failed { .. }) => ExitCode::FAILURE,
        Err(code) => code,
    }
}

fn socket(daemon: &Daemon) -> Result<PathBuf, ExitCode> {
    if let Some(socket) = &daemon.socket {
        return Ok(socket.clone());
    }
    let default = Some(Path::new(DEFAULT_CONFIG)).filter(|file| file.exists());
    let own = match daemon.config.as_deref().or(default) {
        Some(file) => config::admin_socket(file, &config::System)
            .map_err(|errors| failed(&errors, serve::code(&errors)))?,
        None => config::default_admin_socket(&config::System),
    };
    Ok(or_of_root(own, Path::new(config::RUNTIME_DIR_OF_ROOT)))
}

/// `own` is where a daemon of this account would be; root's, when that is the one that is there.
fn or_of_root(own: PathBuf, runtime_dir_of_root: &Path) -> PathBuf {
    let of_root = own.file_name().map(|name| runtime_dir_of_root.join(name));
    match of_root.filter(|of_root| !own.exists() && of_root.exists()) {
        Some(of_root) => of_root,
        None => own,
    }
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn roots_daemon_is_asked_where_there_is_none_of_our_own() {
        let folder = tempfile::tempdir().unwrap();
        let (mine, roots) = (folder.path().join("mine"), folder.path().join("roots"));
        for each in [&mine, &roots] {
            fs::create_dir(each).unwrap();
        }
        let own = mine.join("admin.sock");
        assert_eq!(or_of_root(own.clone(), &roots), own);
        fs::write(roots.join("admin.sock"), "").unwrap();
        assert_eq!(or_of_root(own.clone(), &roots), roots.join("admin.sock"));
        fs::write(&own, "").unwrap();
        assert_eq!(or_of_root(own.clone(), &roots), own);
    }
}
