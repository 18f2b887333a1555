//! Documents whose tables the tests have too, so that they cannot drift, and the names of tests that lists have.

use std::{fs, path::Path};

/// The only table of this document, a path in the project, has to be these lines.
pub(crate) fn assert_has_table(document: &str, table: &[String]) {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(document))
        .expect("the document can be read");
    let found: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
    assert_eq!(found, table, "it is to be:\n{}\n", table.join("\n"));
}

/// The names of the tests in a folder of the project, and in those below it.
pub(crate) fn test_names(folder: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut names, mut folders) = (Vec::new(), vec![root.join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the project's folders can be read") {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(path).expect("the project's files can be read");
                // the attribute is what makes it a test
                let tests = text.split("#[test]\nfn ").skip(1);
                names.extend(tests.filter_map(|rest| Some(rest.split_once('(')?.0.to_owned())));
            }
        }
    }
    names
}
