//! Behind the real Apache: mod_proxy_fcgi in all its ways.

use std::{net::SocketAddr, path::Path};

use nix::sys::signal::Signal;

use crate::support::{
    apache::{Apache, Backend, Way},
    deadline::wait_for,
    http::Request,
    load::Load,
    pattern::Checker,
    server::{free_address, recommended},
    site::Site,
    stockade::{Pool, Stockade},
};

const MIB: u64 = 1024 * 1024;

#[test]
fn proxy_pass_over_a_unix_socket() {
    let stockade = Stockade::scripted("processes = 2");
    every_kind_of_request(&Backend::unix(&stockade.socket("app")), Way::ProxyPass);
}

#[test]
fn set_handler_over_a_unix_socket() {
    let stockade = Stockade::scripted("processes = 2");
    every_kind_of_request(&Backend::unix(&stockade.socket("app")), Way::SetHandler);
}

#[test]
fn proxy_pass_over_tcp() {
    let (_stockade, address) = on_a_port();
    every_kind_of_request(&Backend::tcp(address), Way::ProxyPass);
}

#[test]
fn set_handler_over_tcp() {
    let (_stockade, address) = on_a_port();
    every_kind_of_request(&Backend::tcp(address), Way::SetHandler);
}

#[test]
fn a_response_cut_by_its_worker_looks_cut_to_the_client() {
    let (unix, (tcp, address)) = (Stockade::scripted("processes = 2"), on_a_port());
    let backends = [
        (&unix, Backend::unix(&unix.socket("app"))),
        (&tcp, Backend::tcp(address)),
    ];
    for (_stockade, backend) in backends {
        for reuse in [true, false] {
            let apache = Apache::start(&backend.everything(Way::ProxyPass, reuse));
            let response = apache.client().get("/?big=4000000&crash=mid-body");
            assert_eq!(response.status, 200);
            assert!(
                !response.complete,
                "{backend:?}, kept {reuse}: {} bytes passed for all",
                response.body.len()
            );
            assert_eq!(apache.client().get("/").status, 200);
        }
    }
}

#[test]
fn many_clients_share_few_workers() {
    let stockade = Stockade::scripted("processes = 2");
    for reuse in [true, false] {
        let backend = Backend::unix(&stockade.socket("app"));
        let apache = Apache::start(&backend.everything(Way::ProxyPass, reuse));
        let load = Load::start((0..32).map(|_| apache.client()).collect(), "/?sleep=2");
        load.wait_answered(1000);
        assert_none_failed(load);
    }
    assert_eq!(stockade.workers().len(), 2);
}

#[test]
fn reloads_under_load_fail_no_request() {
    let site = Site::new();
    let pool = |generation: usize| {
        Pool::scripted(
            &site,
            &[&format!("generation={generation}")],
            "processes = 3",
        )
    };
    let pools: Vec<Pool> = (0..3).map(pool).collect();
    let stockade = Stockade::ready(site, &pools[..1]);
    let backend = Backend::unix(&stockade.socket("app"));
    for (reuse, pool) in [(true, &pools[1]), (false, &pools[2])] {
        let apache = Apache::start(&backend.everything(Way::ProxyPass, reuse));
        let load = Load::start((0..8).map(|_| apache.client()).collect(), "/?sleep=2");
        load.wait_answered(100);
        let before = stockade.workers();
        stockade.configure(std::slice::from_ref(pool));
        stockade.signal(Signal::SIGHUP);
        wait_for("the new generation alone", || {
            let workers = stockade.workers();
            (workers.len() == 3 && workers.iter().all(|worker| !before.contains(worker)))
                .then_some(())
        });
        load.wait_answered(100);
        assert_none_failed(load);
    }
}

#[test]
fn the_recommended_configuration() {
    let site = Site::new();
    let shop = Pool::scripted(&site, &["generation=shop"], "processes = 1").named("shop");
    let app = Pool::scripted(&site, &["generation=app"], "processes = 2");
    let stockade = Stockade::ready(site, &[shop, app]);
    let files = Site::new();
    files.write("style.css", "a file");
    let folder = |path: &Path| path.display().to_string();
    let apache = Apache::start_with(|address| {
        recommended("apache/stockade.conf")
            .replace("*:80", &address.to_string())
            .replace("/srv/app/static", &folder(files.path()))
            .replace("/run/stockade", &folder(stockade.site.path()))
            // what it shows but leaves out
            .replace("    #ProxyPass", "    ProxyPass")
    });
    small_requests(&apache);
    let mut client = apache.client();
    let file = client.get("/static/style.css");
    assert_eq!((file.status, file.text().as_str()), (200, "a file"));
    // one connection each is kept, and each belongs to one pool
    for (path, pool) in [("/shop/", "shop"), ("/", "app"), ("/shop", "shop")] {
        let text = client.get(path).text();
        assert!(text.contains(&format!("generation {pool}\n")), "{text}");
    }
}

#[test]
fn the_length_that_an_application_tells_is_passed_on_if_apache_is_told_to_trust_it() {
    let stockade = Stockade::scripted("processes = 1");
    let file = recommended("apache/stockade.conf");
    let trust = file
        .lines()
        .find_map(|line| line.trim().strip_prefix("#SetEnv ap_trust"))
        .expect("the file has the line");
    let trust = format!("SetEnv ap_trust{trust}\n");
    let backend = Backend::unix(&stockade.socket("app")).everything(Way::ProxyPass, true);
    for (lines, passed) in [(trust.as_str(), Some("1000")), ("", None)] {
        let apache = Apache::start(&format!("{lines}{backend}"));
        let response = apache.client().get("/?big=1000&length=1000");
        assert_eq!((response.body.len(), response.complete), (1000, true));
        assert_eq!(response.header("Content-Length"), passed);
    }
}

#[test]
fn what_we_refuse_reaches_the_client() {
    let stockade = Stockade::scripted("processes = 1\nrequest-timeout = \"200ms\"");
    let response = Apache::keeping(&stockade).client().get("/?sleep=20000");
    assert_eq!(response.status, 504);
    assert_eq!(response.header("Stockade-Cause"), Some("request-timeout"));
}

fn on_a_port() -> (Stockade, SocketAddr) {
    let address = free_address();
    let keys = format!("processes = 2\nlisten = [\"{address}\"]");
    let site = Site::new();
    let pool = Pool::scripted(&site, &[], &keys);
    let config = crate::support::stockade::configuration(&site, &[pool]);
    let stockade = Stockade::run(site, &config);
    stockade.wait_ready("app", 2);
    (stockade, address)
}

fn every_kind_of_request(backend: &Backend, way: Way) {
    for reuse in [true, false] {
        let apache = Apache::start(&backend.everything(way, reuse));
        small_requests(&apache);
        upload(&apache, 20 * MIB);
        download(&apache, 20 * MIB);
    }
}

fn small_requests(apache: &Apache) {
    let mut client = apache.client();
    for _ in 0..10 {
        let response = client.get("/?show=REQUEST_METHOD");
        assert_eq!((response.status, response.text().as_str()), (200, "GET"));
        let response = client.post("/a/path?echo", "text/plain", b"word");
        assert_eq!((response.status, response.text().as_str()), (200, "word"));
        let response = client.send(Request::new("HEAD", "/"));
        assert_eq!((response.status, response.body.len()), (200, 0));
        for status in ["404 Not Found", "500 Internal Server Error"] {
            let query = format!("status={}&show=QUERY_STRING", status.replace(' ', "+"));
            let response = client.get(&format!("/?{query}"));
            assert_eq!(response.status.to_string(), status[..3]);
            assert_eq!((response.text(), response.complete), (query, true));
        }
        let authorized =
            Request::new("GET", "/?show=HTTP_AUTHORIZATION").header("Authorization", "Basic YTpi");
        assert_eq!(client.send(authorized).text(), "Basic YTpi");
    }
}

fn upload(apache: &Apache, length: u64) {
    let response = apache
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

fn download(apache: &Apache, length: u64) {
    let path = format!("/?big={length}");
    let mut checker = Checker::default();
    let response = apache
        .client()
        .stream(&Request::new("GET", &path), &mut |bytes| {
            checker.take(bytes);
        });
    assert_eq!((response.status, response.complete), (200, true));
    assert_eq!((checker.length(), checker.wrong()), (length, 0));
}

fn assert_none_failed(load: Load) {
    let (answered, failures) = load.stop();
    assert!(
        failures.is_empty(),
        "{} of {answered} failed: {failures:?}",
        failures.len()
    );
}
