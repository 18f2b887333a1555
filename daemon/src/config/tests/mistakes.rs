//! What is said about a wrong file. In each file of `mistakes/`: what is written, and, indented, every sentence it is answered with.

use super::{Imagined, read};

#[test]
fn numbers() {
    check(
        include_str!("mistakes/numbers.txt"),
        &Imagined::root(),
        |text| format!("{BLOG}{text}"),
    );
}

#[test]
fn scale() {
    check(
        include_str!("mistakes/scale.txt"),
        &Imagined::root(),
        |text| format!("{BLOG}{text}"),
    );
}

#[test]
fn cgroup() {
    check(
        include_str!("mistakes/cgroup.txt"),
        &Imagined::root(),
        |text| format!("{BLOG}{text}"),
    );
}

#[test]
fn times() {
    check(
        include_str!("mistakes/times.txt"),
        &Imagined::root(),
        |text| format!("{BLOG}{text}"),
    );
}

#[test]
fn sizes() {
    check(
        include_str!("mistakes/sizes.txt"),
        &Imagined::root(),
        |text| format!("{BLOG}{text}"),
    );
}

#[test]
fn words() {
    check(
        include_str!("mistakes/words.txt"),
        &Imagined::root(),
        |text| format!("{BLOG}{text}"),
    );
}

#[test]
fn files() {
    check(
        include_str!("mistakes/files.txt"),
        &Imagined::root(),
        |text| format!("{BLOG}{text}"),
    );
}

#[test]
fn confinement() {
    check(
        include_str!("mistakes/confinement.txt"),
        &Imagined::root(),
        |text| format!("{BLOG}{text}"),
    );
}

#[test]
fn a_kernel_that_cannot_confine_is_told_of() {
    let mut machine = Imagined::root();
    machine.landlock = false;
    assert_eq!(
        said(&format!("{BLOG}read-only-paths = [\"/srv\"]"), &machine),
        [
            "5:19: pool blog: `read-only-paths` is set, but this kernel cannot confine a process to paths (Landlock, Linux 5.13 or later, `lsm=` on its command line): remove the key"
        ]
    );
    let mut machine = Imagined::blog();
    machine
        .files
        .insert("/proc/sys/user/max_user_namespaces", "0\n");
    assert_eq!(
        said(&format!("{BLOG}private-tmp = true"), &machine),
        [
            "5:15: pool blog: `private-tmp` is true, but this system gives no namespaces to those who are not root (/proc/sys/user/max_user_namespaces is 0): remove the key, or start the daemon as root"
        ]
    );
}

#[test]
fn logging() {
    check(
        include_str!("mistakes/logging.txt"),
        &Imagined::root(),
        |text| format!("{BLOG}{text}"),
    );
}

/// What other programs call it, and keys in another table than theirs.
#[test]
fn peers() {
    check(
        include_str!("mistakes/peers.txt"),
        &Imagined::root(),
        |text| format!("{BLOG}{text}"),
    );
}

#[test]
fn accounts() {
    check(
        include_str!("mistakes/accounts.txt"),
        &Imagined::root(),
        |text| format!("{BLOG}{text}"),
    );
}

#[test]
fn without_root() {
    check(
        include_str!("mistakes/without_root.txt"),
        &Imagined::blog(),
        |text| format!("{BLOG}{text}"),
    );
}

#[test]
fn addresses() {
    check(
        include_str!("mistakes/addresses.txt"),
        &Imagined::root(),
        |text| format!("[pool.blog]\nlisten = {text}\ncommand = [\"php-cgi\"]\nuser = \"blog\"\n"),
    );
}

#[test]
fn kinds() {
    let whole = |input: &str| format!("[pool.blog]\n{input}\n");
    check(include_str!("mistakes/kinds.txt"), &Imagined::root(), whole);
}

#[test]
fn applications() {
    check(
        include_str!("mistakes/applications.txt"),
        &Imagined::root(),
        |text| {
            format!("[pool.blog]\nlisten = [\"unix:/run/blog.sock\"]\nuser = \"blog\"\n{text}\n")
        },
    );
}

#[test]
fn preload() {
    check(
        include_str!("mistakes/preload.txt"),
        &Imagined::root(),
        |text| {
            format!("[pool.blog]\nlisten = [\"unix:/run/blog.sock\"]\nuser = \"blog\"\n{text}\n")
        },
    );
}

#[test]
fn users() {
    check(
        include_str!("mistakes/users.txt"),
        &Imagined::root(),
        |text| {
            format!(
                "[pool.blog]\nlisten = [\"unix:/run/blog.sock\"]\nwsgi = \"blog.wsgi:application\"\n{text}\n"
            )
        },
    );
}

#[test]
fn the_daemon() {
    check(
        include_str!("mistakes/the_daemon.txt"),
        &Imagined::root(),
        |text| format!("[daemon]\n{text}\n{BLOG}"),
    );
}

#[test]
fn the_shim() {
    check(
        include_str!("mistakes/the_shim.txt"),
        &Imagined::root(),
        |text| format!("{BLOG}[shim]\n{text}\n"),
    );
}

#[test]
fn tables() {
    check(
        include_str!("mistakes/tables.txt"),
        &Imagined::root(),
        str::to_owned,
    );
}

#[test]
fn keys_that_have_no_meaning() {
    check(
        include_str!("mistakes/keys_that_have_no_meaning.txt"),
        &Imagined::root(),
        str::to_owned,
    );
}

#[test]
fn the_line_is_shown_and_the_place_in_it_marked() {
    let text = BLOG
        .replace("user = ", "\t\u{e4}ser = 1 #\nuser = ")
        .replace("[\"", "[\n  \"");
    let text = format!("{text}\n\tproceses = 'x'\n");
    assert_eq!(
        read(
            &text.replace("\u{e4}ser", "\"\u{e4}ser\""),
            &Imagined::root()
        )
        .unwrap_err()
        .to_string(),
        "stockade.toml:5:2: pool blog: unknown key `\u{e4}ser`: did you mean `user`?
  5 | \t\"\u{e4}ser\" = 1 #
    | \t^^^^^^
stockade.toml:8:2: pool blog: unknown key `proceses`: did you mean `processes`?
  8 | \tproceses = 'x'
    | \t^^^^^^^^"
    );
    let text = BLOG.replace("listen = [\"unix:/run/blog.sock\"]", "listen = {\n}");
    assert_eq!(
        read(&text, &Imagined::root()).unwrap_err().to_string(),
        "stockade.toml:2:10: pool blog: `listen` is a table, but must be a list of strings
  2 | listen = {
    |          ^"
    );
    assert_eq!(
        read("", &Imagined::root()).unwrap_err().to_string(),
        "stockade.toml: there is no pool: add a table [pool.NAME]"
    );
}

#[test]
fn pools_are_compared() {
    let other = BLOG.replace("[pool.blog]", "[pool.admin]");
    assert_eq!(
        said(&format!("{BLOG}{other}"), &Imagined::root()),
        [
            "2:11: pool blog: `listen` has unix:/run/blog.sock, where pool admin listens already: give each pool an address of its own"
        ]
    );
    let defaults = BLOG.replace("[pool.blog]", "[defaults]");
    assert_eq!(
        said(
            &format!("{defaults}[pool.a]\n[pool.b]\n"),
            &Imagined::root()
        ),
        [
            "2:11: [defaults]: `listen` has unix:/run/blog.sock for pool a and pool b: give each pool an address of its own"
        ]
    );
}

#[test]
fn a_mistake_in_the_defaults_is_told_once() {
    let text = "[defaults]\nuser = \"nosuch\"\nwsgi = \"a:b\"\n[pool.a]\nlisten = [\"unix:/a\"]\n[pool.b]\nlisten = [\"unix:/b\"]\n";
    assert_eq!(
        said(text, &Imagined::root()),
        [
            "2:8: [defaults]: `user` is \"nosuch\", a user that does not exist: correct the name, or create it with `useradd --system nosuch`"
        ]
    );
}

#[test]
fn defaults_that_do_not_do_are_refused() {
    assert_eq!(
        said(BLOG, &Imagined::root().without("stockade")),
        [
            "[daemon]: `relay-user` is \"stockade\", an account that does not exist: create it with `useradd --system --no-create-home --shell /usr/sbin/nologin stockade`"
        ]
    );
    assert_eq!(
        said(BLOG, &Imagined::root().with("PATH", "/nowhere:bin")),
        [
            "1:7: pool blog: there is no python3 in PATH: install it, or name a virtual environment or an interpreter with `python-home`"
        ]
    );
    let long = "/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    let expected = format!(
        "[daemon]: `runtime-dir` is {long}/stockade, 79 bytes long, too long for the paths of the workers' sockets in it: use one of at most 78 bytes"
    );
    assert_eq!(
        said(BLOG, &Imagined::blog().with("XDG_RUNTIME_DIR", long)),
        [expected]
    );
}

fn check(table: &str, surroundings: &Imagined, whole: impl Fn(&str) -> String) {
    let cases = cases(table);
    assert!(cases.len() > 1);
    for (input, expected) in cases {
        assert_eq!(said(&whole(&input), surroundings), expected, "{input}");
    }
}

/// The sentences about `text`, with line and column.
fn said(text: &str, surroundings: &Imagined) -> Vec<String> {
    match read(text, surroundings) {
        Ok(_) => Vec::new(),
        Err(wrong) => wrong
            .to_string()
            .lines()
            .filter_map(|line| line.strip_prefix("stockade.toml:"))
            .map(|sentence| sentence.trim_start().to_owned())
            .collect(),
    }
}

/// What is written, and the indented lines below it.
fn cases(table: &str) -> Vec<(String, Vec<String>)> {
    table
        .split("\n\n")
        .map(|case| {
            let (sentences, input): (Vec<&str>, Vec<&str>) =
                case.lines().partition(|line| line.starts_with("  "));
            let sentences = sentences.iter().map(|line| line.trim().to_owned());
            (input.join("\n").trim().to_owned(), sentences.collect())
        })
        .collect()
}

const BLOG: &str = "[pool.blog]\nlisten = [\"unix:/run/blog.sock\"]\nwsgi = \"blog.wsgi:application\"\nuser = \"blog\"\n";
