//! The powers of root, one by one: the program has none, and gets none.

use caps::{CapSet, errors::CapsError};
use nix::{errno::Errno, libc};

use super::plan::Failure;

/// While we may: what is not in the bounding set no program that is executed can give, and being root is no power by itself.
/// Somebody who was never root cannot change either, and has no way to one that `no_new_privs` leaves open.
pub(super) fn bound() -> Result<(), Failure> {
    let failed = |error: CapsError| Failure::of("drop capabilities", error);
    if !caps::has_cap(None, CapSet::Effective, caps::Capability::CAP_SETPCAP).map_err(failed)? {
        return Ok(());
    }
    // before the bounding set, which CAP_SETPCAP is in
    lock_securebits().map_err(|error| Failure::of("lock the securebits", error.desc()))?;
    caps::clear(None, CapSet::Bounding).map_err(failed)
}

/// What we have ourselves: as root's the change of the account has taken it, but one who is not root may have been given some, and
/// who has made a namespace has all in it.
pub(super) fn drop_all() -> Result<(), Failure> {
    let failed = |error: CapsError| Failure::of("drop capabilities", error);
    for set in [
        CapSet::Ambient,
        CapSet::Effective,
        CapSet::Permitted,
        CapSet::Inheritable,
    ] {
        caps::clear(None, set).map_err(failed)?;
    }
    Ok(())
}

/// Root's number gives no capability, none is kept over a change of the account, none becomes ambient; for good.
#[expect(unsafe_code, reason = "prctl(PR_SET_SECUREBITS) has no safe wrapper")]
fn lock_securebits() -> nix::Result<()> {
    let bits: libc::c_ulong =
        NOROOT | NOROOT_LOCKED | KEEP_CAPS_LOCKED | NO_AMBIENT | NO_AMBIENT_LOCKED;
    let none: libc::c_ulong = 0;
    // SAFETY: the call takes numbers, and changes flags of this process alone.
    let result = unsafe { libc::prctl(libc::PR_SET_SECUREBITS, bits, none, none, none) };
    Errno::result(result).map(drop)
}

const NOROOT: libc::c_ulong = 1;
const NOROOT_LOCKED: libc::c_ulong = 1 << 1;
const KEEP_CAPS_LOCKED: libc::c_ulong = 1 << 5;
const NO_AMBIENT: libc::c_ulong = 1 << 6;
const NO_AMBIENT_LOCKED: libc::c_ulong = 1 << 7;
