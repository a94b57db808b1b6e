//! [`Count`]: the sink that filters connections and tallies those that pass.

use crate::Connection;
use crate::connection::{Sink, Split};
use crate::filter::{Filter, Verdict};
use crate::tally::Tally;

/// Filter and tally in one, with counts of what the filter could not decide.
#[derive(Clone, Debug, Default)]
pub struct Count {
    /// What is asked for.
    pub filter: Filter,
    /// What passed.
    pub tally: Tally,
    /// Connections that were not asked for.
    pub filtered: u64,
    /// Connections that might have been asked for, had their local port been known.
    pub unknown_port: u64,
}

impl Sink for Count {
    fn take(&mut self, c: Connection) {
        match self.filter.judge(&c) {
            Verdict::Pass => self.tally.add(&c),
            Verdict::UnknownPort => self.unknown_port += 1,
            _ => self.filtered += 1,
        }
    }
}

impl Split for Count {
    fn part(&self) -> Count {
        Count { filter: self.filter.clone(), ..Count::default() }
    }

    fn merge(&mut self, later: Count) {
        for (ip, e) in later.tally.rows {
            self.tally.rows.entry(ip).or_default().count += e.count;
        }
        self.filtered += later.filtered;
        self.unknown_port += later.unknown_port;
    }
}
