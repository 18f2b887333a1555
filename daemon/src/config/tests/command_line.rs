//! A configuration without a file, in surroundings that are made up.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::Imagined;
use crate::config::{
    Run, Target,
    command_line::without_file,
    resolved::{Account, Application, Config, Destination, Interface, Listen, SocketOwner},
};

fn run(target: &str) -> Run {
    Run {
        target: Target::Python(Interface::Wsgi, target.to_owned()),
        listen: "127.0.0.1:8000".parse().unwrap(),
        processes: None,
        threads: Some(3),
        reload: false,
        files: vec![("/static/".to_owned(), PathBuf::from("."))],
        user: None,
        folder: PathBuf::from("/srv/blog"),
        runtime_dir: PathBuf::from("/run/stockade-run-1"),
        environment: BTreeMap::new(),
        own_environment: None,
    }
}

fn name(account: Option<&Account>) -> Option<&str> {
    account.map(|account| account.name.as_str())
}

/// Whom relay, shim and application become.
fn accounts(config: &Config) -> [Option<&str>; 3] {
    let shim = config.shim.as_ref().unwrap();
    [
        name(config.daemon.relay_user.as_ref()),
        name(shim.account.as_ref()),
        name(config.pools[0].account.as_ref()),
    ]
}

#[test]
fn an_application_becomes_a_pool_behind_the_shim() {
    let config = without_file(&run("app.py:main"), &Imagined::blog()).unwrap();
    let pool = &config.pools[0];
    assert_eq!(
        (pool.name.as_str(), pool.processes, pool.threads),
        ("app", 5, 3)
    );
    assert_eq!(pool.home, PathBuf::from("/srv/blog"));
    let Application::Python {
        target,
        python_path,
        ..
    } = &pool.application
    else {
        panic!("{pool:?}");
    };
    assert_eq!(target, "/srv/blog/app.py:main");
    assert_eq!(python_path, &[PathBuf::from("/srv/blog")]);
    assert_eq!(accounts(&config), [None; 3]);
    let routes = config.shim.unwrap().routes;
    let address = Listen::Unix(PathBuf::from("/run/stockade-run-1/pool.sock"));
    let name = "app".to_owned();
    assert_eq!(routes[0].destination, Destination::Pool { name, address });
    let folder = PathBuf::from("/srv/blog");
    assert_eq!(routes[1].destination, Destination::Files(folder));
}

#[test]
fn root_runs_nothing_as_root() {
    let config = without_file(&run("app.py"), &Imagined::root()).unwrap();
    let own = [Some("stockade"), Some("stockade-shim"), Some("blog")];
    assert_eq!(accounts(&config), own);
    let owner = SocketOwner {
        uid: Some(401),
        gid: Some(401),
        mode: 0o600,
    };
    assert_eq!(config.pools[0].socket, owner);

    let bare = Imagined::root()
        .without("stockade")
        .without("stockade-shim");
    let mut of_root = run("/etc/stockade/app.py");
    let config = without_file(&of_root, &bare).unwrap();
    assert_eq!(accounts(&config), [Some("nobody"); 3]);
    of_root.user = Some("blog".to_owned());
    let config = without_file(&of_root, &bare).unwrap();
    assert_eq!(accounts(&config)[2], Some("blog"));
}

#[test]
fn an_active_virtual_environment_is_used() {
    let machine = Imagined::blog().with("VIRTUAL_ENV", "/srv/blog/venv");
    let mut run = run("blog.wsgi:application");
    run.own_environment = Some(PathBuf::from("/opt/tools"));
    let config = without_file(&run, &machine).unwrap();
    assert_eq!(interpreter(&config), Path::new("/srv/blog/venv/bin/python"));
}

#[test]
fn without_an_active_one_that_of_the_command_itself_is_used() {
    let mut run = run("blog.wsgi:application");
    let config = without_file(&run, &Imagined::blog()).unwrap();
    assert_eq!(interpreter(&config), Path::new("/opt/bin/python3"));
    run.own_environment = Some(PathBuf::from("/srv/blog/venv"));
    let config = without_file(&run, &Imagined::blog()).unwrap();
    assert_eq!(interpreter(&config), Path::new("/srv/blog/venv/bin/python"));
}

fn interpreter(config: &Config) -> &Path {
    let Application::Python { interpreter, .. } = &config.pools[0].application else {
        panic!("{config:?}");
    };
    interpreter
}

#[test]
fn a_program_is_found_in_path() {
    let mut run = run("");
    run.target = Target::Command(vec!["php-cgi".to_owned(), "-n".to_owned()]);
    let config = without_file(&run, &Imagined::blog()).unwrap();
    let words = ["/usr/bin/php-cgi", "-n"].map(str::to_owned).to_vec();
    assert_eq!(config.pools[0].application, Application::Command(words));
    assert_eq!(config.pools[0].name, "php-cgi");
}

#[test]
fn a_mistake_is_a_sentence_about_the_word() {
    for (target, sentence) in [
        (
            "nothing.py",
            "`TARGET` is /srv/blog/nothing.py, which cannot be found: No such file or directory (os error 2): correct the path",
        ),
        (
            "blog",
            "`TARGET` is \"blog\", but must be a module and a callable, like \"blog.wsgi:application\", or the path of a .wsgi or .py file",
        ),
    ] {
        let errors = without_file(&run(target), &Imagined::blog()).unwrap_err();
        assert_eq!(errors.to_string(), sentence);
    }
    let mut wrong = run("app.py");
    wrong.files = vec![("/a/".to_owned(), PathBuf::from("nowhere"))];
    wrong.user = Some("nosuch".to_owned());
    let errors = without_file(&wrong, &Imagined::root())
        .unwrap_err()
        .to_string();
    assert!(errors.contains("`--user` is \"nosuch\""), "{errors}");
}

#[test]
fn remedies_are_those_of_a_command() {
    let mut other = run("app.py");
    other.user = Some("stockade".to_owned());
    assert_eq!(
        without_file(&other, &Imagined::blog())
            .unwrap_err()
            .to_string(),
        "`--user` is \"stockade\", but this is run by blog, and only root can become somebody else: leave it out, or run this as root"
    );
    let nowhere = Imagined::blog().with("PATH", "/nowhere");
    assert_eq!(
        without_file(&run("app.py"), &nowhere)
            .unwrap_err()
            .to_string(),
        "pool app: there is no python3 in PATH: install it, or activate a virtual environment"
    );
}
