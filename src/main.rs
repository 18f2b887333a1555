//! The command `stockade`: takes its words ([`cli`]), calls the daemon, ends with an exit code ([`exit`]). It decides nothing.

mod cli;
mod exit;
mod serve;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command};

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(serve) => serve::serve(&serve),
        Command::Launch => stockade_daemon::launch::main(),
        Command::Relay => stockade_daemon::relay::main(),
    }
}
