//! The intervals of a tally, with those in which nothing came.

use tcptally::Moment;
use tcptally::period::{Bound, Period};
use tcptally::report::Part;
use tcptally::tally::Tally;
use tcptally::tally::order::Order;

/// More empty intervals in a row than this are left out: a record with one wrong date must not
/// become years of empty rows.
const LONGEST_GAP: usize = 100_000;

/// All intervals from the beginning to the end of the period, where it is open from the first
/// to the last connection.
pub fn intervals<'a>(
    tally: &'a Tally,
    period: &Period,
    order: Order,
) -> impl Iterator<Item = Part<'a>> {
    let part = move |start, end, table| Part {
        start: Some(start),
        end: Some(end),
        keys: &tally.keys,
        table,
        order,
    };
    let around = |time| tally.interval.as_ref().map(|i| i.around(time));
    let kind = tally.intervals.keys().next().map(std::mem::discriminant);
    let at = |bound: &Option<Bound>| match bound {
        Some(Bound::At(t)) if kind.is_none_or(|k| k == std::mem::discriminant(t)) => Some(*t),
        _ => None,
    };
    let first = at(&period.since).and_then(around).map(|(start, _)| start);
    let end = at(&period.until);
    let first = first.or(tally.intervals.keys().next().copied());

    let mut parts = Vec::new();
    let mut fill = |from: Option<Moment>, to: Moment| {
        let before = parts.len();
        let mut at = from.filter(|from| *from < to);
        while let Some(start) = at {
            if parts.len() - before == LONGEST_GAP {
                parts.truncate(before);
                break;
            }
            let Some((_, end)) = around(start) else { break };
            parts.push((start, end, None));
            at = Some(end).filter(|end| *end < to && *end > start);
        }
    };
    let mut next = first;
    let mut all = Vec::new();
    for (start, table) in &tally.intervals {
        if next.is_some_and(|n| std::mem::discriminant(&n) == std::mem::discriminant(start)) {
            fill(next, *start);
        }
        all.push((*start, table));
        next = around(*start).map(|(_, end)| end);
    }
    if let (Some(next), Some(end)) = (next, end) {
        fill(Some(next), end);
    }
    parts.extend(
        all.into_iter().filter_map(|(start, table)| Some((start, around(start)?.1, Some(table)))),
    );
    parts.sort_by_key(|(start, ..)| *start);
    parts.into_iter().map(move |(start, end, table)| part(start, end, table))
}
