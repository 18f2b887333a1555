//! A printed configuration means what the one that it was printed from means, and has every key.

use std::{collections::BTreeSet, path::Path};

use super::Imagined;
use crate::config::{
    application,
    errors::Problems,
    file::{DaemonKeys, File, PoolKeys, RouteKeys, ShimKeys},
    print,
    resolved::Config,
    subtables::{CgroupKeys, ReloadKeys, ScaleKeys},
    understand,
};

/// One pool of each kind; values that are set, of `[defaults]`, and left out.
const EVERYTHING: &str = r#"
[daemon]
runtime-dir = "here"
log-level = "debug"
status-listen = "localhost:0"
shutdown-timeout = "90s"
maximum-processes = 200

[defaults]
queue-timeout = "off"
threads = 2
user = "blog"
environment = { GREETING = "hello, \"you\"" }
[defaults.reload]
surge = 2
[defaults.cgroup]
memory-high = "900MiB"
cpu-weight = 50

[pool."blog.example"]
listen = ["unix:blog.sock", "127.0.0.1:9001"]
socket-mode = "0600"
wsgi = "/srv/blog/app.py:main"
python-home = "/srv/blog/venv"
python-path = [".", "/opt"]
mount = "/blog"
allowed-clients = ["192.0.2.0/24"]
home = "/srv/blog"
lang = "off"
environment = { LC_ALL = "de_DE.UTF-8", "odd name" = "1" }
graceful-timeout = "1500ms"
request-timeout = "1h"
environment-file = "blog.env"
display-name = "the blog"
stop-signal = "SIGINT"
script-user = "blog"
memory-limit = "1GiB"
core-size = "unlimited"
supplementary-groups = ["web"]
read-only-paths = ["venv"]
private-tmp = true
access-log = "here/access.log"
access-log-format = '%h "%r" 100%%'
slow-request = "5s"

[pool.forms]
listen = ["systemd:forms"]
access-log = "-"
stderr = "both"
command = ["php-cgi", "-n"]
maximum-requests = 500
inherit-environment = true
cpu-priority = 5
cpu-policy = "idle"
maximum-memory = "512MiB"
cpu-time-limit = "1h"
retry = "unsent"
group = "web"
restart-interval = "12h"
[pool.forms.scale]
minimum = 0
idle-timeout = "90s"
[pool.forms.reload]
surge = "25%"
[pool.forms.cgroup]
memory-max = "1GiB"
pids-max = 200
cpu-max = "150%"

[pool.wiki]
listen = ["unix:/run/wiki.sock"]
upstream = ["unix:/run/php.sock", "192.0.2.7:9000"]
socket-group = "www-data"
connect-timeout = "3s"

[pool.jobs]
service = ["/srv/blog/serve", ""]
user = "1001"

[shim]
listen = ["[::1]:8000", "0.0.0.0:80"]
keep-alive-timeout = "off"
[[shim.route]]
host = "Blog.Example.org"
path = "/"
pool = "blog.example"
[[shim.route]]
path = "/static/"
files = "/srv/blog"
"#;

#[test]
fn it_means_the_same() {
    for (text, machine) in [
        (EVERYTHING.to_owned(), Imagined::root()),
        (MINIMAL.to_owned(), Imagined::blog()),
        (
            MINIMAL.replace(
                "[pool",
                "[shim]\n[[shim.route]]\npath=\"/\"\npool=\"a\"\n[pool",
            ),
            Imagined::blog(),
        ),
    ] {
        let (_, config, printed) = printed(&text, &machine);
        let (_, again, twice) = self::printed(&printed, &machine);
        assert_eq!(again, config, "{printed}");
        assert_eq!(values(&twice), values(&printed));
    }
}

#[test]
fn it_says_where_each_value_comes_from() {
    let (_, _, printed) = printed(EVERYTHING, &Imagined::root());
    for (setting, origin) in [
        (
            "admin-socket = \"/etc/stockade/here/admin.sock\"",
            "default",
        ),
        ("runtime-dir = \"/etc/stockade/here\"", "set"),
        ("shutdown-timeout = \"90s\"", "set"),
        ("\"odd name\" = \"1\"", "set"),
        ("access-log = \"/etc/stockade/here/access.log\"", "set"),
        ("access-log-format = '%h \"%r\" 100%%'", "set"),
        ("access-log = \"-\"", "set"),
        ("slow-request = \"off\"", "default"),
        ("relay-threads = 2", "default"),
        ("maximum-processes = 200", "set"),
        ("minimum = 0", "set"),
        ("maximum = 10", "default"),
        ("spare = 0", "default"),
        ("queue-wait = \"50ms\"", "default"),
        ("idle-timeout = \"90s\"", "set"),
        ("surge = 3", "set"),
        ("surge = 2", "[defaults]"),
        ("restart-interval = \"12h\"", "set"),
        ("memory-max = \"1GiB\"", "set"),
        ("memory-high = \"off\"", "default"),
        ("memory-high = \"900MiB\"", "[defaults]"),
        ("pids-max = 200", "set"),
        ("cpu-max = \"150%\"", "set"),
        ("cpu-weight = 50", "[defaults]"),
        ("cpu-weight = \"off\"", "default"),
        ("queue-timeout = \"off\"", "[defaults]"),
        ("request-timeout = \"1h\"", "set"),
        ("graceful-timeout = \"1500ms\"", "set"),
        ("backoff-initial = \"500ms\"", "default"),
        ("total-timeout = \"off\"", "default"),
        ("connect-timeout = \"3s\"", "set"),
        ("allowed-clients = [\"192.0.2.0/24\"]", "set"),
        ("GREETING = 'hello, \"you\"'", "[defaults]"),
        ("LC_ALL = \"de_DE.UTF-8\"", "set"),
        ("PHP_FCGI_CHILDREN = \"2\"", "default"),
        ("socket-user = \"blog\"", "default"),
        ("command = [\"/usr/bin/php-cgi\", \"-n\"]", "set"),
        ("stop-signal = \"INT\"", "set"),
        ("supplementary-groups = [\"2000\"]", "set"),
        ("read-only-paths = [\"/srv/blog/venv\"]", "set"),
        ("open-files = 1024", "default"),
        ("environment-file = \"/etc/stockade/blog.env\"", "set"),
        ("host = \"blog.example.org\"", "set"),
    ] {
        let says = |line: &str| {
            let (value, comment) = line.rsplit_once(" # ").unwrap_or_default();
            value.trim_end() == setting && comment == origin
        };
        assert!(printed.lines().any(says), "{setting} # {origin}\n{printed}");
    }
}

#[test]
fn it_says_what_is_in_reach_and_keeps_secrets() {
    let (_, _, printed) = printed(EVERYTHING, &Imagined::root());
    let has = |begin: &str, word: &str| {
        let mut lines = printed.lines().filter(|line| line.starts_with(begin));
        assert!(lines.any(|line| line.contains(word)), "{word}\n{printed}");
    };
    has("# and read-only: ", " /etc ");
    has("# and read-only: ", " /srv/blog");
    has("# and read-write: ", "/dev/null");
    assert!(!printed.contains("TOKEN"), "{printed}");
}

#[test]
fn it_has_every_key() {
    let machine = Imagined::root();
    let (_, config, _) = printed(EVERYTHING, &machine);
    let keys = |entries: Vec<print::Entry>| entries.into_iter().map(|(key, _)| key).collect();
    let set = |keys: &[&'static str]| keys.iter().copied().collect::<BTreeSet<_>>();
    assert_eq!(set(DaemonKeys::KEYS), keys(print::daemon(&config.daemon)));
    let shim = config.shim.as_ref().unwrap();
    assert_eq!(set(ShimKeys::KEYS), keys(print::entries_of_shim(shim)));
    for route in &shim.routes {
        assert_eq!(set(RouteKeys::KEYS), keys(print::entries_of_route(route)));
    }
    for pool in &config.pools {
        let mut all: BTreeSet<_> = keys(print::entries(pool, &machine));
        all.insert("environment");
        assert_eq!(set(PoolKeys::KEYS), all);
        if let Some(scale) = &pool.scale {
            assert_eq!(set(ScaleKeys::KEYS), keys(print::entries_of_scale(scale)));
        }
        assert_eq!(set(ReloadKeys::KEYS), keys(print::entries_of_reload(pool)));
        let limits = print::entries_of_cgroup(&pool.cgroup);
        assert_eq!(set(CgroupKeys::KEYS), keys(limits));
        // what has a meaning has a value, but for the other applications
        for (key, value) in print::entries(pool, &machine) {
            let other = ["wsgi", "asgi", "command", "upstream", "service"].contains(&key)
                || ["threads", "connections"].contains(&key);
            let absent = ["socket-user", "socket-group", "socket-mode"].contains(&key)
                || ["allowed-clients", "user", "group"].contains(&key)
                // inherited
                || ["lang", "locale"].contains(&key) && pool.start.inherit_environment
                || (key == "processes" && pool.scale.is_some());
            let expected = application::has_meaning(key, pool.application.key());
            assert!(
                value.is_some() || !expected || other || absent,
                "{key} of {}",
                pool.name
            );
        }
    }
}

const MINIMAL: &str = "[pool.a]\nlisten = [\"unix:a.sock\"]\nwsgi = \"app.py\"\n";

fn printed(text: &str, machine: &Imagined) -> (File, Config, String) {
    let mut problems = Problems::default();
    let (file, config) = understand(text, Path::new("/etc/stockade"), machine, &mut problems)
        .unwrap_or_else(|| panic!("{text}: {:?}", problems.in_order()));
    let printed = print::print(&file, &config, machine);
    (file, config, printed)
}

fn values(printed: &str) -> Vec<&str> {
    let value = |line: &'_ str| {
        line.rsplit_once(" # ")
            .map_or(line.len(), |(value, _)| value.len())
    };
    printed.lines().map(|line| &line[..value(line)]).collect()
}
