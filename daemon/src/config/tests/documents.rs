//! conf/stockade.toml and docs/configuration.md have every key of the code, and no other.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use super::{Imagined, read};
use crate::config::{
    file::{DaemonKeys, PoolKeys, RouteKeys, ShimKeys},
    resolved::Config,
    subtables::{CgroupKeys, ReloadKeys, ScaleKeys},
    warnings::warnings,
};

#[test]
fn the_example_is_accepted_and_what_it_leaves_out_is_the_default() {
    let example = repository_file("conf/stockade.toml");
    let as_it_is = accepted(&example);
    let uncommented: Vec<&str> = example
        .lines()
        .map(|line| {
            if key(line).is_some() {
                line.trim_start_matches('#')
            } else {
                line
            }
        })
        .collect();
    assert_eq!(accepted(&uncommented.join("\n")), as_it_is);
}

#[test]
fn the_example_has_every_key() {
    let example = repository_file("conf/stockade.toml");
    let (daemon, pools) = example
        .split_once("[defaults]")
        .expect("the example has [defaults]");
    let (pools, shim) = pools.split_once("[shim]").expect("the example has [shim]");
    let (shim, routes) = shim
        .split_once("[[shim.route]]")
        .expect("the example has [[shim.route]]");
    let keys = |text: &str| text.lines().filter_map(key).map(str::to_owned).collect();
    assert_eq!(set(DaemonKeys::KEYS), keys(daemon));
    // each table in a pool's ends where the pool's own goes on
    let (mut own, mut inner) = (String::new(), BTreeMap::<&str, String>::new());
    for part in pools.split("\n[") {
        let heading = part.split(']').next().unwrap_or_default();
        match heading.split('.').nth(2) {
            Some(table) => inner.entry(table).or_default().push_str(part),
            None => own.push_str(part),
        }
    }
    assert_eq!(set(PoolKeys::KEYS), keys(&own));
    assert_eq!(
        set(PoolKeys::TABLES),
        inner.keys().map(|key| (*key).to_owned()).collect()
    );
    for (table, known) in TABLES {
        assert_eq!(set(known), keys(&inner[table]));
    }
    assert_eq!(set(ShimKeys::KEYS), keys(shim));
    assert_eq!(set(RouteKeys::KEYS), keys(routes));
}

#[test]
fn the_documentation_has_every_key() {
    let document = repository_file("docs/configuration.md");
    let (daemon, pools) = document
        .split_once("## `[defaults]`")
        .expect("the document has [defaults]");
    let (pools, shim) = pools
        .split_once("## `[shim]`")
        .expect("the document has [shim]");
    let (shim, routes) = shim
        .split_once("### `[[shim.route]]`")
        .expect("the document has [[shim.route]]");
    assert_eq!(set(DaemonKeys::KEYS), described(daemon));
    let mut parts = pools.split("### `[pool.NAME.");
    assert_eq!(
        set(PoolKeys::KEYS),
        described(parts.next().unwrap_or_default())
    );
    for (part, (table, known)) in parts.zip(TABLES) {
        let inner = part.split("\n### ").next().unwrap_or_default();
        assert!(inner.starts_with(&format!("{table}]`")), "{inner}");
        assert_eq!(set(known), described(inner));
    }
    assert_eq!(set(ShimKeys::KEYS), described(shim));
    assert_eq!(set(RouteKeys::KEYS), described(routes));
}

#[test]
fn the_smallest_one_of_the_documentation_gives_no_reason() {
    let document = repository_file("docs/configuration.md");
    let (_, rest) = document.split_once("```toml\n").expect("it has one");
    let (smallest, _) = rest.split_once("```").expect("it ends");
    let mut machine = Imagined::root();
    let mut host = machine.users[2].clone();
    (host.name, host.uid, host.gid) = ("www-data".to_owned(), 33, 33);
    machine.users.push(host);
    let config = read(smallest, &machine).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(warnings(&config, &machine), []);
}

#[test]
fn no_key_is_both_supported_and_not() {
    for (keys, later) in [
        (DaemonKeys::KEYS, DaemonKeys::LATER),
        (PoolKeys::KEYS, PoolKeys::LATER),
        (ShimKeys::KEYS, ShimKeys::LATER),
        (ScaleKeys::KEYS, ScaleKeys::LATER),
        (ReloadKeys::KEYS, ReloadKeys::LATER),
        (CgroupKeys::KEYS, CgroupKeys::LATER),
    ] {
        let all: BTreeSet<_> = keys.iter().chain(later).collect();
        assert_eq!(all.len(), keys.len() + later.len());
    }
}

/// The tables in a pool's table, in the order of the document.
const TABLES: [(&str, &[&str]); 3] = [
    ("scale", ScaleKeys::KEYS),
    ("reload", ReloadKeys::KEYS),
    ("cgroup", CgroupKeys::KEYS),
];

/// The key that a line of the example sets, commented out or not.
fn key(line: &str) -> Option<&str> {
    let (key, _) = line.trim_start_matches('#').split_once(" = ")?;
    let plain = |c: char| c.is_ascii_lowercase() || c == '-';
    (!key.is_empty() && key.chars().all(plain)).then_some(key)
}

/// The keys in the first column of the document's tables.
fn described(document: &str) -> BTreeSet<String> {
    document
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(key, _)| key.to_owned())
        .collect()
}

fn accepted(text: &str) -> Config {
    let mut machine = Imagined::root();
    let mut forms = machine.users[2].clone();
    forms.name = "forms".to_owned();
    machine.users.push(forms);
    read(text, &machine).unwrap_or_else(|error| panic!("{error}"))
}

fn set(keys: &[&str]) -> BTreeSet<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

fn repository_file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
