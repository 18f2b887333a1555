//! The words of the command line, and their help.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{
    Arg, Args, CommandFactory, FromArgMatches, Parser, Subcommand,
    builder::UnknownArgumentValueParser, error::ErrorKind,
};

use crate::{
    call::Address,
    pools::{self, SCALE_EXAMPLE, START_EXAMPLE, STOP_EXAMPLE},
    stacks::{self, STACKS_EXAMPLE},
};

/// Manages pools of FastCGI application processes behind nginx, Apache or any FastCGI host.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_help = EXAMPLE)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// What the command was given; ends the process when that is wrong.
    pub(crate) fn read() -> Self {
        Self::of(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    fn of<I: IntoIterator<Item: Into<OsString> + Clone>>(words: I) -> Result<Self, clap::Error> {
        let mut command = Self::command().mut_subcommand("run", |run| run.args(strangers()));
        let matches = command.try_get_matches_from_mut(words)?;
        let cli = Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
        match &cli.command {
            Command::Run(run) => match (run.misplaced(), command.find_subcommand_mut("run")) {
                (Some(why), Some(run)) => Err(run.error(ErrorKind::ArgumentConflict, why)),
                _ => Ok(cli),
            },
            _ => Ok(cli),
        }
    }
}

/// What other servers call options of `run`.
fn strangers() -> [Arg; 5] {
    [
        ("port", "--listen"),
        ("host", "--listen"),
        ("bind", "--listen"),
        ("workers", "--processes"),
        ("worker", "--processes"),
    ]
    .map(|(word, ours)| {
        Arg::new(word)
            .long(word)
            .value_parser(UnknownArgumentValueParser::suggest_arg(ours))
            .hide(true)
    })
}

/// One thing to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one application over HTTP, without a configuration
    ///
    /// The application is TARGET: a module and a callable in it (blog.wsgi:application), or a .wsgi or .py file
    /// (hello.py, hello.py:main). With --command it is any FastCGI program, behind "--". It runs in the current
    /// folder until Ctrl-C, in several processes, behind the bundled HTTP host. As root it runs as --user, else as the
    /// owner of its file, else as nobody.
    #[command(after_help = RUN_EXAMPLE, override_usage = RUN_USAGE)]
    Run(Run),
    /// Run the daemon in the foreground
    ///
    /// Reads the configuration, starts the pools' workers, and serves until SIGTERM or SIGINT; SIGHUP reads the configuration
    /// again. The log goes to standard error.
    #[command(after_help = SERVE_EXAMPLE)]
    Serve(Serve),
    /// Read and explain the configuration; change nothing
    ///
    /// Everything that is wrong is named with its line, as `stockade serve` would, and what is allowed but odd: a socket that no
    /// web server of this machine may open, an application in a folder that its account may not enter. As root the accounts
    /// of pools can be looked up as the daemon would; anybody else may check a daemon of their own.
    #[command(after_help = CHECK_EXAMPLE)]
    Check(Check),
    /// Show pools, workers, the queue and the causes of the last exits
    #[command(after_help = STATUS_EXAMPLE)]
    Status(Status),
    /// Read the configuration again and start a new generation of workers
    ///
    /// The new workers are ready before the old ones are retired, and no request is lost. A configuration that is wrong
    /// changes nothing; a generation that does not come up leaves the old one serving.
    #[command(after_help = RELOAD_EXAMPLE)]
    Reload(Reload),
    /// Start a pool that was stopped
    #[command(after_help = START_EXAMPLE)]
    Start(pools::Of),
    /// Stop a pool: its workers finish what they have, and new requests are answered 503
    ///
    /// It stays stopped, whatever is reloaded, until `stockade start` or the next start of the daemon.
    #[command(after_help = STOP_EXAMPLE)]
    Stop(pools::Of),
    /// Change how many workers a pool has, until the next reload
    #[command(after_help = SCALE_EXAMPLE)]
    Scale(pools::Scale),
    /// Show what every thread of a pool's workers is doing, without stopping them
    ///
    /// Of Python workers every thread with the request it serves, every task and greenlet, the innermost call last, as Python
    /// prints it. Of one that does not answer, and of other programs, what the kernel knows of its threads.
    #[command(after_help = STACKS_EXAMPLE)]
    Stacks(stacks::Stacks),
    /// Make one FastCGI request and print the answer
    ///
    /// The answer is printed as it comes, head and body; what the application writes to FCGI_STDERR goes to standard error.
    /// Exit codes: 0 a whole answer came, whatever its status; 1 it did not; 69 nobody listens; 77 not permitted.
    #[command(after_help = CALL_EXAMPLE)]
    Call(Call),
    /// Become a worker; the daemon starts it
    #[command(hide = true)]
    Launch,
    /// Accept requests and hand them to workers; the daemon starts it
    #[command(hide = true)]
    Relay,
    /// Speak HTTP to clients and FastCGI to pools; the daemon starts it
    #[command(hide = true)]
    Shim,
}

/// `stockade run`.
#[derive(Args, Debug)]
pub(crate) struct Run {
    /// The Python application: module:callable, or a .wsgi or .py file
    #[arg(required_unless_present_any = ["command", "arguments"])]
    pub(crate) target: Option<String>,
    /// Run a FastCGI program: the words behind "--"
    #[arg(long)]
    pub(crate) command: bool,
    /// The program and its arguments
    #[arg(last = true, value_name = "PROGRAM")]
    pub(crate) arguments: Vec<String>,
    /// The application is an ASGI application
    #[arg(long, requires = "target")]
    pub(crate) asgi: bool,
    /// Where clients connect to; port 0: one that is free
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8000", value_parser = address)]
    pub(crate) listen: SocketAddr,
    /// How many workers run [default: 2 x cores + 1]
    #[arg(long, value_name = "N", value_parser = whole::<10_000>)]
    pub(crate) processes: Option<u32>,
    /// Requests at a time in each worker [default: 1]
    #[arg(long, value_name = "N", value_parser = whole::<1_000>)]
    pub(crate) threads: Option<u32>,
    /// Serve the files of a folder; may be repeated
    #[arg(long = "static", value_name = "/PATH/=FOLDER", value_parser = files)]
    pub(crate) files: Vec<(String, PathBuf)>,
    /// Load the application again when its files change
    #[arg(long)]
    pub(crate) reload: bool,
    /// As root: whom the application becomes
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) user: Option<String>,
}

impl Run {
    /// A program that does not stand where it should.
    fn misplaced(&self) -> Option<String> {
        let Self {
            command,
            target,
            arguments,
            ..
        } = self;
        match (command, target, arguments.first()) {
            (true, Some(target), None) => Some(format!(
                "the program stands behind `--`: write stockade run --command -- {target}"
            )),
            (true, None, None) => Some(
                "there is no program: write it behind `--`, like stockade run --command -- php-cgi"
                    .to_owned(),
            ),
            (false, None, Some(program)) => Some(format!(
                "{program} is a program: write stockade run --command -- {program}"
            )),
            (_, Some(target), Some(program)) => Some(format!(
                "{target} is an application and {program} a program: leave one of them out"
            )),
            (false, _, None) | (true, None, Some(_)) => None,
        }
    }
}

fn whole<const MOST: u32>(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|number| (1..=MOST).contains(number))
        .ok_or_else(|| format!("write a whole number from 1 to {MOST}"))
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.replacen("localhost:", "127.0.0.1:", 1)
        .parse()
        .map_err(|_| "write an IP address and a port, like 127.0.0.1:8000".to_owned())
}

fn files(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((path, folder)) if path.starts_with('/') && !folder.is_empty() => {
            Ok((path.to_owned(), PathBuf::from(folder)))
        }
        _ => Err("write a path and a folder, like /static/=static".to_owned()),
    }
}

/// `stockade serve`.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// The configuration
    #[arg(
        short,
        long,
        value_name = "FILE",
        default_value = "/etc/stockade/stockade.toml"
    )]
    pub(crate) config: PathBuf,
}

/// `stockade check`.
#[derive(Args, Debug)]
pub(crate) struct Check {
    /// The configuration
    #[arg(
        short,
        long,
        value_name = "FILE",
        default_value = "/etc/stockade/stockade.toml"
    )]
    pub(crate) config: PathBuf,
    /// Print the whole configuration with every default filled in, and where each value comes from
    #[arg(long)]
    pub(crate) print: bool,
}

/// How a command finds the daemon.
#[derive(Args, Debug)]
pub(crate) struct Daemon {
    /// The daemon's configuration [default: /etc/stockade/stockade.toml]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The daemon's admin socket
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    pub(crate) socket: Option<PathBuf>,
}

/// `stockade status`.
#[derive(Args, Debug)]
pub(crate) struct Status {
    /// Of this pool, with its workers and the last exits
    pub(crate) pool: Option<String>,
    /// As JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) daemon: Daemon,
}

/// `stockade reload`.
#[derive(Args, Debug)]
pub(crate) struct Reload {
    /// Of this pool alone
    pub(crate) pool: Option<String>,
    /// Only where the configuration has changed: other pools, and workers that need not be new, go on
    #[arg(long)]
    pub(crate) changed: bool,
    /// Exit when the new generation serves (0), or when it is clear that it does not (1)
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) daemon: Daemon,
}

/// `stockade call`.
#[derive(Args, Debug)]
pub(crate) struct Call {
    /// unix:PATH or HOST:PORT
    pub(crate) address: Address,
    /// What to ask for; the path of a script's file calls that script
    #[arg(default_value = "/")]
    pub(crate) path: String,
    /// A FastCGI parameter, over those that a host would send; may be repeated
    #[arg(short = 'p', long = "parameter", value_name = "NAME=VALUE", value_parser = parameter)]
    pub(crate) parameters: Vec<(String, String)>,
    /// REQUEST_METHOD [default: GET, with a body POST]
    #[arg(short = 'X', long = "method", value_name = "METHOD")]
    pub(crate) method: Option<String>,
    /// The body: text, @FILE, or - for standard input
    #[arg(
        short = 'd',
        long = "data",
        value_name = "BODY",
        allow_hyphen_values = true
    )]
    pub(crate) data: Option<String>,
    /// How long to wait for the connection, and for each piece of the answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub(crate) timeout: Duration,
}

fn parameter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write a name and a value, like HTTP_HOST=example.org".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "write a number of seconds above 0".to_owned())
}

const EXAMPLE: &str = "\
Examples: run hello.py on http://127.0.0.1:8000, and what /etc/stockade/stockade.toml configures
  stockade run hello.py
  stockade serve

Exit codes: 0 ok, 1 failed, 2 wrong usage, 69 daemon not reachable, 75 temporary (address in use),
77 not permitted, 78 configuration";

const CALL_EXAMPLE: &str = "\
Examples:
  stockade call unix:/run/stockade/blog.sock /admin/
  stockade call 127.0.0.1:9000 /srv/www/index.php -p HTTP_HOST=example.org
  stockade call ./blog.sock /comments -d 'text=hello'";

const STATUS_EXAMPLE: &str = "\
Examples:
  stockade status
  stockade status blog
  stockade status --json -c blog.toml | jq '.pools[].workers[].pid'";

const CHECK_EXAMPLE: &str = "\
Examples:
  stockade check && stockade reload --wait
  stockade check -c blog.toml --print

Exit codes: 0 nothing is wrong, with or without warnings; 77 the file may not be read; 78 something is wrong in it";

const RELOAD_EXAMPLE: &str = "\
Examples:
  stockade reload
  stockade reload --changed
  stockade reload blog --wait && echo \"the new version serves\"";

const RUN_USAGE: &str = "\
stockade run [OPTIONS] <TARGET>
       stockade run [OPTIONS] --command -- <PROGRAM>...";

const RUN_EXAMPLE: &str = "\
Examples:
  stockade run hello.py
  stockade run blog.wsgi:application --threads 4 --static /static/=blog/static
  stockade run --command -- ./guestbook --verbose";

const SERVE_EXAMPLE: &str = "\
Example: a Python application, blog.py, for a web server on this machine
  cat > blog.toml <<END
  [pool.blog]
  listen = [\"127.0.0.1:9001\"]
  wsgi = \"./blog.py:application\"
  END
  stockade serve -c blog.toml

As root, `user` in the pool says whom its workers become.";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Command, clap::Error> {
        Cli::of(words.split(' ')).map(|cli| cli.command)
    }

    #[test]
    fn the_definition_holds() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_takes_a_file_or_the_usual_one() {
        for (words, file) in [
            ("stockade serve", "/etc/stockade/stockade.toml"),
            ("stockade serve -c blog.toml", "blog.toml"),
            ("stockade serve --config=blog.toml", "blog.toml"),
        ] {
            let Ok(Command::Serve(serve)) = parse(words) else {
                panic!("{words}");
            };
            assert_eq!(serve.config, PathBuf::from(file));
        }
    }

    #[test]
    fn run_takes_an_application_or_a_program() {
        let Ok(Command::Run(run)) =
            parse("stockade run hello.py --listen localhost:80 --static /a/=b --static /c=d")
        else {
            panic!("refused");
        };
        assert_eq!(run.target.as_deref(), Some("hello.py"));
        assert_eq!(run.listen, SocketAddr::from(([127, 0, 0, 1], 80)));
        let files = [("/a/", "b"), ("/c", "d")].map(|(path, folder)| (path.into(), folder.into()));
        assert_eq!(run.files, files);
        let Ok(Command::Run(run)) = parse("stockade run --threads 2 --command -- php-cgi -n")
        else {
            panic!("refused");
        };
        assert_eq!((run.target, run.threads), (None, Some(2)));
        assert_eq!(run.arguments, ["php-cgi", "-n"]);
    }

    #[test]
    fn wrong_usage_has_exit_code_2() {
        for words in [
            "stockade",
            "stockade start",
            "stockade serve blog.toml",
            "stockade serve -c",
            "stockade run",
            "stockade run --command",
            "stockade run hello.py -- x",
            "stockade run hello.py --command -- x",
            "stockade run hello.py --listen here",
            "stockade run hello.py --processes 0",
            "stockade run hello.py --static static",
        ] {
            assert_eq!(parse(words).unwrap_err().exit_code(), 2, "{words}");
        }
    }

    #[test]
    fn wrong_usage_is_told_with_what_to_write() {
        for (words, sentence) in [
            (
                "stockade run --command ./guestbook",
                "stockade run --command -- ./guestbook",
            ),
            ("stockade run --command", "write it behind `--`"),
            (
                "stockade run -- ./guestbook",
                "stockade run --command -- ./guestbook",
            ),
            (
                "stockade run hello.py --command -- x",
                "leave one of them out",
            ),
            ("stockade run hello.py -- x", "leave one of them out"),
            ("stockade run hello.py --workers 4", "'--processes'"),
            ("stockade run hello.py --port=9000", "'--listen'"),
            (
                "stockade run hello.py --processes two",
                "write a whole number from 1 to 10000",
            ),
            (
                "stockade run hello.py --threads 0",
                "write a whole number from 1 to 1000",
            ),
        ] {
            let error = parse(words).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{words}");
            let said = error.to_string();
            assert!(said.contains(sentence), "{words}: {said}");
        }
        let help = parse("stockade run --help").unwrap_err().to_string();
        assert!(!help.contains("--workers"), "{help}");
    }

    #[test]
    fn what_the_daemon_starts_is_not_in_the_help() {
        assert!(matches!(parse("stockade launch"), Ok(Command::Launch)));
        assert!(matches!(parse("stockade relay"), Ok(Command::Relay)));
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains("serve") && help.contains("Example"), "{help}");
        assert!(
            !help.contains("launch") && !help.contains("relay") && !help.contains("shim"),
            "{help}"
        );
    }
}
