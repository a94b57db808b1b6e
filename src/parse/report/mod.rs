//! Reports of tcptally, so that the tallies of many machines can be merged: JSON documents here, lines of
//! JSON and comma-separated values in `rows`.

mod rows;
mod tally;

use std::path::Path;

pub(in crate::parse) use self::tally::Reports;
use self::tally::{FORMAT_NAME, Report, Row};
use super::error::{InputError, ReportError};
use super::input::Input;
use super::reader::{Context, RecordFormat};

/// What `--format json`, jsonl and csv write; one after another in a file, too.
pub(super) const FORMAT: RecordFormat = RecordFormat {
    name: FORMAT_NAME,
    about: "a report of tcptally in json, jsonl or csv",
    connection: "a counted connection",
    is_text: false,
    is_json: true,
    is_snapshot: false,
    recognise: |head| recognise(head) || rows::recognise(head),
    run: |_: &Path| Some(String::new()),
    read,
};

/// Fields may be in any order with any white space, because jq may have rewritten the report. A first line
/// that is a complete object of another kind is not a report.
fn recognise(head: &[u8]) -> bool {
    let has = |text: &[u8], field: &[u8]| memchr::memmem::find(text, field).is_some();
    let head = head.trim_ascii_start();
    let line = head.split(|b| *b == b'\n').next().unwrap_or_default().trim_ascii_end();
    let other = line.ends_with(b"}") && !has(line, b"\"schema\"");
    head.starts_with(b"{") && !other && has(head, b"\"schema\"") && has(head, b"\"source\"")
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let mut reports = Reports::default();
    for mut input in inputs {
        reports.begin(&input, cx);
        if rows::recognise(input.head()) {
            rows::read(&mut input, &mut reports, cx);
        } else {
            documents(&mut input, &mut reports, cx);
        }
        reports.end(cx);
    }
}

/// Adds the report with this head, as in the last line of jsonl, and these rows.
pub(super) fn add_rows(
    head: &str,
    rows: Vec<serde_json::Value>,
    reports: &mut Reports,
    cx: &mut Context<'_>,
) -> serde_json::Result<()> {
    let mut report: Report = serde_json::from_slice(head.as_bytes())?;
    let rows: serde_json::Result<Vec<Row>> =
        rows.into_iter().map(|row| serde_json::from_value(row).map(Row::in_interval)).collect();
    report.rows = Some(rows?);
    reports.add(report, cx);
    Ok(())
}

fn documents(input: &mut Input, reports: &mut Reports, cx: &mut Context<'_>) {
    let reader = std::io::BufReader::with_capacity(1 << 16, input);
    for report in serde_json::Deserializer::from_reader(reader).into_iter::<Report>() {
        match report {
            Ok(report) if report.rows.is_some() => reports.add(report, cx),
            Ok(_) => {
                let name = reports.name.clone();
                cx.failures.push(ReportError::NoRows { name }.into());
                break;
            }
            Err(e) => {
                cx.failures.push(InputError::damaged(&reports.name, "report", e));
                break;
            }
        }
    }
}
