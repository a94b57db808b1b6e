//! `tcptally man` and `tcptally completions`: generated from the definitions of the command line.

use std::fmt::Write as _;
use std::io::{self, Write};

use crate::cli::args::Cli;
use crate::format::wrap;
use clap::{Arg, Command, CommandFactory};
use clap_complete::Shell;

use super::request::Usage;

/// The date in manual pages: that of their last change. The date of the build would make builds irreproducible.
const DATE: &str = "2026-11-26";

/// Width of lines of text. mandoc(1) complains of more than 80 bytes, and escapes take some.
const WIDTH: usize = 70;

/// A heading and its entries: a term and what it means.
type Section<'a> = (&'a str, &'a [(&'a str, &'a str)]);

const USAGE: (&str, &str) = ("2", "Wrong usage, or a configuration file that cannot be used.");
const STRICT: (&str, &str) = (
    "3",
    "With --strict: connections may be missing from the report (it is not complete), or events were dropped \
     because the reader of the output was too slow.",
);

const STATUS: Section<'_> = (
    "EXIT STATUS",
    &[
        ("0", "Counted."),
        ("1", "Something could not be attached to, watched, read or written; a message names it."),
        USAGE,
        STRICT,
        ("other", "That of a command that 'tcptally trace' started; see tcptally-trace(1)."),
    ],
);
const TRACE_STATUS: Section<'_> = (
    "EXIT STATUS",
    &[
        (
            "0",
            "Attached with -p or --port, and counted. SIGINT and SIGTERM end that with a report and this status.",
        ),
        (
            "1",
            "Nothing could be attached, a given process does not exist, or the report could not be written.",
        ),
        USAGE,
        STRICT,
        (
            "125",
            "With a command: tcptally itself failed, or the command succeeded and the report could not be written to FILE (-o).",
        ),
        ("126, 127", "With a command: it cannot be executed, or does not exist."),
        (
            "other",
            "With a command: its own exit status. If a signal ended it, tcptally ends by the same signal.",
        ),
    ],
);
const WATCH_STATUS: Section<'_> = (
    "EXIT STATUS",
    &[
        ("0", "Counted. SIGINT and SIGTERM end that with a report and this status."),
        ("1", "The port cannot be watched, or the report could not be written."),
        USAGE,
        STRICT,
    ],
);
const PARSE_STATUS: Section<'_> = (
    "EXIT STATUS",
    &[
        ("0", "All inputs were read."),
        (
            "1",
            "An input could not be read or recognised; the others are counted. Or the report could not be written.",
        ),
        USAGE,
        STRICT,
    ],
);
const SIGNALS: Section<'_> = (
    "SIGNALS",
    &[
        (
            "SIGINT, SIGTERM",
            "Print the report and end. A server that was attached to continues. A started command gets SIGTERM; SIGINT reaches it from the terminal.",
        ),
        ("SIGUSR1", "Print the counts so far."),
        (
            "SIGHUP",
            "Reopen the file of --output, if events or intervals are written to it; otherwise like SIGTERM.",
        ),
    ],
);
const ENVIRONMENT: Section<'_> = (
    "ENVIRONMENT",
    &[
        ("TCPTALLY_CONFIG", "The configuration file. If it is empty, none is read."),
        ("XDG_CONFIG_HOME, HOME", "Where the configuration file is otherwise."),
        ("TZ", "The time zone of times that are shown and given."),
        (
            "LC_ALL, LC_CTYPE, LANG",
            "The first that is set decides whether bars are drawn in UTF-8 or ASCII.",
        ),
        ("NO_COLOR, CLICOLOR_FORCE, TERM", "Whether the table has colours, see --color."),
        ("TMPDIR", "Where compressed archives are unpacked."),
        (
            "NOTIFY_SOCKET, WATCHDOG_USEC",
            "Set by systemd(1): tcptally says when counting has begun, and that it still counts.",
        ),
    ],
);
const FILES: Section<'_> = (
    "FILES",
    &[
        (
            "~/.config/tcptally/config.toml",
            "Options that are always given, as 'name = value'. The tables [trace], [watch] and [parse] hold those of one command. The command line replaces them; --no-config ignores the file.",
        ),
        ("/etc/services", "Names of ports for --port."),
        ("/etc/hosts", "Names for --metrics."),
    ],
);

/// The sections of a page behind the options, and the pages in SEE ALSO.
fn rest(name: &str) -> (Vec<Section<'static>>, &'static str) {
    let common = [ENVIRONMENT, FILES];
    let with = |first: &[Section<'static>]| [first, &common].concat();
    match name {
        "trace" => (
            with(&[TRACE_STATUS, SIGNALS]),
            "tcptally(1), tcptally-watch(1), strace(1), ptrace(2), perf_event_open(2), accept(2)",
        ),
        "watch" => (
            with(&[WATCH_STATUS, SIGNALS]),
            "tcptally(1), tcptally-trace(1), ss(8), sock_diag(7), tcp(7)",
        ),
        "parse" => (
            with(&[PARSE_STATUS]),
            "tcptally(1), strace(1), tcpdump(1), conntrack(8), iptables-extensions(8), journalctl(1)",
        ),
        _ => (with(&[STATUS]), "tcptally-trace(1), tcptally-watch(1), tcptally-parse(1)"),
    }
}

/// Prints the manual page of the program, or of one of its subcommands.
pub(super) fn man(subcommand: Option<&str>) -> anyhow::Result<i32> {
    let mut program = Cli::command();
    program.build();
    let command = match subcommand {
        None => &program,
        Some(name) => {
            let known = |c: &&Command| c.get_name() == name && !c.is_hide_set();
            let Some(command) = program.get_subcommands().find(known) else {
                return Err(Usage(format!("there is no subcommand '{name}'")).into());
            };
            command
        }
    };
    io::stdout().lock().write_all(page(command, subcommand).as_bytes())?;
    Ok(0)
}

fn page(command: &Command, subcommand: Option<&str>) -> String {
    let name = subcommand.map_or("tcptally".into(), |name| format!("tcptally-{name}"));
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let mut page = format!(
        ".TH {} 1 {DATE} \"tcptally {}\" \"User Commands\"\n.SH NAME\n",
        name.to_uppercase(),
        env!("CARGO_PKG_VERSION"),
    );
    text(&mut page, &format!("{name} - {about}"));
    page.push_str(".SH SYNOPSIS\n.nf\n");
    let usage = command.clone().render_usage().to_string();
    for line in usage.trim_start_matches("Usage: ").lines() {
        let _ = writeln!(page, ".B {}", escaped(line.trim()));
    }
    page.push_str(".fi\n.SH DESCRIPTION\n");
    text(&mut page, &format!("{about}."));
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (before_examples, examples) = after.split_once("Examples:\n").unwrap_or((&after, ""));
    if subcommand.is_none() {
        for line in before_examples.lines().filter_map(|line| line.strip_prefix("  ")) {
            let (term, what) = line.split_once("  ").unwrap_or((line, ""));
            entry(&mut page, &escaped(term), what);
        }
    }
    options(&mut page, command);
    let (sections, see_also) = rest(subcommand.unwrap_or_default());
    page.push_str(".SH EXAMPLES\n");
    for line in examples.lines().filter_map(|line| line.strip_prefix("  ")) {
        let (example, what) = line.split_once("  ").unwrap_or((line, ""));
        entry(&mut page, &escaped(example), what);
    }
    for (heading, entries) in sections {
        let _ = writeln!(page, ".SH {heading}");
        for (term, what) in entries {
            entry(&mut page, &escaped(term), what);
        }
    }
    page.push_str(".SH SEE ALSO\n");
    text(&mut page, see_also);
    page
}

/// The options, by heading.
fn options(page: &mut String, command: &Command) {
    page.push_str(".SH OPTIONS\n");
    let args: Vec<&Arg> = command.get_arguments().filter(|arg| !arg.is_hide_set()).collect();
    let mut headings: Vec<Option<&str>> = Vec::new();
    for arg in &args {
        if !headings.contains(&arg.get_help_heading()) {
            headings.push(arg.get_help_heading());
        }
    }
    // Those without a heading are the general ones.
    headings.sort_by_key(Option::is_none);
    for heading in headings {
        if command.has_subcommands() {
            // The few of the program itself need no heading.
        } else {
            let _ = writeln!(page, ".SS {}", escaped(heading.unwrap_or("General")));
        }
        for arg in args.iter().filter(|arg| arg.get_help_heading() == heading) {
            option(page, arg);
        }
    }
}

fn option(page: &mut String, arg: &Arg) {
    let mut names = Vec::new();
    names.extend(arg.get_short().map(|short| format!("-{short}")));
    names.extend(arg.get_long().map(|long| format!("--{long}")));
    let takes_value = arg.get_action().takes_values();
    let value = arg.get_value_names().and_then(<[_]>::first).filter(|_| takes_value);
    let mut term = escaped(&names.join(", "));
    if let Some(value) = value {
        let blank = if names.is_empty() { "" } else { " " };
        let _ = write!(term, "{blank}\\fI{}\\fP", escaped(value));
    }
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let help = help.replace(" (see a summary with '-h')", "; -h prints a summary");
    let end = if help.ends_with(['.', ')', ':']) { "" } else { "." };
    let mut help = format!("{help}{end}");
    let defaults: Vec<_> = arg.get_default_values().iter().map(|v| v.to_string_lossy()).collect();
    if takes_value && !defaults.is_empty() && !arg.is_hide_default_value_set() {
        let _ = write!(help, " The default is {}.", defaults.join(","));
    }
    entry(page, &term, &help);
    let values = if takes_value { arg.get_possible_values() } else { Vec::new() };
    if values.is_empty() {
        return;
    }
    page.push_str(".RS\n");
    for value in values.iter().filter(|value| !value.is_hide_set()) {
        let what = value.get_help().map(ToString::to_string).unwrap_or_default();
        entry(page, &escaped(value.get_name()), &format!("{what}."));
    }
    page.push_str(".RE\n");
}

/// A term, which is escaped already, and what it means.
fn entry(page: &mut String, term: &str, what: &str) {
    if what.trim().is_empty() {
        let _ = writeln!(page, ".PP\n.B {term}");
    } else {
        let _ = writeln!(page, ".TP\n.B {term}");
        text(page, what);
    }
}

fn text(page: &mut String, text: &str) {
    for line in wrap(text, WIDTH) {
        let _ = writeln!(page, "{}", escaped(&line));
    }
}

/// A text that roff(7) prints as it is: a hyphen is a minus sign, so that options can be copied and searched.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

/// Prints the completions for a shell.
pub(super) fn completions(shell: Shell) -> anyhow::Result<i32> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tcptally", &mut text);
    io::stdout().lock().write_all(&text)?;
    Ok(0)
}
