//! Where the daemon's own cgroup is, and whether it is ours to divide.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nix::unistd::Uid;
use rustix::fs::getxattr;

use super::lack::Lack;

/// A cgroup: its name, as the kernel and systemd tell it, and its folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// The folder of the root that is in sight.
    pub(super) root: PathBuf,
}

impl Place {
    /// Our own.
    pub(super) fn own() -> Result<Self, Lack> {
        let read =
            |path: &str| fs::read_to_string(path).map_err(Lack::step(format!("read {path}")));
        let own = find(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?)?;
        if !is_delegated(&own) {
            return Err(Lack::NotDelegated { cgroup: own.name });
        }
        Ok(own)
    }

    /// A cgroup in this one.
    pub(super) fn below(&self, name: &str) -> Self {
        Self {
            name: format!("{}/{name}", self.name.trim_end_matches('/')),
            path: self.path.join(name),
            root: self.root.clone(),
        }
    }
}

/// The name of the cgroup, from what /proc/PID/cgroup says; none: there is no cgroup v2.
pub(crate) fn name_in(cgroup: &str) -> Option<&str> {
    cgroup.lines().find_map(|line| line.strip_prefix("0::"))
}

/// Our own cgroup, from what /proc/self/cgroup and /proc/self/mountinfo say.
fn find(cgroup: &str, mountinfo: &str) -> Result<Place, Lack> {
    let name = name_in(cgroup).ok_or(Lack::Absent)?;
    let folder = |(root, mount): (PathBuf, PathBuf)| {
        // beyond the root of our namespace: "/../other"
        let inside = !name.split('/').any(|part| part == "..");
        let below = Path::new(name).strip_prefix(root).ok().filter(|_| inside)?;
        Some(Place {
            name: name.to_owned(),
            path: mount.join(below),
            root: mount,
        })
    };
    let found = mountinfo
        .lines()
        .filter_map(mount_of_cgroup2)
        .find_map(folder);
    found.ok_or_else(|| Lack::OutOfSight {
        cgroup: name.to_owned(),
    })
}

/// What of the hierarchy a line of mountinfo mounts, and where.
fn mount_of_cgroup2(line: &str) -> Option<(PathBuf, PathBuf)> {
    let (mount, filesystem) = line.split_once(" - ")?;
    if filesystem.split(' ').next() != Some("cgroup2") {
        return None;
    }
    let mut fields = mount.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    Some((unescaped(root).into(), unescaped(point).into()))
}

/// A field of mountinfo, which has blanks and the like as `\040`.
fn unescaped(field: &str) -> String {
    let mut parts = field.split('\\');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.get(..3);
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                text.push(char::from(byte));
                text.push_str(&part[3..]);
            }
            None => {
                text.push('\\');
                text.push_str(part);
            }
        }
    }
    text
}

/// Whoever is not root has been given what he can write to. Root can write everywhere, and under systemd divides only what systemd says it
/// leaves alone, or what is below that.
fn is_delegated(own: &Place) -> bool {
    let marked = |path: &Path, name: &str| {
        let mut value = [0_u8; 8];
        getxattr(path, name, &mut value).is_ok_and(|length| value.get(..length) == Some(b"1"))
    };
    let mut above = own.path.ancestors();
    !Uid::effective().is_root()
        || !Path::new(SYSTEMD).is_dir()
        || above
            .any(|path| path.starts_with(&own.root) && MARKS.iter().any(|name| marked(path, name)))
}

/// What systemd marks them with.
const MARKS: [&str; 2] = ["trusted.delegate", "user.delegate"];
/// There while systemd runs the system (sd_booted).
const SYSTEMD: &str = "/run/systemd/system";

#[cfg(test)]
mod tests {
    use super::*;

    const UNIFIED: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:3 master:1 - cgroup2 cgroup2 rw
";

    fn folder(cgroup: &str, mountinfo: &str) -> String {
        find(cgroup, mountinfo).unwrap().path.display().to_string()
    }

    #[test]
    fn of_a_unit_where_there_is_only_one_hierarchy() {
        let own = find("0::/system.slice/stockade.service\n", UNIFIED).unwrap();
        assert_eq!(own.name, "/system.slice/stockade.service");
        assert_eq!(
            own.path,
            Path::new("/sys/fs/cgroup/system.slice/stockade.service")
        );
        let below = own.below("stockade");
        assert_eq!(below.name, "/system.slice/stockade.service/stockade");
        assert_eq!(below.path, own.path.join("stockade"));
    }

    #[test]
    fn beside_the_first_version() {
        let cgroup = "4:memory:/user/1\n1:name=systemd:/user/1\n0::/\n";
        assert_eq!(folder(cgroup, HYBRID), "/sys/fs/cgroup/unified/");
        assert_eq!(find(cgroup, HYBRID).unwrap().below("a").name, "/a");
    }

    #[test]
    fn where_a_part_of_the_hierarchy_is_mounted() {
        let part = "7 6 0:26 /machine/a\\040b /mnt/c\\134d rw - cgroup2 none rw\n";
        assert_eq!(folder("0::/machine/a b/leaf\n", part), "/mnt/c\\d/leaf");
        // not in this part, but in another
        let both = format!("{part}{UNIFIED}");
        assert_eq!(folder("0::/other\n", &both), "/sys/fs/cgroup/other");
    }

    #[test]
    fn nowhere() {
        assert_eq!(find("4:memory:/\n", UNIFIED), Err(Lack::Absent));
        for (cgroup, mountinfo) in [("/a", ""), ("/../b", UNIFIED)] {
            assert_eq!(
                find(&format!("0::{cgroup}\n"), mountinfo),
                Err(Lack::OutOfSight {
                    cgroup: cgroup.to_owned()
                })
            );
        }
    }
}
