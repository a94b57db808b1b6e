//! Reads the runs: large ones one after another, each in several threads, and small ones several at a
//! time, each in one thread.

use std::sync::{Arc, Mutex, PoisonError};

use super::error::InputError;
use super::input::{Input, UnwrapStatus, common_name};
use super::reader::{Context, Options, Setting};
use super::sorting::Run;
use super::{mixed, parallel};
use crate::{InputResult, ShortfallKind, Sink, SourceStatus};

/// A run of more bytes is large: it has enough parts for several threads.
const SMALL_RUN_BYTES: u64 = 2 * 1024 * 1024;

/// The result of reading a run, besides the connections.
pub(super) struct RunOutcome {
    /// What it could not show.
    pub status: SourceStatus,
    /// Why inputs could not be read to their end.
    pub failures: Vec<InputError>,
    /// The explanation of a total of 0.
    pub read_as: String,
}

/// Reads all runs, and returns what each gave, in their order.
pub(super) fn read_all(runs: Vec<Run>, options: &Options, sink: &mut dyn Sink) -> Vec<RunOutcome> {
    let mut outcomes = Vec::new();
    let mut small = Vec::new();
    let is_ordered = sink.is_ordered();
    for run in runs {
        if is_small(&run, is_ordered) {
            small.push(run);
        } else {
            read_small(std::mem::take(&mut small), options, sink, &mut outcomes);
            outcomes.push(read(run, options, sink));
        }
    }
    read_small(small, options, sink, &mut outcomes);
    outcomes
}

/// Whether a run is read in one thread, beside others. Only of a file it is known that it does not wait
/// for its writer. A sink that needs the order keeps all that a run gives in memory, and the size
/// of what is compressed is not known.
fn is_small(run: &Run, is_ordered: bool) -> bool {
    let bytes =
        |input: &Input| input.file_bytes().filter(|_| !is_ordered || !input.is_compressed());
    let all = run.inputs.iter().map(bytes).try_fold(0_u64, |sum, n| Some(sum.saturating_add(n?)));
    all.is_some_and(|all| all <= SMALL_RUN_BYTES)
}

/// Reads small runs, several at a time.
fn read_small(
    runs: Vec<Run>,
    options: &Options,
    sink: &mut dyn Sink,
    outcomes: &mut Vec<RunOutcome>,
) {
    let threads = options.threads().min(runs.len());
    if threads < 2 {
        outcomes.extend(runs.into_iter().map(|run| read(run, options, sink)));
        return;
    }
    let options = Options { threads: Some(1), ..options.clone() };
    let runs: Vec<_> = runs.into_iter().map(|run| Mutex::new((Some(run), None))).collect();
    parallel::run(
        threads,
        sink,
        parallel::Steps {
            read: |part, at: &mut usize| {
                *at = usize::try_from(part).unwrap_or(usize::MAX);
                *at < runs.len()
            },
            in_order: |_: &mut usize| true,
            give: |at: &mut usize, (): &mut (), sink: &mut dyn Sink| {
                let Some(place) = runs.get(*at) else { return };
                // Each place is used by one thread only.
                let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(run) = place.0.take() {
                    place.1 = Some(read(run, &options, sink));
                }
            },
            join: |(): &mut (), (): (), _: &mut dyn Sink| (),
            end: |(): &mut (), _: &mut dyn Sink| (),
        },
    );
    let done =
        runs.into_iter().map(|place| place.into_inner().unwrap_or_else(PoisonError::into_inner));
    outcomes.extend(done.filter_map(|(_, outcome)| outcome));
}

/// Reads one run.
fn read(run: Run, options: &Options, sink: &mut dyn Sink) -> RunOutcome {
    let Run { format, mut inputs, host, is_unlike, .. } = run;
    let name = common_name(inputs.iter());
    let read_as = format!(
        "{name}: read as {}, and nothing in it is {}{}",
        format.name,
        format.connection,
        match options.local.is_empty() {
            true => String::new(),
            false => format!(" to an address given with {}", options.name(Setting::Local)),
        }
    );
    let mut status = SourceStatus::new("parse");
    let mut failures = Vec::new();
    let unwrapped: Vec<_> = inputs.iter().map(Input::unwrap_status).collect();
    let count = inputs.len();
    let samples: Vec<_> = inputs.iter_mut().map(|input| input.sample(count)).collect();
    sink.set_machine(host.clone());
    sink.take_summary();
    let mut context = Context {
        options,
        sink,
        status: &mut status,
        failures: &mut failures,
        is_own_line: None,
        is_known_line: None,
    };
    (format.read)(inputs, &mut context);
    let is_own_line = context.is_own_line;
    let is_known_line = context.is_known_line;
    sink.set_machine(None);
    let is_own = |line: &[u8]| {
        is_own_line.as_ref().is_some_and(|is_own| is_own(line)) || (format.recognise)(line)
    };
    let summary = sink.take_summary();
    let found = summary.total;
    let is_known = |line: &[u8]| is_known_line.as_ref().is_some_and(|is_known| is_known(line));
    let tests = mixed::LineTests { is_own, is_known };
    mixed::report_other_formats(&name, format, &tests, samples, found, options, &mut status);
    report_unwrapped(&name, &unwrapped, &mut status);
    if status.inputs.is_empty() {
        status.inputs.push(InputResult {
            name,
            files: count as u64,
            host: host.as_deref().map(Into::into),
            hosts: Vec::new(),
            format: Some(format.name.into()),
            complete: status.is_complete() && failures.is_empty() && !is_unlike,
            total: summary.total,
            started: summary.first,
            ended: summary.last,
        });
    }
    RunOutcome { status, failures, read_as }
}

/// Reports what of the JSON objects around the lines of a run may hide connections.
fn report_unwrapped(name: &str, inputs: &[Arc<UnwrapStatus>], status: &mut SourceStatus) {
    let broken = inputs.iter().map(|input| input.broken()).sum();
    status.record_shortfall(
        ShortfallKind::UnreadableLines,
        broken,
        format!("{name}: {broken} objects or lines around the log (JSON, logfmt) could not be read and may hold such lines"),
    );
    for members in inputs.iter().map(|input| input.members()).filter(|m| m.len() > 1) {
        let text = format!(
            "{name}: its lines come from different loggers (members {}), and a connection that \
             two of them have counts once; give each logger's lines in a file of their own",
            members.join(", ")
        );
        status.record_shortfall(ShortfallKind::UnreadInput, 1, text);
    }
}
