//! The program: runs a source, counts its connections and writes the report, as the options say.

mod args;
mod config;
mod corrections;
mod event_writer;
mod events;
mod expected_hosts;
mod follow;
mod help;
mod http;
mod intervals;
mod lock;
mod message;
mod metrics;
mod name_files;
mod notes;
mod observe;
mod output;
mod pages;
pub(crate) mod panics;
mod parse;
mod piped;
mod reporter;
mod request;
mod resolve;
mod reverse_dns;
mod rotation;
mod screen;
mod server_log;
mod service_manager;
mod status_line;
mod terminal;
mod trace;
mod values;
mod watch;

use std::ffi::OsString;
use std::io;

use clap::FromArgMatches;

use crate::cli::args::{Cli, Command};
use crate::sys::capability::{self, Duty};
use crate::trace as tracing;

use config::Config;
use request::Usage;

/// Parses the arguments of this process, runs the command and returns the exit status.
pub(crate) fn main() -> i32 {
    panics::install();
    // Failure is harmless: programs that are executed gain no capability.
    let _ = capability::lower();
    let args: Vec<OsString> = std::env::args_os().collect();
    let command = help::command(&args);
    let config = match help::is_without_config(&args) {
        true => Ok(Config::default()),
        false => Config::read(&command),
    };
    let config = match config {
        Ok(config) => config,
        Err(error) => {
            message::error(error);
            return 2;
        }
    };
    let matches = config.apply(command).try_get_matches_from(&args);
    match matches.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches))) {
        Ok((cli, matches)) => {
            let (quiet, verbose) = cli.command.messages();
            if let Some(notice) = config.notice(&matches, verbose) {
                message::notice(quiet, notice);
            }
            run(cli)
        }
        Err(error) => corrections::explain(&error, &args),
    }
}

fn run(cli: Cli) -> i32 {
    let starts_command = matches!(&cli.command, Command::Trace(args) if !args.argv.is_empty());
    if !starts_command {
        // A command that is started later must have all that this process has; the others need less. Failure is
        // harmless: nothing is executed but nfdump.
        let _ = capability::renounce_new();
        let _ = capability::give_up_beyond(match &cli.command {
            Command::Trace(_) | Command::Watch(_) => Duty::Observe,
            Command::Parse(_) | Command::Man { .. } | Command::Completions { .. } => Duty::Files,
        });
    }
    let name = cli.command.name();
    let (result, own_failure) = match cli.command {
        // The command's own exit status may be 1, so a failure of tcptally is 125.
        Command::Trace(args) => {
            let own_failure = if args.argv.is_empty() { 1 } else { 125 };
            (trace::run(args), own_failure)
        }
        Command::Watch(args) => (watch::run(args), 1),
        Command::Parse(args) => (parse::run(args), 1),
        Command::Man { subcommand } => (pages::man(subcommand.as_deref()), 1),
        Command::Completions { shell } => (pages::completions(shell), 1),
    };
    message::finish();
    result.unwrap_or_else(|error| {
        let broken = error.chain().filter_map(|e| e.downcast_ref::<io::Error>());
        if broken.into_iter().any(|e| e.kind() == io::ErrorKind::BrokenPipe) {
            return 0;
        }
        message::error(format_args!("{error:#}"));
        if error.is::<Usage>() {
            message::error(format_args!("for all options: tcptally {name} --help"));
            2
        } else {
            let known =
                error.downcast_ref::<tracing::Error>().and_then(tracing::Error::exit_status);
            known.unwrap_or(own_failure)
        }
    })
}
