//! Bodies that are too long for memory: each in a file without a name, written and read by threads beside the pool's, for a disk
//! may take its time.
//!
//! A file is with at most one of these threads, and goes there and back by value. What came from the host in the meantime waits
//! in memory, and the host is not read while that is much.

use std::{cell::Cell, fs::File, io, os::unix::fs::FileExt as _, path::Path, rc::Rc};

use stockade_policy::dispatch::{Event, RequestKey};
use stockade_protocol::record::RecordType;
use tokio::task;

use super::{
    answers,
    body::{end_body, send_body},
    link::Link,
    pool::State,
};

/// Bytes for one write, and in one read.
const PIECE: usize = 256 * 1024;
/// No more is taken from a host while this much waits to be written. In bytes.
const BEHIND: usize = 512 * 1024;
/// No more is read from the file while this much waits for the worker. In bytes.
const AHEAD: usize = 64 * 1024;

/// What all files of a pool hold, in bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Spooled(Rc<Cell<u64>>);

/// The body of one request.
#[derive(Debug)]
pub(super) struct Spool {
    /// None: not made yet, or with a thread.
    file: Option<File>,
    /// With a thread.
    busy: bool,
    /// Came, and is not written.
    waiting: Vec<u8>,
    /// Bytes in the file.
    length: u64,
    /// Of the pool's account.
    charged: u64,
    account: Spooled,
}

impl Spool {
    fn new(account: Spooled) -> Self {
        Self {
            file: None,
            busy: false,
            waiting: Vec::new(),
            length: 0,
            charged: 0,
            account,
        }
    }

    /// Everything that came is in the file.
    pub(super) fn complete(&self) -> bool {
        !self.busy && self.waiting.is_empty()
    }

    /// Much waits to be written.
    pub(super) fn behind(&self) -> bool {
        self.waiting.len() > BEHIND
    }

    /// Takes a piece; false when the account does not allow it.
    fn push(&mut self, bytes: &[u8], limit: Option<u64>) -> bool {
        let more = bytes.len() as u64;
        let all = self.account.0.get() + more;
        if limit.is_some_and(|limit| all > limit) {
            return false;
        }
        self.account.0.set(all);
        self.charged += more;
        self.waiting.extend_from_slice(bytes);
        true
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        let account = &self.account.0;
        account.set(account.get().saturating_sub(self.charged));
    }
}

impl State {
    /// Keeps a piece of a body: in memory, or beside what is in the file.
    pub(super) fn collect(&mut self, key: RequestKey, bytes: &[u8]) {
        let keys = &self.plan.bytes;
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        if request.spool.is_none() && request.body.len() + bytes.len() <= keys.request_buffer_size {
            request.body.extend_from_slice(bytes);
            return;
        }
        let spool = request
            .spool
            .get_or_insert_with(|| Spool::new(self.spooled.clone()));
        let before = std::mem::take(&mut request.body);
        let fits = spool.push(&before, keys.spool_limit) && spool.push(bytes, keys.spool_limit);
        if !fits {
            self.turn_away(key, &answers::SPOOL_LIMIT);
        } else if spool.waiting.len() >= PIECE {
            self.spool(key);
        }
    }

    /// Has a thread write what waits, unless one is at it.
    pub(super) fn spool(&mut self, key: RequestKey) {
        let folder = self.plan.bytes.spool_dir.clone();
        let (Some(pool), Some(spool)) = (self.me.upgrade(), self.spool_of(key)) else {
            return;
        };
        if spool.busy || spool.waiting.is_empty() {
            return;
        }
        spool.busy = true;
        let (file, bytes) = (spool.file.take(), std::mem::take(&mut spool.waiting));
        let offset = spool.length;
        task::spawn_local(async move {
            let written = task::spawn_blocking(move || write(&folder, file, offset, bytes)).await;
            let written = written.unwrap_or_else(|panic| Err(io::Error::other(panic)));
            pool.state().spooled(key, written);
        });
    }

    fn spooled(&mut self, key: RequestKey, written: io::Result<(File, usize)>) {
        let Some(spool) = self.spool_of(key) else {
            return;
        };
        spool.busy = false;
        match written {
            Ok((file, count)) => {
                spool.file = Some(file);
                spool.length += count as u64;
                let behind = spool.behind();
                let (much, ended) = (spool.waiting.len() >= PIECE, self.body_has_ended(key));
                if ended {
                    self.collected(key);
                } else if much {
                    self.spool(key);
                }
                if !behind {
                    self.resume_host(key);
                }
            }
            Err(error) => {
                if let Some(more) = self.spool_failures.happened(self.clock.now()) {
                    let (name, folder) = (self.name(), self.plan.bytes.spool_dir.display());
                    tracing::warn!(
                        "pool {name}: could not write a request's body to a file in {folder}: {error}: make room there, or name another folder with `spool-dir`{more}"
                    );
                }
                self.turn_away(key, &answers::SPOOL_FAILED);
            }
        }
        self.rest();
    }

    /// Gives the worker more of a body that is in a file. To be called when it has taken what it was given.
    pub(super) fn feed(&mut self, key: RequestKey) {
        let Some(pool) = self.me.upgrade() else {
            return;
        };
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        let (Some(spool), Some(link)) = (&mut request.spool, &request.link) else {
            return;
        };
        // only what the kernel does not take is told of when it is taken
        link.flush();
        if spool.busy || link.body_sent.get() || link.trunk.connection.waiting() > AHEAD {
            return;
        }
        let (Some(file), offset) = (spool.file.take(), link.fed.get()) else {
            return;
        };
        let left = usize::try_from(spool.length - offset).unwrap_or(PIECE);
        let count = left.min(PIECE);
        spool.busy = true;
        task::spawn_local(async move {
            let read = task::spawn_blocking(move || read(file, offset, count)).await;
            let read = read.unwrap_or_else(|panic| Err(io::Error::other(panic)));
            pool.state().unspooled(key, offset, read);
        });
    }

    fn unspooled(&mut self, key: RequestKey, offset: u64, read: io::Result<(File, Vec<u8>)>) {
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        let Some(spool) = &mut request.spool else {
            return;
        };
        spool.busy = false;
        match (read, request.link.clone()) {
            (Ok((file, bytes)), link) => {
                spool.file = Some(file);
                let length = spool.length;
                // another connection, after a replay, begins anew
                if let Some(link) = link.filter(|link| link.wants(offset)) {
                    self.fed(&link, &bytes, length);
                }
                self.feed(key);
            }
            (Err(error), _) => {
                let name = self.name();
                tracing::warn!(
                    "pool {name}: could not read a request's body back from its file: {error}"
                );
                self.answer_for_worker(key, &answers::BODY_LOST);
                // it may wait for another worker again
                let now = self.clock.now();
                self.dispatch.handle(Event::HostGone { request: key }, now);
                self.tell(Event::RequestEnded { request: key });
            }
        }
        self.rest();
    }

    fn fed(&mut self, link: &Rc<Link>, bytes: &[u8], length: u64) {
        send_body(link, RecordType::Stdin, bytes);
        link.fed.set(link.fed.get() + bytes.len() as u64);
        if link.fed.get() == length {
            end_body(link);
        }
        self.dirty.push(Rc::clone(link));
    }

    fn spool_of(&mut self, key: RequestKey) -> Option<&mut Spool> {
        self.requests.get_mut(key)?.spool.as_mut()
    }

    fn body_has_ended(&mut self, key: RequestKey) -> bool {
        let request = self.requests.get_mut(key);
        request.is_some_and(|request| request.body_ended)
    }

    fn resume_host(&mut self, key: RequestKey) {
        let request = self.requests.get_mut(key);
        if let Some((host, _)) = request.and_then(|request| request.host.as_ref()) {
            host.connection.resume();
        }
    }
}

/// Appends; makes the file when there is none.
fn write(
    folder: &Path,
    file: Option<File>,
    offset: u64,
    bytes: Vec<u8>,
) -> io::Result<(File, usize)> {
    let file = file.map_or_else(|| tempfile::tempfile_in(folder), Ok)?;
    file.write_all_at(&bytes, offset)?;
    Ok((file, bytes.len()))
}

fn read(file: File, offset: u64, count: usize) -> io::Result<(File, Vec<u8>)> {
    let mut bytes = vec![0; count];
    file.read_exact_at(&mut bytes, offset)?;
    Ok((file, bytes))
}
