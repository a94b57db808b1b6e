//! The parquet format, for databases: events or rows in typed columns, compressed by zstd.
//!
//! A file ends with its footer, so it is of use only when it is whole. Memory is bounded by the size of a
//! row group.

use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;

use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;

use super::json::{Document, SCHEMA, write_line};
use super::tcp_stats::{Number, fields};
use super::{Report, ReportSection};
use crate::count::key::Key;
use crate::count::order::Selection;
use crate::count::table::Entry;
use crate::count::tcp_stats::{Columns, TcpStats};
use crate::count::value::Value;
use crate::{Connection, RecordTime};

/// Rows of a row group: enough for columns to compress well, and some 20 MB in memory.
const GROUP_ROWS: usize = 1 << 17;

/// Bytes of text of a row group, because a record may have names of any length.
const GROUP_TEXT_BYTES: usize = 1 << 24;

/// The level from which on zstd takes much longer for little.
const ZSTD_LEVEL: i32 = 3;

/// The type of a column. Every column may be null.
#[derive(Clone, Copy)]
enum Kind {
    /// Microseconds since 1970, UTC.
    Time,
    Int,
    Port,
    Long,
    Double,
    Text,
    /// An IPv6 address, or an IPv4 address mapped into IPv6.
    Address,
    Bool,
}

/// The columns of events: those of the other formats, then the addresses as bytes.
const EVENT_COLUMNS: [(&str, Kind); 19] = [
    ("time", Kind::Time),
    ("elapsed", Kind::Double),
    ("time_uncertainty", Kind::Double),
    ("host", Kind::Text),
    ("pid", Kind::Int),
    ("tid", Kind::Int),
    ("comm", Kind::Text),
    ("fd", Kind::Int),
    ("local_ip", Kind::Text),
    ("local_port", Kind::Port),
    ("peer_ip", Kind::Text),
    ("peer_port", Kind::Port),
    ("bytes_in", Kind::Long),
    ("bytes_out", Kind::Long),
    ("duration", Kind::Double),
    ("duration_uncertainty", Kind::Double),
    ("rtt", Kind::Double),
    ("local_ip16", Kind::Address),
    ("peer_ip16", Kind::Address),
];

/// A value for a column.
enum Cell<'a> {
    Null,
    Int(i32),
    Long(i64),
    Double(f64),
    Text(&'a str),
    Address(IpAddr),
    Bool(bool),
}

/// Apache Parquet.
#[derive(Default)]
pub(super) struct Format {
    events: Option<File>,
}

impl super::Format for Format {
    fn report(&mut self, report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
        let intervals = report.intervals.is_some();
        let (keys, columns) = (report.whole.keys.list(), report.whole.order.columns);
        let mut file = File::new(&row_columns(keys, columns, intervals))?;
        let sections = report.intervals.as_deref().unwrap_or(std::slice::from_ref(&report.whole));
        for section in sections {
            rows(section, intervals, &mut file, out)?;
        }
        let mut head = Vec::new();
        write_line(&Document { report, kind: Some("report"), rows: false }, &mut head)?;
        file.finish(&[("tcptally.report", String::from_utf8_lossy(&head).trim_end())], out)
    }

    fn event_headings(&mut self, _: &mut dyn Write) -> io::Result<()> {
        if self.events.is_none() {
            self.events = Some(File::new(&EVENT_COLUMNS)?);
        }
        Ok(())
    }

    fn event(&mut self, c: &Connection, out: &mut dyn Write) -> io::Result<()> {
        self.event_headings(out)?;
        self.events.as_mut().map_or(Ok(()), |file| file.put_event(c, out))
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.events.take().map_or(Ok(()), |file| file.finish(&[], out))
    }
}

/// The columns of rows.
fn row_columns(keys: &[Key], columns: Columns, intervals: bool) -> Vec<(&'static str, Kind)> {
    let mut all = vec![("kind", Kind::Text)];
    if intervals {
        all.extend([("start", Kind::Time), ("end", Kind::Time), ("partial", Kind::Bool)]);
    }
    all.extend(keys.iter().map(|key| match key {
        Key::Port => (key.name(), Kind::Port),
        Key::Pid => (key.name(), Kind::Int),
        _ => (key.name(), Kind::Text),
    }));
    all.extend([("count", Kind::Long), ("first", Kind::Time), ("last", Kind::Time)]);
    all.extend([("first_elapsed", Kind::Double), ("last_elapsed", Kind::Double)]);
    all.extend(fields(columns).map(|field| match field.name {
        name @ ("bytes_in" | "bytes_out") => (name, Kind::Long),
        name => (name, Kind::Double),
    }));
    if keys.contains(&Key::Ip) {
        all.push(("ip16", Kind::Address));
    }
    all
}

/// Writes the rows of a section.
fn rows(
    section: &ReportSection<'_>,
    intervals: bool,
    file: &mut File,
    out: &mut dyn Write,
) -> io::Result<()> {
    let selection = section.select();
    let columns = section.order.columns;
    let start = |kind| {
        let mut cells = vec![Cell::Text(kind)];
        if intervals {
            let times = [clock(section.start), clock(section.end)];
            cells.extend(times.into_iter().chain([Cell::Bool(section.is_partial)]));
        }
        cells
    };
    for row in section.rows(&selection) {
        let values: Vec<Value> = row.values().collect();
        let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
        let mut cells = start("row");
        for (value, text) in values.iter().zip(&texts) {
            cells.push(match value {
                Value::Unknown => Cell::Null,
                Value::Number(n) => Cell::Int(n.cast_signed()),
                _ => Cell::Text(text),
            });
        }
        numbers(&mut cells, &row.entry, row.stats, columns);
        let keys = section.keys.list();
        if let Some(at) = keys.iter().position(|key| *key == Key::Ip) {
            cells.push(match values.get(at) {
                Some(Value::Ip(ip)) => Cell::Address(*ip),
                _ => Cell::Null,
            });
        }
        file.put(&cells, out)?;
    }
    others(section, &selection, start("others"), file, out)
}

/// Writes the sum of the rows that are not shown, if there are any.
fn others<'a>(
    section: &ReportSection<'_>,
    selection: &Selection,
    mut cells: Vec<Cell<'a>>,
    file: &mut File,
    out: &mut dyn Write,
) -> io::Result<()> {
    let keys = section.keys.list();
    let is_empty = selection.others.count == 0;
    if is_empty && (cells.len() == 1 || !selection.rows.is_empty()) {
        return Ok(());
    }
    if is_empty {
        // An interval without connections.
        cells[0] = Cell::Text("row");
    }
    cells.extend(keys.iter().map(|_| Cell::Null));
    numbers(&mut cells, &selection.others, &selection.other_stats, section.order.columns);
    if keys.contains(&Key::Ip) {
        cells.push(Cell::Null);
    }
    file.put(&cells, out)
}

fn numbers(cells: &mut Vec<Cell<'_>>, entry: &Entry, stats: &TcpStats, columns: Columns) {
    cells.push(Cell::Long(entry.count.cast_signed()));
    cells.extend([clock(entry.first), clock(entry.last)]);
    cells.extend([elapsed(entry.first), elapsed(entry.last)]);
    cells.extend(fields(columns).map(|field| match field.value(stats) {
        Some(Number::Bytes(bytes)) => long(Some(bytes)),
        Some(Number::Time(micros)) => Cell::Double(micros as f64 / 1e6),
        Some(Number::TimeBelow(_)) | None => Cell::Null,
    }));
}

fn clock(time: Option<RecordTime>) -> Cell<'static> {
    match time {
        Some(RecordTime::Clock(ns)) => Cell::Long(ns.div_euclid(1000)),
        _ => Cell::Null,
    }
}

/// Seconds since the record began, with microseconds.
fn elapsed(time: Option<RecordTime>) -> Cell<'static> {
    match time {
        Some(RecordTime::Elapsed(ns)) => Cell::Double((ns / 1000) as f64 / 1e6),
        _ => Cell::Null,
    }
}

fn long(n: Option<u64>) -> Cell<'static> {
    n.map_or(Cell::Null, |n| Cell::Long(i64::try_from(n).unwrap_or(i64::MAX)))
}

fn int(n: Option<u32>) -> Cell<'static> {
    n.map_or(Cell::Null, |n| Cell::Int(n.cast_signed()))
}

fn text(text: Option<&str>) -> Cell<'_> {
    text.map_or(Cell::Null, Cell::Text)
}

fn address(ip: Option<IpAddr>) -> Cell<'static> {
    ip.map_or(Cell::Null, Cell::Address)
}

/// The values of a column that are not null.
enum Values {
    Int(Vec<i32>),
    Long(Vec<i64>),
    Double(Vec<f64>),
    Text(Vec<ByteArray>),
    Address(Vec<FixedLenByteArray>),
    Bool(Vec<bool>),
}

/// The column of a row group.
struct Column {
    values: Values,
    /// 1 for a value, 0 for null.
    levels: Vec<i16>,
}

impl Column {
    fn new(kind: Kind) -> Column {
        let values = match kind {
            Kind::Int | Kind::Port => Values::Int(Vec::new()),
            Kind::Time | Kind::Long => Values::Long(Vec::new()),
            Kind::Double => Values::Double(Vec::new()),
            Kind::Text => Values::Text(Vec::new()),
            Kind::Address => Values::Address(Vec::new()),
            Kind::Bool => Values::Bool(Vec::new()),
        };
        Column { values, levels: Vec::new() }
    }

    /// Appends a value, and returns the bytes of text that it takes.
    fn put(&mut self, cell: &Cell<'_>) -> usize {
        let mut bytes = 0;
        let is_known = match (&mut self.values, cell) {
            (Values::Int(values), Cell::Int(n)) => {
                values.push(*n);
                true
            }
            (Values::Long(values), Cell::Long(n)) => {
                values.push(*n);
                true
            }
            (Values::Double(values), Cell::Double(n)) => {
                values.push(*n);
                true
            }
            (Values::Text(values), Cell::Text(text)) => {
                // The host is mostly the same: its bytes are shared.
                let same = values.last().filter(|last| last.data() == text.as_bytes()).cloned();
                values.push(same.unwrap_or_else(|| {
                    bytes = text.len();
                    ByteArray::from(*text)
                }));
                true
            }
            (Values::Address(values), Cell::Address(ip)) => {
                let ip = match ip {
                    IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                    IpAddr::V6(ip) => *ip,
                };
                values.push(ip.octets().to_vec().into());
                true
            }
            (Values::Bool(values), Cell::Bool(value)) => {
                values.push(*value);
                true
            }
            _ => false,
        };
        self.levels.push(is_known.into());
        bytes
    }

    /// Writes the values and forgets them.
    fn write(&mut self, to: &mut ColumnWriter<'_>) -> Result<(), ParquetError> {
        let levels = Some(&self.levels[..]);
        match (&mut self.values, to) {
            (Values::Int(v), ColumnWriter::Int32ColumnWriter(to)) => {
                to.write_batch(v, levels, None)?;
                v.clear();
            }
            (Values::Long(v), ColumnWriter::Int64ColumnWriter(to)) => {
                to.write_batch(v, levels, None)?;
                v.clear();
            }
            (Values::Double(v), ColumnWriter::DoubleColumnWriter(to)) => {
                to.write_batch(v, levels, None)?;
                v.clear();
            }
            (Values::Text(v), ColumnWriter::ByteArrayColumnWriter(to)) => {
                to.write_batch(v, levels, None)?;
                v.clear();
            }
            (Values::Address(v), ColumnWriter::FixedLenByteArrayColumnWriter(to)) => {
                to.write_batch(v, levels, None)?;
                v.clear();
            }
            (Values::Bool(v), ColumnWriter::BoolColumnWriter(to)) => {
                to.write_batch(v, levels, None)?;
                v.clear();
            }
            _ => return Err(ParquetError::General("a column of another type".into())),
        }
        self.levels.clear();
        Ok(())
    }
}

/// A file that is being written.
struct File {
    writer: SerializedFileWriter<Vec<u8>>,
    columns: Vec<Column>,
    rows: usize,
    text_bytes: usize,
}

impl File {
    fn new(columns: &[(&str, Kind)]) -> io::Result<File> {
        let lines = columns.iter().map(|(name, kind)| match kind {
            Kind::Time => format!("optional int64 {name} (timestamp(micros,true));"),
            Kind::Int => format!("optional int32 {name};"),
            Kind::Port => format!("optional int32 {name} (integer(16,false));"),
            Kind::Long => format!("optional int64 {name};"),
            Kind::Double => format!("optional double {name};"),
            Kind::Text => format!("optional byte_array {name} (string);"),
            Kind::Address => format!("optional fixed_len_byte_array (16) {name};"),
            Kind::Bool => format!("optional boolean {name};"),
        });
        let schema = format!("message tcptally {{ {} }}", lines.collect::<String>());
        let schema = parse_message_type(&schema).map_err(io::Error::other)?;
        let level = ZstdLevel::try_new(ZSTD_LEVEL).map_err(io::Error::other)?;
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_created_by(concat!("tcptally ", env!("CARGO_PKG_VERSION")).into());
        if columns.iter().any(|(name, _)| *name == "time") {
            // Times rise and rarely repeat.
            let time = ColumnPath::from("time");
            properties = properties
                .set_column_dictionary_enabled(time.clone(), false)
                .set_column_encoding(time, Encoding::DELTA_BINARY_PACKED);
        }
        let writer =
            SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties.build()));
        Ok(File {
            writer: writer.map_err(io::Error::other)?,
            columns: columns.iter().map(|(_, kind)| Column::new(*kind)).collect(),
            rows: 0,
            text_bytes: 0,
        })
    }

    /// Adds a row. Writes a row group to `out` if it is full.
    fn put(&mut self, cells: &[Cell<'_>], out: &mut dyn Write) -> io::Result<()> {
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            self.text_bytes += column.put(cell);
        }
        self.rows += 1;
        if self.rows >= GROUP_ROWS || self.text_bytes >= GROUP_TEXT_BYTES {
            self.end_group(out)?;
        }
        Ok(())
    }

    fn put_event(&mut self, c: &Connection, out: &mut dyn Write) -> io::Result<()> {
        let transport = c.transport.as_deref();
        let seconds = |d: Option<std::time::Duration>| {
            d.map_or(Cell::Null, |d| Cell::Double(d.as_micros() as f64 / 1e6))
        };
        let port = |port: Option<u16>| int(port.map(u32::from));
        let peer = c.ip.map(|ip| ip.to_string());
        let local = c.local_ip.map(|ip| ip.to_string());
        let duration = transport.and_then(|t| t.duration);
        let cells = [
            clock(c.time),
            elapsed(c.time),
            seconds(transport.map(|t| t.time_uncertainty)),
            text(c.machine.as_deref()),
            int(c.pid),
            int(c.tid),
            text(c.comm.as_deref()),
            c.fd.map_or(Cell::Null, Cell::Int),
            text(local.as_deref()),
            port(c.local_port),
            text(peer.as_deref().or(c.host.as_deref())),
            port(c.port),
            long(transport.and_then(|t| t.bytes_in)),
            long(transport.and_then(|t| t.bytes_out)),
            seconds(duration),
            seconds(duration.and(transport).map(|t| t.duration_uncertainty)),
            seconds(transport.and_then(|t| t.rtt)),
            address(c.local_ip),
            address(c.ip),
        ];
        self.put(&cells, out)
    }

    fn end_group(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.rows > 0 {
            self.write_group().map_err(io::Error::other)?;
            (self.rows, self.text_bytes) = (0, 0);
        }
        self.writer.flush()?;
        let bytes = self.writer.inner_mut();
        out.write_all(bytes)?;
        bytes.clear();
        Ok(())
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let mut group = self.writer.next_row_group()?;
        for column in &mut self.columns {
            if let Some(mut writer) = group.next_column()? {
                column.write(writer.untyped())?;
                writer.close()?;
            }
        }
        group.close().map(drop)
    }

    /// Writes what is left, and the footer with these texts.
    fn finish(mut self, texts: &[(&str, &str)], out: &mut dyn Write) -> io::Result<()> {
        self.end_group(out)?;
        let schema = SCHEMA.to_string();
        for (name, text) in [("tcptally.schema", &*schema)].iter().chain(texts) {
            let pair = KeyValue::new((*name).into(), Some((*text).to_owned()));
            self.writer.append_key_value_metadata(pair);
        }
        let rest = self.writer.into_inner().map_err(io::Error::other)?;
        out.write_all(&rest)
    }
}
