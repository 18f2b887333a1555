//! Keys that no version knows: what was meant.

use super::{
    errors::Place,
    file::{DaemonKeys, PoolKeys, ShimKeys},
};

/// What to do about the unknown `key`.
pub(super) fn remedy(key: &str, place: &Place, keys: &[&str], later: &[&str]) -> String {
    let key = key.to_lowercase().replace('_', "-");
    let peer = PEERS.iter().find(|(_, words)| words.contains(&&*key));
    if let Some((known, _)) = peer.filter(|(known, _)| keys.contains(known)) {
        return format!("did you mean `{known}`?");
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
    if of_pools && matches!(place, Place::Top | Place::Daemon) {
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
    ("maximum-requests", &["pm-max-requests"]),
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
