//! Who runs: `relay-user`, the shim's and pools' `user` and `group` looked up. Only root can make a process somebody else; nothing runs as root.

use std::{io, path::PathBuf};

use toml::Spanned;

use super::{
    errors::{Place, Problem},
    file::{Given, PoolKeys, PoolTable, Spot},
    resolved::{Account, Listen, SocketOwner},
    surroundings::{Surroundings, User},
};

/// A process of the daemon that reads what comes from the network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Service {
    /// What it is: "relay".
    pub name: &'static str,
    /// The key that says whom it becomes.
    pub key: &'static str,
    /// Its account when the key is not set.
    pub default: &'static str,
}

/// The relay.
pub(super) const RELAY: Service = Service {
    name: "relay",
    key: "relay-user",
    default: "stockade",
};
/// The shim.
pub(super) const SHIM: Service = Service {
    name: "shim",
    key: "user",
    default: "stockade-shim",
};
/// Makes the account of a service.
pub(super) const CREATE: &str = "useradd --system --no-create-home --shell /usr/sbin/nologin";
/// The account that is nobody's.
pub(super) const NOBODY: &str = "nobody";

/// Whom `service` becomes; none: it stays who we are.
pub(super) fn service(
    service: Service,
    given: Option<&Given<String>>,
    surroundings: &dyn Surroundings,
    missing: impl Fn(String) -> Problem,
) -> Result<Option<Account>, Problem> {
    if surroundings.uid() != 0 {
        if let Some(given) = given {
            ourselves(given, surroundings)?;
        }
        return Ok(None);
    }
    let Service {
        name: what,
        key,
        default,
    } = service;
    let name = given.map_or(default, |given| &given.value);
    let refuse = |why: String| match given {
        Some(given) => given.spot.wrong(why),
        None => missing(format!("`{key}` {why}")),
    };
    let create = format!("create it with `{CREATE} {name}`");
    let user = user(name, surroundings)
        .map_err(|reason| {
            refuse(format!(
                "is {name:?}, which could not be looked up: {reason}"
            ))
        })?
        .ok_or_else(|| {
            refuse(format!(
                "is {name:?}, an account that does not exist: {create}"
            ))
        })?;
    if user.uid == 0 {
        return Err(refuse(format!(
            "is {name:?}, but the {what} never runs as root: give it an account of its own, like {default:?}"
        )));
    }
    // A command without a configuration does with what every system has.
    let own = given.is_none_or(|given| given.spot.place != Place::CommandLine);
    if own && (name == NOBODY || user.uid == NOBODYS_UID) {
        return Err(refuse(format!(
            "is {name:?}, an account that others share: give the {what} one of its own, like {default:?}"
        )));
    }
    let gid = user.gid;
    account(user, gid, surroundings)
        .map(Some)
        .map_err(|reason| {
            refuse(format!(
                "is {name:?}, whose groups could not be looked up: {reason}"
            ))
        })
}

/// Whom the pool's workers become; none: they stay who we are.
pub(super) fn worker(
    pool: &PoolTable,
    surroundings: &dyn Surroundings,
) -> Result<Option<Account>, Problem> {
    let PoolKeys { user, group, .. } = &pool.keys;
    if surroundings.uid() != 0 {
        if let Some(given) = user {
            ourselves(given, surroundings)?;
        }
        if let Some(given) = group {
            our_group(given, surroundings, &[surroundings.gid()])?;
        }
        if let Some(given) = &pool.keys.supplementary_groups {
            let why = "is set, but only root can choose groups: remove the key, or start the daemon as root";
            return Err(given.spot.wrong(why));
        }
        return Ok(None);
    }
    let Some(given) = user else {
        return Err(pool.missing(
            "`user` is missing: applications do not run as root: name the account they are to run as, like user = \"www-data\"",
        ));
    };
    let found = existing(given, surroundings)?;
    if found.uid == 0 {
        return Err(given.spot.wrong(format!(
            "is {:?}, but applications do not run as root: name an account without privileges",
            given.value
        )));
    }
    let gid = match group {
        Some(given) => existing_group(given, surroundings)?,
        None => found.gid,
    };
    let others = supplementary(pool, surroundings)?;
    if gid == 0 {
        let (spot, what) = match group {
            Some(group) => (&group.spot, "is the group of root"),
            None => (&given.spot, "has the group of root as its primary group"),
        };
        return Err(spot.wrong(format!(
            "{what}, but applications do not run as root: name another with `group`"
        )));
    }
    let mut account = account(found, gid, surroundings).map_err(|reason| {
        let name = &given.value;
        given.spot.wrong(format!(
            "is {name:?}, whose groups could not be looked up: {reason}"
        ))
    })?;
    if let Some(others) = others {
        account.groups = others;
    }
    Ok(Some(account))
}

/// `supplementary-groups`: in place of those that the account is a member of; none: not set.
fn supplementary(
    pool: &PoolTable,
    surroundings: &dyn Surroundings,
) -> Result<Option<Vec<u32>>, Problem> {
    let Some(given) = &pool.keys.supplementary_groups else {
        return Ok(None);
    };
    let one = |name: &Spanned<String>| {
        let mut spot = given.spot.clone();
        spot.at = name.span();
        let name = name.get_ref();
        let gid = group_at(name, &spot, "has", surroundings)?;
        if gid == 0 {
            return Err(spot.wrong(format!(
                "has {name:?}, the group of root, but applications do not run as root: remove it"
            )));
        }
        Ok(gid)
    };
    given
        .value
        .iter()
        .map(one)
        .collect::<Result<_, _>>()
        .map(Some)
}

/// `script-user`; none: it is not set, or off.
pub(super) fn owner(
    given: Option<&Given<String>>,
    surroundings: &dyn Surroundings,
) -> Result<Option<u32>, Problem> {
    let given = given.filter(|given| given.value != "off");
    given
        .map(|given| existing(given, surroundings).map(|user| user.uid))
        .transpose()
}

/// `script-group`; none: it is not set, or off.
pub(super) fn owning_group(
    given: Option<&Given<String>>,
    surroundings: &dyn Surroundings,
) -> Result<Option<u32>, Problem> {
    let given = given.filter(|given| given.value != "off");
    given
        .map(|given| existing_group(given, surroundings))
        .transpose()
}

/// `socket-user`, `socket-group`, `socket-mode`; by default the pool's `account` owns its sockets, and the shim's group may
/// connect when a route leads there.
pub(super) fn socket(
    keys: &PoolKeys,
    account: Option<&Account>,
    shim: Option<&Account>,
    surroundings: &dyn Surroundings,
) -> Result<SocketOwner, Problem> {
    let root = surroundings.uid() == 0;
    let uid = match &keys.socket_user {
        Some(given) if root => Some(existing(given, surroundings)?.uid),
        Some(given) => {
            ourselves(given, surroundings)?;
            None
        }
        None => account.map(|account| account.uid),
    };
    let gid = match &keys.socket_group {
        Some(given) if root => Some(existing_group(given, surroundings)?),
        Some(given) => Some(our_group(given, surroundings, &surroundings.gids())?),
        None => shim.or(account).map(|account| account.gid),
    };
    if let (true, None, None, Some(upstream)) = (root, uid, gid, &keys.upstream)
        && listens_on_unix(keys)
    {
        return Err(upstream.spot.wrong(
            "has no account of ours that the pool's unix socket could belong to: set `socket-user` or `socket-group` to the host's, like socket-group = \"www-data\"",
        ));
    }
    let mode = keys
        .socket_mode
        .as_ref()
        .map_or(0o660, |given| given.value.0);
    Ok(SocketOwner { uid, gid, mode })
}

fn listens_on_unix(keys: &PoolKeys) -> bool {
    let addresses = keys.listen.iter().flat_map(|given| &given.value);
    addresses
        .into_iter()
        .any(|address| matches!(address.get_ref(), Listen::Unix(_)))
}

/// Who we are ourselves: what a worker is told in USER and HOME when it stays who we are.
pub(super) fn own(surroundings: &dyn Surroundings) -> (String, PathBuf) {
    let uid = surroundings.uid();
    match surroundings.user_of(uid) {
        Ok(Some(user)) => (user.name, user.home),
        // an account without an entry, as in many containers
        Ok(None) | Err(_) => (uid.to_string(), PathBuf::from("/")),
    }
}

fn ourselves(given: &Given<String>, surroundings: &dyn Surroundings) -> Result<(), Problem> {
    let user = existing(given, surroundings)?;
    if user.uid == surroundings.uid() {
        return Ok(());
    }
    let (us, _) = own(surroundings);
    let (who, remedy) = (
        given
            .spot
            .place
            .either("the daemon runs as", "this is run by"),
        given.spot.place.either(
            "remove the key, or start the daemon as root",
            "leave it out, or run this as root",
        ),
    );
    Err(given.spot.wrong(format!(
        "is {:?}, but {who} {us}, and only root can become somebody else: {remedy}",
        given.value
    )))
}

/// The group's number, when it is among `ours`.
fn our_group(
    given: &Given<String>,
    surroundings: &dyn Surroundings,
    ours: &[u32],
) -> Result<u32, Problem> {
    let gid = existing_group(given, surroundings)?;
    if ours.contains(&gid) {
        return Ok(gid);
    }
    let (us, _) = own(surroundings);
    Err(given.spot.wrong(format!(
        "is {:?}, but the daemon runs as {us}, and only root can choose another group: remove the key, or start the daemon as root",
        given.value
    )))
}

fn existing(given: &Given<String>, surroundings: &dyn Surroundings) -> Result<User, Problem> {
    let name = &given.value;
    found(
        user(name, surroundings),
        &given.spot,
        &format!("is {name:?}, a user that"),
        "useradd --system",
        name,
    )
}

fn existing_group(given: &Given<String>, surroundings: &dyn Surroundings) -> Result<u32, Problem> {
    group_at(&given.value, &given.spot, "is", surroundings)
}

fn group_at(
    name: &str,
    spot: &Spot,
    verb: &str,
    surroundings: &dyn Surroundings,
) -> Result<u32, Problem> {
    let gid = match surroundings.group(name) {
        Ok(None) => Ok(name.parse().ok()),
        known => known,
    };
    found(
        gid,
        spot,
        &format!("{verb} {name:?}, a group that"),
        "groupadd --system",
        name,
    )
}

fn found<T>(
    result: io::Result<Option<T>>,
    spot: &Spot,
    subject: &str,
    create: &str,
    name: &str,
) -> Result<T, Problem> {
    match result {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err(spot.wrong(format!(
            "{subject} does not exist: correct the name, or create it with `{create} {name}`"
        ))),
        Err(reason) => Err(spot.wrong(format!("{subject} could not be looked up: {reason}"))),
    }
}

/// The user of this name, or else of this number.
fn user(name: &str, surroundings: &dyn Surroundings) -> io::Result<Option<User>> {
    match (surroundings.user(name)?, name.parse()) {
        (None, Ok(uid)) => surroundings.user_of(uid),
        (user, _) => Ok(user),
    }
}

/// The account of a web server, if the system has it.
pub(super) fn of_host(name: &str, surroundings: &dyn Surroundings) -> Option<Account> {
    let user = surroundings.user(name).ok()??;
    let gid = user.gid;
    account(user, gid, surroundings).ok()
}

fn account(user: User, gid: u32, surroundings: &dyn Surroundings) -> io::Result<Account> {
    let groups = surroundings.groups_of(&user.name, gid)?;
    Ok(Account {
        name: user.name,
        uid: user.uid,
        gid,
        groups,
        home: user.home,
    })
}

/// The number of "nobody" on every Linux.
const NOBODYS_UID: u32 = 65_534;
