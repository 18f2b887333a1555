//! `stockade status`: how everything stands, for people or for programs.

use std::{fmt::Write as _, process::ExitCode, time::Duration};

use stockade_daemon::control::{
    admin::{Answer, Request},
    status::{CurrentRequest, ExitStatus, PoolStatus, Processes, Status, WorkerStatus},
};

use stockade_policy::supervision::WorkerState;

use crate::{
    ask::{ask, print},
    cli, exit, failed,
    words::counted,
};

/// Shows all pools, or one with its workers.
pub(crate) fn status(asked: &cli::Status) -> ExitCode {
    let mut status = match ask(&asked.daemon, &Request::Status) {
        Ok(Answer::Status(status)) => status,
        Ok(Answer::Done { .. } | Answer::Stacks { .. } | Answer::Failed { .. }) => {
            return ExitCode::FAILURE;
        }
        Err(code) => return code,
    };
    if let Some(name) = &asked.pool {
        let known: Vec<&str> = status.pools.iter().map(|pool| &*pool.name).collect();
        if !known.contains(&name.as_str()) {
            let known = known.join(", ");
            let error = format!("there is no pool {name:?}: the pools are {known}");
            return failed(&error, exit::FAILED);
        }
        status.pools.retain(|pool| pool.name == *name);
    }
    if asked.json {
        return match serde_json::to_string_pretty(&status) {
            Ok(text) => print(&(text + "\n")),
            Err(error) => failed(&error, exit::FAILED),
        };
    }
    let text = match (&asked.pool, status.pools.as_slice()) {
        (Some(_), [pool]) => pool_in_full(pool),
        _ => overview(&status),
    };
    print(&text)
}

/// One line a pool.
fn overview(status: &Status) -> String {
    let Status {
        version,
        pid,
        uptime_seconds,
        pools,
    } = status;
    let mut rows = vec![
        [
            "POOL",
            "STATE",
            "GEN",
            "WORKERS",
            "BUSY",
            "QUEUE",
            "REQUESTS",
            "REFUSED",
            "REPLAYED",
            "LAST EXIT",
        ]
        .map(str::to_owned),
    ];
    rows.extend(pools.iter().map(pool_row));
    format!(
        "stockade {version} (pid {pid}), up {}\n\n{}",
        ago(*uptime_seconds),
        table(&rows)
    )
}

fn pool_row(pool: &PoolStatus) -> [String; 10] {
    let ready = count(pool, WorkerState::Ready);
    let slots = pool.slots;
    [
        pool.name.clone(),
        pool.state.to_string(),
        pool.generation.to_string(),
        format!("{ready}/{}", pool.processes.wanted),
        format!("{}/{}", slots.busy, slots.busy + slots.idle),
        format!("{}/{}", pool.queue.length, pool.queue.limit),
        pool.requests_total.to_string(),
        pool.refused.values().sum::<u64>().to_string(),
        pool.replays_total.to_string(),
        pool.exits.first().map_or_else(|| "-".to_owned(), cause),
    ]
}

fn pool_in_full(pool: &PoolStatus) -> String {
    let mut text = format!(
        "pool {}: {}, generation {}\n",
        pool.name, pool.state, pool.generation
    );
    let mut line = |name: &str, value: String| {
        writeln!(text, "  {name:<10}{value}").expect("text can be written to");
    };
    line("listen", pool.listen.join(", "));
    line(
        "workers",
        format!(
            "{} ready, {} starting, {} retiring, {} wanted{}",
            count(pool, WorkerState::Ready),
            count(pool, WorkerState::Starting),
            count(pool, WorkerState::Retiring),
            pool.processes.wanted,
            range(pool.processes)
        ),
    );
    line(
        "slots",
        format!("{} busy, {} idle", pool.slots.busy, pool.slots.idle),
    );
    let queue = &pool.queue;
    let oldest = if queue.length > 0 {
        format!(", the oldest since {:.1} s", queue.oldest_seconds)
    } else {
        String::new()
    };
    line(
        "queue",
        format!("{} of {}{oldest}", queue.length, queue.limit),
    );
    let refused: Vec<String> = pool
        .refused
        .iter()
        .map(|(cause, count)| format!("{count} {cause}"))
        .collect();
    let refused = if refused.is_empty() {
        "none refused".to_owned()
    } else {
        format!("refused: {}", refused.join(", "))
    };
    line(
        "requests",
        format!(
            "{} answered, {refused}, {} replayed",
            pool.requests_total, pool.replays_total
        ),
    );
    if let Some(memory) = memory(pool) {
        line("memory", memory);
    }
    text.push_str(&workers(&pool.workers, &pool.templates));
    text.push_str(&exits(&pool.exits));
    text
}

/// Where the number follows the load.
fn range(processes: Processes) -> String {
    let Processes {
        minimum, maximum, ..
    } = processes;
    if minimum == maximum {
        String::new()
    } else {
        format!(" of {minimum} to {maximum}")
    }
}

/// What its workers and templates have together: whose pages are nobody else's, and the parts of those that they share.
fn memory(pool: &PoolStatus) -> Option<String> {
    let all = || pool.workers.iter().chain(&pool.templates);
    let whole: Option<u64> = all().map(|worker| worker.resident_bytes).sum();
    let private: Option<u64> = all().map(|worker| worker.private_bytes).sum();
    let whole = whole.filter(|whole| *whole > 0)?;
    let of = private.map_or_else(String::new, |private| {
        let shared = whole.saturating_sub(private);
        format!(": {} private, {} shared", size(private), size(shared))
    });
    Some(format!("{}{of}", size(whole)))
}

fn workers(workers: &[WorkerStatus], templates: &[WorkerStatus]) -> String {
    if workers.is_empty() && templates.is_empty() {
        return "\nno workers\n".to_owned();
    }
    let mut rows = vec![
        [
            "WORKER", "PID", "STATE", "GEN", "AGE", "REQUESTS", "MEMORY", "PRIVATE", "CPU", "NOW",
        ]
        .map(str::to_owned),
    ];
    let served = workers
        .iter()
        .map(|worker| (worker, worker.state.to_string()));
    let templates = templates.iter().map(|it| (it, "template".to_owned()));
    for (worker, state) in served.chain(templates) {
        let now: Vec<String> = worker.current.iter().map(in_short).collect();
        rows.push([
            worker.id.to_string(),
            worker
                .address
                .clone()
                .unwrap_or_else(|| worker.pid.to_string()),
            state,
            worker.generation.to_string(),
            ago(worker.age_seconds),
            worker.requests.to_string(),
            worker.resident_bytes.map_or_else(|| "-".to_owned(), size),
            worker.private_bytes.map_or_else(|| "-".to_owned(), size),
            worker
                .cpu_seconds
                .map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1} s")),
            if now.is_empty() {
                "-".to_owned()
            } else {
                now.join(", ")
            },
        ]);
    }
    format!("\n{}", table(&rows))
}

fn exits(exits: &[ExitStatus]) -> String {
    let mut text = String::new();
    if !exits.is_empty() {
        text.push_str("\nlast exits, the latest first\n");
    }
    for exit in exits {
        writeln!(
            text,
            "  {}  worker {} (pid {}): {} after {}, {}{}{}",
            stamp(exit.at),
            exit.worker,
            exit.pid,
            cause(exit),
            ago(exit.age_seconds),
            counted(exit.requests, "request"),
            exit.resident_bytes
                .map_or_else(String::new, |bytes| format!(", {}", size(bytes))),
            had(&exit.current)
        )
        .expect("text can be written to");
        if wanted(exit) {
            continue;
        }
        for line in &exit.last_lines {
            writeln!(text, "      {line}").expect("text can be written to");
        }
    }
    text
}

/// Whether nothing was wrong: then what it wrote last is of no interest.
fn wanted(exit: &ExitStatus) -> bool {
    let wanted = [
        "requested",
        "scaled-down",
        "maximum-requests",
        "restart-interval",
        "maximum-memory",
        "inactivity",
        "refork",
    ];
    wanted.contains(&&*exit.cause)
}

/// The requests that it did not answer.
fn had(current: &[CurrentRequest]) -> String {
    let had: Vec<String> = current.iter().map(in_short).collect();
    if had.is_empty() {
        return String::new();
    }
    format!("; it had {}", had.join(", "))
}

fn in_short(request: &CurrentRequest) -> String {
    let CurrentRequest {
        method,
        path,
        age_seconds,
        ..
    } = request;
    format!("{method} {path} ({age_seconds:.1} s)")
}

fn cause(exit: &ExitStatus) -> String {
    // a sentence, or a word that belongs to it
    let mut text = match exit.detail.as_str() {
        "" => exit.cause.clone(),
        detail if detail.contains(' ') => format!("{}: {detail}", exit.cause),
        detail => format!("{} {detail}", exit.cause),
    };
    if exit.core_dumped {
        text.push_str(", core dumped");
    }
    text
}

fn count(pool: &PoolStatus, state: WorkerState) -> usize {
    let workers = pool.workers.iter();
    workers.filter(|worker| worker.state == state).count()
}

/// As HTTP writes dates.
fn stamp(at: u64) -> String {
    let at = std::time::UNIX_EPOCH + Duration::from_secs(at);
    httpdate::fmt_http_date(at)
}

/// "12 s", "3 min 5 s", "2 h 8 min", "9 d 1 h".
fn ago(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds)
        .unwrap_or_default()
        .as_secs();
    let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{whole} s"),
        (0, 0, _) => format!("{minutes} min {} s", whole % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// In MiB.
fn size(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20)
}

/// Columns as wide as their widest value, two spaces apart.
fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, value) in row.iter().enumerate() {
            let width = rows.iter().map(|row| row[column].chars().count()).max();
            write!(line, "{value:<0$}  ", width.unwrap_or_default())
                .expect("text can be written to");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_short() {
        for (seconds, text) in [
            (0.4, "0 s"),
            (185.0, "3 min 5 s"),
            (7680.9, "2 h 8 min"),
            (781_200.0, "9 d 1 h"),
        ] {
            assert_eq!(ago(seconds), text);
        }
        assert_eq!(size(10 * 1024 * 1024 + 512 * 1024), "10.5 MiB");
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [["A", "B"], ["long", "x"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "A     B\nlong  x\n");
    }
}
