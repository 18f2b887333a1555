//! Exit codes that say more than "failed" (1); wrong usage is 2, which `clap` sees to.

/// Wrong usage.
pub(crate) const USAGE: u8 = 2;
/// The daemon cannot be reached, or what it was asked is not there.
pub(crate) const FAILED: u8 = 1;
/// Not permitted.
pub(crate) const NOT_PERMITTED: u8 = 77;
/// Something is wrong in the configuration.
pub(crate) const CONFIGURATION: u8 = 78;
