//! The cgroup of one worker.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::time::sleep;

use super::{files, place::Place};

/// Before a cgroup is tried again in which somebody still is, in milliseconds.
const PAUSES: [u64; 8] = [10, 20, 50, 100, 500, 1_000, 5_000, 30_000];

/// A worker's, and its descendants'. Nobody gets out of it: what would be moved elsewhere would need an account that may write there.
#[derive(Debug)]
pub(crate) struct Leaf {
    name: Arc<Path>,
    path: PathBuf,
}

impl Leaf {
    /// Makes it.
    pub(super) fn make(place: Place) -> io::Result<Self> {
        let Place { name, path, .. } = place;
        fs::create_dir(&path)?;
        // Half a worker is worth nothing: when one of its processes is killed for want of memory, all are.
        if files::has(&path, "memory.oom.group")
            && let Err(error) = files::write(&path, "memory.oom.group", "1")
        {
            tracing::debug!("cgroup {}: memory.oom.group: {error}", path.display());
        }
        let name = PathBuf::from(name).into();
        Ok(Self { name, path })
    }

    /// What /proc/PID/cgroup says of those in it; of those in one that they have made in it, with more behind it.
    pub(crate) fn name(&self) -> Arc<Path> {
        Arc::clone(&self.name)
    }

    /// What the launcher writes to, to enter it.
    pub(crate) fn entrance(&self) -> io::Result<OwnedFd> {
        files::open(&self.path, "cgroup.procs").map(OwnedFd::from)
    }

    /// Takes a process in.
    pub(crate) fn admit(&self, pid: i32) -> io::Result<()> {
        files::write(&self.path, "cgroup.procs", &pid.to_string())
    }

    /// Kills everyone in it, whatever they are doing. Kernels before 5.14 cannot: who is not in the worker's process group is left then.
    pub(crate) fn kill(&self) -> io::Result<()> {
        match files::write(&self.path, "cgroup.kill", "1") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// How many of its processes were killed for want of memory, wherever the limit was that was reached; none
    /// where memory is not counted.
    pub(super) fn out_of_memory(&self) -> Option<u64> {
        files::count(&self.path, "memory.events", "oom_kill")
    }

    /// Removes it when the last one is gone, which may be dying yet.
    pub(crate) fn bury(self) {
        if !is_busy(&self.path) {
            return;
        }
        tokio::spawn(async move {
            for pause in PAUSES {
                sleep(Duration::from_millis(pause)).await;
                if !is_busy(&self.path) {
                    return;
                }
            }
            tracing::warn!(
                "somebody whom no signal ends is left in the cgroup {}",
                self.path.display()
            );
        });
    }
}

impl Drop for Leaf {
    /// One of a worker that was never started; else it is gone already, or is removed when the daemon ends.
    fn drop(&mut self) {
        drop(fs::remove_dir(&self.path));
    }
}

/// Removes it, unless there is somebody in it.
fn is_busy(cgroup: &Path) -> bool {
    fs::remove_dir(cgroup).is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy)
}
