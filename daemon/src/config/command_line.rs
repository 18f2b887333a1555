//! A configuration without a file: one application and the shim in front of it, from the words of a command line.
//!
//! The words become the keys that a file would set, so that they mean the same and are refused with the same sentences. As root
//! nothing runs as root: see [`without_file`].

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use toml::Spanned;

use super::{
    accounts::{self, NOBODY, Service},
    errors::{CommandLineErrors, Place, Problems},
    file::{
        DaemonKeys, File, Given, PoolKeys, PoolTable, RouteKeys, RouteTable, ShimKeys, ShimTable,
        Spot,
    },
    resolve::{self, absolute},
    resolved::{Config, Interface, Listen},
    subtables::ReloadKeys,
    surroundings::Surroundings,
    values::{Environment, HttpListen, Mode, Pattern, Period, Whole, Word},
};

/// What the words ask for.
#[derive(Clone, Debug)]
pub struct Run {
    /// The application.
    pub target: Target,
    /// `--listen`.
    pub listen: SocketAddr,
    /// `--processes`.
    pub processes: Option<u32>,
    /// `--threads`.
    pub threads: Option<u32>,
    /// `--static`: paths and the folders behind them.
    pub files: Vec<(String, PathBuf)>,
    /// `--reload`: the application is loaded again when its files change.
    pub reload: bool,
    /// `--user`.
    pub user: Option<String>,
    /// Working directory and `python-path`: where the command was given; absolute.
    pub folder: PathBuf,
    /// The folder of the daemon's own sockets.
    pub runtime_dir: PathBuf,
    /// The variables of workers.
    pub environment: BTreeMap<String, String>,
    /// The virtual environment that the command itself is installed in.
    pub own_environment: Option<PathBuf>,
}

/// The application.
#[derive(Clone, Debug)]
pub enum Target {
    /// `module:callable` or a file.
    Python(Interface, String),
    /// A FastCGI program and its arguments.
    Command(Vec<String>),
}

/// What `run` means. As root the application runs as `--user`, else as the owner of its file, else (that is root, or has no account)
/// as nobody; relay and shim have their accounts, or are nobody where these are missing.
///
/// # Errors
/// With everything that is wrong.
pub fn without_file(
    run: &Run,
    surroundings: &dyn Surroundings,
) -> Result<Config, CommandLineErrors> {
    let file = File {
        daemon: DaemonKeys {
            runtime_dir: given("runtime-dir", run.runtime_dir.clone()),
            relay_user: stand_in(accounts::RELAY, surroundings),
            shutdown_timeout: given("shutdown-timeout", Period(SHUTDOWN_TIMEOUT)),
            ..DaemonKeys::default()
        },
        pools: vec![pool(run, surroundings)],
        shim: Some(shim(run, surroundings)),
    };
    let mut problems = Problems::default();
    resolve::resolve(&file, &run.folder, surroundings, &mut problems)
        .map(|config| Config {
            place: Place::CommandLine,
            ..config
        })
        .ok_or_else(|| CommandLineErrors(problems.in_order()))
}

fn pool(run: &Run, surroundings: &dyn Surroundings) -> PoolTable {
    let root = surroundings.uid() == 0;
    let listen = Listen::Unix(run.runtime_dir.join("pool.sock"));
    let mut keys = PoolKeys {
        listen: given("listen", vec![Spanned::new(0..0, listen)]),
        socket_user: stand_in(accounts::SHIM, surroundings),
        socket_mode: given("socket-mode", Mode(0o600)),
        processes: run
            .processes
            .and_then(|count| given("--processes", Whole(count))),
        threads: run
            .threads
            .and_then(|count| given("--threads", Whole(count))),
        user: match &run.user {
            Some(user) => given("--user", user.clone()),
            None if root => given("--user", user_of(run, surroundings)),
            None => None,
        },
        home: given("home", run.folder.clone()),
        environment: given("environment", Environment(run.environment.clone())),
        reload: run.reload.then(|| reload(run)).flatten(),
        ..PoolKeys::default()
    };
    match &run.target {
        Target::Python(interface, target) => {
            match interface {
                Interface::Wsgi => keys.wsgi = given("TARGET", target.clone()),
                Interface::Asgi => keys.asgi = given("TARGET", target.clone()),
            }
            keys.python_path = given("python-path", vec![Spanned::new(0..0, run.folder.clone())]);
            keys.python_home = surroundings
                .variable("VIRTUAL_ENV")
                .filter(|folder| !folder.is_empty())
                .and_then(|folder| given("VIRTUAL_ENV", PathBuf::from(folder)))
                .or_else(|| given("the command's environment", run.own_environment.clone()?));
        }
        Target::Command(words) => {
            let words = words.iter().cloned().map(Word);
            keys.command = given(
                "--command",
                words.map(|word| Spanned::new(0..0, word)).collect(),
            );
        }
    }
    PoolTable {
        name: name(&run.target),
        at: 0..0,
        keys,
    }
}

/// Sources of Python below the folder; of a program, whatever is there.
fn reload(run: &Run) -> Option<Given<ReloadKeys>> {
    let files = match run.target {
        Target::Python(..) => "**/*.py",
        Target::Command(_) => "**/*",
    };
    let pattern = Spanned::new(0..0, Pattern(files.to_owned()));
    given(
        "--reload",
        ReloadKeys {
            watch: given("--reload", vec![pattern]),
            ..ReloadKeys::default()
        },
    )
}

fn shim(run: &Run, surroundings: &dyn Surroundings) -> ShimTable {
    let mut routes = vec![RouteTable {
        at: 0..0,
        keys: RouteKeys {
            path: given("path", "/".to_owned()),
            pool: given("pool", name(&run.target)),
            ..RouteKeys::default()
        },
    }];
    routes.extend(run.files.iter().map(|(path, folder)| RouteTable {
        at: 0..0,
        keys: RouteKeys {
            path: given("--static", path.clone()),
            files: given("--static", folder.clone()),
            ..RouteKeys::default()
        },
    }));
    ShimTable {
        at: 0..0,
        keys: ShimKeys {
            listen: given("--listen", vec![Spanned::new(0..0, HttpListen(run.listen))]),
            user: stand_in(accounts::SHIM, surroundings),
            ..ShimKeys::default()
        },
        routes,
    }
}

/// The service's own account, or nobody's where the system does not have it; none when we are not root.
fn stand_in(service: Service, surroundings: &dyn Surroundings) -> Option<Given<String>> {
    if surroundings.uid() != 0 {
        return None;
    }
    let own = matches!(surroundings.user(service.default), Ok(Some(_)));
    let name = if own { service.default } else { NOBODY };
    given(service.key, name.to_owned())
}

/// The owner of the application's file; nobody where that is root or has no account.
fn user_of(run: &Run, surroundings: &dyn Surroundings) -> String {
    surroundings
        .owner(&file_of(run, surroundings))
        .ok()
        .map(|owner| owner.uid)
        .filter(|uid| *uid != 0)
        .and_then(|uid| surroundings.user_of(uid).ok().flatten())
        .map_or_else(|| NOBODY.to_owned(), |user| user.name)
}

/// The file that the application is in, or where it would be looked for first.
fn file_of(run: &Run, surroundings: &dyn Surroundings) -> PathBuf {
    match &run.target {
        Target::Command(_) => run.folder.clone(),
        Target::Python(_, target) => {
            let (before, _) = target.rsplit_once(':').unwrap_or((target, ""));
            let module = before.replace('.', "/");
            [before.to_owned(), format!("{module}.py"), module]
                .iter()
                .map(|file| absolute(&run.folder, Path::new(file)))
                .find(|file| surroundings.find(file).is_ok())
                .unwrap_or_else(|| run.folder.clone())
        }
    }
}

/// What the pool is called: after the module, file or program.
fn name(target: &Target) -> String {
    let text = match target {
        Target::Python(_, target) => target
            .rsplit_once(':')
            .map_or(target.as_str(), |(before, _)| before),
        Target::Command(words) => words.first().map_or("", String::as_str),
    };
    let file = Path::new(text)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let stem = file
        .strip_suffix(".py")
        .or_else(|| file.strip_suffix(".wsgi"))
        .unwrap_or(&file);
    let plain: String = stem
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        .take(LONGEST_NAME)
        .collect();
    let plain = plain.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    if plain.is_empty() {
        "application"
    } else {
        plain
    }
    .to_owned()
}

/// A value and the word of the command line that it comes from.
#[expect(clippy::unnecessary_wraps, reason = "keys are set or not")]
const fn given<T>(key: &'static str, value: T) -> Option<Given<T>> {
    Some(Given {
        value,
        spot: Spot {
            place: Place::CommandLine,
            key,
            at: 0..0,
        },
    })
}

/// Somebody waits at a terminal.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// The sockets of its workers are called after it.
const LONGEST_NAME: usize = 24;
