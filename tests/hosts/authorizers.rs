//! The role of an authorizer: a pool that says who may, behind the hosts that ask.

use super::pool;
use crate::support::{
    apache::{Apache, Backend, Way},
    host::{Kind, To},
    http::Address,
    server::{put, recommended},
};

#[test]
fn lighttpd_lets_in_whom_the_pool_lets_in() {
    let (_stockade, addresses) = pool(1, "");
    for pool in addresses {
        let guard = match &pool {
            Address::Unix(path) => format!("\"socket\" => \"{}\"", path.display()),
            Address::Tcp(address) => {
                format!(
                    "\"host\" => \"{}\", \"port\" => {}",
                    address.ip(),
                    address.port()
                )
            }
        };
        let host = Kind::Lighttpd.start_with(&To { pool, keep: false }, &|text| {
            let text = uncommented(&text, "$HTTP[\"url\"] =~");
            let text = put(&text, "\"socket\" => \"/run/stockade/guard.sock\"", &guard);
            text.replace("^/private/", "^/static/")
        });
        let mut client = host.client();
        let file = client.get("/static/style.css?show=REQUEST_METHOD");
        assert_eq!((file.status, file.text().as_str()), (200, "a file"));
        let refused = client.get("/static/style.css?status=403+Forbidden&show=QUERY_STRING");
        assert_eq!(refused.status, 403);
        assert_eq!(refused.text(), "status=403+Forbidden&show=QUERY_STRING");
    }
}

/// mod_authnz_fcgi reaches a pool on a port only.
#[test]
fn apache_lets_in_whom_the_pool_lets_in() {
    let (_stockade, [_, pool]) = pool(1, "");
    let Address::Tcp(address) = pool else {
        unreachable!("the second address is a port")
    };
    let guard = uncommented(
        &recommended("apache/stockade.conf"),
        "AuthnzFcgiDefineProvider",
    );
    let start = guard
        .find("AuthnzFcgiDefineProvider")
        .expect("it was found");
    let guard = put(
        &guard[start..],
        "fcgi://127.0.0.1:9002/",
        &format!("fcgi://{address}/"),
    );
    let guard = guard.replace("/private/", "/");
    let everything = Backend::tcp(address).everything(Way::ProxyPass, true);
    let apache = Apache::start_with(|own| {
        let (provider, section) = guard.split_once('\n').expect("there are more lines");
        format!("{provider}\n<VirtualHost {own}>\n{everything}\n{section}\n</VirtualHost>")
    });
    let mut client = apache.client();
    // what the authorizer says of the request reaches the application behind it
    let told = client.get("/?variable=ASKED_AS&show=ASKED_AS");
    assert_eq!((told.status, told.text().as_str()), (200, "authorizer"));
    let refused = client.get("/?status=401+Unauthorized");
    assert_eq!(refused.status, 401);
    assert_eq!(client.get("/").status, 200);
}

/// The text with the comment's block that begins with `start` made real.
fn uncommented(text: &str, start: &str) -> String {
    let mut inside = false;
    text.lines()
        .map(|line| {
            let bare = line.trim_start();
            inside |= bare.starts_with(&format!("#{start}"));
            match bare.strip_prefix('#') {
                Some(real) if inside => format!("{real}\n"),
                _ => {
                    inside = false;
                    format!("{line}\n")
                }
            }
        })
        .collect()
}
