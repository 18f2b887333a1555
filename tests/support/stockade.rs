//! The daemon under test: a configuration, the running supervisor, its log.

use std::{
    fmt::Write as _,
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{
    built,
    deadline::wait_for,
    fcgi::Fcgi,
    log::Log,
    process::{self, command},
    site::Site,
    tools::{self, POOL_USER, RELAY_USER},
};

/// One pool of the configuration.
#[derive(Clone)]
pub(crate) struct Pool {
    name: String,
    keys: String,
}

impl Pool {
    /// `[pool.app]` with these keys. Where it listens and who it is are added.
    pub(crate) fn new(keys: &str) -> Self {
        Self {
            name: "app".to_owned(),
            keys: keys.to_owned(),
        }
    }

    /// A pool of scripted workers, with `arguments` for every one of them.
    pub(crate) fn scripted(site: &Site, arguments: &[&str], keys: &str) -> Self {
        built::stockade();
        let worker = site.reachable(&built::scripted_worker());
        let words: Vec<&str> = [worker
            .to_str()
            .expect("the test's folders have plain names")]
        .into_iter()
        .chain(arguments.iter().copied())
        .collect();
        Self::new(&format!("command = {words:?}\n{keys}"))
    }

    /// The same pool with `new` where its keys have `old`.
    pub(crate) fn with(&self, old: &str, new: &str) -> Self {
        assert!(self.keys.contains(old), "{old} in:\n{}", self.keys);
        let keys = self.keys.replace(old, new);
        let name = self.name.clone();
        Self { name, keys }
    }

    /// The same pool under another name.
    pub(crate) fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }
}

/// `stockade serve`; killed with everything it started when the value goes.
pub(crate) struct Stockade {
    /// The folder of the test.
    pub(crate) site: Site,
    /// What supervisor and relay write.
    pub(crate) log: Log,
    child: Child,
}

impl Stockade {
    /// Scripted workers in a pool `app`, the first of them ready.
    pub(crate) fn scripted(keys: &str) -> Self {
        let site = Site::new();
        let pool = Pool::scripted(&site, &[], keys);
        Self::ready(site, &[pool])
    }

    /// These pools, a worker of each ready.
    pub(crate) fn ready(site: Site, pools: &[Pool]) -> Self {
        let stockade = Self::serve(site, pools);
        for pool in pools {
            stockade.wait_ready(&pool.name, 1);
        }
        stockade
    }

    /// These pools; waits for their sockets only.
    pub(crate) fn serve(site: Site, pools: &[Pool]) -> Self {
        let config = configuration(&site, pools);
        let stockade = Self::run(site, &config);
        for pool in pools {
            stockade.wait_listening(&pool.name);
        }
        stockade
    }

    /// A configuration as it is; waits for nothing.
    pub(crate) fn run(site: Site, config: &str) -> Self {
        Self::start(
            site,
            config,
            command(built::stockade()).stdin(Stdio::null()),
        )
    }

    /// The same by a command that becomes `stockade` with the arguments it gets.
    pub(crate) fn start(site: Site, config: &str, starter: &mut Command) -> Self {
        let file = site.write("stockade.toml", config);
        let mut child = starter
            .args(["serve", "-c"])
            .arg(file)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the built binary can be started");
        let log = Log::follow(child.stderr.take().expect("it was asked for"));
        Self { site, log, child }
    }

    /// A command that asks this daemon: its exit code, standard output and standard error.
    pub(crate) fn ask(&self, words: &[&str]) -> (Option<i32>, String, String) {
        let output = self
            .asking(words)
            .output()
            .expect("the built binary can be started");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    }

    /// The same, to be started.
    pub(crate) fn asking(&self, words: &[&str]) -> Command {
        let mut asking = command(built::stockade());
        asking
            .args(words)
            .arg("-c")
            .arg(self.site.path().join("stockade.toml"));
        asking
    }

    /// Writes another configuration over the one in use; [`Signal::SIGHUP`] makes the daemon read it.
    pub(crate) fn configure(&self, pools: &[Pool]) {
        self.site
            .write("stockade.toml", &configuration(&self.site, pools));
    }

    /// Waits until `workers` workers of the pool have been ready.
    pub(crate) fn wait_ready(&self, pool: &str, workers: usize) -> Vec<String> {
        self.log
            .wait_times(workers, &[&format!("pool {pool}: worker "), " ready"])
    }

    /// The pool's address.
    pub(crate) fn socket(&self, pool: &str) -> PathBuf {
        socket(&self.site, pool)
    }

    /// A connection as a host makes it, to the pool `app`.
    pub(crate) fn connect(&self) -> Fcgi {
        Fcgi::connect(&self.socket("app"))
    }

    /// The supervisor.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process's number fits")
    }

    /// The relay that serves.
    pub(crate) fn relay(&self) -> i32 {
        wait_for("the relay among the supervisor's children", || {
            let replaced = |pid: &i32| !self.log.matching(&[&replaced(*pid)]).is_empty();
            self.relays().into_iter().find(|pid| !replaced(pid))
        })
    }

    /// Every process of the relay: that which serves, those that hand over to it, one that has just been started.
    pub(crate) fn relays(&self) -> Vec<i32> {
        process::children(self.pid())
            .into_iter()
            .filter(|child| process::alive(*child) && process::is_relay(*child))
            .collect()
    }

    /// Has the relay replaced, and waits until the next one serves. The process that served before.
    pub(crate) fn replace_relay(&self) -> i32 {
        let old = self.relay();
        assert!(process::signal(old, Signal::SIGHUP), "there is no relay");
        self.log.wait(&[&replaced(old)]);
        old
    }

    /// The workers: every other child.
    pub(crate) fn workers(&self) -> Vec<i32> {
        let own = process::executable(self.pid());
        process::children(self.pid())
            .into_iter()
            .filter(|child| process::alive(*child) && process::executable(*child) != own)
            .collect()
    }

    /// A pool as `stockade status --json` tells of it.
    pub(crate) fn pool(&self, name: &str) -> Value {
        let (code, text, error) = self.ask(&["status", "--json", name]);
        assert_eq!((code, &*error), (Some(0), ""));
        let status: Value = serde_json::from_str(&text).expect("JSON");
        status["pools"][0].clone()
    }

    /// Waits for the end of a worker of the pool to be told of, the latest.
    pub(crate) fn wait_exit_of(&self, pool: &str) -> Value {
        wait_for("an exit", || {
            let exit = self.pool(pool)["exits"][0].clone();
            exit.is_object().then_some(exit)
        })
    }

    /// Sends the supervisor a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        assert!(
            process::signal(self.pid(), signal),
            "the supervisor is gone:\n{}",
            self.log.text()
        );
    }

    /// Waits for the supervisor's end.
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        let Self { child, log, .. } = self;
        wait_for("the end of the supervisor", || {
            child
                .try_wait()
                .unwrap_or_else(|error| panic!("wait: {error}\n{}", log.text()))
        })
    }

    /// The supervisor's end if it has come.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the supervisor is our child")
    }

    fn wait_listening(&self, pool: &str) {
        let socket = self.socket(pool);
        wait_for(&format!("{} to be listened on", socket.display()), || {
            self.assert_running();
            UnixStream::connect(&socket).ok()
        });
    }

    fn assert_running(&self) {
        assert!(
            process::alive(self.pid()),
            "the supervisor ended:\n{}",
            self.log.text()
        );
    }
}

impl Drop for Stockade {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // stopped, it starts nobody while its children are listed
            process::signal(self.pid(), Signal::SIGSTOP);
            let family = process::descendants(self.pid());
            process::signal(self.pid(), Signal::SIGKILL);
            for member in family {
                process::signal(member, Signal::SIGKILL);
            }
            self.child.wait().expect("the supervisor is our child");
        }
        if thread::panicking() {
            eprintln!("--- log of stockade\n{}\n---", self.log.text());
        }
    }
}

/// The whole file: `[daemon]` for a test, and each pool listening in the test's folder.
pub(crate) fn configuration(site: &Site, pools: &[Pool]) -> String {
    let mut config = daemon_table(site);
    for pool in pools {
        let Pool { name, keys } = pool;
        writeln!(config, "[pool.{name}]").expect("text can be written to");
        let has = |key: &str| keys.lines().any(|line| line.trim().starts_with(key));
        if !has("listen = ") && !has("service = ") {
            let address = format!("unix:{}", socket(site, name).display());
            writeln!(config, "listen = [{address:?}]").expect("text can be written to");
        }
        if tools::root() && has("upstream = ") {
            writeln!(config, "socket-group = {POOL_USER:?}").expect("text can be written to");
        } else if tools::root() && !has("user = ") {
            tools::account(POOL_USER);
            writeln!(config, "user = {POOL_USER:?}").expect("text can be written to");
        }
        writeln!(config, "{keys}").expect("text can be written to");
    }
    config
}

/// `[daemon]` as every test needs it.
pub(crate) fn daemon_table(site: &Site) -> String {
    let mut table = format!("[daemon]\nruntime-dir = {:?}\n", site.path().join("run"));
    if tools::root() {
        tools::account(RELAY_USER);
        writeln!(table, "relay-user = {RELAY_USER:?}").expect("text can be written to");
    }
    table
}

fn socket(site: &Site, pool: &str) -> PathBuf {
    site.path().join(format!("{pool}.sock"))
}

/// What the log says of a relay that another serves for.
fn replaced(relay: i32) -> String {
    format!("relay (pid {relay}) replaced")
}

/// The lines of `stockade serve` with a configuration that it refuses, and its exit code.
pub(crate) fn refusal(config: &Path) -> (Option<i32>, String) {
    let output = command(built::stockade())
        .args(["serve", "-c"])
        .arg(config)
        .stdin(Stdio::null())
        .output()
        .expect("the built binary can be started");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), text)
}

/// The numbers in the names of the pid entries of a worker's line: "worker 3 (pid 4711)".
pub(crate) fn pid_in(line: &str) -> i32 {
    line.split_once("pid ")
        .and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next())
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_else(|| panic!("no pid in the line: {line}"))
}

/// Whether nothing is left of the process, its pid not even as a folder in /proc.
pub(crate) fn gone(pid: i32) -> bool {
    !fs::exists(format!("/proc/{pid}")).expect("/proc can be read")
}
