//! `stockade serve` as an operator sees it: start, sockets, log, stop, and what it says about a wrong configuration.

use std::{
    fs,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _},
        net::{UnixListener, UnixStream},
        process::ExitStatusExt as _,
    },
    path::Path,
};

use nix::sys::signal::Signal;

use crate::support::{
    deadline::{now, wait_for},
    fcgi::Fcgi,
    process,
    site::Site,
    stockade::{Pool, Stockade, configuration, daemon_table, gone, pid_in, refusal},
    tools,
};

#[test]
fn workers_become_ready_and_answer() {
    let stockade = Stockade::scripted("processes = 2");
    let ready = stockade.wait_ready("app", 2);
    let mut pids: Vec<i32> = ready.iter().map(|line| pid_in(line)).collect();
    let mut workers = stockade.workers();
    pids.sort_unstable();
    workers.sort_unstable();
    assert_eq!(pids, workers);

    let answer = stockade.connect().get("");
    assert_eq!((answer.status(), answer.ended), (200, Some(0)));
    assert!(workers.contains(&answer.pid()), "{answer:?}");
}

#[test]
fn pools_do_not_share_workers() {
    let site = Site::new();
    let pools = ["first", "second"].map(|name| {
        Pool::scripted(&site, &[&format!("generation={name}")], "processes = 1").named(name)
    });
    let stockade = Stockade::ready(site, &pools);
    for name in ["first", "second"] {
        let mut host = Fcgi::connect(&stockade.socket(name));
        assert_eq!(host.get("").fact("generation"), name);
        assert!(
            host.get("environment")
                .body()
                .contains(&format!("STOCKADE_POOL={name}"))
        );
    }
}

#[test]
fn a_pool_listens_on_several_addresses() {
    let site = Site::new();
    let (first, second) = (
        site.path().join("first.sock"),
        site.path().join("second.sock"),
    );
    let keys = format!(
        "listen = [\"unix:{}\", \"unix:{}\"]",
        first.display(),
        second.display()
    );
    let pool = Pool::scripted(&site, &[], &keys);
    let config = configuration(&site, &[pool]);
    let stockade = Stockade::run(site, &config);
    stockade.wait_ready("app", 1);
    for socket in [first, second] {
        assert_eq!(Fcgi::connect(&socket).get("").status(), 200);
    }
}

#[test]
fn the_socket_has_the_mode_and_owner_of_the_configuration() {
    let site = Site::new();
    let owner = if tools::root() {
        "socket-user = \"stockade\"\nsocket-group = \"www-data\"\n"
    } else {
        ""
    };
    let keys = format!("{owner}socket-mode = \"0606\"");
    let pool = Pool::scripted(&site, &[], &keys);
    let stockade = Stockade::ready(site, &[pool]);
    let socket = fs::metadata(stockade.socket("app")).unwrap();
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.mode() & 0o777, 0o606);
    if tools::root() {
        assert_eq!(socket.uid(), tools::account("stockade").uid.as_raw());
        assert_eq!(socket.gid(), tools::account("www-data").gid.as_raw());
    }
}

#[test]
fn a_socket_left_by_a_killed_daemon_is_taken_over() {
    let site = Site::new();
    // dropped, the listener leaves its file: a socket that nobody listens on
    drop(UnixListener::bind(site.path().join("app.sock")).unwrap());
    let pool = Pool::scripted(&site, &[], "processes = 1");
    let stockade = Stockade::ready(site, &[pool]);
    assert_eq!(stockade.connect().get("").status(), 200);
}

#[test]
fn root_gives_up_its_power_in_relay_and_workers() {
    if !tools::root() {
        // an ordinary user has none to give up
        return;
    }
    let stockade = Stockade::scripted("processes = 1");
    let relay = process::user_of(stockade.relay());
    assert_eq!(relay, Some(tools::account("stockade").uid.as_raw()));
    for worker in stockade.workers() {
        let user = process::user_of(worker);
        assert_eq!(user, Some(tools::account("www-data").uid.as_raw()));
    }
}

#[test]
fn a_worker_sees_its_own_environment_only() {
    let stockade = Stockade::scripted("processes = 1\nenvironment = { COLOUR = \"blue\" }");
    let environment = stockade.connect().get("environment").body();
    for line in [
        "COLOUR=blue",
        "STOCKADE_POOL=app",
        "STOCKADE_WORKER=1",
        "STOCKADE_GENERATION=1",
    ] {
        assert!(
            environment.lines().any(|seen| seen == line),
            "{line} in:\n{environment}"
        );
    }
    assert!(!environment.contains("CARGO"), "{environment}");
    assert!(
        !environment.contains("FCGI_WEB_SERVER_ADDRS"),
        "{environment}"
    );
}

#[test]
fn term_lets_a_running_request_finish() {
    let mut stockade = Stockade::scripted("processes = 1");
    let gate = stockade.site.path().join("gate");
    let mut host = stockade.connect();
    host.begin("GET", &format!("stderr=begun&wait={}", gate.display()), &[]);
    stockade.log.wait(&["begun"]);
    let workers = stockade.workers();
    let relay = stockade.relay();

    stockade.signal(Signal::SIGTERM);
    wait_for("new connections to be refused", || {
        UnixStream::connect(stockade.socket("app")).err()
    });
    assert!(stockade.exited().is_none(), "{}", stockade.log.text());
    fs::write(&gate, "").unwrap();
    let answer = host.answer().unwrap();
    assert_eq!((answer.status(), answer.ended), (200, Some(0)));
    assert_eq!(stockade.wait_exit().code(), Some(0));
    for process in workers.into_iter().chain([relay]) {
        wait_for("every process to be gone", || gone(process).then_some(()));
    }
    assert!(
        !stockade.socket("app").exists(),
        "the socket was left behind"
    );
}

#[test]
fn a_second_term_stops_at_once() {
    let mut stockade = Stockade::scripted("processes = 1");
    let mut host = stockade.connect();
    host.begin("GET", "stderr=begun&sleep=60000", &[]);
    stockade.log.wait(&["begun"]);
    let start = now();
    stockade.signal(Signal::SIGTERM);
    stockade.log.wait(&["stopping"]);
    assert!(stockade.exited().is_none(), "{}", stockade.log.text());
    stockade.signal(Signal::SIGTERM);
    assert_eq!(stockade.wait_exit().code(), Some(0));
    assert!(start.elapsed().as_secs() < 20, "the request was waited for");
}

#[test]
fn quit_stops_at_once() {
    let mut stockade = Stockade::scripted("processes = 1");
    let workers = stockade.workers();
    stockade.connect().begin("GET", "sleep=60000", &[]);
    stockade.signal(Signal::SIGQUIT);
    let status = stockade.wait_exit();
    assert_eq!(status.code(), Some(0), "signal {:?}", status.signal());
    for worker in workers {
        wait_for("the worker to be gone", || gone(worker).then_some(()));
    }
}

#[test]
fn everything_ends_with_a_killed_supervisor() {
    let mut stockade = Stockade::scripted("processes = 2");
    stockade.wait_ready("app", 2);
    let mut family = stockade.workers();
    family.push(stockade.relay());
    stockade.signal(Signal::SIGKILL);
    stockade.wait_exit();
    for process in family {
        wait_for("relay and workers to end", || {
            (!process::alive(process)).then_some(())
        });
    }
}

#[test]
fn a_wrong_configuration_is_refused_with_its_place() {
    let site = Site::new();
    let config = daemon_table(&site) + "[pool.app]\ncommand = [\"/bin/true\"]\nprocessess = 3\n";
    let file = site.write("stockade.toml", &config);
    let (code, text) = refusal(&file);
    assert_eq!(code, Some(78), "{text}");
    let line = config
        .lines()
        .position(|line| line.starts_with("processess"))
        .unwrap()
        + 1;
    for word in [
        "stockade.toml",
        &line.to_string(),
        "processess = 3",
        "processes",
    ] {
        assert!(text.contains(word), "{word:?} in: {text}");
    }
}

#[test]
fn every_kind_of_mistake_has_exit_code_78_and_names_its_subject() {
    let site = Site::new();
    let listen = format!("listen = [\"unix:{}/app.sock\"]\n", site.path().display());
    for (keys, words) in [
        (
            "listen = []\ncommand = [\"/bin/true\"]\n".to_owned(),
            "listen",
        ),
        (listen.clone(), "command"),
        (
            format!("{listen}command = [\"/bin/true\"]\nwsgi = \"a:b\"\n"),
            "wsgi",
        ),
        (
            format!("{listen}command = [\"no-such-program-anywhere\"]\n"),
            "no-such-program-anywhere",
        ),
        (
            format!("{listen}command = [\"/bin/true\"]\nrequest-timeout = \"5 parsecs\"\n"),
            "request-timeout",
        ),
        (
            format!("{listen}command = [\"/bin/true\"]\nparameters = {{}}\n"),
            "not supported yet",
        ),
        (
            format!("{listen}command = [\"/bin/true\"]\nuser = \"nobody-of-that-name\"\n"),
            "nobody-of-that-name",
        ),
    ] {
        let config = format!("{}[pool.app]\n{keys}", daemon_table(&site));
        let (code, text) = refusal(&site.write("stockade.toml", &config));
        assert_eq!(code, Some(78), "{keys}\n{text}");
        assert!(text.contains(words), "{words:?} in: {text}");
        assert!(!text.contains("panicked"), "{text}");
    }
}

#[test]
fn a_configuration_that_is_not_there_is_refused() {
    let (code, text) = refusal(Path::new("/nowhere/stockade.toml"));
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("/nowhere/stockade.toml"), "{text}");
}

#[test]
fn a_folder_that_is_missing_is_said_to_be() {
    let site = Site::new();
    let socket = site.path().join("none/app.sock");
    let keys = format!(
        "listen = [\"unix:{}\"]\ncommand = [\"/bin/true\"]",
        socket.display()
    );
    let config = configuration(&site, &[Pool::new(&keys)]);
    let (code, text) = refusal(&site.write("stockade.toml", &config));
    assert_eq!(code, Some(1), "{text}");
    let words = "No such file or directory (os error 2): make its folder, or choose another path";
    assert!(text.contains(words), "{text}");
}

#[test]
fn a_program_that_takes_no_connection_is_asked_about() {
    let keys = "command = [\"sleep\", \"1000\"]\nprocesses = 1\nstartup-timeout = \"100ms\"";
    let stockade = Stockade::serve(Site::new(), &[Pool::new(keys)]);
    stockade.log.wait(&[
        "WARN",
        "startup-timeout: it neither answered nor took a connection",
        "is it a FastCGI program?",
    ]);
}

#[test]
fn an_address_in_use_is_temporary() {
    let stockade = Stockade::scripted("");
    let (code, text) = refusal(&stockade.site.path().join("stockade.toml"));
    assert_eq!(code, Some(75), "{text}");
    assert_eq!(
        stockade.connect().get("").status(),
        200,
        "the first daemon was hurt"
    );
}
