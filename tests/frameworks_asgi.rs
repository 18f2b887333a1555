//! Starlette, FastAPI and Django's ASGI handler behind nginx: what they do beyond a page depends on the server's part of ASGI.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
};

use crate::support::{
    http::Client,
    nginx::{Hosting, Nginx},
    site::Site,
    stockade::{Pool, Stockade},
    tools,
};

const FRAMEWORKS: &str = include_str!("python/frameworks_asgi.py");

#[test]
fn starlette() {
    let (stockade, nginx) = serve("starlette", "star_app");
    let mut client = nginx.client();
    let task = client.get("/below/task");
    assert_eq!((task.status, task.text().as_str()), (200, "first"));
    // its response is complete before the task is
    stockade.log.wait(&["task of starlette: done"]);
    assert_eq!(upload(&mut client), "A title name.bin 300000");
    let pieces = client.post("/below/pieces", "text/plain", &vec![b'x'; 500_000]);
    assert_eq!(pieces.text(), "500000");
    assert_eq!(client.get("/below/file").text(), FRAMEWORKS);
    let url = client.get("/below/url?a=b").text();
    assert!(url.contains("/below/url?a=b"), "{url}");
    leave(&nginx, "/below/stream");
    stockade.log.wait(&["stream of starlette: over"]);
    no_fault(&stockade, &mut client, "/below/task");
}

#[test]
fn fastapi() {
    let (stockade, nginx) = serve("fastapi", "fast_app");
    let mut client = nginx.client();
    let item = client.post(
        "/below/item",
        "application/json",
        br#"{"name": "a", "price": 1.5}"#,
    );
    assert_eq!(
        (item.status, item.text().as_str()),
        (200, r#"{"name":"a","twice":3.0,"given":"resource"}"#)
    );
    stockade.log.wait(&["resource: closed"]);
    let wrong = client.post("/below/item", "application/json", br#"{"name": "a"}"#);
    assert_eq!(wrong.status, 422);
    assert!(wrong.text().contains("Field required"), "{}", wrong.text());
    assert_eq!(upload(&mut client), "\"name.bin 300000\"");
    stockade.log.wait(&["task of fastapi: done"]);
    assert_eq!(client.get("/below/blocking").text(), "false");
    assert!(client.get("/docs").text().contains("swagger"));
    no_fault(&stockade, &mut client, "/below/blocking");
}

#[test]
fn django() {
    let (stockade, nginx) = serve("django", "django_app");
    let mut client = nginx.client();
    assert_eq!(upload(&mut client), "A title name.bin 300000");
    stockade.log.wait(&["django: started"]);
    stockade.log.wait(&["django: finished"]);
    assert_eq!(client.get("/below/file").text(), FRAMEWORKS);
    let told = client.get("/below/where?a=b").text();
    assert!(
        told.starts_with("https://") && told.ends_with("/below/where?a=b True "),
        "{told}"
    );
    leave(&nginx, "/below/stream");
    stockade.log.wait(&["stream of django: over"]);
    let mut socket = ask(&nginx, "/below/wait");
    stockade.log.wait(&["django: waits"]);
    socket.flush().expect("it is open");
    drop(socket);
    stockade.log.wait(&["django: cancelled"]);
    no_fault(&stockade, &mut client, "/below/where");
}

/// Posts a form with a file; what is answered.
fn upload(client: &mut Client) -> String {
    let mut body = b"--edge\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nA title\r\n\
        --edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"name.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n"
        .to_vec();
    body.extend(vec![b'x'; 300_000]);
    body.extend(b"\r\n--edge--\r\n");
    let answer = client.post("/below/upload", "multipart/form-data; boundary=edge", &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text()
}

/// A client that goes away amid a response without an end.
fn leave(nginx: &Nginx, path: &str) {
    let mut socket = ask(nginx, path);
    socket.read_exact(&mut [0; 5000]).expect("nginx answers");
}

fn ask(nginx: &Nginx, path: &str) -> UnixStream {
    let mut socket = UnixStream::connect(nginx.address()).expect("nginx listens");
    let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    socket.write_all(head.as_bytes()).expect("nginx takes it");
    socket
}

/// Clients that left are no fault of the application, and the worker goes on.
fn no_fault(stockade: &Stockade, client: &mut Client, path: &str) {
    assert_eq!(client.get(path).status, 200);
    let log = stockade.log.text();
    assert!(!log.contains("Traceback"), "{log}");
    assert!(!log.contains("gone after"), "{log}");
}

fn serve(package: &str, application: &str) -> (Stockade, Nginx) {
    let environment = tools::python_environment(package);
    let site = Site::new();
    site.write("frameworks_asgi.py", FRAMEWORKS);
    let environment = site.reachable(&environment);
    let keys = format!(
        "asgi = \"frameworks_asgi:{application}\"\npython-home = {environment:?}\npython-path = [{:?}]\nprocesses = 1\nstartup-timeout = \"60s\"",
        site.path()
    );
    let stockade = Stockade::ready(site, &[Pool::new(&keys)]);
    let hosting = Hosting {
        keep: true,
        location: "fastcgi_buffering off; fastcgi_param HTTPS on;",
        ..Hosting::default()
    };
    let nginx = Nginx::start(&stockade.socket("app"), &hosting);
    (stockade, nginx)
}
