//! `stockade check`: what a configuration means, and what is odd in it. Nothing is started, bound or made.

use std::{path::Path, process::ExitCode};

use stockade_daemon::config::{
    self, Checked, System,
    resolved::{
        Account, Application, Config, Daemon, Destination, Listen, Pool, Shim, SocketOwner,
    },
    surroundings::Surroundings,
};

use crate::{ask::print, cli::Check, failed, serve, words::counted};

/// The answer is on standard output, what is wrong or odd on standard error.
pub(crate) fn check(words: &Check) -> ExitCode {
    let file = &words.config;
    let checked = match config::check(file, &System) {
        Ok(checked) => checked,
        Err(errors) => return failed(&errors, serve::code(&errors)),
    };
    let warnings = checked.warnings(&System);
    warn(&warnings);
    if words.print {
        return print(&checked.print(&System));
    }
    print(&explained(&checked, file, warnings.len()))
}

#[expect(clippy::print_stderr, reason = "this is where warnings are printed")]
fn warn(warnings: &[String]) {
    for warning in warnings {
        eprintln!("{warning}");
    }
}

fn explained(checked: &Checked, file: &Path, warnings: usize) -> String {
    let Config {
        daemon,
        pools,
        shim,
        ..
    } = &checked.config;
    let mut lines = Vec::new();
    for pool in pools {
        explain_pool(&mut lines, pool);
    }
    if let Some(shim) = shim {
        explain_shim(&mut lines, shim);
    }
    explain_daemon(&mut lines, daemon);
    let count = match warnings {
        0 => "no warning".to_owned(),
        warnings => counted(warnings, "warning"),
    };
    lines.push(format!(
        "{}: {}, no error, {count}",
        file.display(),
        counted(pools.len(), "pool")
    ));
    lines.join("\n") + "\n"
}

/// How many there are.
fn workers(pool: &Pool) -> String {
    let most = counted(pool.processes, "worker");
    match &pool.scale {
        Some(scale) if scale.minimum == 0 => format!("0 to {most} on demand"),
        Some(scale) if scale.minimum < scale.maximum => format!("{} to {most}", scale.minimum),
        _ => most,
    }
}

fn explain_pool(lines: &mut Vec<String>, pool: &Pool) {
    let Pool {
        name,
        threads,
        home,
        ..
    } = pool;
    let each = match threads {
        1 => "one request at a time each".to_owned(),
        threads => format!("{threads} requests at a time each"),
    };
    let (workers, account) = (workers(pool), identity(pool.account.as_ref()));
    let home = home.display();
    let what = match &pool.application {
        Application::Python {
            target,
            interpreter,
            ..
        } => format!(
            "{workers} of {target}, {each}, as {account} in {home} with {}",
            interpreter.display()
        ),
        Application::Command(words) => {
            format!(
                "{workers} of {}, {each}, as {account} in {home}",
                words.join(" ")
            )
        }
        Application::Upstream(addresses) => {
            format!("requests go to {}, {each}", joined(addresses))
        }
        Application::Service(words) => {
            format!(
                "{workers} of {}, no requests, as {account} in {home}",
                words.join(" ")
            )
        }
    };
    lines.push(format!("pool {name}: {what}"));
    for address in &pool.listen {
        let open_to = match address {
            Listen::Unix(_) => format!(" ({})", owner(pool.socket)),
            Listen::Tcp(_) => " (this machine)".to_owned(),
            Listen::Systemd(_) => String::new(),
        };
        lines.push(format!("  listens on {address}{open_to}"));
    }
}

fn explain_shim(lines: &mut Vec<String>, shim: &Shim) {
    let account = identity(shim.account.as_ref());
    for address in &shim.listen {
        lines.push(format!("shim: listens on http://{address} as {account}"));
    }
    for route in &shim.routes {
        let host = route.host.as_deref().unwrap_or_default();
        let to = match &route.destination {
            Destination::Files(folder) => format!("the files in {}", folder.display()),
            Destination::Pool { name, address } => format!("pool {name} ({address})"),
        };
        lines.push(format!("  {host}{} leads to {to}", route.path));
    }
}

fn explain_daemon(lines: &mut Vec<String>, daemon: &Daemon) {
    let threads = counted(daemon.relay_threads, "thread");
    lines.push(format!(
        "relay: {threads}, as {}",
        identity(daemon.relay_user.as_ref())
    ));
    lines.push(format!(
        "  status and reload ask at {}",
        daemon.admin_socket.display()
    ));
    if let Some(address) = daemon.status_listen {
        lines.push(format!("  metrics and health at http://{address}"));
    }
}

/// The account, or who we are.
fn identity(account: Option<&Account>) -> String {
    if let Some(account) = account {
        return account.name.clone();
    }
    let uid = System.uid();
    match System.user_of(uid) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => uid.to_string(),
    }
}

fn owner(owner: SocketOwner) -> String {
    let uid = owner.uid.unwrap_or_else(|| System.uid());
    let gid = owner.gid.unwrap_or_else(|| System.gid());
    let user = System.user_of(uid).ok().flatten();
    let user = user.map_or_else(|| uid.to_string(), |user| user.name);
    let group = System.group_of(gid).ok().flatten();
    let group = group.unwrap_or_else(|| gid.to_string());
    format!("{user}:{group}, mode {:04o}", owner.mode)
}

fn joined<T: ToString>(all: &[T]) -> String {
    let all: Vec<String> = all.iter().map(T::to_string).collect();
    all.join(" and ")
}
