//! Files with pools beside the first one.

use std::{fs, path::Path};

use super::Imagined;
use crate::config::{ConfigErrors, check, resolved::Config};

const POOL: &str = "user = \"blog\"\nsocket-group = \"web\"\ncommand = [\"php-cgi\"]\n";

#[test]
fn pools_of_other_files_are_pools_and_take_the_defaults() {
    let folder = folder(&[
        ("a.toml", &pool("a", "")),
        (
            "b.toml",
            &format!("# of b\n\n{}", pool("b", "processes = 7\n")),
        ),
        ("other.txt", "this is not read"),
    ]);
    let main = format!(
        "include = [\"pools.d/*.toml\"]\n[defaults]\nprocesses = 3\n{}",
        pool("m", "")
    );
    let config = read(folder.path(), &main).unwrap_or_else(|error| panic!("{error}"));
    let found: Vec<(&str, u32)> = (config.pools.iter())
        .map(|pool| (pool.name.as_str(), pool.processes))
        .collect();
    assert_eq!(found, [("a", 3), ("b", 7), ("m", 3)]);
}

#[test]
fn a_pattern_may_lead_nowhere_and_a_name_may_not() {
    let folder = folder(&[]);
    let main = format!("include = [\"pools.d/*.toml\"]\n{}", pool("m", ""));
    assert!(read(folder.path(), &main).is_ok());
    let main = format!("include = [\"pools.d/a.toml\"]\n{}", pool("m", ""));
    assert_wrong(
        folder.path(),
        &main,
        "stockade.toml:1:12: `include` names ",
        "make it readable",
    );
    let main = format!("include = 3\n{}", pool("m", ""));
    assert_wrong(
        folder.path(),
        &main,
        "stockade.toml:1:11: `include` is to be a list",
        "",
    );
}

#[test]
fn what_is_wrong_is_told_with_the_file_that_it_is_in() {
    for (text, place, words) in [
        (
            pool("a", "proceses = 1\n"),
            ":6:1: pool a: unknown key",
            "did you mean `processes`?",
        ),
        (
            format!("{}processes = \n", pool("a", "")),
            ":6:",
            "this is not TOML",
        ),
        (
            "processes = 3\n".to_owned() + &pool("a", ""),
            ":1:1: ",
            "nothing else",
        ),
        (
            format!("{}[daemon]\n", pool("a", "")),
            ":6:2: ",
            "nothing else",
        ),
        (
            "pool.a.processes = 3\n".to_owned(),
            ":1:1: ",
            "nothing else",
        ),
        (
            pool("m", ""),
            ":1:7: pool m is in ",
            "stockade.toml:2 already",
        ),
        (pool("b", ""), "", "pools.d/a.toml:1 already"),
    ] {
        let folder = folder(&[("a.toml", &text), ("b.toml", &pool("b", ""))]);
        let main = format!("include = [\"pools.d/*.toml\"]\n{}", pool("m", ""));
        let place = if place.is_empty() {
            "pools.d/b.toml:1:7: pool b is in ".to_owned()
        } else {
            format!("pools.d/a.toml{place}")
        };
        assert_wrong(folder.path(), &main, &place, words);
    }
}

fn pool(name: &str, keys: &str) -> String {
    format!("[pool.{name}]\nlisten = [\"unix:/run/{name}.sock\"]\n{POOL}{keys}")
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("pools.d")).unwrap();
    for (name, text) in files {
        fs::write(folder.path().join("pools.d").join(name), text).unwrap();
    }
    folder
}

fn read(folder: &Path, main: &str) -> Result<Config, ConfigErrors> {
    let path = folder.join("stockade.toml");
    fs::write(&path, main).unwrap();
    check(&path, &Imagined::root()).map(|checked| checked.config)
}

fn assert_wrong(folder: &Path, main: &str, place: &str, words: &str) {
    let errors = read(folder, main).unwrap_err();
    let sentences = errors.sentences();
    assert!(
        sentences
            .iter()
            .any(|each| each.contains(place) && each.contains(words)),
        "{place} {words}: {sentences:?}"
    );
}
