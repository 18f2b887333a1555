//! A pool as the shim sees it: an address, and connections to it that are kept between requests.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hyper::{Method, Response, StatusCode, Version, body::Incoming, http::request::Parts};
use stockade_daemon::config::resolved::Listen;

use super::{
    answers,
    cgi::{self, Ends},
    exchange::{self, Failed, Question},
    reply::Reply,
    routes::Asked,
    stream::Stream,
    upload::{Upload, UploadError},
};

/// Connections without a request that are kept.
const KEPT: usize = 64;

/// The pool.
#[derive(Debug)]
pub(super) struct Pool {
    name: String,
    address: Listen,
    kept: Mutex<Vec<Stream>>,
}

impl Pool {
    pub(super) const fn new(name: String, address: Listen) -> Self {
        Self {
            name,
            address,
            kept: Mutex::new(Vec::new()),
        }
    }

    /// A kept connection on which nothing has happened.
    pub(super) fn kept(&self) -> Option<Stream> {
        loop {
            let stream = self.idle().pop()?;
            if stream.is_quiet() {
                return Some(stream);
            }
        }
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> io::Result<Stream> {
        Stream::connect(&self.address).await
    }

    /// Keeps a connection whose request is over on both sides.
    pub(super) fn keep(&self, stream: Stream) {
        let mut idle = self.idle();
        if idle.len() < KEPT {
            idle.push(stream);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Stream>> {
        // nothing that holds it can panic in between
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the pool.
    pub(super) async fn answer(
        self: &Arc<Self>,
        parts: &Parts,
        body: Incoming,
        asked: &Asked,
        ends: Ends,
    ) -> Response<Reply> {
        let (upload, length) = match Upload::of(body).await {
            Ok(prepared) => prepared,
            Err(error) => return self.bad_upload(&error),
        };
        let question = Question {
            parameters: cgi::parameters(parts, asked, length, ends),
            upload,
            head_only: parts.method == Method::HEAD,
        };
        match exchange::ask(Arc::clone(self), question).await {
            Ok((head, body)) => {
                let until_closed = parts.version == Version::HTTP_10 && !head.has_length();
                head.with(if until_closed {
                    body.until_closed()
                } else {
                    body
                })
            }
            Err(failed) => self.failed(&failed),
        }
    }

    fn failed(&self, failed: &Failed) -> Response<Reply> {
        if let Failed::Client(_) = failed {
            tracing::debug!("shim: pool {}: {failed}", self.name);
        } else {
            tracing::warn!("shim: pool {}: {failed}", self.name);
        }
        match failed {
            Failed::Client(_) => answers::bad_request(),
            Failed::TooLong(_) => answers::page(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "The head of a request may have 64 KiB.",
            ),
            Failed::Unreachable(_) => answers::bad_gateway("pool-unreachable"),
            Failed::Broken(_) => answers::bad_gateway("protocol-error"),
        }
    }

    fn bad_upload(&self, error: &UploadError) -> Response<Reply> {
        match error {
            UploadError::TooLarge => answers::page(
                StatusCode::PAYLOAD_TOO_LARGE,
                "A body without Content-Length may have one GiB at most.",
            ),
            UploadError::Client(error) => {
                tracing::debug!("shim: pool {}: {error}", self.name);
                answers::bad_request()
            }
            UploadError::Spool(_) => {
                tracing::error!("shim: pool {}: {error}", self.name);
                answers::page(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "There is no room for the request's body.",
                )
            }
        }
    }
}
