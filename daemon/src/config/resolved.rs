//! The configuration as the daemon uses it: every default filled in, every name looked up.

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use stockade_policy::{Backoff, Limit, dispatch::Retry};

use super::{access_log::Format, confinement::Confinement, errors::Place, start::Start};

/// Everything in one configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[daemon]`.
    pub daemon: Daemon,
    /// `[pool.NAME]`, in the order of their names.
    pub pools: Vec<Pool>,
    /// `[shim]`; none: there is no such table, and no shim.
    pub shim: Option<Shim>,
    /// Where it was said: in a file, or on a command line; a remedy is told in its terms.
    pub place: Place,
}

/// `[daemon]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    /// `runtime-dir`: sockets of the daemon's own. Made if missing.
    pub runtime_dir: PathBuf,
    /// `relay-user`: who the relay becomes; none when the supervisor is not root (it stays who it is).
    pub relay_user: Option<Account>,
    /// `relay-threads`; at least 1.
    pub relay_threads: usize,
    /// `log-level`.
    pub log_level: LogLevel,
    /// `admin-socket`, absolute.
    pub admin_socket: PathBuf,
    /// `status-listen`; none: off.
    pub status_listen: Option<SocketAddr>,
    /// `maximum-processes`: workers of all pools; 0: no limit.
    pub maximum_processes: u32,
    /// `shutdown-timeout` of the whole daemon.
    pub shutdown_timeout: Duration,
}

/// `log-level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// We cannot go on.
    Error,
    /// Worth waking someone.
    Warn,
    /// A worker's or the daemon's life.
    Info,
    /// A decision and its numbers.
    Debug,
    /// Each request or record.
    Trace,
}

/// Whom a process is to become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The user's name, or its number when it has no name.
    pub name: String,
    /// Its number; never 0.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    /// Every supplementary group.
    pub groups: Vec<u32>,
    /// HOME.
    pub home: PathBuf,
}

/// `[pool.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// NAME.
    pub name: String,
    /// `listen`; at least one, none of a service.
    pub listen: Vec<Listen>,
    /// `socket-user`, `socket-group`, `socket-mode` of unix sockets.
    pub socket: SocketOwner,
    /// `listen-backlog`.
    pub listen_backlog: i32,
    /// `allowed-clients`: of TCP connections.
    pub allowed_clients: Vec<IpNet>,
    /// What runs.
    pub application: Application,
    /// `mount`, without a slash at its end: "" is the root.
    pub mount: String,
    /// `processes`, or `maximum` of `scale`; of an upstream its addresses.
    pub processes: u32,
    /// `scale`: the number follows the load.
    pub scale: Option<Scale>,
    /// How workers are replaced.
    pub renewal: Renewal,
    /// How a Python application is loaded.
    pub preload: Preload,
    /// `threads` or `connections`: slots per worker, or per address of an upstream.
    pub threads: u32,
    /// `multiplex`.
    pub multiplex: bool,
    /// `user`, `group`; none when the supervisor is not root, and of an upstream.
    pub account: Option<Account>,
    /// `home`: the working directory; `/` when unset.
    pub home: PathBuf,
    /// `umask`.
    pub umask: u32,
    /// What its workers may have and reach.
    pub confinement: Confinement,
    /// How they begin, and are told to end.
    pub start: Start,
    /// The whole environment of a worker but STOCKADE_*: `environment`, `lang`, `locale`, PATH, HOME, USER.
    pub environment: BTreeMap<String, String>,
    /// `startup-timeout`.
    pub startup_timeout: Limit,
    /// `request-timeout`.
    pub request_timeout: Limit,
    /// How long a response and a connection may take.
    pub deadlines: Deadlines,
    /// `queue-timeout`.
    pub queue_timeout: Limit,
    /// `queue-limit`.
    pub queue_limit: u32,
    /// `graceful-timeout`.
    pub graceful_timeout: Limit,
    /// `eviction-timeout`.
    pub eviction_timeout: Limit,
    /// `shutdown-timeout`.
    pub shutdown_timeout: Duration,
    /// When a worker has had its day.
    pub wear: Wear,
    /// `retry`.
    pub retry: Retry,
    /// `retry-limit`.
    pub retry_limit: u32,
    /// `backoff-initial`, `backoff-maximum`.
    pub backoff: Backoff,
    /// What is held of requests and responses.
    pub bytes: Bytes,
    /// What is logged of requests.
    pub logging: Logging,
    /// What its workers may use together.
    pub cgroup: CgroupLimits,
}

/// `[pool.NAME.cgroup]`; what is none is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CgroupLimits {
    /// `memory-max`, in bytes.
    pub memory_max: Option<u64>,
    /// `memory-high`, in bytes.
    pub memory_high: Option<u64>,
    /// `pids-max`.
    pub pids_max: Option<u32>,
    /// `cpu-max`, in hundredths of one processor.
    pub cpu_max: Option<u32>,
    /// `cpu-weight`.
    pub cpu_weight: Option<u32>,
}

/// When a worker has had its day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wear {
    /// `maximum-requests`; 0: no limit.
    pub maximum_requests: u64,
    /// `maximum-memory`, in bytes; none: no limit.
    pub maximum_memory: Option<u64>,
    /// `cpu-time-limit`.
    pub cpu_time_limit: Limit,
    /// `restart-interval`.
    pub restart_interval: Limit,
    /// `inactivity-timeout`.
    pub inactivity_timeout: Limit,
}

/// How workers are replaced, and what has them replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// `reload.surge`: workers above the target while they are replaced; at least 1.
    pub surge: u32,
    /// `reload.touch`, absolute: the pool is reloaded when one of these is another file.
    pub touch: Vec<PathBuf>,
    /// `reload.watch`, absolute: patterns of files; the pool is reloaded when one of them changes.
    pub watch: Vec<String>,
    /// `probe`: a path that a worker has to answer before it is ready.
    pub probe: Option<String>,
}

impl Renewal {
    /// Sources are watched: who waits for an answer is who wrote them.
    #[must_use]
    pub fn development(&self) -> bool {
        !self.watch.is_empty()
    }
}

/// How a Python application is loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preload {
    /// `preload`: once, in a template of which workers are forked.
    pub preload: bool,
    /// `warm-up`: paths or URLs that are answered before a worker is ready.
    pub warm_up: Vec<String>,
    /// `refork-after`: requests that make a worker the next template; 0: none.
    pub refork_after: u64,
}

/// `[pool.NAME.scale]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// `minimum`; 0: on demand.
    pub minimum: u32,
    /// `maximum`; at least 1 and `minimum`.
    pub maximum: u32,
    /// `spare`; 0 when `minimum` is.
    pub spare: u32,
    /// `queue-wait`; not zero.
    pub queue_wait: Duration,
    /// `idle-timeout`; not zero.
    pub idle_timeout: Duration,
}

/// What is logged of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// `access-log`.
    pub access_log: AccessLog,
    /// `access-log-format`.
    pub access_log_format: Format,
    /// `slow-request`.
    pub slow_request: Limit,
    /// `stderr`.
    pub stderr: Stderr,
}

/// `access-log`: where a line for each request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// `-`: to the daemon's standard output.
    StandardOutput,
    /// To this file, absolute.
    File(PathBuf),
}

/// `stderr`: where FCGI_STDERR of workers goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stderr {
    /// To our log.
    Log,
    /// To the host.
    Host,
    /// To both.
    Both,
}

/// How long a response and a connection may take, and when a worker is taken to hang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// `response-timeout`.
    pub response_timeout: Limit,
    /// `total-timeout`.
    pub total_timeout: Limit,
    /// `connect-timeout`; not zero.
    pub connect_timeout: Duration,
    /// `socket-timeout`.
    pub socket_timeout: Limit,
    /// `interrupt-timeout`.
    pub interrupt_timeout: Limit,
    /// `deadlock-timeout`; off where there is no interpreter.
    pub deadlock_timeout: Limit,
}

/// What the relay holds of requests and responses, in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes {
    /// `request-buffering`: a request waits for its whole body before it waits for a worker.
    pub request_buffering: bool,
    /// `request-buffer-size`: of a body in memory.
    pub request_buffer_size: usize,
    /// `spool-dir`: where longer ones are.
    pub spool_dir: PathBuf,
    /// `spool-limit`: of all of them; none: no limit.
    pub spool_limit: Option<u64>,
    /// `request-body-limit`; none: no limit.
    pub request_body_limit: Option<u64>,
    /// `header-limit`: of one request's parameters.
    pub header_limit: usize,
    /// `header-buffer-size`: of a response head.
    pub header_buffer_size: usize,
    /// `response-buffer-size`: read ahead of a slow host.
    pub response_buffer_size: usize,
}

/// One of `listen`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Listen {
    /// `unix:PATH`, absolute, short enough for sun_path.
    Unix(PathBuf),
    /// `HOST:PORT`.
    Tcp(SocketAddr),
    /// `systemd:NAME`: the sockets that systemd passes under this name (FileDescriptorName of a socket unit).
    Systemd(String),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
            Self::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}

/// `[shim]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shim {
    /// `listen`; at least one. Port 0: one that is free.
    pub listen: Vec<SocketAddr>,
    /// `user`: who the shim becomes; none when the supervisor is not root (it stays who it is).
    pub account: Option<Account>,
    /// `header-timeout`.
    pub header_timeout: Limit,
    /// `keep-alive-timeout`.
    pub keep_alive_timeout: Limit,
    /// `[[shim.route]]`; at least one.
    pub routes: Vec<Route>,
}

/// `[[shim.route]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// `host`, in lower case; none: every host.
    pub host: Option<String>,
    /// `path`; begins with a slash.
    pub path: String,
    /// What answers there.
    pub destination: Destination,
}

/// What answers a route's requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Destination {
    /// `files`: what is in this folder, absolute.
    Files(PathBuf),
    /// `pool`: its name, and the one of its addresses that the shim's account can connect to.
    Pool {
        /// The pool's name, for logs.
        name: String,
        /// Where it listens.
        address: Listen,
    },
}

/// Who may connect to a unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOwner {
    /// `socket-user`; none: whoever makes it.
    pub uid: Option<u32>,
    /// `socket-group`; none: whoever makes it.
    pub gid: Option<u32>,
    /// `socket-mode`.
    pub mode: u32,
}

/// What a pool runs: exactly one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Application {
    /// `wsgi` or `asgi`: through the adapter.
    Python {
        /// Which of them.
        interface: Interface,
        /// `concurrency`.
        concurrency: Concurrency,
        /// `module:callable` or a path (made absolute) to a .wsgi or .py file, with `:callable` or not.
        target: String,
        /// The interpreter: of `python-home`, else python3 from PATH; absolute.
        interpreter: PathBuf,
        /// `python-path`.
        python_path: Vec<PathBuf>,
    },
    /// `command`: any FastCGI program; at least one word, the first looked up in PATH and made absolute.
    Command(Vec<String>),
    /// `upstream`: where processes that somebody else runs listen; each once, at least one.
    Upstream(Vec<Listen>),
    /// `service`: a program that gets no requests; words as in `command`.
    Service(Vec<String>),
}

/// How a Python application is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// `wsgi`: PEP 3333.
    Wsgi,
    /// `asgi`: the ASGI specification, version 3.0.
    Asgi,
}

/// `concurrency`: how a WSGI worker has several requests at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Concurrency {
    /// `threads` of the system.
    Thread,
    /// Greenlets of gevent.
    Gevent,
    /// Greenlets of eventlet.
    Eventlet,
}

impl Concurrency {
    /// The hub of the greenlets; none: there are none.
    #[must_use]
    pub const fn hub(self) -> Option<&'static str> {
        match self {
            Self::Thread => None,
            Self::Gevent => Some("gevent"),
            Self::Eventlet => Some("eventlet"),
        }
    }
}

impl Interface {
    /// The key that says it.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Wsgi => "wsgi",
            Self::Asgi => "asgi",
        }
    }
}

/// The kinds of pools between which a reload cannot change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Workers of ours, which get requests.
    Workers,
    /// `upstream`.
    Upstream,
    /// `service`.
    Service,
}

impl Application {
    /// The key that says it.
    #[must_use]
    pub const fn key(&self) -> &'static str {
        match self {
            Self::Python { interface, .. } => interface.key(),
            Self::Command(_) => "command",
            Self::Upstream(_) => "upstream",
            Self::Service(_) => "service",
        }
    }

    /// `asgi`.
    #[must_use]
    pub const fn is_asgi(&self) -> bool {
        matches!(
            self,
            Self::Python {
                interface: Interface::Asgi,
                ..
            }
        )
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Python { .. } | Self::Command(_) => Kind::Workers,
            Self::Upstream(_) => Kind::Upstream,
            Self::Service(_) => Kind::Service,
        }
    }
}
