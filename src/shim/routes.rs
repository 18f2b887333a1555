//! Which requests go where: the longest path wins; for the same path, the route with the request's host before the one for all.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use hyper::{
    Request, Response, Version,
    body::{Body, Incoming},
    header::{CONNECTION, HOST, HeaderValue},
    http::request::Parts,
};
use percent_encoding::percent_decode_str;
use stockade_daemon::config::resolved::{Destination, Route};

use super::{answers, cgi::Ends, files, pool::Pool, reply::Reply};

/// Every route, in the order in which they are looked at.
#[derive(Debug)]
pub(super) struct Routes(Vec<(Key, Way)>);

#[derive(Debug)]
struct Key {
    host: Option<String>,
    path: Vec<u8>,
}

#[derive(Debug)]
enum Way {
    Files(PathBuf),
    Pool(Arc<Pool>),
}

/// A request as routes see it.
#[derive(Debug)]
pub(super) struct Asked {
    /// The host without its port, in lower case; empty when the client named none.
    pub(super) host: String,
    /// The path, decoded.
    pub(super) path: Vec<u8>,
}

impl Routes {
    /// Puts them in order. Routes to the same pool share its connections.
    pub(super) fn new(routes: Vec<Route>) -> Self {
        let mut pools = BTreeMap::new();
        let mut all: Vec<(Key, Way)> = routes
            .into_iter()
            .map(
                |Route {
                     host,
                     path,
                     destination,
                 }| {
                    let way = match destination {
                        Destination::Files(folder) => Way::Files(folder),
                        Destination::Pool { name, address } => {
                            let pool = pools
                                .entry(name.clone())
                                .or_insert_with(|| Arc::new(Pool::new(name, address)));
                            Way::Pool(Arc::clone(pool))
                        }
                    };
                    let path = path.into_bytes();
                    (Key { host, path }, way)
                },
            )
            .collect();
        all.sort_by_key(|(key, _)| std::cmp::Reverse((key.path.len(), key.host.is_some())));
        Self(all)
    }

    /// Answers a request.
    pub(super) async fn answer(&self, request: Request<Incoming>, ends: Ends) -> Response<Reply> {
        let (parts, body) = request.into_parts();
        let asked = Asked::of(&parts);
        let found = asked.as_ref().and_then(|asked| self.find(asked));
        if let (Some(asked), Some((_, Way::Pool(pool)))) = (&asked, found) {
            return pool.answer(&parts, body, asked, ends).await;
        }
        let mut response = match (&asked, found) {
            (Some(asked), Some((key, Way::Files(folder)))) => {
                files::answer(folder, &asked.path[key.path.len()..], &parts).await
            }
            (Some(_), _) => answers::not_found(),
            (None, _) => answers::bad_request(),
        };
        if !body.is_end_stream() {
            // a body that nobody reads leaves no room for another request behind it
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        response
    }

    fn find(&self, asked: &Asked) -> Option<(&Key, &Way)> {
        let found = self.0.iter().find(|(key, _)| key.takes(asked));
        found.map(|(key, way)| (key, way))
    }
}

impl Key {
    fn takes(&self, asked: &Asked) -> bool {
        let host = self.host.as_ref().is_none_or(|host| *host == asked.host);
        // "/static" is not the beginning of "/statics"
        let whole = |rest: &[u8]| self.path.ends_with(b"/") || matches!(rest, [] | [b'/', ..]);
        host && asked.path.strip_prefix(&self.path[..]).is_some_and(whole)
    }
}

impl Asked {
    /// None: the request is malformed.
    fn of(parts: &Parts) -> Option<Self> {
        let mut hosts = parts.headers.get_all(HOST).iter();
        let header = hosts.next();
        if hosts.next().is_some() || (header.is_none() && parts.version == Version::HTTP_11) {
            return None;
        }
        let header = header.map(|host| host.to_str()).transpose().ok()?;
        let host = parts.uri.host().or(header).unwrap_or_default();
        let path = parts.uri.path();
        if !path.starts_with('/') && path != "*" {
            return None;
        }
        let path: Vec<u8> = percent_decode_str(path).collect();
        if path.contains(&0) {
            return None;
        }
        Some(Self {
            host: without_port(host).to_lowercase(),
            path,
        })
    }
}

/// The host without its port, as in `example.org:80` and `[::1]:80`.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(all: &[(Option<&str>, &str)]) -> Routes {
        let route = |(number, (host, path)): (usize, &(Option<&str>, &str))| Route {
            host: host.map(str::to_owned),
            path: (*path).to_owned(),
            destination: Destination::Files(PathBuf::from(number.to_string())),
        };
        Routes::new(all.iter().enumerate().map(route).collect())
    }

    fn found(routes: &Routes, host: &str, path: &str) -> Option<String> {
        let asked = Asked {
            host: host.to_owned(),
            path: path.as_bytes().to_vec(),
        };
        match routes.find(&asked)?.1 {
            Way::Files(folder) => Some(folder.display().to_string()),
            Way::Pool(_) => None,
        }
    }

    #[test]
    fn the_longest_path_wins_and_a_host_before_all_hosts() {
        let routes = routes(&[
            (None, "/"),
            (None, "/static/"),
            (Some("example.org"), "/"),
            (None, "/api"),
        ]);
        for (host, path, way) in [
            ("", "/", "0"),
            ("example.org", "/", "2"),
            ("example.org", "/static/x", "1"),
            ("", "/static", "0"),
            ("", "/api", "3"),
            ("", "/api/x", "3"),
            ("", "/apis", "0"),
        ] {
            assert_eq!(found(&routes, host, path).as_deref(), Some(way), "{path}");
        }
    }

    #[test]
    fn what_no_route_takes_is_nowhere() {
        let routes = routes(&[(Some("example.org"), "/blog/")]);
        assert_eq!(found(&routes, "example.org", "/"), None);
        assert_eq!(found(&routes, "example.com", "/blog/"), None);
    }

    #[test]
    fn a_port_is_not_a_part_of_the_host() {
        for (host, name) in [
            ("example.org", "example.org"),
            ("example.org:8000", "example.org"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(without_port(host), name);
        }
    }
}
