//! `stockade call`: one request to a pool or to any FastCGI program.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::net::UnixListener,
    process::{Output, Stdio},
    thread,
};

use crate::support::{built, process::command, site::Site, stockade::Stockade};

#[test]
fn an_answer_is_printed_head_and_body() {
    let stockade = Stockade::scripted("processes = 1");
    let address = format!("unix:{}", stockade.socket("app").display());
    let answer = call(&[&address, "/?show=REQUEST_URI"]);
    assert_eq!(answer.status.code(), Some(0), "{answer:?}");
    let text = out(&answer);
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert!(head.to_lowercase().contains("content-type:"), "{head}");
    assert_eq!(body, "/?show=REQUEST_URI");
    assert!(answer.stderr.is_empty());

    let answer = call(&[&address, "/?show=HTTP_HOST", "-p", "HTTP_HOST=example.org"]);
    assert!(out(&answer).ends_with("\r\n\r\nexample.org"));
    let answer = call(&[&address, "/?show=REQUEST_METHOD", "-X", "DELETE"]);
    assert!(out(&answer).ends_with("\r\n\r\nDELETE"));
    // whatever its status
    let answer = call(&[&address, "/?status=500+Broken"]);
    assert_eq!(answer.status.code(), Some(0));
}

#[test]
fn a_body_is_sent_from_the_command_line_a_file_or_standard_input() {
    let stockade = Stockade::scripted("processes = 1");
    let address = format!("unix:{}", stockade.socket("app").display());
    let file = stockade.site.write("body", "from a file");
    for (data, expected) in [
        ("from the line", "from the line"),
        (&*format!("@{}", file.display()), "from a file"),
    ] {
        let answer = call(&[&address, "/?echo", "-d", data]);
        assert!(
            out(&answer).ends_with(&format!("\r\n\r\n{expected}")),
            "{answer:?}"
        );
    }
    let large = "x".repeat(3_000_000);
    let mut asking = command(built::stockade())
        .args(["call", &address, "/?echo", "-d", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the built binary can be started");
    let mut input = asking.stdin.take().expect("it was asked for");
    let sent = large.clone();
    let writer = thread::spawn(move || input.write_all(sent.as_bytes()));
    let answer = asking.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("it reads");
    assert!(out(&answer).ends_with(&large));
}

#[test]
fn what_the_application_reports_goes_to_standard_error() {
    let site = Site::new();
    let socket = site.path().join("app.sock");
    // a program that speaks for itself, without a relay that keeps its reports
    let answer = answered_by(
        &socket,
        &[
            &[1, 7, 0, 1, 0, 4, 0, 0][..],
            b"oops",
            &[1, 6, 0, 1, 0, 12, 0, 0],
            b"A: b\r\n\r\nbody",
            &[1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ],
    );
    assert_eq!(answer.status.code(), Some(0), "{answer:?}");
    assert_eq!(
        (out(&answer).as_str(), &*answer.stderr),
        ("A: b\r\n\r\nbody", &b"oops"[..])
    );
}

#[test]
fn an_answer_that_is_cut_malformed_or_no_fastcgi_has_exit_code_1() {
    for (bytes, why) in [
        (
            &[&[1, 6, 0, 1, 0, 6, 0, 0][..], b"A: b\r\n"][..],
            "closed before the end",
        ),
        (&[&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..]], "not FastCGI"),
        (
            &[
                &[1, 6, 0, 1, 0, 4, 0, 0][..],
                b"body",
                &[1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            ],
            "no head",
        ),
        (
            &[&[1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0][..]],
            "protocol status 2",
        ),
        (
            &[b"HTTP/1.1 400 Bad Request\r\n\r\n"],
            "the answer is HTTP, not FastCGI: ask there with curl",
        ),
    ] {
        let site = Site::new();
        let answer = answered_by(&site.path().join("app.sock"), bytes);
        assert_eq!(answer.status.code(), Some(1), "{answer:?}");
        let error = String::from_utf8_lossy(&answer.stderr).into_owned();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn who_cannot_be_reached_is_named_with_the_remedy() {
    let site = Site::new();
    let socket = site.path().join("none.sock");
    let missing = call(&[&socket.to_string_lossy()]);
    assert_eq!(missing.status.code(), Some(69));
    drop(UnixListener::bind(&socket).expect("the site can be written to"));
    let stale = call(&[&socket.to_string_lossy()]);
    assert_eq!(stale.status.code(), Some(69));
    let port = TcpListener::bind("127.0.0.1:0")
        .expect("a free port")
        .local_addr()
        .expect("it is bound");
    let closed = call(&[&port.to_string()]);
    assert_eq!(closed.status.code(), Some(69));
    for (answer, why) in [
        (missing, "no such socket"),
        (stale, "nobody listens"),
        (closed, "nobody listens"),
    ] {
        let error = String::from_utf8_lossy(&answer.stderr).into_owned();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn one_that_does_not_answer_is_given_up() {
    let site = Site::new();
    let socket = site.path().join("mute.sock");
    let _listener = UnixListener::bind(&socket).expect("the site can be written to");
    let answer = call(&[&socket.to_string_lossy(), "/", "--timeout", "0.2"]);
    assert_eq!(answer.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&answer.stderr).contains("--timeout"));
}

fn call(words: &[&str]) -> Output {
    command(built::stockade())
        .arg("call")
        .args(words)
        .stdin(Stdio::null())
        .output()
        .expect("the built binary can be started")
}

/// A call to a program that reads something and says `bytes`.
fn answered_by(socket: &std::path::Path, bytes: &[&[u8]]) -> Output {
    let listener = UnixListener::bind(socket).expect("the site can be written to");
    let bytes = bytes.concat();
    let program = thread::spawn(move || {
        let (mut connection, _) = listener.accept().expect("a call");
        let mut head = [0; 16];
        connection.read_exact(&mut head).expect("a request");
        connection.write_all(&bytes).expect("somebody listens");
        // all of the request, so that closing does not reset the connection
        connection
            .shutdown(std::net::Shutdown::Write)
            .expect("it is open");
        drop(connection.read_to_end(&mut Vec::new()));
    });
    let answer = call(&[&socket.to_string_lossy()]);
    program.join().expect("no panic");
    answer
}

fn out(answer: &Output) -> String {
    String::from_utf8_lossy(&answer.stdout).into_owned()
}
