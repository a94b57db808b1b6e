//! The command `tcptally`: parse the command line, run, exit.
#![warn(clippy::unwrap_used, clippy::expect_used)]

mod cli;

use clap::Parser;
use cli::args::Cli;

fn main() {
    // Failure is harmless: programs that are executed gain no capability.
    let _ = tcptally::sys::capability::lower();
    std::process::exit(match Cli::try_parse() {
        Ok(cli) => cli::run(cli),
        Err(error) => cli::corrections::explain(&error, std::env::args_os()),
    })
}
