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

/// If more than one region in so many took longer, a few lines may be all of a day, and any region may be of several.
const MAX_SLOW: usize = 16;
/// Number of places by which the date is guessed. A log of fewer days is not read twice.
const GUESS_PLACES: u64 = 128;

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
/// than a little, and the last one, are read as a whole; if they are many, so are all.
fn sampled(plain: &Plain<'_>) -> Option<ClockSpan> {
    let mut regions = Regions { plain, block: Block::default(), buffer: Vec::new() };
    // Lines that begin before a region and end in it are in neither part, which is no loss:
    // their neighbours tell the same.
    let starts = (0..plain.len.div_ceil(REGION_BYTES)).map(|n| n * REGION_BYTES);
    let samples: Vec<Option<ClockSpan>> = starts.map(|start| regions.sample(start)).collect();
    let clock = |n: usize| samples.get(n)?.as_ref()?.clock();
    let is_swift = |n: usize| match (clock(n), clock(n + 1)) {
        (Some((from, _)), Some((to, _))) => (0..LITTLE).contains(&(to - from)),
        _ => false,
    };
    let slow = (0..samples.len()).filter(|n| !is_swift(*n)).count();
    let mut all = ClockSpan::default();
    for (n, sample) in samples.iter().enumerate() {
        let start = n as u64 * REGION_BYTES;
        let clock_span = match is_swift(n) && slow <= samples.len() / MAX_SLOW {
            true => *sample,
            false => regions.read(start, REGION_BYTES),
        };
        if let Some(clock_span) = clock_span {
            all.join(&clock_span);
        }
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

/// Whether many places would have to be looked at to know the date of the first line.
pub(super) fn is_large(input: &Input) -> bool {
    input.plain().is_some_and(|plain| plain.len > LARGE_BYTES)
}

/// The date of the first line by a few places of the file. Of what cannot be read in any order: if the log ends on the
/// same day.
pub(super) fn guess(input: &Input, zone: &TimeZone) -> Option<Date> {
    let mut block = Block::default();
    block_reader::read(&mut block, input.head());
    let (first, _) = block.clock_span.clock()?;
    let mut span = ClockSpan::default();
    span.see(Stamp::Clock(first));
    if let Some(plain) = input.plain() {
        let mut regions = Regions { plain: &plain, block, buffer: Vec::new() };
        let places = (1..GUESS_PLACES).map(|n| plain.len / GUESS_PLACES * n);
        let last = plain.len.saturating_sub(SAMPLE_BYTES[1]);
        for start in places.chain([last]) {
            span.join(&regions.sample(start).unwrap_or_default());
        }
    }
    Some(first_date(input.modified(), zone, &span))
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

    /// How time passes in a large file of this text.
    fn sampled_file(text: &[u8]) -> ClockSpan {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let progress =
            std::sync::Arc::new(crate::parse::progress::Progress::new(false, None, None));
        let input = Input::open(file.path(), &progress).unwrap();
        let plain = input.plain().unwrap();
        assert!(plain.len > LARGE_BYTES, "{}", plain.len);
        sampled(&plain).unwrap()
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
        let sampled = sampled_file(&text);
        assert_eq!((sampled.days(), sampled.clock()), (exact.days(), exact.clock()));
        assert_eq!(exact.days(), 2);
    }

    #[test]
    fn the_days_of_a_large_file_with_few_lines_a_day_are_counted() {
        use std::io::Write;
        // From 3 to 5 o'clock each night, and ten nights in a region.
        let mut text = Vec::new();
        for night in 0..400 {
            for line in 0..204 {
                let at = 3 * 3600 + line * 7200 / 204;
                let (h, m, s) = (at / 3600, at / 60 % 60, at % 60);
                writeln!(
                    text,
                    "{h:02}:{m:02}:{s:02} futex(0x7f1c2a0, FUTEX_WAKE, 1) = {night:<20}"
                )
                .unwrap();
            }
        }
        assert_eq!(sampled_file(&text).days(), 399);
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
