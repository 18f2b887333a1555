//! What workers start ends with them, also what has made a session of its own.

use nix::sys::signal::Signal;

use crate::support::{
    deadline::wait_for,
    probe::{eval, eval_in, probe},
    process,
    site::Site,
    stockade::{Pool, Stockade, gone},
};

fn number(text: &str) -> i32 {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn descendants_in_sessions_of_their_own_end_with_their_worker() {
    let site = Site::new();
    let pool = probe(&site, "");
    let stockade = Stockade::ready(site, &[pool]);
    // a child in a session of its own with a child in another one; and a daemon, whose parent has gone
    let nested = "subprocess.Popen(['/bin/sh', '-c', 'setsid sleep 1000 & sleep 1001 & wait'], start_new_session=True).pid";
    let child = number(&eval(&stockade, nested));
    let daemon = "int(subprocess.run(['/bin/sh', '-c', 'setsid sleep 1002 >/dev/null 2>&1 & echo $!'], stdout=subprocess.PIPE).stdout)";
    let daemon = number(&eval(&stockade, daemon));
    let family = wait_for("all of them to run", || {
        let mut family = process::descendants(child);
        family.extend([child, daemon]);
        (family.len() == 4 && process::children(stockade.pid()).contains(&daemon)).then_some(family)
    });
    let worker = number(&eval(&stockade, "os.getpid()"));
    assert!(process::signal(worker, Signal::SIGKILL));
    for pid in family {
        wait_for("a descendant to be gone", || gone(pid).then_some(()));
    }
    // and the next worker is none of them
    wait_for("the next worker", || {
        (eval(&stockade, "os.getpid()") != worker.to_string()).then_some(())
    });
}

#[test]
fn what_a_worker_started_that_lives_is_left_alone() {
    let site = Site::new();
    let pools: Vec<Pool> = ["one", "two"]
        .map(|name| probe(&site, "").named(name))
        .to_vec();
    let stockade = Stockade::ready(site, &pools);
    let job = "int(subprocess.run(['/bin/sh', '-c', 'sleep 1000 >/dev/null 2>&1 & echo $!'], stdout=subprocess.PIPE).stdout)";
    let [first, second] = ["one", "two"].map(|pool| number(&eval_in(&stockade, pool, job)));
    wait_for("both to have come to the supervisor", || {
        let children = process::children(stockade.pid());
        (children.contains(&first) && children.contains(&second)).then_some(())
    });
    let [worker, other] =
        ["one", "two"].map(|pool| number(&eval_in(&stockade, pool, "os.getpid()")));
    assert!(process::signal(worker, Signal::SIGKILL));
    wait_for("the job of the one to be gone", || {
        gone(first).then_some(())
    });
    stockade.wait_ready("one", 2);
    assert!(process::alive(second), "the other's was ended");
    assert!(process::alive(other));
}
