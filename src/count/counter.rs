//! [`Count`]: a sink that filters connections and counts those that pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::count::Tally;
use crate::filter::{Filter, Verdict};
use crate::model::sink::{self, Sink, Summary, UsedFields};
use crate::{Connection, RecordTime};

/// Number of connections between two updates of the progress, which all threads share.
const PROGRESS_STEP: u64 = 1000;

/// A filter and a tally, with the number of connections that the filter could not decide on.
#[derive(Clone, Debug, Default)]
pub struct Count {
    /// Which connections are counted.
    pub filter: Filter,
    /// Connections that passed, by key.
    pub tally: Tally,
    /// How many connections passed, and how many did not.
    pub sums: Sums,
    /// Times of the first and the last connection, passed or not, if the filter has a period.
    pub seen: Option<(RecordTime, RecordTime)>,
    /// The progress counter shared by all threads that read a record.
    pub(crate) progress: Option<Arc<AtomicU64>>,
    /// How many of the connections have been added to `progress`.
    in_progress: u64,
    /// The connections that passed since the last call of [`Sink::take_summary`].
    recent: Summary,
}

/// Numbers of connections by the result of the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Sums {
    /// Counted: the sum of all rows.
    pub total: u64,
    /// Counted, but the peer is not known.
    pub no_peer: u64,
    /// Counted, but the time is not known.
    pub no_time: u64,
    /// Counted, but in no interval, because the time is not known precisely enough.
    pub no_interval: u64,
    /// Not selected by the filter.
    pub filtered: u64,
    /// Not counted, because the filter needs the local port, which is not known.
    pub unknown_port: u64,
    /// Not counted, because the filter needs the peer, which is not known.
    pub undecided_peer: u64,
    /// Not counted, because the filter needs the time, which is not known.
    pub undecided_time: u64,
    /// Those among them that come as a sum over a time that the period divides.
    pub undecided_span: u64,
}

impl Count {
    /// Creates a counter for connections that pass `filter`.
    pub fn new(filter: Filter, tally: Tally) -> Count {
        Count { filter, tally, ..Count::default() }
    }

    /// Returns an empty counter with the same filter and keys.
    pub fn empty(&self) -> Count {
        let progress = self.progress.clone();
        Count { progress, ..Count::new(self.filter.clone(), self.tally.part()) }
    }

    /// Adds what another counter has counted.
    pub fn add(&mut self, later: Count) {
        self.tally.merge(later.tally);
        self.sums.add(later.sums);
        self.in_progress = self.in_progress.saturating_add(later.in_progress);
        self.recent.add(later.recent);
        if let Some((first, last)) = later.seen {
            self.see(first, last);
        }
    }

    /// Returns whether a connection passes, and adds it to the sums, but not to the tally.
    pub(crate) fn passes(&mut self, c: &Connection) -> bool {
        self.pass(c, 1, c.time)
    }

    fn pass(&mut self, c: &Connection, count: u64, last: Option<RecordTime>) -> bool {
        if !self.filter.period.is_all()
            && let Some((first, last)) = c.time.zip(last)
        {
            self.see(first, last);
        }
        let verdict = self.filter.judge_many(c, last);
        if verdict == Verdict::UnknownTime && c.time.is_some() && c.time != last {
            self.sums.undecided_span = self.sums.undecided_span.saturating_add(count);
        }
        let passes = self.sums.note(verdict, c, count);
        if passes {
            self.recent.add(Summary { total: count, first: c.time, last });
        }
        if self.progress.is_some() && self.sums.total - self.in_progress >= PROGRESS_STEP {
            self.show_progress();
        }
        passes
    }

    fn show_progress(&mut self) {
        if let Some(progress) = &self.progress {
            progress.fetch_add(self.sums.total - self.in_progress, Ordering::Relaxed);
        }
        self.in_progress = self.sums.total;
    }

    fn see(&mut self, first: RecordTime, last: RecordTime) {
        self.seen = Some(match self.seen {
            Some((a, b)) => (a.min(first), b.max(last)),
            None => (first, last),
        });
    }
}

impl Sums {
    /// Number of connections that the filter could not decide on.
    pub fn undecided(&self) -> u64 {
        let left_out = self.unknown_port.saturating_add(self.undecided_peer);
        left_out.saturating_add(self.undecided_time)
    }

    /// Adds the result for a connection, and returns whether it passed.
    fn note(&mut self, verdict: Verdict, c: &Connection, count: u64) -> bool {
        let sum = match verdict {
            Verdict::Pass => {
                if c.ip.is_none() && c.host.is_none() {
                    self.no_peer = self.no_peer.saturating_add(count);
                }
                if c.time.is_none() {
                    self.no_time = self.no_time.saturating_add(count);
                }
                &mut self.total
            }
            Verdict::Drop => &mut self.filtered,
            Verdict::UnknownPort => &mut self.unknown_port,
            Verdict::UnknownPeer => &mut self.undecided_peer,
            Verdict::UnknownTime => &mut self.undecided_time,
        };
        // A record may contain any number.
        *sum = sum.saturating_add(count);
        verdict == Verdict::Pass
    }

    fn add(&mut self, other: Sums) {
        let Sums {
            total,
            no_peer,
            no_time,
            no_interval,
            filtered,
            unknown_port,
            undecided_peer,
            undecided_time,
            undecided_span,
        } = other;
        for (sum, more) in [
            (&mut self.total, total),
            (&mut self.no_peer, no_peer),
            (&mut self.no_time, no_time),
            (&mut self.no_interval, no_interval),
            (&mut self.filtered, filtered),
            (&mut self.unknown_port, unknown_port),
            (&mut self.undecided_peer, undecided_peer),
            (&mut self.undecided_time, undecided_time),
            (&mut self.undecided_span, undecided_span),
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

    fn take_summary(&mut self) -> Summary {
        std::mem::take(&mut self.recent)
    }

    fn set_machine(&mut self, machine: Option<Arc<str>>) {
        self.tally.keys.set_record_host(machine);
    }

    fn is_ordered(&self) -> bool {
        false
    }

    fn used_fields(&self) -> UsedFields {
        if !self.filter.period.is_all() || !self.tally.alike() {
            return UsedFields::All;
        }
        let requested = self.tally.keys.requested();
        if requested.local || requested.local_ip || !self.filter.ports.0.is_empty() {
            UsedFields::Ends
        } else {
            UsedFields::Peer
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count::{Key, Keys, Mask};
    use crate::filter::Ports;

    #[test]
    fn local_ends_are_used_only_by_their_keys_and_by_ports() {
        let count = |keys: &[Key], ports: &[u16]| {
            let ports = Ports(ports.iter().map(|port| *port..=*port).collect());
            let filter = Filter { ports, ..Filter::default() };
            let tally = Tally::new(Keys::new(keys, Mask::default()), None, None);
            Count::new(filter, tally).used_fields()
        };
        assert_eq!(count(&[Key::Ip], &[]), UsedFields::Peer);
        assert_eq!(count(&[Key::Ip], &[443]), UsedFields::Ends);
        assert_eq!(count(&[Key::Ip, Key::Port], &[]), UsedFields::Ends);
        assert_eq!(count(&[Key::Local], &[]), UsedFields::Ends);
        assert_eq!(count(&[Key::Pid], &[]), UsedFields::All);
    }
}
