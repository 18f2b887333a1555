//! `preload`, `warm-up`, `refork-after`: the application is loaded once, and workers are forked of it.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{
    deadline::wait_for,
    fcgi::{Answer, Fcgi},
    process,
    site::Site,
    stockade::{Pool, Stockade, gone},
    tools,
};

const PAGES: &str = include_str!("python/preload_pages.py");

#[test]
fn workers_are_forked_of_what_was_loaded_and_warmed_up_once() {
    let keys = "processes = 3\nwarm-up = [\"/warm\", \"http://www.example.org/warm?x\"]";
    let stockade = serve(keys);
    stockade.wait_ready("app", 3);
    assert_eq!(stockade.log.matching(&["forked, generation 1"]).len(), 3);
    let template = template(&stockade);
    let answers = of_all(&stockade, 3);
    for answer in &answers {
        let loaded: i32 = answer.fact("loaded").parse().expect("a pid");
        assert_eq!(loaded, template, "{answer:?}");
        assert_eq!(
            answer.fact("warmed"),
            "/warm@localhost,/warm@www.example.org"
        );
        // the supervisor's, in a session of its own, with its own sockets alone: listening, the relay's, to the supervisor
        assert_eq!(answer.fact("parent"), stockade.pid().to_string());
        assert_eq!(answer.fact("session"), answer.fact("pid"));
        assert_eq!(answer.fact("input"), "/dev/null");
        assert_eq!(answer.fact("sockets"), "3");
    }
    for fact in ["pid", "worker", "random"] {
        let different: BTreeSet<String> = answers.iter().map(|answer| answer.fact(fact)).collect();
        assert_eq!(different.len(), 3, "{fact}: {different:?}");
    }
    let status = stockade.pool("app");
    assert_eq!(status["workers"].as_array().map(Vec::len), Some(3));
    assert_eq!(status["templates"][0]["state"], "ready");
    let bytes = |of: &Value, key: &str| of[key].as_u64().unwrap_or_default();
    for worker in [&status["workers"][0], &status["templates"][0]] {
        let (part, private) = (
            bytes(worker, "resident_bytes"),
            bytes(worker, "private_bytes"),
        );
        assert!(0 < private && private < part, "{worker}");
    }
    let (_, text, _) = stockade.ask(&["status", "app"]);
    assert!(
        text.contains(" private, ") && text.contains("  template  "),
        "{text}"
    );
    let (_, stacks, _) = stockade.ask(&["stacks", "app"]);
    assert_eq!(stacks.matches("what Python says").count(), 3, "{stacks}");
    assert!(!stacks.contains("kernel"), "{stacks}");
    // what a forked worker writes is its own
    stockade.connect().get_with("", &[("PATH_INFO", "/print")]);
    let printed = stockade.log.wait(&["stdout: printed by"]);
    let (before, number) = printed.rsplit_once(' ').expect("a number");
    assert!(
        before.contains(&format!("worker {number} (pid")),
        "{printed}"
    );
}

#[test]
fn hooks_stand_around_the_fork_and_a_worker_that_becomes_the_template_is_not_told_to_end() {
    let site = Site::new();
    let hooks = r#"
import stockade, threading
ended = threading.Event()
poller = threading.Thread(target=ended.wait, name="poller")
poller.start()
told = []

@stockade.before_fork
def close():
    ended.set()
    poller.join()
    print("before", stockade.worker, flush=True)

@stockade.after_fork
def open():
    told.append("forked as %s" % stockade.worker)

@stockade.on("process_stopping")
def end(event):
    told.append(event.reason)

@stockade.before_retire
def last():
    print("last", stockade.worker, told, flush=True)
"#;
    site.write("pages.py", &format!("{PAGES}{hooks}"));
    let keys = keys(&site, "preload = true\nprocesses = 1\nrefork-after = 2");
    let stockade = Stockade::ready(site, &[Pool::new(&keys)]);
    stockade.log.wait(&["stdout: before 1"]);
    let mut host = stockade.connect();
    for _ in 0..2 {
        assert_eq!(host.get("").status(), 200);
    }
    // worker 2 becomes the template, 3 has replaced it and goes when 4 is there
    stockade
        .log
        .wait(&["stdout: last 3 ['forked as 3', 'refork']"]);
    stockade.signal(Signal::SIGTERM);
    stockade
        .log
        .wait(&["stdout: last 4 ['forked as 2', 'forked as 4', 'requested']"]);
    assert!(stockade.log.matching(&["stdout: last 2"]).is_empty());
}

#[test]
fn a_reload_takes_up_new_code() {
    let stockade = serve("processes = 2");
    let old = template(&stockade);
    stockade
        .site
        .write("pages.py", &PAGES.replace("VERSION = 1", "VERSION = 2"));
    let (code, _, error) = stockade.ask(&["reload", "--wait"]);
    assert_eq!((code, &*error), (Some(0), ""));
    assert_eq!(stockade.connect().get("").fact("version"), "2");
    wait_for("the old template's end", || gone(old).then_some(()));
    // one that does not load is given up, and the template that serves stays
    stockade.site.write("pages.py", "nonsense(");
    let (code, _, error) = stockade.ask(&["reload", "--wait"]);
    assert_eq!(code, Some(1), "{error}");
    assert_eq!(stockade.connect().get("").fact("version"), "2");
    process::signal(stockade.connect().get("").pid(), Signal::SIGKILL);
    stockade.wait_exit_of("app");
    wait_for("two workers", || (ready(&stockade) == 2).then_some(()));
    assert!(
        of_all(&stockade, 2)
            .iter()
            .all(|answer| answer.fact("version") == "2")
    );
}

#[test]
fn a_template_that_dies_is_missed_when_a_worker_is_wanted() {
    let stockade = serve("processes = 2");
    let first = template(&stockade);
    process::signal(first, Signal::SIGKILL);
    stockade.log.wait(&["template", "gone after", "SIGKILL"]);
    let worker = stockade.connect().get("").pid();
    process::signal(worker, Signal::SIGKILL);
    wait_for("two workers and a template", || {
        let status = stockade.pool("app");
        let forked = status["workers"].as_array().map(Vec::len) == Some(2);
        (forked && status["templates"][0]["pid"] != first && ready(&stockade) == 2).then_some(())
    });
    let loaded: BTreeSet<String> = of_all(&stockade, 2)
        .iter()
        .map(|it| it.fact("loaded"))
        .collect();
    assert_eq!(loaded.len(), 2, "{loaded:?}");
}

#[test]
fn what_no_fork_may_share_is_refused_with_its_name() {
    for (code, words) in [
        (
            "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,), name='poller', daemon=True).start()",
            "threads that no fork would take along are running: poller",
        ),
        (
            "import socket\nserver = socket.create_server(('127.0.0.1', 0))\nheld = socket.create_connection(server.getsockname())",
            "a connection to 127.0.0.1:",
        ),
        (
            "import select\nheld = select.epoll()",
            "of the kind eventpoll",
        ),
        (
            "held = open('written', 'w')",
            "written, which is written to",
        ),
    ] {
        let site = Site::new();
        let home = site.folder_for_pool("home");
        site.write("pages.py", &format!("{code}\n{PAGES}"));
        let keys = keys(
            &site,
            &format!("preload = true\nprocesses = 1\nhome = {home:?}"),
        );
        let stockade = Stockade::serve(site, &[Pool::new(&keys)]);
        stockade
            .log
            .wait(&["preload: the template cannot be forked", words]);
        stockade.log.wait(&["remedy:", "stockade.before_fork"]);
        stockade.log.wait(&[
            "template",
            "gone after",
            "before a worker of it was ready: exit-code 6",
        ]);
    }
}

/// Seen at once, not when the time to start is over.
#[test]
fn a_template_without_room_for_a_workers_descriptors_says_so() {
    let site = Site::new();
    let tight = "import os, resource, stockade\n@stockade.before_fork\ndef tighten():\n    room = len(os.listdir('/proc/self/fd')) + 2\n    resource.setrlimit(resource.RLIMIT_NOFILE, (room, room))\n";
    site.write("pages.py", &format!("{tight}{PAGES}"));
    let keys = keys(
        &site,
        "preload = true\nprocesses = 1\nstartup-timeout = \"off\"",
    );
    let stockade = Stockade::serve(site, &[Pool::new(&keys)]);
    stockade
        .log
        .wait(&["Too many open files", "raise open-files"]);
    stockade
        .log
        .wait(&["not started: its template did not fork it"]);
}

#[test]
fn a_seasoned_worker_becomes_the_template_of_the_others() {
    let stockade = serve("processes = 2\nrefork-after = 30");
    let first = template(&stockade);
    stockade.wait_ready("app", 2);
    let mut host = stockade.connect();
    let seasoned = host.get("").pid();
    for _ in 0..30 {
        assert_eq!(host.get("").status(), 200);
    }
    stockade
        .log
        .wait(&["becomes the next template: refork-after"]);
    wait_for("workers of the new template alone", || {
        let status = stockade.pool("app");
        let templates = status["templates"].as_array()?;
        let refork = status["exits"]
            .as_array()?
            .iter()
            .any(|exit| exit["cause"] == "refork");
        (templates.len() == 1 && templates[0]["pid"] != first && refork && ready(&stockade) == 2)
            .then_some(())
    });
    assert_eq!(template(&stockade), seasoned);
    assert_eq!(host.get("").fact("loaded"), first.to_string());
    assert!(gone(first));
    // once in a generation
    for _ in 0..70 {
        assert_eq!(host.get("").status(), 200);
    }
    assert_eq!(template(&stockade), seasoned);
    assert_eq!(
        stockade.log.matching(&["becomes the next template"]).len(),
        1
    );
}

#[test]
fn a_seasoned_worker_that_cannot_be_forked_leaves_everything_as_it_was() {
    let site = Site::new();
    let opens = "    if environ['PATH_INFO'] == '/open':\n        import socket\n        WARMED[:] = socket.socketpair()\n    facts = {";
    site.write("pages.py", &PAGES.replacen("    facts = {", opens, 1));
    let keys = keys(&site, "preload = true\nprocesses = 1\nrefork-after = 3");
    let stockade = Stockade::ready(site, &[Pool::new(&keys)]);
    let first = template(&stockade);
    let mut host = stockade.connect();
    for _ in 0..3 {
        // it answers 500, for it tells WARMED, and goes on
        host.get_with("", &[("PATH_INFO", "/open")]);
    }
    stockade.log.wait(&[
        "the template cannot be forked: open",
        "a connection to a socket pair",
    ]);
    stockade.log.wait(&["gone after", "exit-code 6"]);
    wait_for("a worker", || (ready(&stockade) == 1).then_some(()));
    assert_eq!(template(&stockade), first);
    assert_eq!(host.get("").fact("loaded"), first.to_string());
    assert_eq!(stockade.pool("app")["state"], "serving");
}

#[test]
fn without_preload_a_worker_is_warmed_up_before_it_is_ready() {
    for (application, environment, concurrency) in [
        ("wsgi = \"pages:application\"", None, "thread"),
        ("wsgi = \"pages:application\"", Some("gevent"), "gevent"),
        ("wsgi = \"pages:application\"", Some("eventlet"), "eventlet"),
        ("asgi = \"pages:asgi\"", Some("uvloop"), ""),
        ("asgi = \"pages:asgi\"", None, ""),
    ] {
        for preload in [false, true] {
            // refused
            if preload && concurrency == "eventlet" {
                continue;
            }
            let site = Site::new();
            site.write("pages.py", PAGES);
            let mut keys = format!(
                "{application}\npython-path = [{:?}]\npreload = {preload}\nwarm-up = [\"/warm\"]\nprocesses = 1\n",
                site.path()
            );
            let python = environment.map_or_else(tools::python, |package| {
                site.reachable(&tools::python_environment(package))
            });
            keys += &format!("python-home = {python:?}\n");
            if !concurrency.is_empty() {
                keys += &format!("concurrency = {concurrency:?}\n");
            }
            let stockade = Stockade::ready(site, &[Pool::new(&keys)]);
            let answer = stockade.connect().get("");
            assert_eq!(answer.fact("warmed"), "/warm@localhost", "{keys}");
            let forked = answer.fact("loaded") != answer.fact("pid");
            assert_eq!(forked, preload, "{keys}");
            stockade.signal(Signal::SIGTERM);
            stockade.log.wait(&["stopped"]);
            assert!(stockade.log.matching(&["killed"]).is_empty(), "{keys}");
        }
    }
}

#[test]
fn what_goes_wrong_in_a_warm_up_is_told_and_is_not_the_end() {
    let stockade = serve(
        "processes = 1\nmount = \"/blog\"\nwarm-up = [\"/blog/warm-raises\", \"/blog/warm-nobody\", \"/elsewhere\"]",
    );
    stockade.log.wait(&["warm-up /blog/warm-raises: exception"]);
    stockade.log.wait(&["RuntimeError: not now"]);
    stockade.log.wait(&[
        "warm-up /blog/warm-nobody answered 400",
        "http://www.example.org/blog/warm-nobody",
    ]);
    stockade
        .log
        .wait(&["warm-up /elsewhere: it is not below `mount`"]);
}

#[test]
fn a_django_that_is_imported_and_not_configured_is_no_matter() {
    let site = Site::new();
    let environment = tools::django_environment();
    let environment = site.reachable(&environment);
    site.write("pages.py", &format!("import django.db\n{PAGES}"));
    let keys = format!(
        "wsgi = \"pages:application\"\npython-home = {environment:?}\npython-path = [{:?}]\npreload = true\nprocesses = 1",
        site.path()
    );
    let stockade = Stockade::ready(site, &[Pool::new(&keys)]);
    assert_eq!(stockade.connect().get("").status(), 200);
    assert!(stockade.log.matching(&["stderr:"]).is_empty());
}

#[test]
fn an_exit_of_a_forked_worker_has_its_status() {
    let stockade = serve("processes = 1");
    stockade.connect().get_with("", &[("PATH_INFO", "/exit")]);
    let exit = wait_for("its exit", || {
        let status = stockade.pool("app");
        let exits = status["exits"].as_array()?;
        exits
            .iter()
            .find(|exit| exit["cause"] != "requested")
            .cloned()
    });
    assert_eq!(
        (&exit["cause"], &exit["detail"]),
        (&"exit-code".into(), &"3".into())
    );
}

#[test]
fn forked_workers_and_templates_end_with_the_supervisor() {
    let stockade = serve("processes = 2");
    let mut all: Vec<i32> = of_all(&stockade, 2).iter().map(Answer::pid).collect();
    all.push(template(&stockade));
    stockade.signal(Signal::SIGKILL);
    for pid in all {
        wait_for("its end", || gone(pid).then_some(()));
    }
}

#[test]
fn on_demand_the_template_comes_and_goes_with_the_workers() {
    let stockade = Stockade::serve_preloading(
        "[pool.app.scale]\nminimum = 0\nmaximum = 2\nidle-timeout = \"1s\"",
    );
    assert_eq!(stockade.pool("app")["templates"], Value::Null);
    assert_eq!(stockade.connect().get("").status(), 200);
    template(&stockade);
    wait_for("rest", || {
        let status = stockade.pool("app");
        (status["templates"].is_null() && status["workers"].as_array()?.is_empty()).then_some(())
    });
}

#[test]
fn a_relay_that_is_replaced_knows_the_template() {
    let stockade = serve("processes = 2\nrefork-after = 5");
    let mut host = stockade.connect();
    for _ in 0..6 {
        assert_eq!(host.get("").status(), 200);
    }
    stockade.log.wait(&["can be forked"]);
    wait_for("the reforked workers", || {
        let log = stockade.log.matching(&["gone after", "refork"]);
        (!log.is_empty() && ready(&stockade) == 2).then_some(())
    });
    let before = template(&stockade);
    stockade.replace_relay();
    wait_for("the new relay's word", || {
        let status = stockade.pool("app");
        let same = status["templates"][0]["pid"] == before;
        (same && status["workers"].as_array()?.len() == 2).then_some(())
    });
    for _ in 0..10 {
        assert_ne!(stockade.connect().get("").pid(), before);
    }
}

impl Stockade {
    fn serve_preloading(more: &str) -> Self {
        let site = Site::new();
        site.write("pages.py", PAGES);
        let keys = keys(&site, &format!("preload = true\n{more}"));
        Self::serve(site, &[Pool::new(&keys)])
    }
}

fn serve(more: &str) -> Stockade {
    let stockade = Stockade::serve_preloading(more);
    stockade.wait_ready("app", 1);
    stockade
}

fn keys(site: &Site, more: &str) -> String {
    let (python, folder) = (tools::python(), site.path());
    format!(
        "wsgi = \"pages:application\"\npython-home = {python:?}\npython-path = [{folder:?}]\n{more}"
    )
}

/// The pid of the one template that there is.
fn template(stockade: &Stockade) -> i32 {
    let pid = wait_for("one template", || {
        let status = stockade.pool("app");
        let templates = status["templates"].as_array()?;
        (templates.len() == 1).then(|| templates[0]["pid"].as_i64())?
    });
    i32::try_from(pid).expect("a pid")
}

fn ready(stockade: &Stockade) -> usize {
    let status = stockade.pool("app");
    let workers = status["workers"].as_array().cloned().unwrap_or_default();
    workers
        .iter()
        .filter(|worker| worker["state"] == "ready")
        .count()
}

/// An answer of each worker.
fn of_all(stockade: &Stockade, count: usize) -> Vec<Answer> {
    // who is busy with one is not given the next
    let socket = stockade.socket("app");
    wait_for("an answer of each", || {
        let mut hosts: Vec<Fcgi> = (0..count * 4).map(|_| Fcgi::connect(&socket)).collect();
        for host in &mut hosts {
            host.begin("GET", "", b"");
        }
        let mut answers: Vec<Answer> = Vec::new();
        for host in &mut hosts {
            let answer = host.answer().expect("an answer");
            if answers.iter().all(|other| other.pid() != answer.pid()) {
                answers.push(answer);
            }
        }
        (answers.len() == count).then_some(answers)
    })
}
