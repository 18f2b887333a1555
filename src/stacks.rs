//! `stockade stacks`: what the threads of a pool's workers, or of one worker, are doing.

use std::{fmt::Write as _, process::ExitCode};

use clap::Args;
use stockade_daemon::control::{
    admin::{Answer, Request},
    stacks::{Source, Thread, WorkerStacks},
};

use crate::{
    ask::{ask, print},
    cli::Daemon,
};

/// `stockade stacks`.
#[derive(Args, Debug)]
pub(crate) struct Stacks {
    /// The pool, or one worker by its number or its process
    #[arg(value_name = "POOL|WORKER")]
    pub(crate) of: String,
    /// As JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) daemon: Daemon,
}

/// Asks for them, and prints them.
pub(crate) fn stacks(asked: Stacks) -> ExitCode {
    match ask(&asked.daemon, &Request::Stacks { of: asked.of }) {
        Ok(Answer::Stacks { workers }) if asked.json => {
            match serde_json::to_string_pretty(&workers) {
                Ok(text) => print(&format!("{text}\n")),
                Err(error) => crate::failed(&error, crate::exit::FAILED),
            }
        }
        Ok(Answer::Stacks { workers }) => {
            let all: Vec<String> = workers.iter().map(of_worker).collect();
            print(&all.join("\n"))
        }
        Ok(Answer::Done { .. } | Answer::Status(_) | Answer::Failed { .. }) => ExitCode::FAILURE,
        Err(code) => code,
    }
}

fn of_worker(told: &WorkerStacks) -> String {
    let WorkerStacks {
        pool,
        worker,
        pid,
        requests,
        source,
        text,
        why,
        threads,
    } = told;
    let mut out = format!("pool {pool}: worker {worker} (pid {pid}), ");
    let how = match source {
        Source::Python => "what Python says:",
        Source::PythonWithoutLock => {
            "what Python says without its lock, which could not be had for 1 s (the calls are right; names and requests of threads are not known):"
        }
        Source::Worker => "what it says:",
        Source::Kernel => "what the kernel says",
    };
    let why = why.iter().map(|why| format!(", for {why}:"));
    let how = format!("{how}{}", why.collect::<String>());
    writeln!(out, "{how}").expect("text can be written to");
    // the worker tells of its threads' requests itself
    if *source != Source::Python {
        for request in requests {
            let (id, method, path) = (&request.id, &request.method, &request.path);
            let age = request.age_seconds;
            writeln!(out, "it has {method} {path} (request {id}), {age:.1} s")
                .expect("text can be written to");
        }
    }
    if *source == Source::Kernel && threads.is_empty() {
        out.push_str("the kernel does not tell\n");
    }
    for line in text
        .lines()
        .map(str::to_owned)
        .chain(threads.iter().map(Thread::line))
    {
        out.push_str(&line);
        out.push('\n');
    }
    out
}

pub(crate) const STACKS_EXAMPLE: &str = "\
Examples: every worker of a pool; one worker, by its number or its process
  stockade stacks blog
  stockade stacks 3
  stockade stacks 4711 --json

Exit codes: 0 told; 1 there is no such pool or worker; 69 daemon not reachable; 75 try again; 77 not permitted";
