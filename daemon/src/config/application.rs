//! What runs: `wsgi` or `command`, every file it needs found, and the environment it runs in.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use toml::Spanned;

use super::{
    errors::Problem,
    file::{Given, PoolKeys, PoolTable},
    resolve::absolute,
    resolved::{Account, Application},
    surroundings::{Found, Surroundings},
    values::Word,
};

/// The pool's application; its relative paths begin in `base`.
pub(super) fn application(
    pool: &PoolTable,
    base: &Path,
    surroundings: &dyn Surroundings,
) -> Result<Application, Problem> {
    match (&pool.keys.wsgi, &pool.keys.command) {
        (Some(_), Some(command)) => Err(command.spot.wrong(
            "is set beside `wsgi`, but a pool runs exactly one application: remove one of them",
        )),
        (None, None) => Err(pool.missing("there is no application: set `wsgi` or `command`")),
        (Some(wsgi), None) => Ok(Application::Wsgi {
            target: target(wsgi, base, surroundings)?,
            interpreter: interpreter(pool, base, surroundings)?,
            python_path: python_path(&pool.keys, base),
        }),
        (None, Some(given)) => {
            refuse_python(&pool.keys)?;
            command(given, base, surroundings).map(Application::Command)
        }
    }
}

/// The whole environment of a worker but what the daemon tells it about itself.
pub(super) fn environment(
    keys: &PoolKeys,
    application: &Application,
    account: Option<&Account>,
    own: &(String, PathBuf),
) -> BTreeMap<String, String> {
    let (name, home) = account.map_or((&own.0, &own.1), |account| (&account.name, &account.home));
    let lang = keys.lang.as_ref().map_or_else(
        || Some(DEFAULT_LANG.to_owned()),
        |given| given.value.0.clone(),
    );
    let locale = keys
        .locale
        .as_ref()
        .map_or_else(|| lang.clone(), |given| given.value.0.clone());
    let mut variables = BTreeMap::from([
        ("PATH".to_owned(), DEFAULT_PATH.to_owned()),
        ("HOME".to_owned(), home.to_string_lossy().into_owned()),
        ("USER".to_owned(), name.clone()),
        ("LOGNAME".to_owned(), name.clone()),
    ]);
    variables.extend(lang.map(|lang| ("LANG".to_owned(), lang)));
    variables.extend(locale.map(|locale| ("LC_ALL".to_owned(), locale)));
    variables.extend(php_variables(keys, application));
    if let Some(given) = &keys.environment {
        variables.extend(given.value.0.clone());
    }
    variables
}

/// php-cgi serves one request at a time, unless told to have children that accept beside each other; and it exits after 500 without
/// a word, under a request that was just being given to it: `maximum-requests` does that without loss.
fn php_variables(keys: &PoolKeys, application: &Application) -> Vec<(String, String)> {
    let Application::Command(words) = application else {
        return Vec::new();
    };
    let program = words
        .first()
        .and_then(|word| Path::new(word).file_name()?.to_str());
    if !program.is_some_and(|program| program.starts_with("php-cgi")) {
        return Vec::new();
    }
    let mut variables = vec![("PHP_FCGI_MAX_REQUESTS".to_owned(), "0".to_owned())];
    if let Some(threads) = keys
        .threads
        .as_ref()
        .map(|given| given.value.0)
        .filter(|threads| *threads > 1)
    {
        variables.push(("PHP_FCGI_CHILDREN".to_owned(), threads.to_string()));
    }
    variables
}

/// `module:callable` as it is; a file made absolute, its `:callable` kept.
fn target(
    wsgi: &Given<String>,
    base: &Path,
    surroundings: &dyn Surroundings,
) -> Result<String, Problem> {
    let text = &wsgi.value;
    let (before, callable) = match text.rsplit_once(':') {
        Some((before, callable)) => (before, Some(callable)),
        None => (text.as_str(), None),
    };
    let bad_callable = callable.is_some_and(|callable| !dotted_name(callable));
    if !names_a_file(before, callable) {
        if callable.is_none() || bad_callable || !dotted_name(before) {
            return Err(wsgi.spot.wrong(format!(
                "is {text:?}, but must be a module and a callable, like \"blog.wsgi:application\", or the path of a .wsgi or .py file"
            )));
        }
        return Ok(text.clone());
    }
    if bad_callable {
        return Err(wsgi.spot.wrong(format!(
            "is {text:?}, but what follows the colon must be the name of a callable, like \"application\""
        )));
    }
    let path = absolute(base, Path::new(before));
    match surroundings.find(&path) {
        Ok(Found::Folder) => Err(wsgi.spot.wrong(format!(
            "is {}, a folder: name the .wsgi or .py file in it",
            path.display()
        ))),
        Err(reason) => Err(wsgi.spot.wrong(format!(
            "is {}, which cannot be found: {reason}: correct the path",
            path.display()
        ))),
        Ok(Found::File | Found::Program) => Ok(match callable {
            Some(callable) => format!("{}:{callable}", path.display()),
            None => path.display().to_string(),
        }),
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
fn interpreter(
    pool: &PoolTable,
    base: &Path,
    surroundings: &dyn Surroundings,
) -> Result<PathBuf, Problem> {
    let Some(given) = &pool.keys.python_home else {
        return in_path("python3", surroundings).ok_or_else(|| {
            pool.missing("there is no python3 in PATH: install it, or name a virtual environment or an interpreter with `python-home`")
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

fn python_path(keys: &PoolKeys, base: &Path) -> Vec<PathBuf> {
    keys.python_path
        .iter()
        .flat_map(|given| &given.value)
        .map(|folder| absolute(base, folder.get_ref()))
        .collect()
}

/// A pool with a `command` has no use for Python's keys, and is given SCRIPT_NAME as the host sends it; in `[defaults]` they are for
/// other pools.
fn refuse_python(keys: &PoolKeys) -> Result<(), Problem> {
    let home = keys.python_home.as_ref().map(|given| &given.spot);
    let path = keys.python_path.as_ref().map(|given| &given.spot);
    let mount = keys.mount.as_ref().map(|given| &given.spot);
    let given = [home, path, mount];
    match given.into_iter().flatten().find(|spot| spot.own()) {
        Some(spot) => Err(spot
            .wrong("has no meaning with `command`: remove it, or run the application with `wsgi`")),
        None => Ok(()),
    }
}

/// The program made absolute, and its arguments.
fn command(
    given: &Given<Vec<Spanned<Word>>>,
    base: &Path,
    surroundings: &dyn Surroundings,
) -> Result<Vec<String>, Problem> {
    let Some(first) = given.value.first() else {
        return Err(given
            .spot
            .wrong("is empty: write the program and its arguments, like [\"php-cgi\"]"));
    };
    let Word(name) = first.get_ref();
    let wrong = |why| given.spot.wrong_at(first.span(), why);
    let program = if name.contains('/') {
        let path = absolute(base, Path::new(name));
        match surroundings.find(&path) {
            Ok(Found::Program | Found::File) => path,
            Ok(Found::Folder) => {
                return Err(wrong(format!(
                    "begins with {}, a folder: name a program",
                    path.display()
                )));
            }
            Err(reason) => {
                return Err(wrong(format!(
                    "begins with {}, which cannot be found: {reason}: correct the path",
                    path.display()
                )));
            }
        }
    } else {
        in_path(name, surroundings).ok_or_else(|| {
            wrong(format!("begins with {name:?}, which is in no folder of PATH: install it, or write its whole path"))
        })?
    };
    let arguments = given
        .value
        .iter()
        .skip(1)
        .map(|word| word.get_ref().0.clone());
    Ok([program.display().to_string()]
        .into_iter()
        .chain(arguments)
        .collect())
}

/// The program of this name in the first folder of our own PATH that has it.
fn in_path(name: &str, surroundings: &dyn Surroundings) -> Option<PathBuf> {
    let path = surroundings
        .variable("PATH")
        .unwrap_or_else(|| OsString::from(DEFAULT_PATH));
    env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|program| matches!(surroundings.find(program), Ok(Found::Program)))
}

const DEFAULT_LANG: &str = "C.UTF-8";
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
