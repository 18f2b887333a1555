//! What the keys about a worker's start and confinement mean.

use std::path::PathBuf;

use nix::sys::signal::Signal;

use super::{
    Imagined,
    meanings::{SMALLEST, only_pool, pool},
    read,
};
use crate::config::{
    confinement::{Confinement, CpuPolicy, Limits},
    resolved::Application,
    start::Start,
};

/// What holds where nothing is said.
pub(super) fn default_confinement() -> Confinement {
    Confinement {
        cpu_policy: CpuPolicy::Batch,
        limits: Limits {
            open_files: Some(1024),
            core: Some(0),
            ..Limits::default()
        },
        ..Confinement::default()
    }
}

/// The same.
pub(super) fn default_start() -> Start {
    Start {
        display_name: None,
        stop_signal: Signal::SIGTERM,
        script_user: None,
        script_group: None,
        environment_file: None,
        inherit_environment: false,
        borrowed: [].into(),
    }
}

#[test]
fn limits_are_what_is_said() {
    let pool = pool(
        "cpu-priority = -20\nmemory-limit = \"512MiB\"\nvirtual-memory-limit = \"4GiB\"\nopen-files = 16\ncore-size = \"unlimited\"\nprivate-tmp = true\nno-new-privileges = false",
    );
    assert_eq!(
        pool.confinement,
        Confinement {
            cpu_priority: -20,
            cpu_policy: CpuPolicy::Batch,
            limits: Limits {
                data: Some(512 << 20),
                address_space: Some(4 << 30),
                open_files: Some(16),
                core: Some(u64::MAX),
                cpu: None,
            },
            new_privileges: true,
            private_tmp: true,
            ..Confinement::default()
        }
    );
}

#[test]
fn limits_may_be_left_off() {
    for (key, size) in [("0", 0), ("1MiB", 1 << 20)] {
        let pool = pool(&format!("core-size = {key:?}\nmemory-limit = \"off\""));
        assert_eq!(pool.confinement.limits.core, Some(size));
        assert_eq!(pool.confinement.limits.data, None);
    }
}

#[test]
fn the_policy_of_the_processor() {
    for (keys, policy) in [
        ("", CpuPolicy::Batch),
        ("cpu-policy = \"batch\"", CpuPolicy::Batch),
        ("cpu-policy = \"idle\"", CpuPolicy::Idle),
        ("cpu-policy = \"inherit\"", CpuPolicy::Inherit),
    ] {
        assert_eq!(pool(keys).confinement.cpu_policy, policy);
    }
}

#[test]
fn groups_are_those_that_are_named() {
    let groups = |keys: &str| pool(keys).account.unwrap().groups;
    assert_eq!(groups("group = \"blog\""), [1001, 33]);
    assert_eq!(
        groups("supplementary-groups = [\"web\", \"44\"]"),
        [2000, 44]
    );
    assert_eq!(groups("supplementary-groups = []"), [0; 0]);
}

#[test]
fn paths_of_a_pool_with_a_root_folder_are_in_it() {
    let text = SMALLEST.replace(
        "wsgi = \"blog.wsgi:application\"",
        "command = [\"php-cgi\"]",
    );
    let pool = only_pool(
        &format!("{text}chroot = \"/srv/root\"\nhome = \"srv/blog\"\nspool-dir = \"here\"\n"),
        &Imagined::root(),
    );
    assert_eq!(pool.confinement.chroot, Some(PathBuf::from("/srv/root")));
    assert_eq!(pool.home, PathBuf::from("/srv/blog"));
    // outside
    assert_eq!(pool.bytes.spool_dir, PathBuf::from("/etc/stockade/here"));
    assert_eq!(
        pool.application,
        Application::Command(vec!["/usr/bin/php-cgi".to_owned()])
    );
}

#[test]
fn paths_that_are_named_come_with_what_every_program_needs() {
    let pool = pool(
        "home = \"/srv/blog\"\npython-home = \"venv\"\nread-only-paths = [\"app.py\"]\nread-write-paths = [\"/srv/blog/empty\"]\nprivate-tmp = true",
    );
    let paths = pool.confinement.paths.unwrap();
    assert_eq!(paths.read_only, [PathBuf::from("/srv/blog/app.py")]);
    assert_eq!(paths.read_write, [PathBuf::from("/srv/blog/empty")]);
    for path in ["/usr", "/etc", "/srv/blog"] {
        assert!(paths.base_read.contains(&PathBuf::from(path)), "{path}");
    }
    // it is below the home
    let venv = PathBuf::from("/srv/blog/venv");
    assert!(!paths.base_read.contains(&venv));
    for path in ["/dev/null", "/tmp"] {
        assert!(paths.base_write.contains(&PathBuf::from(path)), "{path}");
    }
}

#[test]
fn a_home_that_was_not_chosen_opens_nothing() {
    let pool = pool("read-only-paths = [\"/srv/blog/app.py\"]");
    let paths = pool.confinement.paths.unwrap();
    assert!(!paths.base_read.contains(&PathBuf::from("/")));
    assert!(paths.base_read.contains(&PathBuf::from("/opt")));
}

#[test]
fn variables_come_from_a_file_and_from_the_daemon() {
    let machine = Imagined::root()
        .with("LC_TIME", "de_DE.UTF-8")
        .with("HOME", "/root")
        .with("NOTIFY_SOCKET", "/run/systemd/notify")
        .with("LC_ALL", "POSIX");
    let text = format!(
        "{SMALLEST}environment-file = \"blog.env\"\ninherit-environment = true\nlocale = \"off\"\nenvironment = {{ LANG = \"it_IT.UTF-8\" }}\n"
    );
    let pool = only_pool(&text, &machine);
    let variable = |name: &str| pool.environment.get(name).map(String::as_str);
    assert_eq!(variable("TOKEN"), Some("a b"));
    assert_eq!(variable("LC_TIME"), Some("de_DE.UTF-8"));
    assert_eq!(variable("LANG"), Some("it_IT.UTF-8"));
    assert_eq!(variable("LC_ALL"), None);
    assert_eq!(variable("HOME"), Some("/home/blog"));
    assert_eq!(variable("NOTIFY_SOCKET"), None);
    assert_eq!(variable("PATH"), Some("bin:/opt/bin:/usr/bin"));
    let borrowed: Vec<&str> = pool.start.borrowed.iter().map(String::as_str).collect();
    assert_eq!(borrowed, ["LC_TIME", "PATH", "TOKEN"]);
}

#[test]
fn what_is_for_others_in_the_defaults_is_no_matter() {
    let text = format!(
        "[defaults]\ndisplay-name = \"x\"\nstop-signal = \"QUIT\"\nscript-user = \"blog\"\n{SMALLEST}\n[pool.jobs]\nservice = [\"/srv/blog/serve\"]\nuser = \"blog\"\n[pool.forms]\ncommand = [\"php-cgi\"]\nlisten = [\"unix:/f\"]\nuser = \"blog\"\n"
    );
    let config = read(&text, &Imagined::root()).unwrap();
    let starts: Vec<_> = config
        .pools
        .iter()
        .map(|pool| (pool.start.display_name.as_deref(), pool.start.stop_signal))
        .collect();
    assert_eq!(
        starts,
        [
            (Some("x"), Signal::SIGTERM),
            (Some("x"), Signal::SIGQUIT),
            // a script
            (None, Signal::SIGQUIT),
        ]
    );
}
