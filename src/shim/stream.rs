//! A connection to a pool, unix or TCP, that is read and written at the same time.

use std::io;

use stockade_daemon::config::resolved::Listen;
use tokio::{
    io::Interest,
    net::{TcpStream, UnixStream},
};

/// The connection.
#[derive(Debug)]
pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    /// A new one.
    pub(super) async fn connect(address: &Listen) -> io::Result<Self> {
        Ok(match address {
            Listen::Unix(path) => Self::Unix(UnixStream::connect(path).await?),
            Listen::Systemd(name) => {
                return Err(io::Error::other(format!(
                    "systemd:{name} is no address to connect to"
                )));
            }
            Listen::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Self::Tcp(stream)
            }
        })
    }

    /// Some bytes; none: the other side has ended.
    pub(super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => {
                let read = || stream.try_read(buffer);
                stream.async_io(Interest::READABLE, read).await
            }
            Self::Tcp(stream) => {
                let read = || stream.try_read(buffer);
                stream.async_io(Interest::READABLE, read).await
            }
        }
    }

    /// Writes some of the bytes.
    pub(super) async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => {
                let write = || stream.try_write(bytes);
                stream.async_io(Interest::WRITABLE, write).await
            }
            Self::Tcp(stream) => {
                let write = || stream.try_write(bytes);
                stream.async_io(Interest::WRITABLE, write).await
            }
        }
    }

    /// Writes all of them.
    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = self.write(bytes).await?;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// Between requests: nothing has come, not even the end.
    pub(super) fn is_quiet(&self) -> bool {
        let mut byte = [0];
        let read = match self {
            Self::Unix(stream) => stream.try_read(&mut byte),
            Self::Tcp(stream) => stream.try_read(&mut byte),
        };
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}
