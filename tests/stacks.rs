//! `stockade stacks`: what the threads of workers are doing, of workers that are idle, busy, stuck and stopped; and the same in the log.

use nix::sys::signal::Signal;

use crate::support::{
    deadline::wait_for,
    hangs::{self, hang},
    process,
    site::Site,
    stockade::{Pool, Stockade},
    tools,
};

const ASGI: &str = r#"
import asyncio, time

async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    await {"/wait": wait_for_ever, "/hold": hold}[scope["path"]]()

async def wait_for_ever():
    print("waiting", flush=True)
    await asyncio.create_task(sleep(), name="the sleeper")

async def sleep():
    await asyncio.sleep(600)

async def hold():
    print("held up", flush=True)
    time.sleep(600)
"#;

const GREEN: &str = r#"
import time

def application(environ, start_response):
    if environ["PATH_INFO"] == "/wait":
        print("waiting", flush=True)
        nap()
    start_response("200 OK", [])
    return []

def nap():
    time.sleep(600)
"#;

#[test]
fn an_idle_worker_waits_for_a_request() {
    let stockade = hangs::serve("processes = 2");
    stockade.wait_ready("app", 2);
    let told = told(&stockade, "app");
    let title = |number: usize| format!("pool app: worker {number} (pid ");
    assert!(told.starts_with(&title(1)), "{told}");
    assert!(told.contains(&format!("\n\n{}", title(2))), "{told}");
    assert_eq!(
        told.matches("what Python says:\nthread main waits for a request\n")
            .count(),
        2,
        "{told}"
    );
}

#[test]
fn a_busy_thread_is_told_with_its_request_and_is_not_disturbed() {
    let stockade = hangs::serve("processes = 1\nthreads = 3");
    let worker = stockade.connect().get("").pid();
    let more = [("PATH_INFO", "/a report"), ("REQUEST_ID", "r-7")];
    let mut host = stockade.connect();
    host.begin_with("GET", "wait=go", &more);
    stockade.log.wait(&["stuck in wait"]);
    // by its process
    let told = told(&stockade, &worker.to_string());
    let paragraphs = paragraphs(&told);
    let busy = of(&paragraphs, "GET /a report (request r-7), ");
    assert!(busy.starts_with("thread stockade-"), "{told}");
    let lines: Vec<&str> = busy.lines().collect();
    assert!(
        lines[1].ends_with("app.py\", line 18, in application"),
        "{told}"
    );
    assert!(
        lines[2].contains("app.py\", line ") && lines[2].ends_with(", in wait"),
        "{told}"
    );
    let idle = paragraphs
        .iter()
        .filter(|it| it.ends_with(" waits for a request"));
    assert_eq!(idle.count(), 2, "{told}");
    let json = json(&stockade, "1");
    assert_eq!(json["source"], "python");
    assert_eq!(json["pid"], worker);
    assert_eq!(json["requests"][0]["id"], "r-7");
    stockade.site.write("go", "");
    let answer = host.answer().unwrap();
    assert_eq!((answer.status(), answer.pid()), (200, worker));
}

#[test]
fn tasks_are_told_with_what_they_wait_for_even_while_the_loop_is_held_up() {
    let site = Site::new();
    site.write("app.py", ASGI);
    let stockade = python(site, "asgi = \"app:application\"\nprocesses = 1");
    let mut waiting = stockade.connect();
    waiting.begin_with("GET", "", &[("PATH_INFO", "/wait")]);
    stockade.log.wait(&["waiting"]);
    let sleeper = wait_for("the task", || {
        let told = told(&stockade, "app");
        told.contains("task the sleeper").then_some(told)
    });
    let paragraphs = paragraphs(&sleeper);
    let task = of(&paragraphs, "GET /wait (request ");
    assert!(task.contains("in application\n"), "{sleeper}");
    assert!(
        task.ends_with("in wait_for_ever\n  waits for task the sleeper"),
        "{sleeper}"
    );
    let inner = of(&paragraphs, "task the sleeper\n");
    assert!(inner.contains("in sleep\n"), "{sleeper}");
    assert!(inner.ends_with("  waits for a future"), "{sleeper}");
    let mut holding = stockade.connect();
    holding.begin_with("GET", "", &[("PATH_INFO", "/hold")]);
    stockade.log.wait(&["held up"]);
    let held = told(&stockade, "app");
    let main = held.split("\n\n").next().unwrap_or_default();
    assert!(
        main.contains("\nthread main: GET /hold (request "),
        "{held}"
    );
    assert!(main.ends_with(", in hold"), "{held}");
    assert!(held.contains("waits for task the sleeper"), "{held}");
}

#[test]
fn greenlets_are_told_with_their_requests() {
    for hub in ["gevent", "eventlet"] {
        let environment = tools::python_environment(hub);
        let site = Site::new();
        let environment = site.reachable(&environment);
        site.write("app.py", GREEN);
        let keys = format!(
            "wsgi = \"app:application\"\nconcurrency = {hub:?}\npython-home = {environment:?}\npython-path = [{:?}]\nprocesses = 1",
            site.path()
        );
        let stockade = Stockade::ready(site, &[Pool::new(&keys)]);
        let mut idle = stockade.connect();
        assert_eq!(idle.get("").status(), 200);
        let mut waiting = stockade.connect();
        waiting.begin_with("GET", "", &[("PATH_INFO", "/wait")]);
        stockade.log.wait(&["waiting"]);
        let told = wait_for("the greenlet", || {
            let told = told(&stockade, "app");
            told.contains("GET /wait").then_some(told)
        });
        let paragraphs = paragraphs(&told);
        let greenlet = of(&paragraphs, "greenlet: GET /wait (request ");
        assert!(greenlet.contains("in application\n"), "{told}");
        assert!(greenlet.contains(", in nap\n"), "{told}");
        assert!(told.contains("\nthread main\n"), "{told}");
        // and it is not disturbed
        assert_eq!(stockade.connect().get("").status(), 200);
    }
}

#[test]
fn one_that_keeps_the_interpreters_lock_is_told_without() {
    let stockade = hangs::serve(
        "processes = 1\nthreads = 2\nrequest-timeout = \"off\"\ngraceful-timeout = \"off\"\ndeadlock-timeout = \"off\"",
    );
    let _stuck = hang(&stockade, "lock");
    let told = wait_for("the lock to be kept", || {
        let told = told(&stockade, "app");
        told.contains("without its lock").then_some(told)
    });
    assert!(told.contains("\nit has GET / (request "), "{told}");
    let paragraph = of(&paragraphs(&told), "\nthread stockade-");
    assert!(paragraph.ends_with(", in lock"), "{told}");
    assert!(paragraph.contains(", in application\n"), "{told}");
    assert_eq!(json(&stockade, "app")["source"], "python-without-lock");
}

#[test]
fn of_one_that_is_stopped_the_kernel_tells() {
    let stockade = hangs::serve("processes = 1\ndeadlock-timeout = \"off\"");
    let worker = stockade.connect().get("").pid();
    assert!(process::signal(worker, Signal::SIGSTOP));
    let told = told(&stockade, "app");
    assert!(
        told.contains("what the kernel says, for it does not answer:\n"),
        "{told}"
    );
    assert!(told.contains(&format!("\nthread {worker} ")), "{told}");
    assert!(told.contains(": stopped"), "{told}");
    let json = json(&stockade, "app");
    assert_eq!(json["source"], "kernel");
    assert_eq!(json["threads"][0]["state"], "stopped");
    // it goes on, and tells by itself again
    assert!(process::signal(worker, Signal::SIGCONT));
    let again = self::told(&stockade, "app");
    assert!(again.contains("thread main waits for a request"), "{again}");
    assert_eq!(stockade.connect().get("").pid(), worker);
}

#[test]
fn of_other_programs_the_kernel_tells_too() {
    let stockade = Stockade::scripted("processes = 1");
    let mut host = stockade.connect();
    host.begin_with("GET", "sleep=60000", &[("REQUEST_ID", "r-9")]);
    let told = wait_for("the request to run", || {
        let told = told(&stockade, "app");
        told.contains("request r-9").then_some(told)
    });
    assert!(
        told.contains(
            "what the kernel says, for its program is not Python:\nit has GET / (request r-9), "
        ),
        "{told}"
    );
    assert!(told.contains(": sleeping, in the system call "), "{told}");
}

#[test]
fn who_is_not_there_is_said_with_those_who_are() {
    let site = Site::new();
    let pools =
        ["first", "second"].map(|name| Pool::scripted(&site, &[], "processes = 1").named(name));
    let stockade = Stockade::ready(site, &pools);
    for of in ["third", "4000000"] {
        let (code, out, error) = stockade.ask(&["stacks", of]);
        assert_eq!((code, &*out), (Some(1), ""));
        assert!(error.contains("the pools are first, second"), "{error}");
    }
    assert_eq!(stockade.ask(&["stop", "first"]).0, Some(0));
    let error = wait_for("its worker to be gone", || {
        let (code, _, error) = stockade.ask(&["stacks", "first"]);
        (code == Some(1)).then_some(error)
    });
    assert_eq!(error, "pool first: it has no worker at present\n");
}

#[test]
fn a_slow_request_has_its_stack_in_the_log() {
    let stockade = hangs::serve("processes = 1\nthreads = 2\nslow-request = \"200ms\"");
    let mut other = hang(&stockade, "wait=never");
    stockade.log.wait(&["is slow"]);
    let line = stockade
        .log
        .wait(&["WARN", "worker 1 (pid ", "): thread stockade-"]);
    assert!(line.contains(": GET / (request "), "{line}");
    stockade.log.wait(&["WARN", "worker 1 (pid ", ", in wait"]);
    // the other thread is at nothing that is slow
    assert!(stockade.log.matching(&["waits for a request"]).is_empty());
    stockade.site.write("never", "");
    assert_eq!(other.answer().unwrap().status(), 200);
}

#[test]
fn a_request_whose_time_is_over_has_its_stack_in_the_log() {
    for more in ["", "interrupt-timeout = \"5s\""] {
        let keys = format!("processes = 1\nrequest-timeout = \"500ms\"\n{more}");
        let stockade = hangs::serve(&keys);
        let mut stuck = hang(&stockade, "sleep");
        assert_eq!(stuck.answer().unwrap().status(), 504);
        stockade
            .log
            .wait(&["worker 1 (pid ", "): thread main: GET / (request "]);
        stockade.log.wait(&["worker 1 (pid ", "File", ", in sleep"]);
    }
}

#[test]
fn a_deadlock_has_its_stack_in_the_log() {
    let stockade = hangs::serve(
        "processes = 1\nrequest-timeout = \"off\"\ngraceful-timeout = \"off\"\ndeadlock-timeout = \"1s\"",
    );
    let _stuck = hang(&stockade, "lock");
    stockade
        .log
        .wait(&["worker 1 (pid ", "without it, its threads are here"]);
    stockade.log.wait(&["worker 1 (pid ", "File", ", in lock"]);
}

fn python(site: Site, keys: &str) -> Stockade {
    let keys = format!(
        "python-home = {:?}\npython-path = [{:?}]\n{keys}",
        tools::python(),
        site.path()
    );
    Stockade::ready(site, &[Pool::new(&keys)])
}

/// What the command prints.
fn told(stockade: &Stockade, of: &str) -> String {
    let (code, out, error) = stockade.ask(&["stacks", of]);
    assert_eq!((code, &*error), (Some(0), ""), "{out}");
    out
}

/// The first worker of what it prints for programs.
fn json(stockade: &Stockade, of: &str) -> serde_json::Value {
    let (code, out, error) = stockade.ask(&["stacks", of, "--json"]);
    assert_eq!((code, &*error), (Some(0), ""), "{out}");
    let all: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    all[0].clone()
}

/// Of one worker.
fn paragraphs(told: &str) -> Vec<&str> {
    told.trim_end().split("\n\n").collect()
}

/// The paragraph that has these words.
fn of<'a>(paragraphs: &[&'a str], words: &str) -> &'a str {
    let found = paragraphs.iter().find(|it| it.contains(words));
    found.unwrap_or_else(|| panic!("no {words:?} in {paragraphs:#?}"))
}
