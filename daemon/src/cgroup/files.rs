//! The files of a cgroup.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::Path,
    time::Duration,
};

use nix::{
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

/// Opens a file of a cgroup to be written to; one that is not there is not made. Lowering a limit does not wait for what it takes
/// from the processes.
pub(super) fn open(cgroup: &Path, file: &str) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(cgroup.join(file))
}

/// Writes a word into a file of a cgroup.
pub(super) fn write(cgroup: &Path, file: &str, word: &str) -> io::Result<()> {
    open(cgroup, file)?.write_all(word.as_bytes())
}

/// Whether it has this file; it has those of its controllers.
pub(super) fn has(cgroup: &Path, file: &str) -> bool {
    cgroup.join(file).exists()
}

/// Whether a file that is a list of words has this one.
pub(super) fn lists(cgroup: &Path, file: &str, word: &str) -> bool {
    fs::read_to_string(cgroup.join(file))
        .is_ok_and(|text| text.split_whitespace().any(|each| each == word))
}

/// The number behind `key`, in a file of lines with a key and a number each.
pub(super) fn count(cgroup: &Path, file: &str, key: &str) -> Option<u64> {
    counted(&fs::read_to_string(cgroup.join(file)).ok()?, key)
}

fn counted(text: &str, key: &str) -> Option<u64> {
    let mut counts = text.lines().filter_map(|line| line.split_once(' '));
    let (_, count) = counts.find(|(each, _)| *each == key)?;
    count.trim().parse().ok()
}

/// Kills what is in a cgroup and in those below it, and waits until all are gone; false when they are not within `patience`.
pub(super) fn clear(cgroup: &Path, patience: Duration) -> io::Result<bool> {
    let mut events = File::open(cgroup.join("cgroup.events"))?;
    let mut text = String::new();
    // a change between the reading and the waiting ends the waiting
    for turn in 0..3 {
        events.rewind()?;
        text.clear();
        events.read_to_string(&mut text)?;
        if counted(&text, "populated") == Some(0) {
            return Ok(true);
        }
        if turn == 0 {
            write(cgroup, "cgroup.kill", "1")?;
        }
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        poll(
            &mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)],
            timeout,
        )?;
    }
    Ok(false)
}

/// Removes a cgroup without processes, and those below it.
pub(super) fn remove(cgroup: &Path) -> io::Result<()> {
    for entry in fs::read_dir(cgroup)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_found_by_their_keys() {
        let text = "low 0\nhigh 0\nmax 35\noom 1\noom_kill 3\noom_group_kill 1\n";
        assert_eq!(counted(text, "oom"), Some(1));
        assert_eq!(counted(text, "oom_kill"), Some(3));
        assert_eq!(counted(text, "oom_"), None);
        assert_eq!(counted("", "oom"), None);
    }

    #[test]
    fn files_are_read_and_written_but_never_made() {
        let folder = tempfile::tempdir().unwrap();
        let cgroup = folder.path();
        fs::write(cgroup.join("cgroup.controllers"), "cpu memory\n").unwrap();
        assert!(lists(cgroup, "cgroup.controllers", "memory"));
        assert!(!lists(cgroup, "cgroup.controllers", "mem"));
        fs::write(cgroup.join("memory.current"), "4096\n").unwrap();
        write(cgroup, "memory.current", "17").unwrap();
        assert_eq!(
            fs::read_to_string(cgroup.join("memory.current")).unwrap(),
            "1796\n"
        );
        let error = write(cgroup, "memory.max", "17").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(!has(cgroup, "memory.max"));
    }

    #[test]
    fn what_is_below_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let cgroup = folder.path().join("stockade");
        fs::create_dir_all(cgroup.join("pool.blog/worker.1")).unwrap();
        fs::create_dir(cgroup.join("supervisor")).unwrap();
        remove(&cgroup).unwrap();
        assert!(!cgroup.exists());
    }
}
