//! One end of a SOCK_SEQPACKET socket: whole messages, descriptors attached.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
    UnixCredentials, recvmsg, sendmsg, setsockopt, socketpair, sockopt,
};
use tokio::io::{Interest, unix::AsyncFd};

use crate::descriptor::{own, register};

/// The largest message, in bytes.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// The most descriptors in a message.
const MAX_DESCRIPTORS: usize = 64;

/// Why a message could not be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other end is closed.
    #[error("the other end is closed")]
    Closed,
    /// A message was cut: it is larger than [`MAX_MESSAGE`].
    #[error("a message was cut")]
    Cut,
    /// The system's error.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// One end, registered with the runtime of the thread that made it.
#[derive(Debug)]
pub struct Channel {
    socket: AsyncFd<OwnedFd>,
}

impl Channel {
    /// A new pair: ours, registered, and the other end, non-blocking and close-on-exec, to be given away.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = Self::socket_pair()?;
        Ok((Self::new(ours)?, theirs))
    }

    /// A new pair of which neither end is ours: both non-blocking and close-on-exec, to be given away.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        Ok(pair)
    }

    /// The same as [`pair`](Self::pair); with what comes to our end the kernel says from whom.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn pair_with_credentials() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = Self::socket_pair()?;
        setsockopt(&ours, sockopt::PassCred, &true)?;
        Ok((Self::new(ours)?, theirs))
    }

    /// An end that was given to us.
    ///
    /// # Errors
    /// When it cannot be registered.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            socket: register(socket)?,
        })
    }

    /// Sends one message, waiting for room.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub async fn send(
        &self,
        bytes: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        self.socket
            .async_io(Interest::WRITABLE, |socket| {
                send_once(socket.as_raw_fd(), bytes, descriptors).map(drop)
            })
            .await?;
        Ok(())
    }

    /// Sends one message now; `WouldBlock` when there is no room.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub fn try_send(
        &self,
        bytes: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        send_once(self.socket.as_raw_fd(), bytes, descriptors)?;
        Ok(())
    }

    /// Receives one message into `buffer`; its length and its descriptors (close-on-exec).
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub async fn receive(&self, buffer: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), ChannelError> {
        self.socket
            .async_io(Interest::READABLE, |socket| {
                receive_once(socket.as_raw_fd(), buffer)
            })
            .await?
    }

    /// Receives one message into `buffer`; its length and who sent it, for an end that is told (`pair_with_credentials`). Descriptors that
    /// come with it are closed.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub async fn receive_from(
        &self,
        buffer: &mut [u8],
    ) -> Result<(usize, Option<UnixCredentials>), ChannelError> {
        self.socket
            .async_io(Interest::READABLE, |socket| {
                receive_all(socket.as_raw_fd(), buffer)
            })
            .await?
            .map(|received| (received.length, received.sender))
    }
}

/// What came with a message.
struct Received {
    length: usize,
    descriptors: Vec<OwnedFd>,
    sender: Option<UnixCredentials>,
}

/// One sendmsg on any unix socket; how many bytes were taken.
pub(crate) fn send_once(
    socket: RawFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    Ok(sendmsg::<()>(
        socket,
        &[IoSlice::new(bytes)],
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?)
}

/// One recvmsg on any unix socket: how many bytes, and the descriptors that came with them (close-on-exec).
pub(crate) fn receive_once(
    socket: RawFd,
    buffer: &mut [u8],
) -> io::Result<Result<(usize, Vec<OwnedFd>), ChannelError>> {
    let received = receive_all(socket, buffer)?;
    Ok(received.map(|received| (received.length, received.descriptors)))
}

fn receive_all(socket: RawFd, buffer: &mut [u8]) -> io::Result<Result<Received, ChannelError>> {
    let mut space = nix::cmsg_space!([RawFd; MAX_DESCRIPTORS], UnixCredentials);
    let mut parts = [IoSliceMut::new(buffer)];
    let received = recvmsg::<()>(
        socket,
        &mut parts,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    );
    let message = match received {
        // it closed its end with something of ours unread
        Err(Errno::ECONNRESET) => return Ok(Err(ChannelError::Closed)),
        received => received?,
    };
    let mut descriptors = Vec::new();
    let mut sender = None;
    for control in message.cmsgs()? {
        match control {
            ControlMessageOwned::ScmRights(received) => {
                descriptors.extend(received.into_iter().map(own));
            }
            ControlMessageOwned::ScmCredentials(credentials) => sender = Some(credentials),
            _ => {}
        }
    }
    // descriptors that did not come because we have no room for them: the receiver sees that they are missing
    if message.flags.contains(MsgFlags::MSG_TRUNC) {
        return Ok(Err(ChannelError::Cut));
    }
    if message.bytes == 0 {
        return Ok(Err(ChannelError::Closed));
    }
    Ok(Ok(Received {
        length: message.bytes,
        descriptors,
        sender,
    }))
}
