//! [`Request`]: the options as filter, tally and report.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;

use crate::RecordTime;
use crate::cli::args::{Color, CountArgs};
use crate::count::Networks;
use crate::count::Tally;
use crate::count::counter::Count;
use crate::count::key::{Key, Keys};
use crate::count::order::{Order, Sort};
use crate::count::tcp_stats::Columns;
use crate::filter::Filter;
use crate::format::{Format, OutputFormat, RenderOptions, WindowSize};
use crate::model::connection::RequestedFields;
use crate::time::interval::Interval;
use crate::time::period::{End, PeriodError, Reference, period};
use crate::time::{Bound, Period, local_zone};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::terminal;

/// A usage error: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Usage(pub String);

/// What is counted and how it is shown.
pub(super) struct Request {
    /// What is counted.
    pub count: Count,
    /// Which rows are shown.
    pub order: Order,
    /// The format of the report.
    pub kind: OutputFormat,
    /// Whether events are written instead of a report.
    pub events: bool,
    /// `--quiet`: only errors are printed.
    pub quiet: bool,
    /// Whether a report that is not complete is a failure.
    pub strict: bool,
    /// The machine that counts, which events name.
    pub event_host: Arc<str>,
    /// The time zone in which times are shown.
    pub zone: TimeZone,
    /// Whether a screen shows the counts so far.
    pub live: bool,
    /// Whether the report has the names of addresses.
    pub resolve: bool,
    histogram: bool,
    color: Color,
    /// Whether all rows are shown, also on a terminal with fewer lines.
    all: bool,
}

/// The statistics that the report shows.
fn columns(args: &CountArgs) -> Result<Columns, Usage> {
    let mut columns: Columns = args.columns.iter().collect();
    columns.bytes |= args.sort == Sort::Bytes;
    if columns.any() && args.format == OutputFormat::Openmetrics {
        return Err(Usage(
            "--format openmetrics has no columns for statistics (--columns, --sort bytes); the \
             other formats have"
                .into(),
        ));
    }
    Ok(columns)
}

/// Empty tables for the counts.
fn tally(args: &CountArgs, columns: Columns, host: &Arc<str>, zone: &TimeZone) -> Tally {
    let interval = args.interval.map(|length| Interval { length, zone: zone.clone() });
    let max_keys = args.max_keys.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let keys = Keys::new(&args.by, args.mask).at(host.clone());
    // Events are not tallied, so no statistics are missing.
    let summed = if args.events { Columns::default() } else { columns };
    let tally = Tally::new(keys, interval, max_keys).with(summed);
    let has_timeline = args.format.has_timeline() || args.histogram || args.live;
    if has_timeline { tally.with_timeline(zone.clone()) } else { tally }
}

/// What times on the command line refer to.
pub(super) enum Times {
    /// A record, in this time zone.
    Record(TimeZone),
    /// The future, by the clock of this machine.
    Now,
}

impl Request {
    /// Converts the options, or returns what is wrong with them.
    pub(super) fn new(args: &CountArgs, times: &Times) -> Result<Request, Usage> {
        let zone = match times {
            Times::Record(zone) => zone.clone(),
            Times::Now => local_zone(),
        };
        let reference = match times {
            Times::Record(_) => Reference::Record,
            Times::Now => Reference::Now,
        };
        let (since, until) = (args.since.as_ref(), args.until.as_ref());
        let period =
            period(since, until, reference, &zone, Timestamp::now()).map_err(period_usage)?;
        check_since(times, &period)?;
        check_format(args)?;
        check_sort(args)?;
        check_resolve(args)?;
        let filter = Filter {
            ports: args.ports.clone().unwrap_or_default(),
            from: args.from.clone(),
            not_from: args.not_from.clone(),
            period,
        };
        let host: Arc<str> = args.host.clone().unwrap_or_else(machine).into();
        let columns = columns(args)?;
        let tally = tally(args, columns, &host, &zone);
        Ok(Request {
            count: Count::new(filter, tally),
            order: Order {
                sort: args.sort,
                top: args.top.filter(|_| !args.all),
                min: args.min,
                columns,
            },
            kind: args.format,
            events: args.events,
            quiet: args.quiet,
            strict: args.strict,
            event_host: host,
            zone,
            live: args.live,
            resolve: args.resolve,
            histogram: args.histogram,
            color: args.color,
            all: args.all,
        })
    }

    /// Opens the databases of `--asn`.
    pub(super) fn with_networks(mut self, args: &CountArgs) -> anyhow::Result<Request> {
        let tally = &mut self.count.tally;
        let key = tally.keys.list().iter().find(|key| matches!(key, Key::Asn | Key::Country));
        if let (Some(key), true) = (key, args.asn.is_empty()) {
            return Err(Usage(format!(
                "--by {} needs a database of networks: --asn FILE.mmdb, for example GeoLite2-ASN.mmdb or \
                 GeoLite2-Country.mmdb of MaxMind",
                key.name()
            ))
            .into());
        }
        if !args.asn.is_empty() {
            let networks = Arc::new(Networks::open(&args.asn)?);
            tally.keys = std::mem::take(&mut tally.keys).with_networks(networks);
        }
        Ok(self)
    }

    /// Prints on a terminal when counting starts and ends.
    pub(super) fn ending(&self) -> String {
        let shown = |bound: &Option<Bound>| match bound {
            Some(Bound::At(t)) => {
                let time = self.zone.to_datetime(t.timestamp()?);
                Some(time.strftime("%F %T").to_string())
            }
            _ => None,
        };
        let period = &self.count.filter.period;
        let since = shown(&period.since).map(|t| format!("; counting from {t}"));
        let until = shown(&period.until).map(|t| format!("; counting until {t}"));
        let wait = std::io::stderr().is_terminal().then_some(if self.events {
            "; Ctrl-C ends it"
        } else {
            "; Ctrl-C prints the counts and ends it"
        });
        [since, until, wait.map(str::to_owned)].into_iter().flatten().collect()
    }

    /// Whether the report shows connections over time, besides intervals that were asked for.
    pub(super) fn has_timeline(&self) -> bool {
        self.kind.has_timeline() || self.histogram
    }

    /// The costly fields of connections that are needed.
    pub(super) fn requested(&self) -> RequestedFields {
        if self.events || self.live {
            return RequestedFields {
                local: true,
                local_ip: true,
                comm: true,
                pid: true,
                container: self.count.tally.keys.requested().container,
            };
        }
        let requested = self.count.tally.keys.requested();
        RequestedFields {
            local: requested.local || !self.count.filter.ports.0.is_empty(),
            ..requested
        }
    }

    /// Whether the report needs TCP statistics.
    pub(super) fn has_stats(&self) -> bool {
        self.order.columns.any() || self.count.tally.keys.has_stats()
    }

    /// Creates the format for an output: this stream, or a file (`None`).
    pub(super) fn format(&self, stream: Option<Stream>, headings: bool) -> Box<dyn Format> {
        self.kind.format(self.render_options(stream, headings))
    }

    /// How that output is rendered.
    pub(super) fn render_options(&self, stream: Option<Stream>, headings: bool) -> RenderOptions {
        let color = match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => stream.is_some_and(Stream::colors),
        };
        RenderOptions {
            color,
            width: 80,
            terminal: stream.and_then(Stream::terminal),
            fit_hint: (!self.all).then_some("--all shows all of them"),
            ascii: !is_utf8(),
            zone: self.zone.clone(),
            intervals: self.count.tally.has_intervals(),
            headings,
            columns: self.order.columns,
            histogram: self.histogram,
        }
    }
}

/// Rejects an order of rows that is not exact in bounded memory.
fn check_sort(args: &CountArgs) -> Result<(), Usage> {
    if args.sort == Sort::Bytes && args.max_keys.is_some() {
        return Err(Usage(
            "--sort bytes and --max-keys do not go together: what is kept are the keys with \
             the most connections, and those with the most bytes may not be among them; \
             leave out one of the two, or count by less (--by net)"
                .into(),
        ));
    }
    Ok(())
}

/// Rejects names of addresses for reports that cannot contain them.
fn check_resolve(args: &CountArgs) -> Result<(), Usage> {
    if !args.resolve {
        return Ok(());
    }
    if !args.by.contains(&Key::Ip) {
        return Err(Usage(
            "--resolve shows the names of addresses, so 'ip' must be among the keys of --by".into(),
        ));
    }
    let rows_of_intervals = matches!(args.format, OutputFormat::Csv | OutputFormat::Jsonl);
    if args.format == OutputFormat::Openmetrics || args.interval.is_some() && rows_of_intervals {
        return Err(Usage(
            "--resolve looks names up when the report is written at the end, and this output has no rows \
             there; give --format table or json, or leave --interval out"
                .into(),
        ));
    }
    Ok(())
}

/// Rejects a format that does not suit the request.
fn check_format(args: &CountArgs) -> Result<(), Usage> {
    if args.histogram && args.format != OutputFormat::Table {
        return Err(Usage(
            "--histogram is a part of --format table; --format svg draws connections over time for \
             documents, and --interval counts them for programs"
                .into(),
        ));
    }
    let is_stdout = args.output.as_deref().is_none_or(|path| path == Path::new("-"));
    if args.format == OutputFormat::Parquet && is_stdout && std::io::stdout().is_terminal() {
        return Err(Usage("--format parquet is not text; give a file with --output".into()));
    }
    if args.live {
        terminal::check().map_err(|e| Usage(e.to_string()))?;
    }
    let name = match args.format {
        OutputFormat::Openmetrics => "openmetrics",
        OutputFormat::Html => "html",
        OutputFormat::Svg => "svg",
        _ => return Ok(()),
    };
    if args.events {
        return Err(Usage(format!("--events has no {name} form; give --format jsonl or csv")));
    }
    let to_terminal = args.output.is_none() && std::io::stdout().is_terminal();
    if args.format.has_timeline() && to_terminal {
        return Err(Usage(format!(
            "--format {name} is not for a terminal; give a file, for example -o report.{name}"
        )));
    }
    Ok(())
}

/// Rejects a start in the past if counting starts now.
fn check_since(times: &Times, period: &Period) -> Result<(), Usage> {
    match (times, &period.since) {
        (Times::Now, Some(Bound::At(since)))
            if since.shifted(SignedDuration::from_secs(1)) < RecordTime::now() =>
        {
            Err(Usage(format!(
                "--since {since} has passed: trace and watch count from now on; leave --since out, \
                 or count in a record of that time with 'tcptally parse'"
            )))
        }
        _ => Ok(()),
    }
}

/// The message for an invalid `--since` or `--until`.
fn period_usage(error: PeriodError) -> Usage {
    Usage(match error {
        PeriodError::Time(End::Since, e) => format!("--since: {:#}", anyhow::Error::new(e)),
        PeriodError::Time(End::Until, e) => format!("--until: {:#}", anyhow::Error::new(e)),
        PeriodError::NotBefore { since, until } => {
            format!("--since {since} is not before --until {until}: nothing would be counted")
        }
        PeriodError::Empty => "--since and --until are the same: nothing would be counted".into(),
        PeriodError::Passed(until) => {
            format!("--until {until} has passed: nothing would be counted")
        }
    })
}

/// A standard stream that a report goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    fn colors(self) -> bool {
        let choice = match self {
            Stream::Stdout => anstream::AutoStream::choice(&std::io::stdout()),
            Stream::Stderr => anstream::AutoStream::choice(&std::io::stderr()),
        };
        choice != anstream::ColorChoice::Never
    }

    /// Whether it is a terminal.
    pub(super) fn is_terminal(self) -> bool {
        match self {
            Stream::Stdout => std::io::stdout().is_terminal(),
            Stream::Stderr => std::io::stderr().is_terminal(),
        }
    }

    /// How to get the columns and lines of the terminal, if it is one.
    fn terminal(self) -> Option<WindowSize> {
        let size: WindowSize = match self {
            Stream::Stdout => || columns_and_lines(std::io::stdout()),
            Stream::Stderr => || columns_and_lines(std::io::stderr()),
        };
        self.is_terminal().then_some(size)
    }

    /// What puts the cursor of a terminal at the beginning of a line: it may be behind the echo of Ctrl-C, or, on
    /// stderr, behind a line that the started command has not ended.
    pub(super) fn line_start(self) -> String {
        match self {
            _ if !self.is_terminal() => String::new(),
            Stream::Stdout => "\r".into(),
            Stream::Stderr => {
                // From the beginning of a line these blanks end within it, from elsewhere in the next one.
                let columns =
                    columns_and_lines(std::io::stderr()).map_or(80, |(columns, _)| columns);
                format!("{}\r", " ".repeat(columns.saturating_sub(1)))
            }
        }
    }
}

fn columns_and_lines(stream: impl std::os::fd::AsFd) -> Option<(usize, usize)> {
    let (columns, lines) = terminal_size::terminal_size_of(stream)?;
    let size = (usize::from(columns.0), usize::from(lines.0));
    // Serial lines and some terminals do not know theirs.
    (size.0 > 0 && size.1 > 0).then_some(size)
}

/// Whether the locale's characters are UTF-8: locale(7).
fn is_utf8() -> bool {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// The name of this machine.
fn machine() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| "localhost".into())
}
