//! The real nginx in front of a pool, with a configuration of the test's own.

use std::{
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
};

use nix::sys::signal::Signal;

use super::{
    deadline::wait_for,
    http::{Address, Client},
    log::Log,
    process::{self, command},
    site::Site,
    tools::{self, POOL_USER},
};

/// How nginx speaks to the pool.
#[derive(Clone, Default)]
pub(crate) struct Hosting<'a> {
    /// Connections are kept for further requests.
    pub(crate) keep: bool,
    /// Further lines of `location /`.
    pub(crate) location: &'a str,
    /// Further lines of the server: other locations.
    pub(crate) server: &'a str,
}

/// A running nginx; stopped when the value goes.
pub(crate) struct Nginx {
    site: Site,
    /// What it writes.
    pub(crate) log: Log,
    child: Child,
}

impl Nginx {
    /// In front of the pool that listens on the unix socket `pool`, connections kept.
    pub(crate) fn keeping(pool: &Path) -> Self {
        Self::start(
            pool,
            &Hosting {
                keep: true,
                ..Hosting::default()
            },
        )
    }

    /// The same with every choice.
    pub(crate) fn start(pool: &Path, hosting: &Hosting<'_>) -> Self {
        Self::start_at(&format!("unix:{}", pool.display()), hosting)
    }

    /// The same for a pool at an address as nginx writes it.
    pub(crate) fn start_at(pool: &str, hosting: &Hosting<'_>) -> Self {
        let site = Site::new();
        let file = site.write("nginx.conf", &configuration(&site, pool, hosting));
        let mut child = command(tools::nginx())
            .arg("-p")
            .arg(site.path())
            .arg("-c")
            .arg(file)
            .args(["-e", "stderr"])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nginx can be started");
        let log = Log::follow(child.stderr.take().expect("it was asked for"));
        let nginx = Self { site, log, child };
        nginx.wait_listening();
        nginx
    }

    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        Client::new(Address::Unix(self.address()))
    }

    /// The unix socket it listens on.
    pub(crate) fn address(&self) -> PathBuf {
        address(&self.site)
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process's number fits")
    }

    fn wait_listening(&self) {
        wait_for("nginx to accept connections", || {
            assert!(
                process::alive(self.pid()),
                "nginx ended:\n{}",
                self.log.text()
            );
            UnixStream::connect(self.address()).ok()
        });
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let family = process::descendants(self.pid());
        process::signal(self.pid(), Signal::SIGKILL);
        for member in family {
            process::signal(member, Signal::SIGKILL);
        }
        self.child.wait().expect("nginx is our child");
        if thread::panicking() {
            eprintln!("--- log of nginx\n{}\n---", self.log.text());
        }
    }
}

fn configuration(site: &Site, pool: &str, hosting: &Hosting<'_>) -> String {
    let user = if tools::root() {
        format!("user {POOL_USER};")
    } else {
        String::new()
    };
    let keepalive = if hosting.keep { "keepalive 16;" } else { "" };
    let keep_conn = if hosting.keep { "on" } else { "off" };
    // the parameters and timeouts that the repository recommends are the ones tested
    let parameters = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/nginx/stockade_params");
    let parameters = fs::read_to_string(parameters).expect("conf/nginx/stockade_params exists");
    let parameters = parameters.replace("fastcgi_keep_conn on;", "");
    format!(
        "{user}
        daemon off;
        worker_processes 1;
        pid {folder}/nginx.pid;
        error_log stderr warn;
        events {{ worker_connections 512; }}
        http {{
            access_log off;
            client_body_temp_path {folder}/body;
            fastcgi_temp_path {folder}/fastcgi;
            proxy_temp_path {folder}/proxy;
            scgi_temp_path {folder}/scgi;
            uwsgi_temp_path {folder}/uwsgi;
            upstream pool {{ server {pool}; {keepalive} }}
            server {{
                listen unix:{address};
                client_max_body_size 0;
                location / {{
                    {parameters}
                    fastcgi_pass pool;
                    fastcgi_keep_conn {keep_conn};
                    {location}
                }}
                {server}
            }}
        }}",
        folder = site.path().display(),
        address = address(site).display(),
        location = hosting.location,
        server = hosting.server,
    )
}

fn address(site: &Site) -> PathBuf {
    site.path().join("http.sock")
}
