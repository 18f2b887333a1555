//! A worker's cgroup: whom it holds, and what is said where there can be none. What limits do is tried where the kernel has the
//! controllers for it: `tests/systemd/run`.

use std::{fs, path::Path, process::Stdio};

use nix::sys::signal::Signal;

use crate::support::{
    built,
    deadline::wait_for,
    process::{self, command},
    site::Site,
    stockade::{Pool, Stockade, configuration, gone},
    tools,
};

#[test]
fn every_worker_has_a_cgroup_of_its_own() {
    if !tools::root() {
        return;
    }
    let site = Site::new();
    let pool = Pool::scripted(&site, &[], "processes = 2");
    let mut stockade = delegated(site, &[pool]);
    stockade.wait_ready("app", 2);
    let relay = stockade.relay();
    let mut homes = Vec::new();
    for (pid, end) in [(stockade.pid(), "/supervisor"), (relay, "/supervisor")] {
        let cgroup = cgroup_of(pid);
        let home = cgroup.strip_suffix(end);
        homes.push(home.unwrap_or_else(|| panic!("{cgroup}")).to_owned());
    }
    let mut leaves = Vec::new();
    for worker in stockade.workers() {
        let cgroup = cgroup_of(worker);
        let (home, leaf) = cgroup
            .split_once("/pool.app/")
            .unwrap_or_else(|| panic!("{cgroup}"));
        homes.push(home.to_owned());
        leaves.push(leaf.to_owned());
    }
    leaves.sort();
    assert_eq!(leaves, ["worker.1", "worker.2"]);
    homes.dedup();
    assert_eq!(homes.len(), 1, "{homes:?}");

    // nothing stays of one that is gone, nor of the daemon
    let folder = folder_of(&homes[0]);
    assert!(folder.join("pool.app/worker.1").is_dir());
    stockade.signal(Signal::SIGHUP);
    stockade.log.wait(&["pool app: reload finished"]);
    wait_for("the cgroups of the old generation to go", || {
        let left = ["worker.1", "worker.2"].map(|leaf| folder.join("pool.app").join(leaf));
        (!left.iter().any(|leaf| leaf.exists())).then_some(())
    });
    stockade.signal(Signal::SIGTERM);
    assert!(stockade.wait_exit().success());
    assert!(!folder.exists(), "{} is left", folder.display());
}

#[test]
fn descendants_die_with_their_worker_wherever_they_went() {
    if !tools::root() {
        return;
    }
    let site = Site::new();
    let stockade = delegated_with_strays(site);
    stockade.wait_ready("app", 1);
    let worker = stockade.connect().get("").pid();
    let stray = stray_in(&stockade.log.wait(&["stray "]));
    assert!(process::alive(stray));
    assert!(process::signal(worker, Signal::SIGKILL));
    wait_for("the stray to be killed and reaped", || {
        gone(stray).then_some(())
    });

    // and with one that is deaf to everything but KILL
    let next = wait_for("another worker", || {
        let pid = stockade.connect().get("").pid();
        (pid != worker).then_some(pid)
    });
    let stray = stray_in(&stockade.log.wait_times(2, &["stray "])[1]);
    let mut host = stockade.connect();
    host.begin("GET", "sleep=60000", &[]);
    stockade.log.wait(&["killed"]);
    wait_for("the stray to be killed and reaped", || {
        gone(stray).then_some(())
    });
    assert!(gone(next));
}

#[test]
fn what_a_killed_daemon_left_is_killed_by_the_next() {
    if !tools::root() {
        return;
    }
    let mut stockade = delegated_with_strays(Site::new());
    stockade.wait_ready("app", 1);
    let stray = stray_in(&stockade.log.wait(&["stray "]));
    stockade.signal(Signal::SIGKILL);
    stockade.wait_exit();
    // parent-death signals reach its workers and the relay, but not those who have left them
    let site = Site::new();
    let pool = Pool::scripted(&site, &[], "processes = 1");
    let next = delegated(site, &[pool]);
    next.wait_ready("app", 1);
    wait_for("the stray to be killed", || {
        (!process::alive(stray)).then_some(())
    });
}

#[test]
fn a_pool_with_limits_is_refused_where_there_are_no_cgroups() {
    if !tools::root() {
        return;
    }
    let limits = "processes = 1\n[pool.app.cgroup]\nmemory-max = \"64MiB\"";
    let refused = "pool app: [pool.app.cgroup] cannot hold: cgroup v2 is mounted nowhere";
    let site = Site::new();
    let pool = Pool::scripted(&site, &[], limits);
    let config = configuration(&site, &[pool]);
    let mut stockade = Stockade::start(site, &config, &mut without_cgroups());
    assert_eq!(stockade.wait_exit().code(), Some(77));
    stockade.log.wait(&[refused, "mount it"]);

    // one without serves, and a reload that asks for them changes nothing
    let site = Site::new();
    let pool = Pool::scripted(&site, &["generation=old"], "processes = 1");
    let config = configuration(&site, &[pool]);
    let stockade = Stockade::start(site, &config, &mut without_cgroups());
    stockade.wait_ready("app", 1);
    let worker = stockade.connect().get("").pid();
    stockade.configure(&[Pool::scripted(&stockade.site, &["generation=new"], limits)]);
    let (code, _, error) = stockade.ask(&["reload", "--wait"]);
    assert_eq!(code, Some(77), "{error}");
    assert!(
        error.contains("reload refused, nothing changes") && error.contains(refused),
        "{error}"
    );
    let answer = stockade.connect().get("");
    assert_eq!(
        (answer.pid(), answer.fact("generation")),
        (worker, "old".to_owned())
    );

    // nobody can tell who killed a worker there
    assert!(process::signal(worker, Signal::SIGKILL));
    stockade
        .log
        .wait(&["worker 1", "SIGKILL", "out of memory: see `dmesg`"]);
}

/// Workers that leave somebody in a session of his own, whose parent is not the worker.
fn delegated_with_strays(site: Site) -> Stockade {
    let worker = site.reachable(&built::scripted_worker());
    let stray = "echo stray $$; exec sleep 1000 >/dev/null 2>&1";
    let script = format!(
        "setsid -f sh -c '{stray}' </dev/null; exec {} ignore-term",
        worker.display()
    );
    let keys = "processes = 1\nrequest-timeout = \"500ms\"\nshutdown-timeout = \"200ms\"";
    let pool = Pool::new(&format!(
        "command = [\"/bin/sh\", \"-c\", {script:?}]\n{keys}"
    ));
    built::stockade();
    delegated(site, &[pool])
}

/// Who says in this line of the log that he has strayed.
fn stray_in(line: &str) -> i32 {
    let (_, pid) = line.rsplit_once("stray ").expect("the line has it");
    pid.parse()
        .unwrap_or_else(|_| panic!("no pid in the line: {line}"))
}

/// A daemon that may divide its cgroup.
fn delegated(site: Site, pools: &[Pool]) -> Stockade {
    let mut starter = if Path::new("/run/systemd/system").is_dir() {
        let mut scope = command("systemd-run");
        scope.args(["--quiet", "--scope", "--property", "Delegate=yes"]);
        scope.arg(built::stockade());
        scope
    } else {
        command(built::stockade())
    };
    let config = configuration(&site, pools);
    Stockade::start(site, &config, starter.stdin(Stdio::null()))
}

/// What becomes a daemon that sees no cgroups.
fn without_cgroups() -> std::process::Command {
    let mut starter = command("unshare");
    let script = "umount --lazy --recursive /sys/fs/cgroup && exec \"$@\"";
    starter
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(built::stockade())
        .stdin(Stdio::null());
    starter
}

/// A process's cgroup, as the kernel names it.
fn cgroup_of(pid: i32) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it runs");
    let mut lines = text.lines();
    lines
        .find_map(|line| line.strip_prefix("0::"))
        .unwrap_or_else(|| panic!("there is no cgroup v2 here: {text}"))
        .to_owned()
}

fn folder_of(cgroup: &str) -> std::path::PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("/proc can be read");
    let mount = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&"cgroup2"))
        .unwrap_or_else(|| panic!("cgroup v2 is mounted nowhere: {mounts}"));
    Path::new(mount[1]).join(cgroup.trim_start_matches('/'))
}
