//! The places where FastCGI implementations have gone wrong, one test each: what hosts and applications really send, and
//! what has to come of it.

#[path = "../../fuzz/src/told.rs"]
#[expect(unreachable_pub, reason = "the fuzz crate exports it")]
mod told;

mod params;
mod records;
mod requests;
mod responses;
mod wire;
