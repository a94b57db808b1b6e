//! [`Filter`]: local ports, remote networks, period.

use ipnet::IpNet;

use crate::{Connection, Moment};

/// Which connections are counted. The default passes all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Local ports; empty: all.
    pub ports: Vec<std::ops::RangeInclusive<u16>>,
    /// Remote networks that are counted; empty: all.
    pub from: Vec<IpNet>,
    /// Remote networks that are not.
    pub not_from: Vec<IpNet>,
    /// The period begins here.
    pub since: Option<Moment>,
    /// The period ends before this.
    pub until: Option<Moment>,
}

/// What the filter says of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is counted.
    Pass,
    /// It was not asked for.
    Drop,
    /// It would be counted if its local port were one of those, which nobody knows.
    UnknownPort,
    /// It would be counted if its peer were in one of those networks, which nobody knows.
    UnknownPeer,
    /// It would be counted if its time were in the period, which nobody knows.
    UnknownTime,
}

impl Filter {
    /// Judges one connection.
    pub fn judge(&self, c: &Connection) -> Verdict {
        let _ = c;
        Verdict::Pass
    }
}
