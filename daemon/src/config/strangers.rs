//! Keys that no version knows: what was meant.

use super::{
    errors::Place,
    file::{DaemonKeys, PoolKeys, ShimKeys},
    subtables::{CgroupKeys, ReloadKeys, ScaleKeys},
};

/// What to do about the unknown `key`.
pub(super) fn remedy(key: &str, place: &Place, keys: &[&str], later: &[&str]) -> String {
    let key = key.to_lowercase().replace('_', "-");
    let means = |(known, words): &&(&str, &[&str])| keys.contains(known) && words.contains(&&*key);
    if let Some((known, _)) = PEERS.iter().find(means) {
        return format!("did you mean `{known}`?");
    }
    if let Some(table) = table_of(&key).filter(|_| !matches!(place, Place::Table(..))) {
        return format!("it belongs into [pool.NAME.{table}]");
    }
    // the beginning of a word is a better guess than a word with slips, a key with a meaning better than one without
    let slips = |known: &&str| {
        let begins = key.len() > 2 && known.starts_with(&key);
        let slips = strsim::damerau_levenshtein(&key, known);
        (if begins { 0 } else { slips }, slips, later.contains(known))
    };
    let nearest = keys.iter().chain(later).min_by_key(|known| slips(known));
    // as many slips as one makes in a word of this length
    if let Some(known) = nearest.filter(|known| slips(known).0 <= key.len().div_ceil(3)) {
        return format!("did you mean `{known}`?");
    }
    let of_pools =
        PoolKeys::KEYS.contains(&key.as_str()) || PoolKeys::LATER.contains(&key.as_str());
    if of_pools && matches!(place, Place::Top | Place::Daemon | Place::Table(..)) {
        return "it belongs into [pool.NAME] or [defaults]".to_owned();
    }
    let of_daemon =
        DaemonKeys::KEYS.contains(&key.as_str()) || DaemonKeys::LATER.contains(&key.as_str());
    if of_daemon {
        return "it belongs into [daemon]".to_owned();
    }
    if ShimKeys::KEYS.contains(&key.as_str()) || ShimKeys::LATER.contains(&key.as_str()) {
        return "it belongs into [shim]".to_owned();
    }
    "remove it".to_owned()
}

/// The table in a pool's table that has this key.
fn table_of(key: &str) -> Option<&'static str> {
    let tables = [
        ("scale", ScaleKeys::KEYS),
        ("reload", ReloadKeys::KEYS),
        ("cgroup", CgroupKeys::KEYS),
    ];
    let has = |(_, keys): &(_, &[&str])| keys.contains(&key);
    tables.into_iter().find(has).map(|(table, _)| table)
}

/// Our keys, and what gunicorn, uWSGI, mod_wsgi and php-fpm call them where that is no slip in ours.
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
        &["workers", "pm", "max-children", "pm-max-children"],
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
    ("idle-timeout", &["pm-process-idle-timeout", "idle"]),
    ("queue-wait", &["allocate-timeout"]),
    ("memory-max", &["memorymax", "memorylimit"]),
    ("memory-high", &["memoryhigh"]),
    ("pids-max", &["tasksmax"]),
    ("cpu-max", &["cpuquota"]),
    ("cpu-weight", &["cpuweight", "cpushares"]),
    ("maximum-requests", &["pm-max-requests"]),
    (
        "maximum-memory",
        &["reload-on-rss", "evil-reload-on-rss", "workers-max-rss"],
    ),
    (
        "request-timeout",
        &["timeout", "harakiri", "request-terminate-timeout"],
    ),
    ("listen-backlog", &["backlog"]),
    ("socket-mode", &["chmod-socket", "listen-mode"]),
    ("socket-user", &["listen-owner"]),
    ("socket-group", &["listen-group"]),
    (
        "home",
        &["chdir", "chdir2", "cwd", "directory", "working-directory"],
    ),
    ("python-home", &["venv", "virtualenv", "pyhome"]),
    (
        "wsgi",
        &["module", "callable", "app", "application", "wsgi-file"],
    ),
    ("command", &["exec", "program", "binary", "bin-path"]),
    ("environment", &["env"]),
    ("user", &["uid"]),
    ("group", &["gid"]),
];
