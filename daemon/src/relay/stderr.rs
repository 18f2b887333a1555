//! `stderr`: what a worker says by FCGI_STDERR about a request goes to our log, to the host, or to both; of each request no more than
//! a bounded part.

use stockade_policy::dispatch::RequestKey;
use stockade_protocol::{
    encode,
    record::{Fragment, RecordType},
};

use super::{
    link::Link,
    output,
    pool::State,
    response::{Forward, put_header},
};
use crate::config::resolved::Stderr;

/// Of one request, lines in our log.
const MOST_LINES: u32 = 500;
/// Of one request, bytes for the host: some keep all of it in memory until the end.
const MOST_BYTES: usize = 64 * 1024;
/// What the host gets in place of the rest.
const NOTE: &[u8] = b"stockade: what else the application wrote to FCGI_STDERR is left out\n";

impl State {
    /// A piece of FCGI_STDERR.
    pub(super) fn take_stderr(
        &mut self,
        key: RequestKey,
        link: &Link,
        fragment: Fragment,
        buffer: &mut [u8],
        forward: &mut Forward,
    ) {
        let to = self.plan.stderr;
        if to != Stderr::Host {
            self.log_stderr(key, link, fragment.content.of(buffer));
        }
        if to != Stderr::Log {
            self.pass_stderr(key, fragment, buffer, forward);
        }
    }

    fn log_stderr(&mut self, key: RequestKey, link: &Link, text: &[u8]) {
        let (name, worker) = (self.name(), self.worker_title(link.trunk.worker));
        let known = self.workers.get(&link.trunk.worker);
        let last = known.map(|known| known.lines.clone()).unwrap_or_default();
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        let before = request.seen.stderr_lines;
        let room = MOST_LINES.saturating_sub(before);
        let lines = output::log_lines(&name, &worker, "FCGI_STDERR", text, &last, room);
        request.seen.stderr_lines = before.saturating_add(lines);
        if before <= MOST_LINES && request.seen.stderr_lines > MOST_LINES {
            tracing::info!(
                "pool {name}: {worker} FCGI_STDERR: what else it says about request {} is left out",
                request.name()
            );
        }
    }

    /// It goes to the host between the pieces of the response, as it lies in the read buffer.
    fn pass_stderr(
        &mut self,
        key: RequestKey,
        fragment: Fragment,
        buffer: &mut [u8],
        forward: &mut Forward,
    ) {
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        let Some((host, id)) = request.host.clone() else {
            return;
        };
        let mut fragment = fragment;
        let length = fragment.content.len();
        let before = request.seen.stderr_bytes;
        let room = MOST_BYTES.saturating_sub(before);
        request.seen.stderr_bytes = before.saturating_add(length);
        fragment.content.end = fragment.content.start + length.min(room);
        if length.min(room) > 0 {
            put_header(buffer, RecordType::Stderr, fragment, id);
            forward.push_record(fragment);
        }
        if before <= MOST_BYTES && before + length > MOST_BYTES {
            self.forward(key, buffer, forward, false);
            host.connection
                .queue(|out| encode::stream(out, RecordType::Stderr, id, NOTE));
            host.connection.flush();
        }
    }
}
