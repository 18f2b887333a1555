//! This daemon's cgroup, `stockade/` or the first `stockade.N/` that no other daemon has.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use stockade_policy::WorkerId;

use super::{
    controller::{self, Controller},
    files,
    lack::Lack,
    leaf::Leaf,
    place::Place,
};
use crate::config::resolved::CgroupLimits;

/// Daemons in one cgroup.
const MOST_DAEMONS: u32 = 1_000;
/// How long those may take to die whom an earlier daemon has left.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same of our own, at the end.
const LAST_PATIENCE: Duration = Duration::from_millis(200);
/// The most that one may have: the relay has to be heard whatever the pools do.
const SUPERVISOR_WEIGHT: &str = "10000";

/// Held while the daemon runs.
#[derive(Debug)]
pub(super) struct Home {
    /// That in which the daemon was started.
    ours: Place,
    place: Place,
    _lock: Flock<File>,
}

impl Home {
    /// Finds one that is free, clears it of what an earlier daemon left, and enters it.
    pub(super) fn take() -> Result<Self, Lack> {
        let ours = Place::own()?;
        let names = (1..=MOST_DAEMONS).map(|number| match number {
            1 => HOME.to_owned(),
            number => format!("{HOME}.{number}"),
        });
        for name in names {
            let place = ours.below(&name);
            let made = |error: io::Error| Lack::of_making(&ours.name, &place.path, &error);
            let Some(lock) = claim(&place).map_err(made)? else {
                continue;
            };
            let home = Self {
                ours: ours.clone(),
                place,
                _lock: lock,
            };
            match home.clear() {
                Ok(true) => {
                    home.enter()?;
                    return Ok(home);
                }
                Ok(false) => tracing::debug!("cgroup {}: somebody is left in it", home.name()),
                Err(error) => tracing::debug!("cgroup {}: not cleared: {error}", home.name()),
            }
        }
        let place = ours.below(HOME).name;
        Err(Lack::Step {
            step: format!("find a cgroup like {place}"),
            reason: "they are all in use".to_owned(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.place.name
    }

    fn clear(&self) -> io::Result<bool> {
        if !files::clear(&self.place.path, PATIENCE)? {
            return Ok(false);
        }
        for entry in fs::read_dir(&self.place.path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                files::remove(&entry.path())?;
            }
        }
        Ok(true)
    }

    fn enter(&self) -> Result<(), Lack> {
        let place = self.place.below(SUPERVISOR);
        fs::create_dir(&place.path)
            .map_err(|error| Lack::of_making(&self.ours.name, &place.path, &error))?;
        files::write(&place.path, "cgroup.procs", "0").map_err(self.failed("enter"))?;
        if let Err(lack) = self.enable(Controller::Memory) {
            tracing::debug!("memory of workers is not counted: {lack}");
        }
        Ok(())
    }

    /// Has a controller in the cgroups of the pools.
    pub(super) fn enable(&self, controller: Controller) -> Result<(), Lack> {
        let word = controller.to_string();
        if files::lists(&self.place.path, SUBTREE, &word) {
            return Ok(());
        }
        if !files::lists(&self.ours.path, "cgroup.controllers", &word) {
            return Err(self.lacks(controller));
        }
        let enable = format!("+{controller}");
        let step = |error: io::Error| match error.raw_os_error() {
            Some(libc) if libc == Errno::EBUSY as i32 => Lack::Shared {
                cgroup: self.ours.name.clone(),
                pid: self.neighbour().unwrap_or_default(),
            },
            _ => self.failed(&format!("use the controller {controller} in"))(error),
        };
        files::write(&self.ours.path, SUBTREE, &enable).map_err(step)?;
        files::write(&self.place.path, SUBTREE, &enable).map_err(step)?;
        if controller == Controller::Cpu {
            files::write(
                &self.place.path.join(SUPERVISOR),
                "cpu.weight",
                SUPERVISOR_WEIGHT,
            )
            .map_err(self.failed("give the most processor time to"))?;
        }
        tracing::debug!("cgroup {}: {controller} is counted", self.place.name);
        Ok(())
    }

    fn lacks(&self, controller: Controller) -> Lack {
        let word = controller.to_string();
        let passed_on = files::lists(&self.ours.root, "cgroup.controllers", &word);
        Lack::NoController {
            controller,
            cgroup: self.ours.name.clone(),
            remedy: if passed_on {
                "name it below [Service] in the unit, as Delegate=memory pids cpu, or write Delegate=yes"
            } else {
                "the system has it in cgroup v1 (boot it with systemd.unified_cgroup_hierarchy=1), or the container has not been given it"
            },
        }
    }

    /// Somebody else in the cgroup that the daemon was started in.
    fn neighbour(&self) -> Option<i32> {
        let all = fs::read_to_string(self.ours.path.join("cgroup.procs")).ok()?;
        all.lines().find_map(|line| line.parse().ok())
    }

    /// Gives a pool these limits, and lifts those that it had.
    pub(super) fn limit(&self, pool: &str, limits: &CgroupLimits) -> Result<(), Lack> {
        let path = self.pool(pool)?.path;
        for (file, set, word) in controller::files(limits) {
            if set || files::has(&path, file) {
                files::write(&path, file, &word).map_err(Lack::step(format!(
                    "write {word} to {}/{file}",
                    path.display()
                )))?;
            }
        }
        Ok(())
    }

    /// Makes a worker's leaf.
    pub(super) fn leaf(&self, pool: &str, worker: WorkerId) -> Result<Leaf, Lack> {
        let place = self.pool(pool)?.below(&format!("worker.{worker}"));
        Leaf::make(place.clone())
            .map_err(|error| Lack::of_making(&self.ours.name, &place.path, &error))
    }

    /// A pool's cgroup, which is made when it is missing.
    fn pool(&self, pool: &str) -> Result<Place, Lack> {
        let place = self.place_of(pool);
        let path = &place.path;
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Lack::of_making(&self.ours.name, path, &error));
            }
            _ => {}
        }
        // each worker's memory is counted, so that it is known who was killed for want of it
        if files::lists(path, "cgroup.controllers", "memory")
            && !files::lists(path, SUBTREE, "memory")
        {
            files::write(path, SUBTREE, "+memory")
                .map_err(Lack::step(format!("count memory in {}", path.display())))?;
        }
        Ok(place)
    }

    fn place_of(&self, pool: &str) -> Place {
        self.place.below(&format!("pool.{pool}"))
    }

    /// How often a pool's own limit was reached and nothing could be freed.
    pub(super) fn out_of_memory(&self, pool: &str) -> u64 {
        files::count(&self.place_of(pool).path, "memory.events.local", "oom").unwrap_or(0)
    }

    /// Removes a pool's cgroup. False: somebody in it is dying yet.
    pub(super) fn forget(&self, pool: &str) -> bool {
        let removed = fs::remove_dir(self.place_of(pool).path);
        removed.map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |()| true)
    }

    fn failed(&self, step: &str) -> impl FnOnce(io::Error) -> Lack {
        Lack::step(format!("{step} the cgroup {}", self.place.name))
    }
}

impl Drop for Home {
    /// Goes back to where the daemon was started, and removes what was made; every process that was started is gone. That is not possible
    /// where controllers were enabled in a cgroup that is not the root: the next daemon takes it then, or systemd removes it.
    fn drop(&mut self) {
        let pools = fs::read_dir(&self.place.path)
            .into_iter()
            .flatten()
            .flatten();
        for path in pools.map(|entry| entry.path()) {
            if path.is_dir() && !path.ends_with(SUPERVISOR) {
                // what cannot be killed stays, and so does all of it
                drop(files::clear(&path, LAST_PATIENCE).and_then(|_| files::remove(&path)));
            }
        }
        let left = files::write(&self.ours.path, "cgroup.procs", "0")
            .and_then(|()| files::remove(&self.place.path));
        if let Err(error) = left {
            tracing::debug!("cgroup {} stays: {error}", self.place.name);
        }
    }
}

/// Makes it unless it is there, and locks it; none when another daemon has it.
fn claim(place: &Place) -> io::Result<Option<Flock<File>>> {
    loop {
        match fs::create_dir(&place.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let opened = match File::open(&place.path) {
            // its daemon has just ended
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        let lock = match Flock::lock(opened, FlockArg::LockExclusiveNonblock) {
            Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
            Err((_, error)) => return Err(error.into()),
            Ok(lock) => lock,
        };
        // it may have been removed meanwhile, and made again by another
        match fs::metadata(&place.path) {
            Ok(there) if there.ino() == lock.metadata()?.ino() => return Ok(Some(lock)),
            _ => {}
        }
    }
}

const HOME: &str = "stockade";
const SUPERVISOR: &str = "supervisor";
const SUBTREE: &str = "cgroup.subtree_control";

/// What the kernel would have in a folder that is ours.
#[cfg(test)]
pub(super) fn imagined(folder: &std::path::Path) -> Home {
    let ours = Place {
        name: "/daemon".to_owned(),
        path: folder.join("daemon"),
        root: folder.to_owned(),
    };
    fs::create_dir(&ours.path).unwrap();
    let place = ours.below(HOME);
    let lock = claim(&place).unwrap().unwrap();
    for (cgroup, controllers) in [(&ours.path, "memory pids"), (&place.path, "memory")] {
        fs::write(cgroup.join("cgroup.controllers"), controllers).unwrap();
        fs::write(cgroup.join(SUBTREE), "").unwrap();
    }
    Home {
        ours,
        place,
        _lock: lock,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn text(cgroup: &Path, file: &str) -> String {
        fs::read_to_string(cgroup.join(file)).unwrap()
    }

    #[test]
    fn a_controller_is_had_from_above() {
        let folder = tempfile::tempdir().unwrap();
        let home = imagined(folder.path());
        home.enable(Controller::Memory).unwrap();
        for cgroup in [&home.ours.path, &home.place.path] {
            assert_eq!(text(cgroup, SUBTREE), "+memory");
        }
    }

    #[test]
    fn a_controller_that_is_not_there_is_named_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let home = imagined(folder.path());
        // nowhere in this hierarchy
        let said = home.enable(Controller::Cpu).unwrap_err().to_string();
        let lacks = "the controller cpu is not in /daemon, the daemon's own cgroup: ";
        assert!(
            said.starts_with(lacks) && said.contains("cgroup v1"),
            "{said}"
        );
        // at its root, but not passed on to the unit
        fs::write(folder.path().join("cgroup.controllers"), "cpu memory pids").unwrap();
        let said = home.enable(Controller::Cpu).unwrap_err().to_string();
        assert!(
            said.starts_with(lacks) && said.contains("Delegate=yes"),
            "{said}"
        );
    }

    #[test]
    fn limits_are_written_and_lifted() {
        let folder = tempfile::tempdir().unwrap();
        let home = imagined(folder.path());
        let pool = home.place_of("blog").path;
        fs::create_dir(&pool).unwrap();
        let limits = CgroupLimits {
            memory_max: Some(64),
            ..CgroupLimits::default()
        };
        let said = home.limit("blog", &limits).unwrap_err().to_string();
        assert!(said.starts_with("could not write 64 to "), "{said}");
        for file in ["memory.max", "memory.high"] {
            fs::write(pool.join(file), "").unwrap();
        }
        home.limit("blog", &limits).unwrap();
        assert_eq!(text(&pool, "memory.max"), "64");
        assert_eq!(text(&pool, "memory.high"), "max");
        assert!(!pool.join("pids.max").exists());
        home.limit("blog", &CgroupLimits::default()).unwrap();
        assert_eq!(text(&pool, "memory.max"), "max");
    }

    #[test]
    fn one_daemon_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let home = imagined(folder.path());
        assert!(claim(&home.place).unwrap().is_none());
        let place = home.place.clone();
        // left with all that is in it, as a daemon that was killed leaves it
        drop(home);
        assert!(claim(&place).unwrap().is_some());
    }
}
