//! How a pool's workers are replaced, and what has them replaced: `reload`, `probe`.

use std::path::{Path, PathBuf};

use super::{
    file::PoolKeys, resolve::absolute, resolved::Renewal, scale::surge, subtables::ReloadKeys,
};

/// What the keys say; relative paths begin in `base`.
pub(super) fn renewal(keys: &PoolKeys, base: &Path, processes: u32) -> Renewal {
    let reload = keys.reload.as_ref().map(|given| &given.value);
    Renewal {
        surge: surge(keys, processes),
        touch: reload.map_or_else(Vec::new, |reload| touch(reload, base)),
        watch: reload.map_or_else(Vec::new, |reload| watch(reload, base)),
        probe: keys.probe.as_ref().and_then(|given| given.value.0.clone()),
    }
}

fn touch(keys: &ReloadKeys, base: &Path) -> Vec<PathBuf> {
    let paths = keys.touch.iter().flat_map(|given| &given.value);
    paths.map(|path| absolute(base, path.get_ref())).collect()
}

/// In the folder's own name nothing is special.
fn watch(keys: &ReloadKeys, base: &Path) -> Vec<String> {
    let own = glob::Pattern::escape(&base.to_string_lossy());
    let patterns = keys.watch.iter().flat_map(|given| &given.value);
    patterns
        .map(|pattern| {
            let path = absolute(Path::new(&own), Path::new(&pattern.get_ref().0));
            path.to_string_lossy().into_owned()
        })
        .collect()
}
