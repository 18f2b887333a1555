//! The pools as the supervisor holds them: their sockets, and their keys by generation.

use std::{collections::BTreeMap, os::fd::OwnedFd, sync::Arc, time::Duration};

use stockade_policy::{
    Generation, Limit, PoolId, PoolState, WorkerId, dispatch,
    supervision::{self, Scale},
};

use super::{
    access_logs::AccessLogs, error::SupervisorError, listeners::Listeners, systemd::Passed,
};
use crate::{
    config::{
        IDLE_TIMEOUT, QUEUE_WAIT,
        resolved::{AccessLog, Application, Kind, Pool},
    },
    control::{
        ToRelay,
        record::WorkerLimits,
        relay::{Lives, PoolPlan, UpstreamPlan},
        status::Processes,
    },
};

/// A service that has run this long has started well.
const SERVICE_PROOF: Duration = Duration::from_secs(1);

/// One pool.
#[derive(Debug)]
pub(super) struct PoolRecord {
    pub(super) id: PoolId,
    pub(super) name: String,
    /// Its listening sockets, while it takes connections; every relay gets copies.
    pub(super) listeners: Listeners,
    /// As reported last.
    pub(super) state: Option<PoolState>,
    /// It was reported as serving once.
    pub(super) served: bool,
    /// It was added to a daemon that ran, and has neither served nor failed.
    pub(super) is_new: bool,
    /// It is to go.
    pub(super) closing: bool,
    /// Its last reload did not come up.
    abandoned: bool,
    /// The last worker that ended before its first request.
    pub(super) last_failed: Option<WorkerId>,
    /// The keys as read last: the next generation's.
    latest: Arc<Pool>,
    /// The keys of the generation that serves, and so the relay's.
    serving: Arc<Pool>,
    /// The generation that serves.
    generation: Generation,
    /// It serves alone, of which the relay is told: until it has heard, it may still use an older one.
    finishing: Option<Generation>,
    /// What an operator wants in the place of the keys, until the next reload.
    pub(super) scaled: Option<Scale>,
    /// The same before a reload that may fail yet.
    scaled_before: Option<Scale>,
    /// An operator has stopped it.
    pub(super) stopped: bool,
    /// How many workers there are to be, as the relay was told.
    pub(super) processes: Processes,
    /// What has become of its workers.
    pub(super) lives: Lives,
    /// The keys of the generations that may still be started.
    generations: BTreeMap<Generation, Arc<Pool>>,
}

impl PoolRecord {
    /// Binds the pool's sockets, or takes those that systemd has passed.
    pub(super) fn bind(
        id: PoolId,
        config: Pool,
        passed: &mut Passed,
    ) -> Result<Self, SupervisorError> {
        let listeners = Listeners::bind(&config, passed)?;
        Ok(Self::of(id, config, listeners))
    }

    /// A pool that listens there.
    pub(super) fn of(id: PoolId, config: Pool, listeners: Listeners) -> Self {
        let keys = Arc::new(config);
        let scale = scale_of(&keys);
        Self {
            id,
            name: keys.name.clone(),
            listeners,
            state: None,
            served: false,
            is_new: false,
            closing: false,
            abandoned: false,
            last_failed: None,
            latest: Arc::clone(&keys),
            serving: keys,
            generation: Generation(1),
            finishing: None,
            scaled: None,
            scaled_before: None,
            stopped: false,
            processes: Processes {
                minimum: scale.minimum,
                maximum: scale.maximum,
                wanted: scale.minimum.max(scale.spare),
            },
            lives: Lives::default(),
            generations: BTreeMap::new(),
        }
    }

    /// The configuration was read again: these are the keys of the next generation.
    pub(super) fn change(&mut self, config: Pool) {
        self.scaled_before = self.scaled.take().or(self.scaled_before);
        self.abandoned = false;
        self.latest = Arc::new(config);
    }

    /// The configuration was read again: these keys hold from here on, for the workers that run are as they would be. During a reload it
    /// is the new generation whose keys they are.
    pub(super) fn adjust(&mut self, config: Pool) {
        self.forget_abandoned();
        let (old, new) = (Arc::clone(&self.latest), Arc::new(config));
        if scale_of(&old) != scale_of(&new) {
            self.scaled = None;
            self.scaled_before = None;
        }
        let of_generations = self.generations.values_mut();
        for keys in of_generations.chain([&mut self.latest, &mut self.serving]) {
            if Arc::ptr_eq(keys, &old) {
                *keys = Arc::clone(&new);
            }
        }
    }

    /// Who may connect over TCP holds at once, as the addresses do.
    pub(super) fn allow(&mut self, config: &Pool) {
        if self.serving.allowed_clients != config.allowed_clients {
            let mut serving = Pool::clone(&self.serving);
            serving.allowed_clients.clone_from(&config.allowed_clients);
            self.serving = Arc::new(serving);
        }
    }

    /// The keys that it runs with, or is being reloaded to.
    pub(super) fn in_force(&self) -> &Pool {
        if self.abandoned {
            &self.serving
        } else {
            &self.latest
        }
    }

    /// Those of a generation that did not come up are nobody's.
    pub(super) fn forget_abandoned(&mut self) {
        if std::mem::take(&mut self.abandoned) {
            self.latest = Arc::clone(&self.serving);
        }
    }

    /// The keys of `generation`: those that held when it was first started.
    pub(super) fn keys_of(&mut self, generation: Generation) -> Arc<Pool> {
        let latest = &self.latest;
        let keys = self
            .generations
            .entry(generation)
            .or_insert_with(|| Arc::clone(latest));
        Arc::clone(keys)
    }

    /// No generation before `generation` is started any more, and its keys are the relay's.
    pub(super) fn finish_reload(&mut self, generation: Generation) {
        self.serving = self.keys_of(generation);
        self.generation = generation;
        self.finishing = Some(generation);
        self.scaled_before = None;
        self.generations.retain(|each, _| *each >= generation);
    }

    /// The relay has heard of the generation that serves; which, if that was waited for.
    pub(super) fn heard_of(&mut self) -> Option<Generation> {
        self.finishing.take()
    }

    /// It is waited for that the relay has heard of it.
    pub(super) fn is_finishing(&self) -> bool {
        self.finishing.is_some()
    }

    /// `generation` is not started any more.
    pub(super) fn abandon_reload(&mut self, generation: Generation) {
        self.generations.remove(&generation);
        self.abandoned = true;
        self.scaled = self.scaled.or_else(|| self.scaled_before.take());
    }

    /// What it runs; no reload changes that.
    pub(super) fn kind(&self) -> Kind {
        self.latest.application.kind()
    }

    /// How it stands as far as the supervisor knows: whether an upstream answers is known to the relay alone.
    pub(super) fn standing(&self) -> PoolState {
        match (self.state, self.kind()) {
            (Some(state), _) => state,
            (None, Kind::Upstream) => PoolState::Serving,
            (None, Kind::Workers | Kind::Service) => PoolState::Starting,
        }
    }

    /// What supervision needs of the keys as read last.
    pub(super) fn supervision(&self, first_alone: bool) -> supervision::Settings {
        let keys = &self.latest;
        supervision::Settings {
            scale: self.scale(),
            threads: keys.threads,
            surge: keys.renewal.surge,
            startup_timeout: keys.startup_timeout,
            graceful_timeout: keys.graceful_timeout,
            eviction_timeout: keys.eviction_timeout,
            shutdown_timeout: keys.shutdown_timeout,
            stop_signal: keys.start.stop_signal as i32,
            restart_interval: keys.wear.restart_interval,
            interrupt_timeout: keys.deadlines.interrupt_timeout.0.unwrap_or_default(),
            backoff: keys.backoff,
            preload: keys.preload.preload,
            ready_after: (keys.application.kind() == Kind::Service).then_some(SERVICE_PROOF),
            first_alone,
            development: self.in_development(),
        }
    }

    /// As the keys read last say.
    pub(super) fn in_development(&self) -> bool {
        self.latest.renewal.development()
    }

    /// What the relay needs of the keys of the generation that serves.
    pub(super) fn dispatch(&self) -> PoolPlan {
        let keys = &self.serving;
        PoolPlan {
            pool: self.id,
            name: self.name.clone(),
            generation: self.generation,
            processes: self.processes,
            listen: self.listeners.names(),
            settings: dispatch::Settings {
                queue_limit: keys.queue_limit,
                queue_timeout: keys.queue_timeout,
                request_timeout: keys.request_timeout,
                slow_request: keys.logging.slow_request,
                response_timeout: keys.deadlines.response_timeout,
                total_timeout: keys.deadlines.total_timeout,
                inactivity_timeout: keys.wear.inactivity_timeout,
                retry: keys.retry,
                retry_limit: keys.retry_limit,
                shared: matches!(keys.application, Application::Upstream(_)),
                scale: self.load(),
                interrupts: keys.deadlines.interrupt_timeout != Limit::OFF,
            },
            limits: WorkerLimits {
                threads: keys.threads,
                maximum_requests: keys.wear.maximum_requests,
                maximum_memory: keys.wear.maximum_memory,
                cpu_time_limit: keys.wear.cpu_time_limit,
            },
            graceful_timeout: keys.graceful_timeout,
            bytes: keys.bytes.clone(),
            access_log: (keys.logging.access_log != AccessLog::Off)
                .then(|| keys.logging.access_log_format.clone()),
            stderr: keys.logging.stderr,
            allowed_clients: keys.allowed_clients.clone(),
            connect_timeout: keys.deadlines.connect_timeout,
            socket_timeout: keys.deadlines.socket_timeout,
            development: keys.renewal.development(),
            upstream: match &keys.application {
                Application::Upstream(addresses) => Some(UpstreamPlan {
                    addresses: addresses.clone(),
                    slots: keys.threads,
                    multiplexes: keys.multiplex,
                    backoff: keys.backoff,
                }),
                Application::Python { .. } | Application::Command(_) | Application::Service(_) => {
                    None
                }
            },
        }
    }

    /// How many workers, as an operator or the keys say.
    pub(super) fn scale(&self) -> Scale {
        self.scaled.unwrap_or_else(|| scale_of(&self.latest))
    }

    /// What the relay is to tell of its use; of a number that is fixed nothing.
    fn load(&self) -> Option<dispatch::Scale> {
        let keys = &self.serving;
        let scaled = self.scaled.or(self.scaled_before);
        let scale = scaled.unwrap_or_else(|| scale_of(keys));
        let own = keys.scale;
        (!scale.is_static()).then(|| dispatch::Scale {
            maximum: scale.maximum,
            queue_wait: own.map_or(QUEUE_WAIT, |own| own.queue_wait),
            idle_timeout: own.map_or(IDLE_TIMEOUT, |own| own.idle_timeout),
        })
    }

    /// The relay's keys, and the file of its access log.
    pub(super) fn changed(&self, logs: &AccessLogs) -> Vec<(ToRelay, Vec<Arc<OwnedFd>>)> {
        let changed = (ToRelay::PoolChanged(self.dispatch()), Vec::new());
        [changed]
            .into_iter()
            .chain(self.access_log_opened(logs))
            .collect()
    }

    /// The file of the access log, if there is one.
    pub(super) fn access_log_opened(
        &self,
        logs: &AccessLogs,
    ) -> Option<(ToRelay, Vec<Arc<OwnedFd>>)> {
        let file = logs.of(&self.serving.logging.access_log)?;
        let pool = self.id;
        Some((ToRelay::AccessLogOpened { pool }, vec![file]))
    }

    /// The access logs of the keys as the relay has them, and as they were read last.
    pub(super) fn access_logs(&self) -> [&AccessLog; 2] {
        [&self.serving, &self.latest].map(|keys| &keys.logging.access_log)
    }

    /// What a new relay is told of the pool, with the descriptors of each message.
    pub(super) fn handover(&self, logs: &AccessLogs) -> Vec<(ToRelay, Vec<Arc<OwnedFd>>)> {
        let added = (ToRelay::PoolAdded(self.dispatch()), Vec::new());
        let reported = self.state.map(|state| {
            let pool = self.id;
            (ToRelay::PoolReported { pool, state }, Vec::new())
        });
        let pool = self.id;
        let lives = self.lives.clone();
        let counted = (ToRelay::PoolCounted { pool, lives }, Vec::new());
        let opened = self.access_log_opened(logs);
        let closing = (self.closing).then(|| (ToRelay::PoolClosing { pool }, Vec::new()));
        ([added].into_iter().chain(opened))
            .chain([counted])
            .chain(reported)
            .chain(self.listeners.told(pool))
            .chain(closing)
            .collect()
    }
}

/// How many workers, as the keys say.
fn scale_of(keys: &Pool) -> Scale {
    keys.scale.map_or_else(
        || Scale::of(keys.processes),
        |scale| Scale {
            minimum: scale.minimum,
            maximum: scale.maximum,
            spare: scale.spare,
        },
    )
}
