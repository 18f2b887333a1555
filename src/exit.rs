//! Exit codes that say more than "failed" (1); wrong usage is 2, which `clap` sees to.

/// Wrong usage.
pub(crate) const USAGE: u8 = 2;
/// It failed.
pub(crate) const FAILED: u8 = 1;
/// The daemon, or what is called, cannot be reached.
pub(crate) const UNREACHABLE: u8 = 69;
/// Not permitted.
pub(crate) const NOT_PERMITTED: u8 = 77;
/// Something is wrong in the configuration.
pub(crate) const CONFIGURATION: u8 = 78;
