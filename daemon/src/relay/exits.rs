//! Workers that are gone: what each had, and how it ended. One that nobody wanted to end has a line in the log, made of what the
//! supervisor knows (the cause, the age, the memory) and of what only the relay knows (requests, and what the worker wrote).

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    rc::Rc,
    time::Duration,
};

use stockade_policy::{Time, WorkerId};
use tokio::{
    sync::mpsc::UnboundedSender,
    time::{sleep, timeout},
};
use tracing::Level;

use super::{output::LastLines, pool::Pool};
use crate::control::{handover, record::Death, status::CurrentRequest};

/// Exits that are remembered.
const EXITS: usize = 20;
/// Requests that are remembered of one worker.
const REQUESTS: usize = 20;
/// Of these another relay is told: one message is to have room for them, whatever their paths are made of.
const TOLD: usize = 10;
/// What a worker lost so long before its end has to do with it.
const RECENT: Duration = Duration::from_secs(5);
/// How long the end of a worker's pipes and connections is waited for, which something else may hold open.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(500);
/// How often its connections are looked at meanwhile.
const LOOK: Duration = Duration::from_millis(10);

/// The exits of a pool.
#[derive(Debug, Default)]
pub(super) struct Exits {
    /// The latest first.
    last: VecDeque<Rc<Exit>>,
    /// Gone, but not buried: what they had.
    departed: BTreeMap<WorkerId, Remains>,
}

/// What is left of a worker that is gone.
#[derive(Debug, Default)]
pub(super) struct Remains {
    /// Requests that it was given.
    pub(super) requests: u64,
    /// Those that it did not answer.
    pub(super) current: Vec<CurrentRequest>,
    pub(super) lines: LastLines,
}

/// A worker that is gone.
#[derive(Debug)]
pub(super) struct Exit {
    pub(super) worker: WorkerId,
    pub(super) death: Death,
    pub(super) requests: u64,
    /// Connections may end after the process.
    pub(super) current: RefCell<Vec<CurrentRequest>>,
    pub(super) lines: LastLines,
}

impl Exits {
    /// The latest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Exit> {
        self.last.iter().map(|exit| &**exit)
    }

    /// What a worker wrote last that is gone, and of whose end nothing is known yet.
    pub(super) fn lines_of_departed(&self, worker: WorkerId) -> Option<LastLines> {
        let remains = self.departed.get(&worker)?;
        Some(remains.lines.clone())
    }

    /// A worker is gone that had had this.
    pub(super) fn departed(&mut self, worker: WorkerId, remains: Remains) {
        self.departed.insert(worker, remains);
    }

    /// A worker that is gone did not answer this request.
    pub(super) fn lost(&mut self, worker: WorkerId, request: CurrentRequest) {
        if let Some(remains) = self.departed.get_mut(&worker) {
            note(&mut remains.current, request);
        } else if let Some(exit) = self.last.iter().find(|exit| exit.worker == worker) {
            note(&mut exit.current.borrow_mut(), request);
        }
    }

    /// A worker that is gone, or was not started, ended so.
    pub(super) fn buried(&mut self, worker: WorkerId, death: Death) -> Rc<Exit> {
        let Remains {
            requests,
            current,
            lines,
        } = self.departed.remove(&worker).unwrap_or_default();
        let exit = Rc::new(Exit {
            worker,
            death,
            requests,
            current: RefCell::new(current),
            lines,
        });
        self.last.truncate(EXITS - 1);
        self.last.push_front(Rc::clone(&exit));
        exit
    }

    /// A worker whose end another relay has seen, before those that are known.
    pub(super) fn add(&mut self, exit: handover::Exit) {
        let known = self.last.iter().any(|each| each.worker == exit.worker);
        if !known && self.last.len() < EXITS {
            self.last.push_back(Rc::new(Exit {
                worker: exit.worker,
                death: exit.death,
                requests: exit.requests,
                current: RefCell::new(exit.current),
                lines: LastLines::of(exit.lines),
            }));
        }
    }
}

impl Exit {
    /// As it is told to another relay.
    pub(super) fn told(&self) -> handover::Exit {
        handover::Exit {
            worker: self.worker,
            death: self.death.clone(),
            requests: self.requests,
            current: self.current.borrow().iter().take(TOLD).cloned().collect(),
            lines: self.lines.all(),
        }
    }

    /// Writes the line, when its worker's pipes and connections have ended. What it wrote is in the log already, unless the log has warnings only.
    pub(super) async fn tell(self: Rc<Self>, pool: Rc<Pool>, _telling: Rc<()>) {
        let Some(obituary) = &self.death.obituary else {
            return;
        };
        let ended = async {
            self.lines.ended().await;
            while pool.state().runs(self.worker) {
                sleep(LOOK).await;
            }
        };
        // the line has what there is by then
        drop(timeout(LAST_WORDS, ended).await);
        let lines = self.lines.all();
        tracing::warn!("{obituary}{}", self.had(lines.last()));
        if !tracing::enabled!(Level::INFO) {
            let (worker, pid) = (self.worker, self.death.pid);
            for line in lines {
                let name = &pool.name;
                tracing::warn!("pool {name}: worker {worker} (pid {pid}) had written: {line}");
            }
        }
    }

    /// What the relay knows of it, to be put behind what the supervisor does.
    fn had(&self, last_line: Option<&String>) -> String {
        let mut text = String::new();
        match self.requests {
            0 => {}
            1 => text.push_str("; 1 request"),
            requests => write!(text, "; {requests} requests").expect("text can be written to"),
        }
        let current: Vec<String> = self.current.borrow().iter().map(title).collect();
        if !current.is_empty() {
            write!(text, "; it had {}", current.join(", ")).expect("text can be written to");
        }
        if let Some(line) = last_line {
            write!(text, "; its last line: {line}").expect("text can be written to");
        }
        text
    }
}

/// Drops `done` when nobody is about to tell of an exit any more.
pub(super) async fn all_told(telling: Vec<Rc<()>>, done: UnboundedSender<()>) {
    // one is ours, one the pool's
    while telling.iter().any(|each| Rc::strong_count(each) > 2) {
        sleep(LOOK).await;
    }
    drop(done);
}

fn title(request: &CurrentRequest) -> String {
    let CurrentRequest {
        id,
        method,
        path,
        age_seconds,
    } = request;
    format!("{id} {method} {path} ({age_seconds:.1} s)")
}

fn note(requests: &mut Vec<CurrentRequest>, request: CurrentRequest) {
    let known = requests.iter().any(|each| each.id == request.id);
    if !known && requests.len() < REQUESTS {
        requests.push(request);
    }
}

/// Requests that a worker which lives, or seems to, did not answer: their connections end before its process is known to be gone.
#[derive(Debug, Default)]
pub(super) struct Lost(VecDeque<(Time, CurrentRequest)>);

impl Lost {
    /// It did not answer this one.
    pub(super) fn add(&mut self, request: CurrentRequest, now: Time) {
        if self.0.len() == REQUESTS {
            self.0.pop_front();
        }
        self.0.push_back((now, request));
    }

    /// What was lost a while ago has nothing to do with what comes of the worker from here on.
    pub(super) fn forget_old(&mut self, now: Time) {
        self.0.retain(|(at, _)| now.since(*at) <= RECENT);
    }

    /// The requests, with `more` that it still had.
    pub(super) fn with(self, more: impl Iterator<Item = CurrentRequest>) -> Vec<CurrentRequest> {
        let mut all = Vec::new();
        for request in self.0.into_iter().map(|(_, request)| request).chain(more) {
            note(&mut all, request);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn death() -> Death {
        Death {
            pid: 1,
            at: 0,
            cause: "signal".to_owned(),
            detail: "SIGKILL".to_owned(),
            core_dumped: false,
            age: Duration::ZERO,
            sample: Default::default(),
            obituary: None,
            not_launched: None,
        }
    }

    fn request(id: &str) -> CurrentRequest {
        CurrentRequest {
            id: id.to_owned(),
            method: "GET".to_owned(),
            path: "/boom".to_owned(),
            age_seconds: 2.14,
        }
    }

    fn remains(requests: u64) -> Remains {
        Remains {
            requests,
            ..Remains::default()
        }
    }

    #[test]
    fn the_last_exits_are_remembered_with_what_the_worker_had() {
        let mut exits = Exits::default();
        for number in 1..=25 {
            exits.departed(WorkerId(number), remains(number * 10));
            exits.buried(WorkerId(number), death());
        }
        let all: Vec<&Exit> = exits.iter().collect();
        assert_eq!(all.len(), EXITS);
        assert_eq!((all[0].worker, all[0].requests), (WorkerId(25), 250));
        assert!(exits.departed.is_empty());
    }

    #[test]
    fn what_a_worker_had_is_told_whenever_its_connection_ends() {
        let mut exits = Exits::default();
        let worker = WorkerId(1);
        let mut lost = Lost::default();
        lost.add(request("before"), Time::new(Duration::from_secs(1)));
        lost.add(request("just"), Time::new(Duration::from_secs(9)));
        lost.forget_old(Time::new(Duration::from_secs(10)));
        let current = lost.with([request("still"), request("just")].into_iter());
        exits.departed(
            worker,
            Remains {
                current,
                ..remains(51)
            },
        );
        exits.lost(worker, request("between"));
        let exit = exits.buried(worker, death());
        exits.lost(worker, request("behind"));
        exits.lost(WorkerId(2), request("another"));
        assert_eq!(
            exit.had(Some(&"the end".to_owned())),
            "; 51 requests; it had just GET /boom (2.1 s), still GET /boom (2.1 s), between GET /boom (2.1 s), \
             behind GET /boom (2.1 s); its last line: the end"
        );
    }

    #[test]
    fn one_that_had_nothing_has_nothing_told() {
        let exit = Exits::default().buried(WorkerId(1), death());
        assert_eq!(exit.had(None), "");
    }
}
