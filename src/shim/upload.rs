//! The body of a request, on its way to a pool.
//!
//! CGI wants to know its length first. A body that comes in chunks does not say it: it is taken whole, and what is more than a little
//! goes to a file without a name.

use std::io;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt},
};

/// Of a body in chunks: kept in memory, in bytes.
const IN_MEMORY: usize = 64 * 1024;
/// Of a body in chunks: in its file.
const SPOOL_LIMIT: u64 = 1024 * 1024 * 1024;
/// Read from the file at a time.
const PIECE: usize = 64 * 1024;

/// The body.
#[derive(Debug)]
pub(super) enum Upload {
    /// There is none.
    Nothing,
    /// It is still coming.
    Coming(Incoming),
    /// It is here.
    Bytes(Bytes),
    /// It is in this file, from where it stands.
    Spooled(File),
}

/// Why there is no whole body.
#[derive(Debug, thiserror::Error)]
pub(super) enum UploadError {
    #[error("the request's body is too large")]
    TooLarge,
    #[error("the request's body ended early: {0}")]
    Client(hyper::Error),
    #[error("could not keep a request's body in a file: {0}")]
    Spool(#[from] io::Error),
}

impl Upload {
    /// The body and its length; without a length there is none.
    pub(super) async fn of(body: Incoming) -> Result<(Self, Option<u64>), UploadError> {
        if body.is_end_stream() {
            return Ok((Self::Nothing, None));
        }
        match body.size_hint().exact() {
            Some(length) => Ok((Self::Coming(body), Some(length))),
            None => Self::whole(body).await,
        }
    }

    async fn whole(mut body: Incoming) -> Result<(Self, Option<u64>), UploadError> {
        let mut bytes = BytesMut::new();
        while let Some(piece) = next_piece(&mut body).await {
            bytes.extend_from_slice(&piece.map_err(UploadError::Client)?);
            if bytes.len() > IN_MEMORY {
                return Self::spooled(&bytes, body).await;
            }
        }
        let length = bytes.len() as u64;
        Ok((Self::Bytes(bytes.freeze()), Some(length)))
    }

    async fn spooled(begin: &[u8], mut body: Incoming) -> Result<(Self, Option<u64>), UploadError> {
        let file = tokio::task::spawn_blocking(tempfile::tempfile).await;
        let mut file = File::from_std(file.map_err(io::Error::other)??);
        file.write_all(begin).await?;
        let mut length = begin.len() as u64;
        while let Some(piece) = next_piece(&mut body).await {
            let piece = piece.map_err(UploadError::Client)?;
            length += piece.len() as u64;
            if length > SPOOL_LIMIT {
                return Err(UploadError::TooLarge);
            }
            file.write_all(&piece).await?;
        }
        file.flush().await?;
        file.rewind().await?;
        Ok((Self::Spooled(file), Some(length)))
    }

    /// The next piece; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, UploadError> {
        match self {
            Self::Nothing => Ok(None),
            Self::Coming(body) => next_piece(body)
                .await
                .transpose()
                .map_err(UploadError::Client),
            Self::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Nothing;
                Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
            }
            Self::Spooled(file) => {
                let mut piece = BytesMut::with_capacity(PIECE);
                let read = file.read_buf(&mut piece).await?;
                Ok((read > 0).then(|| piece.freeze()))
            }
        }
    }
}

/// The next piece with something in it.
async fn next_piece(body: &mut Incoming) -> Option<Result<Bytes, hyper::Error>> {
    loop {
        match body.frame().await?.map(hyper::body::Frame::into_data) {
            Ok(Ok(bytes)) if !bytes.is_empty() => return Some(Ok(bytes)),
            // nothing, or trailers, which CGI has no place for
            Ok(_) => {}
            Err(error) => return Some(Err(error)),
        }
    }
}
