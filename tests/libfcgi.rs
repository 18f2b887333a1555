//! A C program on libfcgi, the reference implementation of the protocol's application side.

use std::{os::unix::fs::PermissionsExt as _, path::Path};

use crate::support::{
    load::Load,
    nginx::Nginx,
    process::command,
    site::Site,
    stockade::{Pool, Stockade},
    tools,
};

#[test]
fn a_c_program_answers() {
    let site = Site::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/c/hello.c");
    let program = site.path().join("hello");
    let status = command(tools::cc())
        .args(["-O1", "-Wall", "-Werror", "-o"])
        .arg(&program)
        .arg(source)
        .arg("-lfcgi")
        .status()
        .unwrap();
    assert!(status.success());
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();

    let pool = Pool::new(&format!("command = [{program:?}]\nprocesses = 2"));
    let stockade = Stockade::ready(site, &[pool]);
    let nginx = Nginx::keeping(&stockade.socket("app"));
    let mut client = nginx.client();
    let response = client.get("/greeting?x=1");
    assert_eq!(response.status, 200);
    assert!(
        response.text().contains("GET /greeting?x=1"),
        "{}",
        response.text()
    );
    let body = vec![b'x'; 200_000];
    let response = client.post("/", "text/plain", &body);
    assert!(
        response.text().contains("200000 bytes."),
        "{}",
        response.text()
    );
    stockade.log.wait(&["pool app", "a body of 200000 bytes"]);

    let load = Load::start((0..8).map(|_| nginx.client()).collect(), "/");
    load.wait_answered(500);
    let (answered, failures) = load.stop();
    assert!(
        failures.is_empty(),
        "{} of {answered} failed: {failures:?}",
        failures.len()
    );
}
