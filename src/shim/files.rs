//! Static files: GET and HEAD of what is in a folder. Symbolic links are followed, folders are not listed.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    str,
};

use bytes::Bytes;
use hyper::{
    Method, Response, StatusCode,
    header::{
        ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue,
        LAST_MODIFIED, LOCATION,
    },
    http::request::Parts,
};
use nix::libc::O_NONBLOCK;
use tokio::{sync::mpsc, task::spawn_blocking};

use super::{
    answers,
    conditions::{Part, Validators},
    reply::{self, Piece, Reply},
};

/// Read at a time; a file of this size is read before the answer begins.
const PIECE: u64 = 64 * 1024;

/// What is at a path.
enum Found {
    /// A file, open, and its validators.
    File(File, u64, Validators),
    /// A folder, asked for without the slash at its end.
    Folder,
}

/// Answers with what is at `path`, decoded, in `folder`.
pub(super) async fn answer(folder: &Path, path: &[u8], parts: &Parts) -> Response<Reply> {
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        let mut refusal = answers::page(StatusCode::METHOD_NOT_ALLOWED, "Files can only be read.");
        let allowed = HeaderValue::from_static("GET, HEAD");
        refusal.headers_mut().insert(ALLOW, allowed);
        return refusal;
    }
    let Some(inside) = inside(path) else {
        return answers::not_found();
    };
    let is_folder = path.is_empty() || path.ends_with(b"/");
    let path = folder.join(&inside);
    let kind = mime_guess::from_path(if is_folder { Path::new(INDEX) } else { &path });
    let looked = spawn_blocking(move || look(&path, is_folder)).await;
    match looked.map_err(io::Error::other).and_then(|found| found) {
        Ok(Found::File(file, length, validators)) => {
            let kind = kind.first_or_octet_stream();
            send(file, length, &validators, kind.as_ref(), parts).await
        }
        Ok(Found::Folder) => with_slash(parts),
        Err(error) => refuse(&folder.join(inside), &error),
    }
}

/// The path in the folder; none when it leads out of it, or cannot be a path.
fn inside(path: &[u8]) -> Option<PathBuf> {
    let mut inside = PathBuf::new();
    for segment in path.split(|byte| *byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => return None,
            name => inside.push(str::from_utf8(name).ok()?),
        }
    }
    Some(inside)
}

fn look(path: &Path, is_folder: bool) -> io::Result<Found> {
    let path = if is_folder {
        path.join(INDEX)
    } else {
        path.to_owned()
    };
    // a pipe would wait for somebody to write to it
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(O_NONBLOCK)
        .open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Ok(Found::Folder);
    }
    if !metadata.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let length = metadata.len();
    let validators = Validators::of(metadata.modified()?, length);
    Ok(Found::File(file, length, validators))
}

async fn send(
    file: File,
    length: u64,
    validators: &Validators,
    kind: &str,
    parts: &Parts,
) -> Response<Reply> {
    let mut response = Response::new(Reply::nothing());
    let headers = response.headers_mut();
    let mut put = |name, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    put(ETAG, validators.etag.clone());
    put(LAST_MODIFIED, httpdate::fmt_http_date(validators.modified));
    if validators.unchanged(&parts.headers) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    put(ACCEPT_RANGES, "bytes".to_owned());
    let (status, range) = match validators.part(&parts.headers, length) {
        Part::Whole => (StatusCode::OK, 0..length),
        Part::Bytes(range) => {
            let last = range.end - 1;
            put(
                CONTENT_RANGE,
                format!("bytes {}-{last}/{length}", range.start),
            );
            (StatusCode::PARTIAL_CONTENT, range)
        }
        Part::Nowhere => {
            put(CONTENT_RANGE, format!("bytes */{length}"));
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            return response;
        }
    };
    let length = range.end - range.start;
    put(CONTENT_TYPE, kind.to_owned());
    put(CONTENT_LENGTH, length.to_string());
    *response.status_mut() = status;
    if parts.method == Method::GET {
        match body(file, range.start, length).await {
            Ok(body) => *response.body_mut() = body,
            Err(error) => {
                tracing::warn!("shim: could not read a file: {error}");
                return answers::page(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "The file could not be read.",
                );
            }
        }
    }
    response
}

/// `length` bytes from `start` on: small ones at once, large ones as the client takes them.
async fn body(mut file: File, start: u64, length: u64) -> io::Result<Reply> {
    if length <= PIECE {
        let read = move || {
            file.seek(SeekFrom::Start(start))?;
            next(&mut file, length)
        };
        let bytes = spawn_blocking(read).await.map_err(io::Error::other)??;
        return Ok(Reply::bytes(bytes));
    }
    let (pieces, reply) = reply::pieces();
    spawn_blocking(move || {
        if let Err(error) = copy(file, start, length, &pieces) {
            tracing::warn!("shim: could not read a file to its end: {error}");
        }
    });
    Ok(reply)
}

/// On a thread that may wait: for the disk, and for the client.
fn copy(mut file: File, start: u64, length: u64, pieces: &mpsc::Sender<Piece>) -> io::Result<()> {
    file.seek(SeekFrom::Start(start))?;
    let mut left = length;
    while left > 0 {
        let bytes = next(&mut file, left.min(PIECE))?;
        left -= bytes.len() as u64;
        if pieces.blocking_send(Piece::Bytes(bytes)).is_err() {
            return Ok(());
        }
    }
    // nobody listens: the client is gone
    drop(pieces.blocking_send(Piece::End));
    Ok(())
}

/// The next `length` bytes; an error when the file has become shorter.
fn next(file: &mut File, length: u64) -> io::Result<Bytes> {
    let mut bytes = Vec::new();
    if file.take(length).read_to_end(&mut bytes)? as u64 == length {
        Ok(bytes.into())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// A folder's address ends with a slash, or what is in it would not find each other.
fn with_slash(parts: &Parts) -> Response<Reply> {
    // two slashes at the beginning would name a host
    let path = format!("/{}/", parts.uri.path().trim_start_matches('/'));
    let query = parts.uri.query().map(|query| format!("?{query}"));
    let Ok(location) = HeaderValue::try_from(path + &query.unwrap_or_default()) else {
        return answers::bad_request();
    };
    let mut response = answers::page(StatusCode::MOVED_PERMANENTLY, "It is a folder.");
    response.headers_mut().insert(LOCATION, location);
    response
}

fn refuse(path: &Path, error: &io::Error) -> Response<Reply> {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            tracing::warn!("shim: could not read {}: {error}", path.display());
            answers::page(StatusCode::FORBIDDEN, "This file is not for the public.")
        }
        _ => answers::not_found(),
    }
}

const INDEX: &str = "index.html";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leads_out_of_the_folder() {
        for (path, expected) in [
            ("a/b.css", Some("a/b.css")),
            ("/a//./b", Some("a/b")),
            ("", Some("")),
            ("..", None),
            ("a/../../b", None),
            ("a/..", None),
            ("...", Some("...")),
        ] {
            let expected = expected.map(PathBuf::from);
            assert_eq!(inside(path.as_bytes()), expected, "{path}");
        }
        assert_eq!(inside(b"\xff"), None);
    }
}
