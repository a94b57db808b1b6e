//! The intervals of a tally, empty ones included.

use std::collections::BTreeMap;
use std::mem::discriminant;

use crate::RecordTime;
use crate::count::counter::Count;
use crate::count::order::Order;
use crate::count::table::Table;
use crate::format::ReportSection;
use crate::time::interval::Interval;
use crate::time::{Bound, Period};

/// Maximum number of consecutive empty intervals. A single wrong date in a record must not cause years
/// of empty rows.
pub(super) const MAX_EMPTY_INTERVALS: usize = 100_000;

/// Makes the intervals of a timeline long enough for the period, and for the times in `also`.
pub(super) fn cover(count: &mut Count, also: &[RecordTime]) {
    let Period { since, until, .. } = &count.filter.period;
    let at = |bound: &Option<Bound>| match bound {
        Some(Bound::At(t)) => Some(*t),
        _ => None,
    };
    let times: Vec<RecordTime> =
        [at(since), at(until)].into_iter().flatten().chain(also.iter().copied()).collect();
    count.tally.cover(times);
}

/// Returns all intervals of the period. Without a limit they go from the first to the last connection,
/// and to the times in `also`. The second value is a note if empty intervals are left out.
pub(super) fn intervals<'a>(
    count: &'a Count,
    order: Order,
    also: impl IntoIterator<Item = RecordTime>,
) -> (Vec<ReportSection<'a>>, Option<String>) {
    let tally = &count.tally;
    let Some(interval) = &tally.interval else { return (Vec::new(), None) };
    let mut tables: BTreeMap<RecordTime, (RecordTime, Option<&Table>)> = BTreeMap::new();
    for (start, table) in &tally.intervals {
        tables.insert(*start, (interval.around(*start).1, Some(table)));
    }
    let period = &count.filter.period;
    let at = |bound: &Option<Bound>| match bound {
        Some(Bound::At(t)) => Some(*t),
        _ => None,
    };
    let last = at(&period.until).map(RecordTime::just_before);
    for time in at(&period.since).into_iter().chain(last).chain(also) {
        let kind = tables.keys().next().map(discriminant);
        if kind.is_none_or(|kind| kind == discriminant(&time)) {
            let (start, end) = interval.around(time);
            tables.entry(start).or_insert((end, None));
        }
    }

    let part = |start, end, table| ReportSection {
        start: Some(start),
        end: Some(end),
        is_partial: false,
        keys: &tally.keys,
        table,
        order,
    };
    let mut parts: Vec<ReportSection<'a>> = Vec::new();
    let mut left_out = None;
    for (start, (end, table)) in tables {
        let before = parts.len();
        let mut at = parts.last().and_then(|p| p.end);
        while let Some(empty) = at.filter(|t| *t < start && discriminant(t) == discriminant(&start))
        {
            if parts.len() - before == MAX_EMPTY_INTERVALS {
                parts.truncate(before);
                left_out = Some(format!(
                    "more than {MAX_EMPTY_INTERVALS} empty intervals before {start} are left out"
                ));
                break;
            }
            let (_, end) = interval.around(empty);
            parts.push(part(empty, end, None));
            at = Some(end);
        }
        parts.push(part(start, end, table));
    }
    (parts, left_out)
}

/// Whether the interval around `started`, and that around `ended`, was observed only in part.
pub(super) fn partial(interval: &Interval, started: RecordTime, ended: RecordTime) -> (bool, bool) {
    let first = interval.around(started).0 < started;
    let last = interval.around(ended.just_before()).1 > ended;
    (first, last)
}

/// Whether an interval was observed only in part; `observed`: the beginning and the end, if known.
pub(super) fn is_partial(
    (start, end): (RecordTime, RecordTime),
    observed: (Option<RecordTime>, Option<RecordTime>),
) -> bool {
    let (from, until) = observed;
    from.is_some_and(|from| start < from) || until.is_some_and(|until| until < end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count::Tally;
    use crate::count::key::Keys;
    use crate::filter::Filter;
    use crate::{Connection, Sink};
    use jiff::tz::TimeZone;

    fn shown(since: Option<i64>, until: Option<i64>, times: &[i64]) -> Vec<(i64, u64)> {
        let second = |s: i64| RecordTime::Clock(s * 1_000_000_000);
        let bound = |s: Option<i64>| s.map(|s| Bound::At(second(s)));
        let interval = Interval { length: "10s".parse().unwrap(), zone: TimeZone::UTC };
        let period = Period { since: bound(since), until: bound(until), ..Period::default() };
        let mut count = Count::new(
            Filter { period, ..Filter::default() },
            Tally::new(Keys::default(), Some(interval), None),
        );
        for time in times {
            count.take(Connection { time: Some(second(*time)), ..Connection::default() });
        }
        let (parts, _) = intervals(&count, Order::default(), []);
        let seconds = |m: Option<RecordTime>| match m {
            Some(RecordTime::Clock(ns)) => ns / 1_000_000_000,
            _ => panic!("{m:?}"),
        };
        parts.iter().map(|p| (seconds(p.start), p.total())).collect()
    }

    #[test]
    fn empty_ones_are_not_gaps() {
        assert_eq!(shown(None, None, &[35, 11, 19, 12]), [(10, 3), (20, 0), (30, 1)]);
        assert_eq!(shown(Some(5), Some(40), &[12]), [(0, 0), (10, 1), (20, 0), (30, 0)]);
        assert_eq!(shown(Some(5), Some(41), &[]).len(), 5);
        assert_eq!(shown(None, None, &[]), []);
    }

    #[test]
    fn intervals_that_were_observed_in_part_are_known() {
        let interval = Interval { length: "2s".parse().unwrap(), zone: TimeZone::UTC };
        let at = |ms: i64| RecordTime::Clock(ms * 1_000_000);
        assert_eq!(partial(&interval, at(3000), at(6200)), (true, true));
        assert_eq!(partial(&interval, at(2000), at(6000)), (false, false));
        assert_eq!(partial(&interval, at(2000), at(2500)), (false, true));
    }

    #[test]
    fn one_wrong_date_does_not_become_years() {
        assert_eq!(shown(None, None, &[0, 1_795_000_000, 1_795_000_025]).len(), 4);
    }
}
