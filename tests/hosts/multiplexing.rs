//! HAProxy runs several requests on one connection: what happens to one of them is no matter to the others.

use std::{
    io::Write as _,
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::{busy, host_connections, pool};
use crate::support::{
    deadline::wait_for,
    host::{Host, Kind, To},
    http::Request,
    load::Load,
    pattern::Checker,
    site::Site,
    stockade::Stockade,
};

#[test]
fn a_cut_response_does_not_cut_its_siblings() {
    let (stockade, addresses) = pool(4, "");
    for (before, pool) in addresses.into_iter().enumerate() {
        let (host, open) = (Host::multiplexing(pool), Site::new());
        let go_on = open.path().join("go-on");
        let sibling = begin_download(&host, 3_000_000, &go_on.display().to_string());
        wait_for("the sibling to run", || {
            (busy(&stockade) == 1).then_some(())
        });
        let mut cut = host.client();
        let cut = thread::spawn(move || cut.get("/?big=4000000&crash=mid-body").complete);
        stockade.log.wait_times(before + 1, &["cut: worker-died"]);
        assert_eq!(host_connections(&stockade), 1, "both share one");
        wait_for("what comes meanwhile to go elsewhere", || {
            assert_eq!(host.client().get("/").status, 200);
            (host_connections(&stockade) == 2).then_some(())
        });
        open.write("go-on", "");
        assert_eq!(sibling.join().expect("it ends"), (true, 3_000_000, 0));
        assert!(!cut.join().expect("it ends"), "a part passed for all");
        assert_eq!(host.client().get("/").status, 200);
    }
}

#[test]
fn many_requests_share_a_connection_and_none_waits_for_another() {
    let (stockade, [pool, _]) = pool(4, "");
    let (host, open) = (Host::multiplexing(pool), Site::new());
    let go_on = open.path().join("go-on");
    let slow = begin_download(&host, 6_000_000, &go_on.display().to_string());
    wait_for("the slow one to run", || {
        (busy(&stockade) == 1).then_some(())
    });
    let mut client = host.client();
    for _ in 0..50 {
        let response = client.get("/?show=REQUEST_METHOD");
        assert_eq!((response.status, response.text().as_str()), (200, "GET"));
        let response = client.send(Request::new("POST", "/").pattern(300_000));
        assert!(response.text().contains("length 300000\nwrong 0"));
    }
    assert_eq!(host_connections(&stockade), 1, "of HAProxy's one thread");
    open.write("go-on", "");
    assert_eq!(slow.join().expect("it ends"), (true, 6_000_000, 0));
}

#[test]
fn clients_that_go_away_take_nothing_with_them() {
    let (stockade, addresses) = pool(4, "");
    for pool in addresses {
        let host = Kind::Haproxy.start(&To { pool, keep: true });
        let failures = with_clients_that_go_away(&host);
        assert!(failures.is_empty(), "{failures:?}");
        all_is_free(&stockade);
    }
}

/// An upload that is aborted makes HAProxy 2.6 answer others of its connection by itself, whatever application is behind it.
#[test]
fn clients_that_go_away_from_a_shared_connection_leave_every_slot_free() {
    let (stockade, addresses) = pool(4, "");
    for pool in addresses {
        let host = Host::multiplexing(pool);
        let mut failures = with_clients_that_go_away(&host);
        failures.retain(|failure| !failure.contains("An internal server error occurred."));
        assert!(failures.is_empty(), "{failures:?}");
        all_is_free(&stockade);
    }
}

/// What went wrong with the others.
fn with_clients_that_go_away(host: &Host) -> Vec<String> {
    let load = Load::start((0..8).map(|_| host.client()).collect(), "/?sleep=1");
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..4 {
            let enough = &enough;
            scope.spawn(move || go_away(host, number, enough));
        }
        load.wait_answered(500);
        enough.store(true, Ordering::Relaxed);
    });
    load.stop().1
}

fn all_is_free(stockade: &Stockade) {
    wait_for("every slot to be free", || {
        (busy(stockade) == 0).then_some(())
    });
    assert_eq!(stockade.workers().len(), 4);
}

/// A download that waits for a file in its middle; whether it was complete, its length, and what of it was wrong.
fn begin_download(host: &Host, length: u64, go_on: &str) -> thread::JoinHandle<(bool, u64, u64)> {
    let mut client = host.client();
    let path = format!("/?big={length}&wait-midway={go_on}");
    thread::spawn(move || {
        let mut checker = Checker::default();
        let request = Request::new("GET", &path);
        let response = client.stream(&request, &mut |bytes| checker.take(bytes));
        (response.complete, checker.length(), checker.wrong())
    })
}

/// Requests whose clients leave: before the answer, amid it, amid their own body. Only of the last does HAProxy tell, by ABORT_REQUEST; the
/// other answers it throws away.
fn go_away(host: &Host, number: usize, enough: &AtomicBool) {
    let address = host.address().expect("HAProxy has one");
    let requests = [
        "GET /?sleep=5 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /?big=3000000 HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n",
        "POST /?sleep=5 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    ];
    for request in requests.iter().cycle().skip(number) {
        if enough.load(Ordering::Relaxed) {
            return;
        }
        let mut stream = TcpStream::connect(address).expect("HAProxy listens");
        stream
            .write_all(request.as_bytes())
            .expect("HAProxy takes requests");
        if request.contains("1000000") {
            // with less HAProxy waits for more
            stream
                .write_all(&[b'a'; 50_000])
                .expect("HAProxy takes bodies");
        }
        if request.contains("big") {
            let mut byte = [0];
            std::io::Read::read(&mut stream, &mut byte).expect("the answer begins");
        }
    }
}
