//! The programs under test, and those that cargo does not build for a test by itself: the adapter's library, which must lie beside the
//! binary, the scripted worker, and the example in Rust.

use std::{
    env,
    fs::File,
    io::{Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use nix::fcntl::{Flock, FlockArg};

use super::process::command;

/// The built command.
pub(crate) fn stockade() -> &'static Path {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(build_once_a_run);
    Path::new(env!("CARGO_BIN_EXE_stockade"))
}

/// The built scripted worker.
pub(crate) fn scripted_worker() -> PathBuf {
    profile_folder(stockade()).join("examples/scripted-worker")
}

/// The built program of `examples/rust`.
pub(crate) fn example() -> PathBuf {
    profile_folder(stockade()).join("hello")
}

/// nextest gives every test a process of its own: the first of a run builds, the others wait for it and find its mark.
fn build_once_a_run() {
    let folder = profile_folder(Path::new(env!("CARGO_BIN_EXE_stockade")));
    let mark = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(folder.join("tests-built-for-run"))
        .expect("the target folder can be written to");
    let mut mark =
        Flock::lock(mark, FlockArg::LockExclusive).expect("a file of ours can be locked");
    let run = env::var("NEXTEST_RUN_ID").unwrap_or_default();
    let mut built = String::new();
    mark.read_to_string(&mut built).expect("the mark is text");
    if !run.is_empty() && built == run {
        return;
    }
    build(
        folder,
        &[
            "--package",
            "stockade-python",
            "--package",
            "stockade-example-rust",
        ],
    );
    build(
        folder,
        &["--package", "stockade", "--example", "scripted-worker"],
    );
    mark.set_len(0).expect("the mark is ours");
    mark.rewind().expect("the mark is a file");
    mark.write_all(run.as_bytes()).expect("the mark is ours");
}

fn build(folder: &Path, what: &[&str]) {
    let target = folder
        .parent()
        .expect("a profile's folder lies in the target folder");
    let output = command(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--profile", profile(folder)])
        .args(what)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_TARGET_DIR", target)
        .output()
        .expect("cargo runs this test, so it can be started");
    assert!(
        output.status.success(),
        "cargo build {what:?} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The profile whose folder this is: target/debug is dev's, every other is called as its profile.
pub(crate) fn profile(folder: &Path) -> &str {
    match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    }
}

fn profile_folder(binary: &Path) -> &Path {
    binary
        .parent()
        .expect("the binary lies in its profile's folder")
}
