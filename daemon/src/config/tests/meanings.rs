//! What a file means.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use stockade_policy::{Backoff, Limit, dispatch::Retry};

use super::{
    Imagined,
    confinement::{default_confinement, default_start},
    limits::networks,
    read,
};
use crate::config::{
    System,
    access_log::Format,
    errors::Place,
    resolved::{
        AccessLog, Account, Application, Bytes, CgroupLimits, Concurrency, Config, Daemon,
        Deadlines, Interface, Listen, LogLevel, Logging, Pool, Preload, Renewal, SocketOwner,
        Stderr, Wear,
    },
};

pub(super) const SMALLEST: &str = "[pool.blog]\nlisten = [\"unix:/run/blog.sock\"]\nwsgi = \"blog.wsgi:application\"\nuser = \"blog\"\n";

pub(super) fn only_pool(text: &str, surroundings: &Imagined) -> Pool {
    let mut config = read(text, surroundings).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.pools.len(), 1);
    config.pools.remove(0)
}

/// The smallest pool with `keys` added.
pub(super) fn pool(keys: &str) -> Pool {
    only_pool(&format!("{SMALLEST}{keys}\n"), &Imagined::root())
}

/// A pool that runs this, with `keys` added.
fn running(keys: &str) -> Pool {
    only_pool(
        &format!("[pool.blog]\nlisten = [\"unix:/run/blog.sock\"]\nuser = \"blog\"\n{keys}\n"),
        &Imagined::root(),
    )
}

fn account(name: &str, id: u32, groups: &[u32], home: &str) -> Account {
    Account {
        name: name.to_owned(),
        uid: id,
        gid: id,
        groups: groups.to_vec(),
        home: PathBuf::from(home),
    }
}

fn default_application() -> Application {
    Application::Python {
        interface: Interface::Wsgi,
        concurrency: Concurrency::Thread,
        target: "blog.wsgi:application".to_owned(),
        interpreter: PathBuf::from("/opt/bin/python3"),
        python_path: Vec::new(),
    }
}

#[test]
fn everything_has_a_default() {
    let expected = Config {
        daemon: default_daemon(),
        pools: vec![default_pool()],
        shim: None,
        place: Place::Top,
    };
    assert_eq!(read(SMALLEST, &Imagined::root()).unwrap(), expected);
}

fn default_pool() -> Pool {
    let seconds = Duration::from_secs;
    Pool {
        name: "blog".to_owned(),
        listen: vec![Listen::Unix(PathBuf::from("/run/blog.sock"))],
        socket: SocketOwner {
            uid: Some(1001),
            gid: Some(1001),
            mode: 0o660,
        },
        listen_backlog: 4096,
        allowed_clients: networks(&["127.0.0.0/8", "::1/128"]),
        application: default_application(),
        mount: String::new(),
        processes: 5,
        scale: None,
        renewal: Renewal {
            surge: 1,
            touch: Vec::new(),
            watch: Vec::new(),
            probe: None,
        },
        preload: Preload::default(),
        threads: 1,
        multiplex: false,
        account: Some(account("blog", 1001, &[1001, 33], "/home/blog")),
        home: PathBuf::from("/"),
        umask: 0o022,
        confinement: default_confinement(),
        start: default_start(),
        environment: default_environment(),
        startup_timeout: Limit::of(seconds(15)),
        request_timeout: Limit::of(seconds(60)),
        deadlines: default_deadlines(),
        queue_timeout: Limit::of(seconds(45)),
        queue_limit: 1000,
        graceful_timeout: Limit::of(seconds(65)),
        eviction_timeout: Limit::of(seconds(65)),
        shutdown_timeout: seconds(5),
        wear: Wear {
            maximum_requests: 0,
            maximum_memory: None,
            cpu_time_limit: Limit::OFF,
            restart_interval: Limit::OFF,
            inactivity_timeout: Limit::OFF,
        },
        retry: Retry::Idempotent,
        retry_limit: 1,
        backoff: default_backoff(),
        bytes: default_bytes(),
        logging: default_logging(),
        cgroup: CgroupLimits::default(),
    }
}

fn default_deadlines() -> Deadlines {
    Deadlines {
        response_timeout: Limit::of(Duration::from_secs(60)),
        total_timeout: Limit::OFF,
        connect_timeout: Duration::from_secs(15),
        socket_timeout: Limit::of(Duration::from_secs(60)),
        interrupt_timeout: Limit::OFF,
        deadlock_timeout: Limit::of(Duration::from_secs(60)),
    }
}

fn default_environment() -> BTreeMap<String, String> {
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    [
        ("HOME", "/home/blog"),
        ("LANG", "C.UTF-8"),
        ("LC_ALL", "C.UTF-8"),
        ("LOGNAME", "blog"),
        ("PATH", path),
        ("USER", "blog"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

fn default_backoff() -> Backoff {
    Backoff {
        initial: Duration::from_millis(500),
        maximum: Duration::from_secs(60),
    }
}

fn default_bytes() -> Bytes {
    Bytes {
        request_buffering: true,
        request_buffer_size: 64 << 10,
        spool_dir: PathBuf::from("/var/tmp"),
        spool_limit: Some(1 << 30),
        request_body_limit: None,
        header_limit: 64 << 10,
        header_buffer_size: 32 << 10,
        response_buffer_size: 1 << 20,
    }
}

fn default_logging() -> Logging {
    Logging {
        access_log: AccessLog::Off,
        access_log_format: Format::default(),
        slow_request: Limit::OFF,
        stderr: Stderr::Log,
    }
}

fn default_daemon() -> Daemon {
    Daemon {
        runtime_dir: PathBuf::from("/run/stockade"),
        relay_user: Some(account("stockade", 400, &[400], "/nonexistent")),
        relay_threads: 2,
        log_level: LogLevel::Info,
        admin_socket: PathBuf::from("/run/stockade/admin.sock"),
        status_listen: None,
        maximum_processes: 0,
        shutdown_timeout: Duration::from_secs(30),
    }
}

#[test]
fn the_admin_socket_is_found_in_a_file_that_is_wrong_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stockade.toml");
    for (text, socket) in [
        ("[pool.blog]\nwsgy = 1\n", "/run/stockade/admin.sock"),
        (
            "[daemon]\nruntime-dir = \"/srv/x\"\n[pool",
            "/srv/x/admin.sock",
        ),
        (
            "[daemon]\nruntime-dir = \"/srv/x\"\nadmin-socket = \"a/b\"\n",
            "/srv/x/a/b",
        ),
        ("[daemon]\nadmin-socket = \"/run/a\"\n", "/run/a"),
    ] {
        std::fs::write(&file, text).unwrap();
        let found = crate::config::admin_socket(&file, &Imagined::root());
        assert_eq!(found.unwrap(), PathBuf::from(socket), "{text}");
    }
    std::fs::write(&file, "[daemon]\nruntime-dirr = \"/srv/x\"\n").unwrap();
    let error = crate::config::admin_socket(&file, &Imagined::root()).unwrap_err();
    assert!(error.to_string().contains("runtime-dir"), "{error}");
}

#[test]
fn a_mount_has_no_slash_at_its_end() {
    for (keys, mount) in [
        ("", ""),
        ("mount = \"/\"", ""),
        ("mount = \"/shop\"", "/shop"),
        ("mount = \"/our shops/caf\u{e9}\"", "/our shops/caf\u{e9}"),
    ] {
        assert_eq!(pool(keys).mount, mount);
    }
}

#[test]
fn without_root_everybody_stays_who_they_are() {
    let text = SMALLEST.replace("user = \"blog\"\n", "");
    let config = read(&text, &Imagined::blog()).unwrap();
    assert_eq!(config.daemon.relay_user, None);
    assert_eq!(
        config.daemon.runtime_dir,
        PathBuf::from("/tmp/stockade-1001")
    );
    let pool = &config.pools[0];
    assert_eq!(pool.account, None);
    assert_eq!((pool.socket.uid, pool.socket.gid), (None, None));
    assert_eq!(pool.environment["USER"], "blog");
    assert_eq!(pool.environment["HOME"], "/home/blog");
    // naming oneself is no change
    let same = read(&format!("{SMALLEST}group = \"blog\""), &Imagined::blog()).unwrap();
    assert_eq!(same, config);
}

#[test]
fn an_account_without_an_entry_has_a_number_for_a_name() {
    let text = SMALLEST.replace("user = \"blog\"\n", "");
    let pool = only_pool(&text, &Imagined::blog().without("blog"));
    assert_eq!(pool.environment["USER"], "1001");
    assert_eq!(pool.environment["HOME"], "/");
}

#[test]
fn the_runtime_dir_of_a_session_is_used() {
    let session = Imagined::blog().with("XDG_RUNTIME_DIR", "/run/user/1001");
    let config = read(SMALLEST, &session).unwrap();
    assert_eq!(
        config.daemon.runtime_dir,
        PathBuf::from("/run/user/1001/stockade")
    );
}

#[test]
fn defaults_are_for_pools_that_say_nothing() {
    let config = read(
        "[defaults]
        processes = 3
        request-timeout = \"20s\"
        wsgi = \"blog.wsgi:application\"
        python-home = \"/srv/blog/venv\"
        user = \"blog\"
        environment = { SIDE = \"left\" }
        [pool.admin]
        listen = [\"unix:/run/admin.sock\"]
        processes = 1
        environment = { COLOUR = \"red\" }
        [pool.forms]
        listen = [\"unix:/run/forms.sock\"]
        command = [\"php-cgi\"]
        ",
        &Imagined::root(),
    )
    .unwrap();
    let [admin, forms] = &config.pools[..] else {
        panic!("{config:?}");
    };
    assert_eq!((admin.processes, forms.processes), (1, 3));
    assert_eq!(admin.graceful_timeout, Limit::of(Duration::from_secs(25)));
    assert!(matches!(admin.application, Application::Python { .. }));
    assert_eq!(
        forms.application,
        Application::Command(vec!["/usr/bin/php-cgi".to_owned()])
    );
    assert_eq!(admin.environment["COLOUR"], "red");
    assert!(!admin.environment.contains_key("SIDE"));
    assert_eq!(forms.environment["SIDE"], "left");
}

#[test]
fn accounts_may_be_numbers() {
    let text = SMALLEST.replace("\"blog\"\n", "\"1001\"\ngroup = \"2000\"\n");
    let account = only_pool(&text, &Imagined::root()).account.unwrap();
    assert_eq!((account.name.as_str(), account.uid), ("blog", 1001));
    assert_eq!((account.gid, account.groups), (2000, vec![2000, 33]));
}

#[test]
fn the_application_is_found_in_its_home() {
    for (keys, expected) in [
        (
            "wsgi = \"app.wsgi\"\nhome = \"/srv/blog\"",
            "/srv/blog/app.wsgi",
        ),
        (
            "wsgi = \"./app.wsgi:main\"\nhome = \"/srv/blog\"",
            "/srv/blog/app.wsgi:main",
        ),
        (
            "wsgi = \"app.py:app.wsgi\"",
            "/etc/stockade/app.py:app.wsgi",
        ),
        ("wsgi = \"/srv/blog/app.py\"", "/srv/blog/app.py"),
        ("wsgi = \"app:make\"\nhome = \"/srv/blog\"", "app:make"),
    ] {
        let Application::Python { target, .. } = running(keys).application else {
            panic!("{keys}");
        };
        assert_eq!(target, expected);
    }
    let pool = running("command = [\"./serve\", \"-v\"]\nhome = \"/srv/blog\"");
    let words = ["/srv/blog/serve", "-v"].map(str::to_owned).to_vec();
    assert_eq!(pool.application, Application::Command(words));
    assert_eq!(pool.home, PathBuf::from("/srv/blog"));
    assert_eq!(pool_home("here"), PathBuf::from("/etc/stockade/here"));
}

fn pool_home(home: &str) -> PathBuf {
    pool(&format!("home = {home:?}")).home
}

#[test]
fn python_is_an_environment_or_an_interpreter() {
    for (home, expected) in [
        ("/srv/blog/venv", "/srv/blog/venv/bin/python"),
        ("venv", "/srv/blog/venv/bin/python"),
        ("/usr/bin/python3", "/usr/bin/python3"),
    ] {
        let keys = format!(
            "home = \"/srv/blog\"\npython-home = {home:?}\npython-path = [\"lib\", \"/opt\"]"
        );
        let Application::Python {
            interpreter,
            python_path,
            ..
        } = pool(&keys).application
        else {
            panic!("{keys}");
        };
        assert_eq!(interpreter, PathBuf::from(expected));
        assert_eq!(python_path, ["/srv/blog/lib", "/opt"].map(PathBuf::from));
    }
}

#[test]
fn variables_of_the_pool_come_last() {
    let environment =
        pool("lang = \"de_DE.UTF-8\"\nenvironment = { USER = \"me\", DEBUG = \"\" }").environment;
    assert_eq!(environment["LANG"], "de_DE.UTF-8");
    assert_eq!(environment["LC_ALL"], "de_DE.UTF-8");
    assert_eq!(environment["USER"], "me");
    assert_eq!(environment["DEBUG"], "");
    let environment = pool("locale = \"off\"").environment;
    assert_eq!(environment["LANG"], "C.UTF-8");
    assert!(!environment.contains_key("LC_ALL"));
    let environment = pool("lang = \"off\"").environment;
    assert!(!environment.contains_key("LANG") && !environment.contains_key("LC_ALL"));
}

#[test]
fn php_cgi_does_not_exit_by_itself_unless_it_is_told_to() {
    let requests = |keys: &str| {
        running(keys)
            .environment
            .get("PHP_FCGI_MAX_REQUESTS")
            .cloned()
    };
    assert_eq!(requests("command = [\"php-cgi\"]").as_deref(), Some("0"));
    let told = "command = [\"php-cgi\"]\nenvironment = { PHP_FCGI_MAX_REQUESTS = \"50\" }";
    assert_eq!(requests(told).as_deref(), Some("50"));
}

#[test]
fn php_has_a_child_for_each_slot() {
    let children = |keys: &str| running(keys).environment.get("PHP_FCGI_CHILDREN").cloned();
    assert_eq!(children("command = [\"php-cgi\"]"), None);
    assert_eq!(
        children("command = [\"php-cgi\"]\nthreads = 4"),
        Some("4".to_owned())
    );
    assert_eq!(
        children("command = [\"/srv/blog/serve\"]\nthreads = 4"),
        None
    );
    assert_eq!(
        children(
            "command = [\"php-cgi\"]\nthreads = 4\nenvironment = { PHP_FCGI_CHILDREN = \"2\" }"
        ),
        Some("2".to_owned())
    );
}

#[test]
fn a_file_is_read_from_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stockade.toml");
    let missing = crate::config::read(&path, &System).unwrap_err().to_string();
    assert_eq!(
        missing,
        format!(
            "could not read the configuration {}: No such file or directory (os error 2): name a readable file with -c",
            path.display()
        )
    );
    std::fs::write(&path, b"[daemon]\n# caf\xe9\n").unwrap();
    let wrong = crate::config::read(&path, &System).unwrap_err().to_string();
    assert_eq!(
        wrong,
        format!(
            "{}:2:6: these bytes are no UTF-8 text: save the file as UTF-8\n  2 | # caf\u{fffd}\n    |      ^",
            path.display()
        )
    );
    std::fs::write(&path, SMALLEST).unwrap();
    let config = crate::config::read(&path, &Imagined::root()).unwrap();
    assert_eq!(config, read(SMALLEST, &Imagined::root()).unwrap());
}
