//! What the shim answers by itself: a status and a plain sentence.

use hyper::{
    Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
};

use super::reply::Reply;

/// A page of text.
pub(super) fn page(status: StatusCode, sentence: &str) -> Response<Reply> {
    let reason = status.canonical_reason().unwrap_or("Error");
    let text = format!("{} {reason}: {sentence}\n", status.as_u16());
    let mut response = Response::new(Reply::bytes(text.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The request is malformed.
pub(super) fn bad_request() -> Response<Reply> {
    page(StatusCode::BAD_REQUEST, "The request was malformed.")
}

/// There is nothing.
pub(super) fn not_found() -> Response<Reply> {
    page(StatusCode::NOT_FOUND, "There is nothing at this address.")
}

/// A pool could not be asked; `cause` says in a word why.
pub(super) fn bad_gateway(cause: &'static str) -> Response<Reply> {
    let mut response = page(
        StatusCode::BAD_GATEWAY,
        "The application could not be asked, or did not answer.",
    );
    response
        .headers_mut()
        .insert("stockade-cause", HeaderValue::from_static(cause));
    response
}
