//! Whatever a client asks for passes through host, relay and worker and back.

use std::thread;

use super::{ALL, busy, host_connections, idle, pool};
use crate::support::{
    deadline::wait_for,
    host::{Host, Kind, To},
    http::{Address, Client, Request, Response},
    load::Load,
    pattern::Checker,
    site::Site,
    stockade::{Pool, Stockade},
};

const MIB: u64 = 1024 * 1024;

#[test]
fn nginx() {
    every_kind_of_request(Kind::Nginx);
}

#[test]
fn apache() {
    every_kind_of_request(Kind::Apache);
}

#[test]
fn caddy() {
    every_kind_of_request(Kind::Caddy);
}

#[test]
fn haproxy() {
    every_kind_of_request(Kind::Haproxy);
}

#[test]
fn haproxy_with_several_requests_on_a_connection() {
    let (_stockade, addresses) = pool(2, "");
    for pool in addresses {
        let host = Host::multiplexing(pool);
        small_requests(&mut host.client());
        large_bodies(Kind::Haproxy, &host);
        many_at_a_time(&host);
    }
}

#[test]
fn lighttpd() {
    every_kind_of_request(Kind::Lighttpd);
}

fn every_kind_of_request(kind: Kind) {
    let (stockade, addresses) = pool(2, "");
    for to in kind.ways(&addresses) {
        eprintln!("{kind:?} {to}");
        let host = kind.start(&to);
        small_requests(&mut host.client());
        large_bodies(kind, &host);
        many_at_a_time(&host);
        connections(&to, &stockade, &host);
    }
}

fn small_requests(client: &mut Client) {
    for _ in 0..10 {
        let response = client.get("/a/path?show=REQUEST_METHOD");
        assert_eq!((response.status, response.text().as_str()), (200, "GET"));
        let response = client.post("/?echo", "text/plain", b"word");
        assert_eq!((response.status, response.text().as_str()), (200, "word"));
        // the worker sends a body all the same
        let response = client.send(Request::new("HEAD", "/"));
        assert_eq!((response.status, response.body.len()), (200, 0));
        assert_eq!(client.get("/?status=204+No+Content").status, 204);
        for status in ["404 Not Found", "500 Internal Server Error"] {
            let query = format!("status={}&show=QUERY_STRING", status.replace(' ', "+"));
            let response = client.get(&format!("/?{query}"));
            assert_eq!(response.status.to_string(), status[..3]);
            assert_eq!((response.text(), response.complete), (query, true));
        }
        let authorized = Request::new("GET", "/?show=HTTP_AUTHORIZATION");
        let authorized = authorized.header("Authorization", "Basic YTpi");
        assert_eq!(client.send(authorized).text(), "Basic YTpi");
        let poisoned = Request::new("GET", "/?show=HTTP_PROXY").header("Proxy", "evil");
        assert_eq!(client.send(poisoned).text(), "");
    }
}

fn large_bodies(kind: Kind, host: &Host) {
    let took = |response: Response, length: u64| {
        let text = response.text();
        let told: Vec<&str> = text
            .lines()
            .skip_while(|line| !line.starts_with("length "))
            .collect();
        assert_eq!((response.status, response.complete), (200, true), "{text}");
        assert_eq!(told, [format!("length {length}"), "wrong 0".to_owned()]);
    };
    let mut client = host.client();
    took(
        client.send(Request::new("POST", "/").pattern(10 * MIB)),
        10 * MIB,
    );
    if kind != Kind::Haproxy {
        took(client.send(Request::new("POST", "/").chunks(MIB)), MIB);
    }
    let mut checker = Checker::default();
    let request = Request::new("GET", "/?big=5242880");
    let response = client.stream(&request, &mut |bytes| checker.take(bytes));
    assert_eq!((response.status, response.complete), (200, true));
    assert_eq!((checker.length(), checker.wrong()), (5 * MIB, 0));
}

fn many_at_a_time(host: &Host) {
    let load = Load::start((0..32).map(|_| host.client()).collect(), "/?sleep=1");
    load.wait_answered(300);
    let (answered, failures) = load.stop();
    assert!(failures.is_empty(), "of {answered}: {failures:?}");
}

fn connections(to: &To, stockade: &Stockade, host: &Host) {
    assert_eq!(host.client().get("/").status, 200);
    if to.keep {
        assert!(host_connections(stockade) > 0, "none is kept");
    } else {
        wait_for("the host to close its connections", || {
            (host_connections(stockade) == 0).then_some(())
        });
    }
}

#[test]
fn a_request_that_is_not_run_is_refused_with_the_cause() {
    let (stockade, addresses) = pool(1, "queue-limit = 0\nrequest-body-limit = \"64KiB\"");
    let site = Site::new();
    for kind in ALL {
        let host = kind.start(&To {
            pool: addresses[0].clone(),
            keep: true,
        });
        let file = site.path().join(format!("{kind:?}"));
        let mut client = host.client();
        let path = format!("/?wait={}", file.display());
        // none may wait, so the worker has to be there and at nothing
        wait_for("the slot to be free", || {
            (idle(&stockade) == 1).then_some(())
        });
        let running = thread::spawn(move || client.get(&path).status);
        wait_for("the slot to be busy", || {
            (busy(&stockade) == 1).then_some(())
        });
        let response = host.client().get("/");
        refused(&response, 503, "queue-limit");
        assert!(response.header("Retry-After").is_some(), "{kind:?}");
        site.write(&format!("{kind:?}"), "");
        assert_eq!(running.join().expect("the client ends"), 200, "{kind:?}");
        // short enough for every buffer: HAProxy takes no more of it when it has the answer
        let long = Request::new("POST", "/").pattern(100_000);
        refused(&host.client().send(long), 413, "request-body-limit");
    }
}

#[test]
fn an_application_below_a_path_sees_where_it_is() {
    let site = Site::new();
    let module = "def application(environ, start_response):\n    \
                  start_response('200 OK', [('Content-Type', 'text/plain')])\n    \
                  return [repr((environ['SCRIPT_NAME'], environ['PATH_INFO'])).encode()]\n";
    site.write("shop.py", module);
    let folder = site.path().display().to_string();
    let keys =
        format!("wsgi = \"shop:application\"\npython-path = [{folder:?}]\nmount = \"/shop\"");
    let stockade = Stockade::ready(site, &[Pool::new(&keys)]);
    for kind in ALL {
        let host = kind.start(&To {
            pool: Address::Unix(stockade.socket("app")),
            keep: true,
        });
        for (path, seen) in [
            ("/shop/a%20b/c", "('/shop', '/a b/c')"),
            ("/shop", "('/shop', '')"),
        ] {
            let response = host.client().get(path);
            assert_eq!(response.text(), seen, "{kind:?} {path}");
        }
        assert_eq!(host.client().get("/elsewhere").status, 404, "{kind:?}");
    }
}

#[test]
fn files_are_the_hosts_work() {
    let (_stockade, [pool, _]) = pool(1, "");
    for kind in [Kind::Caddy, Kind::Lighttpd] {
        let to = To {
            pool: pool.clone(),
            keep: false,
        };
        let host = kind.start(&to);
        let mut client = host.client();
        let file = client.get("/static/style.css");
        assert_eq!(
            (file.status, file.text().as_str()),
            (200, "a file"),
            "{kind:?}"
        );
        assert_eq!(client.get("/?show=REQUEST_METHOD").text(), "GET");
    }
}

#[test]
fn caddy_names_the_request() {
    let (_stockade, [pool, _]) = pool(1, "");
    let host = Kind::Caddy.start(&To { pool, keep: false });
    let name = host.client().get("/?show=REQUEST_ID").text();
    assert_eq!(name.len(), 36, "{name}");
}

fn refused(response: &Response, status: u16, cause: &str) {
    assert_eq!(response.status, status);
    assert_eq!(response.header("Stockade-Cause"), Some(cause));
    assert!(response.text().contains(cause), "{}", response.text());
}
