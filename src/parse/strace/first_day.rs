//! Finds the date of the first line of a log with bare clock times.

use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::block::Block;
use super::block_reader;
use crate::parse::input::{Input, Plain};
use crate::parse::lines::{self, is_end};
use crate::parse::reader::Context;
use crate::parse::timestamp::{ClockSpan, DAY, Stamp, first_date};

/// Files of at least this number of bytes are looked at in regions.
const LARGE_BYTES: u64 = 4 * 1024 * 1024;
/// Bytes of a region.
const REGION_BYTES: u64 = 128 * 1024;
/// Bytes of a region that are read, and those that are read beside if there is no time in them,
const SAMPLE_BYTES: [u64; 2] = [512, 8192];
/// if no more time passes in it than this. Only a region in which a whole day and less than this
/// passes without a trace would be taken for one in which less than this passes.
const LITTLE: i64 = DAY / 24 / 12;

/// The date of the first clock time of each input, where it can be known.
pub(super) fn first_days(
    inputs: &mut [Input],
    zone: &TimeZone,
    cx: &Context<'_>,
) -> Vec<Option<Date>> {
    let passages: Vec<Option<ClockSpan>> = inputs.iter_mut().map(|i| clock_span(i, cx)).collect();
    match cx.options.date {
        Some(date) => from_first(date, &passages),
        None => inputs
            .iter()
            .zip(passages)
            .map(|(input, clock_span)| Some(first_date(input.modified(), zone, &clock_span?)))
            .collect(),
    }
}

/// How time passes in `input`. Of what gives its content only once: as far as it was looked at.
fn clock_span(input: &mut Input, cx: &Context<'_>) -> Option<ClockSpan> {
    let mut block = Block::default();
    block_reader::read(&mut block, input.head());
    block.clock_span.clock()?;
    let head = block.clock_span;
    if cx.options.date.is_some() && input.path().is_none() {
        return Some(head);
    }
    if let Some(plain) = input.plain()
        && plain.len > LARGE_BYTES
    {
        return sampled(&plain);
    }
    let Some(mut again) = input.again() else { return Some(head) };
    let mut all = ClockSpan::default();
    // What could be read is what will be counted.
    let _ = lines::blocks(&mut again, |text, _| {
        block.clear();
        block_reader::read(&mut block, text);
        all.join(&block.clock_span);
    });
    Some(all)
}

/// How time passes in a large file, by the first lines of its regions. Regions that took longer
/// than a little, and the last one, are read as a whole.
fn sampled(plain: &Plain<'_>) -> Option<ClockSpan> {
    let mut regions = Regions { plain, block: Block::default(), buffer: Vec::new() };
    let mut all = ClockSpan::default();
    let mut start = 0;
    let mut here = regions.sample(start);
    while start < plain.len {
        let next = (start + REGION_BYTES).min(plain.len);
        // Lines that begin before `next` and end behind it are in neither part, which is no loss:
        // their neighbours tell the same.
        let there = if next < plain.len { regions.sample(next) } else { None };
        let clock = |p: Option<ClockSpan>| p.and_then(|p| p.clock());
        let swift = match (clock(here), clock(there)) {
            (Some((from, _)), Some((to, _))) => (0..LITTLE).contains(&(to - from)),
            _ => false,
        };
        let clock_span = if swift { here } else { regions.read(start, next - start) };
        if let Some(clock_span) = clock_span {
            all.join(&clock_span);
        }
        (start, here) = (next, there);
    }
    all.clock().map(|_| all)
}

/// Reads parts of a large file.
struct Regions<'a> {
    plain: &'a Plain<'a>,
    block: Block,
    buffer: Vec<u8>,
}

impl Regions<'_> {
    /// How time passes in the first lines behind `start`.
    fn sample(&mut self, start: u64) -> Option<ClockSpan> {
        let mut samples = SAMPLE_BYTES.iter().filter_map(|length| self.read(start, *length));
        samples.find(|clock_span| clock_span.clock().is_some())
    }

    /// How time passes in the lines that are whole in these bytes.
    fn read(&mut self, start: u64, length: u64) -> Option<ClockSpan> {
        let Regions { plain, block, buffer } = self;
        let length = length.min(plain.len - start);
        buffer.resize(usize::try_from(length).unwrap_or(0), 0);
        let n = plain.peek_at(buffer, start).unwrap_or(0);
        // Neither a line whose beginning nor one whose end lies elsewhere.
        let first = if start == 0 { 0 } else { buffer[..n].iter().position(|b| is_end(*b))? + 1 };
        let whole = start + n as u64 >= plain.len;
        let end = if whole { n } else { buffer[..n].iter().rposition(|b| is_end(*b))? };
        block.clear();
        block_reader::read(block, buffer.get(first..end)?);
        Some(block.clock_span)
    }
}

/// The date of the first line, if the log ends on the same day.
pub(super) fn guess(input: &Input, zone: &TimeZone) -> Option<Date> {
    let mut block = Block::default();
    block_reader::read(&mut block, input.head());
    let (first, _) = block.clock_span.clock()?;
    let mut day = ClockSpan::default();
    day.see(Stamp::Clock(first));
    Some(first_date(input.modified(), zone, &day))
}

/// Of several files, one begins on `date`; which one that is, and on which day the others begin,
/// is what makes the whole shortest.
fn from_first(date: Date, passages: &[Option<ClockSpan>]) -> Vec<Option<Date>> {
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
    use jiff::civil::date as day;

    use super::*;

    fn through(times: &[(i64, i64)]) -> ClockSpan {
        let mut p = ClockSpan::default();
        for (h, m) in times {
            p.see(Stamp::Clock((h * 60 + m) * DAY / 1440));
        }
        p
    }

    #[test]
    fn a_large_file_is_dated_like_a_small_one() {
        use std::io::Write;
        // Busy, then idle over a midnight, then busy over one.
        let mut text = Vec::new();
        let mut exact = ClockSpan::default();
        let mut at = 8 * 3600;
        for n in 0..120_000_i64 {
            at += match n {
                40_000 => 22 * 3600,
                100_000 => 8 * 3600,
                _ => n % 2,
            };
            let (h, m, s) = (at / 3600 % 24, at / 60 % 60, at % 60);
            writeln!(text, "{h:02}:{m:02}:{s:02} futex(0x7f1c2a0, FUTEX_WAKE_PRIVATE, 1) = 0")
                .unwrap();
            exact.see(Stamp::Clock((h * 3600 + m * 60 + s) * (DAY / 86400)));
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &text).unwrap();
        let progress =
            std::sync::Arc::new(crate::parse::progress::Progress::new(false, None, None));
        let input = Input::open(file.path(), &progress).unwrap();
        let plain = input.plain().unwrap();
        assert!(plain.len > LARGE_BYTES);
        let sampled = sampled(&plain).unwrap();
        assert_eq!((sampled.days(), sampled.clock()), (exact.days(), exact.clock()));
        assert_eq!(exact.days(), 2);
    }

    #[test]
    fn files_of_one_run_lie_together() {
        let files = [
            Some(through(&[(0, 5), (0, 6)])),
            Some(through(&[(23, 57), (0, 10)])),
            None,
            Some(through(&[(23, 58)])),
        ];
        let d = day(2026, 11, 22);
        let next = day(2026, 11, 23);
        assert_eq!(from_first(d, &files), [Some(next), Some(d), Some(d), Some(d)]);
    }
}
