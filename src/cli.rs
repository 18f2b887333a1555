//! The words of the command line, and their help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Manages pools of FastCGI application processes behind nginx, Apache or any FastCGI host.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_help = EXAMPLE)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// One thing to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon in the foreground
    ///
    /// Reads the configuration, starts the pools' workers, and serves until SIGTERM or SIGINT; SIGHUP reads the configuration
    /// again. The log goes to standard error.
    #[command(after_help = SERVE_EXAMPLE)]
    Serve(Serve),
    /// Become a worker; the daemon starts it
    #[command(hide = true)]
    Launch,
    /// Accept requests and hand them to workers; the daemon starts it
    #[command(hide = true)]
    Relay,
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

const EXAMPLE: &str = "\
Example: run what /etc/stockade/stockade.toml configures
  stockade serve

Exit codes: 0 ok, 1 failed, 2 wrong usage, 75 address in use, 77 not permitted, 78 configuration";

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
    use clap::CommandFactory;

    use super::*;

    fn parse(words: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(words.split(' ')).map(|cli| cli.command)
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
    fn wrong_usage_has_exit_code_2() {
        for words in [
            "stockade",
            "stockade start",
            "stockade serve blog.toml",
            "stockade serve -c",
        ] {
            assert_eq!(parse(words).unwrap_err().exit_code(), 2, "{words}");
        }
    }

    #[test]
    fn what_the_daemon_starts_is_not_in_the_help() {
        assert!(matches!(parse("stockade launch"), Ok(Command::Launch)));
        assert!(matches!(parse("stockade relay"), Ok(Command::Relay)));
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains("serve") && help.contains("Example"), "{help}");
        assert!(
            !help.contains("launch") && !help.contains("relay"),
            "{help}"
        );
    }
}
