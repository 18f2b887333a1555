//! The keys as they are printed.

use toml::Value;

use super::{
    super::{
        print::{
            Entry, ceiling, group_name, number, path, size_or, string, strings_of_paths, user_name,
        },
        resolved::Pool,
        start::{self, Start},
        surroundings::Surroundings,
    },
    Confinement, CpuPolicy,
};

/// Every key of this page but `supplementary-groups`.
pub(in crate::config) fn entries(pool: &Pool) -> Vec<Entry> {
    let Confinement {
        chroot,
        cpu_priority,
        cpu_policy,
        limits,
        new_privileges,
        private_tmp,
        paths,
    } = &pool.confinement;
    let named = |which: fn(&super::Paths) -> &Vec<std::path::PathBuf>| {
        strings_of_paths(paths.as_ref().map_or(&[], |paths| which(paths)))
    };
    vec![
        (
            "chroot",
            chroot.as_deref().map_or_else(|| string("off"), path),
        ),
        ("cpu-priority", number(*cpu_priority)),
        (
            "cpu-policy",
            string(match cpu_policy {
                CpuPolicy::Batch => "batch",
                CpuPolicy::Idle => "idle",
                CpuPolicy::Inherit => "inherit",
            }),
        ),
        ("memory-limit", ceiling(limits.data)),
        ("virtual-memory-limit", ceiling(limits.address_space)),
        ("open-files", limits.open_files.and_then(number)),
        ("core-size", size_or(limits.core, u64::MAX, "unlimited")),
        ("no-new-privileges", Some(Value::Boolean(!new_privileges))),
        ("private-tmp", Some(Value::Boolean(*private_tmp))),
        ("read-only-paths", named(|paths| &paths.read_only)),
        ("read-write-paths", named(|paths| &paths.read_write)),
    ]
}

/// How workers begin, and the groups they are in.
pub(in crate::config) fn entries_of_start(
    pool: &Pool,
    surroundings: &dyn Surroundings,
) -> Vec<Entry> {
    let Start {
        display_name,
        stop_signal,
        script_user,
        script_group,
        environment_file,
        inherit_environment,
        borrowed: _,
    } = &pool.start;
    // root's can only come from the account itself
    let account = pool.account.as_ref();
    let groups = account.filter(|account| !account.groups.contains(&0));
    let groups = groups.map(|account| {
        let name = |gid: &u32| Value::from(group_name(*gid, surroundings));
        Value::Array(account.groups.iter().map(name).collect())
    });
    let off = || string("off");
    vec![
        ("supplementary-groups", groups),
        (
            "display-name",
            display_name.as_deref().map_or_else(off, string),
        ),
        ("stop-signal", string(start::name_of(*stop_signal))),
        (
            "script-user",
            script_user.map_or_else(off, |uid| string(&user_name(uid, surroundings))),
        ),
        (
            "script-group",
            script_group.map_or_else(off, |gid| string(&group_name(gid, surroundings))),
        ),
        (
            "environment-file",
            environment_file.as_deref().map_or_else(off, path),
        ),
        (
            "inherit-environment",
            Some(Value::Boolean(*inherit_environment)),
        ),
    ]
}
