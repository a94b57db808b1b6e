//! The command `tcptally`: parse the command line, run, exit.

mod run;

use clap::Parser;
use tcptally::cli::Cli;

fn main() {
    std::process::exit(run::run(Cli::parse()))
}
