//! What is remembered of a request to be told when it ends.

use std::time::Duration;

use stockade_policy::Time;

/// What has been seen of a request, for the access log and the like.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// When it began; none where there was no access log then.
    pub(super) begun: Option<Time>,
    /// The host keeps the connection.
    pub(super) keep_conn: bool,
    /// How long it waited for its first slot; none: it had none yet.
    pub(super) waited: Option<Duration>,
    /// The status of its answer; 0: none yet.
    pub(super) status: u16,
    /// Bytes of its answer with and of its head.
    pub(super) sent: u64,
    pub(super) head: u64,
    /// Its line in the access log is written.
    pub(super) logged: bool,
    /// It was told of as slow.
    pub(super) slow: bool,
    /// Lines of its FCGI_STDERR that were logged.
    pub(super) stderr_lines: u32,
    /// Bytes of its FCGI_STDERR that the host got.
    pub(super) stderr_bytes: usize,
}
