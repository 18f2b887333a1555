//! The adapter's arguments: words `key=value`, named after the pool's keys (`wsgi`, `threads`, `mount`, `interrupt-timeout`,
//! `deadlock-timeout`, `preload=template`, `display-name`, `script-user`, `script-group`, `watch`; `warm-up` and `python-path` as often as
//! there are entries). The launcher writes them (`launch/python.rs` of the daemon).

use std::time::Duration;

/// See the module.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// `wsgi` or `asgi`: `module:callable`, or a path with `:callable` or not.
    pub(crate) target: String,
    /// It was `asgi`.
    pub(crate) asgi: bool,
    /// `concurrency`: the hub that the application's greenlets have, if they are greenlets.
    pub(crate) hub: Option<String>,
    /// `threads`, or `connections`: requests at a time; at least 1.
    pub(crate) slots: u32,
    /// `shutdown-timeout`, in milliseconds: from the stop-signal to KILL.
    pub(crate) shutdown_timeout: u32,
    /// `mount`, without a slash at its end: "" is the root.
    pub(crate) mount: String,
    /// `interrupt-timeout` is set: requests are to be broken off when the supervisor says so.
    pub(crate) interrupts: bool,
    /// `deadlock-timeout`, in milliseconds.
    pub(crate) deadlock_timeout: Option<Duration>,
    /// It is to be a template.
    pub(crate) template: bool,
    /// `warm-up`, in order.
    pub(crate) warm_up: Vec<String>,
    /// `python-path`, in order.
    pub(crate) python_path: Vec<String>,
    /// `display-name`.
    pub(crate) display_name: Option<String>,
    /// `script-user`, a number.
    pub(crate) script_user: Option<u32>,
    /// `script-group`, a number.
    pub(crate) script_group: Option<u32>,
    /// `watch`: sources are watched, and clients are told of exceptions.
    pub(crate) development: bool,
}

impl Arguments {
    /// # Errors
    /// A sentence about the word that is wrong.
    pub(crate) fn parse(words: Vec<String>) -> Result<Self, String> {
        let mut all = Self {
            slots: 1,
            ..Self::default()
        };
        for word in words {
            match word.split_once('=') {
                Some((key @ ("wsgi" | "asgi"), named)) => {
                    named.clone_into(&mut all.target);
                    all.asgi = key == "asgi";
                }
                Some(("concurrency", name)) => all.hub = Some(name.to_owned()),
                Some(("mount", path)) => path.trim_end_matches('/').clone_into(&mut all.mount),
                Some(("preload", "template")) => all.template = true,
                Some(("warm-up", url)) => all.warm_up.push(url.to_owned()),
                Some(("python-path", entry)) => all.python_path.push(entry.to_owned()),
                Some(("display-name", title)) => all.display_name = Some(title.to_owned()),
                Some(("script-user", number)) => all.script_user = Some(owner(&word, number)?),
                Some(("script-group", number)) => all.script_group = Some(owner(&word, number)?),
                Some(("watch", _)) => all.development = true,
                Some(("interrupt-timeout", _)) => all.interrupts = true,
                Some(("deadlock-timeout", number)) => {
                    let milliseconds = number.parse().map_err(|_| {
                        format!("{word:?}: deadlock-timeout must be a number of milliseconds")
                    })?;
                    all.deadlock_timeout = Some(Duration::from_millis(milliseconds));
                }
                Some((key @ ("threads" | "connections"), number)) => {
                    all.slots = whole(key, number)?;
                }
                Some((key @ "shutdown-timeout", number)) => {
                    all.shutdown_timeout = whole(key, number)?;
                }
                _ => return Err(format!("{word:?} is not an argument of the adapter")),
            }
        }
        if all.target.is_empty() {
            return Err("the argument wsgi=TARGET or asgi=TARGET is missing".to_owned());
        }
        Ok(all)
    }
}

fn owner(word: &str, number: &str) -> Result<u32, String> {
    number
        .parse()
        .map_err(|_| format!("{word:?}: an owner must be a number"))
}

fn whole(key: &str, number: &str) -> Result<u32, String> {
    let wrong = || format!("\"{key}={number}\": {key} must be a number from 1");
    let number = number.parse().ok().filter(|&number| number > 0);
    number.ok_or_else(wrong)
}
