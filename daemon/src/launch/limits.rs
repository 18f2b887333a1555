//! What the kernel lets the program have.
//!
//! A limit of memory would bind the launcher too, so limits are lowered as the last step of all. Only root can raise one beyond what
//! the daemon has itself, so that is done while we still are root.

use nix::{
    errno::Errno,
    sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit},
};

use super::plan::Failure;
use crate::config::confinement::Limits;

/// A limit that is to be set.
#[derive(Debug, PartialEq, Eq)]
struct Set {
    resource: Resource,
    /// The key.
    name: &'static str,
    soft: u64,
    hard: u64,
}

/// Makes room for what is above the daemon's own limits.
pub(super) fn raise(limits: &Limits) -> Result<(), Failure> {
    for limit in all(limits) {
        let (soft, hard) = getrlimit(limit.resource).map_err(|error| failure(&limit, error))?;
        if limit.hard > hard {
            setrlimit(limit.resource, soft, limit.hard).map_err(|error| failure(&limit, error))?;
        }
    }
    Ok(())
}

/// Sets them.
pub(super) fn set(limits: &Limits) -> Result<(), Failure> {
    for limit in all(limits) {
        setrlimit(limit.resource, limit.soft, limit.hard)
            .map_err(|error| failure(&limit, error))?;
    }
    Ok(())
}

/// Those that are to be set.
fn all(limits: &Limits) -> impl Iterator<Item = Set> {
    let Limits {
        data,
        address_space,
        open_files,
        core,
        cpu,
    } = *limits;
    let set = |(resource, name, wanted): (_, _, Option<u64>)| {
        let soft = wanted?;
        // a program may take the warning that the first is; the second is its end
        let hard = match resource {
            Resource::RLIMIT_CPU => soft.saturating_add(CPU_GRACE),
            _ => soft,
        };
        Some(Set {
            resource,
            name,
            soft,
            hard,
        })
    };
    [
        (Resource::RLIMIT_NOFILE, "open-files", open_files),
        (Resource::RLIMIT_CORE, "core-size", core),
        (Resource::RLIMIT_CPU, "cpu-time-limit", cpu),
        (Resource::RLIMIT_DATA, "memory-limit", data),
        (Resource::RLIMIT_AS, "virtual-memory-limit", address_space),
    ]
    .into_iter()
    .filter_map(set)
}

fn failure(limit: &Set, error: Errno) -> Failure {
    let shown = match limit.soft {
        RLIM_INFINITY => "unlimited".to_owned(),
        soft => soft.to_string(),
    };
    let hint = match error {
        Errno::EPERM => ": it is more than the daemon may have",
        _ => "",
    };
    Failure::of(
        format!("set {} to {shown}", limit.name),
        format_args!("{}{hint}", error.desc()),
    )
}
/// From SIGXCPU to SIGKILL, in seconds of the processor.
const CPU_GRACE: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_left_alone() {
        assert_eq!(all(&Limits::default()).count(), 0);
        let limits = Limits {
            core: Some(u64::MAX),
            cpu: Some(7),
            ..Limits::default()
        };
        let set: Vec<_> = all(&limits)
            .map(|limit| (limit.name, limit.soft, limit.hard))
            .collect();
        assert_eq!(
            set,
            [("core-size", u64::MAX, u64::MAX), ("cpu-time-limit", 7, 12)]
        );
    }

    #[test]
    fn a_failure_names_the_key() {
        let limit = Set {
            resource: Resource::RLIMIT_NOFILE,
            name: "open-files",
            soft: 5000,
            hard: 5000,
        };
        assert_eq!(
            failure(&limit, Errno::EPERM).to_string(),
            "could not set open-files to 5000: Operation not permitted: it is more than the daemon may have"
        );
    }
}
