//! How many workers a pool has: it follows the load, within its numbers and those of the machine.

use serde_json::Value;

use crate::support::{
    built,
    deadline::wait_for,
    fcgi::Fcgi,
    hosts::pool,
    nginx::{Hosting, Nginx},
    process,
    site::Site,
    stockade::{Pool, Stockade, configuration},
    tools,
};

/// A pool `app` of scripted workers with these keys in its `scale`.
fn scaled(scale: &str, keys: &str) -> Stockade {
    let site = Site::new();
    let app = app(&site, scale, keys);
    Stockade::serve(site, &[app])
}

fn app(site: &Site, scale: &str, keys: &str) -> Pool {
    Pool::scripted(site, &[], &format!("scale = {{ {scale} }}\n{keys}"))
}

/// Requests that run until `file` is there, each on a connection of its own.
fn hold(stockade: &Stockade, count: usize, file: &str) -> Vec<Fcgi> {
    let query = format!("wait={}", stockade.site.path().join(file).display());
    let begin = |_| {
        let mut host = stockade.connect();
        host.begin("GET", &query, &[]);
        host
    };
    (0..count).map(begin).collect()
}

/// Lets them end, and takes the answers.
fn release(stockade: &Stockade, hosts: Vec<Fcgi>, file: &str) {
    stockade.site.write(file, "");
    for mut host in hosts {
        assert_eq!(host.answer().expect("an answer").status(), 200);
    }
}

fn wait_workers(stockade: &Stockade, count: usize) -> Vec<i32> {
    wait_for(&format!("{count} workers"), || {
        let workers = stockade.workers();
        (workers.len() == count).then_some(workers)
    })
}

fn wait_wanted(stockade: &Stockade, wanted: u64) -> Value {
    wait_for(&format!("{wanted} workers to be wanted"), || {
        let processes = pool(stockade)["processes"].clone();
        (processes["wanted"] == wanted).then_some(processes)
    })
}

#[test]
fn it_grows_with_what_waits_and_shrinks_to_the_low_water_mark() {
    let stockade = scaled(
        "minimum = 1, maximum = 4, spare = 0, queue-wait = \"20ms\", idle-timeout = \"400ms\"",
        "",
    );
    stockade.wait_ready("app", 1);
    let short = hold(&stockade, 2, "short");
    let long = hold(&stockade, 2, "long");
    wait_workers(&stockade, 4);
    let processes = wait_wanted(&stockade, 4);
    assert_eq!(
        (&processes["minimum"], &processes["maximum"]),
        (&1.into(), &4.into())
    );
    release(&stockade, short, "short");
    // two are busy all the time, and no busy one is ever retired
    let busy = wait_workers(&stockade, 2);
    assert!(busy.iter().all(|pid| process::alive(*pid)));
    stockade.log.wait_times(2, &["retiring", "scaled-down"]);
    release(&stockade, long, "long");
    wait_workers(&stockade, 1);
    stockade.log.wait_times(3, &["gone", "scaled-down"]);
    assert_eq!(wait_wanted(&stockade, 1)["wanted"], 1);
    let exits = pool(&stockade)["exits"].clone();
    let causes = exits.as_array().expect("a list").iter();
    assert!(
        causes.clone().all(|exit| exit["cause"] == "scaled-down"),
        "{exits}"
    );
    assert_eq!(causes.count(), 3);
}

#[test]
fn it_has_as_many_as_requests_need_at_once() {
    // every request that waits counts, however they came in: one burst is enough
    let stockade = scaled(
        "minimum = 0, maximum = 8, queue-wait = \"20ms\", idle-timeout = \"60s\"",
        "",
    );
    let hosts = hold(&stockade, 8, "go");
    wait_workers(&stockade, 8);
    release(&stockade, hosts, "go");
}

#[test]
fn spare_workers_are_ready_beside_the_busy_ones_and_are_used() {
    let stockade = scaled(
        "minimum = 1, maximum = 6, spare = 2, idle-timeout = \"60s\"",
        "",
    );
    stockade.wait_ready("app", 2);
    let hosts = hold(&stockade, 2, "go");
    stockade.wait_ready("app", 4);
    wait_wanted(&stockade, 4);
    release(&stockade, hosts, "go");
    // one request after another goes to the worker that was used last: the others could be spared
    let mut host = stockade.connect();
    let first = host.get("").pid();
    for _ in 0..20 {
        assert_eq!(host.get("").pid(), first);
    }
    assert_eq!(stockade.workers().len(), 4, "none was started for them");
}

#[test]
fn on_demand_the_first_request_starts_a_worker_and_idleness_ends_it_again_and_again() {
    let stockade = scaled(
        "minimum = 0, maximum = 2, queue-wait = \"20ms\", idle-timeout = \"300ms\"",
        "",
    );
    for turn in 1..=3 {
        wait_workers(&stockade, 0);
        let processes = wait_wanted(&stockade, 0);
        assert_eq!(processes["minimum"], 0);
        let mut host = stockade.connect();
        assert_eq!(host.get("").status(), 200);
        stockade.log.wait_times(turn, &["gone", "scaled-down"]);
    }
    wait_workers(&stockade, 0);
    let refused = pool(&stockade)["refused"].clone();
    assert_eq!(refused, serde_json::json!({}));
}

#[test]
fn after_maximum_requests_none_is_started_without_need() {
    let stockade = scaled(
        "minimum = 0, maximum = 2, queue-wait = \"5s\", idle-timeout = \"400ms\"",
        "maximum-requests = 1",
    );
    assert_eq!(stockade.connect().get("").status(), 200);
    stockade.log.wait(&["worker 1 ", "gone after"]);
    wait_workers(&stockade, 0);
    let starts = stockade.log.matching(&["started, generation"]).len();
    assert!(starts <= 2, "{starts} workers for one request");
    // and at rest none comes
    wait_wanted(&stockade, 0);
    assert_eq!(stockade.connect().get("").status(), 200);
}

#[test]
fn pools_share_the_room_of_the_machine() {
    let site = Site::new();
    let scale = "minimum = 0, maximum = 3, queue-wait = \"20ms\", idle-timeout = \"300ms\"";
    let pools = [app(&site, scale, ""), app(&site, scale, "").named("other")];
    let config =
        configuration(&site, &pools).replacen("[daemon]\n", "[daemon]\nmaximum-processes = 3\n", 1);
    let stockade = Stockade::run(site, &config);
    stockade.log.wait(&["serving 2 pools"]);
    let hosts = hold(&stockade, 3, "go");
    let most = wait_workers(&stockade, 3);
    let mut other = Fcgi::connect(&stockade.socket("other"));
    other.begin("GET", "", &[]);
    wait_for("the other pool's request to wait", || {
        let (_, status, _) = stockade.ask(&["status", "--json"]);
        let status: Value = serde_json::from_str(&status).ok()?;
        (status["pools"][1]["queue"]["length"] == 1).then_some(())
    });
    assert_eq!(stockade.workers(), most, "more than there is room for");
    release(&stockade, hosts, "go");
    assert_eq!(other.answer().expect("an answer").status(), 200);
    assert!(stockade.workers().len() <= 3);
}

/// Each pool's worker is needed by the next one as soon as it is idle, and by nobody when all has been answered.
#[test]
fn many_pools_take_turns_on_little_room_and_then_leave_each_other_alone() {
    const POOLS: usize = 8;
    let site = Site::new();
    let scale = "minimum = 0, maximum = 3, queue-wait = \"20ms\", idle-timeout = \"2s\"";
    let names: Vec<String> = (0..POOLS).map(|number| format!("p{number}")).collect();
    let pools: Vec<Pool> = names
        .iter()
        .map(|name| app(&site, scale, "").named(name))
        .collect();
    let config =
        configuration(&site, &pools).replacen("[daemon]\n", "[daemon]\nmaximum-processes = 2\n", 1);
    let stockade = Stockade::run(site, &config);
    stockade.log.wait(&["serving 8 pools"]);
    let hosts: Vec<Fcgi> = names
        .iter()
        .map(|name| {
            let mut host = Fcgi::connect(&stockade.socket(name));
            host.begin("GET", "", &[]);
            host
        })
        .collect();
    for mut host in hosts {
        assert_eq!(host.answer().expect("an answer").status(), 200);
    }
    wait_for("every worker gone", || {
        stockade.workers().is_empty().then_some(())
    });
    let starts = stockade.log.matching(&["started, generation"]).len();
    assert_eq!(starts, POOLS, "{}", stockade.log.text());
}

#[test]
fn a_worker_that_has_nothing_to_do_for_long_is_replaced() {
    let stockade = Stockade::scripted("processes = 1\ninactivity-timeout = \"200ms\"");
    let first = stockade.connect().get("").pid();
    stockade.log.wait(&["worker 1 ", "retiring", "inactivity"]);
    stockade.log.wait(&["worker 2 ", "ready"]);
    let second = wait_workers(&stockade, 1)[0];
    assert_ne!(first, second);
    // the new one has had no request, and stays
    assert_eq!(stockade.connect().get("").pid(), second);
    stockade.log.wait(&["worker 2 ", "retiring", "inactivity"]);
    let exits = wait_for("both to be gone", || {
        let exits = pool(&stockade)["exits"].clone();
        (exits.as_array().is_some_and(|exits| exits.len() == 2)).then_some(exits)
    });
    assert_eq!(exits[0]["cause"], "inactivity");
}

#[test]
fn a_worker_is_replaced_at_its_age_one_after_the_other() {
    let stockade = Stockade::scripted("processes = 2\nrestart-interval = \"300ms\"");
    let mut host = stockade.connect();
    wait_for("four of them to be gone", || {
        assert_eq!(host.get("").status(), 200);
        let gone = stockade.log.matching(&["gone after", "restart-interval"]);
        (gone.len() >= 4).then_some(())
    });
    assert!(stockade.log.matching(&["WARN"]).is_empty());
}

#[test]
fn a_pool_is_stopped_and_started() {
    let stockade = Stockade::scripted("processes = 2");
    let stop = ["stop", "app"];
    let held = hold(&stockade, 1, "go");
    wait_for("it to run", || {
        (pool(&stockade)["slots"]["busy"] == 1).then_some(())
    });
    let (code, said, _) = stockade.ask(&stop);
    assert_eq!(code, Some(0));
    assert!(said.starts_with("pool app: stopped"), "{said}");
    let refused = wait_for("requests to be refused", || {
        let answer = stockade.connect().get("");
        (answer.status() == 503).then_some(answer)
    });
    assert_eq!(
        refused.header("Stockade-Cause").as_deref(),
        Some("pool-stopped")
    );
    // what runs is finished
    release(&stockade, held, "go");
    wait_workers(&stockade, 0);
    assert_eq!(pool(&stockade)["state"], "stopped");
    assert_eq!(wait_wanted(&stockade, 0)["minimum"], 2);
    let (code, said, _) = stockade.ask(&stop);
    assert_eq!(
        (code, said.as_str()),
        (Some(0), "pool app: is stopped already\n")
    );
    let (code, said, _) = stockade.ask(&["reload", "--wait"]);
    assert_eq!(
        (code, said.as_str()),
        (
            Some(0),
            "pool app: is stopped: generation 2 comes with `stockade start app`\n"
        )
    );
    let (code, said, _) = stockade.ask(&["scale", "app", "3"]);
    assert_eq!(code, Some(0));
    assert!(
        said.contains("it is stopped: `stockade start app`"),
        "{said}"
    );
    let (code, said, _) = stockade.ask(&["scale", "app", "2"]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said, _) = stockade.ask(&["start", "app"]);
    assert_eq!((code, said.as_str()), (Some(0), "pool app: started\n"));
    wait_workers(&stockade, 2);
    wait_for("requests to be answered", || {
        (stockade.connect().get("").status() == 200).then_some(())
    });
    let (code, said, _) = stockade.ask(&["start", "app"]);
    assert_eq!(
        (code, said.as_str()),
        (Some(0), "pool app: is not stopped\n")
    );
}

#[test]
fn a_pool_is_scaled_until_the_next_reload() {
    let stockade = Stockade::scripted("processes = 1");
    let (code, said, _) = stockade.ask(&["scale", "app", "3"]);
    assert_eq!(code, Some(0));
    assert_eq!(
        said,
        "pool app: scaled to 3 workers until the next reload\n"
    );
    wait_workers(&stockade, 3);
    assert_eq!(wait_wanted(&stockade, 3)["maximum"], 3);
    let (code, said, _) = stockade.ask(&["scale", "app", "2..4"]);
    assert_eq!(code, Some(0));
    assert!(said.contains("2 to 4 workers"), "{said}");
    let hosts = hold(&stockade, 4, "go");
    wait_workers(&stockade, 4);
    release(&stockade, hosts, "go");
    let (code, _, error) = stockade.ask(&["reload", "--wait"]);
    assert_eq!(code, Some(0), "{error}");
    wait_workers(&stockade, 1);
    let processes = wait_wanted(&stockade, 1);
    assert_eq!(
        (&processes["minimum"], &processes["maximum"]),
        (&1.into(), &1.into())
    );
}

#[test]
fn a_reload_that_fails_leaves_a_pool_its_numbers() {
    let stockade = Stockade::scripted("processes = 1");
    assert_eq!(stockade.ask(&["scale", "app", "1..4"]).0, Some(0));
    let broken = Pool::scripted(&stockade.site, &["exit=9"], "processes = 1");
    stockade.configure(&[broken]);
    assert_eq!(stockade.ask(&["reload", "--wait"]).0, Some(1));
    // the number follows the load as before
    let hosts = hold(&stockade, 4, "go");
    wait_workers(&stockade, 4);
    release(&stockade, hosts, "go");
}

#[test]
fn numbers_asked_for_during_a_reload_hold_when_it_is_over() {
    let stockade = Stockade::scripted("processes = 2");
    stockade.wait_ready("app", 2);
    // the new generation is not up before there is such a file
    let gate = stockade.site.path().join("gate");
    let worker = stockade.site.reachable(&built::scripted_worker());
    let script = format!(
        "until [ -e {} ]; do sleep 0.01; done; exec {}",
        gate.display(),
        worker.display()
    );
    stockade.configure(&[Pool::new(&format!(
        "command = [\"/bin/sh\", \"-c\", {script:?}]\nprocesses = 2"
    ))]);
    assert_eq!(stockade.ask(&["reload"]).0, Some(0));
    stockade.log.wait(&["started, generation 2"]);
    assert_eq!(stockade.ask(&["scale", "app", "3"]).0, Some(0));
    stockade.site.write("gate", "");
    stockade.log.wait(&["pool app: reload finished"]);
    wait_workers(&stockade, 3);
    assert_eq!(wait_wanted(&stockade, 3)["maximum"], 3);
}

#[test]
fn what_cannot_be_done_to_a_pool_is_said() {
    let site = Site::new();
    let elsewhere = site.path().join("elsewhere.sock");
    let pools = [
        Pool::scripted(&site, &[], "processes = 1"),
        Pool::new(&format!("upstream = [\"unix:{}\"]", elsewhere.display())).named("wiki"),
    ];
    let stockade = Stockade::serve(site, &pools);
    for (words, code, sentence) in [
        (
            &["stop", "blog"][..],
            1,
            "there is no pool \"blog\": the pools are app, wiki\n",
        ),
        (
            &["start", "wiki"],
            1,
            "pool wiki: its processes are somebody else's (`upstream`): start, stop and scale them there\n",
        ),
        (&["scale", "wiki", "3"], 1, "somebody else's"),
        (
            &["scale", "app", "5..2"],
            2,
            "the smaller number comes first: 2..5",
        ),
        (&["scale", "app", "0"], 2, "stockade stop POOL"),
        (&["stop"], 2, "POOL"),
    ] {
        let (came, _, error) = stockade.ask(words);
        assert_eq!(came, Some(code), "{words:?}: {error}");
        assert!(error.contains(sentence), "{words:?}: {error}");
    }
}

#[test]
fn php_on_demand_behind_nginx() {
    let site = Site::new();
    let folder = site.folder_for_pool("pages");
    let script = folder.join("index.php");
    std::fs::write(&script, "<?php echo 'pid ', getmypid();").expect("the test's folder");
    let php = Pool::new(&format!(
        "command = [{:?}]\nscale = {{ minimum = 0, maximum = 2, idle-timeout = \"300ms\" }}",
        tools::php_cgi()
    ));
    let stockade = Stockade::serve(site, &[php]);
    let location = format!("root {};", folder.display());
    let hosting = Hosting {
        keep: true,
        location: &location,
        ..Hosting::default()
    };
    let nginx = Nginx::start(&stockade.socket("app"), &hosting);
    for turn in 1..=2 {
        wait_workers(&stockade, 0);
        let page = nginx.client().get("/index.php");
        assert_eq!(page.status, 200, "{}", page.text());
        assert!(page.text().starts_with("pid "), "{}", page.text());
        stockade.log.wait_times(turn, &["gone", "scaled-down"]);
    }
}

#[test]
fn a_relay_that_is_replaced_or_dies_leaves_the_pool_its_numbers() {
    let stockade = scaled(
        "minimum = 0, maximum = 3, queue-wait = \"20ms\", idle-timeout = \"300ms\"",
        "",
    );
    let hosts = hold(&stockade, 2, "go");
    wait_workers(&stockade, 2);
    stockade.replace_relay();
    release(&stockade, hosts, "go");
    assert_eq!(stockade.connect().get("").status(), 200);
    wait_workers(&stockade, 0);
    let hosts = hold(&stockade, 2, "again");
    wait_workers(&stockade, 2);
    let relay = stockade.relay();
    assert!(process::signal(relay, nix::sys::signal::Signal::SIGKILL));
    drop(hosts);
    stockade.site.write("again", "");
    wait_for("the next relay to serve", || {
        let mut host = std::os::unix::net::UnixStream::connect(stockade.socket("app")).ok();
        host.take().map(drop)
    });
    assert_eq!(stockade.connect().get("").status(), 200);
    wait_workers(&stockade, 0);
}
