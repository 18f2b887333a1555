//! `stockade run`, in a process group of its own as a shell would start it.

use std::{
    fs,
    net::SocketAddr,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::{Pid, geteuid},
};

use super::{
    built,
    deadline::wait_for,
    http::{Address, Client},
    log::Log,
    process::{self, command},
    site::Site,
};

/// nobody's user and group on every Linux.
const NOBODY: u32 = 65_534;

/// The command; killed with everything it started when the value goes.
pub(crate) struct Running {
    /// The folder of the test, in which the command was given.
    pub(crate) site: Site,
    /// What it writes.
    pub(crate) log: Log,
    child: Child,
}

impl Running {
    /// `stockade run` with these words, on a free port.
    pub(crate) fn start(site: Site, words: &[&str]) -> Self {
        Self::start_as(site, words, None, None)
    }

    /// The same with a command that was installed somewhere.
    pub(crate) fn start_installed(site: Site, binary: &Path, words: &[&str]) -> Self {
        Self::spawn(site, command(binary), words)
    }

    /// The same as somebody without power; for root, that is nobody.
    pub(crate) fn start_without_power(site: Site, words: &[&str]) -> Self {
        let nobody = super::tools::root().then_some(NOBODY);
        Self::start_as(site, words, nobody, None)
    }

    /// The same with this XDG_RUNTIME_DIR.
    pub(crate) fn start_with_runtime_dir(site: Site, words: &[&str], folder: &str) -> Self {
        let nobody = super::tools::root().then_some(NOBODY);
        Self::start_as(site, words, nobody, Some(folder))
    }

    fn start_as(site: Site, words: &[&str], user: Option<u32>, folder: Option<&str>) -> Self {
        let built = built::stockade();
        let binary = site.reachable(built);
        site.reachable(&built.with_file_name("libstockade_python.so"));
        let mut command = command(binary);
        match folder {
            Some(folder) => command.env("XDG_RUNTIME_DIR", folder),
            None => command.env_remove("XDG_RUNTIME_DIR"),
        };
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        Self::spawn(site, command, words)
    }

    fn spawn(site: Site, mut command: Command, words: &[&str]) -> Self {
        command
            .arg("run")
            .args(words)
            .current_dir(site.path())
            .env("PATH", "/usr/bin:/bin")
            .env_remove("VIRTUAL_ENV")
            .env("GREETING", "hello")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn().expect("the built binary can be started");
        let log = Log::follow(child.stderr.take().expect("it was asked for"));
        Self { site, log, child }
    }

    /// The process.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process's number fits")
    }

    /// A client of it, once it serves.
    pub(crate) fn client(&self) -> Client {
        self.log.wait(&[": serving"]);
        Client::new(Address::Tcp(address(&self.log)))
    }

    /// What a terminal does at Ctrl-C.
    pub(crate) fn interrupt(&self) {
        killpg(Pid::from_raw(self.pid()), Signal::SIGINT).expect("the group is there");
    }

    /// Waits for its end.
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        let Self { child, log, .. } = self;
        wait_for("the end of `stockade run`", || {
            child
                .try_wait()
                .unwrap_or_else(|error| panic!("wait: {error}\n{}", log.text()))
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            process::signal(self.pid(), Signal::SIGSTOP);
            let family = process::descendants(self.pid());
            process::signal(self.pid(), Signal::SIGKILL);
            for member in family {
                process::signal(member, Signal::SIGKILL);
            }
            self.child.wait().expect("the command is our child");
            // what it would have removed itself
            for folder in [
                format!("/run/stockade-run-{}", self.pid()),
                format!("/tmp/stockade-run-{NOBODY}-{}", self.pid()),
                format!("/tmp/stockade-run-{}-{}", geteuid(), self.pid()),
            ] {
                drop(fs::remove_dir_all(folder));
            }
        }
        if thread::panicking() {
            eprintln!("--- log of stockade run\n{}\n---", self.log.text());
        }
    }
}

/// Where the shim listens, by the log.
pub(crate) fn address(log: &Log) -> SocketAddr {
    let line = log.wait(&["shim: listening on http://"]);
    line.rsplit_once("http://")
        .and_then(|(_, address)| address.parse().ok())
        .unwrap_or_else(|| panic!("no address in the line: {line}"))
}

/// The children of `supervisor` that were started as `stockade WORD`.
pub(crate) fn service(supervisor: i32, word: &str) -> i32 {
    let is_it = |pid: &i32| {
        let words = fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline"));
        words.is_ok_and(|words| words == format!("stockade\0{word}\0").into_bytes())
    };
    wait_for(&format!("stockade {word} among its children"), || {
        process::children(supervisor).into_iter().find(is_it)
    })
}
