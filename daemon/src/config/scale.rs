//! How many workers a pool has: `processes`, or between two numbers with `[pool.NAME.scale]`.

use std::time::Duration;

use super::{
    errors::{Problem, Problems},
    file::{DaemonKeys, Given, PoolKeys},
    resolve::{period, value},
    resolved::{Application, Kind, Pool, Scale},
    subtables::{ScaleKeys, Share},
};

/// `processes`, the most there are of them, and `scale`, if the number follows the load.
pub(super) fn scale(
    keys: &PoolKeys,
    application: &Application,
    cores: u32,
) -> Result<(u32, Option<Scale>), Problem> {
    let default = match application {
        Application::Python { .. } | Application::Command(_) => {
            cores.saturating_mul(2).saturating_add(1)
        }
        // a process for each address
        Application::Upstream(addresses) => {
            let processes = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
            return Ok((processes, None));
        }
        Application::Service(_) => {
            return Ok((value(keys.processes.as_ref(), |given| given.0, 1), None));
        }
    };
    match (&keys.scale, &keys.processes) {
        (Some(scale), Some(processes)) if scale.spot.own() == processes.spot.own() => {
            let number = processes.value.0;
            Err(processes.spot.wrong(format!(
                "is set beside `scale`, which says how many workers run: remove it and write `maximum = {number}` in `scale`, or remove `scale`"
            )))
        }
        // what the pool says counts, not what `[defaults]` say
        (Some(scale), processes) if scale.spot.own() || processes.is_none() => {
            let scale = bounds(scale)?;
            Ok((scale.maximum, Some(scale)))
        }
        (_, processes) => Ok((value(processes.as_ref(), |given| given.0, default), None)),
    }
}

/// `reload.surge`, in workers: a part of them is rounded up.
pub(super) fn surge(keys: &PoolKeys, processes: u32) -> u32 {
    let given = keys.reload.as_ref();
    match given.and_then(|reload| reload.value.surge.as_ref()) {
        None => 1,
        Some(surge) => match surge.value {
            Share::Workers(workers) => workers,
            Share::Percent(percent) => processes.saturating_mul(percent).div_ceil(100).max(1),
        },
    }
}

fn bounds(given: &Given<ScaleKeys>) -> Result<Scale, Problem> {
    let keys = &given.value;
    let maximum = value(keys.maximum.as_ref(), |given| given.0, 10);
    let minimum = value(keys.minimum.as_ref(), |given| given.0, 1);
    if let Some(given) = &keys.minimum
        && minimum > maximum
    {
        return Err(given.spot.wrong(format!(
            "is {minimum}, more than `maximum` ({maximum}): lower it, or raise `maximum`"
        )));
    }
    let spare = value(keys.spare.as_ref(), |given| given.0, minimum.min(1));
    if let Some(given) = &keys.spare {
        if spare > maximum {
            return Err(given.spot.wrong(format!(
                "is {spare}, more than `maximum` ({maximum}): lower it, or raise `maximum`"
            )));
        }
        if minimum == 0 && spare > 0 {
            return Err(given.spot.wrong(format!(
                "is {spare}, but with `minimum = 0` no worker is kept that has nothing to do: remove it, or raise `minimum`"
            )));
        }
    }
    for given in [&keys.queue_wait, &keys.idle_timeout].into_iter().flatten() {
        if given.value.0.is_zero() {
            return Err(given.spot.wrong(
                "is zero, which would start and stop workers without end: write a time like \"50ms\"",
            ));
        }
    }
    Ok(Scale {
        minimum,
        maximum,
        spare,
        queue_wait: period(keys.queue_wait.as_ref(), QUEUE_WAIT),
        idle_timeout: period(keys.idle_timeout.as_ref(), IDLE_TIMEOUT),
    })
}

/// `queue-wait` where it is not set.
pub(crate) const QUEUE_WAIT: Duration = Duration::from_millis(50);
/// `idle-timeout` where it is not set.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// There must be room for the workers that the pools have at all times: those without one would wait for it, and a reload for them.
pub(super) fn refuse_too_many(daemon: &DaemonKeys, pools: &[Pool], problems: &mut Problems) {
    let least = |pool: &Pool| match &pool.scale {
        _ if pool.application.kind() == Kind::Upstream => 0,
        Some(scale) => scale.minimum,
        None => pool.processes,
    };
    let all = pools.iter().map(least).fold(0, u32::saturating_add);
    if let Some(given) = &daemon.maximum_processes
        && given.value.0 > 0
        && given.value.0 < all
    {
        problems.add(given.spot.wrong(format!(
            "is {}, but the pools together have at least {all} workers (`processes`, or the `minimum` of `scale`): raise it, or have fewer",
            given.value.0
        )));
    }
}
