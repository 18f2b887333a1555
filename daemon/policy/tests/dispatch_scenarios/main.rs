//! What the dispatch machine does, told as timelines (see `timeline`).

mod inactivity;
mod interrupts;
mod leases;
mod load;
mod queue;
mod replay;
mod running;
mod slow;
mod timeline;
mod timeouts;
mod workers;
