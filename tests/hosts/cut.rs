//! A response whose worker dies in the middle of the body has to look cut to the client, as far as the host has a way to say so.
//! The table in the manual, "Hosts", is what these tests see.

use super::{busy, pool};
use crate::support::{deadline::wait_for, host::Kind, server::put, stockade::Stockade};

/// Bodies of a length that the application does not tell: one that is cut with its first bytes, and one that is under way.
const UNTOLD: [&str; 2] = [
    "/?big=100000&crash=mid-body",
    "/?big=4000000&crash=mid-body",
];
/// One whose length was told.
const TOLD: [&str; 1] = ["/?big=4000000&length=4000000&crash=mid-body"];

#[test]
fn nginx() {
    looks_cut(Kind::Nginx, &UNTOLD);
    looks_cut(Kind::Nginx, &TOLD);
}

#[test]
fn apache() {
    looks_cut(Kind::Apache, &UNTOLD);
    looks_cut(Kind::Apache, &TOLD);
}

#[test]
fn haproxy() {
    looks_cut(Kind::Haproxy, &UNTOLD);
    looks_cut(Kind::Haproxy, &TOLD);
}

#[test]
fn lighttpd() {
    looks_cut(Kind::Lighttpd, &UNTOLD);
    looks_cut(Kind::Lighttpd, &TOLD);
}

#[test]
fn caddy() {
    looks_cut(Kind::Caddy, &TOLD);
}

/// Caddy 2.6 ends any response as if it were whole. When this fails, the manual has to be changed.
#[test]
fn caddy_hides_that_a_response_without_a_length_was_cut() {
    let (stockade, addresses) = pool(4, "");
    for to in Kind::Caddy.ways(&addresses) {
        let response = Kind::Caddy.start(&to).client().get(UNTOLD[1]);
        assert_eq!((response.status, response.complete), (200, true), "{to}");
        assert!(response.body.len() < 4_000_000, "{to}");
    }
    drop(stockade);
}

#[test]
fn lighttpd_says_so_in_its_other_way_to_stream() {
    let (_stockade, addresses) = pool(4, "");
    for to in Kind::Lighttpd.ways(&addresses) {
        let host = Kind::Lighttpd.start_with(&to, &|text| {
            put(
                &text,
                "stream-response-body = 1",
                "stream-response-body = 2",
            )
        });
        for path in UNTOLD.iter().chain(&TOLD) {
            assert!(!host.client().get(path).complete, "{to} {path}");
        }
    }
}

/// lighttpd hides it, too, when it collects responses.
#[test]
fn lighttpd_hides_it_when_it_does_not_stream() {
    let (_stockade, addresses) = pool(4, "");
    for to in Kind::Lighttpd.ways(&addresses) {
        let host = Kind::Lighttpd.start_with(&to, &|text| {
            put(&text, "server.stream-response-body = 1", "")
        });
        let response = host.client().get(UNTOLD[1]);
        assert_eq!((response.status, response.complete), (200, true), "{to}");
        let response = host.client().get(TOLD[0]);
        assert!(!response.complete, "{to}");
    }
}

fn looks_cut(kind: Kind, paths: &[&str]) {
    let (stockade, addresses) = pool(4, "");
    for to in kind.ways(&addresses) {
        let host = kind.start(&to);
        for path in paths {
            let response = host.client().get(path);
            assert_eq!(response.status, 200, "{kind:?} {to} {path}");
            assert!(
                !response.complete,
                "{kind:?} {to} {path}: {} bytes passed for all",
                response.body.len()
            );
            assert_eq!(host.client().get("/").status, 200, "{kind:?} {to}");
        }
        nothing_is_left(&stockade);
    }
}

fn nothing_is_left(stockade: &Stockade) {
    wait_for("every slot to be free", || {
        (busy(stockade) == 0).then_some(())
    });
}
