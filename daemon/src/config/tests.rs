//! What a file means, and what is said about a wrong one, in surroundings that are made up.

mod changes;
mod command_line;
mod confinement;
mod documents;
mod include;
mod limits;
mod logging;
mod meanings;
mod mistakes;
mod print;
mod warnings;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use nix::sys::resource::Resource;

use super::{
    Sources,
    errors::{ConfigErrors, Problems},
    resolved::Config,
    surroundings::{Found, Owner, Surroundings, User},
};

/// A machine with two cores, some accounts and some files.
struct Imagined {
    uid: u32,
    variables: BTreeMap<&'static str, &'static str>,
    users: Vec<User>,
    /// Files with a text.
    files: BTreeMap<&'static str, &'static str>,
    landlock: bool,
}

impl Imagined {
    fn root() -> Self {
        Self {
            uid: 0,
            variables: BTreeMap::from([("PATH", "bin:/opt/bin:/usr/bin")]),
            users: [
                ("root", 0, 0, "/root"),
                ("stockade", 400, 400, "/nonexistent"),
                ("blog", 1001, 1001, "/home/blog"),
                ("shop", 1002, 0, "/home/shop"),
                ("stockade-shim", 401, 401, "/nonexistent"),
                ("nobody", 65_534, 65_534, "/"),
            ]
            .map(|(name, uid, gid, home)| User {
                name: name.to_owned(),
                uid,
                gid,
                home: PathBuf::from(home),
            })
            .to_vec(),
            files: BTreeMap::from([
                ("/etc/stockade/blog.env", "# secrets\nTOKEN='a b'\n"),
                ("/etc/stockade/bad.env", "A=1\n\nB\n"),
                ("/srv/blog/serve", "#!/usr/bin/perl\n"),
                ("/proc/sys/user/max_user_namespaces", "1000\n"),
            ]),
            landlock: true,
        }
    }

    fn blog() -> Self {
        Self {
            uid: 1001,
            ..Self::root()
        }
    }

    fn without(mut self, user: &str) -> Self {
        self.users.retain(|known| known.name != user);
        self
    }

    fn with(mut self, variable: &'static str, value: &'static str) -> Self {
        self.variables.insert(variable, value);
        self
    }
}

impl Surroundings for Imagined {
    fn uid(&self) -> u32 {
        self.uid
    }

    fn gid(&self) -> u32 {
        self.uid
    }

    fn gids(&self) -> Vec<u32> {
        vec![self.uid, 33]
    }

    fn cores(&self) -> u32 {
        2
    }

    fn variable(&self, name: &str) -> Option<OsString> {
        self.variables.get(name).map(OsString::from)
    }

    fn user(&self, name: &str) -> io::Result<Option<User>> {
        if name == "unreachable" {
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(self.users.iter().find(|user| user.name == name).cloned())
    }

    fn user_of(&self, uid: u32) -> io::Result<Option<User>> {
        Ok(self.users.iter().find(|user| user.uid == uid).cloned())
    }

    fn group(&self, name: &str) -> io::Result<Option<u32>> {
        let groups = [("root", 0), ("www-data", 33), ("blog", 1001), ("web", 2000)];
        Ok(groups
            .into_iter()
            .find(|(known, _)| *known == name)
            .map(|(_, gid)| gid))
    }

    fn group_of(&self, gid: u32) -> io::Result<Option<String>> {
        Ok((gid == 1001).then(|| "blog".to_owned()))
    }

    fn groups_of(&self, user: &str, gid: u32) -> io::Result<Vec<u32>> {
        Ok(if user == "blog" {
            vec![gid, 33]
        } else {
            vec![gid]
        })
    }

    fn find(&self, path: &Path) -> io::Result<Found> {
        let known = match path.to_str() {
            Some(
                "/"
                | "/home"
                | "/home/blog"
                | "/run"
                | "/srv"
                | "/srv/blog"
                | "/etc/stockade/here"
                | "/var/tmp"
                | "/srv/blog/venv"
                | "/srv/blog/empty"
                | "/srv/root"
                | "/srv/root/proc/self/fd"
                | "/tmp/blog",
            ) => Found::Folder,
            Some(
                "/srv/blog/app.wsgi"
                | "/srv/blog/app.py"
                | "/srv/blog/closed.py"
                | "/etc/stockade/app.py"
                | "/etc/stockade/shelf/wsgi.py",
            ) => Found::File,
            Some(
                "/srv/blog/venv/bin/python"
                | "/opt/bin/python3"
                | "/usr/bin/python3"
                | "/usr/bin/php-cgi"
                | "/opt/bin/vi"
                | "/srv/blog/serve"
                | "/srv/blog/closed",
            ) => Found::Program,
            _ => return Err(io::Error::from_raw_os_error(2)),
        };
        Ok(known)
    }

    fn owner(&self, path: &Path) -> io::Result<Owner> {
        let (uid, mode) = match path.to_str() {
            Some("/home/blog" | "/srv/blog/closed" | "/srv/blog/closed.py") => (1001, 0o700),
            Some(path) if path.starts_with("/srv/blog") => (1001, 0o755),
            _ => (0, 0o755),
        };
        self.find(path).map(|_| Owner {
            uid,
            gid: uid,
            mode,
        })
    }

    fn real(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(match path.to_str() {
            Some("/usr/bin/php-cgi") => PathBuf::from("/usr/bin/php-cgi8.2"),
            Some("/opt/bin/vi") => PathBuf::from("/usr/bin/busybox"),
            _ => path.to_owned(),
        })
    }

    /// In /srv/root there is what is outside.
    fn inside(&self, root: &Path, path: &Path) -> io::Result<PathBuf> {
        assert_eq!(root, Path::new("/srv/root"));
        Ok(path.to_owned())
    }

    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let mut text = self
            .files
            .get(path.to_str().unwrap_or_default())
            .ok_or_else(|| io::Error::from_raw_os_error(2))?
            .as_bytes()
            .to_vec();
        text.truncate(usize::try_from(most).unwrap());
        Ok(text)
    }

    fn variables(&self) -> Vec<(OsString, OsString)> {
        let variables = self.variables.iter();
        variables
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    fn hard_limit(&self, resource: Resource) -> Option<u64> {
        match resource {
            Resource::RLIMIT_NOFILE => Some(4096),
            Resource::RLIMIT_DATA => Some(1 << 30),
            _ => None,
        }
    }

    fn has_landlock(&self) -> bool {
        self.landlock
    }
}

/// The file /etc/stockade/stockade.toml with this text.
fn read(text: &str, surroundings: &Imagined) -> Result<Config, ConfigErrors> {
    let mut problems = Problems::default();
    super::understand(
        text,
        Path::new("/etc/stockade"),
        surroundings,
        &mut problems,
    )
    .map(|(_, config)| config)
    .ok_or_else(|| ConfigErrors::Wrong {
        sources: Sources::of(Path::new("stockade.toml"), text),
        problems: problems.in_order(),
    })
}
