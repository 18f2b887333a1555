//! Which descriptor the program finds where.
//!
//! 0, 1 and 2 are what the plan says, else `/dev/null`. What is passed on at a number of its own stays at the number it
//! came with, and the environment tells which. Everything else is closed by exec.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, fcntl},
    libc,
    unistd::{dup2_stderr, dup2_stdin, dup2_stdout},
};

use super::plan::{Failure, Slot};

/// The descriptors of a plan by what they are for.
#[derive(Debug, Default)]
pub(super) struct Descriptors {
    input: Option<OwnedFd>,
    output: Option<OwnedFd>,
    error: Option<OwnedFd>,
    control: Option<OwnedFd>,
    adapter: Option<OwnedFd>,
    heartbeat: Option<OwnedFd>,
    /// Where the cgroup is entered.
    pub(super) cgroup: Option<OwnedFd>,
    /// The executable, when it is given as a descriptor.
    pub(super) program: Option<OwnedFd>,
}

impl Descriptors {
    /// Takes them apart. A slot that is named twice is a mistake of the plan.
    pub(super) fn of(slots: &[Slot], descriptors: Vec<OwnedFd>) -> Result<Self, Failure> {
        let mut all = Self::default();
        for (slot, descriptor) in slots.iter().zip(descriptors) {
            let place = match slot {
                Slot::Input => &mut all.input,
                Slot::Output => &mut all.output,
                Slot::Error => &mut all.error,
                Slot::Control => &mut all.control,
                Slot::Adapter => &mut all.adapter,
                Slot::Heartbeat => &mut all.heartbeat,
                Slot::Cgroup => &mut all.cgroup,
                Slot::Program => &mut all.program,
            };
            if place.replace(descriptor).is_some() {
                return Err(Failure::of(
                    "place the descriptors",
                    format_args!("{slot:?} is there twice"),
                ));
            }
        }
        Ok(all)
    }

    /// The Python adapter.
    pub(super) fn adapter(&self) -> Option<BorrowedFd<'_>> {
        self.adapter.as_ref().map(AsFd::as_fd)
    }

    /// Tells the numbers of those that keep one of their own.
    pub(super) fn tell(&self, environment: &mut BTreeMap<String, String>) {
        for (name, descriptor) in [
            ("STOCKADE_CONTROL_FD", &self.control),
            ("STOCKADE_ADAPTER_FD", &self.adapter),
            ("STOCKADE_HEARTBEAT_FD", &self.heartbeat),
        ] {
            if let Some(descriptor) = descriptor {
                environment.insert(name.to_owned(), descriptor.as_raw_fd().to_string());
            }
        }
    }

    /// Puts them in place. From here on standard error is the program's.
    pub(super) fn place(&self) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::of("place the descriptors", error);
        let null = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")
            .map(OwnedFd::from)
            .map_err(|error| Failure::of("open /dev/null", error))?;
        let places = close_everything_by_exec()
            .and_then(|()| dup2_stdin(or(&self.input, &null)))
            .and_then(|()| dup2_stdout(or(&self.output, &null)))
            .and_then(|()| dup2_stderr(or(&self.error, &null)));
        places.map_err(|error| failed(&error.desc()))?;
        let kept = [&self.control, &self.adapter, &self.heartbeat];
        for descriptor in kept.into_iter().flatten() {
            fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty()))
                .map_err(|error| failed(&error.desc()))?;
        }
        Ok(())
    }
}

fn or<'a>(descriptor: &'a Option<OwnedFd>, null: &'a OwnedFd) -> BorrowedFd<'a> {
    descriptor.as_ref().unwrap_or(null).as_fd()
}

/// Marks every descriptor above the standard ones close-on-exec: whoever started the supervisor may have left some.
#[expect(unsafe_code, reason = "close_range has no safe wrapper")]
fn close_everything_by_exec() -> nix::Result<()> {
    let flags = libc::CLOSE_RANGE_CLOEXEC.cast_signed();
    // SAFETY: with this flag the call changes only a flag of descriptors and touches no memory.
    let result = unsafe { libc::close_range(3, libc::c_uint::MAX, flags) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn null() -> OwnedFd {
        File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn the_environment_tells_the_numbers_of_what_is_passed_on() {
        let given = vec![null(), null(), null()];
        let numbers: Vec<String> = given.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
        let all = Descriptors::of(&[Slot::Adapter, Slot::Input, Slot::Control], given).unwrap();
        let mut environment = BTreeMap::new();
        all.tell(&mut environment);
        assert_eq!(environment["STOCKADE_ADAPTER_FD"], numbers[0]);
        assert_eq!(environment["STOCKADE_CONTROL_FD"], numbers[2]);
        assert_eq!(environment.len(), 2);
        assert!(all.program.is_none());
    }

    #[test]
    fn a_slot_named_twice_is_refused() {
        let failure =
            Descriptors::of(&[Slot::Output, Slot::Output], vec![null(), null()]).unwrap_err();
        assert_eq!(failure.reason, "Output is there twice");
    }
}
