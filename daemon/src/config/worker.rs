//! What a pool's workers are: the application with its files, and what it runs in. With `chroot` every path is one in that folder.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    accounts, application,
    confinement::{self, Confinement},
    errors::{Problem, Problems},
    file::{PoolKeys, PoolTable},
    resolve::absolute,
    resolved::{Account, Application},
    rooted::Rooted,
    start::{self, Start},
    surroundings::{Found, Surroundings},
};

/// See the module.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) application: Application,
    pub(super) home: PathBuf,
    pub(super) confinement: Confinement,
    pub(super) start: Start,
    pub(super) environment: BTreeMap<String, String>,
}

impl Worker {
    /// What other paths of the pool are relative to; none: the folder of the file.
    pub(super) fn base(&self, keys: &PoolKeys) -> Option<&Path> {
        let ours = keys.home.is_some() && self.confinement.chroot.is_none();
        ours.then_some(&self.home)
    }
}

/// What `table` says of its workers, who become `account`.
pub(super) fn worker(
    table: &PoolTable,
    account: Option<&Account>,
    folder: &Path,
    surroundings: &dyn Surroundings,
    problems: &mut Problems,
) -> Option<Worker> {
    let keys = &table.keys;
    let root = problems.keep(confinement::chroot(keys, folder, surroundings))?;
    let rooted = root.as_deref().map(|root| Rooted {
        root,
        outside: surroundings,
    });
    let (inside, base): (&dyn Surroundings, _) = match &rooted {
        Some(rooted) => (rooted, Path::new("/")),
        None => (surroundings, folder),
    };
    let home = problems.keep(home(table, base, inside));
    let base = keys.home.as_ref().and(home.as_deref()).unwrap_or(base);
    let application = application::application(table, account, base, inside);
    let application = problems.keep(application);
    let borrowed = problems.keep(start::borrowed(keys, folder, surroundings));
    let (home, application) = (home?, application?);
    let mut start = problems.keep(start::start(keys, &application, folder, inside))?;
    let confinement =
        confinement::confinement(keys, root.clone(), &application, &home, inside, problems)?;
    let own = accounts::own(surroundings);
    let borrowed = borrowed?;
    let environment = application::environment(keys, &application, account, &own, borrowed.clone());
    let from_there = |(name, value): &(String, String)| {
        environment.get(name) == Some(value) && !says(keys, name)
    };
    start.borrowed = borrowed
        .into_iter()
        .filter(from_there)
        .map(|(name, _)| name)
        .collect();
    Some(Worker {
        application,
        home,
        confinement,
        start,
        environment,
    })
}

/// `environment` has this variable.
fn says(keys: &PoolKeys, variable: &str) -> bool {
    let given = keys.environment.as_ref();
    given.is_some_and(|given| given.value.0.contains_key(variable))
}

fn home(
    table: &PoolTable,
    base: &Path,
    surroundings: &dyn Surroundings,
) -> Result<PathBuf, Problem> {
    let Some(given) = &table.keys.home else {
        return Ok(PathBuf::from("/"));
    };
    let path = absolute(base, &given.value);
    let shown = path.display();
    match surroundings.find(&path) {
        Ok(Found::Folder) => Ok(path),
        Ok(Found::File | Found::Program) => Err(given.spot.wrong(format!(
            "is {shown}, which is no folder: name the folder it is in"
        ))),
        Err(reason) => Err(given.spot.wrong(format!(
            "is {shown}, which cannot be found: {reason}: make the folder, or name another"
        ))),
    }
}
