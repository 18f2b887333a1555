//! What is logged of requests.

use std::{path::PathBuf, time::Duration};

use stockade_policy::Limit;

use super::{Imagined, read};
use crate::config::resolved::{AccessLog, Logging, Stderr};

fn logging(keys: &str) -> Logging {
    let text = format!(
        "[pool.blog]\nlisten = [\"unix:/run/blog.sock\"]\ncommand = [\"php-cgi\"]\nuser = \"blog\"\nhome = \"/srv/blog\"\n{keys}\n"
    );
    let mut config = read(&text, &Imagined::root()).unwrap_or_else(|error| panic!("{error}"));
    config.pools.remove(0).logging
}

#[test]
fn a_log_is_a_file_beside_the_configuration_or_standard_output() {
    for (written, expected) in [
        ("off", AccessLog::Off),
        ("-", AccessLog::StandardOutput),
        ("/run/a.log", AccessLog::File(PathBuf::from("/run/a.log"))),
        (
            "here/a.log",
            AccessLog::File(PathBuf::from("/etc/stockade/here/a.log")),
        ),
    ] {
        let read = logging(&format!("access-log = {written:?}"));
        assert_eq!(read.access_log, expected, "{written}");
    }
}

#[test]
fn the_others_are_as_they_are_written() {
    let read = logging("access-log-format = '%h %D'\nslow-request = \"5s\"\nstderr = \"both\"");
    assert_eq!(read.access_log_format.text(), "%h %D");
    assert_eq!(read.slow_request, Limit::of(Duration::from_secs(5)));
    assert_eq!(read.stderr, Stderr::Both);
}
