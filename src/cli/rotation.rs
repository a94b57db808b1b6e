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

/// How the old file is renamed and how many old files are kept.
pub(super) struct Former {
    /// The suffix of its name, after a dot: the start of its period, in UTC.
    pub suffix: String,
    /// The number of old files that are kept; `None`: all.
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

    /// Advances to the period of `now`. Returns how the file of the previous period is renamed.
    pub(super) fn advance(&mut self, now: RecordTime) -> Former {
        let began = self.period.0;
        self.period = self.interval.around(now);
        let suffix = began.timestamp().map(|t| t.strftime("%Y%m%dT%H%M%SZ").to_string());
        Former { suffix: suffix.unwrap_or_default(), keep: self.keep }
    }
}
