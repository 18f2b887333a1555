//! A worker's cgroup: whom it holds, and what is said where there can be none. What limits do is tried where the kernel has the
//! controllers for it: `tests/systemd/run`.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Stdio,
};

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
fn who_is_forked_leaves_the_template_s_cgroup_for_its_own() {
    if !tools::root() {
        return;
    }
    let site = Site::new();
    site.write("pages.py", include_str!("python/preload_pages.py"));
    let keys = format!(
        "wsgi = \"pages:application\"\npython-home = {:?}\npython-path = [{:?}]\npreload = true\nprocesses = 2",
        tools::python(),
        site.path()
    );
    let stockade = delegated(site, &[Pool::new(&keys)]);
    stockade.wait_ready("app", 2);
    let mut leaves: Vec<String> = (stockade.workers().into_iter())
        .filter_map(|pid| Some(cgroup_of(pid).split_once("/pool.app/")?.1.to_owned()))
        .collect();
    leaves.sort();
    assert_eq!(leaves, ["worker.1", "worker.2", "worker.3"]);
}

#[test]
fn descendants_die_with_their_worker_wherever_they_went() {
    if !tools::root() {
        return;
    }
    let site = Site::new();
    let pool = straying(&site, 1);
    let stockade = delegated(site, &[pool]);
    stockade.wait_ready("app", 1);
    let worker = stockade.connect().get("").pid();
    let stray = stray_in(&stockade.log.wait(&["stdout: stray "]));
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
    let stray = stray_in(&stockade.log.wait_times(2, &["stdout: stray "])[1]);
    let mut host = stockade.connect();
    host.begin("GET", "sleep=60000", &[]);
    stockade.log.wait(&["killed"]);
    wait_for("the stray to be killed and reaped", || {
        gone(stray).then_some(())
    });
    wait_for("the worker to be reaped", || gone(next).then_some(()));
}

#[test]
fn descendants_of_a_worker_that_lives_do_not_die_with_another() {
    if !tools::root() {
        return;
    }
    let site = Site::new();
    let pool = straying(&site, 2);
    let stockade = delegated(site, &[pool]);
    stockade.wait_ready("app", 2);
    let strays: BTreeMap<String, i32> = (stockade.log.wait_times(2, &["stdout: stray "]).iter())
        .map(|line| stray_in(line))
        .map(|pid| (cgroup_of(pid), pid))
        .collect();
    let worker = stockade.connect().get("").pid();
    let of_worker = cgroup_of(worker);
    assert!(process::signal(worker, Signal::SIGKILL));
    wait_for("its stray to be killed and reaped", || {
        gone(strays[&of_worker]).then_some(())
    });
    // whatever was to be done about the first is done before there is a third
    stockade.wait_ready("app", 3);
    let mut others = strays.iter().filter(|(cgroup, _)| **cgroup != of_worker);
    let (_, other) = others.next().expect("there are two");
    assert!(process::alive(*other), "the other's was killed");
}

#[test]
fn a_worker_that_is_not_started_ends_nobody() {
    if !tools::root() {
        return;
    }
    let site = Site::new();
    let pool = straying(&site, 1);
    let no_program = site.write("program", "no shebang");
    fs::set_permissions(&no_program, Permissions::from_mode(0o755)).expect("the file is ours");
    let keys = "processes = 1\nbackoff-initial = \"50ms\"";
    let broken = Pool::new(&format!(
        "command = [{:?}]\n{keys}",
        no_program.display().to_string()
    ));
    let config = configuration(&site, &[pool, broken.named("broken")]);
    let stockade = Stockade::start(site, &config, &mut without_cgroups());
    stockade.wait_ready("app", 1);
    let stray = stray_in(&stockade.log.wait(&["stdout: stray "]));
    let before = stockade.log.matching(&NOT_STARTED).len();
    // the second comes when all is done about the first
    stockade.log.wait_times(before + 2, &NOT_STARTED);
    assert!(process::alive(stray), "another pool's was ended");
}

#[test]
fn what_a_killed_daemon_left_is_killed_by_the_next() {
    if !tools::root() {
        return;
    }
    let site = Site::new();
    let pool = straying(&site, 1);
    let mut stockade = delegated(site, &[pool]);
    stockade.wait_ready("app", 1);
    let stray = stray_in(&stockade.log.wait(&["stdout: stray "]));
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
fn straying(site: &Site, processes: u32) -> Pool {
    let worker = site.reachable(&built::scripted_worker());
    let stray = "echo stray $$; exec sleep 1000 >/dev/null 2>&1";
    let script = format!(
        "setsid -f sh -c '{stray}' </dev/null; exec {} ignore-term",
        worker.display()
    );
    let keys = "request-timeout = \"500ms\"\nshutdown-timeout = \"200ms\"";
    built::stockade();
    Pool::new(&format!(
        "command = [\"/bin/sh\", \"-c\", {script:?}]\nprocesses = {processes}\n{keys}"
    ))
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

/// Of a worker whose program cannot be executed.
const NOT_STARTED: [&str; 2] = ["pool broken: worker ", "not started"];
