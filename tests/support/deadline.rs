//! Waiting for a condition, with a deadline: the only place of the tests that lets time pass.

use std::time::{Duration, Instant};

/// How long anything may take before a test says that it does not come. Generous: CI machines are slow, and a test that passes waits
/// only as long as it must.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(5);

/// The time, for deadlines and for measuring what a timeout took.
#[expect(clippy::disallowed_methods, reason = "the clock of the tests")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Looks with `probe` until it finds something; at the deadline the test fails, naming `what`.
pub(crate) fn wait_for<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    wait_within(DEADLINE, probe)
        .unwrap_or_else(|| panic!("waited {DEADLINE:?} in vain for: {what}"))
}

/// The same with a deadline of its own, and none when nothing was found.
pub(crate) fn wait_within<T>(
    deadline: Duration,
    mut probe: impl FnMut() -> Option<T>,
) -> Option<T> {
    let start = now();
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if start.elapsed() > deadline {
            return None;
        }
        pause();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a condition is polled, never assumed"
)]
fn pause() {
    std::thread::sleep(POLL);
}
