//! When a worker is ready, and what has it replaced: `probe`, `reload.touch`, `reload.watch`, and what is said when it fails.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use crate::support::{
    deadline::wait_for,
    http::{Address, Client, Request},
    load::Load,
    nginx::{Hosting, Nginx},
    running::{Running, address},
    site::Site,
    stockade::{Pool, Stockade},
    tools,
};

#[test]
fn a_link_that_leads_elsewhere_reloads_the_pool() {
    let site = Site::new();
    let current = site.path().join("current");
    let release = |name: &str| {
        fs::create_dir(site.path().join(name)).expect("the folder is ours");
        fs::write(site.path().join(name).join("app"), name).expect("the folder is ours");
    };
    release("one");
    release("two");
    symlink("one", &current).expect("the folder is ours");
    let touch = |path: &Path| format!("processes = 2\n[pool.app.reload]\ntouch = [{path:?}]");
    for path in [current.clone(), current.join("app")] {
        fs::remove_file(&current).expect("it is there");
        symlink("one", &current).expect("the folder is ours");
        let own = Site::new();
        let pool = Pool::scripted(&own, &[], &touch(&path));
        let stockade = Stockade::ready(own, &[pool]);
        stockade.wait_ready("app", 2);
        for generation in 2..5 {
            let target = if generation % 2 == 0 { "two" } else { "one" };
            switch(&current, target);
            stockade
                .log
                .wait(&[&format!("reload finished: generation {generation} serves")]);
        }
        assert_eq!(stockade.log.matching(&["has changed"]).len(), 3);
    }
}

#[test]
fn a_file_that_comes_later_is_noticed_too() {
    let site = Site::new();
    let later = site.path().join("deploy/done");
    let keys = format!("processes = 1\n[pool.app.reload]\ntouch = [{later:?}]");
    let pool = Pool::scripted(&site, &[], &keys);
    let stockade = Stockade::ready(site, &[pool]);
    fs::create_dir(stockade.site.path().join("deploy")).expect("the folder is ours");
    fs::write(&later, "").expect("the folder is ours");
    stockade.log.wait(&["reload finished: generation 2 serves"]);
    fs::write(&later, "again").expect("the folder is ours");
    stockade.log.wait(&["reload finished: generation 3 serves"]);
    // no longer
    let pool = Pool::scripted(&stockade.site, &[], "processes = 1");
    stockade.configure(&[pool]);
    assert_eq!(stockade.ask(&["reload", "--changed"]).0, Some(0));
    fs::write(&later, "and again").expect("the folder is ours");
    assert_eq!(stockade.ask(&["reload", "--wait"]).0, Some(0));
    assert_eq!(stockade.log.matching(&["has changed"]).len(), 2);
}

#[test]
fn sources_that_change_are_loaded_and_what_is_broken_is_not() {
    let site = site();
    let folder = site.path().join("app");
    let python = tools::python();
    let keys = format!(
        "wsgi = \"app:application\"\npython-home = {python:?}\npython-path = [{folder:?}]\nprocesses = 1\n[pool.app.reload]\nwatch = [\"{}/**/*.py\"]",
        folder.display()
    );
    let stockade = Stockade::ready(site, &[Pool::new(&keys)]);
    assert_eq!(stockade.connect().get("").body(), "one");
    write(&folder, "app.py", &application("two"));
    stockade.log.wait(&["reload finished: generation 2 serves"]);
    assert_eq!(stockade.connect().get("").body(), "two");

    write(&folder, "app.py", "raise SystemExit('not today')\n");
    stockade.log.wait(&["generation 3 did not come up"]);
    assert_eq!(stockade.connect().get("").body(), "two");

    // in a folder that is new
    fs::create_dir(folder.join("parts")).expect("the folder is ours");
    write(&folder, "parts/names.py", "NAME = 'three'\n");
    write(
        &folder,
        "app.py",
        &application("{NAME}").replace("def", "from parts.names import NAME\ndef"),
    );
    for (name, text) in [("three", None), ("four", Some("NAME = 'four'\n"))] {
        if let Some(text) = text {
            write(&folder, "parts/names.py", text);
        }
        wait_for("the folder that is new", || {
            (stockade.connect().get("").body() == name).then_some(())
        });
    }
}

#[test]
fn run_loads_again_what_was_edited() {
    let site = Site::new();
    site.write("hello.py", &application("one"));
    let words = [
        "hello.py",
        "--listen",
        "127.0.0.1:0",
        "--reload",
        "--processes",
        "1",
    ];
    let running = Running::start(site, &words);
    assert_eq!(running.client().get("/").text(), "one");
    running.site.write("hello.py", &application("two"));
    running.log.wait(&["reload finished"]);
    assert_eq!(running.client().get("/").text(), "two");
}

#[test]
fn a_worker_is_ready_when_it_answers_the_probe() {
    let site = Site::new();
    let healthy = site.path().join("healthy");
    let application = format!(
        "import os\ndef application(environ, start_response):\n    ok = os.path.exists({healthy:?}) or environ['PATH_INFO'] != '/healthz'\n    start_response('200 OK' if ok else '503 Not yet', [])\n    return [environ['HTTP_HOST'].encode() if 'HTTP_HOST' in environ else b'']\n"
    );
    site.write("app.py", &application);
    let folder = site.path().to_owned();
    let python = tools::python();
    let keys = format!(
        "wsgi = \"app:application\"\npython-home = {python:?}\npython-path = [{folder:?}]\nprocesses = 1\nprobe = \"/healthz?full\""
    );
    let stockade = Stockade::serve(site, &[Pool::new(&keys)]);
    stockade
        .log
        .wait(&["worker 1: probe /healthz?full answered 503"]);
    assert!(stockade.log.matching(&[" ready after"]).is_empty());
    // another relay asks on
    stockade.replace_relay();
    fs::write(&healthy, "").expect("the folder is ours");
    stockade.wait_ready("app", 1);
    assert_eq!(stockade.connect().get("").status(), 200);
}

#[test]
fn a_generation_that_does_not_answer_the_probe_leaves_the_old_one() {
    let stockade = Stockade::scripted("processes = 1");
    let worker = stockade.connect().get("").pid();
    let keys = "processes = 1\nstartup-timeout = \"500ms\"\nprobe = \"/?status=503+Down\"";
    let sick = Pool::scripted(&stockade.site, &["generation=sick"], keys);
    stockade.configure(&[sick]);
    let (code, _, error) = stockade.ask(&["reload", "--wait"]);
    assert_eq!(code, Some(1));
    assert!(
        error.contains("generation 2 did not come up (startup-timeout); the old one goes on")
            && error.contains("\n  probe /?status=503+Down answered 503\n"),
        "{error}"
    );
    assert_eq!(stockade.connect().get("").pid(), worker);
}

#[test]
fn a_reload_that_fails_says_what_the_worker_wrote() {
    let stockade = Stockade::scripted("processes = 1");
    let words = "for n in $(seq 30); do echo line $n >&2; done; exit 3";
    let broken = Pool::new(&format!(
        "command = [\"sh\", \"-c\", {words:?}]\nprocesses = 1"
    ));
    stockade.configure(&[broken]);
    let (code, _, error) = stockade.ask(&["reload", "--wait"]);
    assert_eq!(code, Some(1));
    let lines: Vec<&str> = error.lines().collect();
    assert!(
        lines[0].starts_with("pool app: generation 2 did not come up (exit-code 3)"),
        "{error}"
    );
    assert_eq!(
        (lines[1], lines[20], lines.len()),
        ("  line 11", "  line 30", 21),
        "{error}"
    );

    let missing = Pool::new("command = [\"/bin/sh\"]\nhome = \"/\"\nprocesses = 1");
    stockade.configure(&[missing]);
    let (code, _, error) = stockade.ask(&["reload", "--wait"]);
    assert_eq!(code, Some(1), "{error}");
}

#[test]
fn a_developer_is_shown_why_the_application_does_not_start() {
    let site = Site::new();
    let broken = "raise ValueError('<b>a mistake</b> at import')\n";
    site.write("app.py", broken);
    let words = [
        "app:application",
        "--reload",
        "--processes",
        "1",
        "--listen",
        "127.0.0.1:0",
    ];
    let running = Running::start(site, &words);
    let mut client = Client::new(Address::Tcp(address(&running.log)));
    // who asks while the first worker starts need not wait for another
    let page = client.send(Request::new("GET", "/").header("Accept", "text/html,*/*"));
    assert_eq!(page.status, 503);
    assert_eq!(
        page.header("Content-Type"),
        Some("text/html; charset=utf-8")
    );
    let text = page.text();
    assert!(
        text.contains("ValueError: &lt;b&gt;a mistake&lt;/b&gt; at import")
            && text.contains("app.py&quot;, line 1")
            && text.contains("pool app: worker 1 (pid")
            && text.contains("gone after"),
        "{text}"
    );
    let plain = client.get("/");
    assert_eq!(
        plain.header("Content-Type"),
        Some("text/plain; charset=utf-8")
    );
    assert!(
        plain
            .text()
            .contains("\nValueError: <b>a mistake</b> at import\n"),
        "{}",
        plain.text()
    );
    write(running.site.path(), "app.py", &application("mended"));
    wait_for("the application that was mended", || {
        (client.get("/").text() == "mended").then_some(())
    });
}

#[test]
fn a_developer_is_shown_the_exception() {
    let gevent = tools::python_environment("gevent");
    let (wsgi, asgi) = ("app:application", "app:asynchronous");
    for (keys, python) in [
        (format!("wsgi = {wsgi:?}"), tools::python()),
        (format!("asgi = {asgi:?}"), tools::python()),
        (format!("wsgi = {wsgi:?}\nconcurrency = \"gevent\""), gevent),
    ] {
        let site = Site::new();
        let source = "def application(environ, start_response):\n    raise ValueError('<b>on purpose')\n\nasync def asynchronous(scope, receive, send):\n    application(scope, send)\n";
        let folder = site.path().to_owned();
        write(&folder, "app.py", source);
        let python = site.reachable(&python);
        let keys =
            format!("{keys}\npython-home = {python:?}\npython-path = [{folder:?}]\nprocesses = 1");
        let watched = Pool::new(&format!(
            "{keys}\n[pool.app.reload]\nwatch = [\"{}/*.py\"]",
            folder.display()
        ));
        let stockade = Stockade::ready(site, &[watched]);
        let nginx = Nginx::start(&stockade.socket("app"), &Hosting::default());
        let mut client = nginx.client();
        let page = client.send(Request::new("GET", "/").header("Accept", "text/html"));
        let kind = page.header("Content-Type");
        assert_eq!(
            (page.status, kind),
            (500, Some("text/html; charset=utf-8")),
            "{keys}"
        );
        let text = page.text();
        assert!(
            text.contains("exception in GET /</p>")
                && text.contains("ValueError: &lt;b&gt;on purpose</pre>"),
            "{keys}: {text}"
        );
        let text = client.get("/").text();
        assert!(
            text.contains("line 2, in application")
                && text.ends_with("ValueError: <b>on purpose\n"),
            "{keys}: {text}"
        );

        // without sources that are watched the clients are others
        stockade.configure(&[Pool::new(&keys)]);
        let (code, _, error) = stockade.ask(&["reload", "--changed", "--wait"]);
        assert_eq!(code, Some(0), "{error}");
        let page = client.send(Request::new("GET", "/").header("Accept", "text/html"));
        let text = page.text();
        assert!(
            page.status == 500
                && text.starts_with("Internal Server Error\nRequest: ")
                && !text.contains("purpose"),
            "{keys}: {text}"
        );
    }
}

#[test]
fn strangers_are_not_shown_why_the_application_does_not_start() {
    let site = Site::new();
    site.write("app.py", "raise ValueError('a mistake at import')\n");
    let keys = format!(
        "wsgi = \"app:application\"\npython-home = {:?}\npython-path = [{:?}]\nprocesses = 1",
        tools::python(),
        site.path()
    );
    let stockade = Stockade::serve(site, &[Pool::new(&keys)]);
    stockade
        .log
        .wait(&["its last line: ValueError: a mistake at import"]);
    stockade.log.wait(&["pool app: failing"]);
    let answer = stockade.connect().get("");
    assert_eq!(answer.status(), 503);
    assert!(!answer.body().contains("mistake"), "{}", answer.body());
}

#[test]
fn an_application_that_raises_at_import_costs_no_request() {
    let site = site();
    let folder = site.path().join("app");
    let python = tools::python();
    let keys = format!(
        "wsgi = \"app:application\"\npython-home = {python:?}\npython-path = [{folder:?}]\nprocesses = 2"
    );
    let stockade = Stockade::ready(site, &[Pool::new(&keys)]);
    stockade.wait_ready("app", 2);
    let hosting = Hosting::default();
    let nginx = Nginx::start(&stockade.socket("app"), &hosting);
    let load = Load::start((0..8).map(|_| nginx.client()).collect(), "/");
    load.wait_answered(200);
    write(
        &folder,
        "app.py",
        "raise ValueError('a mistake at import')\n",
    );
    for _ in 0..5 {
        let (code, _, error) = stockade.ask(&["reload", "--wait"]);
        assert_eq!(code, Some(1));
        assert!(error.contains("ValueError: a mistake at import"), "{error}");
        load.wait_answered(100);
    }
    let (answered, failures) = load.stop();
    assert!(failures.is_empty(), "of {answered}: {failures:?}");
}

/// The application in a folder of its own.
fn site() -> Site {
    let site = Site::new();
    fs::create_dir(site.path().join("app")).expect("the folder is ours");
    write(&site.path().join("app"), "app.py", &application("one"));
    site
}

fn application(answer: &str) -> String {
    format!(
        "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [f'{answer}'.encode()]\n"
    )
}

/// As editors do: another file takes the name.
fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let (path, new) = (folder.join(name), folder.join(".new"));
    fs::write(&new, text).expect("the folder is ours");
    fs::rename(&new, &path).expect("the folder is ours");
    path
}

/// Another link takes the name.
fn switch(link: &Path, target: &str) {
    let new = link.with_extension("new");
    symlink(target, &new).expect("the folder is ours");
    fs::rename(&new, link).expect("the folder is ours");
}
