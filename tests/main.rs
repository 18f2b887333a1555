//! Black-box tests: the built binary with real hosts and real applications.
//!
//! One module a theme. Every test has a folder, sockets and processes of its own, so they run in parallel; all wait for conditions with
//! a deadline, none for time to pass. What they need from the system is listed in `support/tools.rs`; `make test` installs it.

#![expect(
    clippy::print_stderr,
    reason = "a failed test shows the logs of what it ran"
)]

mod support;

mod access_log;
mod admin;
mod apache;
mod asgi;
mod asgi_conformance;
mod buffering;
mod call;
mod cgroups;
mod check;
mod complaints;
mod confinement;
mod connections;
mod deadlines;
mod descriptors;
mod django;
mod faults;
mod filter;
mod flask;
mod floods;
mod frameworks;
mod frameworks_asgi;
mod greenlets;
mod hangs;
mod headers;
mod hosts;
mod interrupts;
mod libraries;
mod logging;
mod memory;
mod misbehaving;
mod module;
mod mount;
mod multiplex;
mod nginx;
mod peers;
mod php;
mod pools;
mod post_mortem;
mod preload;
mod programs;
mod pythons;
mod relay;
mod relay_deaths;
mod reload;
mod replacement;
mod run;
mod scale;
mod serve;
mod service;
mod shim;
mod stacks;
mod start;
mod status;
mod strays;
mod systemd;
mod thousand;
mod traps;
mod upstream;
mod usage;
mod watching;
mod wheel;
mod workers;
mod wsgi;
mod wsgi_conformance;
