//! Reports of tcptally with one row per line: `--format jsonl` and `--format csv`.
//!
//! In jsonl, the line of kind `report` comes after its rows. In csv there is none, so that neither
//! the host nor what the report lacks is known.

use std::io::Read;

use serde::Deserialize;

use super::tally::{Report, Reports, Row, refuse_without_intervals, warn_of_keys, warn_of_others};
use crate::ShortfallKind;
use crate::parse::input::Input;
use crate::parse::lines;
use crate::parse::reader::Context;

/// Columns that csv always has.
const HEADINGS: [&str; 4] = ["kind", "count", "first", "last"];

/// Columns of csv that are no keys.
const NO_KEYS: [&str; 9] =
    ["kind", "start", "end", "partial", "count", "first", "last", "bytes_in", "bytes_out"];

/// Whether this is one of the two.
pub(super) fn recognise(head: &[u8]) -> bool {
    is_csv(head) || is_jsonl(head)
}

fn is_csv(head: &[u8]) -> bool {
    let line = head.split(|b| *b == b'\n').next().unwrap_or_default().trim_ascii_end();
    let has = |name: &str| line.split(|b| *b == b',').any(|heading| heading == name.as_bytes());
    HEADINGS.into_iter().all(has)
}

fn is_jsonl(head: &[u8]) -> bool {
    let line = head.split(|b| *b == b'\n').next().unwrap_or_default();
    let Some(at) = memchr::memmem::find(line, b"\"kind\"") else { return false };
    let value = line[at + 6..].trim_ascii_start();
    let value = value.strip_prefix(b":").unwrap_or_default().trim_ascii_start();
    let kinds = [&b"\"row\""[..], b"\"others\"", b"\"report\""];
    line.starts_with(b"{") && kinds.into_iter().any(|kind| value.starts_with(kind))
}

/// Reads an input to its end.
pub(super) fn read(input: &mut Input, reports: &mut Reports, cx: &mut Context<'_>) {
    let mut unreadable = 0;
    let end = if is_csv(input.head()) {
        csv(input, &reports.name, cx, &mut unreadable)
    } else {
        jsonl(input, reports, cx, &mut unreadable)
    };
    cx.status.record_unreadable_lines(input.name(), unreadable);
    if let Err(e) = end {
        cx.record_read_error(input, e);
    }
}

#[derive(Deserialize)]
struct Kind<'a> {
    kind: &'a str,
}

fn jsonl(
    input: &mut Input,
    reports: &mut Reports,
    cx: &mut Context<'_>,
    unreadable: &mut u64,
) -> std::io::Result<()> {
    let mut rows: Vec<Row> = Vec::new();
    let end = lines::blocks(input, |block, _| {
        lines::each(block, |line, _| {
            if line.trim_ascii().is_empty() {
                return;
            }
            let kind = serde_json::from_slice::<Kind<'_>>(line).map(|line| line.kind);
            let read = match kind {
                Ok("report") => serde_json::from_slice(line).map(|mut report: Report| {
                    add(&mut report, std::mem::take(&mut rows), reports);
                    reports.add(report, cx);
                }),
                Ok(_) => {
                    serde_json::from_slice::<Row>(line).map(|row| rows.push(row.in_interval()))
                }
                Err(e) => Err(e),
            };
            *unreadable += u64::from(read.is_err());
        });
    });
    if !rows.is_empty() {
        reports.finish(cx);
        let name = &reports.name;
        let text = format!("{name} ends without a line of kind report: it was cut off");
        cx.status.record_shortfall(ShortfallKind::UnreadInput, 1, text);
        rows.iter().for_each(|row| row.give(None, cx));
    }
    end
}

/// Gives a report its rows. Rows of intervals are written once, all others in each report of a run.
fn add(report: &mut Report, mut rows: Vec<Row>, reports: &mut Reports) {
    let before = reports.continued_by(report);
    if let Some(before) = before.and_then(|before| before.rows) {
        let of_interval = |row: &Row| row.start.is_some() && row.end.is_some();
        rows.splice(0..0, before.into_iter().filter(of_interval));
    }
    report.rows = Some(rows);
}

fn is_headings(record: &::csv::StringRecord) -> bool {
    HEADINGS.into_iter().all(|name| record.iter().any(|field| field == name))
}

fn csv(
    input: &mut impl Read,
    name: &str,
    cx: &mut Context<'_>,
    unreadable: &mut u64,
) -> std::io::Result<()> {
    let mut reader =
        ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(input);
    let mut headings = ::csv::StringRecord::new();
    let mut others = false;
    for record in reader.records() {
        let record = match record.map_err(::csv::Error::into_kind) {
            Ok(record) => record,
            Err(::csv::ErrorKind::Io(e)) => return Err(e),
            Err(_) => {
                *unreadable += 1;
                continue;
            }
        };
        // Also where files were joined.
        if is_headings(&record) {
            let keys = record.iter().filter(|name| {
                !NO_KEYS.contains(name) && !name.ends_with("_mean") && !name.ends_with("_max")
            });
            warn_of_keys(keys, name, cx);
            headings = record;
            continue;
        }
        match record.deserialize::<Row>(Some(&headings)) {
            Ok(row) => {
                others |= row.is_others();
                let row = row.of_cells().in_interval();
                if cx.options.interval.as_ref().is_some_and(|i| !row.is_within(i)) {
                    refuse_without_intervals(name, cx);
                    break;
                }
                row.give(None, cx);
            }
            Err(_) => *unreadable += 1,
        }
    }
    if others {
        warn_of_others(name, cx);
    }
    Ok(())
}
