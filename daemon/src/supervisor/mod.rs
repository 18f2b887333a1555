//! The supervisor.

mod error;
mod process;
mod runtime_dir;
mod sockets;
mod spawn;

pub use error::SupervisorError;
