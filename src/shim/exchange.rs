//! One request on a connection to a pool: the body goes there as the client sends it, the response comes as the client takes
//! it, both at once. The connection is kept when the request is over on both sides.
//!
//! It runs in a task of its own and ends when the client is gone: the pool sees a host that went away.

use std::{io, pin::pin, sync::Arc};

use bytes::{Bytes, BytesMut};
use stockade_protocol::{
    encode::{self, PairTooLong, ProtocolStatus, Role},
    head::find_end,
    record::RecordType,
    web_server::{Answer, WebServer},
};
use tokio::{
    select,
    sync::{mpsc, oneshot},
};

use super::{
    head::Head,
    pool::Pool,
    reply::{self, Piece, Reply},
    stream::Stream,
    upload::{Upload, UploadError},
};

/// The request's id on its connection: there is one at a time.
const ID: u16 = 1;
/// Bytes taken in one read.
const READ_SIZE: usize = 64 * 1024;
/// The largest response head, in bytes.
const HEAD_LIMIT: usize = 64 * 1024;
/// What is read in vain of a body that is not to be sent, for the sake of the connection.
const DISCARD_LIMIT: usize = 1024 * 1024;

/// What to ask.
#[derive(Debug)]
pub(super) struct Question {
    /// The parameters, encoded.
    pub(super) parameters: Vec<u8>,
    /// The body.
    pub(super) upload: Upload,
    /// The response is to have no body.
    pub(super) head_only: bool,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error("the parameters are too long: {0}")]
    TooLong(#[from] PairTooLong),
    #[error("could not ask: {0}")]
    Unreachable(#[from] io::Error),
    #[error("no answer: {0}")]
    Broken(String),
    #[error("{0}")]
    Client(String),
}

/// Asks; comes back with the head of the response, whose body goes on coming.
pub(super) async fn ask(pool: Arc<Pool>, question: Question) -> Result<(Head, Reply), Failed> {
    let (body, reply) = reply::pieces();
    let (head, answered) = oneshot::channel();
    let output = Output {
        head: Some(head),
        body: body.clone(),
        discard: question.head_only,
        discarded: 0,
    };
    tokio::spawn(async move {
        // nobody takes the body of an answer to HEAD
        let patient = question.head_only;
        select! {
            () = run(&pool, question, output) => {}
            () = body.closed(), if !patient => {}
        }
    });
    let head = answered
        .await
        .unwrap_or_else(|_| Err(Failed::Broken("the request was given up".to_owned())))?;
    Ok((head, reply))
}

async fn run(pool: &Pool, question: Question, mut output: Output) {
    match converse(pool, question, &mut output).await {
        Ok(Some(stream)) => pool.keep(stream),
        Ok(None) => {}
        Err(failed) => {
            if let Err(failed) = output.fail(failed) {
                tracing::debug!("shim: a response was cut: {failed}");
            }
        }
    }
}

/// The whole exchange; the connection if it can be used again.
async fn converse(
    pool: &Pool,
    question: Question,
    output: &mut Output,
) -> Result<Option<Stream>, Failed> {
    let mut upload = question.upload;
    let mut begin = Vec::with_capacity(question.parameters.len() + 64);
    encode::begin_request(&mut begin, ID, Role::Responder, true);
    encode::params(&mut begin, ID, &question.parameters)?;
    if let Upload::Nothing = upload {
        encode::stream_end(&mut begin, RecordType::Stdin, ID);
    }
    let (stream, written) = open(pool, &begin).await?;
    let clean = both_ways(&stream, &begin[written..], &mut upload, output).await?;
    Ok(clean.then_some(stream))
}

/// Sends what is left of the request while the response is received; whether both came to their ends, and nothing else came.
async fn both_ways(
    stream: &Stream,
    begin: &[u8],
    upload: &mut Upload,
    output: &mut Output,
) -> Result<bool, Failed> {
    let mut sending = pin!(send(stream, begin, upload));
    let mut receiving = pin!(receive(stream, output));
    let mut sent = false;
    loop {
        select! {
            received = &mut receiving => return Ok(received? && sent),
            outcome = &mut sending, if !sent => match outcome {
                Ok(()) => sent = true,
                // the application may have answered without reading everything
                Err(Unsent::Pool) => {
                    receiving.await?;
                    return Ok(false);
                }
                Err(Unsent::Client(error)) => return Err(Failed::Client(error.to_string())),
            },
        }
    }
}

/// A connection with the beginning of the request written to it, and how much was. A kept one that turns out to be closed
/// says nothing of the pool: nothing was sent, and a new one is tried.
async fn open(pool: &Pool, begin: &[u8]) -> io::Result<(Stream, usize)> {
    if let Some(kept) = pool.kept()
        && let Ok(written) = kept.write(begin).await
    {
        return Ok((kept, written));
    }
    let stream = pool.connect().await?;
    let written = stream.write(begin).await?;
    Ok((stream, written))
}

/// Why a request's body was not sent to its end.
enum Unsent {
    /// The pool does not take it.
    Pool,
    /// The client does not send it.
    Client(UploadError),
}

async fn send(stream: &Stream, begin: &[u8], upload: &mut Upload) -> Result<(), Unsent> {
    let closed = |_: io::Error| Unsent::Pool;
    stream.write_all(begin).await.map_err(closed)?;
    if let Upload::Nothing = upload {
        return Ok(());
    }
    let mut records = Vec::new();
    while let Some(piece) = upload.next().await.map_err(Unsent::Client)? {
        records.clear();
        encode::stream(&mut records, RecordType::Stdin, ID, &piece);
        stream.write_all(&records).await.map_err(closed)?;
    }
    records.clear();
    encode::stream_end(&mut records, RecordType::Stdin, ID);
    stream.write_all(&records).await.map_err(closed)
}

/// Reads the response to its end; whether nothing came behind it.
async fn receive(stream: &Stream, output: &mut Output) -> Result<bool, Failed> {
    let broken = |reason: &str| Failed::Broken(reason.to_owned());
    let mut reader = WebServer::new();
    reader.begin(ID);
    let mut buffer = vec![0; READ_SIZE];
    let mut head = Some(Vec::new());
    loop {
        let read = stream.read(&mut buffer).await;
        let read = read.map_err(|error| Failed::Broken(error.to_string()))?;
        if read == 0 {
            return Err(broken("the connection was closed"));
        }
        let (mut at, mut content) = (0, BytesMut::new());
        let mut end = None;
        let input = &buffer[..read];
        while let Some(answer) = reader
            .next(input, &mut at)
            .map_err(|error| Failed::Broken(error.to_string()))?
        {
            match answer {
                Answer::Stdout(fragment) => content.extend_from_slice(fragment.content.of(input)),
                Answer::End { status, .. } => end = Some(status),
                Answer::StdoutEnd { .. }
                | Answer::Stderr(_)
                | Answer::Values
                | Answer::UnknownType(_)
                | Answer::Ignored => {}
            }
        }
        let body = match &mut head {
            None => content.freeze(),
            Some(begun) => match take_head(begun, &content)? {
                None => Bytes::new(),
                Some((complete, length)) => {
                    head = None;
                    output.begin(complete);
                    content.freeze().slice(length..)
                }
            },
        };
        output.write(body).await?;
        match end {
            None => {}
            Some(_) if head.is_some() => return Err(broken("the response has no head")),
            Some(status) if status != ProtocolStatus::RequestComplete as u8 => {
                return Err(broken("the application refused the request"));
            }
            Some(_) => {
                output.end().await;
                return Ok(reader.at_boundary());
            }
        }
    }
}

/// The head, once it is complete with `content`, and how much of `content` belongs to it.
fn take_head(begun: &mut Vec<u8>, content: &[u8]) -> Result<Option<(Head, usize)>, Failed> {
    let before = begun.len();
    begun.extend_from_slice(content);
    match find_end(begun, before) {
        Some(end) => {
            let head = Head::of(&begun[..end]).map_err(Failed::Broken)?;
            Ok(Some((head, end - before)))
        }
        None if begun.len() > HEAD_LIMIT => {
            Err(Failed::Broken("the response head is too large".to_owned()))
        }
        None => Ok(None),
    }
}

/// Where the response goes.
#[derive(Debug)]
struct Output {
    /// Until it is given away.
    head: Option<oneshot::Sender<Result<Head, Failed>>>,
    body: mpsc::Sender<Piece>,
    /// The body is not to be sent.
    discard: bool,
    discarded: usize,
}

impl Output {
    fn begin(&mut self, head: Head) {
        self.discard |= head.is_all();
        if let Some(sender) = self.head.take() {
            // nobody listens: the client is gone, and the task about to be dropped
            drop(sender.send(Ok(head)));
        }
    }

    /// Waits until the client has taken enough of what came before.
    async fn write(&mut self, bytes: Bytes) -> Result<(), Failed> {
        if bytes.is_empty() {
            return Ok(());
        }
        let taken = if self.discard {
            self.discarded += bytes.len();
            self.discarded <= DISCARD_LIMIT
        } else {
            self.body.send(Piece::Bytes(bytes)).await.is_ok()
        };
        if taken {
            Ok(())
        } else {
            Err(Failed::Broken("nobody takes the response".to_owned()))
        }
    }

    async fn end(&self) {
        // nobody listens: as in `begin`
        drop(self.body.send(Piece::End).await);
    }

    /// Says that there is no response; when it has begun, the failure comes back.
    fn fail(&mut self, failed: Failed) -> Result<(), Failed> {
        let Some(sender) = self.head.take() else {
            return Err(failed);
        };
        // nobody listens: as in `begin`
        drop(sender.send(Err(failed)));
        Ok(())
    }
}
