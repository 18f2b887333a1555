//! What a pool's workers may use together: `[pool.NAME.cgroup]`.

use super::{
    errors::Problem,
    file::{Given, PoolKeys},
    resolved::CgroupLimits,
    sizes::in_words,
};

/// The limits; none where nothing is set.
pub(super) fn limits(keys: &PoolKeys) -> Result<CgroupLimits, Problem> {
    let Some(table) = &keys.cgroup else {
        return Ok(CgroupLimits::default());
    };
    let keys = &table.value;
    let memory_max = set(keys.memory_max.as_ref()).map(|size| size.0);
    let memory_high = set(keys.memory_high.as_ref()).map(|size| size.0);
    if let (Some(max), Some(high), Some(given)) = (memory_max, memory_high, &keys.memory_high)
        && high > max
    {
        return Err(given.spot.wrong(format!(
            "is {}, more than `memory-max` ({}), so that it would never hold: lower it",
            in_words(high),
            in_words(max)
        )));
    }
    Ok(CgroupLimits {
        memory_max,
        memory_high,
        pids_max: set(keys.pids_max.as_ref()).map(|number| number.0),
        cpu_max: set(keys.cpu_max.as_ref()).map(|part| part.0),
        cpu_weight: set(keys.cpu_weight.as_ref()).map(|number| number.0),
    })
}

/// What is set and not switched off.
fn set<T: Copy>(given: Option<&Given<Option<T>>>) -> Option<T> {
    given.and_then(|given| given.value)
}
