//! The command `stockade`: takes its words ([`cli`]), calls the daemon, ends with an exit code ([`exit`]). It decides nothing. The
//! bundled HTTP host ([`shim`]) is a part of it.

mod ask;
mod call;
mod check;
mod cli;
mod exit;
mod pools;
mod reload;
mod run;
mod serve;
mod shim;
mod stacks;
mod status;
mod words;

use std::{fmt::Display, process::ExitCode};

use cli::{Cli, Command};

fn main() -> ExitCode {
    match Cli::read().command {
        Command::Run(run) => run::run(run),
        Command::Serve(serve) => serve::serve(&serve),
        Command::Check(check) => check::check(&check),
        Command::Status(status) => status::status(&status),
        Command::Reload(reload) => reload::reload(&reload),
        Command::Start(of) => pools::start(of),
        Command::Stop(of) => pools::stop(of),
        Command::Scale(scale) => pools::scale(scale),
        Command::Stacks(of) => stacks::stacks(of),
        Command::Call(call) => call::call(&call),
        Command::Launch => stockade_daemon::launch::main(),
        Command::Relay => stockade_daemon::relay::main(),
        Command::Shim => shim::main(),
    }
}

#[expect(
    clippy::print_stderr,
    reason = "this is where errors are printed, once"
)]
fn failed(error: &dyn Display, code: u8) -> ExitCode {
    eprintln!("{error}");
    ExitCode::from(code)
}
