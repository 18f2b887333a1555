//! The hosts, each with the configuration that the repository recommends for it, and one way to use them all.

use std::{fmt, fs, net::SocketAddr, path::Path, process::Command};

use super::{
    apache::{Apache, Backend, Way},
    http::{Address, Client},
    nginx::{Hosting, Nginx},
    server::{Server, put, recommended, unprivileged, writable},
    site::Site,
    tools,
};

/// A web server that speaks FastCGI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Nginx,
    Apache,
    Caddy,
    Haproxy,
    Lighttpd,
}

/// One of them, running in front of a pool; stopped when the value goes.
pub(crate) enum Host {
    Nginx(Nginx),
    Apache(Apache),
    Other(Server),
}

/// How it is to speak to the pool.
#[derive(Clone)]
pub(crate) struct To {
    /// Where the pool listens.
    pub(crate) pool: Address,
    /// Connections are kept, by hosts that can.
    pub(crate) keep: bool,
}

impl Kind {
    /// Whether it is able to keep connections.
    pub(crate) fn keeps(self) -> bool {
        matches!(self, Self::Nginx | Self::Apache | Self::Haproxy)
    }

    /// Every way in which it can speak to a pool that listens on these addresses.
    pub(crate) fn ways(self, addresses: &[Address]) -> Vec<To> {
        let kept: &[bool] = if self.keeps() {
            &[true, false]
        } else {
            &[false]
        };
        addresses
            .iter()
            .flat_map(|pool| {
                kept.iter().map(|keep| To {
                    pool: pool.clone(),
                    keep: *keep,
                })
            })
            .collect()
    }

    /// Starts it.
    pub(crate) fn start(self, to: &To) -> Host {
        self.start_with(to, &|text| text)
    }

    /// The same with its configuration, for Caddy, HAProxy and lighttpd, changed at last.
    pub(crate) fn start_with(self, to: &To, change: &dyn Fn(String) -> String) -> Host {
        let To { pool, keep } = to;
        match self {
            Self::Nginx => {
                let pool = match pool {
                    Address::Unix(path) => format!("unix:{}", path.display()),
                    Address::Tcp(address) => address.to_string(),
                };
                let hosting = Hosting {
                    keep: *keep,
                    ..Hosting::default()
                };
                Host::Nginx(Nginx::start_at(&pool, &hosting))
            }
            Self::Apache => {
                let backend = match pool {
                    Address::Unix(path) => Backend::unix(path),
                    Address::Tcp(address) => Backend::tcp(*address),
                };
                Host::Apache(Apache::start(&backend.everything(Way::ProxyPass, *keep)))
            }
            Self::Caddy => Host::Other(Server::start(|site, address| {
                caddy(site, change(caddyfile(site, address, pool)))
            })),
            Self::Haproxy => Host::Other(Server::start(|site, address| {
                let text = haproxy_cfg(site, address, to);
                haproxy(&site.write("haproxy.cfg", &change(text)))
            })),
            Self::Lighttpd => Host::Other(Server::start(|site, address| {
                let text = lighttpd_conf(site, address, pool);
                lighttpd(&site.write("lighttpd.conf", &change(text)))
            })),
        }
    }
}

impl Host {
    /// HAProxy with several requests on a connection at a time.
    pub(crate) fn multiplexing(pool: Address) -> Self {
        Kind::Haproxy.start_with(&To { pool, keep: true }, &|text| {
            text.replace("    #option ", "    option ")
        })
    }

    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        match self {
            Self::Nginx(nginx) => nginx.client(),
            Self::Apache(apache) => apache.client(),
            Self::Other(server) => server.client(),
        }
    }

    /// Where it listens, unless it is nginx or Apache.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Nginx(_) | Self::Apache(_) => None,
            Self::Other(server) => Some(server.address()),
        }
    }
}

impl fmt::Display for To {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let socket = match self.pool {
            Address::Unix(_) => "a unix socket",
            Address::Tcp(_) => "TCP",
        };
        write!(f, "over {socket}, kept: {}", self.keep)
    }
}

/// A file for the hosts that have files to send: `/static/style.css`.
fn put_file(site: &Site) {
    let folder = site.path().join("static");
    fs::create_dir_all(&folder).expect("the test's folder can be written to");
    site.write("static/style.css", "a file");
}

fn caddyfile(site: &Site, address: SocketAddr, pool: &Address) -> String {
    put_file(site);
    let text = recommended("caddy/Caddyfile");
    let pool = match pool {
        Address::Unix(path) => format!("unix/{}", path.display()),
        Address::Tcp(address) => address.to_string(),
    };
    let site_line = format!("http://:{} {{\n\tbind {}", address.port(), address.ip());
    let text = put(&text, "http://app.example.org {", &site_line);
    let text = put(&text, "unix//run/stockade/app.sock", &pool);
    let text = text.replace("/srv/app", &site.path().display().to_string());
    format!("{{\n\tadmin off\n\tauto_https off\n}}\n{text}")
}

fn caddy(site: &Site, text: String) -> Command {
    let home = writable(site, "caddy");
    let mut command = unprivileged(tools::caddy());
    command
        .args(["run", "--adapter", "caddyfile", "--config"])
        .arg(site.write("Caddyfile", &text))
        .env("XDG_DATA_HOME", &home)
        .env("XDG_CONFIG_HOME", &home);
    command
}

fn haproxy_cfg(site: &Site, address: SocketAddr, to: &To) -> String {
    let text = recommended("haproxy/haproxy.cfg");
    let pool = match &to.pool {
        Address::Unix(path) => format!("unix@{}", path.display()),
        Address::Tcp(address) => address.to_string(),
    };
    let text = put(&text, "bind :80", &format!("bind {address}"));
    let text = put(
        &text,
        "server stockade unix@/run/stockade/app.sock",
        &format!("server stockade {pool}"),
    );
    let text = text.replace("/srv/app", &site.path().display().to_string());
    // threads have connections of their own
    let global = "global\n    nbthread 1\n    maxconn 512\n";
    if to.keep {
        return format!("{global}{text}");
    }
    let (kept, _) = text
        .split_once("    option keep-conn")
        .expect("it keeps connections");
    format!("{global}{kept}    no option keep-conn\n")
}

fn haproxy(file: &Path) -> Command {
    let mut command = unprivileged(tools::haproxy());
    command.args(["-db", "-f"]).arg(file);
    command
}

fn lighttpd_conf(site: &Site, address: SocketAddr, pool: &Address) -> String {
    put_file(site);
    let text = recommended("lighttpd/stockade.conf");
    let pool = match pool {
        Address::Unix(path) => format!("\"socket\" => \"{}\"", path.display()),
        Address::Tcp(address) => {
            format!(
                "\"host\" => \"{}\", \"port\" => {}",
                address.ip(),
                address.port()
            )
        }
    };
    let text = put(&text, "\"socket\" => \"/run/stockade/app.sock\"", &pool);
    let folder = site.path().display().to_string();
    let text = text.replace("/srv/app", &folder);
    format!(
        "server.modules = ()
        server.document-root = \"{folder}\"
        server.bind = \"{}\"
        server.port = {}
        server.upload-dirs = ( \"{}\" )
        {text}",
        address.ip(),
        address.port(),
        writable(site, "uploads").display(),
    )
}

fn lighttpd(file: &Path) -> Command {
    let mut command = unprivileged(tools::lighttpd());
    command.args(["-D", "-f"]).arg(file);
    command
}
