//! What the tests need from the system. A missing program is a failure that says how to get it, never a test left out.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use nix::unistd::{User, geteuid};

use super::process::command;

/// The account that pools and hosts run as when the tests are root; Debian's nginx and base-passwd have it.
pub(crate) const POOL_USER: &str = "www-data";
/// The account of the relay when the tests are root.
pub(crate) const RELAY_USER: &str = "stockade";

/// Whether the tests run as root, so that everything else must become somebody.
pub(crate) fn root() -> bool {
    geteuid().is_root()
}

/// The account `name`, which must exist.
pub(crate) fn account(name: &str) -> User {
    User::from_name(name)
        .expect("the accounts can be read")
        .unwrap_or_else(|| {
            panic!(
                "as root the tests need the account {name}: useradd --system --user-group --no-create-home --shell /usr/sbin/nologin {name}"
            )
        })
}

/// nginx.
pub(crate) fn nginx() -> PathBuf {
    program("nginx", "apt-get install nginx")
}

/// Apache.
pub(crate) fn apache() -> PathBuf {
    program("apache2", "apt-get install apache2-bin")
}

/// logrotate.
pub(crate) fn logrotate() -> PathBuf {
    program("logrotate", "apt-get install logrotate")
}

/// Caddy.
pub(crate) fn caddy() -> PathBuf {
    program("caddy", "apt-get install caddy")
}

/// HAProxy.
pub(crate) fn haproxy() -> PathBuf {
    program("haproxy", "apt-get install haproxy")
}

/// lighttpd.
pub(crate) fn lighttpd() -> PathBuf {
    program("lighttpd", "apt-get install lighttpd")
}

/// php-cgi.
pub(crate) fn php_cgi() -> PathBuf {
    program("php-cgi", "apt-get install php-cgi")
}

/// The C compiler; with it, the header that says libfcgi can be linked.
pub(crate) fn cc() -> PathBuf {
    assert!(
        Path::new("/usr/include/fcgiapp.h").exists(),
        "libfcgi's headers are missing: apt-get install libfcgi-dev"
    );
    program("cc", "apt-get install gcc libc6-dev")
}

/// Perl, with FCGI.pm.
pub(crate) fn perl() -> PathBuf {
    let perl = program("perl", "apt-get install perl");
    let found = command(&perl).args(["-MFCGI", "-e", "1"]).status();
    assert!(
        found.is_ok_and(|status| status.success()),
        "FCGI.pm is missing: apt-get install libfcgi-perl"
    );
    perl
}

/// The Go compiler.
pub(crate) fn go() -> PathBuf {
    program("go", "apt-get install golang-go")
}

/// The system's Python: readable by every account, which one from a personal installation seldom is.
pub(crate) fn python() -> PathBuf {
    let python = PathBuf::from("/usr/bin/python3");
    assert!(
        python.exists(),
        "{} is missing: apt-get install python3",
        python.display()
    );
    python
}

/// The system's Python as a debug build, which aborts at much that others let pass.
pub(crate) fn python_debug() -> PathBuf {
    program("python3-dbg", "apt-get install python3-dbg")
}

/// PyPy.
pub(crate) fn pypy() -> PathBuf {
    program("pypy3", "apt-get install pypy3")
}

/// The virtual environment with Django.
pub(crate) fn django_environment() -> PathBuf {
    python_environment("django")
}

/// The virtual environment, which must have this package: `STOCKADE_TEST_VENV`, else `target/venv`, where `make test` puts it.
pub(crate) fn python_environment(package: &str) -> PathBuf {
    let environment = env::var_os("STOCKADE_TEST_VENV").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv"),
        PathBuf::from,
    );
    let found = fs::read_dir(environment.join("lib"))
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .any(|version| version.path().join("site-packages").join(package).is_dir());
    assert!(
        found,
        "{package} is missing: /usr/bin/python3 -m venv {0} && {0}/bin/pip install -r tests/requirements.txt",
        environment.display()
    );
    environment
}

fn program(name: &str, remedy: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        // an ordinary user's PATH seldom has these two
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| panic!("{name} is missing: {remedy}"))
}
