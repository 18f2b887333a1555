//! From what the file says to what it means: defaults filled in, paths made absolute, names looked up, pools compared.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
    time::Duration,
};

use stockade_policy::{Backoff, Limit, dispatch::Retry};
use toml::Spanned;

use super::{
    accounts, bytes, cgroup, clients, deadlines,
    errors::{Fault, Place, Problem, Problems},
    file::{DaemonKeys, File, Given, PoolKeys, PoolTable},
    logging, preload, python, renewal,
    resolved::{Account, Application, Config, Daemon, Listen, LogLevel, Pool, Wear},
    scale, shim,
    surroundings::Surroundings,
    values::Period,
    worker,
};

/// What `file`, which lies in `folder`, means; none when there are problems.
pub(super) fn resolve(
    file: &File,
    folder: &Path,
    surroundings: &dyn Surroundings,
    problems: &mut Problems,
) -> Option<Config> {
    let daemon = daemon(file, folder, surroundings, problems);
    let shim_account = file
        .shim
        .as_ref()
        .and_then(|table| problems.keep(shim::account(table, surroundings)))
        .flatten();
    let pools: Vec<Option<Pool>> = file
        .pools
        .iter()
        .map(|table| {
            let routed = file.shim.as_ref().is_some_and(|shim| shim.leads_to(table));
            let shim = shim_account.as_ref().filter(|_| routed);
            pool(table, shim, folder, surroundings, problems)
        })
        .collect();
    refuse_shared_addresses(&file.pools, folder, problems);
    let (daemon, pools) = (daemon?, pools.into_iter().collect::<Option<Vec<_>>>()?);
    scale::refuse_too_many(&file.daemon, &pools, problems);
    let shim = match &file.shim {
        Some(table) => Some(shim::resolve(
            table,
            shim_account,
            &pools,
            folder,
            surroundings,
            problems,
        )?),
        None => None,
    };
    let config = Config {
        daemon,
        pools,
        shim,
        place: Place::Top,
    };
    problems.is_empty().then_some(config)
}

/// `path`, which is relative to `base` unless it is absolute, without its "." parts.
pub(super) fn absolute(base: &Path, path: &Path) -> PathBuf {
    base.join(path)
        .components()
        .filter(|part| *part != Component::CurDir)
        .collect()
}

fn daemon(
    file: &File,
    folder: &Path,
    surroundings: &dyn Surroundings,
    problems: &mut Problems,
) -> Option<Daemon> {
    let keys = &file.daemon;
    let runtime_dir = problems.keep(runtime_dir(file, folder, surroundings));
    let admin_socket = runtime_dir
        .as_deref()
        .and_then(|runtime_dir| problems.keep(admin_socket(keys, runtime_dir)));
    let relay_user = problems.keep(accounts::service(
        accounts::RELAY,
        keys.relay_user.as_ref(),
        surroundings,
        missing_in_daemon,
    ));
    let threads = match value(keys.relay_threads.as_ref(), |given| given.0, 0) {
        0 => surroundings.cores(),
        threads => threads,
    };
    Some(Daemon {
        runtime_dir: runtime_dir?,
        relay_user: relay_user?,
        relay_threads: usize::try_from(threads).unwrap_or(1),
        log_level: value(keys.log_level.as_ref(), |given| *given, LogLevel::Info),
        admin_socket: admin_socket?,
        status_listen: keys.status_listen.as_ref().and_then(|given| given.value.0),
        maximum_processes: value(keys.maximum_processes.as_ref(), |given| given.0, 0),
        shutdown_timeout: period(keys.shutdown_timeout.as_ref(), Duration::from_secs(30)),
    })
}

fn runtime_dir(
    File { daemon, pools, .. }: &File,
    folder: &Path,
    surroundings: &dyn Surroundings,
) -> Result<PathBuf, Problem> {
    let path = runtime_dir_path(daemon, folder, surroundings);
    let longest_name = pools.iter().map(|pool| pool.name.len()).max();
    let allowed = LONGEST_SOCKET_PATH.saturating_sub(WORKER_SOCKET + longest_name.unwrap_or(0));
    let length = path.as_os_str().len();
    if length <= allowed {
        return Ok(path);
    }
    let why = format!(
        "is {}, {length} bytes long, too long for the paths of the workers' sockets in it: use one of at most {allowed} bytes",
        path.display()
    );
    Err(match &daemon.runtime_dir {
        Some(given) => given.spot.wrong(why),
        None => missing_in_daemon(format!("`runtime-dir` {why}")),
    })
}

/// `runtime-dir`, however long its path is.
fn runtime_dir_path(keys: &DaemonKeys, folder: &Path, surroundings: &dyn Surroundings) -> PathBuf {
    match &keys.runtime_dir {
        Some(given) => absolute(folder, &given.value),
        None if surroundings.uid() == 0 => PathBuf::from(RUNTIME_DIR_OF_ROOT),
        None => match surroundings.variable("XDG_RUNTIME_DIR").map(PathBuf::from) {
            Some(path) if path.is_absolute() => path.join("stockade"),
            _ => PathBuf::from(format!("/tmp/stockade-{}", surroundings.uid())),
        },
    }
}

/// `admin-socket`, for a command that looks for a daemon with these keys in a file in `folder`.
pub(super) fn admin_socket_of(
    keys: &DaemonKeys,
    folder: &Path,
    surroundings: &dyn Surroundings,
) -> Result<PathBuf, Problem> {
    admin_socket(keys, &runtime_dir_path(keys, folder, surroundings))
}

/// `admin-socket` where nothing is set.
pub(super) fn default_admin_socket(surroundings: &dyn Surroundings) -> PathBuf {
    runtime_dir_path(&DaemonKeys::default(), Path::new("/"), surroundings)
        .join(DEFAULT_ADMIN_SOCKET)
}

fn admin_socket(keys: &DaemonKeys, runtime_dir: &Path) -> Result<PathBuf, Problem> {
    let Some(given) = &keys.admin_socket else {
        return Ok(runtime_dir.join(DEFAULT_ADMIN_SOCKET));
    };
    let path = absolute(runtime_dir, &given.value);
    let length = path.as_os_str().len();
    if length > LONGEST_SOCKET_PATH {
        return Err(given.spot.wrong(format!(
            "is {}, {length} bytes long: the path of a socket has at most {LONGEST_SOCKET_PATH}",
            path.display()
        )));
    }
    Ok(path)
}

/// A default of `[daemon]` that does not do.
const fn missing_in_daemon(what: String) -> Problem {
    Problem {
        at: None,
        fault: Fault::Missing {
            place: Place::Daemon,
            what,
        },
    }
}

fn pool(
    table: &PoolTable,
    shim: Option<&Account>,
    folder: &Path,
    surroundings: &dyn Surroundings,
    problems: &mut Problems,
) -> Option<Pool> {
    let keys = &table.keys;
    let listen = problems.keep(listen(table, folder));
    let allowed_clients = clients::allowed_clients(keys, listen.as_deref().unwrap_or_default());
    let allowed_clients = problems.keep(allowed_clients);
    let account = match keys.upstream {
        Some(_) => Some(None),
        None => problems.keep(accounts::worker(table, surroundings)),
    };
    let known = account.as_ref().and_then(Option::as_ref);
    let socket = problems.keep(accounts::socket(keys, known, shim, surroundings));
    let worker = worker::worker(table, known, folder, surroundings, problems);
    let base = worker.as_ref().and_then(|worker| worker.base(keys));
    let base = base.unwrap_or(folder).to_owned();
    let backoff = problems.keep(backoff(table));
    let bytes = problems.keep(bytes::bytes(keys, &base, surroundings));
    let logging = problems.keep(logging::logging(keys, folder, surroundings));
    let deadlines = problems.keep(deadlines::deadlines(keys));
    let cgroup = problems.keep(cgroup::limits(keys));
    let (account, worker) = (account?, worker?);
    let scale = scale::scale(keys, &worker.application, surroundings.cores());
    let (processes, scale) = problems.keep(scale)?;
    let threads = threads(keys, &worker.application);
    let request_timeout = limit(keys.request_timeout.as_ref(), Duration::from_secs(60));
    let graceful_timeout = graceful_timeout(keys, request_timeout);
    Some(Pool {
        name: table.name.clone(),
        listen: listen?,
        socket: socket?,
        listen_backlog: listen_backlog(keys),
        allowed_clients: allowed_clients?,
        application: worker.application,
        mount: value(keys.mount.as_ref(), |given| given.0.clone(), String::new()),
        processes,
        scale,
        renewal: renewal::renewal(keys, &base, processes),
        preload: problems.keep(preload::preload(keys))?,
        threads,
        multiplex: value(keys.multiplex.as_ref(), |given| *given, false),
        account,
        home: worker.home,
        umask: value(keys.umask.as_ref(), |given| given.0, 0o022),
        confinement: worker.confinement,
        start: worker.start,
        environment: worker.environment,
        startup_timeout: limit(keys.startup_timeout.as_ref(), Duration::from_secs(15)),
        request_timeout,
        deadlines: deadlines?,
        queue_timeout: limit(keys.queue_timeout.as_ref(), Duration::from_secs(45)),
        queue_limit: value(keys.queue_limit.as_ref(), |given| given.0, 1000),
        graceful_timeout,
        eviction_timeout: switched(keys.eviction_timeout.as_ref(), graceful_timeout),
        shutdown_timeout: period(keys.shutdown_timeout.as_ref(), Duration::from_secs(5)),
        wear: wear(keys),
        retry: value(keys.retry.as_ref(), |given| *given, Retry::Idempotent),
        retry_limit: value(keys.retry_limit.as_ref(), |given| given.0, 1),
        backoff: backoff?,
        bytes: bytes?,
        logging: logging?,
        cgroup: cgroup?,
    })
}

fn listen_backlog(keys: &PoolKeys) -> i32 {
    let backlog = value(keys.listen_backlog.as_ref(), |given| given.0, 4096);
    backlog.try_into().unwrap_or(i32::MAX)
}

fn threads(keys: &PoolKeys, application: &Application) -> u32 {
    if python::has_connections(keys) {
        return value(keys.connections.as_ref(), |given| given.0, CONNECTIONS);
    }
    let default = match application {
        Application::Upstream(_) => UPSTREAM_THREADS,
        Application::Python { .. } | Application::Command(_) | Application::Service(_) => 1,
    };
    value(keys.threads.as_ref(), |given| given.0, default)
}

fn wear(keys: &PoolKeys) -> Wear {
    Wear {
        maximum_requests: value(keys.maximum_requests.as_ref(), |given| given.0, 0),
        maximum_memory: value(keys.maximum_memory.as_ref(), |given| given.0, None),
        cpu_time_limit: switched(keys.cpu_time_limit.as_ref(), Limit::OFF),
        restart_interval: switched(keys.restart_interval.as_ref(), Limit::OFF),
        inactivity_timeout: switched(keys.inactivity_timeout.as_ref(), Limit::OFF),
    }
}

fn graceful_timeout(keys: &PoolKeys, request_timeout: Limit) -> Limit {
    let default = Limit(request_timeout.0.map(|limit| limit + GRACE));
    switched(keys.graceful_timeout.as_ref(), default)
}

/// `listen`, and that the keys about unix sockets are about one; a service has none.
fn listen(table: &PoolTable, folder: &Path) -> Result<Vec<Listen>, Problem> {
    if table.keys.service.is_some() {
        return Ok(Vec::new());
    }
    let Some(given) = &table.keys.listen else {
        return Err(table.missing(format!(
            "`listen` is missing: say where the host connects to, like listen = [\"unix:/run/stockade/{}.sock\"]",
            table.name
        )));
    };
    if given.value.is_empty() {
        return Err(given.spot.wrong(format!(
            "is empty: say where the host connects to, like [\"unix:/run/stockade/{}.sock\"]",
            table.name
        )));
    }
    if given.value.len() > MOST_ADDRESSES {
        return Err(given.spot.wrong(format!(
            "has {} addresses: a pool has at most {MOST_ADDRESSES}",
            given.value.len()
        )));
    }
    let mut addresses = Vec::new();
    for address in &given.value {
        let full = full_address(address.get_ref(), folder);
        if let Listen::Unix(path) = &full {
            let length = path.as_os_str().len();
            if length > LONGEST_SOCKET_PATH {
                return Err(given.spot.wrong_at(address.span(), format!(
                    "has {}, {length} bytes long: the path of a socket has at most {LONGEST_SOCKET_PATH}",
                    path.display()
                )));
            }
        }
        addresses.push(full);
    }
    refuse_idle_socket_keys(table, &addresses)?;
    Ok(addresses)
}

fn full_address(address: &Listen, folder: &Path) -> Listen {
    match address {
        Listen::Unix(path) => Listen::Unix(absolute(folder, path)),
        Listen::Tcp(_) | Listen::Systemd(_) => address.clone(),
    }
}

/// In `[defaults]` they are for the pools that have a unix socket.
fn refuse_idle_socket_keys(table: &PoolTable, addresses: &[Listen]) -> Result<(), Problem> {
    let has_unix = addresses
        .iter()
        .any(|address| matches!(address, Listen::Unix(_)));
    let keys = &table.keys;
    let given = [
        keys.socket_user.as_ref().map(|given| &given.spot),
        keys.socket_group.as_ref().map(|given| &given.spot),
        keys.socket_mode.as_ref().map(|given| &given.spot),
    ];
    match given.into_iter().flatten().find(|spot| spot.own()) {
        Some(spot) if !has_unix => Err(spot.wrong(
            "has no meaning without a unix socket: remove it, or add a \"unix:\" address to `listen`",
        )),
        _ => Ok(()),
    }
}

fn backoff(table: &PoolTable) -> Result<Backoff, Problem> {
    let keys = &table.keys;
    let longest = match keys.upstream {
        Some(_) => LONGEST_UPSTREAM_WAIT,
        None => Duration::from_secs(60),
    };
    let maximum = period(keys.backoff_maximum.as_ref(), longest);
    let default = Duration::from_millis(500).min(maximum);
    let initial = period(keys.backoff_initial.as_ref(), default);
    for given in [&keys.backoff_initial, &keys.backoff_maximum]
        .into_iter()
        .flatten()
    {
        if given.value.0.is_zero() {
            return Err(given.spot.wrong(
                "is zero, which would start a failing worker again without end: write a time like \"500ms\"",
            ));
        }
    }
    match &keys.backoff_initial {
        Some(given) if initial > maximum => Err(given.spot.wrong(format!(
            "is longer than `backoff-maximum` ({maximum:?}): lower it, or raise `backoff-maximum`"
        ))),
        _ => Ok(Backoff { initial, maximum }),
    }
}

/// No address can be bound twice.
fn refuse_shared_addresses(pools: &[PoolTable], folder: &Path, problems: &mut Problems) {
    let mut taken: BTreeMap<String, &str> = BTreeMap::new();
    for table in pools {
        let Some(given) = &table.keys.listen else {
            continue;
        };
        for address in &given.value {
            let shown = full_address(address.get_ref(), folder).to_string();
            let Some(other) = taken.insert(shown.clone(), &table.name) else {
                continue;
            };
            problems.add(shared_address(given, address, table, other, &shown));
        }
    }
}

fn shared_address(
    given: &Given<Vec<Spanned<Listen>>>,
    address: &Spanned<Listen>,
    table: &PoolTable,
    other: &str,
    shown: &str,
) -> Problem {
    let why = if other == table.name {
        format!("has {shown} twice: remove one")
    } else if given.spot.own() {
        format!(
            "has {shown}, where pool {other} listens already: give each pool an address of its own"
        )
    } else {
        format!(
            "has {shown} for pool {other} and pool {}: give each pool an address of its own",
            table.name
        )
    };
    given.spot.wrong_at(address.span(), why)
}

pub(super) fn value<T, U>(given: Option<&Given<T>>, meaning: impl Fn(&T) -> U, default: U) -> U {
    given.map_or(default, |given| meaning(&given.value))
}

pub(super) fn limit(given: Option<&Given<Limit>>, default: Duration) -> Limit {
    value(given, |given| *given, Limit::of(default))
}

/// A limit that may be off where nothing is said.
fn switched(given: Option<&Given<Limit>>, default: Limit) -> Limit {
    value(given, |given| *given, default)
}

pub(super) fn period(given: Option<&Given<Period>>, default: Duration) -> Duration {
    value(given, |given| given.0, default)
}

/// As many as go to the relay in one message.
const MOST_ADDRESSES: usize = 32;
/// Requests at a time that a worker with an event loop gets, where nothing is said.
const CONNECTIONS: u32 = 100;
/// Requests at a time that an address of an upstream gets, where nothing is said.
const UPSTREAM_THREADS: u32 = 32;
/// To ask whether an upstream is back costs one connection.
const LONGEST_UPSTREAM_WAIT: Duration = Duration::from_secs(5);
/// What `graceful-timeout` is longer than `request-timeout` unless it is set.
const GRACE: Duration = Duration::from_secs(5);
/// `runtime-dir` of a daemon that root starts, unless it is set.
pub const RUNTIME_DIR_OF_ROOT: &str = "/run/stockade";
/// In the runtime-dir.
const DEFAULT_ADMIN_SOCKET: &str = "admin.sock";
/// The room of `sun_path` on Linux, less the byte that ends it.
pub(super) const LONGEST_SOCKET_PATH: usize = 107;
/// What a worker's socket adds to `runtime-dir` and the pool's name: "/workers/", ".4294967295.sock".
const WORKER_SOCKET: usize = 9 + 16;
