//! The wheel: made from what is built, installed into an environment of its own, used as a newcomer would, and taken out again.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{built, process::command, running::Running, site::Site, tools};

const HELLO: &str = r#"
import sys
import stockade

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    outside = getattr(stockade, "active", True) is False
    return [("%s %s" % (sys.prefix, "outside" if outside else "inside")).encode()]
"#;

#[test]
fn a_wheel_brings_command_adapter_and_module_and_leaves_nothing() {
    let site = Site::new();
    let wheel = build(&site);
    let environment = site.path().join("venv");
    succeed(
        command(tools::python())
            .args(["-m", "venv"])
            .arg(&environment),
    );
    let before = files(&environment);
    pip(&environment, &["install", "--no-index"], Some(&wheel));

    let version = succeed(command(environment.join("bin/stockade")).arg("--version"));
    assert_eq!(
        version,
        concat!("stockade ", env!("CARGO_PKG_VERSION"), "\n")
    );
    let outside = "import stockade; print(stockade.active, stockade.RequestTimeout.__name__)";
    let said = succeed(command(environment.join("bin/python")).args(["-c", outside]));
    assert_eq!(said, "False RequestTimeout\n");
    serves_with_its_own_python(&environment);

    pip(&environment, &["uninstall", "--yes", "stockade"], None);
    let left: Vec<_> = files(&environment).difference(&before).cloned().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Without an activated environment, and with nothing of Stockade but what the wheel brought.
fn serves_with_its_own_python(environment: &Path) {
    let site = Site::new();
    site.write("hello.py", HELLO);
    let binary = environment.join("bin/stockade");
    let words = ["hello:application", "--listen", "127.0.0.1:0"];
    let mut running = Running::start_installed(site, &binary, &words);
    let response = running.client().get("/");
    let expected = format!("{} inside", environment.display());
    assert_eq!((response.status, response.text()), (200, expected));
    running.interrupt();
    assert_eq!(running.wait_exit().code(), Some(0));
}

/// From the profile that the tests are built with, so that nothing but the command's own crate is compiled again.
fn build(site: &Site) -> PathBuf {
    let folder = built::stockade()
        .parent()
        .expect("the binary lies in its profile's folder");
    let target = folder
        .parent()
        .expect("a profile's folder lies in the target folder");
    let tools = tools::python_environment("maturin").join("bin");
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([tools.clone()].into_iter().chain(env::split_paths(&path)))
        .expect("the folders of PATH have been joined before");
    succeed(
        command(tools.join("python"))
            .args(["-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps"])
            .args(["--no-build-isolation", "--disable-pip-version-check"])
            .args([
                "--config-settings",
                &format!("profile={}", built::profile(folder)),
            ])
            .arg("--wheel-dir")
            .args([site.path(), Path::new(env!("CARGO_MANIFEST_DIR"))])
            .env("PATH", path)
            // what is built goes to a folder of its own: the other tests run the command, so its file must stay
            .env("CARGO_BUILD_BUILD_DIR", target)
            .env("CARGO_TARGET_DIR", target.join("wheel-built")),
    );
    let wheel = fs::read_dir(site.path())
        .expect("the folder is ours")
        .map(|entry| entry.expect("the folder can be read").path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .expect("pip has made a wheel");
    let name = wheel.file_name().map(|name| name.to_string_lossy());
    let tag = concat!("stockade-", env!("CARGO_PKG_VERSION"), "-py3-none-linux_");
    assert!(name.is_some_and(|name| name.starts_with(tag)), "{wheel:?}");
    wheel
}

fn pip(environment: &Path, words: &[&str], wheel: Option<&Path>) {
    succeed(
        command(environment.join("bin/python"))
            .args(["-m", "pip", "--quiet", "--disable-pip-version-check"])
            .args(words)
            .args(wheel)
            // else pip leaves its own behind
            .env("PYTHONDONTWRITEBYTECODE", "1"),
    );
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().expect("the program can be started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Every file and folder below.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the environment can be read") {
            let entry = entry.expect("the environment can be read");
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
            found.insert(entry.path());
        }
    }
    found
}
