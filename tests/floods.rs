//! Thousands of hosts that are none, or mean no good: an ordinary one is served meanwhile, the relay's memory stays bounded, and the log
//! says it once.

use std::{io::Write as _, os::unix::net::UnixStream};

use stockade_protocol::{
    encode::{self, Role},
    record::RecordType,
};

use crate::support::{deadline::wait_for, fcgi::Fcgi, process, stockade::Stockade};

const MANY: usize = 2000;
/// What the relay may grow by under a flood of so many connections: 16 KiB for each.
const GROWTH_KIB: u64 = 32 * 1024;

#[test]
fn what_is_not_fastcgi_is_closed_and_logged_once() {
    let tls = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    let http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for bytes in [&tls[..], http, &[0; 64]] {
        let flood = Flood::begin("processes = 1");
        let hosts = flood.connections(bytes);
        for mut host in hosts {
            assert_eq!(host.read_to_close().unwrap(), b"");
        }
        flood.end(&["WARN", "pool app: closing a host's connection"]);
    }
}

#[test]
fn requests_without_parameters_are_closed() {
    let mut begin = Vec::new();
    encode::begin_request(&mut begin, 1, Role::Responder, true);
    let flood = Flood::begin("processes = 1\nsocket-timeout = \"2s\"");
    let hosts = flood.connections(&begin);
    for mut host in hosts {
        assert_eq!(host.read_to_close().unwrap(), b"");
    }
    flood.end(&["WARN", "does not go on with what it has begun"]);
}

#[test]
fn drips_are_closed() {
    let flood = Flood::begin("processes = 1\nsocket-timeout = \"2s\"");
    let mut begun = Vec::new();
    encode::begin_request(&mut begun, 1, Role::Responder, true);
    // a record of parameters that announces more than ever comes
    begun.extend([1, RecordType::Params as u8, 0, 1, 255, 255, 0, 0]);
    let mut hosts: Vec<Option<UnixStream>> = flood
        .connections(&begun)
        .into_iter()
        .map(|host| Some(host.into_stream()))
        .collect();
    // one byte after another to each
    wait_for("the end of all connections", || {
        for host in &mut hosts {
            if host.as_mut().is_some_and(|host| host.write(&[0]).is_err()) {
                *host = None;
            }
        }
        hosts.iter().all(Option::is_none).then_some(())
    });
    flood.end(&["WARN", "does not go on with what it has begun"]);
}

#[test]
fn a_connection_may_not_begin_requests_without_end() {
    let flood = Flood::begin("processes = 1\nsocket-timeout = \"2s\"");
    let mut bytes = Vec::new();
    for id in 1..=u16::MAX {
        encode::begin_request(&mut bytes, id, Role::Responder, true);
    }
    // one that reads what it is told
    let mut host = flood.stockade.connect();
    let mut writer = host.try_clone();
    std::thread::scope(|scope| {
        scope.spawn(|| writer.write_all(&bytes).unwrap());
        let mut refused = 0;
        while let Some((header, content)) = host.read_record().unwrap() {
            assert_eq!(header.record_type(), Some(RecordType::EndRequest));
            // FCGI_CANT_MPX_CONN
            assert_eq!(content.get(4), Some(&1));
            refused += 1;
        }
        assert_eq!(refused, usize::from(u16::MAX) - 16);
    });
    flood.end(&["WARN", "does not go on with what it has begun"]);
}

#[test]
fn hosts_that_ask_without_end_and_do_not_read_are_cut() {
    let flood = Flood::begin("processes = 1\nsocket-timeout = \"2s\"");
    let mut question = Vec::new();
    for _ in 0..4096 {
        encode::get_values(&mut question, &["FCGI_MAX_CONNS", "FCGI_MAX_REQS"]);
    }
    let mut hosts: Vec<UnixStream> = (0..100)
        .map(|_| flood.stockade.connect().into_stream())
        .collect();
    for host in &mut hosts {
        host.set_nonblocking(true).unwrap();
    }
    wait_for("the end of all connections", || {
        hosts.retain_mut(|host| match host.write(&question) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        });
        hosts.is_empty().then_some(())
    });
    flood.end(&["WARN", "takes nothing of what is sent to it"]);
}

/// A daemon with one ordinary host, before thousands of others.
struct Flood {
    stockade: Stockade,
    ordinary: std::cell::RefCell<Fcgi>,
    before: u64,
}

impl Flood {
    fn begin(keys: &str) -> Self {
        let stockade = Stockade::scripted(keys);
        let mut ordinary = stockade.connect();
        assert_eq!(ordinary.get("").status(), 200);
        let before = peak(&stockade);
        Self {
            stockade,
            ordinary: ordinary.into(),
            before,
        }
    }

    /// Many connections with these bytes on each. The ordinary host is served all the while.
    fn connections(&self, bytes: &[u8]) -> Vec<Fcgi> {
        let mut hosts = Vec::new();
        while hosts.len() < MANY {
            let mut host = self.stockade.connect();
            // it may be closed before all is written
            host.write(bytes).unwrap_or_default();
            hosts.push(host);
            if hosts.len() % 100 == 0 {
                assert_eq!(self.ordinary.borrow_mut().get("").status(), 200);
            }
        }
        hosts
    }

    /// The ordinary host is still served, little memory was needed, and there is one such line in the log.
    fn end(self, line: &[&str]) {
        assert_eq!(self.ordinary.borrow_mut().get("").status(), 200);
        let grown = peak(&self.stockade).saturating_sub(self.before);
        assert!(grown < GROWTH_KIB, "the relay grew by {grown} KiB");
        self.stockade.log.wait(line);
        let lines = self.stockade.log.matching(line);
        // one in ten seconds, however long it took
        assert!(
            lines.len() <= 4,
            "{} lines like {:?}",
            lines.len(),
            lines.first()
        );
    }
}

fn peak(stockade: &Stockade) -> u64 {
    process::peak_resident_kib(stockade.relay()).expect("the relay runs")
}
