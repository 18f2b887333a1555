//! What a configuration may say and hardly means: each with the remedy. Nothing here stops a daemon.

use std::{fmt, path::Path};

use super::{
    access::{self, Closed},
    accounts::{self, CREATE},
    errors::Place,
    resolved::{Account, Application, Config, Destination, Kind, Listen, Pool},
    rooted::Rooted,
    surroundings::Surroundings,
};

/// One thing to look at again. Prints as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The pool.
    pub pool: String,
    /// The key that would mend it.
    pub key: &'static str,
    /// What is odd and what to do, continuing the sentence that the key begins.
    pub why: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pool {}: `{}` {}", self.pool, self.key, self.why)
    }
}

/// Everything in `config` that is worth a warning, pool by pool.
pub fn warnings(config: &Config, surroundings: &dyn Surroundings) -> Vec<Warning> {
    let hosts = hosts(surroundings);
    let of_pool = |pool: &Pool| {
        let mut found: Vec<Warning> = Vec::new();
        let mut add = |(key, why)| {
            found.push(Warning {
                pool: pool.name.clone(),
                key,
                why,
            });
        };
        short_grace(pool).into_iter().for_each(&mut add);
        shared_account(pool, config).into_iter().for_each(&mut add);
        out_of_reach(pool, &config.place, surroundings)
            .into_iter()
            .for_each(&mut add);
        if led_to(pool, config) {
            nameless_script(pool).into_iter().for_each(&mut add);
        } else {
            lonely_sockets(pool, config, &hosts, surroundings)
                .into_iter()
                .for_each(&mut add);
        }
        found
    };
    config.pools.iter().flat_map(of_pool).collect()
}

/// A key, and the rest of the sentence.
type Said = (&'static str, String);

/// A worker that retires would be stopped under a request that has time left.
fn short_grace(pool: &Pool) -> Option<Said> {
    let (grace, request) = (pool.graceful_timeout.0?, pool.request_timeout.0?);
    (pool.application.kind() == Kind::Workers && grace < request).then(|| {
        let why = format!(
            "is {grace:?}, less than `request-timeout` ({request:?}): a request that is allowed to run that long is cut when its worker retires: raise it, or lower `request-timeout`"
        );
        ("graceful-timeout", why)
    })
}

/// Workers with the relay's account can read it, stop it and reach each other's sockets.
fn shared_account(pool: &Pool, config: &Config) -> Option<Said> {
    let (relay, account) = (config.daemon.relay_user.as_ref()?, pool.account.as_ref()?);
    (relay.uid == account.uid).then(|| {
        let create = format!(
            "choose another with `--user`, or create the relay's own with `{CREATE} {}`",
            accounts::RELAY.default
        );
        let why = format!(
            "is {}, which the relay runs as too: its workers are not kept apart from it: {}",
            account.name,
            config
                .place
                .either("choose another `user` or `relay-user`", &create)
        );
        ("user", why)
    })
}

/// Files of the application that its account may not use, or in folders that it may not enter.
fn out_of_reach(pool: &Pool, place: &Place, surroundings: &dyn Surroundings) -> Vec<Said> {
    let Some(account) = &pool.account else {
        return Vec::new();
    };
    let root = pool.confinement.chroot.as_deref();
    let rooted = root.map(|root| Rooted {
        root,
        outside: surroundings,
    });
    let surroundings = rooted
        .as_ref()
        .map_or(surroundings, |rooted| rooted as &dyn Surroundings);
    let other = place.either(
        "run the pool as an account that may",
        "name an account that may with `--user`",
    );
    let files = needed(pool);
    let mut said: Vec<(Closed, Said)> = Vec::new();
    let mut unusable = Vec::new();
    for (key, file) in files.into_iter().filter(|(_, file)| file.is_absolute()) {
        let Some(closed) = access::closed_folder(file, account, surroundings) else {
            unusable.extend(closed_file(key, file, account, other, surroundings));
            continue;
        };
        if said.iter().any(|(known, _)| *known == closed) {
            continue;
        }
        let (shown, name, folder) = (file.display(), &account.name, closed.folder.display());
        // the interpreter of a virtual environment, as a rule
        let (link, what) = if file.starts_with(&closed.folder) {
            (String::new(), "it")
        } else {
            (
                format!(", a link that leads into {folder}"),
                "what is there",
            )
        };
        let mode = closed.mode;
        let why = format!(
            "is {shown}{link}, and {name} may not enter {folder} (mode {mode:04o}): move {what}, or {other}"
        );
        said.push((closed, (key, why)));
    }
    let said = said.into_iter().map(|(_, said)| said);
    said.chain(unusable).collect()
}

/// What a worker needs of the file system, by the key that names it.
fn needed(pool: &Pool) -> Vec<(&'static str, &Path)> {
    let mut files: Vec<(&'static str, &Path)> = Vec::new();
    match &pool.application {
        Application::Python {
            interface,
            target,
            interpreter,
            python_path,
            ..
        } => {
            files.push(("python-home", interpreter));
            let (file, _) = target.rsplit_once(':').unwrap_or((target, ""));
            files.push((interface.key(), Path::new(file)));
            files.extend(python_path.iter().map(|folder| ("python-path", &**folder)));
        }
        Application::Command(words) => files.extend(program("command", words)),
        Application::Service(words) => files.extend(program("service", words)),
        Application::Upstream(_) => {}
    }
    files.push(("home", &pool.home));
    files
}

fn closed_file(
    key: &'static str,
    file: &Path,
    account: &Account,
    other: &str,
    surroundings: &dyn Surroundings,
) -> Option<Said> {
    let program = !matches!(key, "wsgi" | "asgi");
    let mode = access::closed_file(file, program, account, surroundings)?;
    let (what, bit) = if program {
        ("execute", 'x')
    } else {
        ("read", 'r')
    };
    let (shown, name) = (file.display(), &account.name);
    let why = format!(
        "is {shown}, and {name} may not {what} it (mode {mode:04o}): `chmod a+{bit} {shown}`, or {other}"
    );
    Some((key, why))
}

fn program<'a>(key: &'static str, words: &'a [String]) -> Option<(&'static str, &'a Path)> {
    words.first().map(|word| (key, Path::new(word)))
}

/// A route of the shim leads there: the shim may connect, or the configuration would have been refused.
fn led_to(pool: &Pool, config: &Config) -> bool {
    let routes = config.shim.iter().flat_map(|shim| &shim.routes);
    routes.into_iter().any(|route| match &route.destination {
        Destination::Pool { name, .. } => *name == pool.name,
        Destination::Files(_) => false,
    })
}

/// PHP asks the host which script to run, and the shim has none to name.
fn nameless_script(pool: &Pool) -> Option<Said> {
    let Application::Command(words) = &pool.application else {
        return None;
    };
    let program = Path::new(words.first()?).file_name()?.to_str()?;
    program.starts_with("php-cgi").then(|| {
        let why = format!(
            "is {program}, which runs the script that the host names (SCRIPT_FILENAME), and the shim names none, so that it answers \"No input file specified\": put nginx or Apache in front of this pool"
        );
        ("command", why)
    })
}

/// Unix sockets that the account of no web server of this machine may connect to.
fn lonely_sockets(
    pool: &Pool,
    config: &Config,
    hosts: &[Account],
    surroundings: &dyn Surroundings,
) -> Vec<Said> {
    let mut said = Vec::new();
    for address in &pool.listen {
        let Listen::Unix(path) = address else {
            continue;
        };
        if let Some(folder) = path.parent()
            && surroundings.find(folder).is_err()
            && !folder.starts_with("/run")
            // the daemon makes it
            && folder != config.daemon.runtime_dir
        {
            let why = format!(
                "has {address}, but the folder {} is not there: make it",
                folder.display()
            );
            said.push(("listen", why));
            continue;
        }
        said.extend(lonely_socket(pool, path, hosts, surroundings));
    }
    said
}

fn lonely_socket(
    pool: &Pool,
    path: &Path,
    hosts: &[Account],
    surroundings: &dyn Surroundings,
) -> Option<Said> {
    let mut owner = pool.socket;
    owner.uid.get_or_insert_with(|| surroundings.uid());
    owner.gid.get_or_insert_with(|| surroundings.gid());
    let closed = |host: &Account| access::closed_folder(path, host, surroundings);
    let (may_write, may_not): (Vec<&Account>, Vec<&Account>) = hosts
        .iter()
        .partition(|host| access::may_connect(owner, Some(host)));
    if may_write.iter().any(|host| closed(host).is_none()) {
        return None;
    }
    let shown = path.display();
    if let Some((host, closed)) = may_write
        .iter()
        .find_map(|host| closed(host).map(|closed| (host, closed)))
    {
        let why = format!(
            "has unix:{shown}, and the web server's account, {}, may not enter {} (mode {:04o}): put the socket where it may, like /run/stockade/{}.sock",
            host.name,
            closed.folder.display(),
            closed.mode,
            pool.name
        );
        return Some(("listen", why));
    }
    let names: Vec<&str> = may_not.iter().map(|host| host.name.as_str()).collect();
    let first = names.first()?;
    let remedy = if surroundings.uid() == 0 {
        format!("set socket-group = \"{first}\" in the pool")
    } else {
        format!(
            "listen on a TCP address, or become a member of its group and set socket-group = \"{first}\""
        )
    };
    let why = format!(
        "lets no web server of this machine ({}) connect to unix:{shown}, which has mode {:04o}: {remedy}",
        names.join(", "),
        owner.mode
    );
    Some(("socket-group", why))
}

/// The accounts of web servers that this machine has.
fn hosts(surroundings: &dyn Surroundings) -> Vec<Account> {
    HOSTS
        .iter()
        .filter_map(|name| accounts::of_host(name, surroundings))
        .collect()
}

/// Debian's and its children's for all; nginx.org's, Red Hat's Apache, Arch's, and those of the others' packages.
const HOSTS: &[&str] = &[
    "www-data", "nginx", "apache", "http", "caddy", "haproxy", "lighttpd",
];
