//! Hosts: many at once, hosts that are none, and hosts that go away.

use std::{fs, thread};

use crate::support::{
    deadline::wait_for,
    fcgi::{self, Fcgi},
    process,
    stockade::Stockade,
};

#[test]
fn many_connections_share_few_workers() {
    let stockade = Stockade::scripted("processes = 2");
    // every connection is open, and stays open, while each of them is used
    let mut hosts: Vec<Fcgi> = (0..32).map(|_| stockade.connect()).collect();
    for _ in 0..5 {
        for host in &mut hosts {
            host.begin("GET", "sleep=2", &[]);
        }
        for host in &mut hosts {
            let answer = host.answer().unwrap();
            assert_eq!((answer.status(), answer.ended), (200, Some(0)));
        }
    }
}

#[test]
fn many_hosts_at_once() {
    let stockade = Stockade::scripted("processes = 2");
    thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                let mut host = stockade.connect();
                for _ in 0..20 {
                    assert_eq!(host.get("").status(), 200);
                }
            });
        }
    });
}

#[test]
fn what_is_not_fastcgi_is_closed() {
    let stockade = Stockade::scripted("processes = 1");
    let mut kept = stockade.connect();
    assert_eq!(kept.get("").status(), 200);
    let relay = stockade.relay();
    let tls_hello = [
        0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03,
    ];
    let garbage: Vec<u8> = (0..=255_u8).rev().collect();
    let http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for bytes in [&tls_hello[..], &garbage, http, &[0; 64]] {
        let mut host = stockade.connect();
        host.write(bytes).unwrap();
        let said = host.read_to_close().unwrap();
        assert_eq!(said, b"", "an answer to {bytes:x?}");
    }
    assert_eq!(kept.get("").status(), 200);
    assert_eq!(stockade.relay(), relay);
}

#[test]
fn garbage_behind_a_good_request_harms_only_its_connection() {
    let stockade = Stockade::scripted("processes = 1");
    let mut host = stockade.connect();
    assert_eq!(host.get("").status(), 200);
    host.write(b"nonsense").unwrap();
    assert_eq!(host.read_to_close().unwrap(), b"");
    assert_eq!(stockade.connect().get("").status(), 200);
}

#[test]
fn a_request_may_arrive_byte_by_byte() {
    let stockade = Stockade::scripted("processes = 1");
    let mut host = stockade.connect();
    for byte in fcgi::request(1, "POST", "echo", b"a body") {
        host.write(&[byte]).unwrap();
    }
    let answer = host.answer().unwrap();
    assert_eq!((answer.status(), answer.body().as_str()), (200, "a body"));
}

#[test]
fn any_request_id_is_echoed() {
    let stockade = Stockade::scripted("processes = 1");
    let mut host = stockade.connect();
    for id in [1, 2, 255, 256, 65_535] {
        host.write(&fcgi::request(id, "GET", "", &[])).unwrap();
        loop {
            let (header, _) = host.read_record().unwrap().unwrap();
            assert_eq!(header.request_id, id);
            if header.kind == 3 {
                break;
            }
        }
    }
}

#[test]
fn a_host_that_goes_away_while_it_sends_is_forgotten() {
    let stockade = Stockade::scripted("processes = 1");
    let worker = stockade.connect().get("").pid();
    for cut in [3, 8, 16, 40] {
        let mut host = stockade.connect();
        host.write(&fcgi::request(1, "POST", "", b"a=1")[..cut])
            .unwrap();
    }
    let mut host = stockade.connect();
    host.write(&fcgi::head(1, "POST", "", Some(1000))).unwrap();
    drop(host);
    assert_eq!(stockade.connect().get("").status(), 200);
    assert!(
        process::alive(worker),
        "the worker was blamed:\n{}",
        stockade.log.text()
    );
}

#[test]
fn a_host_that_goes_away_while_it_waits_is_not_the_workers_fault() {
    let stockade = Stockade::scripted("processes = 1");
    let gate = stockade.site.path().join("gate");
    let mut host = stockade.connect();
    host.begin("GET", &format!("stderr=begun&wait={}", gate.display()), &[]);
    stockade.log.wait(&["begun"]);
    let mut queued = stockade.connect();
    queued.begin("GET", "stderr=never", &[]);
    drop((host, queued));
    fs::write(&gate, "").unwrap();
    let answer = stockade.connect().get("");
    assert_eq!(answer.status(), 200);
    wait_for("one worker, as before", || {
        (stockade.workers().len() == 1).then_some(())
    });
    assert_eq!(
        answer.fact("requests"),
        "2",
        "what was queued was run all the same"
    );
}
