//! How a worker begins and is told to end: `display-name`, `stop-signal`, `script-user`, `script-group`, `environment-file`,
//! `inherit-environment`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use nix::sys::signal::Signal;
use toml::{Spanned, de::DeValue};

use super::{
    accounts,
    confinement::PathOrOff,
    errors::Problem,
    file::{Given, PoolKeys},
    resolve::{absolute, value},
    resolved::Application,
    surroundings::Surroundings,
    values::{Value, Wrong, is_off, must_be, reserved, string, wrong},
};

/// How a worker begins, and is told to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// `display-name`; none: off.
    pub display_name: Option<String>,
    /// `stop-signal`.
    pub stop_signal: Signal,
    /// `script-user`: the owner that the application's file must have.
    pub script_user: Option<u32>,
    /// `script-group`.
    pub script_group: Option<u32>,
    /// `environment-file`, absolute.
    pub environment_file: Option<PathBuf>,
    /// `inherit-environment`.
    pub inherit_environment: bool,
    /// Variables of the environment that come from one of these two.
    pub borrowed: BTreeSet<String>,
}

/// `display-name`; none: "off".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DisplayName(pub Option<String>);

/// `stop-signal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StopSignal(pub Signal);

/// What the keys of a pool mean; what is borrowed of its environment is found by [`borrowed`]. `application` as it is seen in
/// `surroundings`.
pub(super) fn start(
    keys: &PoolKeys,
    application: &Application,
    folder: &Path,
    surroundings: &dyn Surroundings,
) -> Result<Start, Problem> {
    let (script_user, script_group) = script_owner(keys, application, surroundings)?;
    Ok(Start {
        display_name: display_name(keys, application, surroundings)?,
        stop_signal: stop_signal(keys, application)?,
        script_user,
        script_group,
        environment_file: environment_file(keys, folder),
        inherit_environment: value(keys.inherit_environment.as_ref(), |given| *given, false),
        borrowed: BTreeSet::new(),
    })
}

fn environment_file(keys: &PoolKeys, folder: &Path) -> Option<PathBuf> {
    let path = keys.environment_file.as_ref()?.value.0.as_ref()?;
    Some(absolute(folder, path))
}

/// The variables of the daemon and of `environment-file`, where the pool wants them; later ones hold.
pub(super) fn borrowed(
    keys: &PoolKeys,
    folder: &Path,
    surroundings: &dyn Surroundings,
) -> Result<BTreeMap<String, String>, Problem> {
    let mut all = BTreeMap::new();
    if value(keys.inherit_environment.as_ref(), |given| *given, false) {
        let texts = surroundings
            .variables()
            .into_iter()
            .filter_map(|(name, value)| {
                Some((name.into_string().ok()?, value.into_string().ok()?))
            });
        all.extend(texts.filter(|(name, _)| {
            let name = name.as_str();
            let said = (name == "LANG" && keys.lang.is_some())
                || (name == "LC_ALL" && (keys.lang.is_some() || keys.locale.is_some()));
            reserved(name).is_none() && !said && !OF_THE_DAEMON.contains(&name)
        }));
    }
    if let (Some(given), Some(path)) = (&keys.environment_file, environment_file(keys, folder)) {
        all.extend(read_file(given, &path, surroundings)?);
    }
    Ok(all)
}

fn read_file(
    given: &Given<PathOrOff>,
    path: &Path,
    surroundings: &dyn Surroundings,
) -> Result<Vec<(String, String)>, Problem> {
    let shown = path.display();
    let bytes = surroundings
        .read(path, LARGEST_FILE + 1)
        .map_err(|reason| {
            given.spot.wrong(format!(
                "is {shown}, which cannot be read: {reason}: make the file, or name another"
            ))
        })?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(given.spot.wrong(format!(
            "is {shown}, which has more than {LARGEST_FILE} bytes: name a file of lines NAME=VALUE"
        )));
    }
    let mut all = Vec::new();
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let line = std::str::from_utf8(line).map_err(|_| "is no UTF-8 text");
        match line.and_then(of_line) {
            Ok(variable) => all.extend(variable),
            Err(why) => {
                return Err(given
                    .spot
                    .wrong(format!("is wrong at {shown}:{number}, which {why}")));
            }
        }
    }
    Ok(all)
}

/// `NAME=VALUE`, the value as it is but for quotes around it; none: a comment, or nothing.
fn of_line(line: &str) -> Result<Option<(String, String)>, &'static str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line
        .split_once('=')
        .ok_or("has no =: write NAME=VALUE, or a # before a comment")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(plain) {
        return Err("begins with what is no name of a variable: use letters, digits and _");
    }
    if let Some(why) = reserved(name) {
        return Err(why);
    }
    if value.contains('\0') {
        return Err("contains a NUL character: remove it");
    }
    let quoted = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    let value = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
    Ok(Some((name.to_owned(), value.to_owned())))
}

/// The adapter sets the title of a Python worker. Of another program it is `argv[0]`, and there are those that find something by it.
fn display_name(
    keys: &PoolKeys,
    application: &Application,
    surroundings: &dyn Surroundings,
) -> Result<Option<String>, Problem> {
    let Some(given) = &keys.display_name else {
        return Ok(None);
    };
    let (Some(name), Application::Command(words) | Application::Service(words)) =
        (&given.value.0, application)
    else {
        return Ok(given.value.0.clone());
    };
    match words
        .first()
        .and_then(|program| needs_its_name(Path::new(program), surroundings))
    {
        // in [defaults] it is for those that can have one
        Some(why) if given.spot.own() => Err(given
            .spot
            .wrong(format!("cannot be given: {why}: remove it"))),
        Some(_) => Ok(None),
        None => Ok(Some(name.clone())),
    }
}

fn needs_its_name(program: &Path, surroundings: &dyn Surroundings) -> Option<String> {
    let shown = program.display();
    if surroundings
        .read(program, 2)
        .is_ok_and(|first| first == b"#!")
    {
        return Some(format!(
            "{shown} is a script, and the system gives its interpreter the names it needs"
        ));
    }
    let real = surroundings
        .real(program)
        .unwrap_or_else(|_| program.to_path_buf());
    let (called, name) = (program.file_name()?.to_str()?, real.file_name()?.to_str()?);
    if FINDS_ITSELF.iter().any(|begin| name.starts_with(begin)) {
        return Some(format!(
            "{name} finds out by the name it is started with where it belongs, or what it is to do"
        ));
    }
    (!name.starts_with(called)).then(|| {
        format!("{shown} leads to {name}, which may be many programs, told apart by the name they are started with")
    })
}

fn stop_signal(keys: &PoolKeys, application: &Application) -> Result<Signal, Problem> {
    let Some(given) = &keys.stop_signal else {
        return Ok(Signal::SIGTERM);
    };
    let signal = given.value.0;
    let adapter = matches!(application, Application::Python { .. });
    if adapter && !matches!(signal, Signal::SIGTERM | Signal::SIGINT) {
        if !given.spot.own() {
            return Ok(Signal::SIGTERM);
        }
        return Err(given.spot.wrong(format!(
            "is {:?}, but Python workers end by TERM or INT: remove it",
            name_of(signal)
        )));
    }
    Ok(signal)
}

fn script_owner(
    keys: &PoolKeys,
    application: &Application,
    surroundings: &dyn Surroundings,
) -> Result<(Option<u32>, Option<u32>), Problem> {
    let user = accounts::owner(keys.script_user.as_ref(), surroundings)?;
    let group = accounts::owning_group(keys.script_group.as_ref(), surroundings)?;
    let Application::Python { target, .. } = application else {
        return Ok((None, None));
    };
    let spots = [
        keys.script_user.as_ref().map(|given| &given.spot),
        keys.script_group.as_ref().map(|given| &given.spot),
    ];
    if let Some(spot) = spots.into_iter().flatten().next()
        && (user.is_some() || group.is_some())
        && !target.starts_with('/')
    {
        if !spot.own() {
            return Ok((None, None));
        }
        let key = application.key();
        return Err(spot.wrong(format!(
            "is about the file of an application, but `{key}` names a module: name its file with `{key}`, or remove this"
        )));
    }
    Ok((user, group))
}

/// The name as the key has it.
pub(super) fn name_of(signal: Signal) -> &'static str {
    signal.as_str().trim_start_matches("SIG")
}

impl Value for DisplayName {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        if is_off(value) {
            return Ok(Self(None));
        }
        let text = string(value, "a title, like \"stockade: blog\", or \"off\"")?;
        if text.is_empty() || text.len() > LONGEST_TITLE || text.chars().any(char::is_control) {
            return Err(wrong(
                value,
                format!("must have from 1 to {LONGEST_TITLE} bytes, and no control characters"),
            ));
        }
        Ok(Self(Some(text.to_owned())))
    }
}

impl Value for StopSignal {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        let names: Vec<&str> = SIGNALS.iter().map(|signal| name_of(*signal)).collect();
        let wanted = format!("the name of a signal: one of {}", names.join(", "));
        let text = string(value, &wanted)?;
        let bare = text.strip_prefix("SIG").unwrap_or(text);
        SIGNALS
            .into_iter()
            .find(|signal| name_of(*signal) == bare)
            .map(Self)
            .ok_or_else(|| must_be(value, &wanted))
    }
}

/// What a program may be told to end by.
const SIGNALS: [Signal; 7] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGHUP,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];
/// Python finds its virtual environment by `argv[0]`, the others what they are.
const FINDS_ITSELF: [&str; 5] = ["python", "pypy", "busybox", "toybox", "coreutils"];
/// Who the daemon is, and what systemd and the like tell it about itself.
const OF_THE_DAEMON: [&str; 15] = [
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "PWD",
    "OLDPWD",
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "SYSTEMD_EXEC_PID",
];
const LONGEST_TITLE: usize = 255;
const LARGEST_FILE: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_variable_a_comment_or_nothing() {
        let variable = |name: &str, value: &str| Ok(Some((name.to_owned(), value.to_owned())));
        for nothing in ["", "   ", "# A=1", "\t#", "\r"] {
            assert_eq!(of_line(nothing), Ok(None), "{nothing:?}");
        }
        for (line, name, value) in [
            ("A=1", "A", "1"),
            ("  export A=1\r", "A", "1"),
            ("A=", "A", ""),
            ("A=b=c # d", "A", "b=c # d"),
            ("A=\"b c\"", "A", "b c"),
            ("A='\"b\"'", "A", "\"b\""),
            ("A=\"b", "A", "\"b"),
        ] {
            assert_eq!(of_line(line), variable(name, value), "{line:?}");
        }
        for wrong in ["A", "=1", "A B=1", "STOCKADE_POOL=x", "A=\0"] {
            assert!(of_line(wrong).is_err(), "{wrong:?}");
        }
    }
}
