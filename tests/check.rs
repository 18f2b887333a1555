//! `stockade check`: what a configuration means, without anything being done about it.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use crate::support::{
    built,
    process::command,
    site::Site,
    stockade::{Pool, Stockade, configuration, daemon_table},
    tools,
};

#[test]
fn it_tells_what_would_run_and_touches_nothing() {
    let site = Site::new();
    let pools = [
        Pool::scripted(&site, &[], "processes = 3\nthreads = 2"),
        Pool::new("upstream = [\"127.0.0.1:9999\"]").named("wiki"),
        Pool::new("service = [\"sleep\", \"1000\"]").named("jobs"),
        Pool::scripted(&site, &[], "scale = { minimum = 0, maximum = 7 }").named("rare"),
        Pool::scripted(&site, &[], "scale = { minimum = 2, maximum = 7 }").named("busy"),
    ];
    let file = site.write("stockade.toml", &configuration(&site, &pools));
    let before = listing(site.path());
    let (code, out, _) = check(&file, &[]);
    assert_eq!(code, Some(0), "{out}");
    for words in [
        "pool app: 3 workers of ",
        "pool rare: 0 to 7 workers on demand of ",
        "pool busy: 2 to 7 workers of ",
        "2 requests at a time each",
        "pool wiki: requests go to 127.0.0.1:9999, 32 requests at a time each",
        "pool jobs: 1 worker of /",
        "sleep 1000, no requests",
        "app.sock (",
        "admin.sock",
    ] {
        assert!(out.contains(words), "{words}: {out}");
    }
    let last = out.lines().last().unwrap();
    let begins = format!("{}: 5 pools, no error, ", file.display());
    assert!(last.starts_with(&begins), "{out}");
    assert_eq!(listing(site.path()), before);
}

/// With what each wants in /srv put into a folder of the test's.
#[test]
fn nothing_is_wrong_or_odd_in_the_examples() {
    if !tools::root() {
        return;
    }
    tools::account(tools::POOL_USER);
    for name in ["asgi", "c", "django", "go", "hello", "perl", "php", "rust"] {
        let site = Site::new();
        let copy = site.copy_for_pool(
            &Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("examples")
                .join(name),
        );
        fs::create_dir_all(copy.join("venv/bin")).unwrap();
        for program in ["hello", "venv/bin/python3"] {
            let program = copy.join(program);
            fs::write(&program, "#!/bin/sh\n").unwrap();
            fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        }
        let file = copy.join("stockade.toml");
        let text = fs::read_to_string(&file).unwrap();
        let folder = match name {
            "asgi" => "clock",
            "django" => "shelf",
            name => name,
        };
        let text = text.replace(&format!("/srv/{folder}"), copy.to_str().unwrap());
        fs::write(&file, text).unwrap();
        let (code, out, errors) = check(&file, &[]);
        assert_eq!(code, Some(0), "{name}: {out}{errors}");
        assert!(
            out.ends_with("1 pool, no error, no warning\n"),
            "{name}: {errors}"
        );
    }
}

#[test]
fn what_is_printed_runs_and_prints_itself_again() {
    let site = Site::new();
    let worker = Pool::scripted(&site, &[], "processes = 2\nlang = \"off\"");
    let file = site.write("few.toml", &configuration(&site, &[worker]));
    let (code, printed, _) = check(&file, &["--print"]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("request-timeout = \"60s\""), "{printed}");
    let all = site.write("all.toml", &printed);
    let (_, again, _) = check(&all, &["--print"]);
    let values = |text: &str| -> Vec<String> {
        let value = |line: &str| line.split(" # ").next().unwrap().trim_end().to_owned();
        text.lines().map(value).collect()
    };
    assert_eq!(values(&again), values(&printed));
    let stockade = Stockade::run(site, &printed);
    stockade.wait_ready("app", 2);
    assert_eq!(stockade.connect().get("").status(), 200);
}

#[test]
fn what_is_odd_is_a_warning_with_its_place() {
    let site = Site::new();
    let worker = Pool::scripted(&site, &[], "graceful-timeout = \"1s\"");
    let file = site.write("stockade.toml", &configuration(&site, &[worker]));
    let (code, out, errors) = check(&file, &[]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.ends_with(" 1 warning\n"), "{out}{errors}");
    for words in [
        "stockade.toml:",
        ": warning: pool app: `graceful-timeout` is 1s, less than `request-timeout` (60s)",
        "| graceful-timeout = \"1s\"",
    ] {
        assert!(errors.contains(words), "{words}: {errors}");
    }
    // with the printed configuration it does not mix
    let (_, printed, errors) = check(&file, &["--print"]);
    assert!(!printed.contains("warning") && errors.contains("warning"));
}

#[test]
fn a_socket_that_nginx_may_not_open_is_found_and_said_at_the_start_too() {
    if !tools::root() {
        return;
    }
    let site = Site::new();
    let folder = site.path().join("closed");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
    let socket = folder.join("app.sock");
    let keys = format!(
        "listen = [\"unix:{}\"]\nuser = \"nobody\"\nsocket-group = \"www-data\"\ncommand = [\"/bin/true\"]",
        socket.display()
    );
    let config = format!("{}[pool.app]\n{keys}\n", daemon_table(&site));
    let file = site.write("stockade.toml", &config);
    let (code, _, errors) = check(&file, &[]);
    assert_eq!(code, Some(0));
    let words = format!(
        "www-data, may not enter {} (mode 0700): put the socket where it may",
        folder.display()
    );
    assert!(errors.contains(&words), "{errors}");
    let stockade = Stockade::run(site, &config);
    stockade.log.wait(&["WARN", &words]);
}

#[test]
fn what_is_wrong_is_told_as_at_a_start() {
    let site = Site::new();
    let file = site.write("stockade.toml", "[pool.app]\nproceses = 3\n");
    let (code, out, errors) = check(&file, &[]);
    assert_eq!((code, &*out), (Some(78), ""));
    assert!(
        errors.contains(
            "stockade.toml:2:1: pool app: unknown key `proceses`: did you mean `processes`?"
        ),
        "{errors}"
    );
    let file = site.write("stockade.toml", &"# nothing\n".repeat(1_000_000));
    let (code, _, errors) = check(&file, &[]);
    assert_eq!(code, Some(78));
    assert!(errors.contains("is larger than 8388608 bytes"), "{errors}");
    let (code, _, errors) = check(Path::new("/nowhere/stockade.toml"), &[]);
    assert_eq!(code, Some(78));
    assert!(errors.contains("/nowhere/stockade.toml"), "{errors}");
}

fn check(file: &Path, words: &[&str]) -> (Option<i32>, String, String) {
    let output = command(built::stockade())
        .args(["check", "-c"])
        .arg(file)
        .args(words)
        .output()
        .expect("the built binary can be started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(!errors.contains("panicked"), "{errors}");
    (output.status.code(), out, errors)
}

fn listing(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("the folder can be read")
        .map(|entry| {
            entry
                .expect("the folder can be read")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}
