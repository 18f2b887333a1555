//! How long a response and a connection may take.

use std::time::Duration;

use stockade_policy::Limit;

use super::{
    errors::Problem,
    file::PoolKeys,
    resolve::{limit, period, value},
    resolved::Deadlines,
};

/// `response-timeout`, `total-timeout`, `connect-timeout`, `socket-timeout`.
pub(super) fn deadlines(keys: &PoolKeys) -> Result<Deadlines, Problem> {
    if let Some(given) = &keys.connect_timeout
        && given.value.0.is_zero()
    {
        return Err(given
            .spot
            .wrong("is zero, within which no connection comes about: write a time like \"15s\""));
    }
    Ok(Deadlines {
        response_timeout: limit(keys.response_timeout.as_ref(), Duration::from_secs(60)),
        total_timeout: value(keys.total_timeout.as_ref(), |given| *given, Limit::OFF),
        connect_timeout: period(keys.connect_timeout.as_ref(), Duration::from_secs(15)),
        socket_timeout: limit(keys.socket_timeout.as_ref(), Duration::from_secs(60)),
    })
}
