//! Folders that the kernel watches for us (inotify), and what it says of them. One instance for all pools.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor},
};
use tokio::io::{Interest, unix::AsyncFd};

use crate::descriptor::register_for;

/// What is seen: names come and go, files are written and closed, times change.
const MASK: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

/// The folders, by their paths without symbolic links.
#[derive(Debug)]
pub(super) struct Folders {
    inotify: Inotify,
    ready: AsyncFd<OwnedFd>,
    by_path: BTreeMap<PathBuf, WatchDescriptor>,
    by_watch: BTreeMap<WatchDescriptor, PathBuf>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::supervisor) enum Seen {
    /// In a folder, to this name.
    Name(PathBuf, OsString, AddWatchFlags),
    /// The folder is gone, or has another name.
    Folder(PathBuf),
    /// The kernel had no room to say what.
    Anything,
}

impl Folders {
    /// None yet.
    pub(super) fn new() -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        // of the same open file: it is ready when the other is
        let copy = inotify.as_fd().try_clone_to_owned()?;
        Ok(Self {
            inotify,
            ready: register_for(copy, Interest::READABLE)?,
            by_path: BTreeMap::new(),
            by_watch: BTreeMap::new(),
        })
    }

    /// One more; nothing if it is watched already.
    pub(super) fn watch(&mut self, folder: &Path) -> io::Result<()> {
        if self.by_path.contains_key(folder) {
            return Ok(());
        }
        let watch = self.inotify.add_watch(folder, MASK)?;
        self.by_path.insert(folder.to_owned(), watch);
        self.by_watch.insert(watch, folder.to_owned());
        Ok(())
    }

    /// Lets go of those that nobody wants.
    pub(super) fn retain(&mut self, wanted: &BTreeSet<&Path>) {
        let unwanted: Vec<PathBuf> = (self.by_path.keys())
            .filter(|path| !wanted.contains(path.as_path()))
            .cloned()
            .collect();
        for path in unwanted {
            self.forget(&path);
        }
    }

    fn forget(&mut self, folder: &Path) {
        let Some(watch) = self.by_path.remove(folder) else {
            return;
        };
        if self.by_watch.get(&watch).is_some_and(|path| path == folder) {
            self.by_watch.remove(&watch);
            if let Err(error) = self.inotify.rm_watch(watch) {
                tracing::debug!("could not unwatch {}: {error}", folder.display());
            }
        }
    }

    /// What happened next. May be dropped at any time.
    pub(super) async fn next(&mut self) -> Vec<Seen> {
        loop {
            let Ok(mut ready) = self.ready.readable().await else {
                return std::future::pending().await;
            };
            match self.inotify.read_events() {
                Ok(events) => {
                    let seen: Vec<Seen> = (events.into_iter())
                        .filter_map(|event| {
                            if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                                return Some(Seen::Anything);
                            }
                            let folder = self.by_watch.get(&event.wd)?.clone();
                            match event.name {
                                Some(name) => Some(Seen::Name(folder, name, event.mask)),
                                None if event.mask.intersects(GONE) => Some(Seen::Folder(folder)),
                                None => None,
                            }
                        })
                        .collect();
                    for each in &seen {
                        if let Seen::Folder(folder) = each {
                            self.forget(folder);
                        }
                    }
                    if !seen.is_empty() {
                        return seen;
                    }
                }
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(Errno::EINTR) => {}
                Err(error) => {
                    tracing::error!("could not read what has changed in watched folders: {error}");
                    return std::future::pending().await;
                }
            }
        }
    }
}

const GONE: AddWatchFlags = AddWatchFlags::IN_DELETE_SELF
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_IGNORED)
    .union(AddWatchFlags::IN_UNMOUNT);
