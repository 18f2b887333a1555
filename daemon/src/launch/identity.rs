//! Whom the launcher becomes, for good.

use nix::unistd::{Gid, Uid, getresgid, getresuid, setgid, setgroups, setuid};

use super::plan::Failure;
use crate::config::resolved::Account;

/// Takes on `account`: supplementary groups, group, user, in this order, for each needs the power the next gives up.
pub(super) fn assume(account: &Account) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::of(format!("change to user {}", account.name), error)
    };
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    if uid.is_root() {
        return Err(failed(&"root is no account for a worker or the relay"));
    }
    let groups: Vec<Gid> = account.groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&groups).map_err(|error| failed(&error.desc()))?;
    setgid(gid).map_err(|error| failed(&error.desc()))?;
    setuid(uid).map_err(|error| failed(&error.desc()))?;
    let users = getresuid().map_err(|error| failed(&error.desc()))?;
    let groups = getresgid().map_err(|error| failed(&error.desc()))?;
    let changed = [users.real, users.effective, users.saved] == [uid; 3]
        && [groups.real, groups.effective, groups.saved] == [gid; 3];
    if !changed || setuid(Uid::from_raw(0)).is_ok() {
        return Err(failed(&"the change does not hold"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn root_is_refused_before_anything_changes() {
        let account = Account {
            name: "toor".into(),
            uid: 0,
            gid: 0,
            groups: vec![],
            home: PathBuf::from("/root"),
        };
        let failure = assume(&account).unwrap_err();
        assert_eq!(failure.step, "change to user toor");
    }
}
