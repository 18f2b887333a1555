//! What is said about a file that is allowed but odd.

use super::{Imagined, read};
use crate::config::{
    Run, Target, command_line::without_file, resolved::Interface, surroundings::User,
    warnings::warnings,
};

/// The warnings about a pool `blog` with these keys.
fn said(keys: &str, machine: &Imagined) -> Vec<String> {
    let user = if machine.uid == 0 {
        "user = \"blog\""
    } else {
        ""
    };
    said_of(&format!("[pool.blog]\n{user}\n{keys}"), machine)
}

fn said_of(text: &str, machine: &Imagined) -> Vec<String> {
    let config = read(text, machine).unwrap_or_else(|error| panic!("{error}"));
    let all = warnings(&config, machine);
    all.iter().map(ToString::to_string).collect()
}

fn with_nginx(mut machine: Imagined) -> Imagined {
    machine.users.push(User {
        name: "www-data".to_owned(),
        uid: 33,
        gid: 33,
        home: "/var/www".into(),
    });
    machine
}

const PHP: &str = "command = [\"php-cgi\"]\n";
const SOCKET: &str = "listen = [\"unix:/run/blog.sock\"]\n";
const PORT: &str = "listen = [\"127.0.0.1:9001\"]\n";

#[test]
fn an_ordinary_pool_gives_no_reason() {
    let machine = with_nginx(Imagined::root());
    let fine = format!("{PHP}{SOCKET}socket-group = \"www-data\"");
    assert_eq!(said(&fine, &machine), [""; 0]);
    assert_eq!(said(&format!("{PHP}{PORT}"), &machine), [""; 0]);
    assert_eq!(
        said(&format!("{PHP}{SOCKET}socket-mode = \"0666\""), &machine),
        [""; 0]
    );
    // no web server that is known is there
    assert_eq!(said(&format!("{PHP}{SOCKET}"), &Imagined::root()), [""; 0]);
}

#[test]
fn a_grace_shorter_than_a_request_may_take() {
    let keys = format!("{PHP}{PORT}graceful-timeout = \"30s\"");
    assert_eq!(
        said(&keys, &Imagined::root()),
        [
            "pool blog: `graceful-timeout` is 30s, less than `request-timeout` (60s): a request that is allowed to run that long is cut when its worker retires: raise it, or lower `request-timeout`"
        ]
    );
    for fine in ["\"off\"", "\"60s\""] {
        let keys = format!("{PHP}{PORT}graceful-timeout = {fine}");
        assert_eq!(said(&keys, &Imagined::root()), [""; 0]);
    }
}

#[test]
fn an_account_shared_with_the_relay() {
    let keys =
        format!("[daemon]\nrelay-user = \"blog\"\n[pool.blog]\nuser = \"blog\"\n{PHP}{PORT}");
    assert_eq!(
        said_of(&keys, &Imagined::root()),
        [
            "pool blog: `user` is blog, which the relay runs as too: its workers are not kept apart from it: choose another `user` or `relay-user`"
        ]
    );
}

#[test]
fn a_socket_that_no_web_server_may_open() {
    let keys = format!("{PHP}{SOCKET}");
    assert_eq!(
        said(&keys, &with_nginx(Imagined::root())),
        [
            "pool blog: `socket-group` lets no web server of this machine (www-data) connect to unix:/run/blog.sock, which has mode 0660: set socket-group = \"www-data\" in the pool"
        ]
    );
    assert_eq!(
        said(&keys, &with_nginx(Imagined::blog())),
        [
            "pool blog: `socket-group` lets no web server of this machine (www-data) connect to unix:/run/blog.sock, which has mode 0660: listen on a TCP address, or become a member of its group and set socket-group = \"www-data\""
        ]
    );
}

#[test]
fn a_socket_in_a_folder_that_is_closed_or_missing() {
    let machine = with_nginx(Imagined::root());
    let group = "socket-group = \"www-data\"\n";
    assert_eq!(
        said(
            &format!("{PHP}{group}listen = [\"unix:/home/blog/blog.sock\"]"),
            &machine
        ),
        [
            "pool blog: `listen` has unix:/home/blog/blog.sock, and the web server's account, www-data, may not enter /home/blog (mode 0700): put the socket where it may, like /run/stockade/blog.sock"
        ]
    );
    assert_eq!(
        said(
            &format!("{PHP}{group}listen = [\"unix:/srv/none/blog.sock\"]"),
            &machine
        ),
        [
            "pool blog: `listen` has unix:/srv/none/blog.sock, but the folder /srv/none is not there: make it"
        ]
    );
}

#[test]
fn a_folder_that_the_daemon_makes_is_not_missed() {
    let text = format!(
        "[daemon]\nruntime-dir = \"/srv/none\"\n[pool.blog]\nuser = \"blog\"\nsocket-group = \"www-data\"\n{PHP}listen = [\"unix:/srv/none/blog.sock\"]"
    );
    assert_eq!(said_of(&text, &with_nginx(Imagined::root())), [""; 0]);
}

#[test]
fn php_behind_the_shim() {
    let text = format!(
        "[pool.blog]\nuser = \"blog\"\n{PHP}{SOCKET}[shim]\n[[shim.route]]\npath = \"/\"\npool = \"blog\""
    );
    assert_eq!(
        said_of(&text, &with_nginx(Imagined::root())),
        [
            "pool blog: `command` is php-cgi, which runs the script that the host names (SCRIPT_FILENAME), and the shim names none, so that it answers \"No input file specified\": put nginx or Apache in front of this pool"
        ]
    );
}

#[test]
fn a_pool_behind_the_shim_needs_no_web_server() {
    let text = format!(
        "[pool.blog]\nuser = \"blog\"\ncommand = [\"/srv/blog/serve\"]\n{SOCKET}[shim]\n[[shim.route]]\npath = \"/\"\npool = \"blog\""
    );
    assert_eq!(said_of(&text, &with_nginx(Imagined::root())), [""; 0]);
}

#[test]
fn an_application_where_its_account_cannot_go() {
    let machine = with_nginx(Imagined::root());
    let text = format!(
        "[pool.blog]\nuser = \"shop\"\ngroup = \"web\"\n{PORT}wsgi = \"blog:app\"\nhome = \"/home/blog\"\npython-path = [\".\"]"
    );
    assert_eq!(
        said_of(&text, &machine),
        [
            "pool blog: `python-path` is /home/blog, and shop may not enter /home/blog (mode 0700): move it, or run the pool as an account that may"
        ]
    );
}

#[test]
fn a_file_that_its_account_may_not_use() {
    let machine = Imagined::root();
    let pool = |keys: &str| format!("[pool.blog]\nuser = \"shop\"\ngroup = \"web\"\n{PORT}{keys}");
    assert_eq!(
        said_of(&pool("wsgi = \"/srv/blog/closed.py\""), &machine),
        [
            "pool blog: `wsgi` is /srv/blog/closed.py, and shop may not read it (mode 0700): `chmod a+r /srv/blog/closed.py`, or run the pool as an account that may"
        ]
    );
    assert_eq!(
        said_of(&pool("asgi = \"/srv/blog/closed.py\""), &machine),
        [
            "pool blog: `asgi` is /srv/blog/closed.py, and shop may not read it (mode 0700): `chmod a+r /srv/blog/closed.py`, or run the pool as an account that may"
        ]
    );
    assert_eq!(
        said_of(&pool("command = [\"/srv/blog/closed\"]"), &machine),
        [
            "pool blog: `command` is /srv/blog/closed, and shop may not execute it (mode 0700): `chmod a+x /srv/blog/closed`, or run the pool as an account that may"
        ]
    );
}

#[test]
fn a_command_is_told_in_the_words_of_a_command() {
    let machine = Imagined::root().without("stockade");
    let run = Run {
        target: Target::Python(Interface::Wsgi, "blog:application".to_owned()),
        listen: "127.0.0.1:8000".parse().unwrap(),
        processes: None,
        threads: None,
        reload: false,
        files: Vec::new(),
        user: Some("nobody".to_owned()),
        folder: "/home/blog".into(),
        runtime_dir: "/run/stockade-run-1".into(),
        environment: std::collections::BTreeMap::new(),
        own_environment: None,
    };
    let config = without_file(&run, &machine).unwrap_or_else(|error| panic!("{error}"));
    let all: Vec<String> = warnings(&config, &machine)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        all,
        [
            "pool blog: `user` is nobody, which the relay runs as too: its workers are not kept apart from it: choose another with `--user`, or create the relay's own with `useradd --system --no-create-home --shell /usr/sbin/nologin stockade`",
            "pool blog: `python-path` is /home/blog, and nobody may not enter /home/blog (mode 0700): move it, or name an account that may with `--user`"
        ]
    );
}
