//! How long a response and a connection may take, and when a worker is taken to hang.

use std::time::Duration;

use stockade_policy::Limit;

use super::{
    errors::Problem,
    file::{Given, PoolKeys},
    python,
    resolve::{limit, period, value},
    resolved::Deadlines,
};

/// `response-timeout`, `total-timeout`, `connect-timeout`, `socket-timeout`, `interrupt-timeout`, `deadlock-timeout`.
pub(super) fn deadlines(keys: &PoolKeys) -> Result<Deadlines, Problem> {
    if let Some(given) = &keys.connect_timeout
        && given.value.0.is_zero()
    {
        return Err(given
            .spot
            .wrong("is zero, within which no connection comes about: write a time like \"15s\""));
    }
    if let Some(given) = &keys.deadlock_timeout
        && given.value.0.is_some_and(|limit| limit < LEAST_DEADLOCK)
    {
        return Err(given.spot.wrong(
            "is less than a second, for which a healthy worker may be kept waiting on a busy machine: write a time like \"60s\"",
        ));
    }
    // other programs have no interpreter whose lock could be asked for, and an event loop that is held up need not hold it; what
    // `[defaults]` say of it is for other pools
    let threaded = keys.wsgi.is_some() && !python::has_connections(keys);
    let of_threads = |given: &Option<Given<Limit>>, default| {
        value(given.as_ref().filter(|_| threaded), |given| *given, default)
    };
    let deadlock = Limit(threaded.then_some(DEADLOCK));
    Ok(Deadlines {
        response_timeout: limit(keys.response_timeout.as_ref(), Duration::from_secs(60)),
        total_timeout: value(keys.total_timeout.as_ref(), |given| *given, Limit::OFF),
        connect_timeout: period(keys.connect_timeout.as_ref(), Duration::from_secs(15)),
        socket_timeout: limit(keys.socket_timeout.as_ref(), Duration::from_secs(60)),
        interrupt_timeout: of_threads(&keys.interrupt_timeout, Limit::OFF),
        deadlock_timeout: of_threads(&keys.deadlock_timeout, deadlock),
    })
}

/// `deadlock-timeout` of a Python pool, unless it is set.
const DEADLOCK: Duration = Duration::from_secs(60);
const LEAST_DEADLOCK: Duration = Duration::from_secs(1);
