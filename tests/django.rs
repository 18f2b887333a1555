//! A Django project, as it is deployed: admin, static files by nginx, uploads, streamed downloads.

use std::path::{Path, PathBuf};

use crate::support::{
    http::{Client, Request},
    nginx::{Hosting, Nginx},
    process::command,
    site::{self, Site},
    stockade::{Pool, Stockade},
    tools,
};

const USER: &str = "keeper";
const PASSWORD: &str = "a-long-enough-password";
const FORM: &str = "application/x-www-form-urlencoded";

#[test]
fn a_project_with_admin_files_and_downloads() {
    let project = Project::deploy();
    let stockade = project.serve();
    let location = format!(
        "location /static/ {{ alias {}/static/; }}",
        project.folder.display()
    );
    let hosting = Hosting {
        keep: true,
        server: &location,
        ..Hosting::default()
    };
    let nginx = Nginx::start(&stockade.socket("app"), &hosting);
    let mut client = nginx.client();

    log_in(&mut client);
    let style = client.get("/static/admin/css/base.css");
    assert_eq!((style.status, style.complete), (200, true));
    assert!(
        style.text().contains("DJANGO Admin"),
        "not the admin's style sheet"
    );
    upload_and_download(&mut client);
    stream(&mut client);
    let response = client.get("/no/such/page");
    assert_eq!(response.status, 404);
}

/// A copy of the example, ready to run.
struct Project {
    folder: PathBuf,
    environment: PathBuf,
    /// Holds the folder.
    _site: Site,
}

impl Project {
    fn deploy() -> Self {
        let site = Site::new();
        let environment = site.reachable(&tools::django_environment());
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/django");
        let made = site.copy_for_pool(&example);
        let project = Self {
            folder: made,
            environment,
            _site: site,
        };
        project.manage(&["migrate", "--verbosity", "0"]);
        project.manage(&["collectstatic", "--no-input", "--verbosity", "0"]);
        project.manage(&[
            "createsuperuser",
            "--no-input",
            "--username",
            USER,
            "--email",
            "k@example.org",
        ]);
        site::give_to_pool_user(&project.folder);
        project
    }

    fn manage(&self, arguments: &[&str]) {
        let output = command(self.environment.join("bin/python"))
            .arg("manage.py")
            .args(arguments)
            .current_dir(&self.folder)
            .env("DJANGO_SUPERUSER_PASSWORD", PASSWORD)
            .output()
            .expect("the environment has a python");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "manage.py {arguments:?}: {errors}");
    }

    fn serve(&self) -> Stockade {
        let keys = format!(
            "wsgi = \"shelf.wsgi:application\"
            python-home = {:?}
            python-path = [{:?}]
            home = {:?}
            processes = 2
            threads = 2
            startup-timeout = \"60s\"",
            self.environment, self.folder, self.folder
        );
        Stockade::ready(Site::new(), &[Pool::new(&keys)])
    }
}

fn log_in(client: &mut Client) {
    let page = client.get("/admin/");
    assert_eq!(page.status, 302, "{}", page.text());
    assert_eq!(page.header("Location"), Some("/admin/login/?next=/admin/"));

    let forged = format!("username={USER}&password={PASSWORD}");
    assert_eq!(
        client.post("/admin/login/", FORM, forged.as_bytes()).status,
        403
    );

    let token = form_token(&client.get("/admin/login/").text());
    let form =
        format!("csrfmiddlewaretoken={token}&username={USER}&password={PASSWORD}&next=/admin/");
    let page = client.post("/admin/login/", FORM, form.as_bytes());
    assert_eq!(page.status, 302, "{}", page.text());
    assert!(client.cookie("sessionid").is_some());
    let page = client.get("/admin/");
    assert_eq!(page.status, 200);
    assert!(
        page.text().contains(USER),
        "nobody is logged in: {}",
        page.text()
    );
}

fn upload_and_download(client: &mut Client) {
    let token = form_token(&client.get("/").text());
    let content: Vec<u8> = (0..20 * 1024 * 1024_u32)
        .map(|at| at.to_be_bytes()[2])
        .collect();
    let mut body = format!(
        "--edge\r\nContent-Disposition: form-data; name=\"csrfmiddlewaretoken\"\r\n\r\n{token}\r\n\
         --edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"book.bin\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(&content);
    body.extend_from_slice(b"\r\n--edge--\r\n");
    let response = client.post("/", "multipart/form-data; boundary=edge", &body);
    assert_eq!(response.status, 200, "{}", response.text());
    assert!(
        response.text().starts_with("book.bin 20971520 "),
        "{}",
        response.text()
    );

    let response = client.get("/files/book.bin");
    assert_eq!((response.status, response.complete), (200, true));
    assert!(
        response.body == content,
        "{} other bytes came back",
        response.body.len()
    );
}

fn stream(client: &mut Client) {
    let (mut length, mut last) = (0, Vec::new());
    let response = client.stream(&Request::new("GET", "/numbers/1000000"), &mut |bytes| {
        length += bytes.len();
        last = bytes.to_vec();
    });
    assert_eq!((response.status, response.complete), (200, true));
    assert_eq!(length, 6_888_890);
    assert!(last.ends_with(b"999999\n"));
}

fn form_token(page: &str) -> String {
    page.split_once("name=\"csrfmiddlewaretoken\" value=\"")
        .and_then(|(_, rest)| rest.split('"').next())
        .unwrap_or_else(|| panic!("no token in the page: {page}"))
        .to_owned()
}
