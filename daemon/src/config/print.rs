//! A configuration as a file with nothing left to defaults.
//!
//! Reading it again gives the configuration it was printed from. A key that has no value, or no meaning in its table, is left out.

mod forms;

use std::path::PathBuf;

use stockade_policy::dispatch::Retry;
use toml::Value;

use super::{
    application,
    confinement::{self, Paths},
    file::{File, PoolTable, ShimTable, Spot},
    resolved::{
        AccessLog, Application, Bytes, CgroupLimits, Config, Daemon, Destination, Interface,
        Listen, LogLevel, Logging, Pool, Route, Scale, Shim, Stderr,
    },
    surroundings::Surroundings,
};
pub(super) use forms::{
    ceiling, group_name, number, path, size_or, string, strings_of_paths, user_name,
};
use forms::{limit, mode, name, size, strings, time};

/// A key and its value; none: it has none.
pub(super) type Entry = (&'static str, Option<Value>);

/// The whole file.
pub(super) fn print(file: &File, config: &Config, surroundings: &dyn Surroundings) -> String {
    let mut lines = Vec::new();
    table(
        &mut lines,
        "[daemon]",
        daemon(&config.daemon),
        &file.daemon.spots(),
    );
    for (pool, read) in config.pools.iter().zip(&file.pools) {
        lines.push(String::new());
        print_pool(&mut lines, pool, read, surroundings);
    }
    if let (Some(shim), Some(read)) = (&config.shim, &file.shim) {
        lines.push(String::new());
        print_shim(&mut lines, shim, read);
    }
    lines.join("\n") + "\n"
}

fn print_pool(
    lines: &mut Vec<String>,
    pool: &Pool,
    read: &PoolTable,
    surroundings: &dyn Surroundings,
) {
    let name = bare_or_quoted(&pool.name);
    let spots = read.keys.spots();
    let entries = entries(pool, surroundings)
        .into_iter()
        .filter(|(key, _)| application::has_meaning(key, pool.application.key()))
        .collect();
    table(lines, &format!("[pool.{name}]"), entries, &spots);
    if let Some(paths) = &pool.confinement.paths {
        lines.extend(base_set(paths));
    }
    if let (Some(scale), Some(given)) = (&pool.scale, &read.keys.scale) {
        let heading = format!("\n[pool.{name}.scale]");
        let spots = given.value.spots();
        table(lines, &heading, entries_of_scale(scale), &spots);
    }
    if application::has_meaning("reload", pool.application.key()) {
        let heading = format!("\n[pool.{name}.reload]");
        let given = read.keys.reload.as_ref();
        let spots = given.map_or_else(Vec::new, |given| given.value.spots());
        table(lines, &heading, entries_of_reload(pool), &spots);
    }
    if application::has_meaning("cgroup", pool.application.key()) {
        let heading = format!("\n[pool.{name}.cgroup]");
        let given = read.keys.cgroup.as_ref();
        let spots = given.map_or_else(Vec::new, |given| given.value.spots());
        table(lines, &heading, entries_of_cgroup(&pool.cgroup), &spots);
    }
    if !application::has_meaning("environment", pool.application.key()) {
        return;
    }
    let given = read.keys.environment.as_ref();
    lines.push(format!("\n[pool.{name}.environment]"));
    let own = |variable: &String| !pool.start.borrowed.contains(variable);
    for (variable, value) in pool.environment.iter().filter(|(name, _)| own(name)) {
        let set = given.filter(|given| given.value.0.contains_key(variable));
        let origin = origin(set.map(|given| &given.spot));
        line(
            lines,
            &bare_or_quoted(variable),
            &Value::from(value.as_str()),
            origin,
        );
    }
}

/// What `read-only-paths` and `read-write-paths` leave in reach besides, as comments.
fn base_set(paths: &Paths) -> [String; 2] {
    let list = |paths: &[PathBuf]| {
        let paths = paths.iter().map(|path| path.display().to_string());
        paths.collect::<Vec<_>>().join(" ")
    };
    [
        format!("# and read-only: {}", list(&paths.base_read)),
        format!("# and read-write: {}", list(&paths.base_write)),
    ]
}

fn print_shim(lines: &mut Vec<String>, shim: &Shim, read: &ShimTable) {
    table(lines, "[shim]", entries_of_shim(shim), &read.keys.spots());
    for (route, read) in shim.routes.iter().zip(&read.routes) {
        lines.push(String::new());
        table(
            lines,
            "[[shim.route]]",
            entries_of_route(route),
            &read.keys.spots(),
        );
    }
}

fn table(lines: &mut Vec<String>, heading: &str, entries: Vec<Entry>, spots: &[&Spot]) {
    lines.push(heading.to_owned());
    for (key, value) in entries {
        if let Some(value) = value {
            let spot = spots.iter().find(|spot| spot.key == key);
            line(lines, key, &value, origin(spot.copied()));
        }
    }
}

/// A name as TOML has it before an equals sign.
fn bare_or_quoted(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !name.is_empty() && name.chars().all(bare) {
        name.to_owned()
    } else {
        Value::from(name).to_string()
    }
}

fn line(lines: &mut Vec<String>, key: &str, value: &Value, origin: &str) {
    let setting = format!("{key} = {value}");
    lines.push(format!("{setting:COLUMN$} # {origin}"));
}

fn origin(spot: Option<&Spot>) -> &'static str {
    match spot {
        None => "default",
        Some(Spot { place, .. }) if place.is_of_defaults() => "[defaults]",
        Some(_) => "set",
    }
}

/// Every key of `[daemon]`.
pub(super) fn daemon(daemon: &Daemon) -> Vec<Entry> {
    let Daemon {
        runtime_dir,
        relay_user,
        relay_threads,
        log_level,
        admin_socket,
        status_listen,
        maximum_processes,
        shutdown_timeout,
    } = daemon;
    let level = match log_level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    let status = status_listen.map_or_else(|| "off".to_owned(), |address| address.to_string());
    vec![
        ("runtime-dir", path(runtime_dir)),
        ("relay-user", relay_user.as_ref().and_then(name)),
        ("relay-threads", number(*relay_threads)),
        ("log-level", string(level)),
        ("admin-socket", path(admin_socket)),
        ("status-listen", string(&status)),
        ("maximum-processes", number(*maximum_processes)),
        ("shutdown-timeout", time(*shutdown_timeout)),
    ]
}

/// Every key of a pool but `environment`, which is a table of its own.
pub(super) fn entries(pool: &Pool, surroundings: &dyn Surroundings) -> Vec<Entry> {
    let mut entries = of_application(pool);
    entries.extend(of_sockets(pool, surroundings));
    entries.extend(of_processes(pool, surroundings));
    entries.extend(confinement::entries(pool));
    entries.extend(confinement::entries_of_start(pool, surroundings));
    entries.extend(of_limits(pool));
    entries.extend(of_bytes(&pool.bytes));
    entries.extend(of_logging(&pool.logging));
    entries
}

fn of_application(pool: &Pool) -> Vec<Entry> {
    let none = || (None, None, None);
    let (python, python_home, python_path) = match &pool.application {
        Application::Python {
            target,
            interpreter,
            python_path,
            ..
        } => {
            let folders = python_path.iter().filter_map(|folder| path(folder));
            (
                string(target),
                path(interpreter),
                Some(Value::Array(folders.collect())),
            )
        }
        Application::Command(_) | Application::Upstream(_) | Application::Service(_) => none(),
    };
    let (mut command, mut upstream, mut service) = none();
    match &pool.application {
        Application::Python { .. } => {}
        Application::Command(words) => command = strings(words),
        Application::Upstream(addresses) => upstream = strings(addresses),
        Application::Service(words) => service = strings(words),
    }
    let mount = if pool.mount.is_empty() {
        "/"
    } else {
        &pool.mount
    };
    vec![
        (
            "wsgi",
            python.clone().filter(|_| pool.application.key() == "wsgi"),
        ),
        ("asgi", python.filter(|_| pool.application.key() == "asgi")),
        ("command", command),
        ("upstream", upstream),
        ("service", service),
        ("python-home", python_home),
        ("python-path", python_path),
        ("mount", string(mount)),
    ]
}

/// Its slots are said with `connections`.
fn has_connections(application: &Application) -> bool {
    matches!(
        application,
        Application::Python {
            interface,
            concurrency,
            ..
        } if *interface == Interface::Asgi || concurrency.hub().is_some()
    )
}

fn concurrency(application: &Application) -> Option<Value> {
    match application {
        Application::Python {
            interface: Interface::Wsgi,
            concurrency,
            ..
        } => string(concurrency.hub().unwrap_or("thread")),
        _ => None,
    }
}

fn of_sockets(pool: &Pool, surroundings: &dyn Surroundings) -> Vec<Entry> {
    let unix = pool
        .listen
        .iter()
        .any(|address| matches!(address, Listen::Unix(_)));
    let user = |uid| user_name(uid, surroundings);
    let tcp = (pool.listen.iter()).any(|address| !matches!(address, Listen::Unix(_)));
    let group = |gid| group_name(gid, surroundings);
    let socket = pool.socket;
    vec![
        ("listen", strings(&pool.listen)),
        (
            "socket-user",
            socket.uid.filter(|_| unix).map(|uid| user(uid).into()),
        ),
        (
            "socket-group",
            socket.gid.filter(|_| unix).map(|gid| group(gid).into()),
        ),
        ("socket-mode", unix.then(|| mode(socket.mode)).flatten()),
        ("listen-backlog", number(pool.listen_backlog)),
        (
            "allowed-clients",
            strings(&pool.allowed_clients).filter(|_| tcp),
        ),
    ]
}

fn of_processes(pool: &Pool, surroundings: &dyn Surroundings) -> Vec<Entry> {
    let account = pool.account.as_ref();
    let group = account.map(|account| group_name(account.gid, surroundings).into());
    let variable = |name: &str| {
        let value = pool.environment.get(name);
        string(value.map_or("off", String::as_str)).filter(|_| !pool.start.borrowed.contains(name))
    };
    let has_connections = has_connections(&pool.application);
    vec![
        (
            "processes",
            number(pool.processes).filter(|_| pool.scale.is_none()),
        ),
        ("concurrency", concurrency(&pool.application)),
        ("threads", number(pool.threads).filter(|_| !has_connections)),
        (
            "connections",
            number(pool.threads).filter(|_| has_connections),
        ),
        ("multiplex", Some(Value::Boolean(pool.multiplex))),
        ("user", account.and_then(name)),
        ("group", group),
        ("home", path(&pool.home)),
        ("umask", mode(pool.umask)),
        ("lang", variable("LANG")),
        ("locale", variable("LC_ALL")),
    ]
}

fn of_limits(pool: &Pool) -> Vec<Entry> {
    let is_python = matches!(pool.application, Application::Python { .. });
    let retry = match pool.retry {
        Retry::Off => "off",
        Retry::Unsent => "unsent",
        Retry::Idempotent => "idempotent",
    };
    vec![
        (
            "preload",
            Some(Value::Boolean(pool.preload.preload)).filter(|_| is_python),
        ),
        (
            "warm-up",
            strings(&pool.preload.warm_up).filter(|_| is_python),
        ),
        (
            "refork-after",
            number(pool.preload.refork_after).filter(|_| is_python),
        ),
        (
            "probe",
            string(pool.renewal.probe.as_deref().unwrap_or("off")),
        ),
        ("startup-timeout", limit(pool.startup_timeout)),
        ("request-timeout", limit(pool.request_timeout)),
        ("response-timeout", limit(pool.deadlines.response_timeout)),
        ("total-timeout", limit(pool.deadlines.total_timeout)),
        ("connect-timeout", time(pool.deadlines.connect_timeout)),
        ("socket-timeout", limit(pool.deadlines.socket_timeout)),
        ("queue-timeout", limit(pool.queue_timeout)),
        ("queue-limit", number(pool.queue_limit)),
        ("graceful-timeout", limit(pool.graceful_timeout)),
        ("eviction-timeout", limit(pool.eviction_timeout)),
        ("shutdown-timeout", time(pool.shutdown_timeout)),
        ("inactivity-timeout", limit(pool.wear.inactivity_timeout)),
        ("interrupt-timeout", limit(pool.deadlines.interrupt_timeout)),
        ("deadlock-timeout", limit(pool.deadlines.deadlock_timeout)),
        ("maximum-requests", number(pool.wear.maximum_requests)),
        ("restart-interval", limit(pool.wear.restart_interval)),
        ("maximum-memory", ceiling(pool.wear.maximum_memory)),
        ("cpu-time-limit", limit(pool.wear.cpu_time_limit)),
        ("retry", string(retry)),
        ("retry-limit", number(pool.retry_limit)),
        ("backoff-initial", time(pool.backoff.initial)),
        ("backoff-maximum", time(pool.backoff.maximum)),
    ]
}

fn of_bytes(bytes: &Bytes) -> Vec<Entry> {
    let Bytes {
        request_buffering,
        request_buffer_size,
        spool_dir,
        spool_limit,
        request_body_limit,
        header_limit,
        header_buffer_size,
        response_buffer_size,
    } = bytes;
    vec![
        (
            "request-buffering",
            Some(Value::Boolean(*request_buffering)),
        ),
        ("request-buffer-size", size(*request_buffer_size)),
        ("spool-dir", path(spool_dir)),
        ("spool-limit", ceiling(*spool_limit)),
        ("request-body-limit", ceiling(*request_body_limit)),
        ("header-limit", size(*header_limit)),
        ("header-buffer-size", size(*header_buffer_size)),
        ("response-buffer-size", size(*response_buffer_size)),
    ]
}

fn of_logging(logging: &Logging) -> Vec<Entry> {
    let stderr = match logging.stderr {
        Stderr::Log => "log",
        Stderr::Host => "host",
        Stderr::Both => "both",
    };
    let access_log = match &logging.access_log {
        AccessLog::Off => string("off"),
        AccessLog::StandardOutput => string("-"),
        AccessLog::File(file) => path(file),
    };
    vec![
        ("stderr", string(stderr)),
        ("access-log", access_log),
        (
            "access-log-format",
            string(logging.access_log_format.text()),
        ),
        ("slow-request", limit(logging.slow_request)),
    ]
}

/// Every key of `[pool.NAME.scale]`.
pub(super) fn entries_of_scale(scale: &Scale) -> Vec<Entry> {
    let Scale {
        minimum,
        maximum,
        spare,
        queue_wait,
        idle_timeout,
    } = scale;
    vec![
        ("minimum", number(*minimum)),
        ("maximum", number(*maximum)),
        ("spare", number(*spare)),
        ("queue-wait", time(*queue_wait)),
        ("idle-timeout", time(*idle_timeout)),
    ]
}

/// Every key of `[pool.NAME.reload]`.
pub(super) fn entries_of_reload(pool: &Pool) -> Vec<Entry> {
    let touch = pool.renewal.touch.iter().filter_map(|each| path(each));
    vec![
        ("surge", number(pool.renewal.surge)),
        ("touch", Some(Value::Array(touch.collect()))),
        ("watch", strings(&pool.renewal.watch)),
    ]
}

/// Every key of `[pool.NAME.cgroup]`.
pub(super) fn entries_of_cgroup(limits: &CgroupLimits) -> Vec<Entry> {
    let CgroupLimits {
        memory_max,
        memory_high,
        pids_max,
        cpu_max,
        cpu_weight,
    } = limits;
    let or_off = |limit: Option<u32>| limit.map_or_else(|| string("off"), number);
    let part = cpu_max.map(|percent| format!("{percent}%"));
    vec![
        ("memory-max", ceiling(*memory_max)),
        ("memory-high", ceiling(*memory_high)),
        ("pids-max", or_off(*pids_max)),
        ("cpu-max", string(part.as_deref().unwrap_or("off"))),
        ("cpu-weight", or_off(*cpu_weight)),
    ]
}

/// Every key of `[shim]`.
pub(super) fn entries_of_shim(shim: &Shim) -> Vec<Entry> {
    vec![
        ("listen", strings(&shim.listen)),
        ("user", shim.account.as_ref().and_then(name)),
        ("header-timeout", limit(shim.header_timeout)),
        ("keep-alive-timeout", limit(shim.keep_alive_timeout)),
    ]
}

/// Every key of `[[shim.route]]`.
pub(super) fn entries_of_route(route: &Route) -> Vec<Entry> {
    let (files, pool) = match &route.destination {
        Destination::Files(folder) => (path(folder), None),
        Destination::Pool { name, .. } => (None, string(name)),
    };
    vec![
        ("host", route.host.as_deref().and_then(string)),
        ("path", string(&route.path)),
        ("files", files),
        ("pool", pool),
    ]
}

/// Where the comments begin, unless the value is longer.
const COLUMN: usize = 47;
