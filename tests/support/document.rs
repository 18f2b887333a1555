//! Documents whose tables the tests have too, so that they cannot drift.

use std::{fs, path::Path};

/// The only table of this document, a path in the project, has to be these lines.
pub(crate) fn assert_has_table(document: &str, table: &[String]) {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(document))
        .expect("the document can be read");
    let found: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
    assert_eq!(found, table, "it is to be:\n{}\n", table.join("\n"));
}
