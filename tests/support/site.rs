//! A folder of a test's own, which the accounts of pools, relay and nginx can enter.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use nix::unistd::chown;
use tempfile::TempDir;

use super::{
    process::command,
    tools::{self, POOL_USER},
};

/// The folder; gone with the value.
pub(crate) struct Site {
    folder: TempDir,
}

impl Site {
    /// An empty one. Its path is short, as the addresses of unix sockets must be.
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("stockade-")
            .tempdir_in("/tmp")
            .expect("a folder can be made in /tmp");
        open_to_all(folder.path());
        Self { folder }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A file in it, readable by all.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, text).expect("the test's folder can be written to");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("the file is ours");
        path
    }

    /// A program in it, for all.
    pub(crate) fn program(&self, name: &str, text: &str) -> PathBuf {
        let path = self.write(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("the file is ours");
        path
    }

    /// A folder in it that the pools may write to.
    pub(crate) fn folder_for_pool(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir(&path).expect("the test's folder can be written to");
        give_to_pool_user(&path);
        path
    }

    /// A copy in it of a file or folder of the repository (or of what was built from it), for the account of the pools.
    pub(crate) fn copy_for_pool(&self, source: &Path) -> PathBuf {
        let name = source.file_name().expect("what is copied has a name");
        let copy = self.path().join(name);
        let status = command("cp")
            .arg("-a")
            .args([source, &copy])
            .status()
            .expect("cp can be started");
        assert!(status.success(), "cp -a {} failed", source.display());
        give_to_pool_user(&copy);
        copy
    }

    /// `path` itself where every account can get at it, else a copy.
    pub(crate) fn reachable(&self, path: &Path) -> PathBuf {
        if closed_to_accounts(path) {
            let copy = self
                .path()
                .join(path.file_name().expect("what is copied has a name"));
            if copy.exists() {
                copy
            } else {
                self.copy_for_pool(path)
            }
        } else {
            path.to_owned()
        }
    }
}

/// Whether a folder that it is in keeps the accounts out that the tests' pools have.
pub(crate) fn closed_to_accounts(path: &Path) -> bool {
    let closed =
        |folder: &Path| fs::metadata(folder).is_ok_and(|folder| folder.mode() & 0o001 == 0);
    tools::root() && path.ancestors().skip(1).any(closed)
}

fn open_to_all(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("the folder is ours");
}

/// Gives a file or folder and all below it to the account of the pools. For root only: the pools of anybody else are that user.
pub(crate) fn give_to_pool_user(path: &Path) {
    if !tools::root() {
        return;
    }
    let account = tools::account(POOL_USER);
    let give = |path: &Path| {
        if !path.is_symlink() {
            chown(path, Some(account.uid), Some(account.gid)).expect("root may give files away");
        }
    };
    give(path);
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
        {
            give(&entry.path());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
        }
    }
}
