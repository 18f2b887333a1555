//! The files of access logs: opened here, written by the relay, which gets the descriptors.
//!
//! The relay could not open them: it has no power, and a log in /var/log is root's. The supervisor in turn never writes to them. It
//! may be root and open what somebody has put in the way, so a symbolic link is followed only where nobody but root and ourselves
//! could have put it.

use std::{
    collections::{BTreeMap, VecDeque},
    ffi::{OsStr, OsString},
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, open, openat, readlinkat},
    sys::stat::{FileStat, Mode, SFlag, fstat, fstatat},
    unistd::{Uid, User, geteuid},
};

use super::{error::SupervisorError, shell::Shell};
use crate::config::resolved::{AccessLog, Pool};

/// Symbolic links in one path.
const MOST_LINKS: u32 = 40;

/// The files that are open, by their paths.
#[derive(Debug, Default)]
pub(super) struct AccessLogs {
    files: BTreeMap<PathBuf, Arc<OwnedFd>>,
    standard_output: Option<Arc<OwnedFd>>,
}

impl AccessLogs {
    /// Opens what `pools` need and is not open yet.
    pub(super) fn open_for(&mut self, pools: &[Pool]) -> Result<(), SupervisorError> {
        for pool in pools {
            match &pool.logging.access_log {
                AccessLog::Off => {}
                AccessLog::StandardOutput => {
                    let ours = io::stdout().as_fd().try_clone_to_owned();
                    let step = "open standard output for access logs";
                    let ours = ours.map_err(SupervisorError::step(step))?;
                    self.standard_output = Some(Arc::new(ours));
                }
                AccessLog::File(path) if self.files.contains_key(path) => {}
                AccessLog::File(path) => {
                    let opened = open_log(path).map_err(SupervisorError::step(format!(
                        "open {}, the access-log of pool {}, as {}",
                        path.display(),
                        pool.name,
                        ourselves()
                    )))?;
                    self.files.insert(path.clone(), Arc::new(opened));
                }
            }
        }
        Ok(())
    }

    /// A copy to give away.
    pub(super) fn of(&self, log: &AccessLog) -> Option<Arc<OwnedFd>> {
        match log {
            AccessLog::Off => None,
            AccessLog::StandardOutput => self.standard_output.clone(),
            AccessLog::File(path) => self.files.get(path).cloned(),
        }
    }

    /// Opens those that are `wanted` again, and lets go of the others. One that cannot be opened goes on as it was. How many were.
    fn reopen(&mut self, wanted: &[&AccessLog]) -> usize {
        let is_wanted = |path: &PathBuf| {
            let mut all = wanted.iter();
            all.any(|log| matches!(log, AccessLog::File(file) if file == path))
        };
        self.files.retain(|path, _| is_wanted(path));
        let mut count = 0;
        for (path, file) in &mut self.files {
            match open_log(path) {
                Ok(opened) => {
                    *file = Arc::new(opened);
                    count += 1;
                }
                Err(error) => {
                    let (path, account) = (path.display(), ourselves());
                    tracing::warn!(
                        "could not open access-log {path} again as {account}: {error}; the file that is open is written to"
                    );
                }
            }
        }
        count
    }
}

impl Shell {
    /// USR1.
    pub(super) fn reopen_logs(&mut self) {
        let wanted: Vec<&AccessLog> = (self.pools.values())
            .flat_map(|record| record.access_logs())
            .collect();
        let count = self.access_logs.reopen(&wanted);
        for record in self.pools.values() {
            if let Some((message, descriptors)) = record.access_log_opened(&self.access_logs) {
                self.relay.tell(&message, &descriptors);
            }
        }
        match count {
            0 => tracing::info!("no access log to open again"),
            1 => tracing::info!("1 access log opened again"),
            _ => tracing::info!("{count} access logs opened again"),
        }
    }
}

/// For messages: who it is that may not.
fn ourselves() -> String {
    let uid = geteuid();
    match User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => format!("uid {uid}"),
    }
}

/// Opens a file to append to, made if it is missing.
fn open_log(path: &Path) -> io::Result<OwnedFd> {
    let mut walk = Walk {
        folder: root()?,
        left: names(path).collect(),
        links: 0,
    };
    loop {
        let name = walk.left.pop_front().ok_or(io::ErrorKind::IsADirectory)?;
        let last = walk.left.is_empty();
        let ours = is_ours(&fstat(&walk.folder)?);
        let opened = if last {
            open_file(&walk.folder, &name, ours)
        } else {
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            openat(&walk.folder, &*name, flags, Mode::empty()).map_err(io::Error::from)
        };
        match opened {
            Ok(file) if last => return Ok(file),
            Ok(folder) => walk.folder = folder,
            Err(error) => walk.follow(&name, ours, error)?,
        }
    }
}

/// The way to a file, a folder at a time.
struct Walk {
    folder: OwnedFd,
    left: VecDeque<OsString>,
    links: u32,
}

impl Walk {
    /// What could not be opened is a symbolic link, or `error` is why.
    fn follow(&mut self, name: &OsStr, ours: bool, error: io::Error) -> io::Result<()> {
        let Ok(target) = readlinkat(&self.folder, name) else {
            return Err(error);
        };
        if !ours {
            return Err(io::Error::other(format!(
                "{} is a symbolic link in a folder that others may write to: name the file it leads to, or have the folder's owner and mode changed",
                name.display()
            )));
        }
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(Errno::ELOOP.into());
        }
        let target = PathBuf::from(target);
        if target.is_absolute() {
            self.folder = root()?;
        }
        for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
            self.left.push_front(name);
        }
        Ok(())
    }
}

fn names(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

fn root() -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(open("/", flags, Mode::empty())?)
}

/// Nobody but root and ourselves may put something there.
fn is_ours(folder: &FileStat) -> bool {
    let owner = Uid::from_raw(folder.st_uid);
    (owner.is_root() || owner == geteuid()) && folder.st_mode & 0o022 == 0
}

/// Opens the file, which is to be a plain one. In a folder that is not ours somebody may have given another file this name, too.
fn open_file(folder: &OwnedFd, name: &OsStr, ours: bool) -> io::Result<OwnedFd> {
    let flags = OFlag::O_WRONLY
        | OFlag::O_APPEND
        | OFlag::O_CREAT
        | OFlag::O_NOFOLLOW
        | OFlag::O_NOCTTY
        // a pipe that nobody reads is not waited for
        | OFlag::O_NONBLOCK
        | OFlag::O_CLOEXEC;
    let file = openat(folder, name, flags, Mode::from_bits_truncate(0o640))?;
    let is = fstat(&file)?;
    if SFlag::from_bits_truncate(is.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
        return Err(io::Error::other(
            "it is no regular file: for standard output write \"-\"",
        ));
    }
    let another = || -> io::Result<bool> {
        let named = fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        Ok((named.st_dev, named.st_ino) != (is.st_dev, is.st_ino))
    };
    if !ours && (is.st_nlink != 1 || another()?) {
        return Err(io::Error::other(
            "the file has another name too, and is in a folder that others may write to: name a file of its own",
        ));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File, Permissions},
        io::Write as _,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    use tempfile::TempDir;

    use super::*;

    /// A folder of ours; or one that everybody may write to.
    fn folder(mode: u32) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
        folder
    }

    #[test]
    fn a_log_is_made_and_appended_to() {
        let folder = folder(0o777);
        let path = folder.path().join("access.log");
        for line in ["one\n", "two\n"] {
            File::from(open_log(&path).unwrap())
                .write_all(line.as_bytes())
                .unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o137, 0, "{mode:o}");
    }

    #[test]
    fn links_are_followed_only_where_nobody_else_could_have_put_them() {
        let (ours, open) = (folder(0o755), folder(0o1777));
        for link in [ours.path().join("log"), open.path().join("log")] {
            symlink(ours.path().join("target"), link).unwrap();
        }
        open_log(&ours.path().join("log")).unwrap();
        assert!(ours.path().join("target").exists());
        let error = open_log(&open.path().join("log")).unwrap_err().to_string();
        assert!(error.contains("symbolic link"), "{error}");

        symlink(ours.path(), ours.path().join("here")).unwrap();
        open_log(&ours.path().join("here/in-folder")).unwrap();
        symlink(ours.path(), open.path().join("there")).unwrap();
        assert!(open_log(&open.path().join("there/in-folder")).is_err());
        symlink("loop", ours.path().join("loop")).unwrap();
        assert!(open_log(&ours.path().join("loop")).is_err());
    }

    #[test]
    fn only_plain_files_are_logs() {
        let folder = folder(0o755);
        let error = open_log(Path::new("/dev/null")).unwrap_err().to_string();
        assert!(error.contains("no regular file"), "{error}");
        assert!(open_log(folder.path()).is_err());
        assert!(open_log(&folder.path().join("missing/access.log")).is_err());
    }

    #[test]
    fn another_name_of_some_file_is_no_log_where_others_may_write() {
        let folder = folder(0o777);
        let (file, other) = (folder.path().join("file"), folder.path().join("other"));
        fs::write(&file, "").unwrap();
        fs::hard_link(&file, &other).unwrap();
        let error = open_log(&other).unwrap_err().to_string();
        assert!(error.contains("another name"), "{error}");
    }
}
