//! `reload.touch` and `reload.watch`: pools that are reloaded when a file changes. The kernel says when there is something to look at
//! (`folders`); whether it matters is looked up then (`paths`). No file is opened.

mod folders;
mod paths;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    future::pending,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{errno::Errno, sys::inotify::AddWatchFlags};
use stockade_policy::{PoolId, Time};

pub(super) use self::folders::Seen;
use self::{
    folders::Folders,
    paths::{Files, Stamp, is_passing, trail},
};
use super::shell::Shell;
use crate::config::resolved::Pool;

/// From the first change to the reload: a deployment changes more than one file.
const SETTLES: Duration = Duration::from_millis(100);

/// Who watches what.
#[derive(Debug, Default)]
pub(super) struct Watcher {
    folders: Option<Folders>,
    pools: BTreeMap<PoolId, Watched>,
}

/// What a pool watches.
#[derive(Debug)]
struct Watched {
    name: String,
    touch: Vec<(PathBuf, Stamp)>,
    files: Vec<Files>,
    /// The keys, to see when they change.
    keys: (Vec<PathBuf>, Vec<String>),
    /// Names whose change may matter, with their folders.
    names: BTreeSet<(PathBuf, OsString)>,
    /// Folders of `files`, without symbolic links and as the patterns have them.
    below: BTreeMap<PathBuf, PathBuf>,
    /// When it is to be looked at.
    due: Option<Time>,
    /// A file of `files` has changed.
    changed: Option<PathBuf>,
    /// It was said that something cannot be watched.
    warned: bool,
}

impl Watcher {
    /// Watches what `keys` name; nothing changes if that is watched already.
    fn set(&mut self, pool: PoolId, keys: &Pool) {
        let wanted = (keys.renewal.touch.clone(), keys.renewal.watch.clone());
        if self
            .pools
            .get(&pool)
            .is_some_and(|known| known.keys == wanted)
        {
            return;
        }
        let (touch, watch) = &wanted;
        if touch.is_empty() && watch.is_empty() {
            self.pools.remove(&pool);
            return;
        }
        let stamped = |path: &PathBuf| (path.clone(), Stamp::of(path));
        let mut watched = Watched {
            name: keys.name.clone(),
            touch: touch.iter().map(stamped).collect(),
            files: watch.iter().filter_map(|each| Files::of(each)).collect(),
            keys: wanted,
            names: BTreeSet::new(),
            below: BTreeMap::new(),
            due: None,
            changed: None,
            warned: false,
        };
        watched.look_where();
        watched.watch(&mut self.folders);
        // what changed before it was watched
        watched.look_where();
        watched.watch(&mut self.folders);
        self.pools.insert(pool, watched);
    }

    /// Lets go of what nobody wants.
    fn tidy(&mut self) {
        let Some(folders) = &mut self.folders else {
            return;
        };
        let pools = self.pools.values();
        let wanted: BTreeSet<&Path> = pools.flat_map(Watched::folders).collect();
        folders.retain(&wanted);
        if self.pools.is_empty() {
            self.folders = None;
        }
    }

    /// What has been seen next; for ever when nothing is watched. May be dropped at any time.
    pub(super) async fn next(&mut self) -> Vec<Seen> {
        match &mut self.folders {
            Some(folders) => folders.next().await,
            None => pending().await,
        }
    }

    /// Notes what it means.
    pub(super) fn saw(&mut self, seen: &[Seen], now: Time) {
        for watched in self.pools.values_mut() {
            for each in seen {
                if watched.minds(each) && watched.due.is_none() {
                    watched.due = Some(now.after(SETTLES));
                }
            }
            watched.watch(&mut self.folders);
        }
    }

    /// When something is to be looked at.
    pub(super) fn due(&self) -> Option<Time> {
        self.pools.values().filter_map(|watched| watched.due).min()
    }

    /// The pools that are to be reloaded, and because of which file.
    fn expire(&mut self, now: Time) -> Vec<(PoolId, PathBuf)> {
        let mut changed = Vec::new();
        for (pool, watched) in &mut self.pools {
            if watched.due.is_none_or(|due| due > now) {
                continue;
            }
            watched.due = None;
            watched.look_where();
            watched.watch(&mut self.folders);
            changed.extend(watched.look().map(|path| (*pool, path)));
        }
        if !changed.is_empty() {
            self.tidy();
        }
        changed
    }
}

impl Watched {
    fn folders(&self) -> impl Iterator<Item = &Path> {
        let names = self.names.iter().map(|(folder, _)| folder.as_path());
        names.chain(self.below.keys().map(PathBuf::as_path))
    }

    /// Where something could change.
    fn look_where(&mut self) {
        let paths = self.touch.iter().map(|(path, _)| path);
        let roots = self.files.iter().map(|files| &files.root);
        self.names = paths.chain(roots).flat_map(|path| trail(path)).collect();
        self.below = self.files.iter().flat_map(Files::folders).collect();
    }

    /// Has the kernel watch it.
    fn watch(&mut self, folders: &mut Option<Folders>) {
        let all: BTreeSet<PathBuf> = self.folders().map(Path::to_owned).collect();
        for folder in all {
            // one that is gone is looked for elsewhere when what has become of it is looked at
            if let Err(error) = watch(folders, &folder)
                && error.kind() != io::ErrorKind::NotFound
                && !std::mem::replace(&mut self.warned, true)
            {
                tracing::warn!(
                    "pool {}: could not watch {}: {error}{}",
                    self.name,
                    folder.display(),
                    remedy(&error)
                );
            }
        }
    }

    /// Whether it is worth a look.
    fn minds(&mut self, seen: &Seen) -> bool {
        let (folder, name, mask) = match seen {
            Seen::Anything => {
                let root = self.files.first().map(|files| files.root.clone());
                self.changed = self.changed.take().or(root);
                return true;
            }
            Seen::Folder(folder) => return self.folders().any(|own| own == folder),
            Seen::Name(folder, name, mask) => (folder, name, *mask),
        };
        let mut minds = self.names.contains(&(folder.clone(), name.clone()));
        let Some(written) = self.below.get(folder) else {
            return minds;
        };
        let path = written.join(name);
        if mask.contains(AddWatchFlags::IN_ISDIR) {
            if mask.intersects(CAME_OR_WENT) && !is_passing(name) {
                self.look_into_new();
                minds |= self.changed.is_some();
            }
        } else if mask.intersects(WRITTEN) && self.files.iter().any(|files| files.has(&path)) {
            self.changed = Some(path);
            minds = true;
        }
        minds
    }

    /// Folders have come: there may be files in them already.
    fn look_into_new(&mut self) {
        let before = std::mem::take(&mut self.below);
        self.look_where();
        for (real, written) in &self.below {
            if before.contains_key(real) {
                continue;
            }
            let entries = std::fs::read_dir(real).into_iter().flatten().flatten();
            let mut paths = entries.map(|entry| written.join(entry.file_name()));
            let found = paths.find(|path| self.files.iter().any(|files| files.has(path)));
            self.changed = self.changed.take().or(found);
        }
    }

    /// What has changed.
    fn look(&mut self) -> Option<PathBuf> {
        let mut changed = self.changed.take();
        for (path, stamp) in &mut self.touch {
            let now = Stamp::of(path);
            if now != *stamp {
                *stamp = now;
                changed = Some(path.clone());
            }
        }
        changed
    }
}

impl Shell {
    /// Pools have come, gone or changed.
    pub(super) fn watch_pools(&mut self) {
        for record in self.pools.values() {
            if record.closing {
                self.watcher.pools.remove(&record.id);
            } else {
                self.watcher.set(record.id, record.in_force());
            }
        }
        let pools = &self.pools;
        self.watcher
            .pools
            .retain(|pool, _| pools.contains_key(pool));
        self.watcher.tidy();
    }

    /// Reloads the pools whose files have changed.
    pub(super) fn expire_watches(&mut self, now: Time) {
        for (pool, path) in self.watcher.expire(now) {
            if !self.stopping {
                self.reload_because(pool, &path);
            }
        }
    }
}

fn watch(folders: &mut Option<Folders>, folder: &Path) -> io::Result<()> {
    if folders.is_none() {
        *folders = Some(Folders::new()?);
    }
    match folders {
        Some(folders) => folders.watch(folder),
        None => Ok(()),
    }
}

/// What to do about it.
fn remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOSPC) => {
            ": raise the sysctl fs.inotify.max_user_watches, or name fewer files in `watch`"
        }
        Some(Errno::EMFILE) => ": raise the sysctl fs.inotify.max_user_instances",
        _ => ": its changes go unnoticed",
    }
}

const CAME_OR_WENT: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVED_FROM);
const WRITTEN: AddWatchFlags = AddWatchFlags::IN_CLOSE_WRITE
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVED_FROM);
