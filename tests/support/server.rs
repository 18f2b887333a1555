//! A real web server that is run on a port with a configuration of the test's own: what Apache, Caddy, HAProxy and lighttpd have in
//! common.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use nix::sys::signal::Signal;

use super::{
    deadline::wait_for,
    http::{Address, Client},
    log::Log,
    process::{self, command},
    site::{Site, give_to_pool_user},
    tools::{self, POOL_USER},
};

/// How often another port is tried when somebody took the one that was free a moment ago.
const PORTS: usize = 5;

/// The program, running; stopped when the value goes.
pub(crate) struct Server {
    site: Site,
    log: Log,
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Runs the command that `prepare` makes for a folder and an address that is free.
    pub(crate) fn start(prepare: impl Fn(&Site, SocketAddr) -> Command) -> Self {
        for _ in 0..PORTS {
            let (site, address) = (Site::new(), free_address());
            let command = prepare(&site, address);
            match Self::try_start(site, address, command) {
                Ok(server) => return server,
                Err(log) => assert!(
                    log.to_lowercase().contains("address already in use"),
                    "it ended:\n{log}"
                ),
            }
        }
        panic!("somebody takes every port that is free")
    }

    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        Client::new(Address::Tcp(self.address))
    }

    /// What it writes.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    fn try_start(site: Site, address: SocketAddr, mut command: Command) -> Result<Self, String> {
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the web server can be started");
        let log = Log::follow(child.stderr.take().expect("it was asked for"));
        let pid = i32::try_from(child.id()).expect("a process's number fits");
        let listening = wait_for("the web server to listen", || {
            match child.try_wait().expect("it is our child") {
                Some(_) => Some(false),
                // somebody else may have taken the port and would answer as well
                None => listens(pid, address.port()).then_some(true),
            }
        });
        if !listening {
            return Err(log.text());
        }
        Ok(Self {
            site,
            log,
            child,
            address,
        })
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process's number fits")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let family = process::descendants(self.pid());
        process::signal(self.pid(), Signal::SIGKILL);
        for member in family {
            process::signal(member, Signal::SIGKILL);
        }
        self.child.wait().expect("it is our child");
        if thread::panicking() {
            let folder = self.site.path().display();
            eprintln!(
                "--- log of the web server in {folder}\n{}\n---",
                self.log.text()
            );
        }
    }
}

/// A program to run as the account of the pools, for servers that do not change theirs.
pub(crate) fn unprivileged(program: impl AsRef<Path>) -> Command {
    let mut command = command(program);
    if tools::root() {
        let account = tools::account(POOL_USER);
        command.uid(account.uid.as_raw()).gid(account.gid.as_raw());
    }
    command
}

/// An address that was free a moment ago, for programs that cannot be given a socket.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("a port of this machine is free")
}

/// A folder in `site` that such a program may write to.
pub(crate) fn writable(site: &Site, name: &str) -> PathBuf {
    let folder = site.path().join(name);
    fs::create_dir_all(&folder).expect("the test's folder can be written to");
    give_to_pool_user(&folder);
    folder
}

/// A configuration file of the repository, of which the tests change as little as they can.
pub(crate) fn recommended(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("conf")
        .join(file);
    fs::read_to_string(path).unwrap_or_else(|error| panic!("conf/{file}: {error}"))
}

/// Puts `new` where the text has `old`, once.
pub(crate) fn put(text: &str, old: &str, new: &str) -> String {
    assert_eq!(text.matches(old).count(), 1, "{old:?} in:\n{text}");
    text.replace(old, new)
}

/// Whether the process or one below it listens on the port.
fn listens(pid: i32, port: u16) -> bool {
    let sockets = listening(port);
    let mut family = process::descendants(pid);
    family.push(pid);
    family
        .into_iter()
        .filter_map(|member| fs::read_dir(format!("/proc/{member}/fd")).ok())
        .flatten()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .any(|target| sockets.iter().any(|socket| target == Path::new(socket)))
}

/// The sockets that listen on the port, as the descriptors of their owners show them.
fn listening(port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let end = format!(":{port:04X}");
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| {
            let found = table.lines().filter_map(|line| {
                let fields: Vec<&str> = line.split_whitespace().collect();
                let listens = fields.get(1)?.ends_with(&end) && *fields.get(3)? == LISTEN;
                listens.then(|| Some(format!("socket:[{}]", fields.get(9)?)))?
            });
            found.collect::<Vec<_>>()
        })
        .collect()
}
