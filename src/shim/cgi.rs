//! A request's parameters: CGI/1.1 (RFC 3875, section 4.1) as FastCGI applications know it from nginx and Apache.
//!
//! `SCRIPT_NAME` is empty: applications are mounted at the root. HTTPS is absent, for there is none. Headers become `HTTP_*`, but not
//! `Proxy` (a program would take it for a proxy of its own), nor those that are about this connection, nor names that fold into others
//! (`X_Real_IP` would pass for `X-Real-IP`).

use std::net::SocketAddr;

use hyper::{
    HeaderMap, Version,
    header::{CONNECTION, CONTENT_TYPE, COOKIE, HeaderName},
    http::request::Parts,
};
use stockade_protocol::name_value::encode_pair;

use super::routes::Asked;

/// Both ends of a client's connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    /// The client.
    pub(super) peer: SocketAddr,
    /// We.
    pub(super) local: SocketAddr,
}

/// Headers that are not passed on: of the connection, of the body's encoding, or with a parameter of their own.
const DROPPED: &[&str] = &[
    "connection",
    "content-length",
    "content-type",
    "expect",
    "keep-alive",
    "proxy",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Every parameter, encoded.
pub(super) fn parameters(parts: &Parts, asked: &Asked, length: Option<u64>, ends: Ends) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    let mut put = |name: &str, value: &[u8]| encode_pair(&mut out, name.as_bytes(), value);
    let uri = &parts.uri;
    let local = ends.local.ip().to_canonical().to_string();
    let host = if asked.host.is_empty() {
        &local
    } else {
        &asked.host
    };
    let protocol = match parts.version {
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    };
    let raw = uri.path_and_query().map_or("/", |raw| raw.as_str());
    put("GATEWAY_INTERFACE", b"CGI/1.1");
    put("SERVER_SOFTWARE", SOFTWARE.as_bytes());
    put("SERVER_PROTOCOL", protocol.as_bytes());
    put("SERVER_NAME", host.as_bytes());
    put("SERVER_ADDR", local.as_bytes());
    put("SERVER_PORT", ends.local.port().to_string().as_bytes());
    put(
        "REMOTE_ADDR",
        ends.peer.ip().to_canonical().to_string().as_bytes(),
    );
    put("REMOTE_PORT", ends.peer.port().to_string().as_bytes());
    put("REQUEST_SCHEME", b"http");
    put("REQUEST_METHOD", parts.method.as_str().as_bytes());
    put("REQUEST_URI", raw.as_bytes());
    put("SCRIPT_NAME", b"");
    put("PATH_INFO", &asked.path);
    put("QUERY_STRING", uri.query().unwrap_or_default().as_bytes());
    if let Some(length) = length {
        put("CONTENT_LENGTH", length.to_string().as_bytes());
    }
    if let Some(kind) = parts.headers.get(CONTENT_TYPE) {
        put("CONTENT_TYPE", kind.as_bytes());
    }
    for name in parts.headers.keys() {
        if passed_on(name, &parts.headers) {
            put(&parameter(name), &joined(name, &parts.headers));
        }
    }
    out
}

fn passed_on(name: &HeaderName, headers: &HeaderMap) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let named_by_connection = || {
        headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|option| option.trim().eq_ignore_ascii_case(name.as_str()))
    };
    name.as_str().bytes().all(plain) && !DROPPED.contains(&name.as_str()) && !named_by_connection()
}

/// "HTTP_USER_AGENT" of "user-agent".
fn parameter(name: &HeaderName) -> String {
    let folded = name.as_str().to_ascii_uppercase().replace('-', "_");
    format!("HTTP_{folded}")
}

/// Every value of the header in one: RFC 3875, section 4.1.18.
fn joined(name: &HeaderName, headers: &HeaderMap) -> Vec<u8> {
    let separator: &[u8] = if name == COOKIE { b"; " } else { b", " };
    let values: Vec<&[u8]> = headers
        .get_all(name)
        .iter()
        .map(hyper::header::HeaderValue::as_bytes)
        .collect();
    values.join(separator)
}

const SOFTWARE: &str = concat!("stockade/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hyper::{Request, http::request::Builder};
    use stockade_protocol::Pairs;

    use super::*;

    fn told(request: Builder, path: &str) -> BTreeMap<String, String> {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let asked = Asked {
            host: "example.org".to_owned(),
            path: path.as_bytes().to_vec(),
        };
        let ends = Ends {
            peer: "192.0.2.1:1234".parse().unwrap(),
            local: "192.0.2.2:8000".parse().unwrap(),
        };
        let encoded = parameters(&parts, &asked, Some(5), ends);
        Pairs::new(&encoded)
            .map(|pair| {
                let (name, value) = pair.unwrap();
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                (text(name), text(value))
            })
            .collect()
    }

    #[test]
    fn a_request_becomes_the_parameters_of_cgi() {
        let request = Request::post("/caf%C3%A9?a=b%20c")
            .header("Host", "Example.org:8000")
            .header("Content-Type", "text/plain")
            .header("Content-Length", "5")
            .header("X-Twice", "one")
            .header("X-Twice", "two")
            .header("Cookie", "a=1")
            .header("Cookie", "b=2");
        let told = told(request, "/café");
        for (name, value) in [
            ("REQUEST_METHOD", "POST"),
            ("SCRIPT_NAME", ""),
            ("PATH_INFO", "/café"),
            ("REQUEST_URI", "/caf%C3%A9?a=b%20c"),
            ("QUERY_STRING", "a=b%20c"),
            ("CONTENT_LENGTH", "5"),
            ("CONTENT_TYPE", "text/plain"),
            ("SERVER_NAME", "example.org"),
            ("SERVER_PORT", "8000"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("REMOTE_ADDR", "192.0.2.1"),
            ("REMOTE_PORT", "1234"),
            ("HTTP_HOST", "Example.org:8000"),
            ("HTTP_X_TWICE", "one, two"),
            ("HTTP_COOKIE", "a=1; b=2"),
        ] {
            assert_eq!(told.get(name).map(String::as_str), Some(value), "{name}");
        }
        for name in ["HTTPS", "HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE"] {
            assert!(!told.contains_key(name), "{name}");
        }
    }

    #[test]
    fn what_is_about_the_connection_or_misleads_is_dropped() {
        let request = Request::get("/")
            .header("Proxy", "http://evil.example")
            .header("Connection", "keep-alive, X-Hop")
            .header("X-Hop", "1")
            .header("Transfer-Encoding", "chunked")
            .header("Upgrade", "websocket")
            .header("X_Real_IP", "127.0.0.1")
            .header("X-Real-IP", "192.0.2.9");
        let told = told(request, "/");
        let headers: Vec<_> = told
            .iter()
            .filter(|(name, _)| name.starts_with("HTTP_"))
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(headers, [("HTTP_X_REAL_IP", "192.0.2.9")]);
    }
}
