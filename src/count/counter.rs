//! [`Count`]: the sink that filters connections and tallies those that pass.

use crate::count::Tally;
use crate::filter::{Filter, Verdict};
use crate::model::sink::{self, Sink};
use crate::{Connection, RecordTime};

/// Filter and tally in one, with counts of what could not be decided.
#[derive(Clone, Debug, Default)]
pub struct Count {
    /// What is asked for.
    pub filter: Filter,
    /// What passed, by key.
    pub tally: Tally,
    /// How many passed, and how many did not.
    pub sums: Sums,
    /// Times of the first and the last of all, passed or not, where there is a period.
    pub seen: Option<(RecordTime, RecordTime)>,
}

/// How many connections there were of each sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Sums {
    /// Those that were counted: all rows together.
    pub total: u64,
    /// Those among them whose peer is not known.
    pub no_peer: u64,
    /// Those among them that are in no interval: their time is not known, or not well enough.
    pub no_interval: u64,
    /// Not asked for.
    pub filtered: u64,
    /// Not counted: whether their local port was asked for is not known.
    pub unknown_port: u64,
    /// Not counted: whether their peer was asked for is not known.
    pub undecided_peer: u64,
    /// Not counted: whether their time is in the period is not known.
    pub undecided_time: u64,
}

impl Count {
    /// Counts what passes `filter`.
    pub fn new(filter: Filter, tally: Tally) -> Count {
        Count { filter, tally, ..Count::default() }
    }

    /// Returns an empty counter with the same filter and keys.
    pub fn empty(&self) -> Count {
        Count::new(self.filter.clone(), self.tally.part())
    }

    /// Adds what another counter has counted.
    pub fn add(&mut self, later: Count) {
        self.tally.merge(later.tally);
        self.sums.add(later.sums);
        if let Some((first, last)) = later.seen {
            self.see(first, last);
        }
    }

    /// Whether a connection passes. Takes note of it, but does not tally it.
    pub fn passes(&mut self, c: &Connection) -> bool {
        self.pass(c, 1, c.time)
    }

    fn pass(&mut self, c: &Connection, count: u64, last: Option<RecordTime>) -> bool {
        if !self.filter.period.is_all()
            && let Some((first, last)) = c.time.zip(last)
        {
            self.see(first, last);
        }
        self.sums.note(self.filter.judge_many(c, last), c, count)
    }

    fn see(&mut self, first: RecordTime, last: RecordTime) {
        self.seen = Some(match self.seen {
            Some((a, b)) => (a.min(first), b.max(last)),
            None => (first, last),
        });
    }
}

impl Sums {
    /// Connections that were left out although they may be among those that were asked for.
    pub fn undecided(&self) -> u64 {
        let left_out = self.unknown_port.saturating_add(self.undecided_peer);
        left_out.saturating_add(self.undecided_time)
    }

    /// Takes note of a verdict, and says whether the connection passed.
    fn note(&mut self, verdict: Verdict, c: &Connection, count: u64) -> bool {
        let sum = match verdict {
            Verdict::Pass => {
                if c.ip.is_none() && c.host.is_none() {
                    self.no_peer = self.no_peer.saturating_add(count);
                }
                &mut self.total
            }
            Verdict::Drop => &mut self.filtered,
            Verdict::UnknownPort => &mut self.unknown_port,
            Verdict::UnknownPeer => &mut self.undecided_peer,
            Verdict::UnknownTime => &mut self.undecided_time,
        };
        // A record may claim any number.
        *sum = sum.saturating_add(count);
        verdict == Verdict::Pass
    }

    fn add(&mut self, other: Sums) {
        let Sums {
            total,
            no_peer,
            no_interval,
            filtered,
            unknown_port,
            undecided_peer,
            undecided_time,
        } = other;
        for (sum, more) in [
            (&mut self.total, total),
            (&mut self.no_peer, no_peer),
            (&mut self.no_interval, no_interval),
            (&mut self.filtered, filtered),
            (&mut self.unknown_port, unknown_port),
            (&mut self.undecided_peer, undecided_peer),
            (&mut self.undecided_time, undecided_time),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

impl Sink for Count {
    fn take(&mut self, c: Connection) {
        let last = c.time;
        self.take_many(c, 1, last);
    }

    fn take_many(&mut self, c: Connection, count: u64, last: Option<RecordTime>) {
        if self.pass(&c, count, last)
            && !self.tally.add_many(&c, count, last)
            && self.tally.interval.is_some()
        {
            self.sums.no_interval = self.sums.no_interval.saturating_add(count);
        }
    }

    fn is_ordered(&self) -> bool {
        false
    }

    fn can_coalesce(&self) -> bool {
        self.filter.period.is_all() && self.tally.alike()
    }

    fn part(&self) -> Box<dyn Sink> {
        Box::new(self.empty())
    }

    fn merge(&mut self, later: Box<dyn Sink>) {
        if let Some(later) = sink::downcast(later) {
            self.add(later);
        }
    }
}
