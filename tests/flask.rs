//! The Flask example behind nginx, below a path: a form with an upload, a redirect, a cookie, a streamed answer.

use std::path::Path;

use crate::support::{
    nginx::Nginx,
    site::Site,
    stockade::{Pool, Stockade},
    tools,
};

#[test]
fn a_flask_application_below_a_path() {
    let site = Site::new();
    let environment = site.reachable(&tools::python_environment("flask"));
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/flask");
    let folder = site.copy_for_pool(&example);
    let keys = format!(
        "wsgi = \"notes:app\"\npython-home = {environment:?}\nhome = {folder:?}\nmount = \"/notes\"\nprocesses = 2\nthreads = 2"
    );
    let stockade = Stockade::ready(site, &[Pool::new(&keys)]);
    let nginx = Nginx::keeping(&stockade.socket("app"));
    let mut client = nginx.client();
    assert!(client.get("/notes/").text().contains("Notes kept: 0"));

    let mut body = b"--edge\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\ncaf\xc3\xa9\r\n--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\r\n".to_vec();
    body.extend(vec![7; 300_000]);
    body.extend_from_slice(b"\r\n--edge--\r\n");
    let kept = client.post("/notes/", "multipart/form-data; boundary=edge", &body);
    assert_eq!(
        (kept.status, kept.header("Location")),
        (302, Some("/notes/last")),
        "{}",
        kept.text()
    );
    assert!(client.cookie("session").is_some());
    let last = client.get("/notes/last").text();
    assert!(
        last.contains(r"caf\u00e9, 300000 bytes") && last.contains(r#""root":"/notes""#),
        "{last}"
    );
    assert!(client.get("/notes/").text().contains("Notes kept: 1"));

    let lines = client.get("/notes/stream?name=b");
    assert_eq!((lines.status, lines.complete), (200, true));
    assert_eq!(lines.text().lines().count(), 10_000);
    assert!(lines.text().ends_with("b line 9999\n"));
    assert_eq!(client.get("/elsewhere").status, 404);
}
