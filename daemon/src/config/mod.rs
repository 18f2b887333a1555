//! Configuration: a TOML file becomes values that cannot be wrong.
//!
//! In three steps, each only when the one before found no fault: [`file`](mod@file) knows every key and the form of its value ([`values`]),
//! [`resolve`] fills in defaults and looks up every name, [`resolved`] is what the rest of the daemon gets. Every fault that a step
//! can find is reported at once, with the line it stands in ([`errors`]). What is asked of the system goes through
//! [`surroundings`]; nothing is changed in it. What is allowed but odd is for [`mod@warnings`]; [`check()`] has both, and
//! [`Checked::print`] the file with everything filled in. A command that needs no file ([`without_file`]) says in words what a file would, and
//! goes through the last two steps.

pub mod changes;
pub mod errors;
pub mod resolved;
pub mod surroundings;

mod access;
pub mod access_log;
mod accounts;
mod application;
mod bytes;
mod cgroup;
mod check;
mod clients;
mod command_line;
pub mod confinement;
mod deadlines;
mod file;
mod given;
mod include;
mod logging;
mod preload;
mod print;
mod python;
mod renewal;
mod resolve;
mod rooted;
mod scale;
mod shim;
mod sizes;
pub mod start;
mod strangers;
mod subtables;
#[cfg(test)]
mod tests;
mod values;
pub mod warnings;
mod worker;

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

pub use check::Checked;
pub use command_line::{Run, Target, without_file};
pub use errors::{CommandLineErrors, ConfigErrors};
pub use resolve::RUNTIME_DIR_OF_ROOT;
pub(crate) use scale::{IDLE_TIMEOUT, QUEUE_WAIT};
pub use surroundings::{Surroundings, System};

pub(crate) use sizes::in_words;

use errors::{LARGEST, Problem, Problems};
pub use include::Sources;
use resolved::Config;

/// Reads the configuration in the file `path`, as it holds in these `surroundings`.
///
/// # Errors
/// When the file cannot be read, and with everything that is wrong in it.
pub fn read(path: &Path, surroundings: &dyn Surroundings) -> Result<Config, ConfigErrors> {
    check(path, surroundings).map(|checked| checked.config)
}

/// Reads the configuration as [`read`] does, to be explained.
///
/// # Errors
/// As [`read`].
pub fn check(path: &Path, surroundings: &dyn Surroundings) -> Result<Checked, ConfigErrors> {
    let checked = read_with(path, |sources, folder, problems| {
        include::follow(sources, folder, problems);
        if !problems.is_empty() {
            return None;
        }
        understand(sources.text(), folder, surroundings, problems)
    });
    checked.map(|((file, config), sources)| Checked {
        config,
        sources,
        file,
    })
}

/// The `admin-socket` of the daemon that this file configures. What is wrong elsewhere in the file is no matter: the daemon runs with
/// what it read before.
///
/// # Errors
/// When the file cannot be read, or `[daemon]` is wrong.
pub fn admin_socket(path: &Path, surroundings: &dyn Surroundings) -> Result<PathBuf, ConfigErrors> {
    let socket = read_with(path, |sources, folder, problems| {
        let keys = file::read_daemon(sources.text(), problems)?;
        problems.keep(resolve::admin_socket_of(&keys, folder, surroundings))
    });
    socket.map(|(socket, _)| socket)
}

/// The `admin-socket` of a daemon whose file sets none of its keys.
#[must_use]
pub fn default_admin_socket(surroundings: &dyn Surroundings) -> PathBuf {
    resolve::default_admin_socket(surroundings)
}

fn read_with<T>(
    path: &Path,
    understand: impl FnOnce(&mut Sources, &Path, &mut Problems) -> Option<T>,
) -> Result<(T, Sources), ConfigErrors> {
    let unreadable = |reason| ConfigErrors::Unreadable {
        path: path.to_path_buf(),
        reason,
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST {
        return Err(ConfigErrors::TooLarge {
            path: path.to_path_buf(),
        });
    }
    let absolute = std::path::absolute(path).map_err(unreadable)?;
    let folder = absolute.parent().unwrap_or_else(|| Path::new("/"));
    let mut sources = Sources::of(path, &String::from_utf8_lossy(&bytes));
    let mut problems = Problems::default();
    let understood = match std::str::from_utf8(&bytes) {
        Ok(_) => understand(&mut sources, folder, &mut problems),
        Err(error) => {
            problems.add(Problem::not_text(error.valid_up_to()));
            None
        }
    };
    match understood {
        Some(understood) => Ok((understood, sources)),
        None => Err(ConfigErrors::Wrong {
            sources,
            problems: problems.in_order(),
        }),
    }
}

/// What `text` says, read as a file in `folder`, and what it means; none when there are problems.
fn understand(
    text: &str,
    folder: &Path,
    surroundings: &dyn Surroundings,
    problems: &mut Problems,
) -> Option<(file::File, Config)> {
    let file = file::read(text, problems)?;
    let config = resolve::resolve(&file, folder, surroundings, problems)?;
    Some((file, config))
}
