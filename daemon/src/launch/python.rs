//! How a Python worker is started: the interpreter, the bootstrap that loads the adapter, and the adapter's arguments.
//!
//! `argv[0]` is the interpreter's path: Python finds its virtual environment by it. The adapter comes as a descriptor
//! (`STOCKADE_ADAPTER_FD`), so that the account needs no way to the folder it is installed in.

use std::path::{Path, PathBuf};

use crate::config::{resolved::Deadlines, start::Start};

/// What the interpreter runs.
const BOOTSTRAP: &str = include_str!("bootstrap.py");

/// The worker's arguments, `argv[0]` included. Behind the bootstrap: words `key=value`, named after the pool's keys, times in
/// milliseconds.
#[must_use]
pub fn arguments(
    interpreter: &Path,
    target: &str,
    python_path: &[PathBuf],
    threads: u32,
    mount: &str,
    deadlines: &Deadlines,
) -> Vec<String> {
    let mut arguments = vec![
        interpreter.to_string_lossy().into_owned(),
        "-c".to_owned(),
        BOOTSTRAP.to_owned(),
        format!("wsgi={target}"),
        format!("threads={threads}"),
        format!("mount={mount}"),
    ];
    for (name, limit) in [
        ("interrupt-timeout", deadlines.interrupt_timeout),
        ("deadlock-timeout", deadlines.deadlock_timeout),
    ] {
        if let Some(limit) = limit.0 {
            arguments.push(format!("{name}={}", limit.as_millis()));
        }
    }
    arguments.extend(
        python_path
            .iter()
            .map(|entry| format!("python-path={}", entry.display())),
    );
    arguments
}

/// What follows of the keys about a worker's start.
#[must_use]
pub fn of_start(start: &Start) -> Vec<String> {
    let title = start.display_name.as_ref();
    let owner = |key: &str, number: Option<u32>| number.map(|number| format!("{key}={number}"));
    [
        title.map(|title| format!("display-name={title}")),
        owner("script-user", start.script_user),
        owner("script-group", start.script_group),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use stockade_policy::Limit;

    use super::*;

    #[test]
    fn the_interpreter_comes_first_and_the_keys_behind_the_bootstrap() {
        let path = [PathBuf::from("/srv/blog"), PathBuf::from("/srv/lib")];
        let arguments = arguments(
            Path::new("/venv/bin/python3"),
            "blog.wsgi",
            &path,
            4,
            "/shop",
            &Deadlines {
                response_timeout: Limit::OFF,
                total_timeout: Limit::OFF,
                connect_timeout: Duration::from_secs(1),
                socket_timeout: Limit::OFF,
                interrupt_timeout: Limit::OFF,
                deadlock_timeout: Limit::of(Duration::from_secs(60)),
            },
        );
        assert_eq!(arguments[..2], ["/venv/bin/python3", "-c"]);
        assert!(arguments[2].contains("STOCKADE_ADAPTER_FD"));
        assert_eq!(
            arguments[3..],
            [
                "wsgi=blog.wsgi",
                "threads=4",
                "mount=/shop",
                "deadlock-timeout=60000",
                "python-path=/srv/blog",
                "python-path=/srv/lib"
            ]
        );
    }
}
