//! How a Python worker is started: the interpreter, the bootstrap that loads the adapter, and the adapter's arguments.
//!
//! `argv[0]` is the interpreter's path: Python finds its virtual environment by it. The adapter comes as a descriptor
//! (`STOCKADE_ADAPTER_FD`), so that the account needs no way to the folder it is installed in.

use std::path::{Path, PathBuf};

use crate::config::{
    resolved::{Concurrency, Interface, Pool, Preload},
    start::Start,
};

/// What the interpreter runs.
const BOOTSTRAP: &str = include_str!("bootstrap.py");

/// The worker's arguments, `argv[0]` included. Behind the bootstrap: words `key=value`, named after the pool's keys, times in
/// milliseconds.
#[must_use]
pub fn arguments(
    interface: Interface,
    concurrency: Concurrency,
    interpreter: &Path,
    target: &str,
    python_path: &[PathBuf],
    keys: &Pool,
) -> Vec<String> {
    let slots = match (interface, concurrency) {
        (Interface::Wsgi, Concurrency::Thread) => "threads",
        (Interface::Asgi, _) | (_, Concurrency::Gevent | Concurrency::Eventlet) => "connections",
    };
    let mut arguments = vec![
        interpreter.to_string_lossy().into_owned(),
        "-c".to_owned(),
        BOOTSTRAP.to_owned(),
        format!("{}={target}", interface.key()),
        format!("{slots}={}", keys.threads),
        format!("mount={}", keys.mount),
    ];
    for (name, limit) in [
        ("interrupt-timeout", keys.deadlines.interrupt_timeout),
        ("deadlock-timeout", keys.deadlines.deadlock_timeout),
    ] {
        if let Some(limit) = limit.0 {
            arguments.push(format!("{name}={}", limit.as_millis()));
        }
    }
    if keys.renewal.development() {
        arguments.push("watch=on".to_owned());
    }
    if let Some(hub) = concurrency.hub() {
        arguments.push(format!("concurrency={hub}"));
    }
    if !keys.shutdown_timeout.is_zero() {
        arguments.push(format!(
            "shutdown-timeout={}",
            keys.shutdown_timeout.as_millis().max(1)
        ));
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

/// What follows of the keys about its loading. Where the application runs in threads it is the template that is warmed up, if there is one.
#[must_use]
pub fn of_loading(preload: &Preload, template: bool) -> Vec<String> {
    let role = (preload.preload && template).then(|| "preload=template".to_owned());
    let warm_up = preload.warm_up.iter().map(|path| format!("warm-up={path}"));
    role.into_iter().chain(warm_up).collect()
}
