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
//! - `pool`: how many workers, of which generation, and which may go.
//! - `health`: failures in a row and the wait they cost.
//! - `life`: what an event means to one worker.
//!
//! To the shell: hand in events before timeouts, so that a worker whose good news and whose deadline came in the same
//! moment lives; take all actions after each call; save the state (`serde`) at any moment.

mod context;
mod health;
mod life;
mod machine;
mod pool;
mod snapshot;
mod vocabulary;

pub use machine::Supervision;
pub use snapshot::{PoolSnapshot, Snapshot, WorkerSnapshot, WorkerState};
pub use vocabulary::{Action, Cause, Event, Exit, Scale, Settings};
