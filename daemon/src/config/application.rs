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
    resolve::{LONGEST_SOCKET_PATH, absolute},
    resolved::{Account, Application, Listen},
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
    if let Some(wsgi) = &keys.wsgi {
        refuse(
            keys,
            OF_PROGRAMS,
            "with `wsgi`, whose workers take one request on a connection: remove it",
        )?;
        Ok(Application::Wsgi {
            target: target(wsgi, &python_path(keys, base), base, surroundings)?,
            interpreter: interpreter(pool, account, base, surroundings)?,
            python_path: python_path(keys, base),
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
        Err(pool.missing("there is no application: set `wsgi`, `command`, `upstream` or `service`"))
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

/// `module:callable` as it is; a file made absolute, its `:callable` kept.
fn target(
    wsgi: &Given<String>,
    python_path: &[PathBuf],
    base: &Path,
    surroundings: &dyn Surroundings,
) -> Result<String, Problem> {
    let text = &wsgi.value;
    let (before, callable) = match text.rsplit_once(':') {
        Some((before, callable)) => (before, Some(callable)),
        None => (text.as_str(), None),
    };
    let bad_callable = callable.is_some_and(|callable| !dotted_name(callable));
    if !names_a_file(before, callable) {
        if callable.is_none() || bad_callable || !dotted_name(before) {
            return Err(wsgi.spot.wrong(format!(
                "is {text:?}, but must be a module and a callable, like \"blog.wsgi:application\", or the path of a .wsgi or .py file"
            )));
        }
        return Ok(text.clone());
    }
    if bad_callable {
        return Err(wsgi.spot.wrong(format!(
            "is {text:?}, but what follows the colon must be the name of a callable, like \"application\""
        )));
    }
    let path = absolute(base, Path::new(before));
    match surroundings.find(&path) {
        Ok(Found::Folder) => Err(wsgi.spot.wrong(format!(
            "is {}, a folder: name the .wsgi or .py file in it",
            path.display()
        ))),
        Err(reason) => Err(wsgi.spot.wrong(format!(
            "is {}, which cannot be found: {reason}: {}",
            path.display(),
            correction(before, python_path, base, surroundings)
        ))),
        Ok(Found::File | Found::Program) => Ok(match callable {
            Some(callable) => format!("{}:{callable}", path.display()),
            None => path.display().to_string(),
        }),
    }
}

/// What to do about a file that is not there: a module was meant, or the end of its name is missing.
fn correction(
    file: &str,
    python_path: &[PathBuf],
    base: &Path,
    surroundings: &dyn Surroundings,
) -> String {
    let there = |path: &Path| matches!(surroundings.find(path), Ok(Found::File | Found::Program));
    let module = file.trim_end_matches(".py").replace('/', ".");
    let source = format!("{}.py", module.replace('.', "/"));
    let mut folders = [base]
        .into_iter()
        .chain(python_path.iter().map(PathBuf::as_path));
    if dotted_name(&module) && folders.any(|folder| there(&folder.join(&source))) {
        return format!("for the module write \"{module}:application\"");
    }
    let ends = [".py", ".wsgi"].map(|end| format!("{file}{end}"));
    match ends
        .iter()
        .find(|file| there(&absolute(base, Path::new(file))))
    {
        Some(file) => format!("did you mean {file:?}?"),
        None => "correct the path".to_owned(),
    }
}

/// `blog.wsgi:application` is a module, `blog.wsgi` alone cannot be one.
fn names_a_file(before: &str, callable: Option<&str>) -> bool {
    before.contains('/')
        || before.ends_with(".py")
        || (before.ends_with(".wsgi") && callable.is_none())
}

fn dotted_name(text: &str) -> bool {
    text.split('.').all(|name| {
        name.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_alphanumeric() || c == '_')
    })
}

/// The interpreter of `python-home`, which is one or a virtual environment; else python3 from PATH.
fn interpreter(
    pool: &PoolTable,
    account: Option<&Account>,
    base: &Path,
    surroundings: &dyn Surroundings,
) -> Result<PathBuf, Problem> {
    let Some(given) = &pool.keys.python_home else {
        return in_path("python3", account, surroundings).ok_or_else(|| {
            let remedy = pool.keys.wsgi.as_ref().map_or("", |wsgi| {
                wsgi.spot.place.either(
                    "name a virtual environment or an interpreter with `python-home`",
                    "activate a virtual environment",
                )
            });
            pool.missing(format!(
                "there is no python3 in PATH: install it, or {remedy}"
            ))
        });
    };
    let home = absolute(base, &given.value);
    let shown = home.display();
    match surroundings.find(&home) {
        Ok(Found::Program) => Ok(home),
        Ok(Found::Folder) => ["bin/python3", "bin/python"]
            .iter()
            .map(|program| home.join(program))
            .find(|program| matches!(surroundings.find(program), Ok(Found::Program)))
            .ok_or_else(|| {
                given.spot.wrong(format!(
                    "is {shown}, a folder without bin/python3: make it with `python3 -m venv {shown}`, or name an interpreter"
                ))
            }),
        Ok(Found::File) => Err(given.spot.wrong(format!(
            "is {shown}, which is no program: name a virtual environment or an interpreter"
        ))),
        Err(reason) => Err(given.spot.wrong(format!(
            "is {shown}, which cannot be found: {reason}: make it with `python3 -m venv {shown}`, or name an interpreter"
        ))),
    }
}

fn python_path(keys: &PoolKeys, base: &Path) -> Vec<PathBuf> {
    keys.python_path
        .iter()
        .flat_map(|given| &given.value)
        .map(|folder| absolute(base, folder.get_ref()))
        .collect()
}

/// Whether `key` says anything about a pool that runs what the key `application` says.
pub(super) fn has_meaning(key: &str, application: &str) -> bool {
    let python = PYTHON.contains(&key);
    match application {
        "command" => !python,
        "service" => !python && !OF_REQUESTS.contains(&key),
        "upstream" => !python && !OF_PROCESSES.contains(&key) && !confinement::KEYS.contains(&key),
        "wsgi" => !OF_PROGRAMS.contains(&key),
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
    "interrupt-timeout",
    "deadlock-timeout",
    "script-user",
    "script-group",
];
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
fn in_path(
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
