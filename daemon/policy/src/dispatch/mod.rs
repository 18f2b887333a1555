//! One pool's slots, queue and deadlines: which request goes where, and when one has waited or run too long.
//!
//! Owns: who is idle, who waits, what runs where. Never sees a byte: see the relay (crate `stockade-daemon`, `relay`).
//!
//! The machine is on the path of every request, so an entry costs the same however many wait or run: requests and
//! workers are found by their place in a table, order is kept by chains through these tables, and nothing is
//! allocated once the tables have grown to what the pool needs.
//!
//! - `machine`: the contract and the switchboard;
//! - `waiting`: the queue's rules, refusals; `running`: from the hand-out to the end, replay; `timeouts`: when it has run for too long;
//!   `slow`: requests that run for long; `load`: how the pool is used; `inactivity`: workers that are not; `offers`: what becomes of a worker; `leases`: slots that go from one relay to another;
//! - `requests`, `queue`, `workers`, `ranks`, `chain`: the tables; `drain`: how fast slots become free;
//! - `watchdog`: looks whether somebody waits while a slot is free; `check`: what must be true between two entries.

mod chain;
mod check;
mod drain;
mod inactivity;
mod leases;
mod load;
mod machine;
mod offers;
mod queue;
mod ranks;
mod requests;
mod running;
mod slow;
mod timeouts;
mod vocabulary;
mod waiting;
mod watchdog;
mod workers;

pub use load::Scale;
pub use machine::Dispatch;
pub use vocabulary::{
    Action, Event, RefusalCause, RequestKey, Retry, Settings, Snapshot, TimeoutCause, WorkerFigures,
};
