//! What the supervisor tells the shim: one message, then nothing. The shim answers nothing.

use std::{io, os::fd::OwnedFd};

use serde::{Deserialize, Serialize};
use stockade_policy::Limit;

use super::{Channel, ChannelError, MAX_MESSAGE};
use crate::{
    config::resolved::{LogLevel, Route},
    descriptor::own,
};

/// The version of the message. A reader takes this one only.
pub const VERSION: u16 = 1;
/// Where the launcher tells the control socket's number.
const CONTROL: &str = "STOCKADE_CONTROL_FD";

/// How to run. Descriptors: the listening sockets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimPlan {
    /// [`VERSION`].
    pub version: u16,
    /// `log-level`.
    pub log_level: LogLevel,
    /// `header-timeout`.
    pub header_timeout: Limit,
    /// `keep-alive-timeout`.
    pub keep_alive_timeout: Limit,
    /// `[[shim.route]]`.
    pub routes: Vec<Route>,
}

/// Why the shim could not be told how to run.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Nobody gave it a control socket.
    #[error(
        "could not take the control socket: {CONTROL} is not set; the shim is started by `stockade serve` and `stockade run`"
    )]
    NoControl,
    /// The control socket cannot be used.
    #[error("could not register the control socket: {0}")]
    Register(#[from] io::Error),
    /// Nothing came.
    #[error("could not read the control socket: {0}")]
    Control(#[from] ChannelError),
    /// It is no plan.
    #[error("could not read the supervisor's message: {0}")]
    Message(#[from] serde_json::Error),
    /// It is another version's.
    #[error("could not begin: the supervisor's message was not of version {VERSION}")]
    Version,
}

/// Waits for the plan, on the control socket that the launcher passed on. The socket lives on in the channel. To be called once.
///
/// # Errors
/// See [`PlanError`].
pub async fn receive() -> Result<(ShimPlan, Vec<OwnedFd>, Channel), PlanError> {
    let control = std::env::var(CONTROL)
        .ok()
        .and_then(|number| number.parse().ok())
        .ok_or(PlanError::NoControl)?;
    // the launcher made it for us, and nothing else in the process knows it
    let channel = Channel::new(own(control))?;
    let mut buffer = vec![0; MAX_MESSAGE];
    let (length, listeners) = channel.receive(&mut buffer).await?;
    let plan: ShimPlan = serde_json::from_slice(&buffer[..length])?;
    if plan.version != VERSION {
        return Err(PlanError::Version);
    }
    Ok((plan, listeners, channel))
}
