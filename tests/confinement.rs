//! What workers may have and reach, as the kernel shows it: as root, and by a daemon that is not root.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::sys::signal::Signal;

use crate::support::{
    built,
    deadline::wait_for,
    probe::{eval, probe},
    process::{self, command},
    site::Site,
    stockade::{Pool, Stockade, configuration},
    tools,
};

/// Somebody with nothing; the folder of the test is given to it.
const NOBODY: u32 = 65_534;
/// Where [`stat`] finds them.
const NICE: usize = 16;
const POLICY: usize = 38;
/// As the kernel writes it.
const NO_CAPABILITY: &str = "0000000000000000";

/// A daemon of somebody without power, whose pools are ready.
fn without_power(site: Site, pools: &[(&str, String)]) -> Stockade {
    let mut starter = command("/usr/bin/env");
    if tools::root() {
        starter.uid(NOBODY).gid(NOBODY);
    }
    started_without_power(site, pools, starter)
}

/// The same by a command that makes it so.
fn started_without_power(site: Site, pools: &[(&str, String)], mut starter: Command) -> Stockade {
    let binary = site.reachable(built::stockade());
    site.reachable(&built::stockade().with_file_name("libstockade_python.so"));
    let mut config = format!("[daemon]\nruntime-dir = {:?}\n", site.path().join("run"));
    for (name, keys) in pools {
        let socket = site.path().join(format!("{name}.sock"));
        config += &format!(
            "[pool.{name}]\nlisten = [\"unix:{}\"]\n{keys}\n",
            socket.display()
        );
    }
    if tools::root() {
        chown(site.path(), Some(NOBODY), Some(NOBODY)).expect("root may give files away");
    }
    starter.arg(binary).stdin(Stdio::null());
    let stockade = Stockade::start(site, &config, &mut starter);
    for (name, _) in pools {
        stockade.wait_ready(name, 1);
    }
    stockade
}

fn status(pid: i32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the worker runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.expect("the kernel tells it").trim().to_owned()
}

/// A field of /proc/PID/stat, counted from the state of the process on.
fn stat(pid: i32, field: usize) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the worker runs");
    let (_, fields) = stat.rsplit_once(')').expect("the name is in brackets");
    let field = fields.split_whitespace().nth(field);
    field.expect("the kernel tells it").to_owned()
}

/// Soft and hard.
fn limit(pid: i32, name: &str) -> (String, String) {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("the worker runs");
    let line = limits.lines().find_map(|line| line.strip_prefix(name));
    let mut words = line.expect("the kernel tells it").split_whitespace();
    let mut next = || words.next().expect("two numbers").to_owned();
    (next(), next())
}

fn both(number: &str) -> (String, String) {
    (number.to_owned(), number.to_owned())
}

#[test]
fn limits_are_those_of_the_pool() {
    let stockade = Stockade::scripted(
        "processes = 1\nmemory-limit = \"64MiB\"\nvirtual-memory-limit = \"1GiB\"\nopen-files = 77\ncore-size = \"1MiB\"\ncpu-priority = 7\ncpu-policy = \"idle\"",
    );
    let pid = stockade.connect().get("").pid();
    assert_eq!(limit(pid, "Max data size"), both("67108864"));
    assert_eq!(limit(pid, "Max address space"), both("1073741824"));
    assert_eq!(limit(pid, "Max open files"), both("77"));
    assert_eq!(limit(pid, "Max core file size"), both("1048576"));
    assert_eq!(limit(pid, "Max cpu time").0, "unlimited");
    assert_eq!(stat(pid, NICE), "7");
    assert_eq!(stat(pid, POLICY), "5", "SCHED_IDLE");
    // what goes beyond fails in it, and only there
    let answer = stockade.connect().get("leak=100");
    assert_eq!(answer.status(), 502);
    assert_eq!(stockade.connect().get("").status(), 200);
}

#[test]
fn limits_where_nothing_is_said() {
    let stockade = Stockade::scripted("processes = 1");
    let pid = stockade.connect().get("").pid();
    assert_eq!(limit(pid, "Max open files"), both("1024"));
    assert_eq!(limit(pid, "Max core file size"), both("0"));
    assert_eq!(stat(pid, POLICY), "3", "SCHED_BATCH");
    for pid in [stockade.pid(), stockade.relay()] {
        assert_eq!(stat(pid, POLICY), "0", "SCHED_OTHER");
    }
}

#[test]
fn the_daemon_s_own_policy_is_passed_on() {
    let site = Site::new();
    let pools = [
        Pool::scripted(&site, &[], "processes = 1"),
        Pool::scripted(&site, &[], "processes = 1\ncpu-policy = \"inherit\"").named("inherits"),
    ];
    let mut starter = command("chrt");
    starter.args(["--idle", "0"]).arg(built::stockade());
    let config = configuration(&site, &pools);
    let stockade = Stockade::start(site, &config, &mut starter);
    for pool in ["app", "inherits"] {
        stockade.wait_ready(pool, 1);
    }
    for pid in stockade.workers() {
        assert_eq!(stat(pid, POLICY), "5", "SCHED_IDLE");
    }
}

#[test]
fn a_worker_has_no_power_and_gets_none() {
    let stockade = Stockade::scripted("processes = 1");
    let pid = stockade.connect().get("").pid();
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status(pid, set), NO_CAPABILITY, "{set}");
    }
    if tools::root() {
        assert_eq!(status(pid, "CapBnd"), NO_CAPABILITY);
        assert_eq!(status(stockade.relay(), "CapBnd"), NO_CAPABILITY);
    }
    assert_eq!(status(pid, "NoNewPrivs"), "1");
}

#[test]
fn a_capability_that_the_daemon_was_given_is_not_passed_on() {
    if !tools::root() {
        return;
    }
    let site = Site::new();
    let worker = site.reachable(&built::scripted_worker());
    let keys = format!(
        "command = [{:?}]\nprocesses = 1",
        worker.display().to_string()
    );
    let mut starter = command("setpriv");
    starter.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--inh-caps=+net_bind_service",
        "--ambient-caps=+net_bind_service",
    ]);
    let stockade = started_without_power(site, &[("app", keys)], starter);
    assert_ne!(status(stockade.pid(), "CapAmb"), NO_CAPABILITY);
    let pid = stockade.connect().get("").pid();
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status(pid, set), NO_CAPABILITY, "{set}");
    }
}

#[test]
fn a_python_worker_in_a_root_folder() {
    if !tools::root() {
        return;
    }
    let site = Site::new();
    let pool = probe(&site, "chroot = \"/\"\ncpu-priority = -3");
    let stockade = Stockade::ready(site, &[pool]);
    assert_eq!(eval(&stockade, "os.getpriority(os.PRIO_PROCESS, 0)"), "-3");
}

#[test]
fn a_worker_may_be_let_gain_privileges() {
    let stockade = Stockade::scripted("processes = 1\nno-new-privileges = false");
    let pid = stockade.connect().get("").pid();
    assert_eq!(status(pid, "NoNewPrivs"), "0");
    assert_eq!(status(pid, "CapEff"), NO_CAPABILITY);
    if tools::root() {
        assert_ne!(status(pid, "CapBnd"), NO_CAPABILITY);
    }
}

#[test]
fn groups_are_those_that_are_named() {
    if !tools::root() {
        return;
    }
    for (keys, expected) in [
        ("", "33"),
        (
            "supplementary-groups = [\"daemon\", \"2000000\"]",
            "1 2000000",
        ),
        ("supplementary-groups = []", ""),
    ] {
        let stockade = Stockade::scripted(&format!("processes = 1\n{keys}"));
        let pid = stockade.connect().get("").pid();
        assert_eq!(status(pid, "Groups"), expected, "{keys}");
    }
}

#[test]
fn a_daemon_without_power_limits_its_workers_too() {
    let site = Site::new();
    let worker = site.reachable(&built::scripted_worker());
    let keys = format!(
        "command = [{:?}]\nprocesses = 1\nopen-files = 50\ncpu-priority = 19\nprivate-tmp = false",
        worker.display().to_string()
    );
    let stockade = without_power(site, &[("app", keys)]);
    let pid = stockade.connect().get("").pid();
    assert_eq!(limit(pid, "Max open files"), both("50"));
    assert_eq!(status(pid, "NoNewPrivs"), "1");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status(pid, set), NO_CAPABILITY, "{set}");
    }
}

#[test]
fn a_step_that_fails_is_named() {
    if !tools::root() {
        return;
    }
    // more than the kernel gives to anybody
    let site = Site::new();
    let pool = Pool::scripted(
        &site,
        &[],
        "processes = 1\nopen-files = 1073741816\nbackoff-initial = \"50ms\"",
    );
    let stockade = Stockade::serve(site, &[pool]);
    let words = "could not set open-files to 1073741816: Operation not permitted: it is more than the daemon may have";
    stockade
        .log
        .wait(&["pool app: worker ", "not started", words]);
    let shown = wait_for("the status to say it", || {
        let (_, text, _) = stockade.ask(&["status", "app"]);
        text.contains(words).then_some(text)
    });
    assert!(shown.contains(words), "{shown}");
    let (code, _, text) = stockade.ask(&["reload", "--wait"]);
    assert_eq!(code, Some(1), "{text}");
}

#[test]
fn private_tmp_is_empty_and_gone_with_the_worker() {
    let site = Site::new();
    let folder = outside_tmp();
    let worker = folder.path().join("worker");
    fs::copy(built::scripted_worker(), &worker).unwrap();
    let keys = format!(
        "command = [{:?}]\nprocesses = 1\nprivate-tmp = true",
        worker.display().to_string()
    );
    let root = Stockade::ready(site, &[Pool::new(&keys)]);
    let other = without_power(Site::new(), &[("app", keys)]);
    for (stockade, may_look) in [(root, true), (other, !tools::root())] {
        let pid = stockade.connect().get("").pid();
        for tmp in ["tmp", "var/tmp"] {
            let own = PathBuf::from(format!("/proc/{pid}/root/{tmp}"));
            assert_eq!(fs::read_dir(&own).unwrap().count(), 0, "{}", own.display());
            assert_eq!(fs::metadata(&own).unwrap().mode() & 0o7777, 0o1777);
            // who is nobody in the worker's namespace cannot write there
            if may_look {
                fs::write(own.join("its-own"), "").unwrap();
                assert!(!Path::new("/").join(tmp).join("its-own").exists());
            }
        }
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(status(pid, set), NO_CAPABILITY, "{set}");
        }
        assert!(process::signal(pid, Signal::SIGKILL));
        wait_for("another worker", || {
            (stockade.connect().get("").status() == 200).then_some(())
        });
        let next = stockade.connect().get("").pid();
        assert_eq!(
            fs::read_dir(format!("/proc/{next}/root/tmp"))
                .unwrap()
                .count(),
            0
        );
    }
}

#[test]
fn all_of_it_together_in_a_pool_on_demand() {
    if !tools::root() {
        return;
    }
    let folder = outside_tmp();
    let worker = folder.path().join("worker");
    fs::copy(built::scripted_worker(), &worker).unwrap();
    let keys = format!(
        "command = [{:?}]\nscale = {{ minimum = 0, maximum = 2 }}\nhome = {:?}\nprivate-tmp = true\nread-only-paths = [{:?}]\nopen-files = 300\nmemory-limit = \"256MiB\"\ncpu-priority = 7\ndisplay-name = \"together\"",
        worker.display().to_string(),
        folder.path().display().to_string(),
        folder.path().display().to_string(),
    );
    let stockade = Stockade::serve(Site::new(), &[Pool::new(&keys)]);
    let pid = stockade.connect().get("").pid();
    assert_eq!(limit(pid, "Max open files"), both("300"));
    assert_eq!(limit(pid, "Max data size"), both("268435456"));
    assert_eq!(status(pid, "CapEff"), NO_CAPABILITY);
    assert_eq!(status(pid, "NoNewPrivs"), "1");
    let tmp = fs::read_dir(format!("/proc/{pid}/root/tmp"));
    assert_eq!(tmp.unwrap().count(), 0);
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(arguments.starts_with(b"together\0"), "{arguments:?}");
    // the daemon has what the system allows, which is not passed on
    let (soft, hard) = limit(stockade.pid(), "Max open files");
    assert_eq!(soft, hard);
    let cgroup = |pid| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let leaf = |text: &str| {
        text.lines()
            .any(|line| line.ends_with("/pool.app/worker.1"))
    };
    let divided = cgroup(stockade.pid())
        .lines()
        .any(|line| line.ends_with("/supervisor"));
    assert_eq!(leaf(&cgroup(pid)), divided, "{}", cgroup(pid));
}

#[test]
fn a_step_that_fails_in_a_pool_on_demand_is_tried_when_somebody_asks() {
    if !tools::root() {
        return;
    }
    let keys = |more: &str| {
        format!(
            "scale = {{ minimum = 0, maximum = 2 }}\nbackoff-initial = \"50ms\"\nbackoff-maximum = \"50ms\"\nqueue-timeout = \"2s\"\n{more}"
        )
    };
    let site = Site::new();
    let broken = Pool::scripted(&site, &[], &keys("open-files = 1073741816"));
    let stockade = Stockade::serve(site, &[broken]);
    let starts = || {
        stockade
            .log
            .matching(&["pool app: worker ", "not started"])
            .len()
    };
    assert_eq!(starts(), 0);
    assert_eq!(stockade.connect().get("").status(), 503);
    let (_, shown, _) = stockade.ask(&["status", "app"]);
    assert!(
        starts() > 0 && shown.contains("could not set open-files"),
        "{shown}"
    );
    let mended = Pool::scripted(&stockade.site, &[], &keys(""));
    stockade.configure(&[mended]);
    let (code, out, error) = stockade.ask(&["reload", "--wait"]);
    assert_eq!((code, &*error), (Some(0), ""), "{out}");
    assert_eq!(stockade.connect().get("").status(), 200);
}

/// A folder that `private-tmp` does not hide.
fn outside_tmp() -> tempfile::TempDir {
    let parent = if tools::root() {
        "/var/lib"
    } else {
        env!("CARGO_MANIFEST_DIR")
    };
    let folder = tempfile::Builder::new()
        .prefix("stockade-")
        .tempdir_in(parent)
        .expect("a folder outside /tmp can be made");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))
        .expect("the folder is ours");
    folder
}

#[test]
fn paths_that_are_not_named_are_denied() {
    let site = Site::new();
    let writable = site.folder_for_pool("writable");
    let readable = site.folder_for_pool("readable");
    let other = site.folder_for_pool("other");
    for folder in [&writable, &readable, &other] {
        fs::write(folder.join("file"), "text").unwrap();
        fs::set_permissions(folder.join("file"), fs::Permissions::from_mode(0o666)).unwrap();
    }
    let pool = probe(
        &site,
        &format!(
            "read-only-paths = [{:?}]\nread-write-paths = [{:?}]",
            readable.display().to_string(),
            writable.display().to_string()
        ),
    );
    let stockade = Stockade::ready(site, &[pool]);
    let file = |folder: &Path| folder.join("file").display().to_string();
    let (readable, writable, other) = (file(&readable), file(&writable), file(&other));
    for (expression, expected) in [
        (format!("open({readable:?}).read()"), "'text'"),
        (format!("open({readable:?}, 'a').close()"), "errno 13"),
        (format!("open({writable:?}, 'a').write('s')"), "1"),
        (format!("os.unlink({writable:?})"), "None"),
        (format!("open({other:?}).read()"), "errno 13"),
        (format!("os.listdir({:?})", "/"), "errno 13"),
        (format!("os.listdir({:?})", "/var"), "errno 13"),
        ("open('/dev/null', 'w').write('x')".to_owned(), "1"),
        ("len(open('/dev/urandom', 'rb').read(3))".to_owned(), "3"),
        ("len(os.listdir('/proc/self/fd')) > 3".to_owned(), "True"),
        ("len(open('/etc/passwd').read()) > 9".to_owned(), "True"),
        ("subprocess.run(['/bin/sh', '-c', 'cat /var/log/dpkg.log; exit 3'], stderr=subprocess.DEVNULL).returncode".to_owned(), "3"),
        // a child of the worker is bound by it too
        (format!("subprocess.run(['/bin/cat', {other:?}], stderr=subprocess.DEVNULL).returncode"), "1"),
    ] {
        assert_eq!(eval(&stockade, &expression), expected, "{expression}");
    }
    let (code, printed, _) = stockade.ask(&["check", "--print"]);
    assert_eq!(code, Some(0));
    assert!(printed.contains("# and read-only: /usr"), "{printed}");
}

#[test]
fn php_serves_confined_to_paths() {
    let site = Site::new();
    let www = outside_tmp();
    let folder = www.path();
    fs::write(
        folder.join("index.php"),
        "<?php echo @file_get_contents('/var/log/dpkg.log') === false ? 'denied' : 'read';",
    )
    .unwrap();
    let pool = Pool::new(&format!(
        "command = [{:?}]\nprocesses = 1\nprivate-tmp = true\ndisplay-name = \"forms, by stockade\"\nread-only-paths = [{:?}]",
        tools::php_cgi().display().to_string(),
        folder.display().to_string()
    ));
    let stockade = Stockade::ready(site, &[pool]);
    let script = folder.join("index.php").display().to_string();
    let answer = stockade.connect().get_with(
        "",
        &[("SCRIPT_FILENAME", &script), ("REDIRECT_STATUS", "200")],
    );
    assert_eq!(answer.status(), 200, "{answer:?}");
    assert!(answer.body() == "denied", "{answer:?}");
    let worker = stockade.workers()[0];
    let line = fs::read(format!("/proc/{worker}/cmdline")).unwrap();
    assert_eq!(line, b"forms, by stockade\0");
}

#[test]
fn a_root_folder_of_its_own() {
    if !tools::root() {
        return;
    }
    let site = Site::new();
    let root = site.path().join("root");
    for folder in ["bin", "srv", "tmp", "opt"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    for file in libraries(&built::scripted_worker()) {
        let inside = root.join(file.strip_prefix("/").unwrap());
        fs::create_dir_all(inside.parent().unwrap()).unwrap();
        fs::copy(&file, inside).unwrap();
    }
    fs::copy(built::scripted_worker(), root.join("opt/worker")).unwrap();
    // absolute, and so one that leads elsewhere from outside
    symlink("/opt/worker", root.join("bin/worker")).unwrap();
    let keys = format!(
        "command = [\"/bin/worker\"]\nhome = \"/srv\"\nprocesses = 1\nchroot = {:?}\nprivate-tmp = true",
        root.display().to_string()
    );
    // the root folder of this test is in /tmp, which private-tmp leaves alone there
    let stockade = Stockade::ready(site, &[Pool::new(&keys)]);
    let pid = stockade.connect().get("").pid();
    assert_eq!(fs::read_link(format!("/proc/{pid}/root")).unwrap(), root);
    assert_eq!(
        fs::read_link(format!("/proc/{pid}/cwd")).unwrap(),
        root.join("srv")
    );
    assert_eq!(status(pid, "CapBnd"), NO_CAPABILITY);

    let missing = keys.replace("/bin/worker", "/bin/other");
    stockade.configure(&[Pool::new(&missing)]);
    let (code, _, text) = stockade.ask(&["reload", "--wait"]);
    assert_ne!(code, Some(0));
    assert!(text.contains("/bin/other, which cannot be found"), "{text}");
}

/// The shared libraries of a program, its loader included.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let output = command("ldd").arg(program).output().expect("ldd is there");
    let text = String::from_utf8(output.stdout).expect("ldd writes text");
    text.split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(|word| PathBuf::from(word.trim_end_matches(':')))
        .collect()
}
