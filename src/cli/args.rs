//! Definitions of the command line, nothing else.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use jiff::SignedDuration;
use jiff::civil::Date;

use tcptally::count::key::{Key, Mask};
use tcptally::count::order::Sort;
use tcptally::count::tcp_stats::Column;
use tcptally::filter::{Network, Ports};
use tcptally::format::OutputFormat;
use tcptally::parse::Host;
use tcptally::time::interval::IntervalLength;
use tcptally::time::spec::{TimeSpec, duration};
use tcptally::watch::Namespace;

use super::values;

/// Counts the TCP connections that a server accepts, by address, without root.
#[derive(Debug, Parser)]
#[command(name = "tcptally", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a server and count what it accepts, or watch one that runs
    Trace(TraceArgs),
    /// Ask the kernel about a port, without touching the server
    Watch(WatchArgs),
    /// Count the connections in records: logs of strace and of the kernel, captures and more
    Parse(ParseArgs),
    /// Print the manual page, of a subcommand if one is named
    #[command(hide = true)]
    Man {
        /// trace, watch or parse.
        subcommand: Option<String>,
    },
    /// Print the completions for a shell
    #[command(hide = true)]
    Completions {
        /// Which one.
        shell: Shell,
    },
}

const TRACE_EXAMPLES: &str = "\
Examples:
  tcptally trace -- nginx -g 'daemon off;'      start a server; the table when it ends
  tcptally trace -p \"$(pidof nginx)\" -d 5m     watch a running one for five minutes
  tcptally trace --port 4711 -i 20s             whoever listens there; a tally every 20 seconds";

const WATCH_EXAMPLES: &str = "\
Examples:
  tcptally watch --port 443                     whoever has that port; Ctrl-C prints the table
  tcptally watch --port 443 --columns bytes,duration --sort bytes
  tcptally watch --port 80,443 -i 1m --by port,net -F csv -o minutes.csv
  tcptally watch --port 443 --events -F jsonl   a line for each connection at its end";

const PARSE_EXAMPLES: &str = "\
Examples:
  tcptally parse strace.log                     how many connections from which address
  tcptally parse --port 443 --since 11:30 --until 12:00 strace.log*
  tcptally parse -i 1h --by net --top 10 --format csv -o hours.csv strace.log";

const WHICH: &str = "Which connections";
const COUNTED: &str = "What they are counted by";
const SHOWN: &str = "What is shown";

/// What is counted and how it is shown, the same for every source.
#[derive(Debug, Args)]
pub struct CountArgs {
    /// Only these local ports: 80,443,8000-8010
    #[arg(help_heading = WHICH, short = 'P', long = "port", value_name = "LIST")]
    pub ports: Option<Ports>,

    /// Only this remote network (address or CIDR; repeatable)
    #[arg(help_heading = WHICH, long, value_name = "NET", value_delimiter = ',')]
    pub from: Vec<Network>,

    /// Without this remote network (address or CIDR; repeatable)
    #[arg(help_heading = WHICH, long, value_name = "NET", value_delimiter = ',')]
    pub not_from: Vec<Network>,

    /// Only from this time on: '2026-11-22 11:30', 11:30:05, RFC 3339, epoch seconds, '10m ago',
    /// or +90s from the beginning
    #[arg(help_heading = WHICH, long, value_name = "T")]
    pub since: Option<TimeSpec>,

    /// Only before this time
    #[arg(help_heading = WHICH, long, value_name = "T")]
    pub until: Option<TimeSpec>,

    /// A tally for every DUR (20s, 1m, 1h, 1d), aligned to the clock, and the whole at the end
    #[arg(help_heading = COUNTED, short, long, value_name = "DUR")]
    pub interval: Option<IntervalLength>,

    /// What to count by, in order
    #[arg(help_heading = COUNTED,
        short,
        long,
        value_name = "KEYS",
        value_parser = values::key(),
        value_delimiter = ',',
        default_value = "ip"
    )]
    pub by: Vec<Key>,

    /// Prefix lengths for '--by net': IPv4, IPv6
    #[arg(help_heading = COUNTED, long, value_name = "V4,V6", default_value = "24,64")]
    pub mask: Mask,

    /// Only the N largest rows (by '--sort bytes' those with the most); the rest in one row "others"
    #[arg(help_heading = SHOWN, short = 'n', long, value_name = "N")]
    pub top: Option<usize>,

    /// Only rows with at least N connections; the rest in one row "others"
    #[arg(help_heading = SHOWN, long, value_name = "N", default_value = "0", hide_default_value = true)]
    pub min: u64,

    /// What to sort rows by
    #[arg(help_heading = SHOWN, long, value_parser = values::sort(), value_name = "WHAT", default_value = "count")]
    pub sort: Sort,

    /// What the report calls the machine [default: its name]
    #[arg(long, value_name = "NAME", help_heading = COUNTED)]
    pub host: Option<String>,

    /// How connections fared, in columns of their own (watch, and parse of its events)
    #[arg(help_heading = SHOWN,
        long,
        visible_alias = "sum",
        value_name = "WHAT",
        value_parser = values::column(),
        value_delimiter = ','
    )]
    pub columns: Vec<Column>,

    /// Keep only N keys in memory: beyond that, counts are approximate, and the report says by
    /// how much
    #[arg(help_heading = COUNTED, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_keys: Option<u64>,

    /// How the report looks
    #[arg(help_heading = SHOWN, short = 'F', long, value_parser = values::format(), default_value = "table")]
    pub format: OutputFormat,

    /// One record per connection as it happens, instead of the tally (table, plain, csv, jsonl)
    #[arg(help_heading = SHOWN, short, long, conflicts_with_all = ["interval", "top", "min", "max_keys"])]
    pub events: bool,

    /// Where the report goes; '-' is stdout
    #[arg(help_heading = SHOWN, short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// When to colour the table
    #[arg(help_heading = SHOWN, long, value_enum, value_name = "WHEN", default_value = "auto")]
    pub color: Color,

    /// Exit with status 3 if connections may be missing from the report ("complete": false)
    #[arg(long)]
    pub strict: bool,

    /// No messages but errors
    #[arg(short, long)]
    pub quiet: bool,

    /// Say more: what was chosen and why
    #[arg(short, long)]
    pub verbose: bool,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal
    Auto,
    /// Also in a file or a pipe
    Always,
    /// Never
    Never,
}

/// Where the counts so far can be had while more come.
#[derive(Debug, Args)]
pub struct MetricsArgs {
    /// Serve metrics for Prometheus at http://ADDR/metrics
    #[arg(long = "metrics", value_name = "ADDR", help_heading = SHOWN)]
    pub address: Option<SocketAddr>,

    /// Let ADDR be one that other machines can reach
    #[arg(long = "metrics-allow-remote", requires = "address", help_heading = SHOWN)]
    pub allow_remote: bool,
}

/// Options of `trace`.
#[derive(Debug, Args)]
#[command(after_help = TRACE_EXAMPLES)]
pub struct TraceArgs {
    /// What is counted.
    #[command(flatten)]
    pub count: CountArgs,

    /// Stop counting after this time: 90s, 5m, 1h30m
    #[arg(short, long, value_name = "DUR", value_parser = duration)]
    pub duration: Option<SignedDuration>,

    /// Watch these running processes and their children (PIDs with commas or blanks; repeatable)
    #[arg(short, long = "pid", value_name = "PID", value_parser = pid_list,
          conflicts_with = "argv")]
    pub pids: Vec<Pids>,

    /// Only the given processes: neither their children nor those they will have
    #[arg(long)]
    pub no_children: bool,

    /// How tracees are made to stop
    #[arg(long, value_enum, default_value = "auto")]
    pub engine: Engine,

    /// io_uring_setup fails with ENOSYS, so that the server falls back to accept
    #[arg(long)]
    pub deny_io_uring: bool,

    /// Who else wants to know.
    #[command(flatten)]
    pub metrics: MetricsArgs,

    /// The server to start, and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub argv: Vec<OsString>,
}

/// A list of process ids, as `pidof` prints it or with commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pids(pub Vec<i32>);

fn pid_list(text: &str) -> Result<Pids, String> {
    let words = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|w| !w.is_empty());
    let pids = words.map(|word| match word.parse() {
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err(format!("'{word}' is no process id; 'pidof NAME' and 'pgrep NAME' give them")),
    });
    let pids = pids.collect::<Result<Vec<i32>, _>>()?;
    if pids.is_empty() {
        return Err("no process id given (is the server running?)".into());
    }
    Ok(Pids(pids))
}

/// How tracees are made to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// The cheapest that is safe and exact
    Auto,
    /// None: the kernel writes each accept into a buffer; for running servers
    Sample,
    /// One stop per accepted connection, by perf events; for running servers too
    Perf,
    /// Two stops per accept call; for servers that tcptally starts
    Seccomp,
    /// Two stops per system call of any kind
    Syscall,
}

/// Options of `watch`.
#[derive(Debug, Args)]
#[command(after_help = WATCH_EXAMPLES)]
pub struct WatchArgs {
    /// What is counted.
    #[command(flatten)]
    pub count: CountArgs,

    /// Stop counting after this time: 90s, 5m, 1h30m
    #[arg(short, long, value_name = "DUR", value_parser = duration)]
    pub duration: Option<SignedDuration>,

    /// How exactly the beginning of a connection is known: the kernel is asked so often
    #[arg(long, value_name = "DUR", value_parser = duration, default_value = "1s")]
    pub resolution: SignedDuration,

    /// Who else wants to know.
    #[command(flatten)]
    pub metrics: MetricsArgs,

    /// The network namespace of a process, or the one that this file stands for (/run/netns/NAME)
    #[arg(long, value_name = "PID|PATH")]
    pub netns: Option<Namespace>,

    /// The size in bytes of the buffer for the kernel's notices [default: as large as is allowed]
    #[arg(long, value_name = "BYTES")]
    pub buffer: Option<u32>,
}

/// Options of `parse`.
#[derive(Debug, Args)]
#[command(after_help = PARSE_EXAMPLES)]
pub struct ParseArgs {
    /// What is counted.
    #[command(flatten)]
    pub count: CountArgs,

    /// The type of the records; recognised from the content by default
    #[arg(long = "type", value_name = "TYPE", value_parser = values::record_format())]
    pub kind: Option<String>,

    /// When a log with relative times began
    #[arg(long, value_name = "T")]
    pub start: Option<TimeSpec>,

    /// The date of a log with bare clock times: of its first line
    #[arg(long, value_name = "D")]
    pub date: Option<Date>,

    /// The time zone of a log with bare clock times
    #[arg(long, value_name = "ZONE")]
    pub tz: Option<String>,

    /// An address of the recorded machine (repeatable): connections that it made itself are then
    /// left out, in records that do not tell the direction
    #[arg(help_heading = WHICH, long, value_name = "ADDR", value_delimiter = ',')]
    pub local_ip: Vec<Host>,

    /// Only connections that the record shows to have been completed; it says so if it cannot
    #[arg(help_heading = WHICH, long)]
    pub established: bool,

    /// Leave out connections inside tunnels (GRE, VXLAN, IPIP and others) of captures; by default
    /// the innermost TCP counts
    #[arg(help_heading = WHICH, long)]
    pub outer: bool,

    /// The records; '-' or none: stdin
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
}
