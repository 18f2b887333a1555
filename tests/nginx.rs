//! Behind the real nginx, its connections kept or not.

use crate::support::{
    http::Request,
    nginx::{Hosting, Nginx},
    pattern::Checker,
    process,
    stockade::Stockade,
};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

/// What relay and supervisor may have resident at most, whatever passes through them.
const MEMORY_KIB: u64 = 32 * KIB;

/// nginx passes bodies on as they come instead of collecting them in files.
const STREAMING: &str = "fastcgi_request_buffering off; fastcgi_buffering off;";

#[test]
fn connections_are_kept() {
    let stockade = Stockade::scripted("processes = 2");
    small_requests(&Nginx::keeping(&stockade.socket("app")));
}

#[test]
fn connections_are_not_kept() {
    let stockade = Stockade::scripted("processes = 2");
    small_requests(&Nginx::start(&stockade.socket("app"), &Hosting::default()));
}

#[test]
fn bodies_of_every_size_kept() {
    let stockade = Stockade::scripted("processes = 2");
    bodies(&Nginx::keeping(&stockade.socket("app")));
}

#[test]
fn bodies_of_every_size_not_kept() {
    let stockade = Stockade::scripted("processes = 2");
    bodies(&Nginx::start(&stockade.socket("app"), &Hosting::default()));
}

#[test]
fn bodies_that_stream() {
    let stockade = Stockade::scripted("processes = 2");
    let hosting = Hosting {
        keep: true,
        location: STREAMING,
        ..Hosting::default()
    };
    bodies(&Nginx::start(&stockade.socket("app"), &hosting));
}

#[test]
fn a_gibibyte_each_way_in_bounded_memory() {
    gibibytes("request-buffering = true");
}

#[test]
fn a_gibibyte_each_way_unbuffered_in_bounded_memory() {
    gibibytes("request-buffering = false");
}

fn gibibytes(key: &str) {
    let keys = format!("processes = 1\nrequest-timeout = \"10m\"\n{key}");
    let stockade = Stockade::scripted(&keys);
    let hosting = Hosting {
        keep: true,
        location: STREAMING,
        ..Hosting::default()
    };
    let nginx = Nginx::start(&stockade.socket("app"), &hosting);
    upload(&nginx, GIB);
    download(&nginx, GIB);
    for process in [stockade.relay(), stockade.pid()] {
        let peak = process::peak_resident_kib(process).expect("it runs");
        assert!(peak < MEMORY_KIB, "{peak} KiB were resident");
    }
}

#[test]
fn a_response_cut_by_its_worker_looks_cut_to_the_client() {
    let stockade = Stockade::scripted("processes = 2");
    for keep in [true, false] {
        let nginx = Nginx::start(
            &stockade.socket("app"),
            &Hosting {
                keep,
                ..Hosting::default()
            },
        );
        let mut client = nginx.client();
        let response = client.get("/?big=4000000&crash=mid-body");
        assert_eq!(response.status, 200);
        assert!(
            !response.complete,
            "kept {keep}: {} bytes passed for all",
            response.body.len()
        );
        assert_eq!(nginx.client().get("/").status, 200);
    }
}

fn small_requests(nginx: &Nginx) {
    let mut client = nginx.client();
    for _ in 0..20 {
        let response = client.get("/?show=REQUEST_METHOD");
        assert_eq!((response.status, response.text().as_str()), (200, "GET"));
        let response = client.post("/?echo", "text/plain", b"word");
        assert_eq!((response.status, response.text().as_str()), (200, "word"));
        let response = client.send(Request::new("HEAD", "/"));
        assert_eq!((response.status, response.body.len()), (200, 0));
        let response = client.get("/?status=404+Not+Found&show=QUERY_STRING");
        assert_eq!(response.status, 404);
        assert_eq!(response.text(), "status=404+Not+Found&show=QUERY_STRING");
        assert!(response.complete);
    }
}

fn bodies(nginx: &Nginx) {
    for length in [0, 1, 64 * KIB, 64 * KIB + 1, 20 * MIB] {
        upload(nginx, length);
        download(nginx, length);
    }
}

fn upload(nginx: &Nginx, length: u64) {
    let response = nginx
        .client()
        .send(Request::new("POST", "/").pattern(length));
    assert_eq!(
        (response.status, response.complete),
        (200, true),
        "{}",
        response.text()
    );
    let text = response.text();
    let told: Vec<&str> = text.lines().skip(4).collect();
    assert_eq!(told, [format!("length {length}"), "wrong 0".to_owned()]);
}

fn download(nginx: &Nginx, length: u64) {
    let path = format!("/?big={length}");
    let mut checker = Checker::default();
    let response = nginx
        .client()
        .stream(&Request::new("GET", &path), &mut |bytes| {
            checker.take(bytes);
        });
    assert_eq!((response.status, response.complete), (200, true));
    assert_eq!((checker.length(), checker.wrong()), (length, 0));
}
