//! Reads records of connections.
//!
//! [`parse()`] opens every input (`input`), detects its format (`registry`), groups inputs that
//! belong together into runs, and passes each run to the reader of its format. A new format is one
//! file or folder with a `RecordFormat` (`reader`) and one line in `registry::FORMATS`.

mod asa;
mod audit;
mod azure;
mod bcc;
mod calls;
mod coalesce;
mod columns;
mod conntrack;
mod conversions;
mod cursor;
mod cut_line;
mod decoration;
mod deduplicate;
mod detection;
mod digits;
mod error;
mod event;
mod event_filter;
mod events;
pub(crate) mod expendable;
mod falco;
mod filterlog;
mod fortigate;
mod found;
mod freebsd_truss;
mod gaps;
mod gcp;
mod gvisor;
mod haproxy;
mod host;
mod host_pattern;
mod input;
mod json_lines;
mod juniper;
mod kdump;
mod left_out;
mod line_log;
mod line_order;
mod lines;
mod losses;
mod mikrotik;
mod mixed;
mod mongodb;
mod netfilter;
mod netflow;
mod nlb;
mod other_kind;
mod paired;
mod paloalto;
mod parallel;
mod parquet;
mod pcap;
mod perf_trace;
mod port_uses;
mod progress;
mod reader;
pub(crate) mod registry;
mod report;
mod requests;
mod runs;
mod server_log;
mod services;
mod sessions;
mod sock_state;
mod socket_list;
mod sorting;
pub(crate) mod strace;
mod suricata;
mod sysdig;
mod systemtap;
mod tcpdump;
mod text;
mod timestamp;
mod truss;
mod tshark;
mod vpc_csv;
mod vpc_flow;
mod vpc_json;
mod windows_firewall;
mod zeek;

use std::path::PathBuf;
use std::sync::Arc;

pub use self::error::{ArchiveError, InputError, NfdumpError, ReportError};
pub use self::host::{Address, Host, HostError};
pub use self::host_pattern::{HostPattern, HostPatternError};
use self::input::{Input, common_name};
use self::progress::Progress;
pub use self::reader::{Options, Setting, SettingNames};
use self::sorting::{Run, Sorted};
use crate::{InputResult, ShortfallKind, Sink, SourceStatus};

/// The result of reading, besides the connections.
#[derive(Debug)]
pub struct Outcome {
    /// The status for the report.
    pub status: SourceStatus,
    /// Why inputs could not be read or recognised, or only in part.
    pub failures: Vec<InputError>,
    /// The reason for a total of 0: how each record was read, and what counts as a connection
    /// in it.
    pub read_as: Vec<String>,
}

/// Reads `files` (`-` is stdin; none: stdin) into `sink`.
///
/// Inputs that cannot be read are named in [`Outcome::failures`]; the others are read all the
/// same.
pub fn parse(files: &[PathBuf], options: &Options, sink: &mut dyn Sink) -> Outcome {
    let stdin = [PathBuf::from("-")];
    let files = if files.is_empty() { &stdin } else { files };
    input::allow(files.len());
    let progress =
        Arc::new(Progress::new(options.progress, input::size(files), options.counted.clone()));
    let mut outcome =
        Outcome { status: SourceStatus::new("parse"), failures: Vec::new(), read_as: Vec::new() };

    let sorted = sorting::sort(files, options, &progress);
    let Sorted { runs, empty, failures, failed, left_out, unlike, twice, unnamed, .. } = sorted;
    outcome.failures = failures;
    for (count, text) in left_out {
        outcome.status.record_shortfall(ShortfallKind::UnreadInput, count, text);
    }
    for text in unlike {
        outcome.status.record_shortfall(ShortfallKind::UnreadInput, 1, text);
    }
    twice.into_iter().for_each(|text| outcome.status.warn(text));
    if let Some(first) = unnamed.first() {
        outcome.status.warn(format!(
            "{} of {} inputs do not match {}, for example {first}: their host is that of this report",
            unnamed.len(),
            files.len(),
            options.name(Setting::HostFrom)
        ));
    }
    if let Some(warning) = about_empty(&empty, &runs) {
        outcome.status.warn(warning);
    }
    let mut engines: Vec<&str> = Vec::new();
    for run in &runs {
        if !engines.contains(&run.format.name) {
            engines.push(run.format.name);
        }
    }
    outcome.status.inputs = failed.into_iter().chain(empty_results(&empty, options)).collect();
    for run in runs::read_all(runs, options, sink) {
        outcome.status.add(run.status);
        outcome.failures.extend(run.failures);
        outcome.read_as.push(run.read_as);
    }
    progress.finish();
    if !engines.is_empty() {
        outcome.status.engine = Some(engines.join(", "));
    }
    for failure in &outcome.failures {
        outcome.status.record_shortfall(ShortfallKind::FailedInput, 1, failure.to_string());
    }
    outcome
}

/// The results of inputs without content.
fn empty_results(empty: &[Input], options: &Options) -> Vec<InputResult> {
    let result = |input: &Input| InputResult {
        name: input.name().into(),
        files: 1,
        host: options.host_of(input.path()).as_deref().map(Into::into),
        hosts: Vec::new(),
        format: None,
        complete: true,
        total: 0,
        started: None,
        ended: None,
    };
    empty.iter().map(result).collect()
}

/// A warning about inputs without content. An empty log beside others hides nothing.
fn about_empty(empty: &[Input], runs: &[Run]) -> Option<String> {
    let name = common_name(empty.iter());
    let is = if empty.len() == 1 { "is" } else { "are" };
    if empty.is_empty() {
        None
    } else if runs.is_empty() {
        Some(format!("{name} {is} empty"))
    } else {
        let snapshots = runs.iter().any(|run| run.format.is_snapshot);
        snapshots.then(|| {
            format!(
                "{name} {is} empty and left out: an empty table cannot be distinguished from a \
                 failed copy"
            )
        })
    }
}
