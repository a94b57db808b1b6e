//! Builds the clap command from the definitions in `args`, and the short help of `-h`, which fits a
//! screen of 80 columns and 24 lines.

use std::ffi::{OsStr, OsString};

use clap::{Arg, Command, CommandFactory};

use super::args::Cli;
use crate::time::spec::from_now;

/// An option and its text in the short help.
type OptionSummary = (&'static str, &'static str);

const PORTS: OptionSummary = ("ports", "Ports, ranges or names: 443,8000-8010,https");
const DURATION: OptionSummary = ("duration", "Stop after this time: 90s, 5m, 1h30m");
const BY: OptionSummary = ("by", "Count by ip, net, port, local, pid, comm or host");
const TOP: OptionSummary = ("top", "Show the N largest rows");
const INTERVAL: OptionSummary = ("interval", "Count per interval, too: 20s, 1m, 1h, 1d");
const EVENTS: OptionSummary = ("events", "Write each connection when it happens");
const FORMAT: OptionSummary = ("format", "table, plain, csv, json, jsonl, html, svg, ...");
const OUTPUT: OptionSummary = ("output", "Write the report to this file");

/// The options in the short help of a command, the most used first.
const SHORT_HELP: &[(&str, &[OptionSummary])] = &[
    (
        "trace",
        &[
            ("pids", "Attach to these processes"),
            PORTS,
            DURATION,
            BY,
            TOP,
            INTERVAL,
            EVENTS,
            FORMAT,
            OUTPUT,
        ],
    ),
    (
        "watch",
        &[
            PORTS,
            DURATION,
            ("by", "Count by ip, net, port, local, bytes, duration or rtt"),
            TOP,
            INTERVAL,
            ("columns", "Show bytes, duration or rtt"),
            EVENTS,
            FORMAT,
            OUTPUT,
        ],
    ),
    (
        "parse",
        &[
            PORTS,
            ("since", "Count from then on: '2026-11-22 11:30', 11:30, +90s"),
            ("until", "Count until before then"),
            BY,
            TOP,
            INTERVAL,
            EVENTS,
            FORMAT,
            OUTPUT,
        ],
    ),
];

/// The command line for these arguments, the name of the program first.
pub(super) fn command(args: &[OsString]) -> Command {
    // These count from now on.
    let command = ["trace", "watch"].into_iter().fold(Cli::command(), |command, name| {
        command.mut_subcommand(name, |command| {
            let times = ["since", "until"].into_iter();
            times.fold(command, |command, id| command.mut_arg(id, |arg| arg.value_parser(from_now)))
        })
    });
    if own(args).any(|arg| asks_for_short_help(arg)) { shortened(command) } else { command }
}

/// Whether the configuration file is to be ignored. Parsing the command line needs the file, so this is checked
/// first.
pub(super) fn is_without_config(args: &[OsString]) -> bool {
    own(args).any(|arg| arg == "--no-config")
}

/// The arguments that are not those of a command to be started.
fn own(args: &[OsString]) -> impl Iterator<Item = &OsString> {
    args.iter().skip(1).take_while(|arg| *arg != "--")
}

/// Whether it is `-h`, alone or behind other letters.
fn asks_for_short_help(arg: &OsStr) -> bool {
    let arg = arg.as_encoded_bytes();
    arg.starts_with(b"-") && !arg.starts_with(b"--") && arg.contains(&b'h')
}

/// Shows only the most used options, in one block, and a reference to the others.
fn shortened(command: Command) -> Command {
    let mut command = command.mut_arg("no_config", |arg| arg.hide_short_help(true));
    for (name, shown) in SHORT_HELP {
        command = command.mut_subcommand(name, |command| {
            let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let more = format!("{examples}\n  tcptally {name} --help{:>34}", "all options");
            let command = command.after_help(more).next_help_heading(None);
            command.mut_args(|arg| shorten(arg, shown))
        });
    }
    command
}

fn shorten(arg: Arg, shown: &[OptionSummary]) -> Arg {
    if arg.is_positional() {
        return arg.hide(true);
    }
    let place = shown.iter().position(|(id, _)| arg.get_id() == *id);
    let Some(place) = place else { return arg.hide_short_help(true) };
    let arg = arg.help(shown[place].1).help_heading(None).display_order(place);
    // clap has these settings for options with values only.
    if arg.get_action().takes_values() {
        arg.hide_possible_values(true).hide_default_value(true)
    } else {
        arg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_help_names_options_that_exist() {
        let command = Cli::command();
        for (name, shown) in SHORT_HELP {
            let command = command.find_subcommand(name).expect("it is a subcommand");
            for (id, _) in *shown {
                assert!(command.get_arguments().any(|arg| arg.get_id() == *id), "{name}: {id}");
            }
        }
    }
}
