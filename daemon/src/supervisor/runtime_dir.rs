//! `runtime-dir`: the sockets of the daemon's own. One daemon at a time has it.
//!
//! ```text
//! RUNTIME-DIR          0755, ours
//!   lock               held (flock) while the daemon runs
//!   workers/           0700, of the relay's user: nobody else enters
//!     POOL.WORKER.sock
//! ```

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    unistd::{Gid, Uid, chown},
};
use stockade_policy::WorkerId;

use super::error::SupervisorError;
use crate::config::resolved::Account;

/// The folder, held.
#[derive(Debug)]
pub(super) struct RuntimeDir {
    workers: PathBuf,
    _lock: Flock<File>,
}

impl RuntimeDir {
    /// Makes what is missing, takes the folder, removes what an earlier daemon left.
    pub(super) fn take(path: &Path, relay_user: Option<&Account>) -> Result<Self, SupervisorError> {
        let failed = |what: &str, path: &Path| failed(format!("{what} {}", path.display()));
        make(path, 0o755).map_err(failed("make runtime-dir", path))?;
        let found = fs::metadata(path).map_err(failed("look at runtime-dir", path))?;
        let owned = [Uid::effective().as_raw(), 0].contains(&found.uid());
        if !owned || found.mode() & 0o022 != 0 {
            return Err(SupervisorError::Unsafe(path.to_owned()));
        }
        let lock = lock(path)?;
        let workers = path.join("workers");
        make(&workers, 0o700).map_err(failed("make", &workers))?;
        if let Some(account) = relay_user {
            let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
            chown(&workers, Some(uid), Some(gid))
                .map_err(|error| failed("change the owner of", &workers)(error.into()))?;
        }
        remove_sockets(&workers).map_err(failed("clear", &workers))?;
        Ok(Self {
            workers,
            _lock: lock,
        })
    }

    /// Where a worker's socket is.
    pub(super) fn worker_socket(&self, pool: &str, worker: WorkerId) -> PathBuf {
        self.workers.join(format!("{pool}.{worker}.sock"))
    }
}

impl Drop for RuntimeDir {
    fn drop(&mut self) {
        // The workers' sockets went with their workers. What is left stays for somebody to look at.
        drop(fs::remove_dir(&self.workers));
    }
}

/// Makes the folder with exactly `mode` when it is missing.
fn make(path: &Path, mode: u32) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|found| found.is_dir()) {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(mode).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

fn lock(path: &Path) -> Result<Flock<File>, SupervisorError> {
    let file = path.join("lock");
    let opened = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&file)
        .map_err(failed(format!("open {}", file.display())))?;
    Flock::lock(opened, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        Errno::EWOULDBLOCK => SupervisorError::Occupied(path.to_owned()),
        error => failed(format!("lock {}", file.display()))(error.into()),
    })
}

fn failed(step: String) -> impl FnOnce(io::Error) -> SupervisorError {
    |source| SupervisorError::RuntimeDir { step, source }
}

fn remove_sockets(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_socket() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn one_daemon_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stockade");
        let first = RuntimeDir::take(&path, None).unwrap();
        let error = RuntimeDir::take(&path, None).unwrap_err();
        assert!(matches!(error, SupervisorError::Occupied(_)), "{error}");
        assert_eq!(error.exit_code(), 75);
        drop(first);
        assert!(RuntimeDir::take(&path, None).is_ok());
    }

    #[test]
    fn what_an_earlier_daemon_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stockade");
        let taken = RuntimeDir::take(&path, None).unwrap();
        let socket = taken.worker_socket("blog", WorkerId(3));
        assert_eq!(socket, path.join("workers/blog.3.sock"));
        drop(UnixListener::bind(&socket).unwrap());
        drop(taken);
        assert!(socket.exists());
        let _taken = RuntimeDir::take(&path, None).unwrap();
        assert!(!socket.exists());
        assert_eq!(
            fs::metadata(path.join("workers")).unwrap().mode() & 0o7777,
            0o700
        );
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_told_with_the_remedy() {
        let error = RuntimeDir::take(Path::new("/proc/stockade"), None).unwrap_err();
        let said = error.to_string();
        assert!(
            said.starts_with("could not make runtime-dir /proc/stockade: "),
            "{said}"
        );
        assert!(said.contains("`runtime-dir` in [daemon]"), "{said}");
    }

    #[test]
    fn a_folder_that_others_can_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        let error = RuntimeDir::take(folder.path(), None).unwrap_err();
        assert!(matches!(error, SupervisorError::Unsafe(_)), "{error}");
    }
}
