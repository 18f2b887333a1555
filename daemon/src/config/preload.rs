//! How a Python application is loaded: `preload`, `warm-up`, `refork-after`.

use toml::{Spanned, de::DeValue};

use super::{
    errors::Problem,
    file::PoolKeys,
    python,
    resolve::value,
    resolved::{Concurrency, Preload},
    values::{Value, Wrong, must_be, string},
};

/// One of `warm-up`: a path, or a URL whose host is the request's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WarmUp(pub String);

impl Value for WarmUp {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        let wanted = "a path, like \"/\", or a URL, like \"http://blog.example.org/\"";
        let text = string(value, wanted)?;
        let plain = |c: char| c.is_ascii_graphic() && c != '#';
        let behind = (text.strip_prefix("http://")).or_else(|| text.strip_prefix("https://"));
        let has_path = match behind {
            Some(behind) => behind.find('/').is_some_and(|at| at > 0),
            None => text.starts_with('/'),
        };
        if !has_path || !text.chars().all(plain) {
            return Err(must_be(value, wanted));
        }
        Ok(Self(text.to_owned()))
    }
}

/// What the keys say.
pub(super) fn preload(keys: &PoolKeys) -> Result<Preload, Problem> {
    let preload = value(keys.preload.as_ref(), |given| *given, false);
    let concurrency = python::concurrency(keys);
    let refused = keys.preload.as_ref().filter(|_| preload);
    if let Some(given) = refused.filter(|_| concurrency == Concurrency::Eventlet) {
        return Err(given.spot.wrong(
            "cannot be with `concurrency = \"eventlet\"`, whose event loop is there before the application is, and which no fork may share: remove it",
        ));
    }
    let refork_after = value(keys.refork_after.as_ref(), |given| given.0, 0);
    if let Some(given) = keys.refork_after.as_ref().filter(|_| refork_after > 0)
        && let Some(why) = unfit_for_refork(keys, preload, concurrency)
    {
        return Err(given.spot.wrong(why));
    }
    let warm_up = keys.warm_up.iter().flat_map(|given| &given.value);
    Ok(Preload {
        preload,
        warm_up: warm_up.map(|each| each.get_ref().0.clone()).collect(),
        refork_after,
    })
}

fn unfit_for_refork(
    keys: &PoolKeys,
    preload: bool,
    concurrency: Concurrency,
) -> Option<&'static str> {
    let one = value(keys.threads.as_ref(), |given| given.0, 1) == 1;
    if !preload {
        Some("needs `preload = true`, whose template it replaces: set that, or remove it")
    } else if keys.asgi.is_some() || concurrency != Concurrency::Thread {
        Some("has no meaning for a worker with an event loop, which cannot be forked: remove it")
    } else if !one {
        Some("needs `threads = 1`, for no fork takes other threads along: set that, or remove it")
    } else {
        None
    }
}
