//! `display-name`: what `ps` shows of the process.
//!
//! It is written over the arguments that the process was started with, when Python has read them: `argv[0]` itself has to be the
//! interpreter's path, for Python finds its virtual environment by it.

use std::{fs, io, ops::Range};

/// Sets the title. What is longer than the arguments is cut.
pub(crate) fn set(title: &str) -> io::Result<()> {
    let arguments = arguments()?;
    let bytes = written(title.as_bytes(), arguments.len());
    if !bytes.is_empty() {
        overwrite(&arguments, &bytes);
    }
    Ok(())
}

/// What fills `room`: the title, and a last byte that is not zero, by which the kernel knows that it ends where its text ends.
fn written(title: &[u8], room: usize) -> Vec<u8> {
    let Some(longest) = room.checked_sub(2) else {
        return Vec::new();
    };
    let mut bytes = title[..title.len().min(longest)].to_vec();
    bytes.resize(room, 0);
    if let Some(last) = bytes.last_mut() {
        *last = b' ';
    }
    bytes
}

/// Where the arguments are in our memory.
fn arguments() -> io::Result<Range<usize>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // behind the name, which may have anything in it: from the third field on
    let (_, fields) = stat.rsplit_once(')').ok_or(io::ErrorKind::InvalidData)?;
    let mut fields = fields.split_ascii_whitespace().skip(ARG_START);
    let mut next = || fields.next()?.parse().ok();
    match (next(), next()) {
        (Some(start), Some(end)) if start != 0 && start < end => Ok(start..end),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[expect(
    unsafe_code,
    reason = "the arguments are nobody's memory in the eyes of Rust"
)]
fn overwrite(arguments: &Range<usize>, bytes: &[u8]) {
    debug_assert_eq!(arguments.len(), bytes.len());
    let target: *mut u8 = std::ptr::with_exposed_provenance_mut(arguments.start);
    // SAFETY: the kernel has put the arguments there, on the stack that the process began with, writable and as long as the process is;
    // Python has copied them, and what the C library keeps of them (program_invocation_name) is read up to a zero byte, of which there
    // is one before the last byte. `bytes` is as long and lies elsewhere.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
}

/// Fields between the third one of /proc/PID/stat and arg_start, the 48th.
const ARG_START: usize = 45;
