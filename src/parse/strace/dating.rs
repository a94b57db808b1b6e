//! Which day a log with bare clock times began.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};

use super::clock::{DAY, Passage};
use super::line::Block;
use crate::parse::context::Context;
use crate::parse::input::Input;
use crate::parse::lines;

/// A clock may be so much ahead of the one that dates are taken from.
const AHEAD: SignedDuration = SignedDuration::from_secs(60);

/// The date of the first clock time of each input, where it can be known.
pub fn first_days(inputs: &mut [Input], zone: &TimeZone, cx: &Context<'_>) -> Vec<Option<Date>> {
    let passages: Vec<Option<Passage>> = inputs.iter_mut().map(|i| passage(i, cx)).collect();
    match cx.options.date {
        Some(date) => from_first(date, &passages),
        None => inputs
            .iter()
            .zip(passages)
            .map(|(input, passage)| Some(from_last(input.modified(), zone, &passage?)))
            .collect(),
    }
}

/// How time passes in `input`. Of what gives its content only once: as far as it was looked at.
fn passage(input: &mut Input, cx: &Context<'_>) -> Option<Passage> {
    let mut block = Block::default();
    block.read(input.head());
    block.passage.clock()?;
    let head = block.passage;
    if cx.options.date.is_some() && input.path().is_none() {
        return Some(head);
    }
    let Some(mut again) = input.again() else { return Some(head) };
    let mut all = Passage::default();
    // What could be read is what will be counted.
    let _ = lines::blocks(&mut again, |text, _| {
        block.clear();
        block.read(text);
        all.join(&block.passage);
    });
    Some(all)
}

/// The last line was written when the file was written last; what comes through a pipe is taken
/// to be written now.
fn from_last(modified: Option<Timestamp>, zone: &TimeZone, passage: &Passage) -> Date {
    let (first, last) = passage.clock().unwrap_or_default();
    let (end, clock, days) = match modified {
        Some(t) => (t, last, passage.days()),
        None => (Timestamp::now(), first, 0),
    };
    let end = Zoned::new(end.saturating_add(AHEAD).unwrap_or(end), zone.clone());
    let passed = end.time().duration_since(jiff::civil::Time::midnight());
    let before = i64::from(i128::from(clock) > passed.as_nanos());
    end.date().saturating_sub((days + before).clamp(0, 100_000).days())
}

/// Of several files, one begins on `date`; which one that is, and on which day the others begin,
/// is what makes the whole shortest.
fn from_first(date: Date, passages: &[Option<Passage>]) -> Vec<Option<Date>> {
    let spans: Vec<Option<(i64, i64)>> = passages
        .iter()
        .map(|p| {
            let (first, last) = p.as_ref()?.clock()?;
            Some((first, p.as_ref()?.days() * DAY + last - first))
        })
        .collect();
    let known: Vec<(i64, i64)> = spans.iter().flatten().copied().collect();
    let after = |start: i64, first: i64| (first - start).rem_euclid(DAY);
    let whole =
        |start: i64| known.iter().map(|(first, length)| after(start, *first) + length).max();
    // With very many files, some must do.
    let step = known.len().div_ceil(2000).max(1);
    let start = known.iter().step_by(step).map(|k| k.0).min_by_key(|start| (whole(*start), *start));
    let Some(start) = start else { return vec![Some(date); passages.len()] };
    spans
        .iter()
        .map(|span| {
            let later = span.map_or(0, |(first, _)| (start + after(start, first)).div_euclid(DAY));
            Some(date.saturating_add(later.days()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::parse::strace::prefix::Stamp;

    fn through(times: &[(i64, i64)]) -> Passage {
        let mut p = Passage::default();
        for (h, m) in times {
            p.see(Stamp::Clock((h * 60 + m) * DAY / 1440));
        }
        p
    }

    #[test]
    fn steps_back_from_the_last_line() {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let modified = Some("2026-11-22T10:00:00Z".parse().unwrap());
        let first = |times: &[(i64, i64)]| from_last(modified, &zone, &through(times));
        assert_eq!(first(&[(9, 0), (11, 0)]), date(2026, 11, 22));
        // Written last at 11:00 local: a line of 23:00 is yesterday's.
        assert_eq!(first(&[(9, 0), (23, 0)]), date(2026, 11, 21));
        assert_eq!(first(&[(23, 0), (1, 0), (23, 0), (10, 59)]), date(2026, 11, 20));
    }

    #[test]
    fn files_of_one_run_lie_together() {
        let files = [
            Some(through(&[(0, 5), (0, 6)])),
            Some(through(&[(23, 57), (0, 10)])),
            None,
            Some(through(&[(23, 58)])),
        ];
        let d = date(2026, 11, 22);
        let next = date(2026, 11, 23);
        assert_eq!(from_first(d, &files), [Some(next), Some(d), Some(d), Some(d)]);
    }
}
