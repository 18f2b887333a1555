//! Does what the machine says, and answers for requests that have no worker to answer for them.

use std::borrow::Cow;

use stockade_policy::{
    Time, WorkerId,
    dispatch::{Action, Event, RefusalCause, RequestKey, TimeoutCause},
    upstream,
};
use stockade_protocol::{encode, head, record::RecordType};

use super::{
    access_log::Ending,
    answers::{self, Answer, wants_html},
    episode::Episode,
    front::Host,
    page::Failure,
    pool::{State, Worker},
};
use crate::control::FromRelay;

/// The refusals of one cause after another.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    cause: Option<RefusalCause>,
    episode: Episode,
}

impl State {
    /// Does everything that the machine has decided.
    pub(super) fn settle(&mut self) {
        while let Some(action) = self.dispatch.poll_action() {
            match action {
                Action::HandOut { request, worker } => self.hand_out(request, worker),
                Action::Refuse {
                    request,
                    cause,
                    retry_after,
                } => self.refuse(request, cause, retry_after),
                Action::TimeOut {
                    request,
                    cause,
                    interrupted,
                } => self.time_out(request, cause, interrupted),
                Action::AskResponse { request } => self.say_heard(request),
                Action::CutOff { request } => {
                    self.answer_for_worker(request, &answers::GRACEFUL_TIMEOUT);
                }
                Action::Fail { request } => self.fail(request),
                Action::NoteReplay { request } => self.note_replay(request),
                Action::NoteSlow { request } => self.note_slow(request),
                Action::NoteHealed { worker, waiting } => self.note_healed(worker, waiting),
                report => self.report(report),
            }
        }
    }

    /// What supervision is to know of a worker; of an address of an upstream we are to know it ourselves.
    fn report(&mut self, report: Action) {
        let shared = self.upstream.is_some();
        match report {
            Action::ReportBroken { worker } if shared => {
                self.tell_upstream(upstream::Event::WorkerBroke { worker });
            }
            Action::ReportDrained { worker } if shared => self.forget_member(worker),
            _ if shared => {}
            Action::ReturnLease { worker } => self.return_lease(worker),
            Action::AskForSlot => self.say(FromRelay::SlotWanted(self.plan.pool)),
            Action::ReportServed { worker } => self.say(FromRelay::WorkerServed(worker)),
            Action::ReportMaximumRequests { worker } => {
                self.say(FromRelay::MaximumRequestsReached(worker));
            }
            Action::ReportTimedOut { worker } => self.say(FromRelay::RequestTimedOut(worker)),
            Action::ReportRecovered { worker } => self.say(FromRelay::WorkerRecovered(worker)),
            Action::ReportBroken { worker } => self.say(FromRelay::WorkerBroke(worker)),
            Action::ReportDrained { worker } => self.say(FromRelay::WorkerDrained(worker)),
            Action::ReportUsed { busy, waiting } => self.say(FromRelay::PoolUsed {
                pool: self.plan.pool,
                busy,
                waiting,
            }),
            Action::ReportShed { worker } => self.say(FromRelay::WorkerShed(worker)),
            Action::ReportInactive { worker } => self.say(FromRelay::WorkerInactive(worker)),
            Action::HandOut { .. }
            | Action::Refuse { .. }
            | Action::TimeOut { .. }
            | Action::AskResponse { .. }
            | Action::CutOff { .. }
            | Action::Fail { .. }
            | Action::NoteReplay { .. }
            | Action::NoteSlow { .. }
            | Action::NoteHealed { .. } => {}
        }
    }

    fn refuse(&mut self, key: RequestKey, cause: RefusalCause, retry_after: u32) {
        self.end_slow(key);
        let now = self.clock.now();
        if self.refusals.cause.replace(cause) != Some(cause) {
            self.refusals.episode.begin_anew();
        }
        if let Some(more) = self.refusals.episode.happened(now) {
            let (name, title) = (self.name(), self.title(key));
            tracing::warn!("pool {name}: request {title} refused with 503: {cause}{more}");
        }
        let told = self.plan.development && cause == RefusalCause::PoolFailing;
        let failure = told.then(|| Failure::last(&self.ledger.exits)).flatten();
        let answer = Answer {
            status: 503,
            cause: &cause.to_string(),
            retry_after: Some(retry_after),
        };
        self.answer_with(key, &answer, failure.as_ref());
        self.requests.remove(key);
    }

    fn time_out(&mut self, key: RequestKey, cause: TimeoutCause, interrupted: bool) {
        let answer = match cause {
            TimeoutCause::RequestTimeout => &answers::REQUEST_TIMEOUT,
            TimeoutCause::ResponseTimeout => &answers::RESPONSE_TIMEOUT,
            TimeoutCause::TotalTimeout => &answers::TOTAL_TIMEOUT,
        };
        self.want_stacks_of_late(key);
        if interrupted {
            self.answer_interrupted(key, answer);
        } else {
            self.answer_for_worker(key, answer);
        }
    }

    /// Tells the machine when something came from the request's worker last, or there was no room for it.
    fn say_heard(&mut self, key: RequestKey) {
        let now = self.clock.now();
        let at = self
            .requests
            .get_mut(key)
            .map(|request| match &request.link {
                Some(link) if link.trunk.connection.paused() => now,
                Some(link) => request.heard.max(link.trunk.room.get()),
                None => request.heard,
            });
        let at = at.unwrap_or_default();
        self.dispatch
            .handle(Event::ResponseHeard { request: key, at }, now);
    }

    fn fail(&mut self, key: RequestKey) {
        self.answer_for_worker(key, &answers::WORKER_DIED);
    }

    fn note_replay(&mut self, key: RequestKey) {
        self.ledger.replays += 1;
        let (title, worker, name) = (self.title(key), self.last_worker(key), self.name());
        if self
            .requests
            .get_mut(key)
            .is_some_and(|request| request.was_sent)
        {
            tracing::warn!(
                "pool {name}: request {title} is replayed: {worker} ended before it answered"
            );
        } else {
            tracing::info!(
                "pool {name}: request {title} is given to another worker: nothing of it was sent yet"
            );
        }
    }

    fn note_healed(&self, worker: WorkerId, waiting: u32) {
        let (name, worker) = (self.name(), self.worker_title(worker));
        tracing::warn!(
            "pool {name}: watchdog: {waiting} requests waited though {worker} was free: it is given them; please report this"
        );
    }

    /// Answers a request that a worker had, or cuts its response if the head has gone out, and lets go of the worker's connection.
    pub(super) fn answer_for_worker(&mut self, key: RequestKey, answer: &Answer<'_>) {
        self.end_slow(key);
        if self.runs_somewhere(key) {
            self.note_lost(key);
        }
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        let head_sent = request.head_sent;
        if let Some(link) = request.link.take() {
            link.drop_it();
        }
        if head_sent {
            self.log_cut(key, answer);
            self.cut(key, answer.cause);
        } else {
            self.log_answer(key, answer);
            self.answer(key, answer);
        }
        self.requests.remove(key);
    }

    fn runs_somewhere(&mut self, key: RequestKey) -> bool {
        let request = self.requests.get_mut(key);
        request.is_some_and(|request| request.link.is_some())
    }

    /// Logs that a response whose head has gone out does not go on.
    pub(super) fn log_cut(&mut self, key: RequestKey, answer: &Answer<'_>) {
        let (title, worker, name) = (self.title(key), self.last_worker(key), self.name());
        let cause = answer.cause;
        tracing::warn!("pool {name}: response to request {title} cut: {cause} ({worker})");
    }

    /// Logs an answer in a worker's place.
    pub(super) fn log_answer(&mut self, key: RequestKey, answer: &Answer<'_>) {
        let (title, worker, name) = (self.title(key), self.last_worker(key), self.name());
        let Answer { status, cause, .. } = answer;
        tracing::warn!("pool {name}: request {title} answered {status}: {cause} ({worker})");
    }

    /// Answers a request on our own account and ends it, wherever it is.
    pub(super) fn turn_away(&mut self, key: RequestKey, answer: &Answer<'_>) {
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        if request.id.is_empty() {
            self.ids.next(&mut request.id);
        }
        let cut = request.head_sent;
        let now = self.clock.now();
        let episode = self.turned_away.entry(answer.cause.to_owned());
        if let Some(more) = episode.or_default().happened(now) {
            let (name, title, cause) = (self.name(), self.title(key), answer.cause);
            if cut {
                tracing::info!("pool {name}: response to request {title} cut: {cause}{more}");
            } else {
                let status = answer.status;
                tracing::info!("pool {name}: request {title} answered {status}: {cause}{more}");
            }
        }
        if cut {
            self.cut(key, answer.cause);
        } else {
            self.answer(key, answer);
        }
        self.host_gone(key);
    }

    /// The host of a request is gone, or has its answer: queued, the request is forgotten; running, the worker may finish if
    /// it has the whole body, has not begun to answer, and cannot be told. Its slot is free when it is done.
    pub(super) fn host_gone(&mut self, key: RequestKey) {
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        let unanswered = request.host.take().is_some() && !request.id.is_empty();
        if unanswered {
            self.log_access(key, Ending::HOST_GONE);
        }
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        let link = request.link.clone();
        if let Some(link) = &link {
            // it may have been the one whose bytes were in the others' way
            link.trunk.room.set(self.clock.now());
        }
        let may_finish = !request.head_sent
            && link.as_ref().is_some_and(|link| {
                let worker = self.workers.get(&link.trunk.worker);
                link.body_sent.get() && !worker.is_some_and(|known| known.hears_leaving)
            });
        self.dispatch
            .handle(Event::HostGone { request: key }, self.clock.now());
        match link {
            None => self.requests.remove(key),
            Some(link) if may_finish => link.trunk.connection.resume(),
            Some(link) => self.part_with(key, &link),
        }
        self.settle();
    }

    /// Writes an answer of ours to the host, if it is still there. The host is done with the request then.
    pub(super) fn answer(&mut self, key: RequestKey, answer: &Answer<'_>) {
        self.answer_with(key, answer, None);
    }

    fn answer_with(&mut self, key: RequestKey, answer: &Answer<'_>, failure: Option<&Failure>) {
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        let Some((host, id)) = request.host.take() else {
            return;
        };
        let html = wants_html(request.param(b"HTTP_ACCEPT"));
        let response = answer.write(&request.name(), html, failure);
        host.connection.queue(|out| {
            encode::stream(out, RecordType::Stdout, id, &response);
            encode::response_end(out, id, 0);
        });
        host.connection.flush();
        let head = head::find_end(&response, 0).unwrap_or_default();
        request.seen.status = answer.status;
        (request.seen.sent, request.seen.head) = (response.len() as u64, head as u64);
        request.head = response;
        let arrived = request.arrived;
        let ours = Ending {
            cause: Some(answer.cause),
            whole: true,
        };
        self.log_access(key, ours);
        self.observe(arrived);
        self.ledger.answered(answer.status);
        if answer.status == 503 {
            self.ledger.refused(answer.cause);
        }
        self.host_answered(&host, id);
    }

    /// A request that arrived then has its whole answer.
    pub(super) fn observe(&mut self, arrived: Option<Time>) {
        if let Some(arrived) = arrived {
            self.ledger.request.observe(self.clock.now().since(arrived));
        }
    }

    /// The host has a whole response.
    pub(super) fn host_answered(&self, host: &Host, id: u16) {
        host.answered(id);
        host.connection.resume();
        if self.lets_go(host) || self.succession.begun() {
            host.connection.wake();
        }
    }

    /// For logs.
    pub(super) fn title(&mut self, key: RequestKey) -> String {
        self.requests
            .get_mut(key)
            .map_or_else(|| "that has ended".to_owned(), |request| request.title())
    }

    pub(super) fn last_worker(&mut self, key: RequestKey) -> Cow<'static, str> {
        match self
            .requests
            .get_mut(key)
            .and_then(|request| request.worker)
        {
            Some(worker) => Cow::Owned(self.worker_title(worker)),
            None => Cow::Borrowed("no worker"),
        }
    }

    /// For logs.
    pub(super) fn worker_title(&self, worker: WorkerId) -> String {
        match self.workers.get(&worker) {
            Some(Worker {
                pid: 0,
                address: Some(address),
                ..
            }) => format!("upstream {address}"),
            Some(known) => format!("worker {worker} (pid {})", known.pid),
            None => format!("worker {worker}"),
        }
    }
}
