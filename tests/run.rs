//! `stockade run`: one application over HTTP without a configuration, as root and as an ordinary user.

use std::{
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
};

use crate::support::{
    deadline::{now, wait_for},
    process,
    running::{Running, address, service},
    site::Site,
    stockade::gone,
    tools,
};

const HELLO: &str = r#"
import os

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [("%s from %s" % (os.environ["GREETING"], environ["PATH_INFO"])).encode()]
"#;

const PORT: [&str; 2] = ["--listen", "127.0.0.1:0"];

fn site() -> Site {
    let site = Site::new();
    site.write("hello.py", HELLO);
    site
}

/// Serves, and stops at Ctrl-C with everything it had made.
fn serves_until_interrupted(mut running: Running) {
    let response = running.client().get("/there");
    assert_eq!(
        (response.status, response.text().as_str()),
        (200, "hello from /there")
    );
    let mut family = process::children(running.pid());
    assert!(family.len() >= 3, "relay, shim and a worker: {family:?}");
    family.push(running.pid());
    let end = format!("-{}", running.pid());
    let own = |folder: &str| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let is_own = |name: &String| name.starts_with("stockade-run-") && name.ends_with(&end);
        entries.map(name).filter(is_own).count()
    };
    assert_eq!(own("/run") + own("/tmp"), 1, "the runtime-dir");
    let start = now();
    running.interrupt();
    assert_eq!(
        running.wait_exit().code(),
        Some(0),
        "{}",
        running.log.text()
    );
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    assert_eq!(own("/run") + own("/tmp"), 0, "the runtime-dir was left");
    for process in family {
        wait_for("every process to be gone", || gone(process).then_some(()));
    }
}

#[test]
fn a_file_is_served_until_ctrl_c() {
    serves_until_interrupted(Running::start(site(), &["hello.py", PORT[0], PORT[1]]));
}

#[test]
fn an_ordinary_user_needs_nothing() {
    let words = ["hello:application", PORT[0], PORT[1]];
    serves_until_interrupted(Running::start_without_power(site(), &words));
}

#[test]
fn root_runs_nothing_as_root_and_says_so() {
    if !tools::root() {
        return;
    }
    let words = ["hello.py", PORT[0], PORT[1], "--processes", "2"];
    let running = Running::start(site(), &words);
    assert_eq!(running.client().get("/").status, 200);
    running.log.wait(&["started by root", "runs as nobody"]);
    running.log.wait_times(2, &["worker ", " ready"]);
    for process in process::children(running.pid()) {
        let user = process::user_of(process);
        assert!(user.is_some_and(|user| user != 0), "{process}: {user:?}");
    }
    drop(running);

    let running = Running::start(
        site(),
        &["hello.py", "--user", "www-data", PORT[0], PORT[1]],
    );
    assert_eq!(running.client().get("/").status, 200);
    running.log.wait(&["started by root", "runs as www-data"]);
}

#[test]
fn files_and_numbers_are_taken() {
    let site = site();
    fs::create_dir(site.path().join("assets")).unwrap();
    site.write("assets/site.css", "body { color: blue }");
    let words = [
        "hello.py:application",
        "--static",
        "/static/=assets",
        "--processes",
        "1",
        "--threads",
        "4",
        PORT[0],
        PORT[1],
    ];
    let running = Running::start(site, &words);
    let css = running.client().get("/static/site.css");
    assert_eq!(
        (css.status, css.header("content-type")),
        (200, Some("text/css"))
    );
    running.log.wait(&["1 worker with 4 threads"]);
    assert_eq!(
        running
            .log
            .matching(&["worker", "started, generation"])
            .len(),
        1
    );
}

#[test]
fn a_hangup_loads_the_application_again() {
    let running = Running::start(site(), &["hello.py", "--processes", "1", PORT[0], PORT[1]]);
    let mut client = running.client();
    assert_eq!(client.get("/").status, 200);
    running
        .site
        .write("hello.py", &HELLO.replace("from", "again from"));
    process::signal(running.pid(), nix::sys::signal::Signal::SIGHUP);
    running.log.wait(&["reload finished"]);
    assert_eq!(client.get("/").text(), "hello again from /");
}

#[test]
fn a_shim_that_dies_is_started_again() {
    let running = Running::start(site(), &["hello.py", PORT[0], PORT[1]]);
    assert_eq!(running.client().get("/").status, 200);
    let shim = service(running.pid(), "shim");
    process::signal(shim, nix::sys::signal::Signal::SIGKILL);
    running
        .log
        .wait(&["shim (pid ", "signal SIGKILL", "next start"]);
    assert_eq!(running.client().get("/").status, 200);
    assert_ne!(service(running.pid(), "shim"), shim);
}

#[test]
fn an_application_that_does_not_start_ends_the_command_with_its_own_words() {
    for (name, text, target, words) in [
        (
            "broken.py",
            "import nothing_of_that_name\n",
            "broken.py",
            "pip install nothing_of_that_name`",
        ),
        ("empty.py", "\n", "empty.py:main", "empty.py has no main"),
        (
            "flaskish.py",
            &HELLO.replace("application", "app"),
            "flaskish.py",
            "there is the callable app: write `flaskish.py:app`",
        ),
        (
            "hello.py",
            HELLO,
            "hello:aplication",
            "hello has no aplication; did you mean application?",
        ),
        (
            "hello.py",
            HELLO,
            "helo:application",
            "there is no module helo; did you mean hello?",
        ),
    ] {
        does_not_start(name, text, target, words);
    }
}

#[test]
fn what_is_no_application_or_ends_the_import_is_told_with_the_remedy() {
    for (name, text, target, words) in [
        (
            "shop.py",
            "def create_app(): pass\n",
            "shop:create_app",
            "create_app takes no (environ, start_response): if it makes the application, write `shop:create_app()`",
        ),
        (
            "shop.py",
            "def create_app(): pass\n",
            "shop:app",
            "shop has no app; if create_app makes it, write `shop:create_app()`",
        ),
        (
            "shop.py",
            "def create_app(): raise KeyError('SECRET')\n",
            "shop:create_app()",
            "create_app() failed",
        ),
        (
            "ends.py",
            "import sys\nsys.exit()\n",
            "ends.py",
            "ends the process when it is imported",
        ),
    ] {
        does_not_start(name, text, target, words);
    }
}

/// `stockade run` ends, and says so.
fn does_not_start(name: &str, text: &str, target: &str, words: &str) {
    let site = Site::new();
    site.write(name, text);
    let mut running = Running::start(site, &[target, PORT[0], PORT[1]]);
    assert_eq!(
        running.wait_exit().code(),
        Some(1),
        "{}",
        running.log.text()
    );
    running.log.wait(&["stderr", words]);
    running.log.wait(&["the application did not start"]);
    // one worker has tried, not each of them
    let tries = running.log.matching(&["stderr: could not load"]);
    assert_eq!(tries.len(), 1, "{}", running.log.text());
    // whose record does not get lost in the end of the daemon
    running.log.wait(&["gone after", "its last line: "]);
}

#[test]
fn an_application_may_be_made_by_a_function() {
    let made = "def create_app():\n    from hello import application\n    return application\n";
    for target in ["shop:create_app()", "shop.py:create_app()"] {
        let site = Site::new();
        site.write("hello.py", HELLO);
        site.write("shop.py", made);
        let running = Running::start(site, &[target, PORT[0], PORT[1]]);
        assert_eq!(running.client().get("/").text(), "hello from /", "{target}");
    }
}

#[test]
fn a_wrong_target_is_a_sentence() {
    for (words, code, sentence) in [
        (&["nothing.py"][..], 1, "`TARGET` is "),
        (&["hello"], 1, "must be a module and a callable"),
        (
            &["blog.wsgi"],
            1,
            "for the module write \"blog.wsgi:application\"",
        ),
        (&["--command", "--", "./hello.py"], 1, "`chmod +x "),
        (
            &["--command", "--", "no-such-program"],
            1,
            "no-such-program",
        ),
        (
            &["--command", "--", "php-cgi3.0"],
            1,
            "`apt install php3.0-cgi`",
        ),
        (
            &["--asgi", "hello:application"],
            1,
            "`stockade run` without --asgi",
        ),
        (
            &["hello.py", "--static", "/a/=nowhere"],
            1,
            "nowhere, which cannot be found",
        ),
    ] {
        let site = site();
        fs::create_dir(site.path().join("blog")).unwrap();
        site.write("blog/wsgi.py", HELLO);
        let mut running = Running::start(site, words);
        assert_eq!(running.wait_exit().code(), Some(code), "{words:?}");
        running.log.wait(&[sentence]);
    }
}

#[test]
fn a_port_in_use_is_temporary() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut running = Running::start(site(), &["hello.py", "--listen", &address]);
    assert_eq!(
        running.wait_exit().code(),
        Some(75),
        "{}",
        running.log.text()
    );
    running.log.wait(&[
        "could not listen on",
        &address,
        "stop it, or choose another address",
    ]);
}

#[test]
fn an_address_that_cannot_be_had_is_told_with_the_remedy() {
    let words = ["hello.py", "--listen", "192.0.2.1:8000"];
    let mut running = Running::start(site(), &words);
    assert_eq!(running.wait_exit().code(), Some(1));
    running
        .log
        .wait(&["192.0.2.1:8000: ", "this machine does not have the address"]);
}

#[test]
fn a_folder_that_cannot_be_written_to_is_not_needed() {
    let words = ["hello:application", PORT[0], PORT[1]];
    serves_until_interrupted(Running::start_with_runtime_dir(site(), &words, "/proc"));
}

#[test]
fn it_says_where_to_look_and_how_to_stop_it() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut running = Running::start(site(), &["hello.py", "--listen", &port.to_string()]);
    let line = format!("http://{port}/ is served; Ctrl-C stops it");
    running.log.wait(&[&line]);
    running.interrupt();
    assert_eq!(running.wait_exit().code(), Some(0));
}

#[test]
fn a_program_that_is_not_fastcgi_is_taken_for_one_that_is_not() {
    let mut running = Running::start(site(), &[PORT[0], PORT[1], "--command", "--", "/bin/true"]);
    assert_eq!(running.wait_exit().code(), Some(1));
    running
        .log
        .wait(&["exit-code 0: it ended without", "is it a FastCGI program?"]);
}

#[test]
fn what_root_keeps_to_itself_is_said_to_be_out_of_reach() {
    if !tools::root() {
        return;
    }
    let site = site();
    let folder = site.path().to_owned();
    fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
    let owner = ["--user", tools::POOL_USER];
    chown(&folder, Some(0), Some(0)).unwrap();
    let mut running = Running::start(site, &["hello.py", PORT[0], PORT[1], owner[0], owner[1]]);
    assert_eq!(running.wait_exit().code(), Some(1));
    let closed = format!(
        "may not enter {} (mode 0700): move it, or name an account that may with `--user`",
        folder.display()
    );
    running.log.wait(&["WARN", &closed]);
}

#[test]
fn a_link_to_what_root_keeps_to_itself_is_said_to_be_one() {
    if !tools::root() {
        return;
    }
    let (site, kept) = (site(), site());
    fs::set_permissions(kept.path(), Permissions::from_mode(0o700)).unwrap();
    chown(kept.path(), Some(0), Some(0)).unwrap();
    symlink(kept.path().join("hello.py"), site.path().join("linked.py")).unwrap();
    let owner = ["--user", tools::POOL_USER];
    let mut running = Running::start(site, &["linked.py", PORT[0], PORT[1], owner[0], owner[1]]);
    assert_eq!(running.wait_exit().code(), Some(1));
    let kept = kept.path().display();
    let closed = format!(
        "linked.py, a link that leads into {kept}, and {} may not enter {kept} (mode 0700): move what is there, or name an account",
        tools::POOL_USER
    );
    running.log.wait(&["WARN", &closed]);
}

#[test]
fn a_fastcgi_program_is_run_too() {
    let site = Site::new();
    let worker = site.reachable(&crate::support::built::scripted_worker());
    let worker = worker.to_str().unwrap();
    let running = Running::start(site, &[PORT[0], PORT[1], "--command", "--", worker]);
    let response = running.client().get("/?show=REQUEST_URI");
    assert_eq!(response.text(), "/?show=REQUEST_URI");
    assert!(address(&running.log).ip().is_loopback());
    assert!(Path::new(worker).exists());
}
