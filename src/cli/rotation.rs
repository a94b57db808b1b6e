//! [`Rotation`]: a new output file for each period of the clock.

use super::args::{CountArgs, RotateArgs};
use super::request::Usage;
use crate::RecordTime;
use crate::time::interval::Interval;
use crate::time::local_zone;

/// When the next file begins.
pub(super) struct Rotation {
    interval: Interval,
    keep: Option<usize>,
    /// The beginning of the present file, and that of the next.
    period: (RecordTime, RecordTime),
}

/// What becomes of a file when the next begins.
pub(super) struct Former {
    /// Follows its name and a dot: when its period began, in UTC.
    pub suffix: String,
    /// The number of former files that are kept; `None`: all.
    pub keep: Option<usize>,
}

impl Rotation {
    /// Reads the options.
    pub(super) fn new(args: &RotateArgs, count: &CountArgs) -> Result<Option<Rotation>, Usage> {
        let Some(length) = args.rotate else { return Ok(None) };
        if !count.events && (count.interval.is_none() || count.format.is_one_document()) {
            return Err(Usage(
                "--rotate is for what is written as it comes: --events, or --interval with --format csv, \
                 jsonl, plain or table; a report in one document is written anew each time"
                    .into(),
            ));
        }
        let interval = Interval { length, zone: local_zone() };
        let period = interval.around(RecordTime::now());
        Ok(Some(Rotation { interval, keep: args.keep, period }))
    }

    /// When the next file begins.
    pub(super) fn end(&self) -> RecordTime {
        self.period.1
    }

    /// Goes on to the period of `now`. Returns what becomes of the file of the one before.
    pub(super) fn advance(&mut self, now: RecordTime) -> Former {
        let began = self.period.0;
        self.period = self.interval.around(now);
        let suffix = began.timestamp().map(|t| t.strftime("%Y%m%dT%H%M%SZ").to_string());
        Former { suffix: suffix.unwrap_or_default(), keep: self.keep }
    }
}
