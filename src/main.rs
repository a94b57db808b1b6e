//! The command `tcptally`: parse the command line, run, exit.

mod run;

use clap::Parser;
use tcptally::cli::Cli;

fn main() {
    // Where this fails, nothing is gained by ending: what is executed gains no capability.
    let _ = tcptally::sys::capability::lower();
    std::process::exit(run::run(Cli::parse()))
}
