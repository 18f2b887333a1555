//! What a pool holds of requests and responses.

use std::path::{Path, PathBuf};

use super::{
    errors::Problem,
    file::{Given, PoolKeys},
    resolve::{absolute, value},
    resolved::Bytes,
    sizes::Size,
    surroundings::{Found, Surroundings},
};

/// The keys from `request-buffering` to `response-buffer-size`; `spool-dir` is relative to `base`.
pub(super) fn bytes(
    keys: &PoolKeys,
    base: &Path,
    surroundings: &dyn Surroundings,
) -> Result<Bytes, Problem> {
    Ok(Bytes {
        request_buffering: value(
            keys.request_buffering.as_ref(),
            |given| *given,
            keys.asgi.is_none(),
        ),
        request_buffer_size: size(keys.request_buffer_size.as_ref(), 64 << 10),
        spool_dir: spool_dir(keys, base, surroundings)?,
        spool_limit: value(keys.spool_limit.as_ref(), |given| given.0, Some(1 << 30)),
        request_body_limit: value(keys.request_body_limit.as_ref(), |given| given.0, None),
        header_limit: size(keys.header_limit.as_ref(), 64 << 10),
        header_buffer_size: size(keys.header_buffer_size.as_ref(), 32 << 10),
        response_buffer_size: size(keys.response_buffer_size.as_ref(), 1 << 20),
    })
}

fn spool_dir(
    keys: &PoolKeys,
    base: &Path,
    surroundings: &dyn Surroundings,
) -> Result<PathBuf, Problem> {
    let Some(given) = &keys.spool_dir else {
        return Ok(PathBuf::from(SPOOL_DIR));
    };
    let path = absolute(base, &given.value);
    let shown = path.display();
    match surroundings.find(&path) {
        Ok(Found::Folder) => Ok(path),
        Ok(Found::File | Found::Program) => Err(given.spot.wrong(format!(
            "is {shown}, which is no folder: name one that the relay's account may write to"
        ))),
        Err(reason) => Err(given.spot.wrong(format!(
            "is {shown}, which cannot be found: {reason}: make the folder, and let the relay's account write to it"
        ))),
    }
}

fn size<const MIN: u64, const MAX: u64>(
    given: Option<&Given<Size<MIN, MAX>>>,
    default: u64,
) -> usize {
    usize::try_from(value(given, |given| given.0, default)).unwrap_or(usize::MAX)
}

/// A folder that everybody may write to, on a disk.
const SPOOL_DIR: &str = "/var/tmp";
