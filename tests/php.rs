//! php-cgi, a FastCGI program that knows nothing of us.

use std::path::{Path, PathBuf};

use crate::support::{
    apache::{Apache, Backend},
    http::Client,
    nginx::{Hosting, Nginx},
    site::Site,
    stockade::{Pool, Stockade},
    tools,
};

#[test]
fn a_page_and_its_form_behind_nginx() {
    let (stockade, folder) = serve();
    for keep in [true, false] {
        let location = format!("root {};", folder.display());
        let hosting = Hosting {
            keep,
            location: &location,
            ..Hosting::default()
        };
        let nginx = Nginx::start(&stockade.socket("app"), &hosting);
        use_the_form(&mut nginx.client());
    }
}

#[test]
fn a_page_and_its_form_behind_apache() {
    let (stockade, folder) = serve();
    let folder = folder.display();
    let backend = Backend::unix(&stockade.socket("app"));
    // a part of the address space, where Apache makes an address of the file's name, or every file that ends in .php
    for server in [
        backend.proxy_pass("/", &format!("{folder}/"), "enablereuse=on"),
        format!(
            "DocumentRoot \"{folder}\"\n<FilesMatch \"\\.php$\">\n{}\n</FilesMatch>",
            backend.set_handler()
        ),
    ] {
        let apache = Apache::start(&server);
        use_the_form(&mut apache.client());
    }
}

fn serve() -> (Stockade, PathBuf) {
    let site = Site::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/php");
    let folder = site.copy_for_pool(&folder);
    let pool = Pool::new(&format!(
        "command = [{:?}]\nprocesses = 2\nhome = {folder:?}\nenvironment = {{ PHP_FCGI_MAX_REQUESTS = \"50\" }}",
        tools::php_cgi()
    ));
    (Stockade::ready(site, &[pool]), folder)
}

/// Often enough that every php-cgi exits by itself in between, as it does after PHP_FCGI_MAX_REQUESTS.
fn use_the_form(client: &mut Client) {
    for turn in 0..100 {
        let page = client.get("/index.php?name=Ada");
        assert_eq!(page.status, 200, "turn {turn}: {}", page.text());
        assert!(page.text().contains("Hello, Ada"), "{}", page.text());
        let form = "application/x-www-form-urlencoded";
        let page = client.post("/index.php", form, b"name=%C3%89mile+%26+Co");
        assert_eq!(page.status, 200, "turn {turn}: {}", page.text());
        assert!(
            page.text().contains("Hello, \u{c9}mile &amp; Co"),
            "{}",
            page.text()
        );
    }
}
