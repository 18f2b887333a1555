//! Confinement to paths by Landlock: what no rule names is denied, to this process and all that it ever starts.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd,
    Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetStatus,
};

use super::plan::Failure;
use crate::config::confinement::Paths;

/// What the newest kernel that we know denies; an older one denies what it can. The rights of 5.13 are demanded.
const RIGHTS: ABI = ABI::V5;
const DEMANDED: ABI = ABI::V1;

/// Binds this process to `paths`; `adapter` may be read wherever it is.
pub(super) fn confine(paths: &Paths, adapter: Option<BorrowedFd<'_>>) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::of("confine it to its paths", error);
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(DEMANDED))
        .map_err(|error| failed(&error))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(RIGHTS))
        .and_then(Ruleset::create)
        .map_err(|error| failed(&error))?;
    let (read, all) = (AccessFs::from_read(RIGHTS), AccessFs::from_all(RIGHTS));
    // a device or file that may be written need not be made or removed
    let base = |paths: &[_], access| (paths.to_vec(), access, false);
    let named = |paths: &[_], access| (paths.to_vec(), access, true);
    let mut rules = rules;
    for (paths, access, required) in [
        base(&paths.base_read, read),
        base(&paths.base_write, all),
        named(&paths.read_only, read),
        named(&paths.read_write, all),
    ] {
        for path in paths {
            rules = allow(rules, &path, access, required)?;
        }
    }
    if let Some(adapter) = adapter {
        let rule = PathBeneath::new(
            adapter,
            AccessFs::from_read(RIGHTS) & AccessFs::from_file(RIGHTS),
        );
        rules = rules.add_rule(rule).map_err(|error| failed(&error))?;
    }
    let status = rules.restrict_self().map_err(|error| failed(&error))?;
    match status.ruleset {
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
        RulesetStatus::NotEnforced => Err(failed(&"the kernel does not do it")),
    }
}

fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
    required: bool,
) -> Result<RulesetCreated, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::of(format!("confine it to {}", path.display()), error)
    };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if !required && is_absent(&error) => return Ok(rules),
        Err(error) => return Err(failed(&error)),
    };
    let access = if metadata.is_dir() {
        access
    } else {
        access & AccessFs::from_file(RIGHTS)
    };
    let file = PathFd::new(path).map_err(|error| failed(&error))?;
    rules
        .add_rule(PathBeneath::new(file.as_fd(), access))
        .map_err(|error| failed(&error))
}

/// Not there, or behind a folder that the account may not enter, where it could not be used anyway.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory
    )
}
