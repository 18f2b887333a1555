//! What a process with a root folder of its own finds: the same accounts, other files.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use nix::sys::resource::Resource;

use super::surroundings::{Found, Owner, Surroundings, User};

/// The surroundings of a process in `root`.
pub(super) struct Rooted<'a> {
    /// The folder.
    pub(super) root: &'a Path,
    /// Ours.
    pub(super) outside: &'a dyn Surroundings,
}

impl Rooted<'_> {
    fn outside(&self, path: &Path) -> io::Result<PathBuf> {
        self.outside.inside(self.root, path)
    }
}

impl Surroundings for Rooted<'_> {
    fn uid(&self) -> u32 {
        self.outside.uid()
    }

    fn gid(&self) -> u32 {
        self.outside.gid()
    }

    fn gids(&self) -> Vec<u32> {
        self.outside.gids()
    }

    fn cores(&self) -> u32 {
        self.outside.cores()
    }

    fn variable(&self, name: &str) -> Option<OsString> {
        self.outside.variable(name)
    }

    fn user(&self, name: &str) -> io::Result<Option<User>> {
        self.outside.user(name)
    }

    fn user_of(&self, uid: u32) -> io::Result<Option<User>> {
        self.outside.user_of(uid)
    }

    fn group(&self, name: &str) -> io::Result<Option<u32>> {
        self.outside.group(name)
    }

    fn group_of(&self, gid: u32) -> io::Result<Option<String>> {
        self.outside.group_of(gid)
    }

    fn groups_of(&self, user: &str, gid: u32) -> io::Result<Vec<u32>> {
        self.outside.groups_of(user, gid)
    }

    fn find(&self, path: &Path) -> io::Result<Found> {
        self.outside.find(&self.outside(path)?)
    }

    fn owner(&self, path: &Path) -> io::Result<Owner> {
        self.outside.owner(&self.outside(path)?)
    }

    fn real(&self, path: &Path) -> io::Result<PathBuf> {
        let outside = self.outside(path)?;
        let root = self.outside.real(self.root)?;
        Ok(match outside.strip_prefix(root) {
            Ok(inside) => Path::new("/").join(inside),
            // by a mount or a bind of something else
            Err(_) => path.to_path_buf(),
        })
    }

    fn inside(&self, root: &Path, path: &Path) -> io::Result<PathBuf> {
        self.outside.inside(&self.outside(root)?, path)
    }

    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        self.outside.read(&self.outside(path)?, most)
    }

    fn variables(&self) -> Vec<(OsString, OsString)> {
        self.outside.variables()
    }

    fn hard_limit(&self, resource: Resource) -> Option<u64> {
        self.outside.hard_limit(resource)
    }

    fn has_landlock(&self) -> bool {
        self.outside.has_landlock()
    }
}
