//! A configuration and the text it was read from, for `stockade check`.

use super::{
    errors::{self, Fault, Place, Problem},
    file::File,
    include::Sources,
    print,
    resolved::Config,
    surroundings::Surroundings,
    warnings::{self, Warning},
};

/// A configuration without faults, and the file it was read from.
#[derive(Debug)]
pub struct Checked {
    /// What it means.
    pub config: Config,
    pub(super) sources: Sources,
    pub(super) file: File,
}

impl Checked {
    /// What is odd in it, told with the line as an error would be, pool by pool.
    #[must_use]
    pub fn warnings(&self, surroundings: &dyn Surroundings) -> Vec<String> {
        let rendered = |warning: Warning| {
            let problem = self.problem(warning);
            errors::render(&self.sources, "warning: ", &[problem])
        };
        let found = warnings::warnings(&self.config, surroundings);
        found.into_iter().map(rendered).collect()
    }

    /// The whole configuration as a file: each key of each table, with where its value comes from in a comment. Read again by the
    /// same account on the same machine, it means the same.
    #[must_use]
    pub fn print(&self, surroundings: &dyn Surroundings) -> String {
        print::print(&self.file, &self.config, surroundings)
    }

    /// At the value of the key, or at the pool's name where it is not set.
    fn problem(&self, Warning { pool, key, why }: Warning) -> Problem {
        let table = self.file.pools.iter().find(|table| table.name == pool);
        let at = table.map(|table| {
            let spots = table.keys.spots();
            let spot = spots.into_iter().find(|spot| spot.key == key);
            spot.map_or(&table.at, |spot| &spot.at).clone()
        });
        Problem {
            at,
            fault: Fault::WrongValue {
                place: Place::Pool(pool),
                key: key.to_owned(),
                why,
            },
        }
    }
}
