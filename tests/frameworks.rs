//! Sites in Bottle, Pyramid and CherryPy behind nginx, below a path.

use crate::support::{
    nginx::Nginx,
    site::Site,
    stockade::{Pool, Stockade},
    tools,
};

const SITES: &str = include_str!("python/frameworks_wsgi.py");

#[test]
fn bottle_answers() {
    answers("bottle");
}

#[test]
fn pyramid_answers() {
    answers("pyramid");
}

#[test]
fn cherrypy_answers() {
    answers("cherrypy");
}

fn answers(framework: &str) {
    let site = Site::new();
    let environment = site.reachable(&tools::python_environment("pyramid"));
    site.write("sites.py", SITES);
    let keys = format!(
        "wsgi = \"sites:{framework}_site()\"\npython-home = {environment:?}\npython-path = [{:?}]\nmount = \"/shop\"\nprocesses = 2\nthreads = 2\npreload = true",
        site.path()
    );
    let stockade = Stockade::ready(site, &[Pool::new(&keys)]);
    let nginx = Nginx::keeping(&stockade.socket("app"));
    let mut client = nginx.client();
    let page = client.get("/shop/?name=Ada").text();
    assert_eq!(page, format!("{framework} says hello to Ada"));

    let form = "application/x-www-form-urlencoded";
    let posted = client.post("/shop/form", form, b"name=Ada");
    let location = posted.header("Location").unwrap_or_default();
    assert!(
        posted.status == 302 || posted.status == 303,
        "{}",
        posted.text()
    );
    assert!(location.ends_with("/shop/done"), "{location}");
    assert_eq!(client.cookie("seen"), Some("Ada"));

    let mut body = b"--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n".to_vec();
    body.extend(vec![7; 300_000]);
    body.extend_from_slice(b"\r\n--edge--\r\n");
    let kept = client.post("/shop/upload", "multipart/form-data; boundary=edge", &body);
    assert_eq!((kept.status, kept.text()), (200, "300000 bytes".to_owned()));

    let stream = client.get("/shop/stream");
    assert_eq!((stream.status, stream.complete), (200, true));
    assert_eq!(stream.text().lines().count(), 10_000);
    assert_eq!(client.get("/shop/fail").status, 500);
    stockade.log.wait(&["RuntimeError: the view's own words"]);
    assert_eq!(client.get("/elsewhere").status, 404);
}
