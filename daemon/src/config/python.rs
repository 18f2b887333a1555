//! A Python application: its callable, its interpreter, and how it has several requests at once.

use std::path::{Path, PathBuf};

use toml::{Spanned, de::DeValue};

use super::{
    application::in_path,
    errors::Problem,
    file::{Given, PoolKeys, PoolTable},
    resolve::{absolute, value},
    resolved::{Account, Concurrency, Interface},
    surroundings::{Found, Surroundings},
    values::{Value, Wrong, one_of},
};

/// Workers take `connections` requests at once, not `threads`.
pub(super) fn has_connections(keys: &PoolKeys) -> bool {
    keys.asgi.is_some() || (keys.wsgi.is_some() && concurrency(keys).hub().is_some())
}

/// `concurrency`.
pub(super) fn concurrency(keys: &PoolKeys) -> Concurrency {
    value(
        keys.concurrency.as_ref(),
        |given| *given,
        Concurrency::Thread,
    )
}

impl Value for Concurrency {
    fn from_toml(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        one_of(
            value,
            &[
                ("thread", Self::Thread),
                ("gevent", Self::Gevent),
                ("eventlet", Self::Eventlet),
            ],
        )
    }
}

/// The Python application, if it is one.
pub(super) fn application(keys: &PoolKeys) -> Option<(Interface, &Given<String>)> {
    let wsgi = keys.wsgi.as_ref().map(|given| (Interface::Wsgi, given));
    wsgi.or_else(|| Some((Interface::Asgi, keys.asgi.as_ref()?)))
}

/// `module:callable` as it is; a file made absolute, its `:callable` kept.
pub(super) fn target(
    given: &Given<String>,
    python_path: &[PathBuf],
    base: &Path,
    surroundings: &dyn Surroundings,
) -> Result<String, Problem> {
    let text = &given.value;
    let (before, callable) = match text.rsplit_once(':') {
        Some((before, callable)) => (before, Some(callable)),
        None => (text.as_str(), None),
    };
    // `create_app()` makes the application
    let named = |callable: &str| dotted_name(callable.strip_suffix("()").unwrap_or(callable));
    let bad_callable = callable.is_some_and(|callable| !named(callable));
    if !names_a_file(before, callable) {
        if callable.is_none() || bad_callable || !dotted_name(before) {
            return Err(given.spot.wrong(format!(
                "is {text:?}, but must be a module and a callable, like \"blog.wsgi:application\", or the path of a .wsgi or .py file"
            )));
        }
        return Ok(text.clone());
    }
    if bad_callable {
        return Err(given.spot.wrong(format!(
            "is {text:?}, but what follows the colon must be the name of a callable, like \"application\""
        )));
    }
    let path = absolute(base, Path::new(before));
    match surroundings.find(&path) {
        Ok(Found::Folder) => Err(given.spot.wrong(format!(
            "is {}, a folder: name the .wsgi or .py file in it",
            path.display()
        ))),
        Err(reason) => Err(given.spot.wrong(format!(
            "is {}, which cannot be found: {reason}: {}",
            path.display(),
            correction(before, python_path, base, surroundings)
        ))),
        Ok(Found::File | Found::Program) => Ok(match callable {
            Some(callable) => format!("{}:{callable}", path.display()),
            None => path.display().to_string(),
        }),
    }
}

/// What to do about a file that is not there: a module was meant, or the end of its name is missing.
fn correction(
    file: &str,
    python_path: &[PathBuf],
    base: &Path,
    surroundings: &dyn Surroundings,
) -> String {
    let there = |path: &Path| matches!(surroundings.find(path), Ok(Found::File | Found::Program));
    let module = file.trim_end_matches(".py").replace('/', ".");
    let source = format!("{}.py", module.replace('.', "/"));
    let mut folders = [base]
        .into_iter()
        .chain(python_path.iter().map(PathBuf::as_path));
    if dotted_name(&module) && folders.any(|folder| there(&folder.join(&source))) {
        return format!("for the module write \"{module}:application\"");
    }
    let ends = [".py", ".wsgi"].map(|end| format!("{file}{end}"));
    match ends
        .iter()
        .find(|file| there(&absolute(base, Path::new(file))))
    {
        Some(file) => format!("did you mean {file:?}?"),
        None => "correct the path".to_owned(),
    }
}

/// `blog.wsgi:application` is a module, `blog.wsgi` alone cannot be one.
fn names_a_file(before: &str, callable: Option<&str>) -> bool {
    before.contains('/')
        || before.ends_with(".py")
        || (before.ends_with(".wsgi") && callable.is_none())
}

fn dotted_name(text: &str) -> bool {
    text.split('.').all(|name| {
        name.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_alphanumeric() || c == '_')
    })
}

/// The interpreter of `python-home`, which is one or a virtual environment; else python3 from PATH.
pub(super) fn interpreter(
    pool: &PoolTable,
    account: Option<&Account>,
    base: &Path,
    surroundings: &dyn Surroundings,
) -> Result<PathBuf, Problem> {
    let Some(given) = &pool.keys.python_home else {
        return in_path("python3", account, surroundings).ok_or_else(|| {
            let remedy = application(&pool.keys).map_or("", |(_, given)| {
                given.spot.place.either(
                    "name a virtual environment or an interpreter with `python-home`",
                    "activate a virtual environment",
                )
            });
            pool.missing(format!(
                "there is no python3 in PATH: install it, or {remedy}"
            ))
        });
    };
    let home = absolute(base, &given.value);
    let shown = home.display();
    match surroundings.find(&home) {
        Ok(Found::Program) => Ok(home),
        Ok(Found::Folder) => ["bin/python3", "bin/python"]
            .iter()
            .map(|program| home.join(program))
            .find(|program| matches!(surroundings.find(program), Ok(Found::Program)))
            .ok_or_else(|| {
                given.spot.wrong(format!(
                    "is {shown}, a folder without bin/python3: make it with `python3 -m venv {shown}`, or name an interpreter"
                ))
            }),
        Ok(Found::File) => Err(given.spot.wrong(format!(
            "is {shown}, which is no program: name a virtual environment or an interpreter"
        ))),
        Err(reason) => Err(given.spot.wrong(format!(
            "is {shown}, which cannot be found: {reason}: make it with `python3 -m venv {shown}`, or name an interpreter"
        ))),
    }
}

pub(super) fn path(keys: &PoolKeys, base: &Path) -> Vec<PathBuf> {
    keys.python_path
        .iter()
        .flat_map(|given| &given.value)
        .map(|folder| absolute(base, folder.get_ref()))
        .collect()
}
