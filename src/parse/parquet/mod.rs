//! Events and reports of tcptally as parquet, also if a database wrote them.

mod table;

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::sync::Arc;

use parquet::errors::ParquetError;
use serde_json::{Map, Value};

use self::table::{Batch, Cell, Row, Table};
use super::error::InputError;
use super::events::{Event, EventSink};
use super::expendable::{self, Panicked};
use super::input::{Input, copy_to_temporary_file};
use super::reader::{Context, RecordFormat};
use super::report::{Reports, add_rows};
use crate::RecordTime;
use crate::model::connection::EVENT_FIELDS;

/// What `--format parquet` writes.
pub(super) const FORMAT: RecordFormat = RecordFormat {
    name: "parquet",
    about: "events or a report of tcptally in parquet",
    connection: "an event or a counted connection",
    is_text: false,
    is_json: false,
    is_snapshot: false,
    recognise: |head| head.starts_with(MAGIC),
    run: |_| Some(String::new()),
    read,
};

/// Begins and ends each file.
const MAGIC: &[u8] = b"PAR1";

/// The columns of events that are read besides [`EVENT_FIELDS`]: addresses as bytes.
const ADDRESS_COLUMNS: [&str; 2] = ["local_ip16", "peer_ip16"];

/// The columns of rows that are read.
const ROW_COLUMNS: [&str; 16] = [
    "kind",
    "start",
    "end",
    "count",
    "first",
    "last",
    "first_elapsed",
    "last_elapsed",
    "ip",
    "port",
    "local",
    "pid",
    "comm",
    "host",
    "bytes_in",
    "bytes_out",
];

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let mut events = EventSink::default();
    let mut reports = Reports::default();
    for mut input in inputs {
        let table = match file(&mut input).map_err(ParquetError::from).and_then(open) {
            Ok(table) => table,
            Err(e) => {
                cx.failures.push(InputError::damaged(input.name(), "parquet file", e));
                let host = cx.options.host_of(input.path());
                let before = cx.shortfalls() - 1;
                cx.record_input(input.name(), FORMAT.name, host.as_deref(), before);
                continue;
            }
        };
        if table.has("count") && table.has("kind") {
            reports.begin(&input, cx);
            let end = read_report(&table, &mut reports, cx);
            fail(&input, end, cx);
            reports.end(cx);
        } else if table.has("local_port") && (table.has("peer_ip") || table.has("peer_ip16")) {
            events.begin(cx);
            let columns = [&EVENT_FIELDS[..], &ADDRESS_COLUMNS].concat();
            let end = rows(&table, columns, |row| events.take(event(row), cx));
            fail(&input, end, cx);
            events.end(&input, FORMAT.name, cx);
        } else {
            cx.failures.push(InputError::Columns { name: input.name().into() });
        }
    }
    events.warn(cx);
}

/// Reads the footer.
fn open(file: File) -> Result<Arc<Table>, ParquetError> {
    let file = Arc::new(file);
    let work = move |_: &mut dyn FnMut(())| Table::open(file).map(Arc::new);
    expendable::run(work, |()| ()).unwrap_or_else(damaged)
}

/// Gives each row, with the columns of these names. Those that are missing are null.
fn rows(
    table: &Arc<Table>,
    columns: Vec<&'static str>,
    mut take: impl FnMut(&Row<'_>),
) -> Result<(), ParquetError> {
    let table = table.clone();
    let work = move |give: &mut dyn FnMut(Batch)| table.read(&columns, give);
    let take = |batch: Batch| batch.rows().for_each(|row| take(&row));
    expendable::run(work, take).unwrap_or_else(damaged)
}

/// The library panics at some damaged files.
fn damaged<T>(_: Panicked) -> Result<T, ParquetError> {
    Err(ParquetError::General("it is damaged".into()))
}

fn fail(input: &Input, end: Result<(), ParquetError>, cx: &mut Context<'_>) {
    if let Err(e) = end {
        cx.failures.push(InputError::interrupted(input.name(), e));
    }
}

/// The input as a file: the footer is at its end.
fn file(input: &mut Input) -> io::Result<File> {
    if let Some(path) = input.file_path() {
        return File::open(path);
    }
    let mut copy = tempfile::tempfile()?;
    copy_to_temporary_file(input, &mut copy)?;
    copy.seek(SeekFrom::Start(0))?;
    Ok(copy)
}

fn int<T: TryFrom<i64>>(cell: &Cell) -> Option<T> {
    match cell {
        Cell::Int(n) => T::try_from(*n).ok(),
        Cell::Double(n) => T::try_from(*n as i64).ok(),
        _ => None,
    }
}

fn double(cell: &Cell) -> Option<f64> {
    match cell {
        Cell::Double(n) => Some(*n),
        Cell::Int(n) => Some(*n as f64),
        _ => None,
    }
}

fn text(cell: &Cell) -> Option<Box<str>> {
    match cell {
        Cell::Bytes(bytes) => Some(String::from_utf8_lossy(bytes.data()).into()),
        _ => None,
    }
}

/// A time: as such, or as the text of the other formats.
fn time(cell: &Cell) -> Option<RecordTime> {
    match cell {
        Cell::Time(ns) => Some(RecordTime::Clock(*ns)),
        Cell::Bytes(bytes) => std::str::from_utf8(bytes.data()).ok()?.parse().ok(),
        _ => None,
    }
}

/// An address: as text, or else as 16 bytes.
fn address(cell: &Cell, bytes: &Cell) -> Option<Box<str>> {
    text(cell).or_else(|| {
        let Cell::Bytes(bytes) = bytes else { return None };
        let bytes: [u8; 16] = bytes.data().try_into().ok()?;
        Some(std::net::Ipv6Addr::from(bytes).to_canonical().to_string().into())
    })
}

fn event(row: &Row<'_>) -> Event {
    let cell = |n| row.cell(n);
    Event {
        time: time(cell(0)),
        elapsed: double(cell(1)),
        time_uncertainty: double(cell(2)),
        host: text(cell(3)),
        pid: int(cell(4)),
        tid: int(cell(5)),
        comm: text(cell(6)),
        fd: int(cell(7)),
        local_ip: address(cell(8), cell(17)).and_then(|ip| ip.parse().ok()),
        local_port: int(cell(9)),
        peer_ip: address(cell(10), cell(18)),
        peer_port: int(cell(11)),
        bytes_in: int(cell(12)),
        bytes_out: int(cell(13)),
        duration: double(cell(14)),
        duration_uncertainty: double(cell(15)),
        rtt: double(cell(16)),
    }
}

/// Reads the rows of a report, whose other fields are in the footer.
fn read_report(
    table: &Arc<Table>,
    reports: &mut Reports,
    cx: &mut Context<'_>,
) -> Result<(), ParquetError> {
    let mut values = Vec::new();
    rows(table, ROW_COLUMNS.into(), |row| values.push(row_value(row)))?;
    let head = table.text("tcptally.report").unwrap_or_default();
    add_rows(head, values, reports, cx).map_err(|e| ParquetError::General(e.to_string()))
}

/// A row as the object that it is in jsonl.
fn row_value(row: &Row<'_>) -> Value {
    let mut object = Map::new();
    for (n, name) in ROW_COLUMNS.into_iter().enumerate() {
        let cell = row.cell(n);
        let value = match (name, cell) {
            ("first_elapsed" | "last_elapsed", Cell::Double(seconds)) => {
                let name = name.trim_end_matches("_elapsed");
                let elapsed = RecordTime::Elapsed((seconds * 1e6).round() as i64 * 1000);
                object.insert(name.into(), elapsed.to_string().into());
                continue;
            }
            (_, Cell::Time(ns)) => RecordTime::Clock(*ns).to_string().into(),
            (_, Cell::Int(n)) => (*n).into(),
            (_, Cell::Bytes(_)) => text(cell).map_or(Value::Null, |text| String::from(text).into()),
            _ => continue,
        };
        object.insert(name.into(), value);
    }
    Value::Object(object)
}
