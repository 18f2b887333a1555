//! A request's path as hosts send it: where SCRIPT_NAME ends and PATH_INFO begins (RFC 3875, sections 4.1.13 and 4.1.5), and
//! SCRIPT_FILENAME without what Apache puts before it.
//!
//! Hosts do not agree. Debian's `fastcgi_params` for nginx and Apache's `ProxyPass` send the whole path as SCRIPT_NAME and no PATH_INFO;
//! Apache's `SetHandler` cuts where a file happens to lie; lighttpd cuts where it was told to. What all of them agree on is that the
//! two, one after the other, are the whole path, decoded. Whoever knows where the application is mounted cuts it again.

use std::borrow::Cow;

/// What a host sent of a request's path. A parameter that was not sent is None.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent<'a> {
    /// SCRIPT_NAME.
    pub script_name: Option<&'a [u8]>,
    /// PATH_INFO.
    pub path_info: Option<&'a [u8]>,
    /// DOCUMENT_URI: the whole path, decoded (nginx).
    pub document_uri: Option<&'a [u8]>,
    /// REQUEST_URI: what the client sent, not decoded.
    pub request_uri: Option<&'a [u8]>,
}

impl<'a> Sent<'a> {
    /// The PATH_INFO of an application that is mounted at `mount`, a path without a slash at its end ("" is the root); SCRIPT_NAME is
    /// `mount` itself. None: the request is for another place.
    ///
    /// ```
    /// use stockade_protocol::path::Sent;
    ///
    /// let sent = Sent { script_name: Some(b"/shop/cart"), ..Sent::default() };
    /// assert_eq!(sent.path_info_below(b"/shop").as_deref(), Some(&b"/cart"[..]));
    /// assert_eq!(sent.path_info_below(b"/shops"), None);
    /// ```
    pub fn path_info_below(&self, mount: &[u8]) -> Option<Cow<'a, [u8]>> {
        match self.path() {
            Whole::One(path) => below(path, mount).map(Cow::Borrowed),
            // cut where it is to be cut: nothing is put together
            Whole::Two(script_name, path_info)
                if script_name == mount && path_info.starts_with(b"/") =>
            {
                Some(Cow::Borrowed(path_info))
            }
            Whole::Two(script_name, path_info) => {
                let path = [script_name, path_info].concat();
                below(&path, mount).map(|rest| Cow::Owned(rest.to_vec()))
            }
            Whole::Decoded(path) => below(&path, mount).map(|rest| Cow::Owned(rest.to_vec())),
        }
    }

    fn path(&self) -> Whole<'a> {
        let script_name = self.script_name.unwrap_or_default();
        let path_info = self.path_info.unwrap_or_default();
        let document_uri = self.document_uri.unwrap_or_default();
        match (script_name, path_info) {
            ([], []) if !document_uri.is_empty() => Whole::One(document_uri),
            ([], []) => path_of(self.request_uri.unwrap_or_default()),
            ([], path) | (path, []) => Whole::One(path),
            // a host that was told to send the whole path as PATH_INFO, and something as SCRIPT_NAME all the same
            (_, path) if path == document_uri => Whole::One(path),
            ([before @ .., b'/'], [b'/', ..]) => Whole::Two(before, path_info),
            (script_name, path_info) => Whole::Two(script_name, path_info),
        }
    }
}

/// SCRIPT_FILENAME without what Apache's mod_proxy_fcgi makes of it: `proxy:fcgi://HOST:PORT` or `proxy:balancer://NAME` before the
/// file, a query behind it. One that does not begin so is left as it is.
///
/// ```
/// use stockade_protocol::path::script_filename;
///
/// assert_eq!(script_filename(b"proxy:fcgi://localhost:9000/srv/a.php?b=c"), b"/srv/a.php");
/// ```
pub fn script_filename(sent: &[u8]) -> &[u8] {
    let Some(rest) = sent
        .strip_prefix(b"proxy:fcgi://")
        .or_else(|| sent.strip_prefix(b"proxy:balancer://"))
    else {
        return sent;
    };
    let file = before(rest, b"?");
    file.iter()
        .position(|byte| *byte == b'/')
        .and_then(|slash| file.get(slash..))
        .unwrap_or_default()
}

/// A whole path, in as many pieces as it came.
enum Whole<'a> {
    One(&'a [u8]),
    Two(&'a [u8], &'a [u8]),
    Decoded(Vec<u8>),
}

/// What follows `mount`, which ends where a part of `path` does.
fn below<'a>(path: &'a [u8], mount: &[u8]) -> Option<&'a [u8]> {
    path.strip_prefix(mount)
        .filter(|rest| mount.is_empty() || matches!(rest, [] | [b'/', ..]))
}

/// The decoded path of a REQUEST_URI, which may be a whole address; that of none is the root.
fn path_of(uri: &[u8]) -> Whole<'_> {
    let path = without_authority(before(uri, b"?#"));
    if path.is_empty() {
        Whole::One(b"/")
    } else if path.contains(&b'%') {
        Whole::Decoded(decoded(path))
    } else {
        Whole::One(path)
    }
}

/// `http://host/path` is asked of a proxy, and may be asked of anybody.
fn without_authority(uri: &[u8]) -> &[u8] {
    if uri.starts_with(b"/") {
        return uri;
    }
    let Some(scheme) = memchr::memmem::find(uri, b"://") else {
        return uri;
    };
    uri.iter()
        .skip(scheme)
        .enumerate()
        .skip(b"://".len())
        .find(|(_, byte)| **byte == b'/')
        .and_then(|(slash, _)| uri.get(scheme.saturating_add(slash)..))
        .unwrap_or_default()
}

/// What stands before the first of `ends`.
fn before<'a>(bytes: &'a [u8], ends: &[u8]) -> &'a [u8] {
    bytes
        .split(|byte| ends.contains(byte))
        .next()
        .unwrap_or_default()
}

/// What is no escape stays as it is.
fn decoded(mut path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    while let Some((first, after)) = path.split_first() {
        let (byte, rest) = escape(path).unwrap_or((*first, after));
        decoded.push(byte);
        path = rest;
    }
    decoded
}

fn escape(path: &[u8]) -> Option<(u8, &[u8])> {
    let [b'%', high, low, rest @ ..] = path else {
        return None;
    };
    let digits = [*high, *low];
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let byte = u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?;
    Some((byte, rest))
}

#[cfg(test)]
mod tests;
