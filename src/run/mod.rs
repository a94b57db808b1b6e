//! Joins a source, the filter, the tally and a report, as the command line asks.

use tcptally::cli::{Cli, Command};

/// Runs the command and returns the exit status.
pub fn run(cli: Cli) -> i32 {
    match cli.command {
        Command::Trace(_) | Command::Parse(_) => 125,
    }
}
