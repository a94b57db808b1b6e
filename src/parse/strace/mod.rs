//! strace logs, from strace 4.5 to 7.2.
//!
//! [`block`] has the facts of lines, each by itself; [`log`] joins them in their order. So the
//! blocks of a file can be read by several threads, and the result is the same as if one had.

mod accepted;
mod argument;
pub(crate) mod block;
pub(crate) mod block_reader;
pub(crate) mod call;
pub(crate) mod compact;
mod descriptors;
mod fast_calls;
mod fast_path;
pub(crate) mod fd_annotation;
mod fields;
mod file;
mod first_day;
mod ipv6;
mod line;
pub(crate) mod log;
mod next_hit;
mod number_map;
mod open_calls;
mod pending;
pub(crate) mod prefix;
mod prefixed;
pub(crate) mod recent;
mod rescue;
mod result;
mod sign;
pub(crate) mod sockaddr;
mod socket_kind;
mod syscalls;
pub(crate) mod tables;
mod uring;
mod window;
mod wrapped;

use std::path::Path;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use self::log::Log;
use super::input::Input;
use super::reader::{Context, RecordFormat};
use super::timestamp::{Dates, first_date};
use crate::ShortfallKind;
use crate::model::plural;

/// strace logs.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "strace",
    about: "output of strace, any version",
    connection: "an accept call that returned a TCP socket",
    is_text: true,
    is_json: false,
    is_snapshot: false,
    recognise: sign::of_strace,
    run,
    read,
};

/// `-ff` makes `NAME.PID` of every thread; log rotation may have compressed them.
fn split(path: &Path) -> Option<(&str, u32)> {
    let path = path.to_str()?;
    let plain = [".gz", ".zst"].iter().find_map(|end| path.strip_suffix(end)).unwrap_or(path);
    let (name, pid) = plain.rsplit_once('.')?;
    Some((name, pid.parse().ok().filter(|pid| *pid > 0)?))
}

fn run(path: &Path) -> Option<String> {
    split(path).map(|(name, _)| name.to_owned())
}

/// The thread that an input is of, if it is a file of a `-ff` run.
fn pid(input: &Input) -> Option<u32> {
    input.path().and_then(split).map(|(_, pid)| pid)
}

/// Begins an input whose connections will count.
fn begin(log: &mut Log, input: &Input, dates: Dates) {
    log.begin(pid(input), dates);
    log.unreadable += u64::from(rescue::begins_within_call(input.head()));
}

/// Reads a log, or the files of a `-ff` run.
fn read(mut inputs: Vec<Input>, cx: &mut Context<'_>) {
    let zone = cx.zone();
    let firsts = match &mut inputs[..] {
        [input] if is_read_at_once(input, cx) => match read_at_once(input, &zone, cx) {
            Some(first) => vec![Some(first)],
            None => return,
        },
        _ => first_day::first_days(&mut inputs, &zone, cx),
    };
    let dates =
        |n: usize| Dates::new(zone.clone(), cx.options.start, firsts.get(n).copied().flatten());

    let mut log = Log::new(cx.options.requested, dates(0));
    if inputs.len() > 1 {
        // What one process bound, others accept on: learn it before it is needed.
        log.read_first();
        for (n, input) in inputs.iter().enumerate() {
            if let Some(mut again) = input.again() {
                log.begin(pid(input), dates(n).until(input.modified()));
                // What is wrong with the file will be said when it counts.
                let _ = file::read(&mut again, &mut log, cx.options, &mut Vec::new(), cx.threads());
            }
        }
        log.read_second();
    }
    let threads = cx.threads();
    for (n, input) in inputs.iter_mut().enumerate() {
        let dates = Dates::new(zone.clone(), cx.options.start, firsts.get(n).copied().flatten());
        begin(&mut log, input, dates.until(input.modified()));
        let end = file::read(input, &mut log, cx.options, cx.sink, threads);
        log.end(|connection| cx.sink.take(connection));
        if let Err(e) = end {
            cx.record_read_error(input, e);
        }
    }
    say(&inputs, &mut log, cx);
}

/// Whether to read an input with a guess of its first date. The date follows from the last line and all midnights before
/// it: to know it first, a compressed file would have to be decompressed twice, and of a large one, thousands of places
/// be looked at.
fn is_read_at_once(input: &Input, cx: &Context<'_>) -> bool {
    let is_long = input.is_compressed() || first_day::is_large(input);
    let is_file = is_long && input.modified().is_some();
    is_file && cx.options.date.is_none() && cx.sink.used_fields().can_coalesce()
}

/// Reads an input with a guess of its first date. If that was wrong, nothing is counted, and the date of its first line
/// is returned.
fn read_at_once(input: &mut Input, zone: &TimeZone, cx: &mut Context<'_>) -> Option<Date> {
    let guess = first_day::guess(input, zone);
    let modified = input.modified();
    let dates = Dates::new(zone.clone(), cx.options.start, guess).until(modified);
    let mut log = Log::new(cx.options.requested, dates.clone());
    begin(&mut log, input, dates);
    let mut part = cx.sink.part();
    let end = file::read(input, &mut log, cx.options, &mut *part, cx.threads());
    log.end(|connection| part.take(connection));
    let first = log.clock_span().clock().map(|_| first_date(modified, zone, log.clock_span()));
    if first != guess
        && let Some(again) = input.again()
    {
        *input = again;
        return first;
    }
    cx.sink.merge(part);
    if let Err(e) = end {
        cx.record_read_error(input, e);
    }
    say(std::slice::from_ref(input), &mut log, cx);
    None
}

/// Reports what the log does not show.
fn say(inputs: &[Input], log: &mut Log, cx: &mut Context<'_>) {
    let name = super::common_name(inputs.iter());
    cx.status.record_unreadable_lines(&name, log.unreadable);
    log.gaps.report(&name, cx.status);
    cx.status.warn_of_local_ports(&name, log.calls.unknown_ports, "; strace -yy shows it");
    if log.calls.unknown_peers > 0 {
        let doubt = match log.calls.unknown_kinds {
            0 => "",
            _ => {
                " nor, without the calls of socket() and bind() of each listener, whether all of them are TCP and not \
                 Unix sockets"
            }
        };
        cx.status.warn(format!(
            "{name}: the log does not show the client's address of {}{doubt}; strace -yy shows it",
            plural(log.calls.unknown_peers, "connection", "connections")
        ));
    }
    cx.status.record_shortfall(
        ShortfallKind::Unobservable,
        log.uring.into(),
        format!(
            "{name}: the program uses io_uring; connections that it accepts that way are not in \
             the log"
        ),
    );
    let lost = log.lost();
    cx.status.record_shortfall(
        ShortfallKind::Unobservable,
        lost,
        format!(
            "{name}: the results of {} are not in the log, although their threads went on: if it was filtered, \
             search for 'accept' without the parenthesis, which keeps lines with '<... accept resumed>'",
            plural(lost, "accept call", "accept calls")
        ),
    );
    let mut nothing = !log.seen.connections && log.unreadable == 0;
    for input in inputs.iter().filter(|i| sign::only_summary(i.head())) {
        nothing = false;
        let name = input.name();
        let text =
            format!("{name}: this is a summary (strace -c), which has no single connections");
        cx.status.record_shortfall(ShortfallKind::UnreadInput, 1, text);
    }
    let reason = format!("{name}: {}", log.seen.reason());
    if nothing
        && log.seen.all_failed()
        && inputs.iter().all(|i| rescue::has_only_failures(i.head()))
    {
        let text = format!(
            "{reason}, and so did every other call, as in a log of strace -Z: nothing shows that calls which \
                            succeed were recorded"
        );
        cx.status.record_shortfall(ShortfallKind::Unobservable, 1, text);
    } else if nothing && log.seen.has_accept() {
        cx.status.warn(reason);
    } else if nothing {
        cx.status.record_shortfall(ShortfallKind::Unobservable, 1, reason);
    }
}
