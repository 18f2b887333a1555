//! What `[shim]` means: its account, its addresses, and where its routes lead.

use std::{collections::BTreeSet, path::Path, time::Duration};

use super::{
    access,
    accounts::{self, SHIM},
    errors::{Fault, Place, Problem, Problems},
    file::{Given, PoolTable, RouteTable, ShimTable},
    resolve::{absolute, limit},
    resolved::{Account, Destination, Listen, Pool, Route, Shim},
    surroundings::{Found, Surroundings},
};

impl ShimTable {
    /// A route names the pool.
    pub(super) fn leads_to(&self, pool: &PoolTable) -> bool {
        let names = |route: &RouteTable| {
            let given = route.keys.pool.as_ref();
            given.is_some_and(|given| given.value == pool.name)
        };
        self.routes.iter().any(names)
    }
}

/// Whom the shim becomes; none: it stays who we are.
pub(super) fn account(
    table: &ShimTable,
    surroundings: &dyn Surroundings,
) -> Result<Option<Account>, Problem> {
    accounts::service(SHIM, table.keys.user.as_ref(), surroundings, |what| {
        missing(Place::Shim, table.at.clone(), what)
    })
}

/// The whole table; none when there are problems.
pub(super) fn resolve(
    table: &ShimTable,
    account: Option<Account>,
    pools: &[Pool],
    folder: &Path,
    surroundings: &dyn Surroundings,
    problems: &mut Problems,
) -> Option<Shim> {
    let keys = &table.keys;
    let listen = match &keys.listen {
        None => vec![([127, 0, 0, 1], 8000).into()],
        Some(given) => given.value.iter().map(|each| each.get_ref().0).collect(),
    };
    if listen.is_empty()
        && let Some(given) = &keys.listen
    {
        problems.add(
            given
                .spot
                .wrong("is empty: say where clients connect to, like [\"127.0.0.1:8000\"]"),
        );
    }
    if table.routes.is_empty() {
        let what =
            "there is no route: add a table [[shim.route]] with `path` and `pool` or `files`";
        problems.add(missing(Place::Shim, table.at.clone(), what.to_owned()));
    }
    let mut routes = Vec::new();
    for each in &table.routes {
        let read = route(each, account.as_ref(), pools, folder, surroundings);
        routes.extend(problems.keep(read));
    }
    refuse_twins(table, problems);
    problems.is_empty().then_some(Shim {
        listen,
        account,
        header_timeout: limit(keys.header_timeout.as_ref(), Duration::from_secs(15)),
        keep_alive_timeout: limit(keys.keep_alive_timeout.as_ref(), Duration::from_secs(75)),
        routes,
    })
}

fn route(
    table: &RouteTable,
    account: Option<&Account>,
    pools: &[Pool],
    folder: &Path,
    surroundings: &dyn Surroundings,
) -> Result<Route, Problem> {
    let keys = &table.keys;
    let Some(path) = &keys.path else {
        let what = "`path` is missing: say which requests it takes, like path = \"/\"";
        return Err(missing(Place::Route, table.at.clone(), what.to_owned()));
    };
    if !path.value.starts_with('/') {
        return Err(path.spot.wrong(format!(
            "is {0:?}, but must begin with a slash: write \"/{0}\"",
            path.value
        )));
    }
    let destination = match (&keys.files, &keys.pool) {
        (Some(files), None) => Destination::Files(existing_folder(files, folder, surroundings)?),
        (None, Some(given)) => pool(given, account, pools)?,
        (Some(_), Some(pool)) => {
            return Err(pool
                .spot
                .wrong("is set beside `files`, but a route leads to one of them: remove one"));
        }
        (None, None) => {
            let what = "the route leads nowhere: set `pool` or `files`";
            return Err(missing(Place::Route, table.at.clone(), what.to_owned()));
        }
    };
    Ok(Route {
        host: keys.host.as_ref().map(|given| given.value.to_lowercase()),
        path: path.value.clone(),
        destination,
    })
}

fn existing_folder(
    given: &Given<std::path::PathBuf>,
    folder: &Path,
    surroundings: &dyn Surroundings,
) -> Result<std::path::PathBuf, Problem> {
    let path = absolute(folder, &given.value);
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

/// The pool, and an address of it that the shim's account can connect to.
fn pool(
    given: &Given<String>,
    account: Option<&Account>,
    pools: &[Pool],
) -> Result<Destination, Problem> {
    let name = &given.value;
    let Some(pool) = pools.iter().find(|pool| pool.name == *name) else {
        return Err(given.spot.wrong(format!(
            "is {name:?}, and there is no table [pool.{name}]: name a pool of this file"
        )));
    };
    let reachable = |address: &&Listen| match address {
        Listen::Unix(_) => access::may_connect(pool.socket, account),
        Listen::Tcp(_) => true,
        // only systemd knows where these are
        Listen::Systemd(_) => false,
    };
    if pool
        .listen
        .iter()
        .all(|address| matches!(address, Listen::Systemd(_)))
    {
        return Err(given.spot.wrong(format!(
            "is {name:?}, which listens on sockets of systemd alone, and where these are the shim is not told: add an address to the pool's `listen`"
        )));
    }
    let address = pool.listen.iter().find(reachable).ok_or_else(|| {
        let who = account.map_or("we ourselves", |account| &account.name);
        given.spot.wrong(format!(
            "is {name:?}, but the shim's account, {who}, may not connect to that pool's sockets: remove `socket-group` and `socket-mode` from the pool, or set them so that it may"
        ))
    })?;
    Ok(Destination::Pool {
        name: name.clone(),
        address: address.clone(),
    })
}

/// No request can be two routes'.
fn refuse_twins(table: &ShimTable, problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    for route in &table.routes {
        let Some(path) = &route.keys.path else {
            continue;
        };
        let host = route.keys.host.as_ref();
        let host = host.map(|given| given.value.to_lowercase());
        if !seen.insert((host, &path.value)) {
            problems.add(path.spot.wrong(format!(
                "is {:?}, which another route has for the same host: remove one",
                path.value
            )));
        }
    }
}

const fn missing(place: Place, at: std::ops::Range<usize>, what: String) -> Problem {
    Problem {
        at: Some(at),
        fault: Fault::Missing { place, what },
    }
}
