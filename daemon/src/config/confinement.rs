//! What a worker may have and reach: the keys from `chroot` to `read-write-paths`.
//!
//! What can be known to fail when the file is read is refused here, with the reason; the rest by the launcher, which does it.

mod forms;
pub mod paths;
mod print;

use std::path::{Path, PathBuf};

use nix::sys::resource::Resource;
use serde::{Deserialize, Serialize};

pub use forms::CpuPolicy;
pub(super) use forms::{CoreSize, PathOrOff, Priority};
pub use paths::Paths;
pub(super) use print::{entries, entries_of_start};

use super::{
    errors::{Problem, Problems},
    file::{Given, PoolKeys, Spot},
    resolve::{absolute, value},
    resolved::Application,
    sizes::{Ceiling, in_words},
    surroundings::{Found, Surroundings},
};

/// What a process is left with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// `chroot`: its root folder.
    pub chroot: Option<PathBuf>,
    /// `cpu-priority`; 0: what the daemon has.
    pub cpu_priority: i32,
    /// `cpu-policy`.
    pub cpu_policy: CpuPolicy,
    /// `memory-limit` and the like.
    pub limits: Limits,
    /// It may gain what it has not: `no-new-privileges` is false.
    pub new_privileges: bool,
    /// `private-tmp`.
    pub private_tmp: bool,
    /// `read-only-paths`, `read-write-paths`; none: neither is named.
    pub paths: Option<Paths>,
}

/// Limits that the kernel keeps; none: what the daemon has. In bytes, but for those that count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// `memory-limit`: RLIMIT_DATA.
    pub data: Option<u64>,
    /// `virtual-memory-limit`: RLIMIT_AS.
    pub address_space: Option<u64>,
    /// `open-files`: RLIMIT_NOFILE.
    pub open_files: Option<u64>,
    /// `core-size`: RLIMIT_CORE; the largest number: no limit.
    pub core: Option<u64>,
    /// RLIMIT_CPU, in seconds: what kills a worker that nobody has stopped at its `cpu-time-limit`.
    pub cpu: Option<u64>,
}

/// Keys of this page. They have no meaning where the processes are somebody else's.
pub(super) const KEYS: &[&str] = &[
    "chroot",
    "cpu-priority",
    "cpu-policy",
    "memory-limit",
    "virtual-memory-limit",
    "open-files",
    "core-size",
    "no-new-privileges",
    "private-tmp",
    "read-only-paths",
    "read-write-paths",
    "supplementary-groups",
];

/// What the keys of a pool mean. Files of its `application` and `home` must be left in sight.
pub(super) fn confinement(
    keys: &PoolKeys,
    chroot: Option<PathBuf>,
    application: &Application,
    home: &Path,
    surroundings: &dyn Surroundings,
    problems: &mut Problems,
) -> Option<Confinement> {
    let new_privileges = !value(keys.no_new_privileges.as_ref(), |given| *given, true);
    let private_tmp = value(keys.private_tmp.as_ref(), |given| *given, false);
    let cpu_priority = problems.keep(cpu_priority(keys, surroundings));
    let limits = problems.keep(limits(keys, surroundings));
    problems.keep(private_tmp_is_possible(
        keys,
        application,
        home,
        surroundings,
    ))?;
    let paths = problems.keep(paths::paths(keys, application, home, surroundings))?;
    Some(Confinement {
        chroot,
        cpu_priority: cpu_priority?,
        cpu_policy: value(keys.cpu_policy.as_ref(), |given| *given, CpuPolicy::Batch),
        limits: limits?,
        new_privileges,
        private_tmp,
        paths,
    })
}

/// `chroot`: a folder, and only root may choose one.
pub(super) fn chroot(
    keys: &PoolKeys,
    folder: &Path,
    surroundings: &dyn Surroundings,
) -> Result<Option<PathBuf>, Problem> {
    let Some((given, path)) = keys
        .chroot
        .as_ref()
        .and_then(|given| Some((given, given.value.0.as_ref()?)))
    else {
        return Ok(None);
    };
    let path = absolute(folder, path);
    let shown = path.display();
    if surroundings.uid() != 0 {
        return Err(given.spot.wrong(format!(
            "is {shown}, but only root can change the root folder of a process: remove the key, or start the daemon as root"
        )));
    }
    match surroundings.find(&path) {
        Ok(Found::Folder) => {}
        Ok(Found::File | Found::Program) => {
            return Err(given
                .spot
                .wrong(format!("is {shown}, which is no folder: name one")));
        }
        Err(reason) => {
            return Err(given.spot.wrong(format!(
                "is {shown}, which cannot be found: {reason}: make the folder, or name another"
            )));
        }
    }
    if keys.wsgi.is_some() && surroundings.find(&path.join("proc/self/fd")).is_err() {
        return Err(given.spot.wrong(format!(
            "is {shown}, in which there is no /proc, and Python loads the adapter through it: `mount -t proc proc {shown}/proc`"
        )));
    }
    Ok(Some(path))
}

fn cpu_priority(keys: &PoolKeys, surroundings: &dyn Surroundings) -> Result<i32, Problem> {
    match &keys.cpu_priority {
        Some(given) if given.value.0 < 0 && surroundings.uid() != 0 => Err(given.spot.wrong(
            format!("is {}, but only root can put a process before others: write a number from 0 to 19, or start the daemon as root", given.value.0),
        )),
        given => Ok(value(given.as_ref(), |given| given.0, 0)),
    }
}

fn limits(keys: &PoolKeys, surroundings: &dyn Surroundings) -> Result<Limits, Problem> {
    let bytes = |given: &Option<Given<Ceiling>>| given.as_ref().and_then(|given| given.value.0);
    let limits = Limits {
        data: bytes(&keys.memory_limit),
        address_space: bytes(&keys.virtual_memory_limit),
        open_files: Some(match &keys.open_files {
            Some(given) => u64::from(given.value.0),
            None => open_files(surroundings),
        }),
        core: Some(value(keys.core_size.as_ref(), |given| given.0, 0)),
        cpu: None,
    };
    for (given, least) in [
        (&keys.memory_limit, LEAST_MEMORY),
        (&keys.virtual_memory_limit, LEAST_ADDRESS_SPACE),
    ] {
        if let Some(given) = given
            && let Some(bytes) = given.value.0
            && bytes < least
        {
            return Err(given.spot.wrong(format!(
                "is {}, with which no program starts: write at least {}",
                in_words(bytes),
                in_words(least)
            )));
        }
    }
    let spot = |given: Option<&Spot>| given.cloned();
    for (given, wanted, resource, unit) in [
        (
            spot(keys.memory_limit.as_ref().map(|given| &given.spot)),
            limits.data,
            Resource::RLIMIT_DATA,
            "LimitDATA",
        ),
        (
            spot(keys.virtual_memory_limit.as_ref().map(|given| &given.spot)),
            limits.address_space,
            Resource::RLIMIT_AS,
            "LimitAS",
        ),
        (
            spot(keys.open_files.as_ref().map(|given| &given.spot)),
            limits.open_files,
            Resource::RLIMIT_NOFILE,
            "LimitNOFILE",
        ),
        (
            spot(keys.core_size.as_ref().map(|given| &given.spot)),
            limits.core,
            Resource::RLIMIT_CORE,
            "LimitCORE",
        ),
    ] {
        if let (Some(spot), Some(wanted)) = (given, wanted) {
            within_ours(&spot, wanted, resource, unit, surroundings)?;
        }
    }
    Ok(limits)
}

/// Nobody but root can have more than the daemon.
fn within_ours(
    spot: &Spot,
    wanted: u64,
    resource: Resource,
    unit: &str,
    surroundings: &dyn Surroundings,
) -> Result<(), Problem> {
    if surroundings.uid() == 0 {
        return Ok(());
    }
    match surroundings.hard_limit(resource) {
        Some(most) if most < wanted => {
            let shown = match resource {
                Resource::RLIMIT_NOFILE => most.to_string(),
                _ => in_words(most),
            };
            Err(spot.wrong(format!(
                "is more than the {shown} that the daemon may have itself, and only root can raise that: write less, or raise the daemon's own limit (`{unit}=` in its systemd unit, `ulimit -H`)"
            )))
        }
        _ => Ok(()),
    }
}

/// The default of `open-files`: not more than a daemon that is not root may have.
fn open_files(surroundings: &dyn Surroundings) -> u64 {
    match surroundings.hard_limit(Resource::RLIMIT_NOFILE) {
        Some(most) if surroundings.uid() != 0 => most.min(OPEN_FILES),
        _ => OPEN_FILES,
    }
}

/// Something of the application below /tmp would be gone for it; and without root there must be user namespaces.
fn private_tmp_is_possible(
    keys: &PoolKeys,
    application: &Application,
    home: &Path,
    surroundings: &dyn Surroundings,
) -> Result<(), Problem> {
    let Some(given) = keys.private_tmp.as_ref().filter(|given| given.value) else {
        return Ok(());
    };
    let mut files = paths::of_application(application);
    files.push(home.to_path_buf());
    for named in [&keys.read_only_paths, &keys.read_write_paths] {
        let named = named.iter().flat_map(|given| &given.value);
        files.extend(named.map(|path| absolute(home, path.get_ref())));
    }
    if let Some(hidden) = files
        .iter()
        .find(|file| TEMPORARY.iter().any(|folder| file.starts_with(folder)))
    {
        return Err(given.spot.wrong(format!(
            "is true, which would hide {} from the workers: move it out of /tmp and /var/tmp",
            hidden.display()
        )));
    }
    let is_zero = |file: &str| {
        let text = surroundings.read(Path::new(file), 64);
        text.is_ok_and(|text| text.trim_ascii() == b"0")
    };
    match NAMESPACE_SWITCHES.iter().find(|file| is_zero(file)) {
        Some(switch) if surroundings.uid() != 0 => Err(given.spot.wrong(format!(
            "is true, but this system gives no namespaces to those who are not root ({switch} is 0): remove the key, or start the daemon as root"
        ))),
        _ => Ok(()),
    }
}

/// The folders that `private-tmp` replaces.
pub const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];
/// 0 in one of these: no user namespaces but for root.
const NAMESPACE_SWITCHES: [&str; 2] = [
    "/proc/sys/user/max_user_namespaces",
    "/proc/sys/kernel/unprivileged_userns_clone",
];
const OPEN_FILES: u64 = 1024;
const LEAST_MEMORY: u64 = 1 << 20;
const LEAST_ADDRESS_SPACE: u64 = 4 << 20;
