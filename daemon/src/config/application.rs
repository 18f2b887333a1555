//! What runs: `wsgi`, `command`, `upstream` or `service`, every file it needs found, and the environment it runs in.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use toml::Spanned;

use super::{
    access, confinement,
    errors::Problem,
    file::{APPLICATIONS, Given, PoolKeys, PoolTable, Spot},
    python,
    resolve::{LONGEST_SOCKET_PATH, absolute},
    resolved::{Account, Application, Interface, Listen},
    surroundings::{Found, Surroundings},
    values::{UpstreamAddress, Word},
};

/// The pool's application; its relative paths begin in `base`.
pub(super) fn application(
    pool: &PoolTable,
    account: Option<&Account>,
    base: &Path,
    surroundings: &dyn Surroundings,
) -> Result<Application, Problem> {
    let keys = &pool.keys;
    exactly_one(pool)?;
    refuse_other_slots(keys)?;
    if let Some((interface, given)) = python::application(keys) {
        let key = interface.key();
        let why =
            format!("with `{key}`, whose workers take one request on a connection: remove it");
        refuse(keys, OF_PROGRAMS, &why)?;
        if interface == Interface::Asgi {
            let why = "with `asgi`, which has an event loop: remove it";
            refuse(keys, OF_WSGI, why)?;
        }
        if python::has_connections(keys) {
            let why = "for requests that are no threads of their own: remove it";
            refuse(keys, OF_SYSTEM_THREADS, why)?;
        }
        let folders = python::path(keys, base);
        Ok(Application::Python {
            interface,
            concurrency: python::concurrency(keys),
            target: python::target(given, &folders, base, surroundings)?,
            interpreter: python::interpreter(pool, account, base, surroundings)?,
            python_path: folders,
        })
    } else if let Some(given) = &keys.command {
        refuse(
            keys,
            PYTHON,
            "with `command`: remove it, or run the application with `wsgi`",
        )?;
        command(given, account, base, surroundings).map(Application::Command)
    } else if let Some(given) = &keys.service {
        refuse(keys, PYTHON, "with `service`: remove it")?;
        refuse(
            keys,
            OF_REQUESTS,
            "with `service`, which gets no requests: remove it",
        )?;
        command(given, account, base, surroundings).map(Application::Service)
    } else if let Some(given) = &keys.upstream {
        refuse(keys, PYTHON, "with `upstream`: remove it")?;
        for of_processes in [OF_PROCESSES, confinement::KEYS] {
            let why = "with `upstream`, whose processes are somebody else's: remove it";
            refuse(keys, of_processes, why)?;
        }
        upstream(given, base).map(Application::Upstream)
    } else {
        Err(pool.missing(
            "there is no application: set `wsgi`, `asgi`, `command`, `upstream` or `service`",
        ))
    }
}

/// A worker's slots are said with `threads` or with `connections`.
fn refuse_other_slots(keys: &PoolKeys) -> Result<(), Problem> {
    if python::has_connections(keys) {
        let why = "here: remove it, or set `connections`, the requests a worker takes at a time";
        refuse(keys, OF_THREADS, why)
    } else {
        let why = "here: set `threads`, the requests a worker takes at a time, or with `wsgi` `concurrency` to \"gevent\"";
        refuse(keys, OF_EVENT_LOOPS, why)
    }
}

fn exactly_one(pool: &PoolTable) -> Result<(), Problem> {
    let mut set = pool.keys.spots().into_iter();
    let mut next = || set.find(|spot| APPLICATIONS.contains(&spot.key));
    match (next(), next()) {
        (Some(first), Some(second)) => Err(second.wrong(format!(
            "is set beside `{}`, but a pool runs exactly one application: remove one of them",
            first.key
        ))),
        _ => Ok(()),
    }
}

/// The whole environment of a worker but what the daemon tells it about itself.
pub(super) fn environment(
    keys: &PoolKeys,
    application: &Application,
    account: Option<&Account>,
    own: &(String, PathBuf),
    borrowed: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let (name, home) = account.map_or((&own.0, &own.1), |account| (&account.name, &account.home));
    // one that is inherited has come with the others
    let inherits = keys
        .inherit_environment
        .as_ref()
        .is_some_and(|given| given.value);
    let default = (!inherits).then(|| DEFAULT_LANG.to_owned());
    let lang = keys
        .lang
        .as_ref()
        .map_or(default, |given| given.value.0.clone());
    let locale = keys
        .locale
        .as_ref()
        .map_or_else(|| lang.clone(), |given| given.value.0.clone());
    let mut variables = BTreeMap::from([
        ("PATH".to_owned(), DEFAULT_PATH.to_owned()),
        ("HOME".to_owned(), home.to_string_lossy().into_owned()),
        ("USER".to_owned(), name.clone()),
        ("LOGNAME".to_owned(), name.clone()),
    ]);
    variables.extend(lang.map(|lang| ("LANG".to_owned(), lang)));
    variables.extend(locale.map(|locale| ("LC_ALL".to_owned(), locale)));
    variables.extend(php_variables(keys, application));
    variables.extend(borrowed);
    if let Some(given) = &keys.environment {
        variables.extend(given.value.0.clone());
    }
    variables
}

/// php-cgi serves one request at a time, unless told to have children that accept beside each other; and it exits after 500 without
/// a word, under a request that was just being given to it: `maximum-requests` does that without loss.
fn php_variables(keys: &PoolKeys, application: &Application) -> Vec<(String, String)> {
    let Application::Command(words) = application else {
        return Vec::new();
    };
    let program = words
        .first()
        .and_then(|word| Path::new(word).file_name()?.to_str());
    if !program.is_some_and(|program| program.starts_with("php-cgi")) {
        return Vec::new();
    }
    let mut variables = vec![("PHP_FCGI_MAX_REQUESTS".to_owned(), "0".to_owned())];
    if let Some(threads) = keys
        .threads
        .as_ref()
        .map(|given| given.value.0)
        .filter(|threads| *threads > 1)
    {
        variables.push(("PHP_FCGI_CHILDREN".to_owned(), threads.to_string()));
    }
    variables
}

/// Whether `key` says anything about a pool that runs what the key `application` says.
pub(super) fn has_meaning(key: &str, application: &str) -> bool {
    let python = PYTHON.contains(&key);
    let loops = OF_EVENT_LOOPS.contains(&key);
    match application {
        "command" => !python && !loops,
        "service" => !python && !loops && !OF_REQUESTS.contains(&key),
        "upstream" => {
            !python && !loops && !OF_PROCESSES.contains(&key) && !confinement::KEYS.contains(&key)
        }
        "wsgi" => !OF_PROGRAMS.contains(&key),
        "asgi" => ![OF_PROGRAMS, OF_THREADS, OF_WSGI, OF_SYSTEM_THREADS]
            .concat()
            .contains(&key),
        _ => true,
    }
}

/// Refuses keys that have no meaning in this pool; in `[defaults]` they are for other pools.
fn refuse(keys: &PoolKeys, without_meaning: &[&str], why: &str) -> Result<(), Problem> {
    let idle = |spot: &&Spot| spot.own() && without_meaning.contains(&spot.key);
    match keys.spots().into_iter().find(idle) {
        Some(spot) => Err(spot.wrong(format!("has no meaning {why}"))),
        None => Ok(()),
    }
}

/// Keys of Python applications. SCRIPT_NAME is given to others as the host sends it.
const PYTHON: &[&str] = &[
    "python-home",
    "python-path",
    "mount",
    "preload",
    "warm-up",
    "refork-after",
    "concurrency",
    "interrupt-timeout",
    "deadlock-timeout",
    "script-user",
    "script-group",
];
/// Keys of applications that serve many requests in one thread.
const OF_EVENT_LOOPS: &[&str] = &["connections"];
/// Keys of WSGI applications alone.
const OF_WSGI: &[&str] = &["concurrency"];
/// Keys of requests in threads of the system.
const OF_SYSTEM_THREADS: &[&str] = &["interrupt-timeout", "deadlock-timeout"];
/// Keys of all others.
const OF_THREADS: &[&str] = &["threads"];
/// Keys of programs that speak FastCGI by themselves.
const OF_PROGRAMS: &[&str] = &["multiplex"];
/// Keys about requests and where they come from.
const OF_REQUESTS: &[&str] = &[
    "probe",
    "listen",
    "socket-user",
    "socket-group",
    "socket-mode",
    "listen-backlog",
    "allowed-clients",
    "threads",
    "multiplex",
    "request-timeout",
    "response-timeout",
    "total-timeout",
    "connect-timeout",
    "socket-timeout",
    "queue-timeout",
    "queue-limit",
    "graceful-timeout",
    "eviction-timeout",
    "inactivity-timeout",
    "maximum-requests",
    "scale",
    "retry",
    "retry-limit",
    "request-buffering",
    "request-buffer-size",
    "spool-dir",
    "spool-limit",
    "request-body-limit",
    "header-limit",
    "header-buffer-size",
    "response-buffer-size",
    "stderr",
    "access-log",
    "access-log-format",
    "slow-request",
];
/// Keys about processes of ours.
const OF_PROCESSES: &[&str] = &[
    "probe",
    "processes",
    "user",
    "group",
    "home",
    "umask",
    "environment",
    "environment-file",
    "inherit-environment",
    "display-name",
    "stop-signal",
    "lang",
    "locale",
    "startup-timeout",
    "graceful-timeout",
    "eviction-timeout",
    "shutdown-timeout",
    "inactivity-timeout",
    "maximum-requests",
    "restart-interval",
    "scale",
    "reload",
    "cgroup",
    "maximum-memory",
    "cpu-time-limit",
];

/// The addresses, each once.
fn upstream(
    given: &Given<Vec<Spanned<UpstreamAddress>>>,
    base: &Path,
) -> Result<Vec<Listen>, Problem> {
    let mut addresses: Vec<Listen> = Vec::new();
    for address in &given.value {
        let UpstreamAddress(each) = address.get_ref();
        let full = match each {
            Listen::Unix(path) => Listen::Unix(absolute(base, path)),
            Listen::Tcp(_) | Listen::Systemd(_) => each.clone(),
        };
        if let Listen::Unix(path) = &full
            && path.as_os_str().len() > LONGEST_SOCKET_PATH
        {
            return Err(given.spot.wrong_at(
                address.span(),
                format!("has {full}: the path of a socket has at most {LONGEST_SOCKET_PATH} bytes"),
            ));
        }
        if addresses.contains(&full) {
            return Err(given
                .spot
                .wrong_at(address.span(), format!("has {full} twice: remove one")));
        }
        addresses.push(full);
    }
    if addresses.is_empty() {
        return Err(given.spot.wrong(
            "is empty: write where the application listens, like [\"unix:/run/php/php-fpm.sock\"]",
        ));
    }
    if addresses.len() > MOST_UPSTREAMS {
        return Err(given.spot.wrong(format!(
            "has {} addresses: a pool has at most {MOST_UPSTREAMS}",
            addresses.len()
        )));
    }
    Ok(addresses)
}

/// The program made absolute, and its arguments.
fn command(
    given: &Given<Vec<Spanned<Word>>>,
    account: Option<&Account>,
    base: &Path,
    surroundings: &dyn Surroundings,
) -> Result<Vec<String>, Problem> {
    let Some(first) = given.value.first() else {
        return Err(given
            .spot
            .wrong("is empty: write the program and its arguments, like [\"php-cgi\"]"));
    };
    let Word(name) = first.get_ref();
    let wrong = |why| given.spot.wrong_at(first.span(), why);
    let program = if name.contains('/') {
        let path = absolute(base, Path::new(name));
        match surroundings.find(&path) {
            Ok(Found::Program) => path,
            Ok(Found::File) => {
                return Err(wrong(format!(
                    "begins with {0}, which is not executable: `chmod +x {0}`, or name the interpreter it is written for before it",
                    path.display()
                )));
            }
            Ok(Found::Folder) => {
                return Err(wrong(format!(
                    "begins with {}, a folder: name a program",
                    path.display()
                )));
            }
            Err(reason) => {
                return Err(wrong(format!(
                    "begins with {}, which cannot be found: {reason}: correct the path",
                    path.display()
                )));
            }
        }
    } else {
        in_path(name, account, surroundings).ok_or_else(|| {
            wrong(format!(
                "begins with {name:?}, which is in no folder of PATH: {}",
                remedy(name)
            ))
        })?
    };
    let arguments = given
        .value
        .iter()
        .skip(1)
        .map(|word| word.get_ref().0.clone());
    Ok([program.display().to_string()]
        .into_iter()
        .chain(arguments)
        .collect())
}

/// What to do about a program that is not there.
fn remedy(name: &str) -> String {
    let numbered = |version: &&str| version.chars().all(|c| c.is_ascii_digit() || c == '.');
    match name.strip_prefix("php-cgi").filter(numbered) {
        Some(version) => format!(
            "PHP is not installed, or not for FastCGI: on Debian and Ubuntu `apt install php{version}-cgi`, on Fedora `dnf install php-cli`; or write its whole path"
        ),
        None => "install it, or write its whole path".to_owned(),
    }
}

/// The program of this name in the first folder of our own PATH that has it, and that `account` may enter: root's may begin with
/// folders that are root's alone. When it may enter none of them, the first.
pub(super) fn in_path(
    name: &str,
    account: Option<&Account>,
    surroundings: &dyn Surroundings,
) -> Option<PathBuf> {
    let path = surroundings
        .variable("PATH")
        .unwrap_or_else(|| OsString::from(DEFAULT_PATH));
    let mut programs = env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .filter(|program| matches!(surroundings.find(program), Ok(Found::Program)))
        .peekable();
    let first = programs.peek().cloned()?;
    let open = |program: &PathBuf| {
        account
            .is_none_or(|account| access::closed_folder(program, account, surroundings).is_none())
    };
    Some(programs.find(open).unwrap_or(first))
}

const MOST_UPSTREAMS: usize = 256;
const DEFAULT_LANG: &str = "C.UTF-8";
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
