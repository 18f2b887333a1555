//! `allowed-clients`: who may connect over TCP, and that a pool which other machines can reach says so.

use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};
use toml::{Spanned, de::DeValue};

use super::{
    errors::Problem,
    file::PoolKeys,
    resolved::Listen,
    values::{Value, Wrong, must_be, string, wrong},
};

/// One of `allowed-clients`; of addresses that are IPv4's in IPv6 it is IPv4's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network(pub IpNet);

impl Value for Network {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        let wanted = "a network, like \"192.0.2.0/24\" or \"2001:db8::/32\", or an address";
        let text = string(value, wanted)?;
        let network = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => text.parse::<IpNet>().map_err(|_| must_be(value, wanted))?,
        };
        if network.addr() != network.network() {
            let meant = network.trunc();
            return Err(wrong(
                value,
                format!("is {text:?}, with bits behind the prefix: write \"{meant}\""),
            ));
        }
        Ok(Self(canonical(network)))
    }
}

fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else {
        return network;
    };
    let mapped = v6.addr().to_ipv4_mapped();
    let prefix = v6.prefix_len().checked_sub(MAPPED_PREFIX);
    match (mapped, prefix) {
        (Some(address), Some(prefix)) => Ipv4Net::new(address, prefix).map_or(network, IpNet::V4),
        _ => network,
    }
}

/// `allowed-clients` of a pool that listens on `addresses`; of none, because it is a service or they are wrong, there is nothing to say.
pub(super) fn allowed_clients(
    keys: &PoolKeys,
    addresses: &[Listen],
) -> Result<Vec<IpNet>, Problem> {
    if addresses.is_empty() {
        return Ok(loopback());
    }
    let Some(given) = &keys.allowed_clients else {
        refuse_open_addresses(keys)?;
        return Ok(loopback());
    };
    if given.value.is_empty() {
        return Err(given.spot.wrong(
            "is empty, so that nobody could connect: name networks, like [\"192.0.2.0/24\"], or remove it",
        ));
    }
    // a socket of systemd's may be one
    let tcp = |address: &Listen| !matches!(address, Listen::Unix(_));
    if given.spot.own() && !addresses.iter().any(tcp) {
        return Err(given.spot.wrong(
            "has no meaning without a TCP address: remove it (who may connect to a unix socket is said by `socket-mode`)",
        ));
    }
    Ok(given
        .value
        .iter()
        .map(|network| network.get_ref().0)
        .collect())
}

/// What other machines can reach says which of them may.
fn refuse_open_addresses(keys: &PoolKeys) -> Result<(), Problem> {
    let Some(given) = &keys.listen else {
        return Ok(());
    };
    for address in &given.value {
        if let Listen::Tcp(tcp) = address.get_ref()
            && !tcp.ip().to_canonical().is_loopback()
        {
            return Err(given.spot.wrong_at(address.span(), open(tcp)));
        }
    }
    Ok(())
}

fn open(address: &SocketAddr) -> String {
    format!(
        "has {address}, which other machines can reach: say which of them may connect, like allowed-clients = [\"192.0.2.0/24\"], or use 127.0.0.1 or [::1]"
    )
}

/// This machine alone.
fn loopback() -> Vec<IpNet> {
    [
        IpNet::V4(Ipv4Net::new_assert([127, 0, 0, 0].into(), 8)),
        IpNet::from(IpAddr::from(std::net::Ipv6Addr::LOCALHOST)),
    ]
    .to_vec()
}

/// The bits before an IPv4 address in IPv6.
const MAPPED_PREFIX: u8 = 96;
