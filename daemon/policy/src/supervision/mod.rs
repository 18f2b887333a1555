//! Workers' lives: how many there should be, and what becomes of each.
//!
//! ```text
//!            StartWorker          WorkerReady            (drained, or its deadline passed)
//!  wanted ──────────────▶ Starting ─────────▶ Ready ──▶ Retiring ──▶ Stopping ──▶ Killing ──▶ gone
//!                            │                  │                       ▲            (stop-signal)  (KILL)
//!                            └──────────────────┴── it died ────────────┴───────────────────────▶ gone
//! ```
//! Owns: the target of each pool, generations, backoff, replacement, stopping. Never does anything itself: see
//! the supervisor's shell (crate `stockade-daemon`, `supervisor`).
//!
//! Where what is decided, from the whole to the part:
//! - `machine`: all pools; which pool an event is for; stopping the daemon.
//! - `room`: what all pools may have together.
//! - `pool`: how many workers, of which generation, and which may go.
//! - `demand`: how many are wanted, by how the pool is used; `shedding`: how those above that go.
//! - `health`: failures in a row and the wait they cost.
//! - `life`: what an event means to one worker.
//!
//! To the shell: hand in events before timeouts, so that a worker whose good news and whose deadline came in the same
//! moment lives; take all actions after each call; save the state (`serde`) at any moment.

mod context;
mod demand;
mod health;
mod life;
mod machine;
mod pool;
mod room;
mod shedding;
mod snapshot;
mod vocabulary;

pub use machine::Supervision;
pub use snapshot::{PoolSnapshot, Snapshot, WorkerSnapshot, WorkerState};
pub use vocabulary::{Action, Cause, Event, Exit, Scale, Settings};

fn size(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
