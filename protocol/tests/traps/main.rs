//! The places where FastCGI implementations have gone wrong, one test each: what hosts and workers really send, and what has to come of
//! it. They have numbers: `trap_01_hosts_` is about what web servers send, or want, `trap_02_workers_` about applications. The list is in
//! `tests/traps.rs` of the project, with those that are not for this crate to mind.

#[path = "../../fuzz/src/told.rs"]
#[expect(unreachable_pub, reason = "the fuzz crate exports it")]
mod told;

mod params;
mod records;
mod requests;
mod responses;
mod wire;
