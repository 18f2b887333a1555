//! The Stockade daemon: the supervisor, the relay and the launcher, each a process of its own.
//!
//! What is decided is decided in `stockade-policy`; what is here only translates between it and the system.

mod cgroup;
pub mod clock;
pub mod config;
pub mod control;
mod descriptor;
pub mod launch;
pub mod log;
pub mod relay;
pub mod supervisor;
