//! What an idle process need not keep in memory of the files it has mapped.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    ops::Range,
};

use rustix::{
    io::Errno,
    mm::{Advice, madvise},
};

/// Gives up the pages of code and constants that this process has in memory: of its start, or of importing an application, it has
/// many that nobody needs again. Those that are needed come back one by one, from the file or from the kernel's cache of it.
///
/// It allocates next to nothing: what it freed again would be holes in the heap of a process that is about to be forked, and each
/// fork would fill them for itself.
///
/// # Errors
/// That `/proc/self/smaps` cannot be read; then pages stay where they are.
pub fn give_up_code() -> io::Result<()> {
    let mut maps = BufReader::with_capacity(4096, File::open("/proc/self/smaps")?);
    let mut line = Vec::with_capacity(512);
    let mut found = None;
    loop {
        line.clear();
        let is_end = maps.read_until(b'\n', &mut line)? == 0;
        // the path of a file may be anything
        let text = String::from_utf8_lossy(&line);
        if is_end || text.starts_with("VmFlags:") {
            if let Some(range) = found.take() {
                give_up(range)?;
            }
            if is_end {
                return Ok(());
            }
        } else if is_changed(&text) {
            found = None;
        } else if let Some(range) = read_only(&text) {
            found = Some(range);
        }
    }
}

/// A file's mapping that cannot be written to, by the line it begins with (proc_pid_maps(5)): "from-to permissions offset device inode
/// path".
fn read_only(line: &str) -> Option<Range<usize>> {
    let mut words = line.split_ascii_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let permissions = words.next()?;
    let inode = words.nth(2)?;
    if permissions.contains('w') || inode == "0" {
        return None;
    }
    let number = |text| usize::from_str_radix(text, 16).ok();
    Some(number(from)?..number(to)?)
}

/// Some pages are in no file: the linker wrote into them (relocations), or a debugger.
fn is_changed(line: &str) -> bool {
    ["Anonymous:", "Swap:", "Private_Hugetlb:"]
        .iter()
        .any(|name| {
            line.strip_prefix(name)
                .is_some_and(|size| size.trim() != "0 kB")
        })
}

#[expect(unsafe_code, reason = "rustix cannot know that nothing is lost")]
fn give_up(range: Range<usize>) -> io::Result<()> {
    let start = std::ptr::without_provenance_mut(range.start);
    // SAFETY: every page is as it is in its file: whoever reads there next reads the same again.
    match unsafe { madvise(start, range.len(), Advice::LinuxDontNeed) } {
        // locked into memory, or a device's
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_constants_are_files_that_cannot_be_written_to() {
        let code = "55a0-55b0 r-xp 00001000 fe:00 4242                       /usr/bin/my program";
        assert_eq!(read_only(code), Some(0x55a0..0x55b0));
        for other in [
            "55a0-55b0 rw-p 00001000 fe:00 4242 /usr/bin/python3",
            "7ffc0000-7ffc1000 r-xp 00000000 00:00 0 [vdso]",
            "7f0000-7f1000 ---p 00000000 00:00 0",
            "Rss:                 120 kB",
            "",
        ] {
            assert_eq!(read_only(other), None, "{other}");
        }
    }

    #[test]
    fn what_was_written_to_once_is_changed() {
        assert!(is_changed("Anonymous:             8 kB\n"));
        assert!(is_changed("Swap:                  4 kB\n"));
        assert!(is_changed("Private_Hugetlb:    2048 kB\n"));
        for other in [
            "Anonymous:             0 kB\n",
            "Swap:                  0 kB\n",
            "SwapPss:               4 kB\n",
            "AnonHugePages:         4 kB\n",
        ] {
            assert!(!is_changed(other), "{other}");
        }
    }

    #[test]
    fn a_process_goes_on_with_fewer_pages() -> io::Result<()> {
        let before = resident_of_files()?;
        give_up_code()?;
        assert!(resident_of_files()? < before);
        // what the loader has written is still there: another thread needs relocated tables of the standard library
        let joined = std::thread::spawn(|| format!("{:?}", std::env::args_os())).join();
        assert!(joined.is_ok());
        Ok(())
    }

    /// Of `/proc/self/status`, in kB.
    fn resident_of_files() -> io::Result<u64> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssFile:"));
        let number = line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok());
        number.ok_or_else(|| io::Error::other("no RssFile"))
    }
}
