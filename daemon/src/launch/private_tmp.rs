//! `private-tmp`: a mount namespace of the process's own, in which /tmp and /var/tmp are empty, and gone with its last process.

use std::{fs, path::Path};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    unistd::{getegid, geteuid},
};

use super::plan::Failure;
use crate::config::confinement::TEMPORARY;

/// Makes them, below `root`. Root does it while it is root; who is not does it in a user namespace, in which it is who it was.
pub(super) fn make(root: &Path) -> Result<(), Failure> {
    let (uid, gid) = (geteuid(), getegid());
    if uid.is_root() {
        unshare(CloneFlags::CLONE_NEWNS).map_err(failed("make a mount namespace"))?;
    } else {
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
            .map_err(failed("make a user namespace for private-tmp"))?;
        for (file, text) in [
            ("/proc/self/setgroups", "deny".to_owned()),
            ("/proc/self/uid_map", format!("{uid} {uid} 1")),
            ("/proc/self/gid_map", format!("{gid} {gid} 1")),
        ] {
            fs::write(file, text)
                .map_err(|error| Failure::of(format!("write {file} for private-tmp"), error))?;
        }
    }
    // what is mounted here stays here, what is mounted outside is seen here
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_SLAVE,
        None::<&str>,
    )
    .map_err(failed("keep the mounts of private-tmp apart"))?;
    for folder in TEMPORARY {
        let place = root.join(folder.trim_start_matches('/'));
        if !place.is_dir() && root != Path::new("/") {
            continue;
        }
        mount(
            Some("stockade"),
            &place,
            Some("tmpfs"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            Some("mode=1777"),
        )
        .map_err(failed(format!("mount an empty {}", place.display())))?;
    }
    Ok(())
}

fn failed(step: impl Into<String>) -> impl FnOnce(nix::errno::Errno) -> Failure {
    |error| Failure::of(step, error.desc())
}
