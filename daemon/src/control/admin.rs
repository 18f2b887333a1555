//! What commands ask a running daemon over its admin socket: one request a connection, one answer, each a line of JSON.
//!
//! The socket is in the runtime-dir with mode 0600, and its peer's credentials are looked at: root and the supervisor's own account may
//! ask. The answers to `status` and `stacks` come from the relay, which is given the connection.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{stacks::WorkerStacks, status::Status};

/// The longest request, in bytes.
pub const MAX_REQUEST: usize = 4 * 1024;
/// The longest answer, in bytes.
const MAX_ANSWER: u64 = 256 * 1024 * 1024;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Request {
    /// How everything stands.
    Status,
    /// Read the configuration again, and start a new generation.
    Reload {
        /// Of this pool alone; none: of every pool.
        pool: Option<String>,
        /// Only of pools of which a key has changed that needs new workers.
        #[serde(default)]
        changed: bool,
        /// Answer when it serves, or when it is clear that it does not.
        wait: bool,
    },
    /// What the threads of workers are doing.
    Stacks {
        /// A pool, or a worker by its number or process.
        of: String,
    },
    /// Start a pool that was stopped.
    Start {
        /// The pool.
        pool: String,
    },
    /// Stop a pool: its workers finish, and requests are refused.
    Stop {
        /// The pool.
        pool: String,
    },
    /// So many workers, until the next reload.
    Scale {
        /// The pool.
        pool: String,
        /// Never fewer.
        minimum: u32,
        /// Never more.
        maximum: u32,
    },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// It was done.
    Done {
        /// What, in sentences of a line each.
        lines: Vec<String>,
    },
    /// It was not.
    Failed {
        /// The exit code of the command (manual, section 2).
        code: u8,
        /// Why, in sentences of a line each.
        lines: Vec<String>,
    },
    /// How everything stands.
    Status(Status),
    /// What the threads of workers are doing.
    Stacks {
        /// The workers.
        workers: Vec<WorkerStacks>,
    },
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error(
        "no stockade answers on {}: start it, or name its configuration with -c or its socket with --socket", .0.display()
    )]
    NotThere(PathBuf),
    /// We may not ask.
    #[error("could not ask stockade on {}: permission denied: run this as root, or as the account that stockade runs as", .0.display())]
    NotPermitted(PathBuf),
    /// The connection failed.
    #[error("could not ask stockade on {}: {source}", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It closed the connection without an answer.
    #[error("stockade on {} gave no answer: it stopped, or was restarting its relay; try again", .0.display())]
    NoAnswer(PathBuf),
    /// Its answer is not of this version.
    #[error("could not understand the answer of stockade on {}: {source}: use the command of the version that runs", path.display())]
    Strange {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl AskError {
    /// The exit code of the command (manual, section 2).
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::NotThere(_) => 69,
            Self::NotPermitted(_) => 77,
            Self::Broken { .. } | Self::NoAnswer(_) | Self::Strange { .. } => 1,
        }
    }
}

/// Asks the daemon whose admin socket is `path`, and waits for the answer.
///
/// # Errors
/// See [`AskError`].
pub fn ask(path: &Path, request: &Request) -> Result<Answer, AskError> {
    let broken = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            AskError::NotThere(path.to_owned())
        }
        io::ErrorKind::PermissionDenied => AskError::NotPermitted(path.to_owned()),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            AskError::NoAnswer(path.to_owned())
        }
        _ => AskError::Broken {
            path: path.to_owned(),
            source,
        },
    };
    let strange = |source| AskError::Strange {
        path: path.to_owned(),
        source,
    };
    let mut line = serde_json::to_vec(request).map_err(strange)?;
    line.push(b'\n');
    let mut stream = UnixStream::connect(path).map_err(broken)?;
    stream.write_all(&line).map_err(broken)?;
    let mut answer = Vec::new();
    BufReader::new(stream.take(MAX_ANSWER))
        .read_until(b'\n', &mut answer)
        .map_err(broken)?;
    if !answer.ends_with(b"\n") {
        return Err(AskError::NoAnswer(path.to_owned()));
    }
    serde_json::from_slice(&answer).map_err(strange)
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, thread};

    use super::*;

    #[test]
    fn nobody_there_is_said_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let error = ask(&path, &Request::Status).unwrap_err();
        assert_eq!(error.exit_code(), 69);
        assert!(error.to_string().contains("--socket"), "{error}");
        drop(UnixListener::bind(&path).unwrap());
        assert_eq!(ask(&path, &Request::Status).unwrap_err().exit_code(), 69);
    }

    #[test]
    fn an_answer_that_is_cut_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let daemon = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            stream.write_all(b"{\"answer\":\"done\"").unwrap();
            line
        });
        let error = ask(&path, &Request::Status).unwrap_err();
        assert!(matches!(error, AskError::NoAnswer(_)), "{error}");
        assert_eq!(daemon.join().unwrap(), "{\"ask\":\"status\"}\n");
    }
}
