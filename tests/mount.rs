//! `mount`: SCRIPT_NAME and PATH_INFO are right whatever the host sends.

use crate::support::{
    apache::{Apache, Backend, Way},
    fcgi::Fcgi,
    http::Client,
    nginx::{Hosting, Nginx},
    site::Site,
    stockade::{Pool, Stockade},
    tools,
};

/// Shows the two, and what is next to them.
const APPLICATION: &str = r#"
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [repr([environ["SCRIPT_NAME"], environ["PATH_INFO"], environ["QUERY_STRING"]]).encode()]
"#;

/// What Debian's `fastcgi_params` send of a path; no PATH_INFO.
const DEBIAN: &str = "fastcgi_param SCRIPT_NAME $fastcgi_script_name;
    fastcgi_param REQUEST_URI $request_uri;
    fastcgi_param DOCUMENT_URI $document_uri;
    fastcgi_param QUERY_STRING $query_string;
    fastcgi_param REQUEST_METHOD $request_method;";

#[test]
fn behind_nginx() {
    let stockade = serve("mount = \"/shop\"");
    let locations = [
        // the repository's parameters, and further ones behind them
        "",
        "fastcgi_split_path_info ^(/shop)(/.*)$; fastcgi_param PATH_INFO $fastcgi_path_info;",
        "fastcgi_param SCRIPT_NAME /shop; fastcgi_param PATH_INFO $document_uri;",
        "fastcgi_param SCRIPT_NAME \"\"; fastcgi_param PATH_INFO $document_uri;",
    ];
    for location in locations {
        let hosting = Hosting {
            location,
            ..Hosting::default()
        };
        let nginx = Nginx::start(&stockade.socket("app"), &hosting);
        is_mounted_at_shop(&mut nginx.client());
    }
}

#[test]
fn behind_nginx_with_debian_s_parameters() {
    let stockade = serve("mount = \"/shop\"");
    let server = format!("location /shop {{ {DEBIAN} fastcgi_pass pool; }}");
    let hosting = Hosting {
        server: &server,
        ..Hosting::default()
    };
    let nginx = Nginx::start(&stockade.socket("app"), &hosting);
    is_mounted_at_shop(&mut nginx.client());
}

#[test]
fn behind_apache() {
    let stockade = serve("mount = \"/shop\"");
    let backend = Backend::unix(&stockade.socket("app"));
    for server in [
        backend.everything(Way::ProxyPass, true),
        backend.everything(Way::SetHandler, true),
        backend.proxy_pass("/shop", "/shop", ""),
        format!(
            "SetEnv proxy-fcgi-pathinfo full\n{}",
            backend.everything(Way::ProxyPass, true)
        ),
        format!(
            "ProxyFCGIBackendType GENERIC\n{}",
            backend.everything(Way::ProxyPass, true)
        ),
    ] {
        let apache = Apache::start(&server);
        is_mounted_at_shop(&mut apache.client());
    }
}

#[test]
fn at_the_root_the_whole_path_is_path_info() {
    let stockade = serve("");
    let backend = Backend::unix(&stockade.socket("app"));
    let apache = Apache::start(&backend.everything(Way::SetHandler, true));
    let nginx = Nginx::keeping(&stockade.socket("app"));
    for mut client in [apache.client(), nginx.client()] {
        for path in ["/", "/shop", "/shop/cart", "/a/b/"] {
            let text = client.get(path).text();
            assert_eq!(text, format!("['', '{path}', '']"));
        }
    }
}

#[test]
fn a_request_for_another_place_is_not_found() {
    let stockade = serve("mount = \"/shop\"");
    let nginx = Nginx::keeping(&stockade.socket("app"));
    let mut client = nginx.client();
    for path in ["/", "/shops", "/Shop/cart"] {
        assert_eq!(client.get(path).status, 404, "{path}");
    }
    stockade
        .log
        .wait(&["pool app", "not for a path below mount"]);
    assert_eq!(client.get("/shop").status, 200);
    // nothing says where this one is for
    let mut host: Fcgi = stockade.connect();
    assert_eq!(host.get("").status(), 404);
}

fn is_mounted_at_shop(client: &mut Client) {
    for (path, told) in [
        ("/shop", "['/shop', '', '']"),
        ("/shop/", "['/shop', '/', '']"),
        ("/shop/cart?a=%20b", "['/shop', '/cart', 'a=%20b']"),
        ("/shop/our%20cart/%2531", "['/shop', '/our cart/%31', '']"),
        ("/shop/shop/shop", "['/shop', '/shop/shop', '']"),
    ] {
        let response = client.get(path);
        assert_eq!(
            (response.status, response.text().as_str()),
            (200, told),
            "{path}"
        );
    }
}

fn serve(keys: &str) -> Stockade {
    let site = Site::new();
    site.write("paths.py", APPLICATION);
    let keys = format!(
        "wsgi = \"paths:application\"\npython-home = {:?}\npython-path = [{:?}]\nprocesses = 1\n{keys}",
        tools::python(),
        site.path()
    );
    Stockade::ready(site, &[Pool::new(&keys)])
}
