//! What a client gets when its worker fails, for every place where that can be: the table of docs/faults.md, cell by cell.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::Value;
use stockade_protocol::record::RecordType;

use crate::support::{
    deadline::wait_for,
    document::assert_has_table,
    fcgi::{Answer, Fcgi},
    process,
    site::Site,
    stockade::{Pool, Stockade},
};

/// Values of `retry`: the columns within each method.
const RETRY: [&str; 3] = ["off", "unsent", "idempotent"];
/// The requests: name, method, length of the body.
const REQUESTS: [(&str, &str, usize); 3] = [
    ("GET", "GET", 0),
    ("POST of 10 bytes", "POST", 10),
    ("POST of 10 MB", "POST", 10_000_000),
];

/// The answers to a request, by [`RETRY`].
type Cells = [&'static str; 3];
/// Only a request that may be replayed survives.
const REPLAYED: [Cells; 3] = [["502", "502", "200"], ["502"; 3], ["502"; 3]];

/// How a worker fails.
enum Fault {
    /// The request says so in the worker's words, the first time that it is run.
    Words(&'static str),
    /// It is killed before it accepts the connection.
    BeforeAccept,
    /// It has answered another request with these words, and has failed since.
    Idle(&'static str),
    /// It was killed when it had nothing to do, and the supervisor has not told the relay yet.
    Untold,
    /// It ends with status 0 after another request, and leaves this one unread.
    ByItself,
}

/// A row of the document.
struct Row {
    what: &'static str,
    fault: Fault,
    /// By [`REQUESTS`].
    cells: [Cells; 3],
}

/// A test for every row.
macro_rules! rows {
    ($($name:ident: $what:literal, $fault:expr, $cells:expr;)*) => {
        const ROWS: &[Row] = &[$(Row { what: $what, fault: $fault, cells: $cells }),*];
        $(
            #[test]
            fn $name() {
                holds(ROWS.iter().find(|row| row.what == $what).expect("it is in the table"));
            }
        )*
    };
}

rows! {
    killed_before_it_accepts: "is killed before it accepts the connection", Fault::BeforeAccept, REPLAYED;
    killed_before_it_has_read: "is killed before it has read the body", Fault::Words("unread&crash=before-head"), REPLAYED;
    killed_before_the_head: "is killed before the head of its response", Fault::Words("crash=before-head"), REPLAYED;
    closes_before_the_head: "closes the connection before the head", Fault::Words("close=before-head"), REPLAYED;
    killed_amid_the_head: "is killed amid the head", Fault::Words("crash=mid-head"), [["502"; 3]; 3];
    closes_amid_the_head: "closes the connection amid the head", Fault::Words("close=mid-head"), [["502"; 3]; 3];
    killed_amid_the_body: "is killed amid the body of its response", Fault::Words("big=1000000&crash=mid-body"), [["cut"; 3]; 3];
    closes_amid_the_body: "closes the connection amid the body", Fault::Words("big=1000000&close=mid-body"), [["cut"; 3]; 3];
    killed_before_the_end: "is killed between the end of STDOUT and END_REQUEST", Fault::Words("crash=before-end"), [["200"; 3]; 3];
    closes_before_the_end: "closes the connection between the end of STDOUT and END_REQUEST", Fault::Words("close=before-end"), [["200"; 3]; 3];
    closed_its_idle_connection: "has closed its idle connection", Fault::Idle("close=when-idle"), [["200"; 3]; 3];
    killed_when_idle: "was killed when it was idle", Fault::Idle("crash=when-idle"), [["200"; 3]; 3];
    killed_when_idle_and_nobody_was_told: "was killed when it was idle, an instant ago", Fault::Untold, [["502", "200", "200"]; 3];
    ends_by_itself: "ends by itself with status 0, the request unread", Fault::ByItself,
        [["502", "200", "200"], ["502", "200", "200"], ["502"; 3]];
}

#[test]
fn the_document_has_this_table() {
    assert_has_table("docs/faults.md", &table());
}

fn table() -> Vec<String> {
    let mut lines = vec![
        format!(
            "| the worker | `retry` | {} |",
            REQUESTS.map(|(name, ..)| name).join(" | ")
        ),
        "| --- | --- | --- | --- | --- |".to_owned(),
    ];
    for row in ROWS {
        let mut by_answers: Vec<(Vec<&str>, [&str; 3])> = Vec::new();
        for (index, retry) in RETRY.iter().enumerate() {
            let answers = [0, 1, 2].map(|request: usize| row.cells[request][index]);
            match by_answers.last_mut() {
                Some((retries, same)) if *same == answers => retries.push(retry),
                _ => by_answers.push((vec![retry], answers)),
            }
        }
        for (retries, answers) in by_answers {
            let retries = if retries.len() == RETRY.len() {
                "any".to_owned()
            } else {
                retries
                    .iter()
                    .map(|retry| format!("`{retry}`"))
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            lines.push(format!(
                "| {} | {retries} | {} |",
                row.what,
                answers.join(" | ")
            ));
        }
    }
    lines
}

fn holds(row: &Row) {
    let scene = Scene::new();
    for (request, expected) in REQUESTS.iter().zip(&row.cells) {
        for (retry, expected) in RETRY.iter().zip(expected) {
            let (name, method, length) = *request;
            let answer = scene.play(&row.fault, retry, method, length);
            let got = match (answer.status(), answer.ended) {
                (status, Some(0)) => status.to_string(),
                (200, None) if answer.body_length() > 0 => "cut".to_owned(),
                _ => format!("{answer:?}"),
            };
            assert_eq!(
                got, *expected,
                "{name}, retry {retry}, the worker {}",
                row.what
            );
        }
    }
}

/// A daemon with a pool for each value of `retry`, and one worker in each.
struct Scene {
    stockade: Stockade,
    folder: std::path::PathBuf,
}

impl Scene {
    fn new() -> Self {
        let site = Site::new();
        let folder = site.folder_for_pool("once");
        let pools = RETRY.map(|retry| {
            let keys = format!(
                "processes = 1\nretry = {retry:?}\nbackoff-initial = \"10ms\"\nbackoff-maximum = \"20ms\""
            );
            Pool::scripted(&site, &[], &keys).named(retry)
        });
        let stockade = Stockade::ready(site, &pools);
        Self { stockade, folder }
    }

    fn play(&self, fault: &Fault, retry: &str, method: &str, length: usize) -> Answer {
        let body = vec![b'x'; length];
        let mark = self.folder.join(format!("{retry}-{method}-{length}"));
        let mut host = Fcgi::connect(&self.stockade.socket(retry));
        match fault {
            Fault::Words(words) => {
                host.begin(method, &format!("{words}&once={}", mark.display()), &body);
            }
            Fault::BeforeAccept => {
                let worker = self.fresh_worker(retry);
                assert!(process::signal(worker, Signal::SIGSTOP));
                host.begin(method, "", &body);
                self.wait_handed_out(retry);
                assert!(process::signal(worker, Signal::SIGKILL));
            }
            Fault::Idle(words) => {
                let before = host.get(&format!("{words}&once={}", mark.display()));
                assert_eq!(before.status(), 200, "{before:?}");
                if words.starts_with("crash") {
                    self.wait_other_worker(retry, before.pid());
                } else {
                    // its listening socket and its control socket it always has
                    wait_for("its connection to be closed", || {
                        (process::sockets(before.pid()).len() == 2).then_some(())
                    });
                }
                host.begin(method, "", &body);
            }
            Fault::Untold => {
                let worker = host.get("").pid();
                let refused = ["could not connect to worker", &format!("(pid {worker})")];
                self.stockade.signal(Signal::SIGSTOP);
                assert!(process::signal(worker, Signal::SIGKILL));
                wait_for("its sockets to be closed", || {
                    (!process::alive(worker)).then_some(())
                });
                host.begin(method, "", &body);
                self.stockade.log.wait(&refused);
                self.stockade.signal(Signal::SIGCONT);
            }
            Fault::ByItself => {
                let before = host.get(&format!("exit-after=1&linger={}", mark.display()));
                assert_eq!(before.status(), 200, "{before:?}");
                host.begin(method, "", &body);
                self.wait_handed_out(retry);
                fs::write(&mark, "").expect("the folder can be written to");
            }
        }
        let answer = as_far_as_it_comes(&mut host);
        self.wait_idle(retry);
        answer
    }

    /// A worker that has no connection.
    fn fresh_worker(&self, pool: &str) -> i32 {
        let known = self.worker(pool).expect("a worker");
        if known.1 == 0 {
            return known.0;
        }
        assert!(process::signal(known.0, Signal::SIGKILL));
        self.wait_other_worker(pool, known.0)
    }

    fn wait_other_worker(&self, pool: &str, than: i32) -> i32 {
        wait_for("another worker", || {
            let (worker, _) = self.worker(pool)?;
            (worker != than).then_some(worker)
        })
    }

    /// The worker that is ready: its process, and how many requests it had.
    fn worker(&self, pool: &str) -> Option<(i32, u64)> {
        let status = self.status(pool);
        let workers = status["workers"].as_array()?;
        let ready = workers.iter().find(|worker| worker["state"] == "ready")?;
        let pid = i32::try_from(ready["pid"].as_i64()?).ok()?;
        Some((pid, ready["requests"].as_u64()?))
    }

    fn wait_handed_out(&self, pool: &str) {
        wait_for("the request to be handed out", || {
            (self.status(pool)["slots"]["busy"] == 1).then_some(())
        });
    }

    fn wait_idle(&self, pool: &str) {
        wait_for("a worker without a request", || {
            let status = self.status(pool);
            (status["slots"]["busy"] == 0 && self.worker(pool).is_some()).then_some(())
        });
    }

    fn status(&self, pool: &str) -> Value {
        let (_, text, _) = self.stockade.ask(&["status", pool, "--json"]);
        let status: Value = serde_json::from_str(&text).expect("JSON");
        let pools = status["pools"].as_array().expect("a list of pools");
        let named = pools.iter().find(|found| found["name"] == pool);
        named.cloned().expect("the pool is there")
    }
}

/// The answer; without its end when the relay made the host see that it is not whole.
fn as_far_as_it_comes(host: &mut Fcgi) -> Answer {
    let mut answer = Answer::default();
    // what is no record is how a response is cut
    while let Ok(Some((header, content))) = host.read_record() {
        match header.record_type() {
            Some(RecordType::Stdout) => answer.stdout.extend(content),
            Some(RecordType::EndRequest) => {
                answer.ended = content.get(4).copied();
                break;
            }
            _ => {}
        }
    }
    answer
}
