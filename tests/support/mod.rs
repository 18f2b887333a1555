//! What the black-box tests share: the daemon under test, the hosts in front of it, and the means to watch both.

pub(crate) mod apache;
pub(crate) mod built;
pub(crate) mod deadline;
pub(crate) mod document;
pub(crate) mod fcgi;
pub(crate) mod hangs;
pub(crate) mod host;
pub(crate) mod hosts;
pub(crate) mod http;
mod http_body;
pub(crate) mod load;
pub(crate) mod log;
pub(crate) mod nginx;
pub(crate) mod pattern;
pub(crate) mod probe;
pub(crate) mod process;
pub(crate) mod running;
pub(crate) mod server;
pub(crate) mod site;
pub(crate) mod stockade;
pub(crate) mod tools;
