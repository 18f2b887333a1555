//! How many workers a pool has: what the relay says of its use goes to the machine, and what the machine makes of it to the relay; and
//! operators' `start`, `stop` and `scale`.

use stockade_policy::{
    PoolId,
    supervision::{Event, Scale},
};

use super::{
    relay_life::{RelayNumber, Role},
    shell::Shell,
};
use crate::{
    config::resolved::Kind,
    control::{ToRelay, admin::Answer, status::Processes},
};

impl Shell {
    /// Of a relay that was replaced it is no matter: what waits there asks the one that serves for a slot.
    pub(super) fn pool_used(&mut self, from: RelayNumber, pool: PoolId, busy: u32, waiting: u32) {
        if self.relay.role(from) == Some(Role::Serving) {
            self.tell_machine(Event::PoolUsed {
                pool,
                busy,
                waiting,
            });
            self.tell_wanted(pool);
        }
    }

    /// More workers than the pool has use for: the relay knows which are idle.
    pub(super) fn shed_workers(&mut self, pool: PoolId, count: u32) {
        self.relay
            .tell_serving(&ToRelay::PoolShed { pool, count }, Vec::new());
    }

    /// How many workers there are to be may have changed.
    pub(super) fn tell_wanted(&mut self, pool: PoolId) {
        let (Some(is), Some(record)) = (self.machine.pool(pool), self.pools.get_mut(&pool)) else {
            return;
        };
        let processes = Processes {
            minimum: is.minimum,
            maximum: is.maximum,
            wanted: is.wanted,
        };
        if record.processes != processes {
            record.processes = processes;
            self.relay
                .tell(&ToRelay::PoolWanted { pool, processes }, &[]);
        }
    }

    /// `stockade start`.
    pub(super) fn start_asked(&mut self, name: &str) -> Answer {
        let pool = match self.pool_of_ours(name) {
            Ok(pool) => pool,
            Err(refused) => return refused,
        };
        if !self.set_stopped(pool, false) {
            return done(format!("pool {name}: is not stopped"));
        }
        tracing::info!("pool {name}: started by an operator");
        self.tell_machine(Event::PoolStarted { pool });
        self.tell_wanted(pool);
        done(format!("pool {name}: started"))
    }

    /// `stockade stop`.
    pub(super) fn stop_asked(&mut self, name: &str) -> Answer {
        let pool = match self.pool_of_ours(name) {
            Ok(pool) => pool,
            Err(refused) => return refused,
        };
        if !self.set_stopped(pool, true) {
            return done(format!("pool {name}: is stopped already"));
        }
        tracing::info!("pool {name}: stopped by an operator");
        self.tell_machine(Event::PoolStopped { pool });
        self.tell_wanted(pool);
        done(format!(
            "pool {name}: stopped: its workers finish what they have; `stockade start {name}` starts it again"
        ))
    }

    /// `stockade scale`.
    pub(super) fn scale_asked(&mut self, name: &str, minimum: u32, maximum: u32) -> Answer {
        let pool = match self.pool_of_ours(name) {
            Ok(pool) => pool,
            Err(refused) => return refused,
        };
        if maximum == 0 || minimum > maximum || maximum > MOST {
            return failed(
                2,
                format!(
                    "pool {name}: scale to N workers from 1 to {MOST}, or to MIN..MAX with MIN not above MAX"
                ),
            );
        }
        let Some(record) = self.pools.get_mut(&pool) else {
            return failed(1, format!("pool {name} is gone"));
        };
        if minimum < maximum && record.kind() == Kind::Service {
            return failed(
                1,
                format!(
                    "pool {name}: is a service, which gets no requests that its workers could follow: scale it to one number"
                ),
            );
        }
        let spare = match (minimum, record.in_force().scale) {
            (0, _) => 0,
            (_, Some(scale)) => scale.spare.min(maximum),
            (_, None) => 1,
        };
        let scale = if minimum == maximum {
            Scale::of(maximum)
        } else {
            Scale {
                minimum,
                maximum,
                spare,
            }
        };
        record.scaled = Some(scale);
        self.tell_machine(Event::PoolScaled { pool, scale });
        self.tell_wanted(pool);
        if let Some(record) = self.pools.get(&pool) {
            for (message, descriptors) in record.changed(&self.access_logs) {
                self.relay.tell(&message, &descriptors);
            }
        }
        let workers = if minimum == maximum {
            maximum.to_string()
        } else {
            format!("{minimum} to {maximum}")
        };
        tracing::info!("pool {name}: scaled to {workers} workers by an operator");
        let stopped = self.pools.get(&pool).is_some_and(|record| record.stopped);
        let then = if stopped {
            format!("; it is stopped: `stockade start {name}` starts it")
        } else {
            String::new()
        };
        done(format!(
            "pool {name}: scaled to {workers} workers until the next reload{then}"
        ))
    }

    /// False: it was so already.
    fn set_stopped(&mut self, pool: PoolId, stopped: bool) -> bool {
        let record = self.pools.get_mut(&pool);
        record.is_some_and(|record| std::mem::replace(&mut record.stopped, stopped) != stopped)
    }

    /// The pool of this name, whose processes are ours.
    fn pool_of_ours(&self, name: &str) -> Result<PoolId, Answer> {
        if self.stopping {
            return Err(failed(75, "the daemon is stopping".to_owned()));
        }
        let record = self.known(name).and_then(|pool| self.pools.get(&pool));
        let Some(record) = record else {
            return Err(failed(1, self.no_pool(name)));
        };
        if record.kind() == Kind::Upstream {
            return Err(failed(
                1,
                format!(
                    "pool {name}: its processes are somebody else's (`upstream`): start, stop and scale them there"
                ),
            ));
        }
        Ok(record.id)
    }
}

fn done(line: String) -> Answer {
    Answer::Done { lines: vec![line] }
}

fn failed(code: u8, line: String) -> Answer {
    Answer::Failed {
        code,
        lines: vec![line],
    }
}

/// Workers of a pool.
const MOST: u32 = 10_000;
