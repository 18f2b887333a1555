//! What the relay answers by itself: CGI responses (never a bare protocol status, which several hosts turn into an empty 200),
//! with the cause and the request's name (manual, section 4).

use std::io::Write;

use super::page::Failure;

/// One of our answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer<'a> {
    /// The status code.
    pub(super) status: u16,
    /// `Stockade-Cause`.
    pub(super) cause: &'a str,
    /// `Retry-After`, in seconds.
    pub(super) retry_after: Option<u32>,
}

/// Parameters that are no name-value pairs, or with bytes that no parameter may have.
pub(super) const MALFORMED: Answer<'_> = Answer {
    status: 400,
    cause: "malformed-parameters",
    retry_after: None,
};
/// `header-limit`.
pub(super) const PARAMS_TOO_LONG: Answer<'_> = Answer {
    status: 431,
    cause: "header-limit",
    retry_after: None,
};
/// `request-body-limit`.
pub(super) const BODY_TOO_LONG: Answer<'_> = Answer {
    status: 413,
    cause: "request-body-limit",
    retry_after: None,
};
/// `spool-limit`.
pub(super) const SPOOL_LIMIT: Answer<'_> = Answer {
    status: 503,
    cause: "spool-limit",
    retry_after: Some(1),
};
/// A body could not be written to a file.
pub(super) const SPOOL_FAILED: Answer<'_> = Answer {
    status: 503,
    cause: "spool-failed",
    retry_after: Some(1),
};
/// A body could not be read back.
pub(super) const BODY_LOST: Answer<'_> = Answer {
    status: 502,
    cause: "spool-failed",
    retry_after: None,
};
/// The host ended the body before CONTENT_LENGTH.
pub(super) const BODY_CUT_SHORT: Answer<'_> = Answer {
    status: 400,
    cause: "body-cut-short",
    retry_after: None,
};
/// `socket-timeout`: the host has sent no more of what it has begun.
pub(super) const SOCKET_TIMEOUT: Answer<'_> = Answer {
    status: 408,
    cause: "socket-timeout",
    retry_after: None,
};
/// The worker ended before the response head.
pub(super) const WORKER_DIED: Answer<'_> = Answer {
    status: 502,
    cause: "worker-died",
    retry_after: None,
};
/// The relay has no descriptor left for a connection to the worker.
pub(super) const NO_CONNECTION: Answer<'_> = Answer {
    status: 503,
    cause: "no-connection",
    retry_after: Some(1),
};
/// Another request of the same connection needs its bytes, and this one, which waits, has as many as it may hold.
pub(super) const QUEUE_LIMIT: Answer<'_> = Answer {
    status: 503,
    cause: "queue-limit",
    retry_after: Some(1),
};
/// `request-timeout`.
pub(super) const REQUEST_TIMEOUT: Answer<'_> = Answer {
    status: 504,
    cause: "request-timeout",
    retry_after: None,
};
/// `response-timeout`; its head has gone out.
pub(super) const RESPONSE_TIMEOUT: Answer<'_> = Answer {
    status: 504,
    cause: "response-timeout",
    retry_after: None,
};
/// `total-timeout`.
pub(super) const TOTAL_TIMEOUT: Answer<'_> = Answer {
    status: 504,
    cause: "total-timeout",
    retry_after: None,
};
/// `graceful-timeout` or `eviction-timeout` ended the worker.
pub(super) const GRACEFUL_TIMEOUT: Answer<'_> = Answer {
    status: 504,
    cause: "graceful-timeout",
    retry_after: None,
};

/// A relay that was replaced waits no longer for what has not begun.
pub(super) const RELAY_REPLACED: Answer<'_> = Answer {
    status: 503,
    cause: "relay-replaced",
    retry_after: Some(1),
};

impl Answer<'_> {
    /// The response: head and body, which tells of a failure to who may know.
    pub(super) fn write(&self, request: &str, html: bool, failure: Option<&Failure>) -> Vec<u8> {
        let reason = reason(self.status);
        let mut out = Vec::with_capacity(512);
        let kind = if html { "text/html" } else { "text/plain" };
        let body = if let Some(failure) = failure {
            failure.body(self, request, html)
        } else if html {
            format!(
                "<!DOCTYPE html>\n<title>{0} {reason}</title>\n<h1>{reason}</h1>\n<p>{1}</p>\n<p><small>{2}, request {request}</small></p>\n",
                self.status,
                advice(self.status),
                self.cause
            )
        } else {
            format!(
                "{} {reason}: {}\n{}, request {request}\n",
                self.status,
                advice(self.status),
                self.cause
            )
        };
        let mut put = |line: std::fmt::Arguments<'_>| {
            out.write_fmt(line).expect("writing to a Vec does not fail");
            out.extend_from_slice(b"\r\n");
        };
        put(format_args!("Status: {} {reason}", self.status));
        put(format_args!("Content-Type: {kind}; charset=utf-8"));
        put(format_args!("Content-Length: {}", body.len()));
        put(format_args!("Cache-Control: no-store"));
        if let Some(seconds) = self.retry_after {
            put(format_args!("Retry-After: {seconds}"));
        }
        put(format_args!("Stockade-Cause: {}", self.cause));
        put(format_args!(""));
        out.extend_from_slice(body.as_bytes());
        out
    }
}

/// Whether a client that sent this `Accept` wants HTML.
pub(super) fn wants_html(accept: Option<&[u8]>) -> bool {
    accept.is_some_and(|accept| memchr::memmem::find(accept, b"text/html").is_some())
}

fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        408 => "Request Timeout",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Error",
    }
}

fn advice(status: u16) -> &'static str {
    match status {
        400 => "The request was malformed.",
        408 => "The request did not come to its end.",
        413 => "The request is too large.",
        431 => "The request's header is too large.",
        502 => "The application failed before it answered.",
        503 => {
            "The application takes no more requests just now. Nothing was executed: please try again."
        }
        504 => "The application did not answer in time.",
        _ => "The request could not be answered.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_whole_cgi_response() {
        let answer = Answer {
            status: 503,
            cause: "queue-limit",
            retry_after: Some(2),
        };
        let text = String::from_utf8(answer.write("42", false, None)).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("Status: 503 Service Unavailable\r\n"));
        assert!(head.ends_with("\r\nRetry-After: 2\r\nStockade-Cause: queue-limit"));
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
        assert!(body.contains("queue-limit, request 42"));
    }

    #[test]
    fn browsers_get_html() {
        assert!(wants_html(Some(b"text/html,application/xml;q=0.9")));
        assert!(!wants_html(Some(b"application/json")));
        assert!(!wants_html(None));
    }
}
