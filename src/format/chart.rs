//! [`Chart`]: connections over time, stacked by the largest rows.

use std::collections::HashMap;
use std::mem::discriminant;

use jiff::tz::TimeZone;

use super::clock::{Clock, Detail};
use super::{Report, ReportSection, Row};
use crate::RecordTime;
use crate::count::key::Key;
use crate::count::order::{Order, Sort};
use crate::count::timeline::LENGTHS;
use crate::count::value::Value;
use crate::model::text::printable;
use crate::time::interval::{Interval, IntervalLength};

/// Connections over time: a bar for each interval, or for several that are side by side.
pub(super) struct Chart {
    /// The names of the largest rows, the largest first, and their counts.
    pub series: Vec<(String, u64)>,
    /// Connections of all other rows.
    pub others: u64,
    /// The bars, in the order of time.
    pub bars: Vec<Bar>,
}

/// A part of the time.
#[derive(Default)]
pub(super) struct Bar {
    /// Its beginning.
    pub start: Option<RecordTime>,
    /// Its end.
    pub end: Option<RecordTime>,
    /// Whether it was observed only in part.
    pub is_partial: bool,
    /// All its connections.
    pub total: u64,
    /// Connections of each series.
    pub counts: Vec<u64>,
}

/// A mark of the time axis.
pub(super) struct Tick {
    /// The position: at the beginning of this bar.
    pub bar: usize,
    /// The time.
    pub label: String,
}

/// Returns the intervals of a report in groups, at most `max` of them.
pub(super) fn groups<'a, 'r>(report: &'a Report<'r>, max: usize) -> Vec<&'a [ReportSection<'r>]> {
    let sections = report.intervals.as_deref().unwrap_or_default();
    let size = sections.len().div_ceil(max.max(1)).max(1);
    sections.chunks(size).collect()
}

impl Chart {
    /// Creates the chart of a report that has intervals: at most `series` rows, and `bars` bars.
    pub(super) fn new(report: &Report<'_>, series: usize, bars: usize) -> Chart {
        let whole = &report.whole;
        let order = Order { sort: Sort::Count, top: Some(series), ..Order::default() };
        let Some(table) = whole.table else {
            return Chart { series: Vec::new(), others: 0, bars: Vec::new() };
        };
        let selection = order.select(table);
        let places: HashMap<&[u8], usize> =
            selection.rows.iter().enumerate().map(|(i, row)| (table.row(*row).0, i)).collect();
        let bar = |group: &[ReportSection<'_>]| {
            let mut bar = Bar {
                start: group.first().and_then(|s| s.start),
                end: group.last().and_then(|s| s.end),
                is_partial: group.iter().any(|s| s.is_partial),
                total: group.iter().map(ReportSection::total).sum(),
                counts: vec![0; places.len()],
            };
            for table in group.iter().filter_map(|s| s.table) {
                for (code, entry) in (0..table.len()).map(|row| table.row(row)) {
                    if let Some(place) = places.get(code) {
                        bar.counts[*place] += entry.count;
                    }
                }
            }
            bar
        };
        let rows = Order { top: Some(series), sort: Sort::Count, ..Order::default() };
        let section = ReportSection { order: rows, ..whole.clone() };
        let series = section.rows(&selection).map(|row| (name(&row), row.entry.count)).collect();
        let bars = groups(report, bars).into_iter().map(bar).collect();
        Chart { series, others: selection.others.count, bars }
    }

    /// The largest total of a bar.
    pub(super) fn most(&self) -> u64 {
        self.bars.iter().map(|bar| bar.total).max().unwrap_or_default()
    }

    /// The time that the first bar covers, as text, if it is the length of most.
    pub(super) fn bar_length(&self) -> Option<String> {
        let bar = self.bars.get(self.bars.len().min(2) - usize::from(!self.bars.is_empty()))?;
        let ns = match (bar.start?, bar.end?) {
            (RecordTime::Clock(a), RecordTime::Clock(b))
            | (RecordTime::Elapsed(a), RecordTime::Elapsed(b)) => b.checked_sub(a)?,
            _ => return None,
        };
        Some(length(ns))
    }

    /// The marks of the time axis, at most some `max` of them.
    pub(super) fn ticks(&self, zone: &TimeZone, max: usize) -> Vec<Tick> {
        for step in LENGTHS {
            let interval = Interval { length: step, zone: zone.clone() };
            let mut ticks = Vec::new();
            let mut before: Option<RecordTime> = None;
            for (bar, start) in
                self.bars.iter().enumerate().filter_map(|(i, b)| Some((i, b.start?)))
            {
                let mark = interval.around(start).0;
                // The first bar has a mark only if it begins there.
                if before.map_or(mark == start, |b| b != mark) {
                    ticks.push((bar, mark));
                }
                before = Some(mark);
            }
            if ticks.len() <= max {
                return label(&ticks, step, zone);
            }
        }
        Vec::new()
    }
}

/// The labels of marks: a time of day, with the date where another day begins.
fn label(ticks: &[(usize, RecordTime)], step: IntervalLength, zone: &TimeZone) -> Vec<Tick> {
    let detail = match step {
        IntervalLength::Days(_) => Detail::Date,
        IntervalLength::Time(ns) if ns < 1_000_000_000 => Detail::Millis,
        IntervalLength::Time(ns) if ns < 60_000_000_000 => Detail::Time,
        IntervalLength::Time(_) => Detail::Minutes,
    };
    let clock = Clock::new(zone, detail);
    let date = Clock::new(zone, Detail::Date);
    let mut day = ticks.first().map(|(_, time)| date.show(Some(*time)));
    let same_kind = |t: &RecordTime| matches!(t, RecordTime::Clock(_));
    ticks
        .iter()
        .map(|(bar, time)| {
            let today = Some(date.show(Some(*time)));
            let begins_day = detail != Detail::Date && same_kind(time) && today != day;
            day = today;
            let label = if begins_day { date.show(Some(*time)) } else { clock.show(Some(*time)) };
            Tick { bar: *bar, label }
        })
        .collect()
}

/// A length of time in its largest unit.
fn length(ns: i64) -> String {
    const UNITS: [(i64, &str); 5] = [
        (86_400_000_000_000, "d"),
        (3_600_000_000_000, "h"),
        (60_000_000_000, "min"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
    ];
    let unit = UNITS.iter().find(|(unit, _)| ns >= *unit && ns % unit == 0);
    unit.map_or_else(
        || format!("{} s", ns as f64 / 1e9),
        |(unit, name)| format!("{} {name}", ns / unit),
    )
}

/// Marks of the axis of counts: multiples of 1, 2 or 5, from 0 to `most` or just above.
pub(super) fn count_marks(most: u64, max: u64) -> Vec<u64> {
    let mut step = 1u64;
    for factor in [2, 5, 10].iter().cycle() {
        if most.div_ceil(step) <= max {
            break;
        }
        let power = 10u64.pow(step.ilog10());
        step = power.saturating_mul(*factor);
    }
    (0..=most.div_ceil(step)).map(|n| n.saturating_mul(step)).collect()
}

/// The values of a row's keys in one text.
pub(super) fn name(row: &Row<'_>) -> String {
    row.values().map(|value| text(&value)).collect::<Vec<_>>().join(" ")
}

/// A value as text that controls nothing.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => printable(text),
        value => value.to_string(),
    }
}

/// What rows are counted by, in words.
pub(super) fn counted_by(keys: &[Key]) -> String {
    let word = |key: &Key| match key {
        Key::Ip => "address",
        Key::Net => "network",
        Key::Port => "port",
        Key::Local => "server address",
        Key::Pid => "process",
        Key::Comm => "command",
        Key::Host => "host",
        Key::Container => "container",
        Key::Asn => "autonomous system",
        Key::Country => "country",
        Key::Name => "name",
        Key::Duration => "duration",
        Key::Rtt => "round-trip time",
        Key::Bytes => "bytes",
    };
    keys.iter().map(word).collect::<Vec<_>>().join(" and ")
}

/// Whether two times are of the same kind.
pub(super) fn is_same_kind(a: RecordTime, b: RecordTime) -> bool {
    discriminant(&a) == discriminant(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_counts_are_round_and_few() {
        assert_eq!(count_marks(0, 4), [0]);
        assert_eq!(count_marks(3, 4), [0, 1, 2, 3]);
        assert_eq!(count_marks(5, 4), [0, 2, 4, 6]);
        assert_eq!(count_marks(491, 4), [0, 200, 400, 600]);
        assert_eq!(count_marks(2000, 4), [0, 500, 1000, 1500, 2000]);
        assert!(count_marks(u64::MAX, 4).len() <= 5);
    }

    #[test]
    fn lengths_have_one_unit() {
        let shown = [1_000_000, 5_000_000_000, 90_000_000_000, 600_000_000_000, 86_400_000_000_000];
        assert_eq!(shown.map(length), ["1 ms", "5 s", "90 s", "10 min", "1 d"]);
    }
}
