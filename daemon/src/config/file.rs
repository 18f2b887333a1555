//! The shape of the file: which tables there are, which keys they have, of which form ([`super::values`]).
//!
//! Every key of the manual is known here. Those that this version does nothing with are refused by name; any other is
//! refused with the key it is most like. What a pool does not set it takes from `[defaults]`.

use std::{ops::Range, path::PathBuf};

use stockade_policy::{Limit, dispatch::Retry};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    access_log::Format,
    application,
    clients::Network,
    confinement::{CoreSize, CpuPolicy, PathOrOff, Priority},
    errors::{Fault, Place, Problem, Problems},
    given::wrong,
    preload::WarmUp,
    resolved::{AccessLog, Concurrency, Listen, LogLevel, Stderr},
    sizes::{Ceiling, Size},
    start::{DisplayName, StopSignal},
    strangers,
    subtables::{CgroupKeys, ReloadKeys, ScaleKeys, Subtable, subtable},
    values::{
        Count, Environment, HttpListen, Locale, Mode, Mount, Period, StatusListen, Target,
        UpstreamAddress, Value, Whole, Word,
    },
};

pub(super) use super::given::{Given, Spot};

/// A file whose keys are all known and whose values all have the form they should.
#[derive(Debug)]
pub(super) struct File {
    pub daemon: DaemonKeys,
    pub pools: Vec<PoolTable>,
    pub shim: Option<ShimTable>,
}

/// `[shim]`.
#[derive(Debug)]
pub(super) struct ShimTable {
    /// Where its name stands.
    pub at: Range<usize>,
    pub keys: ShimKeys,
    pub routes: Vec<RouteTable>,
}

/// `[[shim.route]]`.
#[derive(Debug)]
pub(super) struct RouteTable {
    /// Where it stands.
    pub at: Range<usize>,
    pub keys: RouteKeys,
}

/// `[pool.NAME]`.
#[derive(Debug)]
pub(super) struct PoolTable {
    pub name: String,
    /// Where the name stands.
    pub at: Range<usize>,
    pub keys: PoolKeys,
}

impl PoolTable {
    /// Something the pool needs is not there.
    pub(super) fn missing(&self, what: impl Into<String>) -> Problem {
        Problem {
            at: Some(self.at.clone()),
            fault: Fault::Missing {
                place: Place::Pool(self.name.clone()),
                what: what.into(),
            },
        }
    }
}

/// Declares the keys of a table: those with a meaning, and those of the manual that are still without.
macro_rules! keys {
    (
        $(#[$doc:meta])* $name:ident { $($field:ident = $key:literal: $form:ty,)* }
        $(subtables: { $($inner:ident = $inner_key:literal: $inner_form:ty,)* })?
        $(tables: $($table:literal)*)?
        later: $($later:literal)*
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default)]
        pub(super) struct $name {
            $(pub $field: Option<Given<$form>>,)*
            $($(pub $inner: Option<Given<$inner_form>>,)*)?
        }

        impl $name {
            pub(super) const KEYS: &[&str] = &[$($key),*];
            pub(super) const LATER: &[&str] = &[$($later),*];
            /// Tables in the table.
            pub(super) const TABLES: &[&str] = &[$($($inner_key),*)? $($($table),*)?];

            /// Where the keys that are set stand; of a pool, in its own table or in `[defaults]`.
            pub(super) fn spots(&self) -> Vec<&Spot> {
                let spots = [
                    $(self.$field.as_ref().map(|given| &given.spot),)*
                    $($(self.$inner.as_ref().map(|given| &given.spot),)*)?
                ];
                spots.into_iter().flatten().collect()
            }

            /// What is not set in `table` is as in `defaults`, where it is a key that it may say.
            fn read(
                table: &DeTable<'_>,
                place: &Place,
                defaults: Option<(&Self, &dyn Fn(&str) -> bool)>,
                problems: &mut Problems,
            ) -> Self {
                let known = [Self::KEYS, Self::TABLES].concat();
                refuse_strangers(table, place, &known, Self::LATER, problems);
                Self {
                    $($field: given(table, place, $key, problems)
                        .or_else(|| {
                            let (defaults, may_say) = defaults?;
                            defaults.$field.clone().filter(|_| may_say($key))
                        }),)*
                    $($($inner: subtable::<$inner_form>(table, place, $inner_key, problems)
                        .or_else(|| {
                            let (defaults, may_say) = defaults?;
                            defaults.$inner.clone().filter(|_| may_say($inner_key))
                        }),)*)?
                }
            }
        }

        impl Subtable for $name {
            fn of(table: &DeTable<'_>, place: &Place, problems: &mut Problems) -> Self {
                Self::read(table, place, None, problems)
            }
        }
    };
}

pub(super) use keys;

keys! {
    /// `[daemon]`.
    DaemonKeys {
        runtime_dir = "runtime-dir": PathBuf,
        relay_user = "relay-user": String,
        relay_threads = "relay-threads": Whole<0, 1024>,
        log_level = "log-level": LogLevel,
        admin_socket = "admin-socket": PathBuf,
        status_listen = "status-listen": StatusListen,
        maximum_processes = "maximum-processes": Whole<0, 1_000_000>,
        shutdown_timeout = "shutdown-timeout": Period,
    }
    later: "log-format" "log-file" "admin-group" "orphans"
}

keys! {
    /// `[pool.NAME]` and `[defaults]`.
    PoolKeys {
        listen = "listen": Vec<Spanned<Listen>>,
        socket_user = "socket-user": String,
        socket_group = "socket-group": String,
        socket_mode = "socket-mode": Mode,
        listen_backlog = "listen-backlog": Whole<1, 2_147_483_647>,
        allowed_clients = "allowed-clients": Vec<Spanned<Network>>,
        wsgi = "wsgi": String,
        asgi = "asgi": String,
        command = "command": Vec<Spanned<Word>>,
        upstream = "upstream": Vec<Spanned<UpstreamAddress>>,
        service = "service": Vec<Spanned<Word>>,
        processes = "processes": Whole<1, 10_000>,
        threads = "threads": Whole<1, 1_000>,
        connections = "connections": Whole<1, 10_000>,
        concurrency = "concurrency": Concurrency,
        multiplex = "multiplex": bool,
        user = "user": String,
        group = "group": String,
        home = "home": PathBuf,
        supplementary_groups = "supplementary-groups": Vec<Spanned<String>>,
        umask = "umask": Mode,
        chroot = "chroot": PathOrOff,
        cpu_priority = "cpu-priority": Priority,
        cpu_policy = "cpu-policy": CpuPolicy,
        memory_limit = "memory-limit": Ceiling,
        virtual_memory_limit = "virtual-memory-limit": Ceiling,
        open_files = "open-files": Whole<16, 1_073_741_816>,
        core_size = "core-size": CoreSize,
        script_user = "script-user": String,
        script_group = "script-group": String,
        no_new_privileges = "no-new-privileges": bool,
        private_tmp = "private-tmp": bool,
        read_only_paths = "read-only-paths": Vec<Spanned<PathBuf>>,
        read_write_paths = "read-write-paths": Vec<Spanned<PathBuf>>,
        display_name = "display-name": DisplayName,
        stop_signal = "stop-signal": StopSignal,
        environment = "environment": Environment,
        environment_file = "environment-file": PathOrOff,
        inherit_environment = "inherit-environment": bool,
        lang = "lang": Locale,
        locale = "locale": Locale,
        python_home = "python-home": PathBuf,
        python_path = "python-path": Vec<Spanned<PathBuf>>,
        mount = "mount": Mount,
        preload = "preload": bool,
        warm_up = "warm-up": Vec<Spanned<WarmUp>>,
        refork_after = "refork-after": Count,
        probe = "probe": Target,
        startup_timeout = "startup-timeout": Limit,
        request_timeout = "request-timeout": Limit,
        response_timeout = "response-timeout": Limit,
        total_timeout = "total-timeout": Limit,
        connect_timeout = "connect-timeout": Period,
        socket_timeout = "socket-timeout": Limit,
        queue_timeout = "queue-timeout": Limit,
        queue_limit = "queue-limit": Whole<0, 1_000_000>,
        graceful_timeout = "graceful-timeout": Limit,
        eviction_timeout = "eviction-timeout": Limit,
        shutdown_timeout = "shutdown-timeout": Period,
        inactivity_timeout = "inactivity-timeout": Limit,
        interrupt_timeout = "interrupt-timeout": Limit,
        deadlock_timeout = "deadlock-timeout": Limit,
        maximum_requests = "maximum-requests": Count,
        restart_interval = "restart-interval": Limit,
        maximum_memory = "maximum-memory": Ceiling,
        cpu_time_limit = "cpu-time-limit": Limit,
        retry = "retry": Retry,
        retry_limit = "retry-limit": Whole<0, 1>,
        backoff_initial = "backoff-initial": Period,
        backoff_maximum = "backoff-maximum": Period,
        request_buffering = "request-buffering": bool,
        request_buffer_size = "request-buffer-size": Size<0, GIB>,
        spool_dir = "spool-dir": PathBuf,
        spool_limit = "spool-limit": Ceiling,
        request_body_limit = "request-body-limit": Ceiling,
        header_limit = "header-limit": Size<KIB, { 16 * MIB }>,
        header_buffer_size = "header-buffer-size": Size<KIB, MIB>,
        response_buffer_size = "response-buffer-size": Size<{ 16 * KIB }, GIB>,
        stderr = "stderr": Stderr,
        access_log = "access-log": AccessLog,
        access_log_format = "access-log-format": Format,
        slow_request = "slow-request": Limit,
    }
    subtables: { scale = "scale": ScaleKeys, reload = "reload": ReloadKeys, cgroup = "cgroup": CgroupKeys, }
    later:
        "parameters"
        "stack-size" "switch-interval"
        "send-buffer-size" "receive-buffer-size"
}

keys! {
    /// `[shim]`, less its routes.
    ShimKeys {
        listen = "listen": Vec<Spanned<HttpListen>>,
        user = "user": String,
        header_timeout = "header-timeout": Limit,
        keep_alive_timeout = "keep-alive-timeout": Limit,
    }
    tables: "route"
    later:
        "tls-certificate" "tls-key" "body-timeout" "minimum-rate" "maximum-connections" "header-limit" "proxy-protocol"
        "trusted-proxies" "sendfile-roots" "compression" "access-log"
}

keys! {
    /// `[[shim.route]]`.
    RouteKeys {
        host = "host": String,
        path = "path": String,
        files = "files": PathBuf,
        pool = "pool": String,
    }
    later:
}

/// Reads the whole text; none when there are problems.
pub(super) fn read(text: &str, problems: &mut Problems) -> Option<File> {
    let document = problems.keep(DeTable::parse(text).map_err(|error| Problem {
        at: error.span(),
        fault: Fault::syntax(error.message()),
    }))?;
    let top = document.get_ref();
    refuse_strangers(top, &Place::Top, TABLES, &[], problems);
    let empty = DeTable::new();
    let daemon = top_table(top, "daemon", problems).unwrap_or(&empty);
    let daemon = DaemonKeys::read(daemon, &Place::Daemon, None, problems);
    let defaults = top_table(top, "defaults", problems).unwrap_or(&empty);
    let defaults = PoolKeys::read(defaults, &Place::Defaults, None, problems);
    let pools = top_table(top, "pool", problems).unwrap_or(&empty);
    let pools = read_pools(pools, &defaults, problems);
    if pools.is_empty() && problems.is_empty() {
        problems.add(Problem {
            at: None,
            fault: Fault::Missing {
                place: Place::Top,
                what: "there is no pool: add a table [pool.NAME]".to_owned(),
            },
        });
    }
    let shim = top_table(top, "shim", problems).map(|table| ShimTable {
        at: top
            .get_key_value("shim")
            .map_or(0..0, |(name, _)| name.span()),
        keys: ShimKeys::read(table, &Place::Shim, None, problems),
        routes: read_routes(table, problems),
    });
    problems.is_empty().then_some(File {
        daemon,
        pools,
        shim,
    })
}

/// Reads `[daemon]` alone; what is wrong elsewhere is no matter. None when it is wrong itself.
pub(super) fn read_daemon(text: &str, problems: &mut Problems) -> Option<DaemonKeys> {
    let (document, _) = DeTable::parse_recoverable(text);
    let empty = DeTable::new();
    let table = top_table(document.get_ref(), "daemon", problems).unwrap_or(&empty);
    let keys = DaemonKeys::read(table, &Place::Daemon, None, problems);
    problems.is_empty().then_some(keys)
}

fn read_pools(pools: &DeTable<'_>, defaults: &PoolKeys, problems: &mut Problems) -> Vec<PoolTable> {
    let mut tables = Vec::new();
    let spots = defaults.spots().into_iter().map(|spot| spot.key);
    let default = spots.into_iter().find(|key| APPLICATIONS.contains(key));
    for (name, value) in pools {
        let text: &str = name.get_ref();
        let DeValue::Table(table) = value.get_ref() else {
            problems.add(Problem {
                at: Some(name.span()),
                fault: Fault::PoolName {
                    name: text.to_owned(),
                    why: "is not a table: write [pool.NAME] above a pool's keys",
                },
            });
            continue;
        };
        if let Some(why) = wrong_name(text) {
            let (at, name) = (name.span(), text.to_owned());
            problems.add(Problem {
                at: Some(at),
                fault: Fault::PoolName { name, why },
            });
            continue;
        }
        let place = Place::Pool(text.to_owned());
        let own = APPLICATIONS
            .iter()
            .copied()
            .find(|key| table.contains_key(*key));
        let may_say = |key: &str| inherits(key, own, default);
        let keys = PoolKeys::read(table, &place, Some((defaults, &may_say)), problems);
        tables.push(PoolTable {
            name: text.to_owned(),
            at: name.span(),
            keys,
        });
    }
    tables
}

fn read_routes(shim: &DeTable<'_>, problems: &mut Problems) -> Vec<RouteTable> {
    let Some(value) = shim.get("route") else {
        return Vec::new();
    };
    let mut routes = Vec::new();
    let elements = match value.get_ref() {
        DeValue::Array(elements) => elements.iter().collect(),
        _ => vec![value],
    };
    for element in elements {
        let DeValue::Table(table) = element.get_ref() else {
            let why = "is no table: write [[shim.route]] on a line of its own above a route's keys";
            problems.add(wrong(&Place::Shim, "route", element.span(), why));
            continue;
        };
        routes.push(RouteTable {
            at: element.span(),
            keys: RouteKeys::read(table, &Place::Route, None, problems),
        });
    }
    routes
}

/// What is wrong with a pool's name: it stands in log lines, paths and labels.
fn wrong_name(name: &str) -> Option<&'static str> {
    if name.len() > LONGEST_NAME {
        return Some("the name is too long: use at most 64 characters");
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    (!starts_well || !name.bytes().all(plain)).then_some(
        "a name begins with a letter or digit and goes on with letters, digits, \"-\", \"_\" or \".\": choose another",
    )
}

/// A pool that says what it runs does not also run what `[defaults]` say; and what they set for other kinds of pools is not for it.
fn inherits(key: &str, own: Option<&str>, default: Option<&str>) -> bool {
    let meant = |application| application::has_meaning(key, application);
    match own {
        Some(own) => !APPLICATIONS.contains(&key) && meant(own),
        None => default.is_none_or(meant),
    }
}

fn top_table<'a, 'i>(
    top: &'a DeTable<'i>,
    key: &'static str,
    problems: &mut Problems,
) -> Option<&'a DeTable<'i>> {
    let value = top.get(key)?;
    if let DeValue::Table(table) = value.get_ref() {
        return Some(table);
    }
    let name = if key == "pool" { "pool.NAME" } else { key };
    let why = format!("must be a table: write [{name}] on a line of its own above the keys");
    problems.add(wrong(&Place::Top, key, value.span(), why));
    None
}

/// The value of `key`, if it is set and has the right form.
pub(super) fn given<T: Value>(
    table: &DeTable<'_>,
    place: &Place,
    key: &'static str,
    problems: &mut Problems,
) -> Option<Given<T>> {
    let value = table.get(key)?;
    let read = T::from_toml(value).map_err(|error| wrong(place, key, error.at, error.why));
    problems.keep(read).map(|read| Given {
        value: read,
        spot: Spot {
            place: place.clone(),
            key,
            at: value.span(),
        },
    })
}

/// Notes every key that has no meaning here.
pub(super) fn refuse_strangers(
    table: &DeTable<'_>,
    place: &Place,
    keys: &[&str],
    later: &[&str],
    problems: &mut Problems,
) {
    for name in table.keys() {
        let key: &str = name.get_ref();
        if keys.contains(&key) {
            continue;
        }
        let (place, key) = (place.clone(), key.to_owned());
        let fault = if later.contains(&key.as_str()) {
            Fault::NotSupported { place, key }
        } else {
            let remedy = strangers::remedy(&key, &place, keys, later);
            Fault::UnknownKey { place, key, remedy }
        };
        problems.add(Problem {
            at: Some(name.span()),
            fault,
        });
    }
}

/// Of these a pool sets exactly one.
pub(super) const APPLICATIONS: &[&str] = &["wsgi", "asgi", "command", "upstream", "service"];
const TABLES: &[&str] = &["include", "daemon", "defaults", "pool", "shim"];
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const LONGEST_NAME: usize = 64;
