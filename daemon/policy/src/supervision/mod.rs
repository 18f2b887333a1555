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

mod vocabulary;

pub use vocabulary::{Action, Cause, Event, Exit, Settings};
