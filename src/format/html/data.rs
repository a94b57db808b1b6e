//! [`Data`]: all rows and the timeline in JSON, for the script of the page.

use std::collections::HashMap;
use std::io::{self, Write};

use jiff::tz::TimeZone;
use serde_json::{Value as Json, json};

use super::super::chart::{Chart, groups, is_same_kind, text};
use super::super::clock::Clock;
use super::super::svg::{BARS, bar_title};
use super::super::tcp_stats::{Field, fields};
use super::super::{Report, ReportSection};
use crate::RecordTime;
use crate::count::key::Key;
use crate::count::order::Selection;
use crate::count::table::Table;
use crate::count::tcp_stats::{Columns, TcpStats};
use crate::count::value::{Value, bucket_names};

/// Maximum number of counts of rows in bars. Beyond it, the page shows a note that it cannot count the rows of a
/// selected part of the time.
const MAX_COUNTS: usize = 400_000;

/// Maximum number of changes of the UTC offset that the page knows.
const MAX_OFFSETS: usize = 1000;

/// The data for the script.
pub(super) struct Data<'a> {
    pub report: &'a Report<'a>,
    pub chart: &'a Chart,
    pub selection: &'a Selection,
    pub columns: Columns,
    pub zone: &'a TimeZone,
}

impl Data<'_> {
    /// Writes the object.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let whole = &self.report.whole;
        let all = whole.all();
        let base = all.first.or(all.last);
        let bar = |bar: &super::super::chart::Bar| json!({"title": bar_title(bar, self.zone), "total": bar.total, "counts": bar.counts});
        let head = json!({
            "total": self.report.sums.total,
            "most": self.chart.series.first().map_or(1, |(_, count)| *count),
            "keys": whole.keys.list().iter().map(|k| buckets(*k)).collect::<Vec<_>>(),
            "statistics": fields(self.columns).count(),
            "series": self.chart.series.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            "others": self.chart.others,
            "base": base.map(micros),
            "isClock": matches!(base, Some(RecordTime::Clock(_))),
            "detail": Clock::between(self.zone, &all).detail_name(),
            "offsets": offsets(self.zone, all.first, all.last),
            "bars": self.chart.bars.iter().map(bar).collect::<Vec<_>>(),
        });
        write!(out, "{{\"head\":")?;
        write_json(&head, out)?;
        write!(out, ",\n\"rows\":[")?;
        for (i, row) in whole.rows(self.selection).enumerate() {
            let mut cells: Vec<Json> = row.values().map(|value| cell(&value)).collect();
            cells.push(row.entry.count.into());
            cells.extend([row.entry.first, row.entry.last].map(|t| time(t, base)));
            cells.extend(fields(self.columns).map(|field| statistic(field, row.stats)));
            write!(out, "{}", if i > 0 { ",\n" } else { "" })?;
            write_json(&Json::Array(cells), out)?;
        }
        write!(out, "],\n\"counts\":")?;
        write_json(&self.counts().map_or(Json::Null, Json::Array), out)?;
        write!(out, "}}")
    }

    /// For each bar the rows in it, by their number, and their counts: `[[row, ...], [count, ...]]`.
    fn counts(&self) -> Option<Vec<Json>> {
        let table = self.report.whole.table?;
        let groups = groups(self.report, BARS);
        let rows = |section: &ReportSection<'_>| section.table.map_or(0, Table::len);
        let entries: usize = groups.iter().flat_map(|group| group.iter()).map(rows).sum();
        if entries > MAX_COUNTS {
            return None;
        }
        let places: HashMap<&[u8], usize> =
            self.selection.rows.iter().enumerate().map(|(i, row)| (table.row(*row).0, i)).collect();
        let bar = |group: &&[ReportSection<'_>]| {
            let mut counts: HashMap<usize, u64> = HashMap::new();
            for table in group.iter().filter_map(|s| s.table) {
                for (code, entry) in (0..table.len()).map(|row| table.row(row)) {
                    if let Some(place) = places.get(code) {
                        *counts.entry(*place).or_default() += entry.count;
                    }
                }
            }
            let mut counts: Vec<_> = counts.into_iter().collect();
            counts.sort_unstable();
            let (rows, counts): (Vec<_>, Vec<_>) = counts.into_iter().unzip();
            json!([rows, counts])
        };
        Some(groups.iter().map(bar).collect())
    }
}

/// Writes JSON in which no text can end the element around it.
fn write_json(value: &Json, out: &mut dyn Write) -> io::Result<()> {
    let text = value.to_string();
    let mut rest = text.as_str();
    // Outside of strings JSON has none of these, and in strings they may be escaped.
    while let Some(at) = rest.find(['<', '>', '&']) {
        out.write_all(&rest.as_bytes()[..at])?;
        write!(out, "\\u{:04x}", rest.as_bytes()[at])?;
        rest = &rest[at + 1..];
    }
    out.write_all(rest.as_bytes())
}

/// The value of a key: a number, a text that controls nothing, or null.
fn cell(value: &Value) -> Json {
    match value {
        Value::Number(n) => (*n).into(),
        Value::Unknown => Json::Null,
        value => text(value).into(),
    }
}

/// The names of the values of a key in their order, if they are buckets.
fn buckets(key: Key) -> Option<&'static [&'static str]> {
    match key {
        Key::Duration | Key::Rtt => Some(bucket_names(false)),
        Key::Bytes => Some(bucket_names(true)),
        _ => None,
    }
}

/// A statistic: a number to sort by, and its text.
fn statistic(field: &Field, stats: &TcpStats) -> Json {
    json!([field.order(stats), field.show(stats)])
}

fn micros(time: RecordTime) -> i64 {
    time.nanoseconds().div_euclid(1000)
}

/// A time: microseconds after `base`, or a text if it is of another kind.
fn time(time: Option<RecordTime>, base: Option<RecordTime>) -> Json {
    match time.zip(base) {
        Some((time, base)) if is_same_kind(time, base) => (micros(time) - micros(base)).into(),
        Some((time, _)) => time.to_string().into(),
        None => Json::Null,
    }
}

/// The offsets from UTC in seconds, each with the time in microseconds from which on it is in force.
fn offsets(
    zone: &TimeZone,
    first: Option<RecordTime>,
    last: Option<RecordTime>,
) -> Vec<(i64, i32)> {
    let Some(first) = first.and_then(RecordTime::timestamp) else { return Vec::new() };
    let last = last.and_then(RecordTime::timestamp).unwrap_or(first);
    let mut offsets = vec![(first.as_microsecond(), zone.to_offset(first).seconds())];
    let changes = zone.following(first).take_while(|change| change.timestamp() <= last);
    let changes = changes.take(MAX_OFFSETS);
    offsets.extend(changes.map(|c| (c.timestamp().as_microsecond(), c.offset().seconds())));
    offsets
}
