//! `interrupt-timeout`: a Python request whose time is over is broken off, and its process lives.

use std::thread;

use serde_json::Value;

use crate::support::{
    deadline::wait_for,
    fcgi::Answer,
    hangs::{cause, hang, pool, serve, wait_gone},
    process,
    site::Site,
    stockade::refusal,
};

const OVER: (u16, &str) = (504, "request-timeout");

fn assert_over(answer: &Answer) {
    let (status, cause) = cause(answer);
    assert_eq!((status, &*cause), OVER, "{answer:?}");
}

#[test]
fn the_process_lives_and_the_log_says_where_it_was() {
    let stockade = serve("processes = 1\nrequest-timeout = \"500ms\"\ninterrupt-timeout = \"20s\"");
    let worker = stockade.connect().get("").pid();
    // a wait in the system, and a loop
    for (number, how) in ["sleep", "loop"].into_iter().enumerate() {
        let mut host = hang(&stockade, how);
        assert_over(&host.answer().unwrap());
        let back = stockade
            .log
            .wait_times(number + 1, &["has come back from what was interrupted"]);
        assert!(
            back[number].contains(&format!("(pid {worker})")),
            "{back:?}"
        );
        assert_eq!(stockade.connect().get("").pid(), worker);
    }
    for line in [
        "broken off, for its time is over: GET /",
        "time.sleep(600)",
        "stockade.RequestTimeout",
    ] {
        stockade.log.wait(&["pool app: worker 1", line]);
    }
    assert!(stockade.log.matching(&["retiring"]).is_empty());
}

#[test]
fn what_else_the_process_is_at_goes_on() {
    let stockade = serve(
        "processes = 1\nthreads = 2\nrequest-timeout = \"500ms\"\ninterrupt-timeout = \"20s\"",
    );
    let worker = stockade.connect().get("").pid();
    let mut stuck = hang(&stockade, "loop");
    let mut other = hang(&stockade, "busy=0.3");
    // its sibling has a slot all the time
    let (answer, stuck) = thread::scope(|scope| {
        let stuck = scope.spawn(|| stuck.answer().unwrap());
        (other.answer().unwrap(), stuck.join().unwrap())
    });
    assert_eq!((answer.status(), answer.pid()), (200, worker));
    assert_over(&stuck);
    stockade.log.wait(&["has come back"]);
    // both slots are free again
    let mut hosts = [hang(&stockade, "busy=0.1"), hang(&stockade, "busy=0.1")];
    for host in &mut hosts {
        let answer = host.answer().unwrap();
        assert_eq!((answer.status(), answer.pid()), (200, worker));
    }
}

#[test]
fn one_that_does_not_come_back_is_replaced_and_its_siblings_finish() {
    let stockade = serve(
        "processes = 1\nthreads = 2\nrequest-timeout = \"2s\"\ninterrupt-timeout = \"500ms\"\n\
         shutdown-timeout = \"300ms\"\ntotal-timeout = \"off\"",
    );
    let worker = stockade.connect().get("").pid();
    let mut deaf = hang(&stockade, "deaf");
    let answer = deaf.answer().unwrap();
    assert_over(&answer);
    let gate = stockade.site.path().join("gate");
    let mut sibling = hang(&stockade, "wait=gate");
    stockade
        .log
        .wait(&[&format!("(pid {worker}) retiring"), "request-timeout"]);
    std::fs::write(&gate, "").expect("the folder is ours");
    let answer = sibling.answer().unwrap();
    assert_eq!((answer.status(), answer.pid()), (200, worker));
    wait_gone(&stockade.log, worker, "request-timeout");
    let answer = stockade.connect().get("");
    assert_eq!(answer.status(), 200);
    assert_ne!(answer.pid(), worker);
}

#[test]
fn what_has_the_interpreters_lock_cannot_be_broken_off() {
    let stockade = serve(
        "processes = 1\nrequest-timeout = \"500ms\"\ninterrupt-timeout = \"500ms\"\nshutdown-timeout = \"300ms\"",
    );
    let worker = stockade.connect().get("").pid();
    assert_over(&hang(&stockade, "lock").answer().unwrap());
    wait_gone(&stockade.log, worker, "request-timeout");
    assert_ne!(stockade.connect().get("").pid(), worker);
}

#[test]
fn a_response_that_stops_is_cut_and_its_process_lives() {
    let stockade =
        serve("processes = 1\nresponse-timeout = \"500ms\"\ninterrupt-timeout = \"20s\"");
    let worker = stockade.connect().get("").pid();
    let mut host = stockade.connect();
    let cut = host.ask_cut("GET", "head");
    assert_eq!((cut.status(), cut.body().as_str()), (200, "so far"));
    stockade.log.wait(&["has come back"]);
    assert_eq!(stockade.connect().get("").pid(), worker);
}

#[test]
fn under_load_nobody_else_is_hit() {
    let stockade = serve(
        "processes = 2\nthreads = 3\nrequest-timeout = \"600ms\"\ninterrupt-timeout = \"20s\"",
    );
    stockade.wait_ready("app", 2);
    let workers = stockade.workers();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut host = stockade.connect();
                for _ in 0..200 {
                    assert_eq!(host.get("").status(), 200);
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..4 {
                    assert_over(&stockade.connect().get("loop"));
                }
            });
        }
    });
    wait_for("every slot to be free", || {
        let (_, status, _) = stockade.ask(&["status", "--json"]);
        let status: Value = serde_json::from_str(&status).expect("it is JSON");
        let slots = &status["pools"][0]["slots"];
        (slots["busy"] == 0 && slots["idle"] == 6).then_some(())
    });
    assert_eq!(stockade.workers(), workers);
    assert_eq!(
        stockade.log.matching(&["broken off"]).len(),
        8,
        "each was told once"
    );
}

#[test]
fn a_relay_that_is_replaced_waits_for_it_too() {
    let stockade = serve("processes = 1\nrequest-timeout = \"500ms\"\ninterrupt-timeout = \"20s\"");
    let worker = stockade.connect().get("").pid();
    let mut host = hang(&stockade, "sleep");
    let old = stockade.replace_relay();
    assert_over(&host.answer().unwrap());
    stockade.log.wait(&["has come back"]);
    assert_eq!(stockade.connect().get("").pid(), worker);
    drop(host);
    wait_for("the end of the old relay", || {
        (!process::alive(old)).then_some(())
    });
}

#[test]
fn it_is_for_python_alone() {
    let site = Site::new();
    let keys = "interrupt-timeout = \"1s\"";
    let config = site.write(
        "stockade.toml",
        &format!(
            "[pool.app]\nlisten = [\"unix:{}\"]\ncommand = [\"/bin/true\"]\n{keys}\n",
            site.path().join("app.sock").display()
        ),
    );
    let (code, said) = refusal(&config);
    assert_eq!(code, Some(78), "{said}");
    assert!(
        said.contains("`interrupt-timeout` has no meaning with `command`"),
        "{said}"
    );
    drop(pool(&site, keys));
}
