//! What the daemon decides, and nothing of how it is done.
//!
//! Two machines: [`supervision`] (workers' lives; it runs in the supervisor) and [`dispatch`] (one pool's slots,
//! queue and deadlines; it runs in the relay). Both have one contract: past-tense events and a time go in through
//! `handle(event, now)` and `handle_timeout(now)`, imperative actions come out of `poll_action()`, and
//! `poll_timeout()` says when to call again. No input or output, no clock, no randomness: time and seeds are
//! arguments, so the same events give the same actions.
#![forbid(unsafe_code)]
#![deny(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm
)]

pub mod dispatch;
pub mod supervision;
pub mod upstream;

mod backoff;
mod ids;
mod random;
mod time;

pub use backoff::Backoff;
pub use ids::{Generation, PoolId, PoolState, WorkerId};
pub use random::Random;
pub use time::{Limit, Time};
