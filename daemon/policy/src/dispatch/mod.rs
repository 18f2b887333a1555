//! One pool's slots, queue and deadlines: which request goes where, and when one has waited or run too long.
//!
//! Owns: who is idle, who waits, what runs where. Never sees a byte: see the relay (crate `stockade-daemon`, `relay`).

mod vocabulary;

pub use vocabulary::{Action, Event, RefusalCause, RequestKey, Retry, Settings, Snapshot};
