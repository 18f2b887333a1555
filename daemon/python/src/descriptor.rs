//! Descriptors that the launcher passed on, told by number in the environment.

use std::{
    io,
    os::fd::{FromRawFd, OwnedFd, RawFd},
};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// Takes the descriptor over, if it is of this kind ("socket:", "/memfd:"); programs that the application starts do not get it.
#[expect(
    unsafe_code,
    reason = "a descriptor that is told by number becomes owned here"
)]
pub(crate) fn take(descriptor: RawFd, kind: &str) -> io::Result<OwnedFd> {
    let link = std::fs::read_link(format!("/proc/self/fd/{descriptor}"))?;
    let link = link.as_os_str().as_encoded_bytes();
    if descriptor <= 2 || !link.starts_with(kind.as_bytes()) {
        let message = format!("it is no {}", kind.trim_matches([':', '/']));
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    // SAFETY: it is open, as the link shows, and the launcher passed it on for us alone.
    let owned = unsafe { OwnedFd::from_raw_fd(descriptor) };
    fcntl(&owned, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(owned)
}

/// Owns a descriptor that the kernel has just made for us (a message): nobody else may know its number.
#[expect(
    unsafe_code,
    reason = "nix gives bare numbers for received descriptors"
)]
pub(crate) fn own(raw: RawFd) -> OwnedFd {
    // SAFETY: see above; the caller has the number straight from the kernel.
    unsafe { OwnedFd::from_raw_fd(raw) }
}
