//! What becomes of headers that come twice.

use crate::support::{
    fcgi::Fcgi,
    http::Request,
    nginx::{Hosting, Nginx},
    stockade::Stockade,
};

#[test]
fn a_header_under_two_spellings_reaches_no_worker() {
    let stockade = Stockade::scripted("");
    let mut host = stockade.connect();
    let show = |name: &str, sent: &[(&str, &str)], host: &mut Fcgi| {
        host.get_with(&format!("show={name}"), sent).body()
    };
    // as a host sends `X-User: alice` of a proxy and `X_User: root` of a client, in either order
    for values in [["alice", "root"], ["root", "alice"]] {
        let sent = values.map(|value| ("HTTP_X_USER", value));
        assert_eq!(show("HTTP_X_USER", &sent, &mut host), "");
    }
    let alone = [("HTTP_X_USER", "alice"), ("HTTP_X_USER2", "root")];
    assert_eq!(show("HTTP_X_USER", &alone, &mut host), "alice");
    let same = [("HTTP_X_USER", "alice"), ("HTTP_X_USER", "alice")];
    assert_eq!(show("HTTP_X_USER", &same, &mut host), "alice");
    let list = [
        ("HTTP_X_FORWARDED_FOR", "192.0.2.9"),
        ("HTTP_X_FORWARDED_FOR", "192.0.2.1"),
    ];
    assert_eq!(
        show("HTTP_X_FORWARDED_FOR", &list, &mut host),
        "192.0.2.9, 192.0.2.1"
    );
    // a host that says a parameter twice means the last one
    let overridden = [("DOCUMENT_ROOT", "/a"), ("DOCUMENT_ROOT", "/b")];
    assert_eq!(show("DOCUMENT_ROOT", &overridden, &mut host), "/b");
}

#[test]
fn what_nginx_folds_together_reaches_no_worker() {
    let stockade = Stockade::scripted("");
    let hosting = Hosting {
        keep: true,
        server: "underscores_in_headers on;",
        ..Hosting::default()
    };
    let nginx = Nginx::start(&stockade.socket("app"), &hosting);
    let mut client = nginx.client();
    let one = Request::new("GET", "/?show=HTTP_X_USER").header("X-User", "alice");
    assert_eq!(client.send(one).text(), "alice");
    let two = Request::new("GET", "/?show=HTTP_X_USER")
        .header("X-User", "alice")
        .header("X_User", "root");
    assert_eq!(client.send(two).text(), "");
}
