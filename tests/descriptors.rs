//! What a worker finds open: what the manual says, whatever the daemon was started with.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use crate::support::{
    built,
    deadline::wait_for,
    probe::probe,
    process::command,
    site::Site,
    stockade::{Pool, Stockade, configuration, pid_in},
    tools,
};

/// Every descriptor of a process and what it is.
fn descriptors(pid: i32) -> BTreeMap<i32, PathBuf> {
    let folder = PathBuf::from(format!("/proc/{pid}/fd"));
    let entries = fs::read_dir(&folder).expect("the worker runs");
    entries
        .filter_map(|entry| {
            let number = entry.ok()?.file_name();
            let what = fs::read_link(folder.join(&number)).ok()?;
            Some((number.to_str()?.parse().ok()?, what))
        })
        .collect()
}

#[test]
fn workers_of_every_kind_inherit_nothing_they_should_not_have() {
    let site = Site::new();
    let stray = site.write("stray", "");
    let service = site.program(
        "service",
        "#!/bin/sh\nwhile :; do sleep 1 & wait $!; done\n",
    );
    let pools = [
        Pool::scripted(&site, &[], "processes = 1").named("program"),
        Pool::new(&format!(
            "command = [{:?}]\nprocesses = 1",
            tools::php_cgi().display().to_string()
        ))
        .named("php"),
        Pool::new(&format!("service = [{:?}]", service.display().to_string())).named("jobs"),
        probe(&site, "").named("python"),
    ];
    let config = configuration(&site, &pools);
    let mut starter = command("/bin/sh");
    let script = format!(
        "exec 5<{0} 8>>{0} 9<{0}; exec \"$0\" \"$@\"",
        stray.display()
    );
    starter
        .args(["-c", &script])
        .arg(built::stockade())
        .stdin(Stdio::null());
    let stockade = Stockade::start(site, &config, &mut starter);
    for pool in ["program", "php", "jobs", "python"] {
        let line = stockade.wait_ready(pool, 1).remove(0);
        let pid = pid_in(&line);
        check(pool, &descriptors(pid), &stray);
        if pool != "python" {
            // the connection on which the relay has asked whether it is ready closes
            wait_for(&format!("{pool} to have its own descriptors alone"), || {
                (others(&descriptors(pid), &service) == 1).then_some(())
            });
        }
    }
    assert!(
        descriptors(stockade.pid())
            .values()
            .any(|what| *what == stray),
        "the test is to start it with some"
    );
}

fn check(pool: &str, open: &BTreeMap<i32, PathBuf>, stray: &Path) {
    let what = |number: i32| open[&number].to_string_lossy().into_owned();
    let first = if pool == "program" || pool == "php" {
        "socket:"
    } else {
        "/dev/null"
    };
    assert!(what(0).starts_with(first), "{pool}: {open:?}");
    for output in [1, 2] {
        assert!(what(output).starts_with("pipe:"), "{pool}: {open:?}");
    }
    assert!(!open.values().any(|what| what == stray), "{pool}: {open:?}");
}

/// How many it has beside the three that every process has, and what programs open by themselves: the control socket is one. The
/// scripted worker has its listening socket twice, a shell its script open, php-cgi a lock without a name.
fn others(open: &BTreeMap<i32, PathBuf>, script: &Path) -> usize {
    let own = |what: &PathBuf| {
        let unnamed = what.to_string_lossy().ends_with(" (deleted)");
        unnamed || *what == open[&0] || what == script
    };
    open.iter()
        .filter(|(number, what)| **number > 2 && !own(what))
        .count()
}
