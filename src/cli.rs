//! Definitions of the command line, nothing else.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

/// Counts the TCP connections that a server accepts, by address, without root.
#[derive(Debug, Parser)]
#[command(name = "tcptally", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a server and count what it accepts, or watch one that runs
    Trace(TraceArgs),
    /// Count the connections in records: strace logs
    Parse(ParseArgs),
}

/// What is counted and how it is shown, the same for every source.
#[derive(Debug, Args)]
pub struct CountArgs {
    /// Only these local ports: 80,443,8000-8010
    #[arg(short = 'P', long = "port", value_name = "LIST")]
    pub ports: Option<String>,

    /// Only this remote network (address or CIDR; repeatable)
    #[arg(long, value_name = "NET")]
    pub from: Vec<IpNet>,

    /// Without this remote network (address or CIDR; repeatable)
    #[arg(long, value_name = "NET")]
    pub not_from: Vec<IpNet>,

    /// What to count by, in order
    #[arg(short, long, value_name = "KEYS", value_delimiter = ',', default_value = "ip")]
    pub by: Vec<String>,

    /// Only the N largest rows; the rest in one row "others"
    #[arg(short = 'n', long, value_name = "N")]
    pub top: Option<usize>,

    /// How the report looks
    #[arg(short = 'F', long, value_enum, default_value = "table")]
    pub format: Format,

    /// One record per connection as it happens, instead of the tally
    #[arg(short, long)]
    pub events: bool,

    /// Where the report goes; '-' is stdout
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// When to colour the table
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    pub color: Color,

    /// No messages but errors
    #[arg(short, long)]
    pub quiet: bool,

    /// Say more: what was chosen and why
    #[arg(short, long)]
    pub verbose: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Plain,
    Csv,
    Json,
    Jsonl,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Args)]
pub struct TraceArgs {
    #[command(flatten)]
    pub count: CountArgs,

    /// Stop counting after this time: 90s, 5m, 1h30m
    #[arg(short, long, value_name = "DUR")]
    pub duration: Option<String>,

    /// Only the given process: neither its children nor those it will have
    #[arg(long)]
    pub no_children: bool,

    /// How tracees are made to stop
    #[arg(long, value_enum, default_value = "auto")]
    pub engine: Engine,

    /// io_uring_setup fails with ENOSYS, so that the server falls back to accept
    #[arg(long)]
    pub deny_io_uring: bool,

    /// The server to start, and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub argv: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// The cheapest that is safe and exact
    Auto,
    /// Two stops per accept call
    Seccomp,
    /// Two stops per system call of any kind
    Syscall,
}

#[derive(Debug, Args)]
pub struct ParseArgs {
    #[command(flatten)]
    pub count: CountArgs,

    /// The type of the records; recognised from the content by default
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,

    /// When a log with relative times began
    #[arg(long, value_name = "T")]
    pub start: Option<String>,

    /// The date of a log with bare clock times: of its first line
    #[arg(long, value_name = "D")]
    pub date: Option<String>,

    /// The time zone of a log with bare clock times
    #[arg(long, value_name = "ZONE")]
    pub tz: Option<String>,

    /// The records; '-' or none: stdin
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
}
