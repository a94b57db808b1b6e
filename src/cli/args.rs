//! The definitions of all command-line options, with their help texts.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use jiff::SignedDuration;
use jiff::civil::Date;

use crate::count::key::{Key, Mask};
use crate::count::order::Sort;
use crate::count::tcp_stats::Column;
use crate::filter::{Network, Ports};
use crate::format::OutputFormat;
use crate::parse::{Host, HostPattern};
use crate::time::interval::IntervalLength;
use crate::time::spec::{TimeSpec, duration};
use crate::watch::Namespace;

use super::values;

/// Counts the TCP connections that a server accepts, by address, without root.
#[derive(Debug, Parser)]
#[command(name = "tcptally", version, arg_required_else_help = true, disable_help_subcommand = true, after_help = WHICH_COMMAND)]
pub(crate) struct Cli {
    /// Ignore the configuration file
    #[arg(long, global = true)]
    pub no_config: bool,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Count what a server accepts: start it, or attach to it
    Trace(TraceArgs),
    /// Count the connections to a port by asking the kernel
    Watch(WatchArgs),
    /// Count the connections in existing logs and captures
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
        /// The shell.
        shell: Shell,
    },
}

impl Command {
    /// Its name on the command line.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Command::Trace(_) => "trace",
            Command::Watch(_) => "watch",
            Command::Parse(_) => "parse",
            Command::Man { .. } => "man",
            Command::Completions { .. } => "completions",
        }
    }

    /// Whether only errors are printed, and whether more messages are.
    pub(super) fn messages(&self) -> (bool, bool) {
        let count = match self {
            Command::Trace(args) => &args.count,
            Command::Watch(args) => &args.count,
            Command::Parse(args) => &args.count,
            Command::Man { .. } | Command::Completions { .. } => return (true, false),
        };
        (count.quiet, count.verbose)
    }
}

/// Which command is for what.
const WHICH_COMMAND: &str = "\
Which command?
  watch  any server, without touching it or knowing its process; also bytes
  trace  your own server, or as root any: each accept, and which process made it
  parse  what you have already: strace logs, captures, kernel logs, reports

Examples:
  tcptally watch --port 443              Ctrl-C prints the table
  tcptally trace -p \"$(pidof nginx)\"
  tcptally trace -- ./server             start a server
  tcptally parse strace.log capture.pcap";

const TRACE_EXAMPLES: &str = "\
Examples:
  tcptally trace -- nginx -g 'daemon off;'    a table when it ends
  tcptally trace -p \"$(pidof nginx)\" -d 5m    attach for five minutes
  tcptally trace --port 443 -i 20s            attach to whatever listens there";

const WATCH_EXAMPLES: &str = "\
Examples:
  tcptally watch --port 443                   Ctrl-C prints the table
  tcptally watch --port 443 --live            a live screen
  tcptally watch --port 443 --columns bytes,duration --sort bytes
  tcptally watch --port 80,443 -i 1m --by port,net -F csv -o web.csv
  tcptally watch --port 443 -e -F jsonl       one line per connection";

const PARSE_EXAMPLES: &str = "\
Examples:
  tcptally parse strace.log                   connections by address
  tcptally parse --port 443 --since 11:30 --until 12:00 strace.log*
  tcptally parse -i 1h --by net --top 10 -F csv -o hours.csv strace.log";

const SOURCE: &str = "The server";
const RECORDS: &str = "How records are read";
const WHICH: &str = "Which connections are counted";
const COUNTED: &str = "How they are counted";
const SHOWN: &str = "Output";
const METRICS: &str = "Metrics for Prometheus";
const MESSAGES: &str = "Messages and exit status";

/// Whether the option of this id decides which connections are counted.
pub(super) fn is_filter(id: &str) -> bool {
    let command = Cli::command();
    let args = command.get_subcommands().flat_map(clap::Command::get_arguments);
    args.filter(|arg| arg.get_id() == id).any(|arg| arg.get_help_heading() == Some(WHICH))
}

/// Options that all sources share: what is counted, and the output.
#[derive(Debug, Args)]
pub(crate) struct CountArgs {
    /// Count only these local ports: 80,443,8000-8010 or names: https
    #[arg(help_heading = WHICH, short = 'P', long = "port", value_name = "LIST", value_parser = values::ports)]
    pub ports: Option<Ports>,

    /// Count only clients in this network (address or CIDR; repeatable)
    #[arg(help_heading = WHICH, long, value_name = "NET", value_delimiter = ',')]
    pub from: Vec<Network>,

    /// Do not count clients in this network (address or CIDR; repeatable)
    #[arg(help_heading = WHICH, long, value_name = "NET", value_delimiter = ',')]
    pub not_from: Vec<Network>,

    /// Count from this time on: '2026-11-22 11:30', 11:30:05, RFC 3339, epoch seconds, '10m ago'
    /// or -10m, or +90s from the beginning
    #[arg(help_heading = WHICH, long, value_name = "T", allow_hyphen_values = true)]
    pub since: Option<TimeSpec>,

    /// Count until before this time (same forms)
    #[arg(help_heading = WHICH, long, value_name = "T", allow_hyphen_values = true)]
    pub until: Option<TimeSpec>,

    /// Count for each interval of DUR (20s, 1m, 1h, 1d), aligned to the clock, and in total
    #[arg(help_heading = COUNTED, short, long, value_name = "DUR")]
    pub interval: Option<IntervalLength>,

    /// Count by these keys, in this order
    #[arg(help_heading = COUNTED,
        short,
        long,
        value_name = "KEYS",
        value_parser = values::key(),
        value_delimiter = ',',
        default_value = "ip"
    )]
    pub by: Vec<Key>,

    /// Database of networks (mmdb, such as GeoLite2-ASN.mmdb) for '--by asn' and '--by country' (repeatable)
    #[arg(help_heading = COUNTED, long, value_name = "FILE")]
    pub asn: Vec<PathBuf>,

    /// Prefix lengths for '--by net': IPv4, IPv6
    #[arg(help_heading = COUNTED, long, value_name = "V4,V6", default_value = "24,64")]
    pub mask: Mask,

    /// Show the N largest rows (with '--sort bytes': the most bytes), the sum of the rest as "others"
    // A negative number is refused as a value, with the remedy.
    #[arg(
        help_heading = SHOWN,
        short = 'n',
        long,
        value_name = "N",
        value_parser = values::whole_number::<usize>,
        allow_negative_numbers = true
    )]
    pub top: Option<usize>,

    /// Show all rows, also on a terminal with fewer lines
    #[arg(help_heading = SHOWN, long, conflicts_with = "top")]
    pub all: bool,

    /// Show rows with at least N connections, the sum of the rest as "others"
    #[arg(
        help_heading = SHOWN,
        long,
        value_name = "N",
        value_parser = values::whole_number::<u64>,
        allow_negative_numbers = true,
        default_value = "0",
        hide_default_value = true
    )]
    pub min: u64,

    /// Show the names of addresses, by reverse lookups (DNS) when the report is written; takes 5 s at most
    #[arg(help_heading = SHOWN, long, conflicts_with = "events")]
    pub resolve: bool,

    /// Sort rows by this
    #[arg(help_heading = SHOWN, long, value_parser = values::sort(), value_name = "WHAT", default_value = "count")]
    pub sort: Sort,

    /// Name of the machine in the report [default: the host name]
    #[arg(long, value_name = "NAME", help_heading = COUNTED)]
    pub host: Option<String>,

    /// Show these statistics of connections (watch, and parse of its events)
    #[arg(help_heading = SHOWN,
        long,
        visible_alias = "sum",
        value_name = "WHAT",
        value_parser = values::column(),
        value_delimiter = ','
    )]
    pub columns: Vec<Column>,

    /// Keep at most N keys in memory; with more, counts are approximate, and the report has the
    /// error bound
    #[arg(help_heading = COUNTED, long, value_name = "N", value_parser = values::at_least_one)]
    pub max_keys: Option<u64>,

    /// Format of the report
    #[arg(help_heading = SHOWN, short = 'F', long, value_parser = values::format(), default_value = "table")]
    pub format: OutputFormat,

    /// Draw connections over time above the table
    #[arg(help_heading = SHOWN, long, conflicts_with_all = ["interval", "events"])]
    pub histogram: bool,

    /// Show the counts on a screen, as top does, until q is pressed; then print the report
    #[arg(help_heading = SHOWN, long, conflicts_with = "events")]
    pub live: bool,

    /// Write each connection when it happens, instead of a tally (table, plain, csv, jsonl)
    #[arg(help_heading = SHOWN, short, long, conflicts_with_all = ["interval", "top", "min", "max_keys"])]
    pub events: bool,

    /// Write the report to this file; '-' is stdout
    #[arg(help_heading = SHOWN, short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Use colours in the table
    #[arg(help_heading = SHOWN, long, value_enum, value_name = "WHEN", default_value = "auto")]
    pub color: Color,

    /// Exit with status 3 if connections may be missing from the report ("complete": false) or from the events
    #[arg(help_heading = MESSAGES, long)]
    pub strict: bool,

    /// Print no messages except errors
    #[arg(help_heading = MESSAGES, short, long)]
    pub quiet: bool,

    /// Print more messages: the engine, and why it was chosen
    #[arg(help_heading = MESSAGES, short, long)]
    pub verbose: bool,
}

/// When the table has colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal
    Auto,
    /// Also in a file or a pipe
    Always,
    /// Never
    Never,
}

/// Options for the rotation of output files.
#[derive(Debug, Args)]
pub(crate) struct RotateArgs {
    /// Start a new file for each DUR (1h, 1d), aligned to the clock; the start time is appended to the name
    /// of the old file
    #[arg(long, value_name = "DUR", requires = "output", help_heading = SHOWN)]
    pub rotate: Option<IntervalLength>,

    /// Keep N old files, and remove older ones
    #[arg(help_heading = SHOWN, long, value_name = "N", value_parser = values::whole_number::<usize>, requires = "rotate")]
    pub keep: Option<usize>,
}

/// Options of the metrics server.
#[derive(Debug, Args)]
pub(crate) struct MetricsArgs {
    /// Serve metrics for Prometheus at http://ADDR/metrics (9435: 127.0.0.1:9435)
    #[arg(long = "metrics", value_name = "ADDR", value_parser = values::metrics_address, help_heading = METRICS)]
    pub address: Option<SocketAddr>,

    /// Count recent connections for metrics in this time [default: 1m]
    #[arg(long = "metrics-window", value_name = "DUR", value_parser = duration,
          requires = "address", help_heading = METRICS)]
    pub window: Option<SignedDuration>,

    /// Allow an ADDR that other machines can reach
    #[arg(long = "metrics-allow-remote", requires = "address", help_heading = METRICS)]
    pub allow_remote: bool,
}

/// Options of `trace`.
#[derive(Debug, Args)]
#[command(after_help = TRACE_EXAMPLES, override_usage = "tcptally trace [OPTIONS] -- COMMAND [ARG]...\n       tcptally trace [OPTIONS] -p PID...\n       tcptally trace [OPTIONS] --port PORT")]
pub(crate) struct TraceArgs {
    /// What is counted.
    #[command(flatten)]
    pub count: CountArgs,

    /// A new file for each period.
    #[command(flatten)]
    pub rotation: RotateArgs,

    /// Stop counting after this time: 90s, 5m, 1h30m
    #[arg(help_heading = WHICH, short, long, value_name = "DUR", value_parser = duration)]
    pub duration: Option<SignedDuration>,

    /// Attach to these processes and their children
    #[arg(help_heading = SOURCE, short, long = "pid", value_name = "PID", value_parser = pid_list,
          conflicts_with = "argv")]
    pub pids: Vec<Pids>,

    /// With --port: wait for a server to listen, and attach again when it is restarted, until Ctrl-C
    #[arg(help_heading = SOURCE, long, requires = "ports", conflicts_with_all = ["pids", "argv"])]
    pub wait: bool,

    /// Trace only the given processes, without existing and future children
    #[arg(help_heading = SOURCE, long)]
    pub no_children: bool,

    /// How accepts are observed: seccomp for started servers only
    #[arg(help_heading = SOURCE, long, value_enum, default_value = "auto")]
    pub engine: TraceEngineArg,

    /// Let io_uring_setup fail with ENOSYS, so that the server falls back to accept
    #[arg(help_heading = SOURCE, long)]
    pub deny_io_uring: bool,

    /// With --live: append the output of the started server to this file
    #[arg(help_heading = SHOWN, long, value_name = "FILE", requires = "live", requires = "argv")]
    pub server_log: Option<PathBuf>,

    /// The metrics server.
    #[command(flatten)]
    pub metrics: MetricsArgs,

    /// The server to start, with its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub argv: Vec<OsString>,
}

/// Process ids, separated by blanks as `pidof` prints them, or by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pids(pub Vec<i32>);

/// Why a text is not a list of process ids.
#[derive(Debug, thiserror::Error)]
enum PidsError {
    #[error("'{0}' is not a process id; 'pidof NAME' and 'pgrep NAME' print them")]
    NotAPid(String),
    #[error("no process id given (is the server running?)")]
    Empty,
}

fn pid_list(text: &str) -> Result<Pids, PidsError> {
    let words = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|w| !w.is_empty());
    let pids = words.map(|word| match word.parse() {
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err(PidsError::NotAPid(word.into())),
    });
    let pids = pids.collect::<Result<Vec<i32>, _>>()?;
    if pids.is_empty() { Err(PidsError::Empty) } else { Ok(Pids(pids)) }
}

/// How accepts are observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TraceEngineArg {
    /// The cheapest engine that is safe and exact
    Auto,
    /// No stop: the kernel writes each accept into a buffer
    Sample,
    /// One stop per accepted connection, by perf events
    Perf,
    /// Two stops per accept call; for servers that tcptally starts only
    Seccomp,
    /// Two stops per system call of any kind
    Syscall,
}

/// How new connections are observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WatchEngineArg {
    /// The tracepoint if it is available and has what is requested, otherwise sockdiag
    Auto,
    /// Requests for open sockets and messages about closed ones, by sock_diag(7); for every user
    Sockdiag,
    /// The kernel's tracepoint of socket states: exact times; for root
    Tracepoint,
}

/// Options of `watch`.
#[derive(Debug, Args)]
#[command(after_help = WATCH_EXAMPLES, override_usage = "tcptally watch --port PORT [OPTIONS]")]
pub(crate) struct WatchArgs {
    /// What is counted.
    #[command(flatten)]
    pub count: CountArgs,

    /// A new file for each period.
    #[command(flatten)]
    pub rotation: RotateArgs,

    /// Stop counting after this time: 90s, 5m, 1h30m
    #[arg(help_heading = WHICH, short, long, value_name = "DUR", value_parser = duration)]
    pub duration: Option<SignedDuration>,

    /// How new connections are observed
    #[arg(help_heading = SOURCE, long, value_enum, default_value = "auto")]
    pub engine: WatchEngineArg,

    /// Engine sockdiag: time between two requests for the open connections, which is how exactly
    /// their beginning is known [default: 1s, or half of --interval if that is less]
    #[arg(help_heading = SOURCE, long, value_name = "DUR", value_parser = duration)]
    pub resolution: Option<SignedDuration>,

    /// The metrics server.
    #[command(flatten)]
    pub metrics: MetricsArgs,

    /// Count in another network namespace: that of a process, or a file such as /run/netns/NAME
    #[arg(help_heading = SOURCE, long, value_name = "PID|PATH")]
    pub netns: Option<Namespace>,

    /// Size of the socket buffer for the kernel's messages, or of each CPU's ring buffer [default:
    /// the largest allowed]
    #[arg(help_heading = SOURCE, long, value_name = "BYTES", value_parser = values::whole_number::<u32>)]
    pub buffer: Option<u32>,
}

/// Options of `parse`.
#[derive(Debug, Args)]
#[command(after_help = PARSE_EXAMPLES, override_usage = "tcptally parse [OPTIONS] [FILE]...")]
pub(crate) struct ParseArgs {
    /// What is counted.
    #[command(flatten)]
    pub count: CountArgs,

    /// Format of the records [default: recognised from the content]
    #[arg(help_heading = RECORDS, long = "type", value_name = "TYPE", value_parser = values::record_format())]
    pub kind: Option<String>,

    /// When a record with relative times began
    #[arg(help_heading = RECORDS, long, value_name = "T")]
    pub start: Option<TimeSpec>,

    /// Date of the first line, for a record with times of day only
    #[arg(help_heading = RECORDS, long, value_name = "D", value_parser = values::date)]
    pub date: Option<Date>,

    /// Time zone of times without one [default: the machine's]
    #[arg(help_heading = RECORDS, long, value_name = "ZONE")]
    pub tz: Option<String>,

    /// Take the host of each record from its path: 'logs/{host}.log'; '*' is any text in a name
    #[arg(long, value_name = "PATTERN")]
    pub host_from: Option<HostPattern>,

    /// Name the hosts in this file (one a line) of which there is no record; without them the report is
    /// not complete
    #[arg(long, value_name = "FILE")]
    pub expect_hosts: Option<PathBuf>,

    /// Address of the recorded machine (repeatable). Connections that it opened itself are left out,
    /// in records that do not show the direction
    #[arg(help_heading = WHICH, long, value_name = "ADDR", value_delimiter = ',')]
    pub local_ip: Vec<Host>,

    /// Count only connections that the record shows to be completed, not attempts
    #[arg(help_heading = WHICH, long)]
    pub established: bool,

    /// Leave out connections inside tunnels (GRE, VXLAN, IPIP and others) in captures
    #[arg(help_heading = WHICH, long)]
    pub outer: bool,

    /// The records; '-' or no file: stdin
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
}
