//! Keys that no version knows: what was meant.

use super::{
    errors::Place,
    file::{DaemonKeys, PoolKeys, ShimKeys},
    subtables::{CgroupKeys, ReloadKeys, ScaleKeys},
};

/// What to do about the unknown `key`.
pub(super) fn remedy(key: &str, place: &Place, keys: &[&str], later: &[&str]) -> String {
    let written = key;
    let key = &*key.to_lowercase().replace('_', "-");
    let in_pool = matches!(place, Place::Pool(_) | Place::Defaults);
    if let Some(known) = meant(key, keys) {
        return format!("did you mean `{known}`?");
    }
    if let Some((_, advice)) = in_pool.then(|| advice(key)).flatten() {
        return (*advice).to_owned();
    }
    // a name of ours is no slip in another
    let here = keys.contains(&key) || later.contains(&key);
    if let Some(elsewhere) = elsewhere(key, place).filter(|_| !here) {
        return format!("it belongs {elsewhere}");
    }
    let tables = TABLES.iter().filter(|_| in_pool);
    if let Some((table, known)) = tables
        .filter_map(|(table, keys)| Some((table, meant(key, keys)?)))
        .next()
    {
        return format!("did you mean `{known}` in [pool.NAME.{table}]?");
    }
    if let Some(known) = nearest(key, keys, later) {
        return format!("did you mean `{known}`?");
    }
    match place {
        Place::Top => format!("remove it, or write [pool.{written}] if it is a pool"),
        _ => "remove it".to_owned(),
    }
}

/// Which of `keys` another program calls so.
fn meant(key: &str, keys: &[&str]) -> Option<&'static str> {
    let means = |(known, words): &&(&str, &[&str])| keys.contains(known) && words.contains(&key);
    PEERS.iter().find(means).map(|(known, _)| *known)
}

fn advice(key: &str) -> Option<&'static (&'static [&'static str], &'static str)> {
    ADVICE.iter().find(|(words, _)| words.contains(&key))
}

/// Where a key of this name is known.
fn elsewhere(key: &str, place: &Place) -> Option<String> {
    let in_pool = matches!(place, Place::Pool(_) | Place::Defaults);
    let has = |keys: &[&str], later: &[&str]| keys.contains(&key) || later.contains(&key);
    if key == "include" {
        return Some("to the beginning of the file, before all tables".to_owned());
    }
    if TABLES.iter().any(|(table, _)| *table == key) {
        return Some(format!("into a pool: write [pool.NAME.{key}]"));
    }
    if let Some(table) = table_of(key).filter(|_| !matches!(place, Place::Table(..))) {
        return Some(format!("into [pool.NAME.{table}]"));
    }
    if !in_pool && has(PoolKeys::KEYS, PoolKeys::LATER) {
        return Some("into [pool.NAME] or [defaults]".to_owned());
    }
    if has(DaemonKeys::KEYS, DaemonKeys::LATER) {
        return Some("into [daemon]".to_owned());
    }
    has(ShimKeys::KEYS, ShimKeys::LATER).then(|| "into [shim]".to_owned())
}

/// The key that is written nearly so.
fn nearest<'a>(key: &str, keys: &[&'a str], later: &[&'a str]) -> Option<&'a str> {
    // the beginning of a word is a better guess than a word with slips, a key with a meaning better than one without
    let slips = |known: &&str| {
        let begins = key.len() > 2 && known.starts_with(key);
        let slips = strsim::damerau_levenshtein(key, known);
        (if begins { 0 } else { slips }, slips, later.contains(known))
    };
    let nearest = keys.iter().chain(later).min_by_key(|known| slips(known));
    // as many slips as one makes in a word of this length
    nearest
        .filter(|known| slips(known).0 <= key.len().div_ceil(3))
        .copied()
}

/// The table in a pool's table that has this key.
fn table_of(key: &str) -> Option<&'static str> {
    let has = |(_, keys): &&(_, &[&str])| keys.contains(&key);
    TABLES.iter().find(has).map(|(table, _)| *table)
}

/// The tables in a pool's table.
const TABLES: &[(&str, &[&str])] = &[
    ("scale", ScaleKeys::KEYS),
    ("reload", ReloadKeys::KEYS),
    ("cgroup", CgroupKeys::KEYS),
];

/// Our keys, and what gunicorn, uWSGI, php-fpm, mod_fcgid, supervisord and systemd call them where that is no slip in ours.
const PEERS: &[(&str, &[&str])] = &[
    (
        "listen",
        &[
            "bind",
            "socket",
            "http",
            "http-socket",
            "fastcgi-socket",
            "port",
        ],
    ),
    (
        "processes",
        &[
            "workers",
            "max-children",
            "pm-max-children",
            "max-procs",
            "fcgidmaxprocesses",
            "numprocs",
            "instances",
        ],
    ),
    (
        "minimum",
        &["min", "pm-min-spare-servers", "cheaper", "min-workers"],
    ),
    (
        "maximum",
        &["max", "pm-max-children", "max-children", "max-workers"],
    ),
    ("spare", &["pm-start-servers", "pm-max-spare-servers"]),
    (
        "idle-timeout",
        &["pm-process-idle-timeout", "idle", "fcgididletimeout"],
    ),
    ("queue-wait", &["allocate-timeout"]),
    ("memory-max", &["memorymax", "memorylimit", "mem-limit"]),
    ("memory-high", &["memoryhigh"]),
    ("pids-max", &["tasksmax", "pids-limit"]),
    ("cpu-max", &["cpuquota", "cpu-quota", "cpus"]),
    ("cpu-weight", &["cpuweight", "cpushares"]),
    (
        "maximum-requests",
        &[
            "pm-max-requests",
            "max-requests",
            "fcgidmaxrequestsperprocess",
        ],
    ),
    (
        "maximum-memory",
        &["reload-on-rss", "evil-reload-on-rss", "workers-max-rss"],
    ),
    (
        "request-timeout",
        &[
            "timeout",
            "harakiri",
            "request-terminate-timeout",
            "fcgidbusytimeout",
        ],
    ),
    ("listen-backlog", &["backlog"]),
    ("socket-mode", &["chmod-socket", "listen-mode"]),
    ("socket-user", &["listen-owner"]),
    ("socket-group", &["listen-group"]),
    (
        "home",
        &[
            "chdir",
            "chdir2",
            "cwd",
            "directory",
            "working-directory",
            "workingdirectory",
        ],
    ),
    ("python-home", &["venv", "virtualenv", "pyhome"]),
    (
        "wsgi",
        &["module", "callable", "app", "application", "wsgi-file"],
    ),
    (
        "command",
        &["exec", "execstart", "program", "binary", "bin-path"],
    ),
    ("environment", &["env", "raw-env"]),
    ("user", &["uid"]),
    ("group", &["gid"]),
    ("supplementary-groups", &["groups", "supplementarygroups"]),
    ("connections", &["worker-connections"]),
    ("concurrency", &["worker-class"]),
    (
        "touch",
        &["touch-reload", "touch-chain-reload", "reload-extra-files"],
    ),
    ("watch", &["py-autoreload", "fs-reload", "reload-engine"]),
    ("open-files", &["rlimit-files", "limitnofile", "minfds"]),
    ("core-size", &["rlimit-core", "limitcore"]),
    ("virtual-memory-limit", &["limit-as", "limitas"]),
    ("inherit-environment", &["clear-env"]),
    ("display-name", &["proc-name", "procname"]),
    ("slow-request", &["slowlog", "request-slowlog-timeout"]),
    ("restart-interval", &["max-worker-lifetime"]),
    ("eviction-timeout", &["reload-mercy", "worker-reload-mercy"]),
    ("graceful-timeout", &["process-control-timeout"]),
    ("shutdown-timeout", &["stopwaitsecs", "timeoutstopsec"]),
    ("backoff-initial", &["restartsec"]),
    ("cpu-priority", &["nice", "process-priority"]),
    ("cpu-policy", &["cpuschedulingpolicy"]),
    ("access-log", &["accesslog", "logto"]),
];

/// What others have a key for and we say elsewhere, or not at all.
const ADVICE: &[(&[&str], &str)] = &[
    (
        &["pm"],
        "write `processes` for a fixed number of workers, or [pool.NAME.scale] for one between two bounds (`minimum = 0`: on demand)",
    ),
    (
        &["preload-app"],
        "write `preload = true`: the application is loaded once, and workers are forked of it",
    ),
    (
        &["lazy-apps"],
        "remove it: each worker loads the application itself, unless `preload = true`",
    ),
    (
        &["max-requests-jitter"],
        "remove it: `maximum-requests` has a jitter of its own",
    ),
    (
        &["php-value", "php-admin-value", "php-flag", "php-admin-flag"],
        "name it in `command`, like [\"php-cgi\", \"-d\", \"memory_limit=128M\"]",
    ),
    (
        &["errorlog", "error-log", "catch-workers-output"],
        "remove it: what workers write is in the daemon's log, on standard error",
    ),
    (&["loglevel"], "it belongs into [daemon] as `log-level`"),
];
