//! What is wrong in a configuration, and how it is told: file, line, column, a sentence with the remedy, the line itself.
//!
//! ```text
//! stockade.toml:7:1: pool blog: unknown key `proceses`: did you mean `processes`?
//!   7 | proceses = 5
//!     | ^^^^^^^^
//! ```

use std::{
    fmt, io,
    ops::Range,
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::include::Sources;

/// In bytes: ten thousand pools.
pub(super) const LARGEST: u64 = 8 << 20;

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum ConfigErrors {
    /// The file could not be read.
    #[error("could not read the configuration {}: {reason}: name a readable file with -c", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: io::Error,
    },
    /// Nobody wrote this.
    #[error("{} is larger than {LARGEST} bytes: name the configuration with -c", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file was read and something in it is wrong.
    #[error("{}", render(sources, "", problems))]
    Wrong {
        /// The file and those that it includes.
        sources: Sources,
        /// What is wrong, in the order of the file; never empty.
        problems: Vec<Problem>,
    },
}

impl ConfigErrors {
    /// What is wrong, a sentence with its place each; the lines of the file are not shown.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        match self {
            Self::Wrong { sources, problems } => problems
                .iter()
                .map(|problem| sentence(sources, problem))
                .collect(),
            Self::Unreadable { .. } | Self::TooLarge { .. } => vec![self.to_string()],
        }
    }
}

/// What is wrong with the words of a command that needs no file. Prints a line each.
#[derive(Debug, Error)]
#[error("{}", .0.iter().map(|problem| problem.fault.to_string()).collect::<Vec<_>>().join("\n"))]
pub struct CommandLineErrors(pub Vec<Problem>);

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The bytes of the file that are to blame; none when it is what is not there.
    pub at: Option<Range<usize>>,
    /// What is wrong with them.
    pub fault: Fault,
}

/// What may be wrong. Each prints as one sentence, remedy included.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// Not UTF-8.
    #[error("these bytes are no UTF-8 text: save the file as UTF-8")]
    NotText,
    /// Not TOML; the parser's words.
    #[error("this is not TOML: {0}")]
    Syntax(String),
    /// A key that no version knows.
    #[error("{place}unknown key `{key}`: {remedy}")]
    UnknownKey {
        /// Where it stands.
        place: Place,
        /// As it was written.
        key: String,
        /// A key like it, or to remove it.
        remedy: String,
    },
    /// A key of the manual that this version does nothing with.
    #[error("{place}`{key}` is not supported yet: remove it")]
    NotSupported {
        /// Where it stands.
        place: Place,
        /// The key.
        key: String,
    },
    /// A value that the key cannot have.
    #[error("{place}`{key}` {why}")]
    WrongValue {
        /// Where it stands.
        place: Place,
        /// The key.
        key: String,
        /// What is wrong with it and what to do, continuing the sentence.
        why: String,
    },
    /// An included file has what is no pool's.
    #[error(
        "a file that is included has tables [pool.NAME] and nothing else: move this to the file that includes it, or behind a [pool.NAME]"
    )]
    Stray,
    /// Two files have it.
    #[error("pool {name} is in {other} already: remove one of them, or name it differently")]
    PoolTwice {
        /// The pool.
        name: String,
        /// The file and line of the other.
        other: String,
    },
    /// A pool's name that cannot be one.
    #[error("pool {name:?}: {why}")]
    PoolName {
        /// As it was written.
        name: String,
        /// What is wrong with it and what to do.
        why: &'static str,
    },
    /// Something that has to be there and is not.
    #[error("{place}{what}")]
    Missing {
        /// Where it should stand.
        place: Place,
        /// What is missing and what to do.
        what: String,
    },
}

impl Fault {
    /// Not TOML, in the parser's words.
    pub(super) fn syntax(words: &str) -> Self {
        Self::Syntax(match words {
            "duplicate key" => {
                "a key or table of this name is there already: remove one of them".to_owned()
            }
            words => words.replace('\n', ", "),
        })
    }
}

/// Where a key stands. Prints as the beginning of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Outside every table.
    Top,
    /// `[daemon]`.
    Daemon,
    /// `[defaults]`.
    Defaults,
    /// `[pool.NAME]`.
    Pool(String),
    /// A table in the table of another place: `[pool.NAME.scale]`.
    Table(Box<Self>, &'static str),
    /// `[shim]`.
    Shim,
    /// `[[shim.route]]`.
    Route,
    /// Not in a file: a word of the command line.
    CommandLine,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Top | Self::CommandLine => Ok(()),
            Self::Daemon => f.write_str("[daemon]: "),
            Self::Defaults => f.write_str("[defaults]: "),
            Self::Pool(name) => write!(f, "pool {name}: "),
            Self::Table(..) => write!(f, "{}: ", self.heading()),
            Self::Shim => f.write_str("[shim]: "),
            Self::Route => f.write_str("[[shim.route]]: "),
        }
    }
}

impl Place {
    /// What a file's key and a command's word are mended by: each is told in its own terms.
    pub(super) const fn either<'a>(&self, in_file: &'a str, on_command_line: &'a str) -> &'a str {
        match self {
            Self::CommandLine => on_command_line,
            Self::Top
            | Self::Daemon
            | Self::Defaults
            | Self::Pool(_)
            | Self::Table(..)
            | Self::Shim
            | Self::Route => in_file,
        }
    }

    /// It is a pool's own table, or one in it.
    pub(super) fn is_of_pool(&self) -> bool {
        match self {
            Self::Pool(_) => true,
            Self::Table(outer, _) => outer.is_of_pool(),
            Self::Top
            | Self::Daemon
            | Self::Defaults
            | Self::Shim
            | Self::Route
            | Self::CommandLine => false,
        }
    }

    /// It is `[defaults]`, or a table in it.
    pub(super) fn is_of_defaults(&self) -> bool {
        match self {
            Self::Table(outer, _) => outer.is_of_defaults(),
            place => *place == Self::Defaults,
        }
    }

    /// The line above the keys of a table.
    pub(super) fn heading(&self) -> String {
        match self {
            Self::Table(outer, key) => {
                let outer = outer.heading();
                format!("{}.{key}]", outer.trim_end_matches(']'))
            }
            Self::Pool(name) => format!("[pool.{name}]"),
            Self::Daemon => "[daemon]".to_owned(),
            Self::Defaults => "[defaults]".to_owned(),
            Self::Shim => "[shim]".to_owned(),
            Self::Route => "[[shim.route]]".to_owned(),
            Self::Top | Self::CommandLine => String::new(),
        }
    }
}

impl Problem {
    /// The byte at `offset` begins no character.
    pub(super) const fn not_text(offset: usize) -> Self {
        Self {
            at: Some(offset..offset + 1),
            fault: Fault::NotText,
        }
    }
}

/// What has been found wrong so far.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn add(&mut self, problem: Problem) {
        // a wrong value of [defaults] is met once for each pool
        if !self.0.contains(&problem) {
            self.0.push(problem);
        }
    }

    /// The value, or none and its problem noted.
    pub(super) fn keep<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.add(problem)).ok()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn in_order(mut self) -> Vec<Problem> {
        self.0
            .sort_by_key(|problem| problem.at.as_ref().map_or(usize::MAX, |range| range.start));
        self.0
    }
}

/// The sentences, each with its place; `kind` is said before each: "warning: ".
pub(super) fn render(sources: &Sources, kind: &str, problems: &[Problem]) -> String {
    let lines: Vec<String> = problems
        .iter()
        .map(|Problem { at, fault }| {
            let (path, text, at) = sources.locate(at.as_ref());
            match at {
                None => format!("{}: {kind}{fault}", path.display()),
                Some(at) => render_at(path, text, &at, kind, fault),
            }
        })
        .collect();
    lines.join("\n")
}

/// The first line of what is rendered: the place and the sentence.
fn sentence(sources: &Sources, problem: &Problem) -> String {
    let rendered = render(sources, "", std::slice::from_ref(problem));
    rendered.lines().next().unwrap_or_default().to_owned()
}

fn render_at(path: &Path, text: &str, at: &Range<usize>, kind: &str, fault: &Fault) -> String {
    let (before, rest) = text.split_at(boundary(text, at.start));
    let number = before.matches('\n').count() + 1;
    let indent = before.rsplit('\n').next().unwrap_or_default();
    let line_rest = rest.lines().next().unwrap_or_default();
    let marked = boundary(text, at.end).saturating_sub(before.len());
    let marked = line_rest.get(..marked).unwrap_or(line_rest);

    let column = indent.chars().count() + 1;
    let place = format!("{}:{number}:{column}: {kind}{fault}", path.display());
    if column > WIDEST {
        return place;
    }
    let line_rest = line_rest
        .get(..boundary(line_rest, WIDEST))
        .unwrap_or(line_rest);
    let marked = marked.get(..line_rest.len()).unwrap_or(marked);
    let gutter = " ".repeat(number.to_string().len());
    // a tab stays a tab, so that the caret stands below its character
    let padding: String = indent
        .chars()
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect();
    let carets = "^".repeat(marked.chars().count().max(1));
    format!("{place}\n  {number} | {indent}{line_rest}\n  {gutter} | {padding}{carets}")
}

/// The end of the text, or the next place from `offset` on where a character begins.
fn boundary(text: &str, offset: usize) -> usize {
    (offset..text.len())
        .find(|&offset| text.is_char_boundary(offset))
        .unwrap_or(text.len())
}

/// Of a line's part before and after the place, in characters and bytes: what nobody wrote by hand is not shown.
const WIDEST: usize = 500;
