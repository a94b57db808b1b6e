//! The notes of a report: what is missing from the counts, and how to interpret them.

use std::collections::HashSet;
use std::path::Path;

use crate::count::counter::Count;
use crate::count::key::Key;
use crate::count::order::Order;
use crate::count::tcp_stats::Columns;
use crate::count::value::Value;
use crate::count::{Networks, Tally};
use crate::format::{Clock, Report, ReportSection};
use crate::model::plural;
use crate::parse::Outcome;
use crate::time::{Bound, Period};
use crate::{RecordTime, ShortfallKind, SourceStatus};

use super::message;

/// The report on everything that was counted.
pub(super) fn report<'a>(status: &'a SourceStatus, count: &'a Count, order: Order) -> Report<'a> {
    let table = Some(&count.tally.whole);
    Report {
        status,
        sums: count.sums,
        whole: ReportSection {
            start: None,
            end: None,
            is_partial: false,
            keys: &count.tally.keys,
            table,
            order,
        },
        intervals: None,
        metrics: None,
        notes: notes(status, count),
    }
}

/// Exit status if `--strict` is given and the report is not complete.
pub(super) const INCOMPLETE: i32 = 3;

/// Whether the counts are known to contain every selected connection.
pub(super) fn is_complete(status: &SourceStatus, count: &Count) -> bool {
    status.is_complete() && count.sums.undecided() == 0
}

/// Prints the notes to stderr, for formats that do not contain them.
pub(super) fn say_notes(status: &SourceStatus, count: &Count, quiet: bool) {
    print_notes(&notes(status, count), status, quiet);
}

/// Prints notes to stderr, except failed inputs, which are printed as errors.
pub(super) fn print_notes(notes: &[String], status: &SourceStatus, quiet: bool) {
    let all = status.shortfalls().iter();
    let failed = all.filter(|s| s.kind == ShortfallKind::FailedInput);
    let failed: HashSet<&str> = failed.map(|s| s.text.as_str()).collect();
    for note in notes.iter().filter(|note| !failed.contains(note.as_str())) {
        message::notice(quiet, note);
    }
}

/// Results that are printed after the report or decide the exit status.
pub(super) struct Parsed {
    /// Inputs that could not be read or recognised, and other failures: a message each.
    pub failures: Vec<String>,
    /// Whether the report is complete.
    pub complete: bool,
}

impl Parsed {
    /// Adds the reason for a total of 0 to the status. Called before the report is written.
    pub(super) fn new(outcome: &mut Outcome, count: &Count) -> Parsed {
        if let Some(reason) = reason_for_zero(outcome, count) {
            outcome.status.warn(reason);
        }
        let mut failures: Vec<_> = outcome.failures.iter().map(ToString::to_string).collect();
        failures.extend(failed_lookups(count));
        Parsed { failures, complete: is_complete(&outcome.status, count) }
    }
}

/// Why the total is 0, if it is.
fn reason_for_zero(outcome: &Outcome, count: &Count) -> Option<String> {
    let sums = &count.sums;
    if sums.total > 0 || sums.undecided() > 0 || !outcome.failures.is_empty() {
        return None;
    }
    if sums.filtered > 0 {
        // With a period, another note says when the connections were made.
        return count.seen.is_none().then(|| {
            format!(
                "none of the {} in the records matches the options",
                plural(sums.filtered, "connection", "connections")
            )
        });
    }
    let (first, more) = outcome.read_as.split_first()?;
    Some(match more.len() {
        0 => first.clone(),
        1 => format!("{first}; another record has none either"),
        n => format!("{first}; {n} other records have none either"),
    })
}

const DIVIDED: &str = "left out because the report has only their sum over a time that --since \
                       or --until divides; give the records themselves, or reports made with --interval";

/// The notes of a report, a sentence each: what the source could not see, what the filter could not
/// decide, and how the period was understood.
fn notes(status: &SourceStatus, count: &Count) -> Vec<String> {
    let sums = &count.sums;
    let period = &count.filter.period;
    let (one, many) = ("connection was", "connections were");
    let mut notes = Vec::new();
    if status.lost > 0 {
        let lost =
            plural(status.lost, "connection was lost and is", "connections were lost and are");
        notes.push(format!("{lost} in no row"));
    }
    notes.extend(status.shortfalls().iter().map(|s| s.text.clone()).filter(|t| !t.is_empty()));
    let mut note = |n: u64, one: &str, many: &str, text: &str| {
        if n > 0 {
            notes.push(format!("{} {text}", plural(n, one, many)));
        }
    };
    note(sums.no_peer, one, many, "counted although the client's address is not known");
    note(
        sums.undecided_peer,
        one,
        many,
        "left out because --from and --not-from need the client's address, which is not known",
    );
    note(
        sums.unknown_port,
        one,
        many,
        "left out because --port needs the local port, which is not known",
    );
    let spans = sums.undecided_span;
    note(sums.undecided_time.saturating_sub(spans), one, many, undecided_time(count));
    note(spans, one, many, DIVIDED);
    if count.tally.interval.is_some() {
        note(
            sums.no_interval,
            one,
            many,
            "counted in no interval, because the time is not known precisely enough",
        );
    }
    notes.extend(without_time(count));
    notes.extend(without_stats(count));
    notes.extend(unknown_keys(status, count));
    if let Some(error) = count.tally.whole.error() {
        notes.push(format!(
            "there were more than {} keys (--max-keys), so counts are approximate: each may be \
             too low by up to {error}, and the difference is in 'others'",
            count.tally.whole.len()
        ));
    }
    notes.extend(failed_lookups(count));
    notes.extend(over_midnight(period));
    notes.extend(daily(count));
    notes.extend(missed(count));
    notes.extend(status.warnings.iter().cloned());
    if !status.is_complete() && notes.is_empty() {
        notes.push("connections may be missing".into());
    }
    notes
}

/// How many connections have no time, where others have one.
fn without_time(count: &Count) -> Option<String> {
    let sums = &count.sums;
    let some = (1..sums.total).contains(&sums.no_time) && count.tally.interval.is_none();
    some.then(|| {
        format!(
            "{} among the {} counted without a time: the first and the last time are those of the \
             others",
            plural(sums.no_time, "connection is", "connections are"),
            sums.total
        )
    })
}

/// How many connections lack the statistics that are shown.
fn without_stats(count: &Count) -> Vec<String> {
    let Columns { bytes, duration, rtt } = count.tally.columns;
    let stats = count.tally.whole.all_stats();
    let total = count.sums.total;
    let bounded = stats.duration.bounded;
    let columns = [
        (bytes, stats.bytes.known, "bytes", "the sums of bytes"),
        (duration, stats.duration.known + bounded, "durations", "the columns of durations"),
        (rtt, stats.rtt.known, "round-trip times", "the columns of round-trip times"),
    ];
    let note = |(_, known, what, columns): (bool, u64, &str, &str)| match known {
        0 => format!(
            "no {what} are known: only 'tcptally watch' sees them, and 'tcptally parse' in events \
             that watch wrote (--events --format jsonl)"
        ),
        _ => format!(
            "{} not in {columns}, because these values are not known",
            plural(total.saturating_sub(known), "connection is", "connections are")
        ),
    };
    let mut notes: Vec<String> = columns
        .into_iter()
        .filter(|(asked, known, ..)| *asked && *known < total)
        .map(note)
        .collect();
    if duration && bounded > 0 {
        notes.push(format!(
            "{} not in the columns of durations, because only an upper bound of their \
             duration is known; a smaller --resolution of 'tcptally watch' gives better bounds",
            plural(bounded, "connection is", "connections are")
        ));
    }
    notes.extend(without_duration_bucket(count));
    notes
}

/// How many connections are in no bucket of durations, where they are counted by that.
fn without_duration_bucket(count: &Count) -> Option<String> {
    let Tally { keys, whole, .. } = &count.tally;
    let at = keys.list().iter().position(|key| *key == Key::Duration)?;
    let rows = (0..whole.len()).map(|row| whole.row(row));
    let unknown = |code: &[u8]| keys.decode(code).nth(at) == Some(Value::Unknown);
    let n: u64 = rows.filter(|(code, _)| unknown(code)).map(|(_, entry)| entry.count).sum();
    (n > 0).then(|| {
        format!(
            "{} 'unknown' by duration: their duration is not known, or its bounds are in \
             different rows (a smaller --resolution of 'tcptally watch' gives better bounds)",
            plural(n, "connection is", "connections are")
        )
    })
}

/// The keys that no connection has a value of.
fn unknown_keys(status: &SourceStatus, count: &Count) -> Vec<String> {
    let Tally { keys, whole, .. } = &count.tally;
    let connections = plural(count.sums.total, "connection is", "connections are");
    let all_unknown = |at: usize| {
        let mut rows = (0..whole.len()).map(|row| whole.row(row).0);
        count.sums.total > 0 && rows.all(|code| keys.decode(code).nth(at) == Some(Value::Unknown))
    };
    let note = |(at, key): (usize, &Key)| {
        let what = match key {
            Key::Port | Key::Local if status.explained_local_ports() >= count.sums.total => {
                return None;
            }
            Key::Port | Key::Local => "local port",
            Key::Pid => "process number",
            Key::Comm => "process name",
            Key::Container => "container",
            Key::Rtt => "round-trip time",
            Key::Bytes => "number of bytes",
            // Other notes tell of them.
            Key::Ip | Key::Net | Key::Host | Key::Duration => return None,
            // Databases and resolvers know some addresses only.
            Key::Asn | Key::Country | Key::Name => return None,
        };
        all_unknown(at)
            .then(|| format!("no {what} is known, so {connections} 'unknown' by {}", key.name()))
    };
    keys.list().iter().enumerate().filter_map(note).collect()
}

fn undecided_time(count: &Count) -> &'static str {
    let Period { since, until, .. } = &count.filter.period;
    let since_beginning = [since, until]
        .into_iter()
        .any(|bound| matches!(bound, Some(Bound::At(RecordTime::Elapsed(_)))));
    let is_clock = |time: RecordTime| time.timestamp().is_some();
    let has_clock = count.seen.is_some_and(|(first, last)| is_clock(first) || is_clock(last));
    if since_beginning && has_clock {
        "left out because +TIME counts from the beginning of a record without clock times, and \
         this one has them; give --since and --until a date and a time"
    } else {
        "left out because --since and --until need the time, which is not known (--start says \
         when a record with relative times began)"
    }
}

/// Explains how times of day were understood, if the connections are of several days.
fn daily(count: &Count) -> Option<String> {
    let period = &count.filter.period;
    let (first, last) = count.seen?;
    let date = |t: RecordTime| Some(period.zone.to_datetime(t.timestamp()?).date());
    let (first, last) = (date(first)?, date(last)?);
    if first == last {
        return None;
    }
    let window = match (&period.since, &period.until) {
        (Some(Bound::Daily(since)), Some(Bound::Daily(until))) => {
            format!("from {since} to {until}")
        }
        (Some(Bound::Daily(since)), _) => format!("from {since} to midnight"),
        (_, Some(Bound::Daily(until))) => format!("from midnight to {until}"),
        _ => return None,
    };
    Some(format!(
        "the connections are from {first} to {last}; those {window} on each day were counted; add a \
         date to --since and --until to count one day only"
    ))
}

/// The databases of networks that are damaged.
fn failed_lookups(count: &Count) -> Vec<String> {
    let failures = count.tally.keys.networks().into_iter().flat_map(Networks::failures);
    let text = |(path, failures): (&Path, u64)| {
        let lookups = plural(failures, "lookup", "lookups");
        format!(
            "'{}': {lookups} failed, because the file is damaged; download it again",
            path.display()
        )
    };
    failures.map(text).collect()
}

/// Explains how a period over midnight was understood.
fn over_midnight(period: &Period) -> Option<String> {
    match (&period.since, &period.until) {
        (Some(Bound::Daily(since)), Some(Bound::Daily(until))) if since > until => Some(format!(
            "--since {since} is later than --until {until}, so connections from {since} to \
             midnight and from midnight to {until} were counted"
        )),
        _ => None,
    }
}

/// When the connections were made, if the period contains none.
fn missed(count: &Count) -> Option<String> {
    let sums = &count.sums;
    let (first, last) =
        count.seen.filter(|_| sums.total == 0 && sums.filtered > 0 && sums.undecided_time == 0)?;
    let span = Clock::span(&count.filter.period.zone, first, last);
    Some(format!("no connection is between --since and --until; the connections are from {span}"))
}
