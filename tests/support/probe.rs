//! A Python worker that does what it is asked.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::{
    site::Site,
    stockade::{Pool, Stockade},
    tools,
};

/// The query string is an expression; the answer its value, or the number of what the system answered.
pub(crate) const PROBE: &str = r#"
import os, subprocess, sys
from urllib.parse import unquote

def attempt(action):
    try:
        return repr(action())
    except OSError as error:
        return "errno %d" % error.errno

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    expression = unquote(environ["QUERY_STRING"])
    return [attempt(lambda: eval(expression)).encode()]
"#;

/// A pool `app` of one.
pub(crate) fn probe(site: &Site, keys: &str) -> Pool {
    // Python workers may read the folder of their application
    let folder = site.path().join("probe");
    if !folder.exists() {
        fs::create_dir(&folder).expect("the test's folder can be written to");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))
            .expect("the folder is ours");
    }
    let file = site.write("probe/probe.py", PROBE);
    Pool::new(&format!(
        "wsgi = {:?}\npython-home = {:?}\nprocesses = 1\nbackoff-initial = \"50ms\"\n{keys}",
        file.display().to_string(),
        tools::python().display().to_string()
    ))
}

/// What the worker of the pool `app` answers.
pub(crate) fn eval(stockade: &Stockade, expression: &str) -> String {
    eval_in(stockade, "app", expression)
}

/// What the worker of this pool answers.
pub(crate) fn eval_in(stockade: &Stockade, pool: &str, expression: &str) -> String {
    let encoded: String = expression
        .bytes()
        .map(|byte| format!("%{byte:02x}"))
        .collect();
    let mut host = super::fcgi::Fcgi::connect(&stockade.socket(pool));
    let answer = host.get(&encoded);
    assert_eq!(answer.status(), 200, "{expression}: {answer:?}");
    answer.body()
}
