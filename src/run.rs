//! `stockade run`: one application over HTTP, without a configuration file.

use std::{
    collections::BTreeMap,
    env, fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{self, ExitCode},
};

use nix::unistd::geteuid;
use stockade_daemon::{
    config::{
        self, Run, Target,
        resolved::{Account, Application, Config, Interface, Pool},
    },
    log,
    supervisor::{self, Source},
};

use crate::{cli, failed, words::counted};

/// Variables that say who somebody is, which the application is not; and those that are the daemon's to set.
const NOT_PASSED_ON: &[&str] = &["HOME", "LOGNAME", "MAIL", "USER", "FCGI_WEB_SERVER_ADDRS"];

/// Runs until told to stop, or until the application turns out not to start; what went wrong is on standard error.
pub(crate) fn run(words: cli::Run) -> ExitCode {
    let folder = match env::current_dir() {
        Ok(folder) => folder,
        Err(error) => return failed(&format!("could not find the current folder: {error}"), 1),
    };
    let runtime_dir = match runtime_dir() {
        Ok(folder) => folder,
        Err(error) => return failed(&error, 1),
    };
    let code = run_in(words, folder, &runtime_dir);
    if let Err(error) = fs::remove_dir_all(&runtime_dir) {
        let shown = runtime_dir.display();
        return failed(&format!("could not remove {shown}: {error}"), 1);
    }
    code
}

fn run_in(words: cli::Run, folder: PathBuf, runtime_dir: &Path) -> ExitCode {
    let wanted = Run {
        target: match words.target {
            Some(target) if words.asgi => Target::Python(Interface::Asgi, target),
            Some(target) => Target::Python(Interface::Wsgi, target),
            None => Target::Command(words.arguments),
        },
        listen: words.listen,
        processes: words.processes,
        threads: words.threads,
        files: words.files,
        reload: words.reload,
        user: words.user,
        folder,
        runtime_dir: runtime_dir.to_owned(),
        environment: environment(),
        own_environment: own_environment(),
    };
    let config = match config::without_file(&wanted, &config::System) {
        Ok(config) => config,
        Err(errors) => return failed(&errors, 1),
    };
    let _log = log::start(config.daemon.log_level);
    announce(&config);
    match supervisor::run(config, Source::CommandLine) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error, error.exit_code()),
    }
}

/// A new folder of this process's own, in the first place that takes it.
fn runtime_dir() -> Result<PathBuf, String> {
    let pid = process::id();
    let place = if geteuid().is_root() {
        Some(PathBuf::from("/run"))
    } else {
        env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)
    };
    let place = place.filter(|folder| folder.is_absolute());
    let own = place.map(|folder| folder.join(format!("stockade-run-{pid}")));
    let shared = PathBuf::from(format!("/tmp/stockade-run-{}-{pid}", geteuid()));
    if let Some(own) = own.filter(|own| make_private(own).is_ok()) {
        return Ok(own);
    }
    match make_private(&shared) {
        Ok(()) => Ok(shared),
        Err(error) => Err(format!(
            "could not make the folder {}: {error}: name one that this account may write to with the variable XDG_RUNTIME_DIR",
            shared.display()
        )),
    }
}

/// As root, relay and shim have to enter it; else nobody has to. One that is there already is not ours.
fn make_private(folder: &Path) -> io::Result<()> {
    let mode = if geteuid().is_root() { 0o755 } else { 0o700 };
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

/// The virtual environment that the command was installed in: what is in its `bin` uses its Python, as scripts of Python do.
fn own_environment() -> Option<PathBuf> {
    let executable = env::current_exe().ok()?;
    let folder = executable.parent()?.parent()?;
    folder
        .join("pyvenv.cfg")
        .exists()
        .then(|| folder.to_owned())
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
        let slots = match &pool.application {
            Application::Python {
                interface: Interface::Asgi,
                ..
            } => format!("{} at a time", counted(*threads, "request")),
            _ => counted(*threads, "thread"),
        };
        let workers = counted(*processes, "worker");
        let each = if *processes == 1 { "" } else { " each" };
        tracing::info!("pool {name}: {workers} with {slots}{each}");
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
