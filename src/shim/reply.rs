//! The body of a response: bytes that are there, or pieces that come. One that ends without its end was cut.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use super::connection::Watch;

/// Pieces that may wait for the client.
const WAITING: usize = 2;

/// A piece of a body.
#[derive(Debug)]
pub(super) enum Piece {
    /// Some bytes.
    Bytes(Bytes),
    /// The end. A body without one was cut.
    End,
}

/// A body.
#[derive(Debug)]
pub(super) struct Reply {
    content: Content,
    watch: Option<Arc<Watch>>,
    /// A client cannot tell the end of the body from the end of the connection.
    until_closed: bool,
}

#[derive(Debug)]
enum Content {
    Bytes(Bytes),
    Pieces(mpsc::Receiver<Piece>),
    Nothing,
}

/// Where the pieces of a body go, and the body.
pub(super) fn pieces() -> (mpsc::Sender<Piece>, Reply) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (sender, Reply::of(Content::Pieces(receiver)))
}

impl Reply {
    /// No body.
    pub(super) const fn nothing() -> Self {
        Self::of(Content::Nothing)
    }

    /// These bytes.
    pub(super) const fn bytes(bytes: Bytes) -> Self {
        Self::of(Content::Bytes(bytes))
    }

    const fn of(content: Content) -> Self {
        Self {
            content,
            watch: None,
            until_closed: false,
        }
    }

    /// Tells `watch` when it has been given away.
    pub(super) fn watched(&mut self, watch: Arc<Watch>) {
        self.watch = Some(watch);
    }

    /// The client takes the end of the connection for its end.
    pub(super) const fn until_closed(mut self) -> Self {
        self.until_closed = true;
        self
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.content {
            Content::Nothing => Poll::Ready(None),
            Content::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                self.content = Content::Nothing;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Content::Pieces(receiver) => match receiver.poll_recv(context) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Some(Piece::Bytes(bytes))) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Poll::Ready(Some(Piece::End)) => {
                    self.content = Content::Nothing;
                    Poll::Ready(None)
                }
                Poll::Ready(None) => {
                    if let Some(watch) = self.watch.as_ref().filter(|_| self.until_closed) {
                        watch.cut();
                    }
                    Poll::Ready(Some(Err(io::Error::other("the response was cut"))))
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Nothing => true,
            Content::Bytes(bytes) => bytes.is_empty(),
            Content::Pieces(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Nothing => SizeHint::with_exact(0),
            Content::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Pieces(_) => SizeHint::default(),
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.answered();
        }
    }
}
