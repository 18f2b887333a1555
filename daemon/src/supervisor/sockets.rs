//! The sockets of pools and of workers: bound by the supervisor, for it may be root and the one that accepts is not.
//!
//! A unix socket is never open to more than it should be, not even for a moment: it is made with mode 0600 and opened up
//! by owner, group and mode afterwards, through a descriptor of the very inode: whoever owns the folder may swap names.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, FcntlArg, OFlag, fcntl},
    libc,
    sys::{
        socket::{
            AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
        },
        stat::{Mode, fchmod},
    },
    unistd::{Gid, Uid, fchownat},
};

use super::error::SupervisorError;
use crate::config::resolved::SocketOwner;

/// The backlog of a worker's socket beyond its slots, for the relay connects once a slot: probes, knocks, connections that it has
/// let go of and the worker has not taken yet.
const WORKER_BACKLOG: u32 = 128;

/// A unix socket: bound and listening, non-blocking.
#[derive(Debug)]
pub(super) struct Bound {
    /// The socket.
    pub(super) listener: OwnedFd,
    /// Its name.
    pub(super) file: SocketFile,
}

/// A socket's name in the file system. Goes with this value, unless somebody else has taken the name since.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

/// Binds a unix socket that others connect to. A socket file on which nobody answers is replaced.
pub(super) fn bind_public(
    path: &Path,
    owner: SocketOwner,
    backlog: i32,
) -> Result<Bound, SupervisorError> {
    remove_stale(path)?;
    let failed = |error| SupervisorError::unix(path, error);
    let (listener, file) = bind_unix(path, owner, backlog).map_err(failed)?;
    set_nonblocking(&listener).map_err(failed)?;
    Ok(Bound { listener, file })
}

/// Binds a TCP address, non-blocking.
pub(super) fn bind_tcp(address: SocketAddr, backlog: i32) -> Result<TcpListener, SupervisorError> {
    let failed = |error| SupervisorError::tcp(address, error);
    // The standard library sets SO_REUSEADDR.
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    listen_with(&listener, backlog).map_err(failed)?;
    Ok(listener)
}

/// Makes a worker's socket, reachable by `relay` alone. Blocking: a worker accepts on it as it likes.
pub(super) fn bind_worker(
    path: &Path,
    relay: Option<(u32, u32)>,
    slots: u32,
) -> io::Result<(OwnedFd, SocketFile)> {
    let owner = SocketOwner {
        uid: relay.map(|(uid, _)| uid),
        gid: relay.map(|(_, gid)| gid),
        mode: 0o600,
    };
    let backlog = i32::try_from(WORKER_BACKLOG.saturating_add(slots)).unwrap_or(i32::MAX);
    bind_unix(path, owner, backlog)
}

/// Connects once and closes: wakes a program that had looked for its stop-signal just before it began to accept.
pub(super) fn knock(path: &Path) -> io::Result<()> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let knocker = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    Ok(connect(knocker.as_raw_fd(), &UnixAddr::new(path)?)?)
}

fn remove_stale(path: &Path) -> Result<(), SupervisorError> {
    let failed = |error| SupervisorError::unix(path, error);
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(SupervisorError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match knock(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        // A full backlog is an answer too.
        Ok(()) => Err(in_use(path)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(in_use(path)),
        Err(error) => Err(failed(error)),
    }
}

fn in_use(path: &Path) -> SupervisorError {
    SupervisorError::AddressInUse(format!("unix:{}", path.display()))
}

fn bind_unix(path: &Path, owner: SocketOwner, backlog: i32) -> io::Result<(OwnedFd, SocketFile)> {
    let address = UnixAddr::new(path)?;
    let listener = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // The mode the name is made with.
    fchmod(&listener, Mode::S_IRUSR | Mode::S_IWUSR)?;
    bind(listener.as_raw_fd(), &address)?;
    let inode = open_inode(path)?;
    let found = inode.metadata()?;
    if !found.file_type().is_socket() {
        return Err(io::Error::other("the socket was replaced as it was made"));
    }
    let file = SocketFile {
        path: path.to_owned(),
        inode: (found.dev(), found.ino()),
    };
    give(&inode, owner)?;
    listen_with(&listener, backlog)?;
    Ok((listener, file))
}

fn open_inode(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_NOFOLLOW)
        .open(path)
}

fn give(inode: &File, owner: SocketOwner) -> io::Result<()> {
    fchownat(
        inode,
        "",
        owner.uid.map(Uid::from_raw),
        owner.gid.map(Gid::from_raw),
        AtFlags::AT_EMPTY_PATH,
    )?;
    fs::set_permissions(
        format!("/proc/self/fd/{}", inode.as_raw_fd()),
        Permissions::from_mode(owner.mode),
    )
}

/// Sets O_NONBLOCK on what this descriptor and its copies share.
pub(super) fn set_nonblocking(descriptor: &OwnedFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(descriptor, FcntlArg::F_GETFL)?);
    fcntl(descriptor, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Listens, or changes the backlog of a socket that does. The kernel cuts it to net.core.somaxconn.
pub(super) fn listen_with(listener: &impl AsFd, backlog: i32) -> io::Result<()> {
    let backlog = match Backlog::new(backlog) {
        Ok(backlog) => backlog,
        Err(Errno::EINVAL) => Backlog::MAXALLOWABLE,
        Err(error) => return Err(error.into()),
    };
    Ok(listen(listener, backlog)?)
}

impl SocketFile {
    /// Whether the name is still that of our socket.
    pub(super) fn is_ours(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.inode)
    }

    /// Changes owner and mode.
    pub(super) fn give_to(&self, owner: SocketOwner) -> Result<(), SupervisorError> {
        let given = open_inode(&self.path).and_then(|inode| {
            let found = inode.metadata()?;
            if (found.dev(), found.ino()) == self.inode {
                give(&inode, owner)
            } else {
                Err(io::Error::other("somebody else has taken the name"))
            }
        });
        let shown = self.path.display();
        let step = format!("change owner and mode of the socket {shown}");
        given.map_err(SupervisorError::step(step))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_ours()
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!("could not remove {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    const OWNER: SocketOwner = SocketOwner {
        uid: None,
        gid: None,
        mode: 0o660,
    };

    fn bind_blog(path: &Path) -> Result<Bound, SupervisorError> {
        bind_public(path, OWNER, 16)
    }

    #[test]
    fn a_socket_has_its_mode_and_goes_with_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blog.sock");
        let bound = bind_blog(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o660);
        assert!(UnixStream::connect(&path).is_ok());
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blog.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let _bound = bind_blog(&path).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn a_socket_that_answers_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blog.sock");
        let other = UnixListener::bind(&path).unwrap();
        let error = bind_blog(&path).unwrap_err();
        assert!(matches!(error, SupervisorError::AddressInUse(_)), "{error}");
        assert_eq!(error.exit_code(), 75);
        assert!(UnixStream::connect(&path).is_ok());
        drop(other);
    }

    #[test]
    fn a_file_in_the_way_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blog.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(
            bind_blog(&path).unwrap_err(),
            SupervisorError::NotASocket(_)
        ));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_name_that_somebody_took_over_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blog.sock");
        let bound = bind_blog(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(bound);
        assert!(path.exists());
    }

    #[test]
    fn a_taken_port_is_temporary() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = bind_tcp(address, 16).unwrap_err();
        assert_eq!(error.exit_code(), 75);
        assert!(error.to_string().contains(&address.to_string()));
    }

    #[test]
    fn a_port_that_is_roots_is_told_with_the_remedy() {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        let error = SupervisorError::tcp(address, Errno::EACCES.into());
        assert_eq!(error.exit_code(), 77);
        let said = error.to_string();
        assert!(
            said.contains("choose a higher one, or start this as root"),
            "{said}"
        );
    }
}
