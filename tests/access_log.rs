//! The access log: a line for each request, whatever became of it; its file, and what becomes of that.

use std::{
    fs::{self, File, Permissions},
    io::Read as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Stdio,
};

use nix::sys::signal::Signal;

use crate::support::{
    built,
    deadline::wait_for,
    fcgi::head,
    http::Request,
    nginx::Nginx,
    process::{self, command},
    site::Site,
    stockade::{Pool, Stockade, configuration, refusal},
    tools,
};

/// Scripted workers with an access log in the test's folder.
fn logging(format: &str, keys: &str) -> (Stockade, PathBuf) {
    let site = Site::new();
    let path = site.path().join("access.log");
    let keys = format!("access-log = {path:?}\naccess-log-format = '{format}'\n{keys}");
    let pool = Pool::scripted(&site, &[], &keys);
    (Stockade::ready(site, &[pool]), path)
}

/// The lines of a file when it has so many.
fn wait_lines(path: &Path, count: usize) -> Vec<String> {
    wait_for(&format!("{count} lines in {}", path.display()), || {
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        (lines.len() >= count && text.ends_with('\n')).then_some(lines)
    })
}

#[test]
fn each_request_has_a_line_in_the_default_format() {
    let site = Site::new();
    let path = site.path().join("access.log");
    let keys = format!("processes = 1\naccess-log = {path:?}");
    let pool = Pool::scripted(&site, &[], &keys);
    let stockade = Stockade::ready(site, &[pool]);
    let more = [
        ("REMOTE_ADDR", "192.0.2.7"),
        ("HTTP_USER_AGENT", "curl/8"),
        ("REQUEST_ID", "req-1"),
    ];
    let answer = stockade.connect().get_with("show=REQUEST_METHOD", &more);
    assert_eq!(answer.body(), "GET");
    let lines = wait_lines(&path, 1);
    let line = &lines[0];
    assert!(line.starts_with("192.0.2.7 - - ["), "{line}");
    assert!(
        line.contains("] \"GET / HTTP/1.1\" 200 3 \"-\" \"curl/8\" "),
        "{line}"
    );
    let end: Vec<&str> = line.rsplit(' ').take(4).collect();
    assert_eq!(end[..2], ["req-1", "-"], "{line}");
    let (waited, took): (u64, u64) = (end[2].parse().unwrap(), end[3].parse().unwrap());
    assert!(waited <= took, "{line}");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o037, 0, "{mode:o}");
}

#[test]
fn a_line_behind_nginx_tells_of_its_client() {
    let format = "%H %m %U %q %>s %B \"%{Referer}i\" %X";
    let (stockade, path) = logging(format, "");
    let nginx = Nginx::keeping(&stockade.socket("app"));
    let request = Request::new("POST", "/some/where?echo")
        .header("Referer", "http://example.net/\"")
        .body(b"hello");
    assert_eq!(nginx.client().send(request).text(), "hello");
    assert_eq!(
        wait_lines(&path, 1),
        ["HTTP/1.1 POST /some/where ?echo 200 5 \"http://example.net/\\x22\" +"]
    );
}

#[test]
fn the_daemons_own_answers_have_lines_and_say_why() {
    let keys = "processes = 1\nqueue-limit = 0\nrequest-timeout = \"500ms\"\nrequest-body-limit = \"1KiB\"";
    let (stockade, path) = logging("%s %{cause}n %X %b %m %{Retry-After}o %{queue}t", keys);
    let mut host = stockade.connect();
    wait_for("the worker to be given requests", || {
        (host.get("").status() == 200).then_some(())
    });
    let mut slow = stockade.connect();
    slow.begin("GET", "stderr=begun&sleep=60000", &[]);
    stockade.log.wait(&["begun"]);
    let refused = host.get("");
    assert_eq!(refused.status(), 503);
    assert_eq!(host.ask("POST", "", &[0; 2000]).status(), 413);
    assert_eq!(slow.answer().unwrap().status(), 504);
    let lines = wait_for("the line of the slow one", || {
        let lines = wait_lines(&path, 3);
        let is_slow = |line: &String| line.starts_with("504 ");
        lines.iter().any(is_slow).then_some(lines)
    });
    let line_of = |start: &str| {
        let found = lines.iter().find_map(|line| line.strip_prefix(start));
        found.unwrap_or_else(|| panic!("no line begins with {start}: {lines:?}"))
    };
    let body = refused.body_length();
    let after = refused.header("Retry-After").unwrap();
    let waited = line_of(&format!("503 queue-limit + {body} GET {after} "));
    assert!(waited.parse::<u64>().is_ok(), "{waited}");
    // it never came to wait
    assert!(line_of("413 request-body-limit + ").ends_with(" POST - -"));
    line_of("504 request-timeout + ");
}

#[test]
fn what_was_cut_and_what_nobody_waited_for_is_marked() {
    let (stockade, path) = logging("%>s %X %{cause}n %B %{worker}n", "processes = 1");
    let mut host = stockade.connect();
    host.begin("GET", "crash=after-head", &[]);
    assert_eq!(host.answer().ok().and_then(|answer| answer.ended), None);
    let lines = wait_lines(&path, 1);
    assert_eq!(lines[0], "200 X worker-died 0 1");
    stockade.wait_ready("app", 2);

    let gate = stockade.site.path().join("gate");
    let wait = format!("stderr=begun&wait={}", gate.display());
    let mut running = stockade.connect();
    running.begin("GET", &wait, &[]);
    stockade.log.wait(&["begun"]);
    let mut waiting = stockade.connect();
    waiting.begin("GET", "", &[]);
    waiting.wait_read();
    drop(waiting);
    let lines = wait_lines(&path, 2);
    assert_eq!(lines[1], "- X host-gone 0 -");
    drop(running);
    let lines = wait_lines(&path, 3);
    assert_eq!(lines[2], "- X host-gone 0 2");
    // it has no second line when its worker answers
    fs::write(&gate, "").unwrap();
    assert_eq!(stockade.connect().get("").status(), 200);
    let lines = wait_lines(&path, 4);
    assert!(lines[3].starts_with("200 + - "), "{lines:?}");
}

#[test]
fn heads_of_responses_are_known_whole_or_in_pieces() {
    let (stockade, path) = logging("%s %{Content-Type}o %O %B %P", "processes = 1");
    let mut host = stockade.connect();
    let mut expected = Vec::new();
    // a head that goes on as it is, and one that is taken apart for a header that is ours
    for query in ["status=404+No&big=100000", "status=404+No&big=100000&cause"] {
        let answer = host.get(query);
        assert_eq!(answer.body_length(), 100_000);
        let worker = stockade.workers()[0];
        expected.push(format!(
            "404 text/plain {} 100000 {worker}",
            answer.stdout.len()
        ));
    }
    assert_eq!(wait_lines(&path, 2), expected);
}

#[test]
fn nobody_can_forge_a_line() {
    let (stockade, path) = logging("\"%{User-Agent}i\" \"%q\" %U", "");
    let forged = "x\" 200\n127.0.0.1 - - \\\u{1b}[2J\u{e9}";
    let more = [("HTTP_USER_AGENT", forged), ("REQUEST_URI", "/a\r\nb?c")];
    stockade.connect().get_with("a=\"\n", &more);
    let lines = wait_lines(&path, 1);
    assert_eq!(
        lines,
        [r#""x\x22 200\x0a127.0.0.1 - - \x5c\x1b[2J\xc3\xa9" "?a=\x22\x0a" /a\x0d\x0ab"#]
    );
}

#[test]
fn usr1_opens_the_file_again() {
    let (stockade, path) = logging("%q", "");
    let mut host = stockade.connect();
    host.get("before");
    wait_lines(&path, 1);
    let moved = path.with_extension("1");
    fs::rename(&path, &moved).unwrap();
    host.get("between");
    assert_eq!(wait_lines(&moved, 2), ["?before", "?between"]);
    stockade.signal(Signal::SIGUSR1);
    stockade.log.wait(&["1 access log opened again"]);
    assert!(path.exists());
    wait_for("the relay to have the new file", || {
        host.get("after");
        (fs::metadata(&path).unwrap().len() > 0).then_some(())
    });
    let after = wait_lines(&path, 1);
    assert!(after.iter().all(|line| line == "?after"), "{after:?}");
}

#[test]
fn logrotate_loses_no_line() {
    let (stockade, path) = logging("%q", "processes = 1");
    let mut host = stockade.connect();
    for _ in 0..20 {
        host.get("before");
    }
    wait_lines(&path, 20);
    let snippet = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/logrotate/stockade");
    let snippet = fs::read_to_string(snippet).unwrap();
    let signal = format!("kill -USR1 {}", stockade.pid());
    let mut replaced = snippet
        .replace("/var/log/stockade/*.log", &path.to_string_lossy())
        .replace(
            "systemctl kill --kill-who=main --signal=USR1 stockade.service",
            &signal,
        );
    assert!(replaced.contains(&signal), "{replaced}");
    if !tools::root() {
        replaced = replaced.replace("create 0640 root adm", "create 0640");
    }
    let config = stockade.site.write("logrotate.conf", &replaced);
    let output = command(tools::logrotate())
        .args(["--force", "--state"])
        .arg(stockade.site.path().join("logrotate.state"))
        .arg(config)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    stockade.log.wait(&["1 access log opened again"]);
    let mut sent = 20;
    wait_for("the relay to have the new file", || {
        host.get("after");
        sent += 1;
        (fs::metadata(&path).unwrap().len() > 0).then_some(())
    });
    let old = path.with_extension("log.1");
    wait_for("every line to be in one of the files", || {
        let lines = |path| fs::read_to_string(path).unwrap().lines().count();
        (lines(&old) + lines(&path) == sent).then_some(())
    });
}

#[test]
fn a_file_that_cannot_be_opened_again_goes_on() {
    let (stockade, path) = logging("%q", "");
    let moved = path.with_extension("1");
    fs::rename(&path, &moved).unwrap();
    fs::create_dir(&path).unwrap();
    stockade.signal(Signal::SIGUSR1);
    stockade
        .log
        .wait(&["WARN", "could not open access-log", "again as "]);
    stockade.connect().get("on");
    assert_eq!(wait_lines(&moved, 1), ["?on"]);
}

#[test]
fn a_file_that_cannot_be_opened_is_named_at_the_start() {
    let site = Site::new();
    let open = site.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
    let target = site.path().join("target");
    let path = open.join("access.log");
    symlink(&target, &path).unwrap();
    let pool = Pool::scripted(&site, &[], &format!("access-log = {path:?}"));
    let config = site.write("stockade.toml", &configuration(&site, &[pool]));
    let (code, text) = refusal(&config);
    assert_eq!(code, Some(1), "{text}");
    for words in [
        &*path.to_string_lossy(),
        "access-log of pool app, as ",
        "symbolic link",
    ] {
        assert!(text.contains(words), "{words:?} in: {text}");
    }
    assert!(!target.exists());
}

#[test]
fn a_reload_takes_another_file_and_format_or_none() {
    let (stockade, first) = logging("first %q", "processes = 1");
    stockade.connect().get("a");
    assert_eq!(wait_lines(&first, 1), ["first ?a"]);
    let second = stockade.site.path().join("second.log");
    let keys = format!("processes = 1\naccess-log = {second:?}\naccess-log-format = 'second %q'");
    stockade.configure(&[Pool::scripted(&stockade.site, &[], &keys)]);
    let (code, _, errors) = stockade.ask(&["reload", "--wait"]);
    assert_eq!(code, Some(0), "{errors}");
    wait_for("the relay to have the other keys", || {
        stockade.connect().get("b");
        fs::metadata(&second)
            .is_ok_and(|file| file.len() > 0)
            .then_some(())
    });
    assert_eq!(wait_lines(&second, 1)[0], "second ?b");
    stockade.configure(&[Pool::scripted(&stockade.site, &[], "processes = 1")]);
    let (code, _, errors) = stockade.ask(&["reload", "--wait"]);
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(stockade.connect().get("c").status(), 200);
    // a file that cannot be opened refuses the reload
    let missing = stockade.site.path().join("dir.log/access.log");
    let keys = format!("access-log = {missing:?}");
    stockade.configure(&[Pool::scripted(&stockade.site, &[], &keys)]);
    let (code, _, errors) = stockade.ask(&["reload"]);
    assert_eq!(code, Some(78), "{errors}");
}

#[test]
fn a_new_relay_goes_on_with_the_log() {
    let (stockade, path) = logging("%q", "processes = 1");
    stockade.connect().get("first");
    wait_lines(&path, 1);
    let relay = stockade.relay();
    assert!(process::signal(relay, Signal::SIGKILL));
    stockade.log.wait(&["relay (pid ", "gone"]);
    // it is heard at once; its workers have to answer it first
    assert_eq!(stockade.connect().get("second").status(), 200);
    assert_eq!(wait_lines(&path, 2), ["?first", "?second"]);
}

#[test]
fn the_last_lines_are_written_before_the_end() {
    let (mut stockade, path) = logging("%q", "processes = 1");
    let mut host = stockade.connect();
    for _ in 0..200 {
        assert_eq!(host.get("").status(), 200);
    }
    drop(host);
    stockade.signal(Signal::SIGTERM);
    assert_eq!(stockade.wait_exit().code(), Some(0));
    assert_eq!(fs::read_to_string(path).unwrap().lines().count(), 200);
}

/// Scripted workers whose access log is standard output.
fn on_standard_output(output: impl Into<Stdio>, keys: &str) -> Stockade {
    let site = Site::new();
    let keys = format!("access-log = \"-\"\naccess-log-format = '%q'\n{keys}");
    let pool = Pool::scripted(&site, &[], &keys);
    let config = configuration(&site, &[pool]);
    let mut starter = command(built::stockade());
    starter.stdin(Stdio::null()).stdout(output);
    let stockade = Stockade::start(site, &config, &mut starter);
    stockade.wait_ready("app", 1);
    stockade
}

#[test]
fn a_dash_is_standard_output() {
    let (mut read, write) = std::io::pipe().unwrap();
    let stockade = on_standard_output(write, "");
    stockade.connect().get("out");
    let mut line = [0; 5];
    read.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"?out\n");
    // nothing to open again
    stockade.signal(Signal::SIGUSR1);
    stockade.log.wait(&["no access log to open again"]);
    stockade.connect().get("out");
    read.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"?out\n");
}

#[test]
fn a_full_disk_costs_lines_and_no_request() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let stockade = on_standard_output(full, "");
    let mut host = stockade.connect();
    for _ in 0..20 {
        assert_eq!(host.get("").status(), 200);
    }
    stockade
        .log
        .wait(&["WARN", "of the access log lost", "No space left"]);
}

#[test]
fn a_log_that_nobody_reads_costs_lines_and_no_request() {
    let (read, write) = std::io::pipe().unwrap();
    let stockade = on_standard_output(write, "processes = 1");
    let mut host = stockade.connect();
    let long = format!("x={}", "y".repeat(8_000));
    // a pipe holds 64 KiB, and 1 MiB may wait
    for _ in 0..200 {
        assert_eq!(host.get(&long).status(), 200);
    }
    stockade
        .log
        .wait(&["WARN", "of the access log lost", "fast enough"]);
    drop(read);
}

#[test]
fn a_request_without_its_parameters_has_no_line() {
    let (stockade, path) = logging("%m %s", "");
    let mut host = stockade.connect();
    let bytes = head(1, "GET", "", Some(0));
    host.write(&bytes[..bytes.len() - 12]).unwrap();
    drop(host);
    assert_eq!(stockade.connect().get("").status(), 200);
    assert_eq!(wait_lines(&path, 1), ["GET 200"]);
}
