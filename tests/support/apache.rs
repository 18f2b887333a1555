//! The real Apache in front of a pool, with a configuration of the test's own.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{
    http::Client,
    log::Log,
    process::command,
    server::Server,
    site::Site,
    stockade::Stockade,
    tools::{self, POOL_USER},
};

/// A pool's address as Apache writes it.
#[derive(Clone, Debug)]
pub(crate) struct Backend(String);

/// The ways to hand requests to a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// `ProxyPass`: a part of the address space, whatever files there are.
    ProxyPass,
    /// `SetHandler`: Apache looks for a file first, and tells SCRIPT_NAME and PATH_INFO apart by it.
    SetHandler,
}

/// A running Apache; stopped when the value goes.
pub(crate) struct Apache(Server);

impl Backend {
    /// The unix socket `path`.
    pub(crate) fn unix(path: &Path) -> Self {
        Self(format!("unix:{}|fcgi://pool", path.display()))
    }

    /// A port of this machine.
    pub(crate) fn tcp(address: SocketAddr) -> Self {
        Self(format!("fcgi://{address}"))
    }

    /// Lines of the server that hand it every request.
    pub(crate) fn everything(&self, way: Way, reuse: bool) -> String {
        let Self(address) = self;
        let options = if reuse { "enablereuse=on" } else { "" };
        match way {
            Way::ProxyPass => self.proxy_pass("/", "/", options),
            Way::SetHandler => format!(
                "<Proxy \"{address}/\">\nProxySet {options} timeout=120 retry=0\n</Proxy>\n\
                 <Location \"/\">\n{}\n</Location>",
                self.set_handler()
            ),
        }
    }

    /// Hands it what is below `path`, as if it lay below `target`.
    pub(crate) fn proxy_pass(&self, path: &str, target: &str, options: &str) -> String {
        let Self(address) = self;
        format!("ProxyPass \"{path}\" \"{address}{target}\" {options} timeout=120 retry=0")
    }

    /// Hands it what the section is about.
    pub(crate) fn set_handler(&self) -> String {
        let Self(address) = self;
        format!("SetHandler \"proxy:{address}/\"")
    }
}

impl Apache {
    /// In front of the pool `app` of `stockade`, connections kept.
    pub(crate) fn keeping(stockade: &Stockade) -> Self {
        let backend = Backend::unix(&stockade.socket("app"));
        Self::start(&backend.everything(Way::ProxyPass, true))
    }

    /// With these lines as its only server's.
    pub(crate) fn start(server: &str) -> Self {
        Self::start_with(|address| {
            format!(
                "<VirtualHost {address}>\n<Location \"/\">\nCGIPassAuth On\n</Location>\n{server}\n</VirtualHost>"
            )
        })
    }

    /// With all of the servers' lines as `servers` writes them for an address that is free.
    pub(crate) fn start_with(servers: impl Fn(SocketAddr) -> String) -> Self {
        Self(Server::start(|site, address| {
            let text = configuration(site, address, &servers(address));
            let mut command = command(tools::apache());
            command
                .arg("-DFOREGROUND")
                .arg("-f")
                .arg(site.write("apache.conf", &text));
            command
        }))
    }

    /// What it writes.
    pub(crate) fn log(&self) -> &Log {
        self.0.log()
    }

    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        self.0.client()
    }
}

fn configuration(site: &Site, address: SocketAddr, servers: &str) -> String {
    let account = if tools::root() {
        format!("User {POOL_USER}\nGroup {POOL_USER}")
    } else {
        String::new()
    };
    let modules: String = MODULES
        .iter()
        .map(|module| {
            let file = modules_folder().join(format!("mod_{module}.so"));
            format!("LoadModule {module}_module \"{}\"\n", file.display())
        })
        .collect();
    format!(
        "ServerRoot \"{folder}\"
        DefaultRuntimeDir \"{folder}\"
        PidFile \"{folder}/apache.pid\"
        ErrorLog \"/dev/stderr\"
        LogLevel warn
        ServerName localhost
        DocumentRoot \"{folder}\"
        Listen {address}
        {account}
        {modules}
        StartServers 1
        ServerLimit 2
        ThreadsPerChild 64
        MaxRequestWorkers 128
        # a client learns that a response was cut when Apache has waited this long for its next request
        KeepAliveTimeout 1
        {servers}",
        folder = site.path().display(),
    )
}

/// Where Debian's package has them; with the modules' names, all that it would load by itself and we need.
fn modules_folder() -> PathBuf {
    let folder = PathBuf::from("/usr/lib/apache2/modules");
    assert!(
        fs::exists(folder.join("mod_proxy_fcgi.so")).is_ok_and(|exists| exists),
        "Apache's modules are missing: apt-get install apache2-bin"
    );
    folder
}

const MODULES: [&str; 13] = [
    "mpm_event",
    "authn_core",
    "auth_basic",
    "authz_core",
    "authz_user",
    "authnz_fcgi",
    "alias",
    "dir",
    "proxy",
    "proxy_fcgi",
    "env",
    "setenvif",
    "unique_id",
];
