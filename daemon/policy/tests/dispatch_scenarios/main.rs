//! What the dispatch machine does, told as timelines (see `timeline`).

mod leases;
mod queue;
mod replay;
mod running;
mod slow;
mod timeline;
mod timeouts;
mod workers;
