//! How workers begin and are told to end: title, variables, the owner of what is run, the stop-signal.

use std::{fs, os::unix::fs::MetadataExt as _};

use nix::sys::signal::Signal;

use crate::support::{
    probe::{PROBE, eval, probe},
    site::Site,
    stockade::{Pool, Stockade, configuration},
    tools,
};

#[test]
fn a_python_worker_has_a_title_and_its_environment() {
    let site = Site::new();
    let pool = probe(&site, "display-name = \"stockade: blog\"\nthreads = 2");
    let stockade = Stockade::ready(site, &[pool]);
    let pid: i32 = eval(&stockade, "os.getpid()").parse().unwrap();
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    assert_eq!(String::from_utf8_lossy(&line), "stockade: blog\0");
    let python = format!("'{}'", tools::python().display());
    assert_eq!(eval(&stockade, "sys.executable"), python);
    assert_eq!(eval(&stockade, "os.environ['STOCKADE_POOL']"), "'app'");
    assert_eq!(
        eval(
            &stockade,
            "subprocess.run([sys.executable, '-c', 'import os']).returncode"
        ),
        "0"
    );
}

#[test]
fn a_script_of_somebody_else_is_not_run() {
    let site = Site::new();
    let mark = site.folder_for_pool("marks").join("loaded");
    let script = site.write(
        "app.py",
        &format!(
            "open({:?}, 'w').close()\n{PROBE}",
            mark.display().to_string()
        ),
    );
    let keys = |owner: &str| {
        format!(
            "wsgi = {:?}\npython-home = {:?}\nprocesses = 1\nscript-user = {owner:?}",
            script.display().to_string(),
            tools::python().display().to_string()
        )
    };
    let owner = fs::metadata(&script).unwrap().uid();
    let other = if owner == 1 { "2" } else { "1" };
    let stockade = Stockade::ready(site, &[Pool::new(&keys(other))]);
    for _ in 0..2 {
        let answer = stockade.connect().get("1");
        assert_eq!(answer.status(), 403, "{answer:?}");
        assert_eq!(
            answer.header("Stockade-Cause").as_deref(),
            Some("script-owner")
        );
    }
    stockade.log.wait(&["app.py belongs to"]);
    assert!(!mark.exists(), "its code was run");
    stockade.configure(&[Pool::new(&keys(&owner.to_string()))]);
    let (code, _, text) = stockade.ask(&["reload", "--wait"]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(eval(&stockade, "1 + 1"), "2");
    assert!(mark.exists());
}

#[test]
fn variables_come_from_a_file() {
    let site = Site::new();
    site.write("app.env", "TOKEN=\"a b\"\nOTHER=1\n");
    let pool = Pool::scripted(
        &site,
        &[],
        "processes = 1\nenvironment-file = \"app.env\"\nenvironment = { OTHER = \"2\" }",
    );
    let stockade = Stockade::ready(site, &[pool]);
    let environment = stockade.connect().get("environment").body();
    assert!(environment.contains("TOKEN=a b\n"), "{environment}");
    assert!(environment.contains("OTHER=2\n"), "{environment}");
    stockade.site.write("app.env", "TOKEN\n");
    let (code, _, text) = stockade.ask(&["reload", "--wait"]);
    assert_ne!(code, Some(0));
    assert!(text.contains("app.env:1, which has no ="), "{text}");
    // the old one goes on
    assert_eq!(stockade.connect().get("").status(), 200);
}

#[test]
fn a_worker_is_told_to_end_by_its_signal() {
    let site = Site::new();
    let mark = site.folder_for_pool("marks").join("signal");
    let script = site.program(
        "service",
        &format!(
            "#!/bin/sh\ntrap 'echo quit > {0}; exit 0' QUIT\ntrap 'echo term > {0}; exit 0' TERM\nwhile :; do sleep 1 & wait $!; done\n",
            mark.display()
        ),
    );
    let pool = Pool::new(&format!(
        "service = [{:?}]\nstop-signal = \"QUIT\"",
        script.display().to_string()
    ));
    let config = configuration(&site, &[pool]);
    let mut stockade = Stockade::run(site, &config);
    stockade.log.wait(&["pool app: serving"]);
    stockade.signal(Signal::SIGTERM);
    assert!(stockade.wait_exit().success());
    assert_eq!(fs::read_to_string(&mark).unwrap(), "quit\n");
}
