//! What a path leads to, and the folders in which that could change. Nothing is opened: the paths may lead anywhere.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ffi::{OsStr, OsString},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
};

use glob::{MatchOptions, Pattern};

/// Symbolic links in one path.
const MOST_LINKS: u32 = 40;
/// Folders below the root of a pattern.
const MOST_FOLDERS: usize = 20_000;

/// What is at a path: the name itself, and what it leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    name: Option<(u64, u64, i64, i64)>,
    target: Option<(u64, u64, i64, i64)>,
}

impl Stamp {
    /// What is there.
    pub(super) fn of(path: &Path) -> Self {
        let stamp =
            |found: fs::Metadata| (found.dev(), found.ino(), found.mtime(), found.mtime_nsec());
        Self {
            name: fs::symlink_metadata(path).ok().map(stamp),
            target: fs::metadata(path).ok().map(stamp),
        }
    }
}

/// The names on the way of `path`, each in its folder, that would lead elsewhere if they changed: symbolic links, and the last one;
/// or the first one that is not there.
pub(super) fn trail(path: &Path) -> BTreeSet<(PathBuf, OsString)> {
    let mut trail = BTreeSet::new();
    let mut at = PathBuf::from("/");
    let mut rest: VecDeque<OsString> = parts(path);
    let mut links = 0;
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        match fs::symlink_metadata(&next) {
            Ok(found) if found.file_type().is_symlink() && links < MOST_LINKS => {
                links += 1;
                trail.insert((at.clone(), part));
                let Ok(target) = fs::read_link(&next) else {
                    return trail;
                };
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                for part in parts(&target).into_iter().rev() {
                    rest.push_front(part);
                }
            }
            Ok(_) if !rest.is_empty() => at = next,
            Ok(_) | Err(_) => {
                trail.insert((at, part));
                return trail;
            }
        }
    }
    trail
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let part = |component: Component<'_>| match component {
        Component::Normal(part) => Some(part.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(part).collect()
}

/// How a pattern has its special characters where they are none.
const ESCAPES: [(&str, &str); 4] = [("[?]", "?"), ("[*]", "*"), ("[[]", "["), ("[]]", "]")];

/// A pattern of files, and the folder below which they are.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pattern: Pattern,
    pub(super) root: PathBuf,
    /// They are in folders of it too.
    deep: bool,
}

impl Files {
    /// None: it is no pattern.
    pub(super) fn of(pattern: &str) -> Option<Self> {
        let is_plain = |part: &Component<'_>| {
            let text = ESCAPES.iter().fold(
                part.as_os_str().to_string_lossy().into_owned(),
                |text, (escape, _)| text.replace(escape, ""),
            );
            !text.contains(['*', '?', '['])
        };
        let path = Path::new(pattern);
        let folder = path.parent().unwrap_or(path);
        let root: PathBuf = folder.components().take_while(is_plain).collect();
        Some(Self {
            pattern: Pattern::new(pattern).ok()?,
            deep: root != folder || path.file_name().is_some_and(|name| name == "**"),
            root: unescaped(&root),
        })
    }

    /// Whether it is one of them, and not what an editor leaves behind.
    pub(super) fn has(&self, path: &Path) -> bool {
        let options = MatchOptions {
            require_literal_separator: true,
            ..MatchOptions::default()
        };
        path.file_name().is_some_and(|name| !is_passing(name))
            && self.pattern.matches_path_with(path, options)
    }

    /// The folders to be watched, as they are without symbolic links and as the pattern has them.
    pub(super) fn folders(&self) -> BTreeMap<PathBuf, PathBuf> {
        let mut folders = BTreeMap::new();
        let Ok(real) = fs::canonicalize(&self.root) else {
            return folders;
        };
        let mut open = vec![(real, self.root.clone())];
        while let Some((real, written)) = open.pop() {
            let room = MOST_FOLDERS.saturating_sub(folders.len() + open.len() + 1);
            if self.deep && room > 0 {
                let entries = fs::read_dir(&real).into_iter().flatten().flatten();
                let inner = entries.filter(|entry| {
                    let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                    is_folder && !is_passing(&entry.file_name())
                });
                let inner = inner.take(room);
                open.extend(inner.map(|entry| (entry.path(), written.join(entry.file_name()))));
            }
            folders.insert(real, written);
        }
        folders
    }
}

/// A folder of a pattern has its own special characters in brackets.
fn unescaped(path: &Path) -> PathBuf {
    let mut text = path.to_string_lossy().into_owned();
    for (escape, special) in ESCAPES {
        text = text.replace(escape, special);
    }
    PathBuf::from(text)
}

/// What comes and goes beside sources: compiled ones, hidden files, editors' own.
pub(super) fn is_passing(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with('.')
        || name.starts_with('#')
        || name.ends_with('~')
        || matches!(&*name, "__pycache__" | "node_modules" | "4913")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_links_of_a_path_and_its_end_could_change() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir_all(root.join("releases/42")).unwrap();
        fs::write(root.join("releases/42/app.wsgi"), "").unwrap();
        symlink("releases/42", root.join("current")).unwrap();
        let path = root.join("current/app.wsgi");
        let expected = [
            (root.clone(), OsString::from("current")),
            (root.join("releases/42"), OsString::from("app.wsgi")),
        ];
        assert_eq!(trail(&path), BTreeSet::from(expected));
        let before = Stamp::of(&path);
        assert_eq!(Stamp::of(&path), before);
        fs::create_dir_all(root.join("releases/43")).unwrap();
        fs::write(root.join("releases/43/app.wsgi"), "").unwrap();
        fs::remove_file(root.join("current")).unwrap();
        let missing = [(root.clone(), OsString::from("current"))];
        assert_eq!(trail(&path), BTreeSet::from(missing));
        symlink(root.join("releases/43"), root.join("current")).unwrap();
        assert_ne!(Stamp::of(&path), before);
        symlink("round", root.join("round")).unwrap();
        assert!(!trail(&root.join("round")).is_empty());
    }

    #[test]
    fn files_are_those_of_the_pattern_less_what_editors_leave() {
        let files = Files::of("/srv/blog/**/*.py").unwrap();
        assert_eq!(
            (files.root.as_path(), files.deep),
            (Path::new("/srv/blog"), true)
        );
        for (path, has) in [
            ("/srv/blog/app.py", true),
            ("/srv/blog/shop/views.py", true),
            ("/srv/blog/app.pyc", false),
            ("/srv/blog/.app.py", false),
            ("/srv/blog/app.py~", false),
            ("/srv/other/app.py", false),
        ] {
            assert_eq!(files.has(Path::new(path)), has, "{path}");
        }
        let flat = Files::of("/srv/blog/*.py").unwrap();
        assert!(!flat.deep && !flat.has(Path::new("/srv/blog/shop/views.py")));
        let odd = Files::of(&format!("{}/*.py", Pattern::escape("/srv/a[1]"))).unwrap();
        assert_eq!(
            (odd.root.as_path(), odd.deep),
            (Path::new("/srv/a[1]"), false)
        );
        assert!(odd.has(Path::new("/srv/a[1]/app.py")));
    }
}
