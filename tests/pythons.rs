//! Every Python that this machine has: those that can run the adapter do, and pass its tests; the others are refused with the reason.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use crate::support::{
    built,
    fcgi::Fcgi,
    process::command,
    site::{self, Site},
    stockade::{Pool, Stockade},
    tools,
};

/// What a Python says of itself, in words that every one understands; the application's page is the same.
const ASK: &str = r#"
import sys
def who():
    name = getattr(getattr(sys, "implementation", None), "name", "cpython")
    return "%s %d.%d %s" % ((name,) + tuple(sys.version_info[:2]) + (getattr(sys, "abiflags", "") or "-",))
"#;

const PAGE: &str = r#"
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [who().encode()]
"#;

/// The system's Python, saying that it is a free-threaded build. It would serve if it were not refused.
const FREE_THREADED: &str = r#"#!/usr/bin/python3
import sys
sys.abiflags = "t"
bootstrap = sys.argv[2]
sys.argv[:] = ["-c"] + sys.argv[3:]
exec(bootstrap)
"#;

#[test]
fn every_python_that_can_serve_does() {
    let pythons = Pythons::find();
    let able: Vec<&Python> = pythons.able().collect();
    let site = Site::new();
    site.write("who.py", &format!("{ASK}{PAGE}"));
    let pools: Vec<Pool> = able.iter().map(|python| python.pool(&site)).collect();
    let stockade = Stockade::ready(site, &pools);
    for python in able {
        let answer = Fcgi::connect(&stockade.socket(&python.pool)).get("");
        assert_eq!(answer.body(), python.said, "{}", python.program.display());
    }
}

#[test]
fn every_other_python_is_refused_with_the_reason() {
    let mut pythons = Pythons::find();
    pythons.pretend_free_threads();
    let others: Vec<&Python> = pythons.unable().collect();
    let site = Site::new();
    site.write("who.py", &format!("{ASK}{PAGE}"));
    let pools: Vec<Pool> = others.iter().map(|python| python.pool(&site)).collect();
    let stockade = Stockade::serve(site, &pools);
    for python in others {
        let pool = format!("pool {}: ", python.pool);
        let reason = python.refusal().expect("it is one of those");
        let sentence = format!("cannot run the adapter: {reason}");
        stockade.log.wait(&[&pool, &sentence]);
        stockade.log.wait(&[&pool, "gone", "exit-code 5"]);
    }
}

#[test]
fn every_python_passes_the_adapters_tests() {
    let pythons = Pythons::find();
    let system = fs::canonicalize(tools::python()).expect("it is there");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python");
    // the system's own is what `make test` runs them with
    for python in pythons.able().filter(|python| python.program != system) {
        let mut tests = command(tools::python());
        tests
            .args(["-m", "unittest", "discover", "--start-directory"])
            .arg(&folder)
            .env(
                "STOCKADE_ADAPTER",
                built::stockade().with_file_name("libstockade_python.so"),
            )
            .env("STOCKADE_PYTHON", &python.program);
        if let Some(libraries) = &python.libraries {
            tests.env("LD_LIBRARY_PATH", libraries);
        }
        let output = tests.output().expect("Python can be started");
        assert!(
            output.status.success(),
            "{} ({}):\n{}",
            python.program.display(),
            python.said,
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// Those of this machine.
struct Pythons {
    all: Vec<Python>,
    /// Holds copies of those that the accounts of pools cannot get at.
    site: Site,
}

struct Python {
    /// The pool that it is for.
    pool: String,
    program: PathBuf,
    /// Where a copy finds its library.
    libraries: Option<PathBuf>,
    /// What it is.
    said: String,
}

impl Pythons {
    /// By the names they have in PATH, and those of pyenv. The debug build and PyPy must be there.
    fn find() -> Self {
        let mut programs: BTreeSet<PathBuf> =
            [tools::python(), tools::python_debug(), tools::pypy()]
                .into_iter()
                .chain(in_path())
                .chain(of_pyenv())
                .filter_map(|program| fs::canonicalize(program).ok())
                .collect();
        programs.retain(|program| said(program).is_some());
        let site = Site::new();
        let all: Vec<Python> = programs
            .iter()
            .enumerate()
            .map(|(number, program)| Python::new(&site, number, program))
            .collect();
        let pythons = Self { all, site };
        assert!(
            pythons.able().count() >= 2,
            "the system's and its debug build"
        );
        pythons
    }

    fn pretend_free_threads(&mut self) {
        self.all.push(Python {
            pool: "free-threaded".to_owned(),
            program: self.site.program("python3t", FREE_THREADED),
            libraries: None,
            said: "cpython 3.13 t".to_owned(),
        });
    }

    fn able(&self) -> impl Iterator<Item = &Python> {
        self.all.iter().filter(|python| python.refusal().is_none())
    }

    fn unable(&self) -> impl Iterator<Item = &Python> {
        self.all.iter().filter(|python| python.refusal().is_some())
    }
}

impl Python {
    fn new(site: &Site, number: usize, program: &Path) -> Self {
        let said = said(program).expect("it has answered before");
        let pool = format!("python-{number}");
        let home = program.ancestors().nth(2).expect("a program is in a bin");
        if !site::closed_to_accounts(program) {
            let (program, libraries) = (program.to_owned(), None);
            return Self {
                pool,
                program,
                libraries,
                said,
            };
        }
        let copy = site.path().join(&pool);
        // links where that is possible: some of them are large
        let copied = ["-al", "-a"].iter().any(|how| {
            let copied = command("cp")
                .arg(how)
                .args(["-T"])
                .args([home, &copy])
                .output();
            copied.is_ok_and(|output| output.status.success())
        });
        assert!(copied, "could not copy {}", home.display());
        let program = copy.join(program.strip_prefix(home).expect("it is below"));
        let libraries = Some(copy.join("lib"));
        Self {
            pool,
            program,
            libraries,
            said,
        }
    }

    /// Why it cannot run the adapter, in the words of the log.
    fn refusal(&self) -> Option<String> {
        let words: Vec<&str> = self.said.split(' ').collect();
        let &[name, version, flags] = &*words else {
            panic!("{}", self.said);
        };
        let (major, minor) = version.split_once('.').expect("a version has two numbers");
        let number = |text: &str| text.parse::<u32>().expect("it is made of numbers");
        if (number(major), number(minor)) < (3, 9) {
            Some(format!("it is Python {version}; 3.9 or later is needed"))
        } else if name != "cpython" {
            Some(format!("it is {name}; CPython is needed"))
        } else if flags.contains('t') {
            Some("it is a free-threaded build, which is not supported".to_owned())
        } else {
            None
        }
    }

    fn pool(&self, site: &Site) -> Pool {
        let libraries = self.libraries.as_ref().map_or_else(String::new, |folder| {
            format!("environment = {{ LD_LIBRARY_PATH = {folder:?} }}\n")
        });
        Pool::new(&format!(
            "wsgi = \"who:application\"\npython-home = {:?}\npython-path = [{:?}]\nprocesses = 1\n{libraries}",
            self.program,
            site.path()
        ))
        .named(&self.pool)
    }
}

/// What a program answers that has the name of a Python; none when it is none, or does not start.
fn said(program: &Path) -> Option<String> {
    let output = command(program)
        .args(["-c", &format!("{ASK}print(who())")])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success()).then(|| text.trim().to_owned())
}

fn in_path() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        // scripts that start one or another
        .filter(|folder| !folder.ends_with("shims"))
        .flat_map(entries)
        .filter(|program| {
            let name = program.file_name().map(|name| name.to_string_lossy());
            name.is_some_and(|name| is_python(&name))
        })
        .collect()
}

/// `python3`, `python3.13t`, `python3.11-dbg`, `pypy3.9`; not `python3-config`.
fn is_python(name: &str) -> bool {
    let version = name
        .strip_prefix("python")
        .or_else(|| name.strip_prefix("pypy"));
    version.is_some_and(|version| {
        version
            .trim_end_matches("-dbg")
            .trim_end_matches(['d', 't'])
            .chars()
            .all(|letter| letter.is_ascii_digit() || letter == '.')
    })
}

fn of_pyenv() -> Vec<PathBuf> {
    let own = env::var_os("HOME").map(|home| Path::new(&home).join(".pyenv"));
    let root = env::var_os("PYENV_ROOT").map(PathBuf::from).or(own);
    root.into_iter()
        .flat_map(|root| entries(root.join("versions")))
        .map(|version| version.join("bin/python"))
        .collect()
}

fn entries(folder: impl AsRef<Path>) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}
