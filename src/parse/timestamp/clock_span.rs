//! [`ClockSpan`]: how time passes from line to line.
//!
//! Bare clock times have no date: a step back by more than an hour is a midnight that has passed.
//! A smaller one is a clock that was set, or the end of summer time. Relative times are added up.
//! Both can be done for a block of lines by itself, and blocks be joined afterwards.

use super::{DAY, HOUR, MINUTE, Stamp};

/// How many midnights lie between two lines.
fn midnights(before: i64, after: i64) -> i64 {
    if after < before - HOUR {
        1
    } else if after >= before + DAY - MINUTE {
        // A line out of order, at midnight.
        -1
    } else {
        0
    }
}

/// What the lines of a block (or of a whole log) say of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockSpan {
    /// The first and the last bare clock time.
    clock: Option<(i64, i64)>,
    /// Midnights between them.
    days: i64,
    /// The sum of relative times.
    elapsed: i64,
}

impl ClockSpan {
    /// Takes the time of the next line, and gives it counted from the beginning of the block.
    #[inline]
    pub fn see(&mut self, stamp: Stamp) -> Stamp {
        match stamp {
            Stamp::Clock(now) => {
                if let Some((_, last)) = &mut self.clock {
                    // Mostly none.
                    if !(0..MINUTE).contains(&(now - *last)) {
                        self.days += midnights(*last, now);
                    }
                    *last = now;
                } else {
                    self.clock = Some((now, now));
                }
                Stamp::Clock(self.days * DAY + now)
            }
            Stamp::Since(ns) => {
                self.elapsed = self.elapsed.saturating_add(ns);
                Stamp::Since(self.elapsed)
            }
            other => other,
        }
    }

    /// Joins the block that comes next, and gives what must be added to its times.
    pub fn join(&mut self, next: &ClockSpan) -> Base {
        let elapsed = self.elapsed;
        self.elapsed = self.elapsed.saturating_add(next.elapsed);
        let Some((first, last)) = next.clock else { return Base { clock: 0, elapsed } };
        let before = self.clock.map_or(0, |(_, last)| midnights(last, first));
        let days = self.days + before;
        self.clock = Some((self.clock.map_or(first, |(first, _)| first), last));
        self.days = days + next.days;
        Base { clock: days.saturating_mul(DAY), elapsed }
    }

    /// Midnights from the first clock time to the last.
    pub fn days(&self) -> i64 {
        self.days
    }

    /// The first and the last bare clock time, in nanoseconds since midnight.
    pub fn clock(&self) -> Option<(i64, i64)> {
        self.clock
    }
}

/// What must be added to the times of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Base {
    clock: i64,
    elapsed: i64,
}

impl Base {
    /// The time from the beginning of the log.
    #[inline]
    pub fn apply(&self, stamp: Stamp) -> Stamp {
        match stamp {
            Stamp::Clock(t) => Stamp::Clock(t.saturating_add(self.clock)),
            Stamp::Since(t) => Stamp::Since(t.saturating_add(self.elapsed)),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(h: i64, m: i64) -> Stamp {
        Stamp::Clock((h * 60 + m) * MINUTE)
    }

    #[test]
    fn blocks_join_like_one() {
        let lines = [at(10, 0), at(9, 50), at(23, 59), at(0, 0), at(23, 59), at(0, 1), at(8, 0)];
        let mut whole = ClockSpan::default();
        let all: Vec<Stamp> = lines.iter().map(|s| whole.see(*s)).collect();
        assert_eq!(whole.days(), 1);
        for cut in 0..lines.len() {
            let mut log = ClockSpan::default();
            let mut got = Vec::new();
            for part in [&lines[..cut], &lines[cut..]] {
                let mut block = ClockSpan::default();
                let stamps: Vec<Stamp> = part.iter().map(|s| block.see(*s)).collect();
                let base = log.join(&block);
                got.extend(stamps.into_iter().map(|s| base.apply(s)));
            }
            assert_eq!((got, log), (all.clone(), whole), "{cut}");
        }
    }
}
