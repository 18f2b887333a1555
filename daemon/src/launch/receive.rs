//! What the supervisor sends: the plan, with its descriptors attached to the first byte.

use std::{
    io::Read,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use super::plan::{Failure, Plan};
use crate::control::receive_once;

/// The largest plan, in bytes: what the kernel takes as arguments and environment is less.
const MAX_PLAN: u64 = 8 * 1024 * 1024;
/// Room for the first part of it.
const FIRST_PART: usize = 32 * 1024;

/// Reads the plan to its end. One descriptor came for each of its slots.
pub(super) fn plan(socket: &UnixStream) -> Result<(Plan, Vec<OwnedFd>), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::of("receive the plan", error);
    let mut bytes = vec![0; FIRST_PART];
    let (length, descriptors) = receive_once(socket.as_raw_fd(), &mut bytes)
        .map_err(|error| failed(&error))?
        .map_err(|error| failed(&error))?;
    bytes.truncate(length);
    let mut rest = socket.take(MAX_PLAN);
    rest.read_to_end(&mut bytes)
        .map_err(|error| failed(&error))?;
    let plan: Plan = serde_json::from_slice(&bytes).map_err(|error| failed(&error))?;
    if plan.descriptors.len() != descriptors.len() {
        return Err(failed(&format_args!(
            "{} descriptors for {} slots",
            descriptors.len(),
            plan.descriptors.len()
        )));
    }
    Ok((plan, descriptors))
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write, net::Shutdown, os::fd::AsFd, path::PathBuf};

    use super::*;
    use crate::{config::confinement::Confinement, control::send_once, launch::plan::Slot};

    fn plan_with(descriptors: Vec<Slot>, padding: usize) -> Plan {
        Plan {
            program: Some(PathBuf::from("/bin/true")),
            arguments: vec!["true".into(), "x".repeat(padding)],
            environment: [("LANG".to_owned(), "C.UTF-8".to_owned())].into(),
            account: None,
            home: PathBuf::from("/"),
            umask: 0o022,
            confinement: Confinement::default(),
            descriptors,
            parent: 1,
        }
    }

    fn send(plan: &Plan, files: &[File]) -> UnixStream {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let bytes = serde_json::to_vec(plan).unwrap();
        let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        let sent = send_once(ours.as_raw_fd(), &bytes[..1], &files).unwrap();
        ours.write_all(&bytes[sent..]).unwrap();
        ours.shutdown(Shutdown::Write).unwrap();
        theirs
    }

    #[test]
    fn a_plan_arrives_with_its_descriptors_in_order() {
        let mut first = tempfile::tempfile().unwrap();
        first.write_all(b"first").unwrap();
        let second = File::open("/dev/null").unwrap();
        let sent = plan_with(vec![Slot::Input, Slot::Control], 100_000);
        let theirs = send(&sent, &[first, second]);
        let (received, descriptors) = plan(&theirs).unwrap();
        assert_eq!(received, sent);
        let lengths: Vec<u64> = descriptors
            .into_iter()
            .map(|descriptor| File::from(descriptor).metadata().unwrap().len())
            .collect();
        assert_eq!(lengths, [5, 0]);
    }

    #[test]
    fn a_descriptor_short_is_a_failure_before_exec() {
        let theirs = send(
            &plan_with(vec![Slot::Input, Slot::Output], 0),
            &[File::open("/dev/null").unwrap()],
        );
        let failure = plan(&theirs).unwrap_err();
        assert_eq!(
            failure.to_string(),
            "could not receive the plan: 1 descriptors for 2 slots"
        );
        assert!(!failure.exec);
    }

    #[test]
    fn garbage_is_a_failure() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(b"{\"program\":").unwrap();
        drop(ours);
        assert_eq!(plan(&theirs).unwrap_err().step, "receive the plan");
    }
}
