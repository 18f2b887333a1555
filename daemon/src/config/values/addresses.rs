//! The form of addresses: where a pool, an upstream, the shim and the status listen.

use std::{net::SocketAddr, path::PathBuf};

use toml::{Spanned, de::DeValue};

use super::{super::resolved::Listen, Value, Wrong, is_off, must_be, string, wrong};

/// An address of the shim: TCP, any of this machine's; port 0 is one that is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct HttpListen(pub SocketAddr);

/// One of `upstream`: where a FastCGI program listens, on this machine or another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct UpstreamAddress(pub Listen);

/// An address for `status-listen`, port 0 is one that is free; none: "off".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct StatusListen(pub Option<SocketAddr>);

/// `unix:PATH` (the path may be relative still) or `HOST:PORT`.
impl Value for Listen {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        let wanted = "an address: \"unix:/run/stockade/NAME.sock\" or \"127.0.0.1:9001\"";
        let text = string(value, wanted)?;
        if text.contains('\0') {
            return Err(wrong(value, "contains a NUL character: remove it"));
        }
        if text == "unix:" {
            return Err(wrong(
                value,
                "is \"unix:\" without a path: write \"unix:/run/stockade/NAME.sock\"",
            ));
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            let plain = |c: char| c.is_ascii_graphic() && c != ':';
            if name.is_empty() || !name.chars().all(plain) {
                return Err(wrong(
                    value,
                    format!(
                        "is {text:?}, but what follows \"systemd:\" is the FileDescriptorName of a socket unit, like \"systemd:blog\""
                    ),
                ));
            }
            return Ok(Self::Systemd(name.to_owned()));
        }
        if text.contains('/') {
            return Err(wrong(
                value,
                format!("is {text:?}: write \"unix:{text}\" if that is the path of a socket"),
            ));
        }
        let address = tcp(text).ok_or_else(|| must_be(value, wanted))?;
        Ok(Self::Tcp(address))
    }
}

/// `unix:PATH` or `IP:PORT`.
impl Value for UpstreamAddress {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        let wanted = "an address: \"unix:/run/php/php-fpm.sock\" or \"192.0.2.7:9000\"";
        let text = string(value, wanted)?;
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty())
            && !text.contains('\0')
        {
            return Ok(Self(Listen::Unix(PathBuf::from(path))));
        }
        match tcp(text) {
            Some(address) => Ok(Self(Listen::Tcp(address))),
            None => Err(must_be(value, wanted)),
        }
    }
}

/// `HOST:PORT`.
impl Value for HttpListen {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        let wanted = "an IP address and a port, like \"127.0.0.1:8000\"";
        let text = string(value, wanted)?.replacen("localhost:", "127.0.0.1:", 1);
        text.parse().map(Self).map_err(|_| must_be(value, wanted))
    }
}

impl Value for StatusListen {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        if is_off(value) {
            return Ok(Self(None));
        }
        let wanted = "an IP address and a port, like \"127.0.0.1:9300\", or \"off\"";
        let text = string(value, wanted)?.replacen("localhost:", "127.0.0.1:", 1);
        let address = text.parse().map_err(|_| must_be(value, wanted))?;
        Ok(Self(Some(address)))
    }
}

/// The address, with a port that can be found again.
fn tcp(text: &str) -> Option<SocketAddr> {
    let text = text.replacen("localhost:", "127.0.0.1:", 1);
    let address: SocketAddr = text.parse().ok()?;
    (address.port() > 0).then_some(address)
}
