//! `status-listen`: /metrics, /livez, /readyz and /v1/status over HTTP, read only (manual, section 8 and "Watching").
//!
//! It runs beside the control socket, on the thread that has no pool. How many connections there are and how long each may be silent
//! is bounded, for the address may be open to more than the operator.

use std::{
    convert::Infallible, future::pending, os::fd::OwnedFd, pin::pin, rc::Rc, sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use stockade_policy::PoolState;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task,
    time::{sleep, timeout},
};

use super::{
    listener::Accepting,
    metrics,
    status::{Observer, Overview},
};

/// Connections at a time.
const MOST: usize = 64;
/// How long a request's head may take to come, and a connection to be used again.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a connection may last.
const LIFE: Duration = Duration::from_secs(300);
/// How long accepting rests when there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers on a listening socket until another relay does.
pub(super) async fn serve(
    listener: OwnedFd,
    observer: Observer,
    mut accepting: watch::Receiver<Accepting>,
) {
    let listener = match TcpListener::from_std(listener.into()) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!("relay: could not register the socket of status-listen: {error}");
            return;
        }
    };
    let (places, observer) = (Arc::new(Semaphore::new(MOST)), Rc::new(observer));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            biased;
            () = replaced(&mut accepting) => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!("relay: could not accept a connection to status-listen: {error}");
                sleep(PAUSE).await;
                continue;
            }
        };
        let (observer, mut accepting) = (Rc::clone(&observer), accepting.clone());
        task::spawn_local(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let observer = Rc::clone(&observer);
                async move { Ok::<_, Infallible>(answer(&request, &observer).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(stream), service);
            let mut connection = pin!(connection);
            let all = async {
                tokio::select! {
                    ended = connection.as_mut() => return ended,
                    () = replaced(&mut accepting) => connection.as_mut().graceful_shutdown(),
                }
                connection.await
            };
            // a client that breaks off concerns nobody
            drop(timeout(LIFE, all).await);
            drop(place);
        });
    }
}

/// Waits until another relay answers.
async fn replaced(accepting: &mut watch::Receiver<Accepting>) {
    let over = |accepting: &Accepting| *accepting == Accepting::HandedOver;
    if accepting.wait_for(over).await.is_err() {
        // the relay ends
        pending::<()>().await;
    }
}

async fn answer(request: &Request<Incoming>, observer: &Observer) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        refused
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match request.uri().path() {
        "/livez" => text(StatusCode::OK, "alive\n"),
        "/readyz" => ready(&observer.look().await),
        "/metrics" => match metrics::text(&observer.look().await) {
            Ok(bytes) => respond(StatusCode::OK, metrics::CONTENT_TYPE, bytes),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        },
        "/v1/status" => match serde_json::to_vec_pretty(&observer.look().await.status) {
            Ok(bytes) => respond(StatusCode::OK, "application/json", bytes),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        },
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /metrics, /livez, /readyz and /v1/status\n",
        ),
    }
}

/// Ready: every pool serves.
fn ready(overview: &Overview) -> Response<Full<Bytes>> {
    let others: Vec<String> = overview
        .status
        .pools
        .iter()
        .filter(|pool| pool.state != PoolState::Serving)
        .map(|pool| format!("pool {}: {}\n", pool.name, pool.state))
        .collect();
    if others.is_empty() {
        text(StatusCode::OK, "ready\n")
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, others.concat())
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", body)
}

fn respond(
    status: StatusCode,
    kind: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
