//! What the meaning of a configuration depends on besides its text: who we are, which accounts, files and cores there are.

use std::{
    env,
    ffi::{CString, OsString},
    fs,
    io::{self, Read as _},
    os::{
        fd::AsRawFd as _,
        unix::fs::{MetadataExt, OpenOptionsExt as _, PermissionsExt},
    },
    path::{Path, PathBuf},
    thread,
};

use landlock::{AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _};
use nix::{
    fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2},
    libc,
    sys::{
        resource::{Resource, getrlimit},
        stat::Mode,
    },
    unistd::{self, Gid, Uid},
};

/// An entry of the system's table of users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
    /// Its home folder.
    pub home: PathBuf,
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A folder.
    Folder,
    /// A file somebody may execute.
    Program,
    /// Anything else.
    File,
}

/// Who may do what with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its user's number.
    pub uid: u32,
    /// Its group's number.
    pub gid: u32,
    /// Its permission bits.
    pub mode: u32,
}

/// What may be asked; nothing is changed by it.
pub trait Surroundings {
    /// Our own effective user.
    fn uid(&self) -> u32;
    /// Our own effective group.
    fn gid(&self) -> u32;
    /// Every group of ours, the supplementary ones included.
    fn gids(&self) -> Vec<u32>;
    /// Processors this process may use; at least 1.
    fn cores(&self) -> u32;
    /// A variable of our own environment.
    fn variable(&self, name: &str) -> Option<OsString>;
    /// The user called so.
    ///
    /// # Errors
    /// When the table of users cannot be read.
    fn user(&self, name: &str) -> io::Result<Option<User>>;
    /// The user of this number.
    ///
    /// # Errors
    /// When the table of users cannot be read.
    fn user_of(&self, uid: u32) -> io::Result<Option<User>>;
    /// The number of the group called so.
    ///
    /// # Errors
    /// When the table of groups cannot be read.
    fn group(&self, name: &str) -> io::Result<Option<u32>>;
    /// The name of the group of this number.
    ///
    /// # Errors
    /// When the table of groups cannot be read.
    fn group_of(&self, gid: u32) -> io::Result<Option<String>>;
    /// Every group of a user, `gid` (its primary one) included.
    ///
    /// # Errors
    /// When the table of groups cannot be read.
    fn groups_of(&self, user: &str, gid: u32) -> io::Result<Vec<u32>>;
    /// What is at `path`, symbolic links followed.
    ///
    /// # Errors
    /// When there is nothing, or it cannot be seen.
    fn find(&self, path: &Path) -> io::Result<Found>;
    /// Whom what is at `path` belongs to and its mode, symbolic links followed.
    ///
    /// # Errors
    /// When there is nothing, or it cannot be seen.
    fn owner(&self, path: &Path) -> io::Result<Owner>;
    /// `path` without symbolic links.
    ///
    /// # Errors
    /// When there is nothing, or it cannot be seen.
    fn real(&self, path: &Path) -> io::Result<PathBuf>;
    /// Where what is called `path` by a process whose root folder is `root` is for us, symbolic links followed as it would.
    ///
    /// # Errors
    /// When there is nothing, or it cannot be seen.
    fn inside(&self, root: &Path, path: &Path) -> io::Result<PathBuf>;
    /// The first `most` bytes of a file.
    ///
    /// # Errors
    /// When it cannot be read, or is something else that may be read.
    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>>;
    /// Our own environment.
    fn variables(&self) -> Vec<(OsString, OsString)>;
    /// The most that we may have of something; none: no limit, or it is not known.
    fn hard_limit(&self, resource: Resource) -> Option<u64>;
    /// The kernel can confine processes to paths.
    fn has_landlock(&self) -> bool;
}

/// The system we run on.
#[derive(Clone, Copy, Debug)]
pub struct System;

impl Surroundings for System {
    fn uid(&self) -> u32 {
        unistd::geteuid().as_raw()
    }

    fn gid(&self) -> u32 {
        unistd::getegid().as_raw()
    }

    fn gids(&self) -> Vec<u32> {
        let mut gids = vec![self.gid()];
        gids.extend(
            unistd::getgroups()
                .unwrap_or_default()
                .into_iter()
                .map(Gid::as_raw),
        );
        gids
    }

    fn cores(&self) -> u32 {
        thread::available_parallelism()
            .ok()
            .and_then(|cores| u32::try_from(cores.get()).ok())
            .unwrap_or(1)
    }

    fn variable(&self, name: &str) -> Option<OsString> {
        env::var_os(name)
    }

    fn user(&self, name: &str) -> io::Result<Option<User>> {
        Ok(unistd::User::from_name(name)?.map(User::from))
    }

    fn user_of(&self, uid: u32) -> io::Result<Option<User>> {
        Ok(unistd::User::from_uid(Uid::from_raw(uid))?.map(User::from))
    }

    fn group(&self, name: &str) -> io::Result<Option<u32>> {
        Ok(unistd::Group::from_name(name)?.map(|group| group.gid.as_raw()))
    }

    fn group_of(&self, gid: u32) -> io::Result<Option<String>> {
        Ok(unistd::Group::from_gid(Gid::from_raw(gid))?.map(|group| group.name))
    }

    fn groups_of(&self, user: &str, gid: u32) -> io::Result<Vec<u32>> {
        let user = CString::new(user)?;
        let groups = unistd::getgrouplist(&user, Gid::from_raw(gid))?;
        Ok(groups.into_iter().map(Gid::as_raw).collect())
    }

    fn find(&self, path: &Path) -> io::Result<Found> {
        let metadata = fs::metadata(path)?;
        Ok(if metadata.is_dir() {
            Found::Folder
        } else if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 {
            Found::Program
        } else {
            Found::File
        })
    }

    fn owner(&self, path: &Path) -> io::Result<Owner> {
        let metadata = fs::metadata(path)?;
        Ok(Owner {
            uid: metadata.uid(),
            gid: metadata.gid(),
            mode: metadata.mode() & 0o777,
        })
    }

    fn real(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path)
    }

    fn inside(&self, root: &Path, path: &Path) -> io::Result<PathBuf> {
        let folder = open(root, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT);
        let found = openat2(&folder, path, how)?;
        fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd()))
    }

    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        read_file(path, most)
    }

    fn variables(&self) -> Vec<(OsString, OsString)> {
        env::vars_os().collect()
    }

    fn hard_limit(&self, resource: Resource) -> Option<u64> {
        let (_, most) = getrlimit(resource).ok()?;
        (most != u64::MAX).then_some(most)
    }

    fn has_landlock(&self) -> bool {
        Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::Execute)
            .and_then(Ruleset::create)
            .is_ok()
    }
}

/// The first `most` bytes of a file. It may be in a folder that is somebody else's to write to, so nothing is waited for: a named pipe would
/// be read when its other end is opened.
pub(super) fn read_file(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl From<unistd::User> for User {
    fn from(user: unistd::User) -> Self {
        Self {
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            home: user.dir,
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn only_files_are_read_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (file, pipe) = (folder.path().join("file"), folder.path().join("pipe"));
        fs::write(&file, "A=1\nB=2\n").unwrap();
        mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        assert_eq!(System.read(&file, 3).unwrap(), b"A=1");
        for other in [&*pipe, folder.path(), Path::new("/dev/zero")] {
            let error = System.read(other, 3).unwrap_err();
            assert_eq!(error.to_string(), "it is no file", "{}", other.display());
        }
    }
}
