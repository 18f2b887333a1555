use std::borrow::Cow;

use super::{Sent, script_filename};

/// The PATH_INFO below `mount` of what was sent, the text "outside" if there is none.
fn cut(sent: [Option<&str>; 4], mount: &str) -> String {
    let [script_name, path_info, document_uri, request_uri] =
        sent.map(|value| value.map(str::as_bytes));
    let sent = Sent {
        script_name,
        path_info,
        document_uri,
        request_uri,
    };
    sent.path_info_below(mount.as_bytes())
        .map_or_else(|| "outside".to_owned(), |path| shown(&path))
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

#[test]
fn the_whole_path_as_script_name() {
    for (path, mount, expected) in [
        ("/", "", "/"),
        ("/x/y", "", "/x/y"),
        ("/a b", "", "/a b"),
        ("/a%20b", "", "/a%20b"),
        ("/shop", "/shop", ""),
        ("/shop/", "/shop", "/"),
        ("/shop/cart", "/shop", "/cart"),
        ("/shop//cart", "/shop", "//cart"),
        ("/shop/shop", "/shop", "/shop"),
        ("/a/b/c", "/a/b", "/c"),
        ("/shops", "/shop", "outside"),
        ("/sho", "/shop", "outside"),
        ("/Shop/cart", "/shop", "outside"),
        ("/", "/shop", "outside"),
        ("*", "", "*"),
        ("*", "/shop", "outside"),
    ] {
        // nginx, Apache's ProxyPass; PATH_INFO may be there and empty
        assert_eq!(cut([Some(path), None, None, None], mount), expected);
        assert_eq!(cut([Some(path), Some(""), None, None], mount), expected);
        // and what else is sent does not count
        let all = [Some(path), None, Some("/other"), Some("/another?")];
        assert_eq!(cut(all, mount), expected);
        // a host that was told to send it as PATH_INFO
        assert_eq!(cut([None, Some(path), None, None], mount), expected);
        assert_eq!(cut([Some(""), Some(path), None, None], mount), expected);
    }
}

#[test]
fn a_path_in_two_pieces() {
    for (script_name, path_info, mount, expected) in [
        ("/shop", "/cart", "/shop", "/cart"),
        ("/shop", "/cart", "", "/shop/cart"),
        ("/shop/cart", "/1", "/shop", "/cart/1"),
        ("/shop", "/cart/1", "/shop/cart", "/1"),
        ("/shop", "/cart", "/shop/cart", ""),
        ("/shop", "/carts", "/shop/cart", "outside"),
        ("/shop", "/cart", "/blog", "outside"),
        // cut within a name
        ("/sh", "op/cart", "/shop", "/cart"),
        ("/shop", "s", "/shop", "outside"),
        // the root as a script's name
        ("/", "/cart", "", "/cart"),
        ("/", "/shop/cart", "/shop", "/cart"),
        ("/shop/", "/cart", "/shop", "/cart"),
        ("/", "cart", "", "/cart"),
    ] {
        let sent = [Some(script_name), Some(path_info), None, None];
        assert_eq!(cut(sent, mount), expected, "{script_name} {path_info}");
    }
}

#[test]
fn a_path_info_that_is_the_whole_path_is_not_put_behind_the_script_name() {
    let sent = [Some("/shop"), Some("/shop/cart"), Some("/shop/cart"), None];
    assert_eq!(cut(sent, "/shop"), "/cart");
    assert_eq!(cut(sent, ""), "/shop/cart");
    let sent = [Some("/shop"), Some("/cart"), Some("/shop/cart"), None];
    assert_eq!(cut(sent, "/shop"), "/cart");
}

#[test]
fn without_either_the_addresses_count() {
    for (document_uri, request_uri, mount, expected) in [
        (Some("/a b"), Some("/a%20b?c"), "", "/a b"),
        (Some("/shop/x"), None, "/shop", "/x"),
        (Some(""), Some("/x"), "", "/x"),
        (None, Some("/a%20b?c=%20#d"), "", "/a b"),
        (None, Some("/shop/%63art"), "/shop", "/cart"),
        (None, Some("/%73hop/cart"), "/shop", "/cart"),
        (None, Some("/a#b?c"), "", "/a"),
        (None, Some("/caf%C3%A9"), "", "/caf\\xc3\\xa9"),
        (None, Some("/100%"), "", "/100%"),
        (None, Some("/%zz%4"), "", "/%zz%4"),
        (None, Some("/%+1"), "", "/%+1"),
        (None, Some("/a%2Fb"), "", "/a/b"),
        (None, Some("/a%2525"), "", "/a%25"),
        (None, Some("http://host/x?y"), "", "/x"),
        (None, Some("http://host?http://other/x"), "", "/"),
        (None, Some("http://host"), "", "/"),
        (None, Some("/x?http://host/y"), "", "/x"),
        (None, Some("/http://host/y"), "", "/http://host/y"),
        (None, Some("?a"), "", "/"),
        (None, Some(""), "", "/"),
        (None, None, "", "/"),
        (None, None, "/shop", "outside"),
    ] {
        for empty in [None, Some("")] {
            let sent = [empty, empty, document_uri, request_uri];
            assert_eq!(
                cut(sent, mount),
                expected,
                "{document_uri:?} {request_uri:?}"
            );
        }
    }
}

#[test]
fn what_was_cut_right_is_not_copied() {
    let whole = Sent {
        script_name: Some(b"/shop/cart"),
        ..Sent::default()
    };
    let two = Sent {
        script_name: Some(b"/shop"),
        path_info: Some(b"/cart"),
        ..Sent::default()
    };
    let address = Sent {
        request_uri: Some(b"/shop/cart?x"),
        ..Sent::default()
    };
    for sent in [whole, two, address] {
        assert!(matches!(
            sent.path_info_below(b"/shop"),
            Some(Cow::Borrowed(b"/cart"))
        ));
    }
}

#[test]
fn what_apache_makes_of_a_file_s_name() {
    for (sent, file) in [
        ("/srv/a.php", "/srv/a.php"),
        ("/srv/a.php?b", "/srv/a.php?b"),
        ("", ""),
        ("proxy:fcgi://localhost/srv/a.php", "/srv/a.php"),
        ("proxy:fcgi://localhost:9000/srv/a.php", "/srv/a.php"),
        ("proxy:fcgi://[::1]:9000/srv/a.php", "/srv/a.php"),
        ("proxy:fcgi://localhost/srv/a.php?b=/c", "/srv/a.php"),
        ("proxy:fcgi://localhost//srv/a.php", "//srv/a.php"),
        ("proxy:balancer://all/srv/a.php?", "/srv/a.php"),
        ("proxy:fcgi://localhost", ""),
        ("proxy:fcgi://localhost?/b", ""),
        ("proxy:http://localhost/a", "proxy:http://localhost/a"),
        ("proxy:", "proxy:"),
    ] {
        assert_eq!(shown(script_filename(sent.as_bytes())), file);
    }
}
