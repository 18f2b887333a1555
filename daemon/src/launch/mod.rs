//! The launcher: a fresh, single-threaded process that takes a plan, confines itself and becomes the worker by exec.

pub mod plan;
pub mod python;
