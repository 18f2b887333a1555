//! Tells an operator why a reload failed, with what the workers that failed wrote last: the supervisor never reads that.

use std::{os::fd::OwnedFd, os::unix::net::UnixStream as StdUnixStream, time::Duration};

use stockade_policy::{PoolId, WorkerId};
use tokio::{
    io::AsyncWriteExt,
    net::UnixStream,
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{exits::LAST_WORDS, output::LastLines, pool_thread::ToPool};
use crate::control::{admin::Answer, relay::Told};

/// How long a thread may take to find the lines, and who asked to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Writes the answer.
pub(super) async fn tell(
    threads: Vec<mpsc::UnboundedSender<ToPool>>,
    told: Vec<Told>,
    connection: OwnedFd,
) {
    let mut lines = Vec::new();
    for Told { line, worker } in told {
        lines.push(line);
        let Some((pool, worker)) = worker else {
            continue;
        };
        if let Some(last) = last_lines(&threads, pool, worker).await {
            // what there is by then is told
            drop(timeout(LAST_WORDS, last.ended()).await);
            lines.extend(last.all().iter().map(|line| format!("  {line}")));
        }
    }
    let Ok(mut bytes) = serde_json::to_vec(&Answer::Failed { code: 1, lines }) else {
        return;
    };
    bytes.push(b'\n');
    let Ok(mut connection) = UnixStream::from_std(StdUnixStream::from(connection)) else {
        return;
    };
    // who asked may have gone
    drop(timeout(PATIENCE, connection.write_all(&bytes)).await);
}

async fn last_lines(
    threads: &[mpsc::UnboundedSender<ToPool>],
    pool: PoolId,
    worker: WorkerId,
) -> Option<LastLines> {
    for thread in threads {
        let (asker, found) = oneshot::channel();
        // a thread that has ended knows nothing
        drop(thread.send(ToPool::LastLines(pool, worker, asker)));
        if let Ok(Ok(lines)) = timeout(PATIENCE, found).await {
            return Some(lines);
        }
    }
    None
}
