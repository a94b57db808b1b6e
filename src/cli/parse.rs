//! `tcptally parse`: counts connections in records.

use std::fs::{File, Metadata};
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::RecordTime;
use crate::cli::args::ParseArgs;
use crate::parse::{self, Options, Setting, SettingNames};
use crate::time::local_zone;
use crate::time::spec::TimeSpec;
use anyhow::Context;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::events::Events;
use super::expected_hosts::{ExpectedHosts, expect};
use super::follow::follow;
use super::intervals::{cover, intervals};
use super::notes::{INCOMPLETE, Parsed, print_notes, report, say_notes};
use super::output::{Mode, Output};
use super::request::{Request, Stream, Times, Usage};
use super::resolve::name_clients;
use super::{message, piped};

/// Counts in records and returns the exit status.
pub(super) fn run(args: ParseArgs) -> anyhow::Result<i32> {
    let zone = args.tz.as_deref().map(zone).transpose()?.unwrap_or_else(local_zone);
    let mut request =
        Request::new(&args.count, &Times::Record(zone.clone()))?.with_networks(&args.count)?;
    let start = args.start.as_ref().map(|spec| start(spec, &zone)).transpose()?;
    let expected = args.expect_hosts.as_deref().map(ExpectedHosts::read).transpose()?;
    let options = Options {
        format: args.kind,
        start,
        date: args.date,
        tz: Some(zone.clone()),
        local: args.local_ip,
        established: args.established,
        outer: args.outer,
        host_from: args.host_from,
        interval: request
            .count
            .tally
            .interval
            .clone()
            .filter(|_| request.count.tally.has_intervals()),
        port: request.count.filter.ports.single(),
        requested: request.requested(),
        // Events on a terminal show the progress themselves, and so does a screen.
        progress: !args.count.quiet && !args.count.events && !args.count.live,
        counted: Some(request.count.progress.insert(Arc::default()).clone()),
        names: SettingNames(option_name),
        ..Options::default()
    };
    if let Some(output) = &args.count.output {
        keep_inputs(&args.files, output)?;
    }
    let output = Output::open(args.count.output.as_deref(), Stream::Stdout, Mode::of(&args.count))?;
    if args.files.is_empty() && std::io::stdin().is_terminal() {
        message::notice(args.count.quiet, "reading a record from the terminal; Ctrl-D ends it");
    }
    let strict = args.count.strict;
    let followed = request.live.then(|| follow(&args.files)).transpose()?;
    let parsed = if followed.is_some() || piped::any_pipe(&args.files) {
        piped::run(args.files, options, request, output, expected, followed)?
    } else {
        whole(&args.files, &options, request, output, expected.as_ref())?
    };
    for failure in &parsed.failures {
        message::error(failure);
    }
    if strict && !parsed.complete {
        return Ok(INCOMPLETE);
    }
    Ok(i32::from(!parsed.failures.is_empty()))
}

/// Refuses an output that would overwrite one of the records; `-`, or no file at all, is stdin.
fn keep_inputs(files: &[PathBuf], output: &Path) -> anyhow::Result<()> {
    let Ok(written) = output.metadata() else { return Ok(()) };
    let is_written = |read: &Metadata| {
        read.is_file() && (read.dev(), read.ino()) == (written.dev(), written.ino())
    };
    let stdin = files.is_empty() || files.iter().any(|file| file == Path::new("-"));
    let stdin = if stdin { std::io::stdin().as_fd().try_clone_to_owned().ok() } else { None };
    let inputs = files.iter().filter_map(|file| file.metadata().ok());
    let inputs = inputs.chain(stdin.and_then(|stdin| File::from(stdin).metadata().ok()));
    for input in inputs {
        anyhow::ensure!(
            !is_written(&input),
            "the output {} is also an input and would be overwritten; give another file to -o",
            output.display()
        );
    }
    Ok(())
}

/// The option that sets `setting`.
fn option_name(setting: Setting) -> &'static str {
    match setting {
        Setting::Format => "--type",
        Setting::Date => "--date",
        Setting::Local => "--local-ip",
        Setting::Port => "--port",
        Setting::Established => "--established",
        Setting::Outer => "--outer",
        Setting::HostFrom => "--host-from",
        Setting::Interval => "--interval",
    }
}

/// Counts in records that are complete.
fn whole(
    files: &[PathBuf],
    options: &Options,
    mut request: Request,
    mut output: Output,
    expected: Option<&ExpectedHosts>,
) -> anyhow::Result<Parsed> {
    let quiet = request.quiet;
    let mut format = request.format(output.stream(), !output.continues());
    if request.events {
        let count = std::mem::take(&mut request.count);
        let mut events = Events::new(count, &request, output);
        let mut outcome = parse::parse(files, options, &mut events);
        events.finish()?;
        expect(expected, &mut outcome);
        let parsed = Parsed::new(&mut outcome, events.count());
        say_notes(&outcome.status, events.count(), quiet);
        return Ok(parsed);
    }
    let mut outcome = parse::parse(files, options, &mut request.count);
    expect(expected, &mut outcome);
    let parsed = Parsed::new(&mut outcome, &request.count);
    if request.resolve {
        name_clients(&mut request, &mut outcome.status);
    }
    let mut count = std::mem::take(&mut request.count);
    cover(&mut count, &[]);
    let mut report = report(&outcome.status, &count, request.order);
    let (intervals, left_out) = intervals(&count, request.order, []);
    report.notes.extend(left_out);
    let both_seen = format.tells_notes()
        && output.stream().is_some()
        && std::io::stdout().is_terminal()
        && std::io::stderr().is_terminal();
    if both_seen {
        // Failed inputs are printed as errors.
        report.notes.retain(|note| !parsed.failures.contains(note));
    }
    let written = output.write(|out| {
        if request.has_timeline() || request.kind.is_one_document() && count.tally.has_intervals() {
            report.intervals = Some(intervals);
        } else if count.tally.has_intervals() && !request.kind.is_one_document() {
            format.prepare_intervals(&report.whole);
            intervals.iter().try_for_each(|part| format.interval(part, out))?;
        }
        format.report(&report, out)
    });
    written.with_context(|| output.cannot_write())?;
    // Damage is printed to stderr even if the report contains it, unless both are seen.
    if !format.tells_notes() || !parsed.complete && !both_seen {
        print_notes(&report.notes, &outcome.status, quiet);
    }
    Ok(parsed)
}

/// When the record began, as `--start` says.
fn start(spec: &TimeSpec, zone: &TimeZone) -> Result<RecordTime, Usage> {
    match spec.timestamp(zone, Timestamp::now()) {
        Ok(Some(t)) => Ok(t.into()),
        Ok(None) => Err(Usage("--start: give the date too, for example '2026-11-22 11:30'".into())),
        Err(e) => Err(Usage(format!("--start: {:#}", anyhow::Error::new(e)))),
    }
}

fn zone(name: &str) -> Result<TimeZone, Usage> {
    TimeZone::get(name).or_else(|e| TimeZone::posix(name).map_err(|_| e)).map_err(|_| {
        Usage(format!(
            "--tz: there is no time zone '{name}'; give one such as Europe/Berlin or UTC"
        ))
    })
}
