//! What an account may reach, as far as owners, groups and modes say: access control lists and mounts are not looked at.

use std::path::{Path, PathBuf};

use super::{
    resolved::{Account, SocketOwner},
    surroundings::{Found, Owner, Surroundings},
};

/// A folder that somebody may not enter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Closed {
    pub folder: PathBuf,
    pub mode: u32,
}

/// Whether a process of `account` (none: of our own) may write to a socket of this owner, group and mode.
pub(super) fn may_connect(owner: SocketOwner, account: Option<&Account>) -> bool {
    let Some(account) = account else {
        return owner.mode & 0o200 != 0;
    };
    let owner = Owner {
        uid: owner.uid.unwrap_or(0),
        gid: owner.gid.unwrap_or(0),
        mode: owner.mode,
    };
    permits(owner, account, WRITE)
}

/// The first folder on the way to `path`, itself included, that `account` may not enter. A folder that is not there yet is no obstacle.
pub(super) fn closed_folder(
    path: &Path,
    account: &Account,
    surroundings: &dyn Surroundings,
) -> Option<Closed> {
    let real = surroundings.real(path).ok();
    let closed = |path: &Path| {
        let mut folders: Vec<&Path> = path.ancestors().collect();
        folders.reverse();
        folders.into_iter().find_map(|folder| {
            matches!(surroundings.find(folder), Ok(Found::Folder)).then_some(())?;
            let owner = surroundings.owner(folder).ok()?;
            (!permits(owner, account, ENTER)).then(|| Closed {
                folder: folder.to_owned(),
                mode: owner.mode,
            })
        })
    };
    closed(path).or_else(|| real.as_deref().and_then(closed))
}

/// The mode of the file at `path` when `account` may not read it (a program: execute it); a file that is not there is no obstacle.
pub(super) fn closed_file(
    path: &Path,
    program: bool,
    account: &Account,
    surroundings: &dyn Surroundings,
) -> Option<u32> {
    let bit = if program { EXECUTE } else { READ };
    let owner = match surroundings.find(path) {
        Ok(Found::File | Found::Program) => surroundings.owner(path).ok()?,
        Ok(Found::Folder) | Err(_) => return None,
    };
    (!permits(owner, account, bit)).then_some(owner.mode)
}

/// Whether `account` has the permission `bit` of what belongs to `owner`.
fn permits(owner: Owner, account: &Account, bit: u32) -> bool {
    let shift = if owner.uid == account.uid {
        6
    } else if owner.gid == account.gid || account.groups.contains(&owner.gid) {
        3
    } else {
        0
    };
    owner.mode & (bit << shift) != 0
}

const READ: u32 = 0o4;
const WRITE: u32 = 0o2;
const EXECUTE: u32 = 0o1;
const ENTER: u32 = 0o1;
