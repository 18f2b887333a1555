use super::*;

fn request(pairs: &[(&[u8], &[u8])]) -> Request {
    let mut request = Request {
        holds_body: true,
        ..Request::default()
    };
    for (name, value) in pairs {
        encode_pair(&mut request.params, name, value);
    }
    request
}

#[test]
fn a_request_gets_the_hosts_name_or_one_of_ours() {
    let mut ids = ids::RequestIds::new(1);
    let mut named = request(&[(b"UNIQUE_ID", b"apache-1"), (b"REQUEST_METHOD", b"GET")]);
    assert_eq!(named.read_params(&mut ids), Ok(true));
    assert_eq!(named.name(), "apache-1");
    assert_eq!(named.param(b"REQUEST_ID"), Some(&b"apache-1"[..]));

    let mut unnamed = request(&[(b"REQUEST_ID", b"not fit\n"), (b"REQUEST_METHOD", b"POST")]);
    assert_eq!(unnamed.read_params(&mut ids), Ok(false));
    assert_eq!(unnamed.id.len(), 16);
    assert_eq!(
        unnamed.param(b"REQUEST_ID").map(<[u8]>::to_vec),
        Some(unnamed.id.clone())
    );
}

#[test]
fn the_proxy_header_never_reaches_a_worker() {
    let mut poisoned = request(&[(b"HTTP_PROXY", b"http://evil"), (b"HTTP_HOST", b"a")]);
    poisoned.read_params(&mut ids::RequestIds::new(1)).unwrap();
    assert_eq!(poisoned.param(b"HTTP_PROXY"), None);
    assert_eq!(poisoned.param(b"HTTP_HOST"), Some(&b"a"[..]));
}

#[test]
fn a_file_s_name_comes_without_what_apache_puts_around_it() {
    for (sent, expected) in [
        (&b"proxy:fcgi://php/srv/a.php?b"[..], &b"/srv/a.php"[..]),
        (b"/srv/a.php", b"/srv/a.php"),
    ] {
        let mut asked = request(&[(b"SCRIPT_FILENAME", sent), (b"SCRIPT_NAME", b"/a.php/b")]);
        asked.read_params(&mut ids::RequestIds::new(1)).unwrap();
        assert_eq!(asked.param(b"SCRIPT_FILENAME"), Some(expected));
        assert_eq!(asked.param(b"SCRIPT_NAME"), Some(&b"/a.php/b"[..]));
    }
}

#[test]
fn malformed_parameters_are_refused() {
    let mut ids = ids::RequestIds::new(1);
    for pairs in [
        [(&b"A=B"[..], &b"c"[..])],
        [(b"A", b"\0")],
        [(b"CONTENT_LENGTH", b"-2")],
    ] {
        assert_eq!(request(&pairs).read_params(&mut ids), Err(Malformed));
    }
    let mut cut = request(&[(b"A", b"B")]);
    cut.params.pop();
    assert_eq!(cut.read_params(&mut ids), Err(Malformed));
}

#[test]
fn a_length_that_the_host_does_not_know_is_none() {
    let mut chunked = request(&[(b"REQUEST_METHOD", b"GET"), (b"CONTENT_LENGTH", b"-1")]);
    chunked.read_params(&mut ids::RequestIds::new(1)).unwrap();
    assert_eq!(chunked.body_left, None);
    assert!(!chunked.bodyless(), "something follows");
    assert_eq!(chunked.param(b"CONTENT_LENGTH"), None);
}

#[test]
fn a_body_is_cut_at_its_length() {
    let mut post = request(&[(b"CONTENT_LENGTH", b"5")]);
    post.read_params(&mut ids::RequestIds::new(1)).unwrap();
    assert_eq!(post.take_body(b"abc", 64), b"abc");
    assert_eq!(post.take_body(b"defgh", 64), b"de");
    assert_eq!(post.body, b"abcde");
}
