//! systemd: what it is told (sd_notify(3)), and the sockets it passes (sd_listen_fds(3)).
//!
//! Without systemd, that is without `NOTIFY_SOCKET` and `LISTEN_FDS` in the environment, nothing is said and nothing was passed. Neither
//! variable reaches a process of ours: their environments are made from nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    net::SocketAddr,
    os::fd::{AsRawFd, OwnedFd},
};

use ipnet::IpNet;
use nix::sys::socket::{SockType, SockaddrStorage, getsockname, getsockopt, sockopt};
use sd_notify::NotifyState;
use stockade_policy::{PoolId, PoolState};

use super::{error::SupervisorError, sockets::set_nonblocking};
use crate::{config::resolved::Pool, descriptor::own};

/// The conversation with the service manager.
#[derive(Debug, Default)]
pub(super) struct Systemd {
    /// There is one.
    listening: bool,
    /// `READY=1` was said.
    ready: bool,
    /// Pools whose reload has not come to an end.
    reloading: BTreeSet<PoolId>,
    stopping: bool,
}

impl Systemd {
    /// Nothing was said yet.
    pub(super) fn new() -> Self {
        Self {
            listening: env::var_os("NOTIFY_SOCKET").is_some(),
            ..Self::default()
        }
    }

    /// How each pool stands has changed. Ready is who serves, or is known to fail: that must not keep the others from being used.
    pub(super) fn pools(&mut self, pools: &[(&str, PoolState)]) {
        if !self.listening || self.stopping {
            return;
        }
        let status = summary(pools);
        let settled = pools.iter().all(|(_, state)| *state != PoolState::Starting);
        if settled && !self.ready {
            self.ready = true;
            notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
        } else {
            notify(&[NotifyState::Status(&status)]);
        }
    }

    /// A reload of these pools has begun.
    pub(super) fn reloading(&mut self, pools: impl Iterator<Item = PoolId>) {
        if !self.listening || !self.ready || self.stopping {
            return;
        }
        let before = self.reloading.is_empty();
        self.reloading.extend(pools);
        if before && !self.reloading.is_empty() {
            match NotifyState::monotonic_usec_now() {
                Ok(now) => notify(&[NotifyState::Reloading, now]),
                Err(_) => notify(&[NotifyState::Reloading]),
            }
        }
    }

    /// The pool's reload has come to an end, whatever that is.
    pub(super) fn reloaded(&mut self, pool: PoolId) {
        if self.reloading.remove(&pool) && self.reloading.is_empty() && !self.stopping {
            notify(&[NotifyState::Ready]);
        }
    }

    /// The daemon stops.
    pub(super) fn stopping(&mut self) {
        if self.listening && !self.stopping {
            self.stopping = true;
            notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
        }
    }
}

/// "3 pools: 2 serving, 1 failing (blog)".
fn summary(pools: &[(&str, PoolState)]) -> String {
    let plural = if pools.len() == 1 { "" } else { "s" };
    let mut parts = Vec::new();
    for state in [
        PoolState::Serving,
        PoolState::Starting,
        PoolState::Failing,
        PoolState::Stopped,
    ] {
        let names: Vec<&str> = pools
            .iter()
            .filter(|(_, each)| *each == state)
            .map(|(name, _)| *name)
            .collect();
        if names.is_empty() {
            continue;
        }
        let count = names.len();
        parts.push(match state {
            PoolState::Failing => format!("{count} {state} ({})", names.join(", ")),
            PoolState::Serving | PoolState::Starting | PoolState::Stopped => {
                format!("{count} {state}")
            }
        });
    }
    format!("{} pool{plural}: {}", pools.len(), parts.join(", "))
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("could not tell systemd: {error}");
    }
}

/// The sockets that systemd has passed, by their names.
#[derive(Debug, Default)]
pub(super) struct Passed(BTreeMap<String, Vec<OwnedFd>>);

impl Passed {
    /// Takes them, once: their numbers are in the environment.
    pub(super) fn take() -> Result<Self, SupervisorError> {
        let passed = sd_notify::listen_fds_with_names().map_err(SupervisorError::step(
            "take the sockets that systemd passed",
        ))?;
        let mut sockets: BTreeMap<String, Vec<OwnedFd>> = BTreeMap::new();
        for (number, name) in passed {
            sockets.entry(name).or_default().push(own(number));
        }
        Ok(Self(sockets))
    }

    /// The sockets of a name, for the pool that listens on them.
    pub(super) fn of(&mut self, name: &str, pool: &Pool) -> Result<Vec<OwnedFd>, SupervisorError> {
        let Some(sockets) = self.0.remove(name) else {
            let passed: Vec<&str> = self.0.keys().map(String::as_str).collect();
            return Err(SupervisorError::NotPassed {
                pool: pool.name.clone(),
                name: name.to_owned(),
                passed: if passed.is_empty() {
                    "systemd has passed no socket that is left".to_owned()
                } else {
                    format!(
                        "of those that systemd has passed these are left: {}",
                        passed.join(", ")
                    )
                },
            });
        };
        for socket in &sockets {
            if let Some(why) = unfit(socket, &pool.allowed_clients) {
                return Err(SupervisorError::Unfit {
                    name: name.to_owned(),
                    why,
                });
            }
            set_nonblocking(socket)
                .map_err(SupervisorError::step(format!("listen on systemd:{name}")))?;
        }
        Ok(sockets)
    }

    /// Those that no pool has taken.
    pub(super) fn left(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// Why hosts cannot be accepted on it.
fn unfit(socket: &OwnedFd, allowed_clients: &[IpNet]) -> Option<String> {
    if getsockopt(socket, sockopt::SockType) != Ok(SockType::Stream) {
        return Some("is no stream socket: use ListenStream= in its unit".to_owned());
    }
    if getsockopt(socket, sockopt::AcceptConn) != Ok(true) {
        return Some("does not listen: use Accept=no in its unit".to_owned());
    }
    let address = getsockname::<SockaddrStorage>(socket.as_raw_fd()).ok()?;
    let tcp = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(address), _) => SocketAddr::V4((*address).into()),
        (_, Some(address)) => SocketAddr::V6((*address).into()),
        (None, None) => return None,
    };
    let open = !tcp.ip().to_canonical().is_loopback();
    let for_none = (allowed_clients.iter()).all(|network| network.addr().is_loopback());
    (open && for_none).then(|| {
        format!("is {tcp}, which other machines can reach: say which of them may connect with `allowed-clients`, or use 127.0.0.1 or [::1] in its unit")
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use nix::sys::socket::{AddressFamily, SockFlag, socket};

    use super::*;

    #[test]
    fn the_summary_names_what_fails() {
        for (pools, expected) in [
            (&[("a", PoolState::Serving)][..], "1 pool: 1 serving"),
            (
                &[
                    ("a", PoolState::Failing),
                    ("b", PoolState::Serving),
                    ("c", PoolState::Failing),
                ],
                "3 pools: 1 serving, 2 failing (a, c)",
            ),
        ] {
            assert_eq!(summary(pools), expected);
        }
    }

    #[test]
    fn what_hosts_cannot_connect_to_is_not_taken() {
        let fit: OwnedFd = TcpListener::bind("127.0.0.1:0").unwrap().into();
        let nobody: [IpNet; 1] = ["127.0.0.0/8".parse().unwrap()];
        assert_eq!(unfit(&fit, &nobody), None);
        let datagram: OwnedFd = UdpSocket::bind("127.0.0.1:0").unwrap().into();
        assert!(unfit(&datagram, &nobody).unwrap().contains("ListenStream"));
        let flags = SockFlag::SOCK_CLOEXEC;
        let deaf = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
        assert!(unfit(&deaf, &nobody).unwrap().contains("does not listen"));
        let open: OwnedFd = TcpListener::bind("0.0.0.0:0").unwrap().into();
        assert!(unfit(&open, &nobody).unwrap().contains("allowed-clients"));
        let some = ["192.0.2.0/24".parse().unwrap()];
        assert_eq!(unfit(&open, &some), None);
    }
}
