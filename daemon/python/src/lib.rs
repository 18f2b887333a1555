//! The Python adapter: a WSGI or ASGI application becomes a FastCGI worker.
//!
//! The worker's process is a Python interpreter which loads this extension from a descriptor that the launcher passed on, and calls
//! [`main`](start). It owns what happens between the listening socket and the application: [`server`] waits for connections and
//! requests, [`connection`] speaks FastCGI, [`environ`] and [`call`] speak WSGI (PEP 3333), [`exchange`] is the one request
//! between them. For ASGI the waiting is an event loop's ([`asgi`]), for gevent and eventlet a hub's ([`hub`]), and only the wire is ours ([`codec`],
//! [`scopes`]). [`hearing`] is a thread of its own that hears the supervisor; [`helper`] is another, which breaks off requests
//! ([`interrupt`]), tells what every thread is doing ([`stacks`]) and shows that the interpreter goes on ([`heartbeat`]). The interpreter's lock is released whenever the process waits. No policy is here: timeouts, queueing and
//! replacement belong to the relay and the supervisor.

mod arguments;
mod asgi;
mod body;
mod call;
mod codec;
mod connection;
mod control;
mod descriptor;
mod environ;
mod errands;
mod exchange;
mod head;
mod hearing;
mod heartbeat;
mod helper;
mod hub;
mod input;
mod interrupt;
mod loops;
mod module;
mod page;
mod previous;
mod reply;
mod report;
mod response;
mod scopes;
mod server;
mod stacks;
mod start;
mod stop;
mod template;
mod title;
mod traces;
mod warm;
mod wire;

use pyo3::prelude::*;

/// The extension module.
#[pymodule]
fn stockade_python(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<codec::Codec>()?;
    module.add_function(wrap_pyfunction!(start::main, module)?)
}
