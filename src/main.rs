//! The command `tcptally`: parse the command line, run, exit.

mod cli;

use clap::Parser;
use cli::args::Cli;

fn main() {
    // Failure is harmless: programs that are executed gain no capability.
    let _ = tcptally::sys::capability::lower();
    std::process::exit(cli::run(Cli::parse()))
}
