//! `read-only-paths` and `read-write-paths`: naming either denies every path but these and a base set without which no program runs.
//!
//! The kernel keeps to it (Landlock): what is denied is answered "permission denied", whatever owners and modes say.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::super::{
    errors::Problem,
    file::{Given, PoolKeys},
    resolve::absolute,
    resolved::Application,
    surroundings::Surroundings,
};

/// What may be reached. In a root folder of the pool's own, as it is seen there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paths {
    /// `read-only-paths`.
    pub read_only: Vec<PathBuf>,
    /// `read-write-paths`.
    pub read_write: Vec<PathBuf>,
    /// What may be read and executed besides; what is not there is no matter.
    pub base_read: Vec<PathBuf>,
    /// What may be written besides.
    pub base_write: Vec<PathBuf>,
}

/// What the two keys mean; none: neither is named.
pub(super) fn paths(
    keys: &PoolKeys,
    application: &Application,
    home: &Path,
    surroundings: &dyn Surroundings,
) -> Result<Option<Paths>, Problem> {
    let given = [&keys.read_only_paths, &keys.read_write_paths];
    let Some(first) = given
        .into_iter()
        .flatten()
        .find(|given| !given.value.is_empty())
    else {
        return Ok(None);
    };
    if keys
        .no_new_privileges
        .as_ref()
        .is_some_and(|given| !given.value)
    {
        return Err(first.spot.wrong(
            "is set, but a process that may gain privileges would not be bound by it: remove `no-new-privileges`",
        ));
    }
    if !surroundings.has_landlock() {
        return Err(first.spot.wrong(
            "is set, but this kernel cannot confine a process to paths (Landlock, Linux 5.13 or later, `lsm=` on its command line): remove the key",
        ));
    }
    let named = |given: &Option<Given<Vec<Spanned<PathBuf>>>>| match given {
        Some(given) => existing(given, home, surroundings),
        None => Ok(Vec::new()),
    };
    let read_only = named(&keys.read_only_paths)?;
    let read_write = named(&keys.read_write_paths)?;
    let mut base_write: Vec<PathBuf> = DEVICES.iter().map(PathBuf::from).collect();
    if keys.private_tmp.as_ref().is_some_and(|given| given.value) {
        base_write.extend(super::TEMPORARY.map(PathBuf::from));
    }
    Ok(Some(Paths {
        read_only,
        read_write,
        base_read: base_read(application, home, surroundings),
        base_write,
    }))
}

fn existing(
    given: &Given<Vec<Spanned<PathBuf>>>,
    home: &Path,
    surroundings: &dyn Surroundings,
) -> Result<Vec<PathBuf>, Problem> {
    let one = |path: &Spanned<PathBuf>| {
        let full = absolute(home, path.get_ref());
        match surroundings.find(&full) {
            Ok(_) => Ok(full),
            Err(reason) => Err(given.spot.wrong_at(
                path.span(),
                format!(
                    "has {}, which cannot be found: {reason}: make it, or remove it here",
                    full.display()
                ),
            )),
        }
    };
    given.value.iter().map(one).collect()
}

/// The system's programs and libraries, and the application itself.
fn base_read(
    application: &Application,
    home: &Path,
    surroundings: &dyn Surroundings,
) -> Vec<PathBuf> {
    let mut base: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
    let mut add = |path: PathBuf| {
        // what is below one that is there is there
        if path.parent().is_some() && !base.iter().any(|known| path.starts_with(known)) {
            base.push(path);
        }
    };
    add(home.to_path_buf());
    for path in of_application(application) {
        if let Ok(real) = surroundings.real(&path) {
            add(real);
        }
        add(path);
    }
    if let Application::Python { interpreter, .. } = application {
        // bin/python3 of an environment, and of the installation that it is made from
        let installations = [
            Some(interpreter.clone()),
            surroundings.real(interpreter).ok(),
        ];
        for program in installations.into_iter().flatten() {
            if let Some(folder) = program.parent().and_then(Path::parent) {
                add(folder.to_path_buf());
            }
        }
    }
    base
}

/// Files and folders that the application consists of, as far as the configuration names them.
pub(super) fn of_application(application: &Application) -> Vec<PathBuf> {
    match application {
        Application::Python {
            target,
            interpreter,
            python_path,
            ..
        } => {
            let (file, _) = target.rsplit_once(':').unwrap_or((target, ""));
            // Python puts a script's folder first in its path
            let script = Path::new(file)
                .parent()
                .filter(|_| file.starts_with('/'))
                .map(Path::to_path_buf);
            [interpreter.clone()]
                .into_iter()
                .chain(script)
                .chain(python_path.iter().cloned())
                .collect()
        }
        Application::Command(words) | Application::Service(words) => {
            words.first().map(PathBuf::from).into_iter().collect()
        }
        Application::Upstream(_) => Vec::new(),
    }
}

/// Programs, libraries, and what these ask of the system. The whole of /etc: its files are replaced by others of their name, and what is
/// secret in it has a mode. /proc too: Landlock itself keeps a process from looking into others.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc",
    "/proc",
    "/run/systemd/resolve",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
];
/// These are nobody's.
const DEVICES: &[&str] = &[
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
];
