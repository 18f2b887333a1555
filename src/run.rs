//! `stockade run`: one application over HTTP, without a configuration file.

use std::{
    collections::BTreeMap,
    env, fs, io,
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
    process::{self, ExitCode},
};

use nix::unistd::geteuid;
use stockade_daemon::{
    config::{
        self, Run, Target,
        resolved::{Account, Config, Pool},
    },
    log,
    supervisor::{self, Source},
};

use crate::{cli, exit, failed, words::counted};

/// Variables that say who somebody is, which the application is not; and those that are the daemon's to set.
const NOT_PASSED_ON: &[&str] = &["HOME", "LOGNAME", "MAIL", "USER", "FCGI_WEB_SERVER_ADDRS"];

/// Runs until told to stop, or until the application turns out not to start; what went wrong is on standard error.
pub(crate) fn run(words: cli::Run) -> ExitCode {
    if words.asgi {
        return failed(
            &"`--asgi` is not supported yet: ASGI applications cannot be run",
            exit::USAGE,
        );
    }
    let folder = match env::current_dir() {
        Ok(folder) => folder,
        Err(error) => return failed(&format!("could not find the current folder: {error}"), 1),
    };
    let runtime_dir = runtime_dir();
    let wanted = Run {
        target: match words.target {
            Some(target) => Target::Wsgi(target),
            None => Target::Command(words.arguments),
        },
        listen: words.listen,
        processes: words.processes,
        threads: words.threads,
        files: words.files,
        user: words.user,
        folder,
        runtime_dir: runtime_dir.clone(),
        environment: environment(),
    };
    let config = match config::without_file(&wanted, &config::System) {
        Ok(config) => config,
        Err(errors) => return failed(&errors, 1),
    };
    if let Err(error) = make_private(&runtime_dir) {
        let folder = runtime_dir.display();
        return failed(&format!("could not make the folder {folder}: {error}"), 1);
    }
    let _log = log::start(config.daemon.log_level);
    announce(&config);
    let ended = supervisor::run(config, Source::CommandLine);
    if let Err(error) = fs::remove_dir_all(&runtime_dir) {
        tracing::warn!("could not remove {}: {error}", runtime_dir.display());
    }
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error, error.exit_code()),
    }
}

/// A folder of this process's own.
fn runtime_dir() -> PathBuf {
    let pid = process::id();
    if geteuid().is_root() {
        return PathBuf::from(format!("/run/stockade-run-{pid}"));
    }
    match env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
        Some(folder) if folder.is_absolute() && folder.is_dir() => {
            folder.join(format!("stockade-run-{pid}"))
        }
        _ => PathBuf::from(format!("/tmp/stockade-run-{}-{pid}", geteuid())),
    }
}

/// As root, relay and shim have to enter it; else nobody has to. One that is there already is not ours.
fn make_private(folder: &PathBuf) -> io::Result<()> {
    let mode = if geteuid().is_root() { 0o755 } else { 0o700 };
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::DirBuilder::new().mode(mode).create(folder)
}

/// What the command was given, for the application.
fn environment() -> BTreeMap<String, String> {
    env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| {
            !NOT_PASSED_ON.contains(&name.as_str()) && !name.starts_with("STOCKADE_")
        })
        .collect()
}

/// Says what is going to run, and as whom.
fn announce(config: &Config) {
    for pool in &config.pools {
        let Pool {
            name,
            processes,
            threads,
            ..
        } = pool;
        let (workers, slots) = (counted(*processes, "worker"), counted(*threads, "thread"));
        tracing::info!("pool {name}: {workers} with {slots} each");
        if let Some(account) = &pool.account {
            let relay = named(config.daemon.relay_user.as_ref());
            let shim = named(config.shim.as_ref().and_then(|shim| shim.account.as_ref()));
            tracing::info!(
                "started by root: the application runs as {}, the relay as {relay}, the shim as {shim}",
                account.name
            );
        }
    }
    let socket = config.daemon.admin_socket.display();
    tracing::info!("its state: stockade status --socket {socket}");
}

fn named(account: Option<&Account>) -> &str {
    account.map_or("root", |account| &account.name)
}
