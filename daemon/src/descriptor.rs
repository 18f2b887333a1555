//! Descriptors that the system gives as bare numbers become owned here, and owned ones are registered with the runtime.

use std::{
    io,
    os::fd::{FromRawFd, OwnedFd, RawFd},
};

use tokio::io::{Interest, unix::AsyncFd};

/// Owns a descriptor that the kernel has just made for us (accept, a message): nobody else may know its number.
#[expect(
    unsafe_code,
    reason = "nix gives bare numbers for accepted and received descriptors"
)]
pub(crate) fn own(raw: RawFd) -> OwnedFd {
    // SAFETY: see above; every caller has the number straight from the kernel.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

/// Registers a descriptor with this thread's runtime, for reading and writing.
///
/// # Errors
/// When the kernel does not take it.
pub(crate) fn register(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    register_for(descriptor, Interest::READABLE | Interest::WRITABLE)
}

/// Registers a descriptor with this thread's runtime, which is then woken for that only.
///
/// # Errors
/// When the kernel does not take it.
#[expect(
    unsafe_code,
    reason = "a type whose descriptor could change would be unsound; OwnedFd's cannot"
)]
pub(crate) fn register_for(
    descriptor: OwnedFd,
    interest: Interest,
) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd has the same open descriptor for as long as it lives, and it lives in the AsyncFd.
    unsafe { AsyncFd::register_with_interest(descriptor, interest) }.map_err(io::Error::from)
}
