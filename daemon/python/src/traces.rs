//! What every thread is doing, found out without the interpreter's lock: by the interpreter's own `faulthandler`, which is made for that.
//!
//! Its handler of a signal runs in C, in the thread that the signal is sent to: ours, so that no call of the application is disturbed. It
//! writes to a file in memory. It walks the threads' frames as they are, which stand still while whoever has the lock does not give it
//! away: so it is asked only when the lock has not been obtained for long.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Read as _, Seek as _},
    os::fd::AsRawFd as _,
    sync::{Arc, Mutex, PoisonError},
};

use nix::{
    libc,
    sys::memfd::{MFdFlags, memfd_create},
};
use pyo3::{prelude::*, types::PyDict};

/// How far above SIGRTMIN the signal is that `faulthandler` has.
const SIGNAL: i32 = 22;
/// The most that is read of what it wrote.
const MOST: u64 = 256 * 1024;
/// The beginnings of lines that say nothing of the application.
const LEFT_OUT: [&str; 3] = [
    "<no Python frame>",
    "File \"<string>\"",
    "File \"<stockade ",
];

/// See the module.
#[derive(Debug)]
pub(crate) struct Traces {
    signal: i32,
    file: File,
    names: Names,
}

/// The names of threads, by what `threading.get_ident` tells.
pub(crate) type Names = Arc<Mutex<Vec<(u64, String)>>>;

impl Traces {
    /// Registers the signal.
    pub(crate) fn register(py: Python<'_>, names: Names) -> PyResult<Self> {
        let file = memfd_create(c"stacks", MFdFlags::MFD_CLOEXEC).map_err(io::Error::from)?;
        let first: i32 = py.import("signal")?.getattr("SIGRTMIN")?.extract()?;
        let traces = Self {
            signal: first + SIGNAL,
            file: File::from(file),
            names,
        };
        let options = PyDict::new(py);
        options.set_item("file", traces.file.as_raw_fd())?;
        options.set_item("all_threads", true)?;
        options.set_item("chain", false)?;
        py.import("faulthandler")?
            .call_method("register", (traces.signal,), Some(&options))?;
        Ok(traces)
    }

    /// What every thread is doing; nothing: the interpreter did not tell.
    pub(crate) fn read(&self) -> io::Result<String> {
        let mut file = &self.file;
        file.set_len(0)?;
        file.rewind()?;
        raise(self.signal)?;
        file.rewind()?;
        let mut written = Vec::new();
        file.take(MOST).read_to_end(&mut written)?;
        Ok(self.reworded(&String::from_utf8_lossy(&written)))
    }

    /// As everywhere else: with the threads' names, the innermost call last.
    fn reworded(&self, written: &str) -> String {
        let mut text = String::new();
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = written.lines().peekable();
        while let Some(line) = lines.next() {
            let Some(thread) = ident(line) else {
                continue;
            };
            let mut frames = Vec::new();
            while let Some(frame) = lines.next_if(|line| line.starts_with("  ")) {
                frames.push(frame);
            }
            // threads that run no Python, ours among them, and what leads to the application
            frames.retain(|frame| !LEFT_OUT.iter().any(|it| frame.trim_start().starts_with(it)));
            while (frames.last()).is_some_and(|frame| frame.contains("/threading.py\", line ")) {
                frames.pop();
            }
            if frames.is_empty() {
                continue;
            }
            let known = names.iter().find(|(of, _)| *of == thread);
            match known {
                Some((_, name)) => writeln!(text, "\nthread {name}"),
                None => writeln!(text, "\nthread {thread:#x}"),
            }
            .expect("text can be written to");
            for frame in frames.iter().rev() {
                match frame.rsplit_once(" in ") {
                    Some((place, function)) => writeln!(text, "{place}, in {function}"),
                    None => writeln!(text, "{frame}"),
                }
                .expect("text can be written to");
            }
        }
        text
    }
}

/// Of "Thread 0x00007f0000000000 (most recent call first):", or the like.
fn ident(line: &str) -> Option<u64> {
    let rest = line
        .strip_prefix("Current thread 0x")
        .or_else(|| line.strip_prefix("Thread 0x"))?;
    let digits = rest.split(|c: char| !c.is_ascii_hexdigit()).next()?;
    u64::from_str_radix(digits, 16).ok()
}

/// Sends this thread a signal, and returns when its handler has run.
#[expect(unsafe_code, reason = "nix has no signals above the named ones")]
fn raise(signal: i32) -> io::Result<()> {
    // SAFETY: it touches no memory of ours, and the signal's handler is `faulthandler`'s.
    match unsafe { libc::raise(signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
