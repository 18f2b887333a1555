//! A client's connection: what it waits for, for how long, and how it ends.
//!
//! ```text
//!   New ──bytes──▶ Head ──request──▶ Busy ──response──▶ Idle ──bytes──▶ Head
//! ```
//! New and Head last `header-timeout`, Idle lasts `keep-alive-timeout`; Busy is not timed here.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use stockade_policy::Limit;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::watch,
    time::{Sleep, sleep},
};

use super::{cgi::Ends, serve::Site};

/// The largest head of a request, in bytes.
const HEADER_LIMIT: usize = 64 * 1024;

/// How long a connection may wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// For the head of a request.
    pub(super) header_timeout: Limit,
    /// For the next request.
    pub(super) keep_alive_timeout: Limit,
}

/// What the connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing has come.
    New,
    /// A head is coming.
    Head,
    /// A request is answered.
    Busy,
    /// The last response has been given away.
    Idle,
}

/// The connection's phase, known to all that have to do with it.
#[derive(Debug)]
pub(super) struct Watch(Mutex<State>);

#[derive(Clone, Copy, Debug)]
struct State {
    phase: Phase,
    /// The phase has changed and its time has not begun to count.
    fresh: bool,
    /// The response was cut, and only a reset can show it.
    cut: bool,
}

impl Watch {
    fn new() -> Self {
        Self(Mutex::new(State {
            phase: Phase::New,
            fresh: true,
            cut: false,
        }))
    }

    /// The response is given away, or dropped.
    pub(super) fn answered(&self) {
        self.enter(Phase::Idle);
    }

    /// The connection is to end in a reset.
    pub(super) fn cut(&self) {
        self.change(|state| state.cut = true);
    }

    fn enter(&self, phase: Phase) {
        self.change(|state| {
            state.phase = phase;
            state.fresh = true;
        });
    }

    fn received(&self) {
        self.change(|state| {
            if matches!(state.phase, Phase::New | Phase::Idle) {
                state.phase = Phase::Head;
                state.fresh = true;
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        // nothing that holds it can panic in between
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn state(&self) -> State {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The phase whose time begins now, if one has begun.
    fn begun(&self) -> Option<Phase> {
        let mut begun = None;
        self.change(|state| begun = std::mem::take(&mut state.fresh).then_some(state.phase));
        begun
    }
}

/// Serves the connection to its end.
pub(super) async fn run(
    stream: TcpStream,
    peer: SocketAddr,
    site: Arc<Site>,
    mut stopping: watch::Receiver<bool>,
) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    // small responses are not to wait for each other; a socket that cannot is as good
    drop(stream.set_nodelay(true));
    let watch = Arc::new(Watch::new());
    let (limits, ends) = (site.limits, Ends { peer, local });
    let client = TokioIo::new(Client {
        stream,
        watch: Arc::clone(&watch),
    });
    let service = service_fn(|request: Request<Incoming>| {
        watch.enter(Phase::Busy);
        let (site, watch) = (Arc::clone(&site), Arc::clone(&watch));
        async move {
            let mut response = site.routes.answer(request, ends).await;
            response.body_mut().watched(watch);
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .max_header_size(HEADER_LIMIT)
            .max_buf_size(2 * HEADER_LIMIT)
            .serve_connection(client, service)
    );
    let mut stop = pin!(stopping.wait_for(|stopping| *stopping));
    let mut stopped = false;
    let mut timer = Timer::default();
    let served = poll_fn(|context| {
        if !stopped && stop.as_mut().poll(context).is_ready() {
            stopped = true;
            if watch.state().phase == Phase::New {
                return Poll::Ready(Ok(()));
            }
            connection.as_mut().graceful_shutdown();
        }
        if let Poll::Ready(served) = connection.as_mut().poll(context) {
            return Poll::Ready(served);
        }
        if let Some(phase) = watch.begun() {
            timer.set(limits.of(phase));
        }
        if timer.poll(context).is_pending() {
            return Poll::Pending;
        }
        if watch.state().phase == Phase::Idle {
            // what is still to be sent is sent
            connection.as_mut().graceful_shutdown();
            return connection.as_mut().poll(context);
        }
        Poll::Ready(Ok(()))
    })
    .await;
    if let Err(error) = served {
        tracing::debug!("shim: connection of {peer}: {error}");
    }
}

impl Limits {
    fn of(self, phase: Phase) -> Option<Duration> {
        match phase {
            Phase::New | Phase::Head => self.header_timeout.0,
            Phase::Busy => None,
            Phase::Idle => self.keep_alive_timeout.0,
        }
    }
}

/// The phase's deadline.
#[derive(Debug, Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    fn set(&mut self, after: Option<Duration>) {
        self.0 = after.map(|after| Box::pin(sleep(after)));
    }

    /// Ready once.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(sleep) = &mut self.0 else {
            return Poll::Pending;
        };
        let come = sleep.as_mut().poll(context);
        if come.is_ready() {
            self.0 = None;
        }
        come
    }
}

/// The client's socket.
#[derive(Debug)]
struct Client {
    stream: TcpStream,
    watch: Arc<Watch>,
}

impl AsyncRead for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.watch.received();
        }
        read
    }
}

impl AsyncWrite for Client {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if self.watch.state().cut {
            // without it the end would look like the end of the response; closing has no way to fail
            drop(self.stream.set_zero_linger());
        }
    }
}
