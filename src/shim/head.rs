//! From the head of a CGI response to that of an HTTP response.

use hyper::{
    HeaderMap, Response, StatusCode,
    header::{HeaderName, HeaderValue},
};
use stockade_protocol::head::{fields, parse};

/// Headers about the connection, which is ours to speak of, and the status, which has a place of its own.
const DROPPED: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "status",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A status and headers.
#[derive(Debug)]
pub(super) struct Head {
    status: StatusCode,
    headers: HeaderMap,
}

impl Head {
    /// What the bytes say, complete with their blank line; else what is wrong with them.
    pub(super) fn of(bytes: &[u8]) -> Result<Self, String> {
        let head = parse(bytes).map_err(|error| error.to_string())?;
        let status = StatusCode::from_u16(head.status)
            .ok()
            .filter(|status| !status.is_informational())
            .ok_or_else(|| format!("the response has the status {}", head.status))?;
        let mut headers = HeaderMap::new();
        let mut length = None;
        for (name, value) in fields(bytes) {
            let name = HeaderName::from_bytes(name).map_err(|error| error.to_string())?;
            let value = HeaderValue::from_bytes(value).map_err(|error| error.to_string())?;
            if name == hyper::header::CONTENT_LENGTH {
                // the same one may be there twice
                length = Some(value);
            } else if !DROPPED.contains(&name.as_str()) {
                headers.append(name, value);
            }
        }
        headers.extend(length.map(|length| (hyper::header::CONTENT_LENGTH, length)));
        Ok(Self { status, headers })
    }

    /// Whether a response with this status has no body whatever it is a response to.
    pub(super) fn is_all(&self) -> bool {
        matches!(
            self.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        )
    }

    /// Whether it says how long the body is.
    pub(super) fn has_length(&self) -> bool {
        self.headers.contains_key(hyper::header::CONTENT_LENGTH)
    }

    /// With a body.
    pub(super) fn with<B>(self, body: B) -> Response<B> {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_keeps_its_fields_but_not_those_of_the_connection() {
        let head = Head::of(
            b"Status: 201 Created\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nConnection: close\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
        )
        .unwrap();
        let response = head.with(());
        assert_eq!(response.status(), StatusCode::CREATED);
        let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
        let lengths = response.headers().get_all("content-length").iter().count();
        assert_eq!((lengths, response.headers().len()), (1, 3));
    }

    #[test]
    fn a_bad_head_says_why() {
        assert!(Head::of(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(
            Head::of(b"Status: 101\r\n\r\n")
                .unwrap_err()
                .contains("101")
        );
    }
}
