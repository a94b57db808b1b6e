//! [`Tables`]: joins snapshots of the table, so that a flow in several snapshots counts once.

use foldhash::quality::RandomState;
use hashbrown::HashMap;

use jiff::tz::TimeZone;

use super::entry::{ENDING, Entry, TIME_WAIT};
use crate::parse::host::{Ends, Host};
use crate::parse::input::Input;
use crate::parse::timestamp::{SECOND, moment_in};
use crate::{Connection, RecordTime, SourceStatus};

/// The key of a flow: client, its port, server, its port.
pub(crate) type FlowKey = (Host, Option<u16>, Host, Option<u16>);

/// Returns the key of the flow between `ends`.
pub(crate) fn flow_key(ends: &Ends) -> FlowKey {
    (ends.client.clone(), ends.client_port, ends.server.clone(), ends.server_port)
}

/// State of a flow in the snapshot in which it was seen last.
struct Known {
    /// Number of the snapshot.
    seen: u64,
    /// Time of the snapshot, in nanoseconds.
    at: Option<i64>,
    rank: u8,
    timeout: Option<i64>,
    id: Option<u64>,
    packets: Option<u64>,
    start: Option<i64>,
    /// The connection, while it is not known to be established.
    held: Option<Connection>,
}

/// When a snapshot was taken, as far as is known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moment {
    /// The time.
    pub time: Option<RecordTime>,
    /// Whether it is the time at which the file was last changed, which a copy of it may not have.
    pub is_of_file: bool,
}

impl Moment {
    /// The time in the name of a file, or else that of its last change.
    pub(crate) fn of_file(input: &Input, zone: &TimeZone) -> Moment {
        let name = input.path().and_then(|path| path.file_name()?.to_str());
        match name.and_then(|name| moment_in(name, zone)) {
            Some(time) => time.into(),
            None => Moment { time: input.modified().map(RecordTime::from), is_of_file: true },
        }
    }
}

impl From<RecordTime> for Moment {
    /// A time that the record has.
    fn from(time: RecordTime) -> Moment {
        Moment { time: Some(time), is_of_file: false }
    }
}

/// Finds new connections in a sequence of snapshots. Keeps the flows of the last one.
pub(crate) struct Tables {
    flows: HashMap<FlowKey, Known, RandomState>,
    number: u64,
    record_time: Option<RecordTime>,
    /// Whether any snapshot has the time of its file.
    has_file_time: bool,
    established: bool,
}

impl Tables {
    /// Creates it; with `established`, only established connections are given.
    pub(crate) fn new(established: bool) -> Tables {
        let (flows, number, record_time, has_file_time) = Default::default();
        Tables { flows, number, record_time, has_file_time, established }
    }

    /// Begins the next snapshot.
    pub(crate) fn begin(&mut self, moment: Moment) {
        // A flow that is missing in a snapshot has ended.
        let last = self.number;
        self.flows.retain(|_, known| known.seen == last);
        self.number += 1;
        self.record_time = moment.time;
        self.has_file_time |= moment.is_of_file && moment.time.is_some();
    }

    /// Notes that connections have the time of a file, if some have.
    pub(crate) fn note_file_time(&self, name: &str, status: &mut SourceStatus) {
        if self.has_file_time {
            status.warn(format!(
                "{name}: the record has no time of its own; the connections have that of the file's last change"
            ));
        }
    }

    /// Returns the number of snapshots so far.
    pub(crate) fn count(&self) -> u64 {
        self.number
    }

    /// Adds one entry of the current snapshot; passes new connections to `give`.
    pub(crate) fn take(&mut self, entry: &Entry, give: &mut dyn FnMut(Connection)) {
        let age = entry.age.and_then(|s| s.checked_mul(SECOND));
        let at = self.record_time.map(RecordTime::nanoseconds);
        let start = at.zip(age).map(|(at, age)| at.saturating_sub(age));
        let ends = &entry.ends;
        let flow = flow_key(ends);
        let number = self.number;
        let hold = self.established && !entry.established();
        let time = self
            .record_time
            .map(|m| m.shifted(jiff::SignedDuration::from_nanos(-age.unwrap_or(0))));
        let connection = || Connection { time, ..ends.connection() };
        let known = self.flows.entry(flow);
        let mut now = Known {
            seen: number,
            at,
            rank: entry.rank,
            timeout: entry.timeout,
            id: entry.id,
            packets: entry.packets,
            start,
            held: None,
        };
        match known {
            hashbrown::hash_map::Entry::Occupied(mut slot) => {
                let before = slot.get_mut();
                // The kernel may list an entry twice while the table changes.
                if before.seen != number && before.is_another(&now) {
                    if hold {
                        now.held = Some(connection());
                    } else {
                        give(connection());
                    }
                } else {
                    now.held = before.held.take();
                    if !hold && let Some(held) = now.held.take() {
                        give(held);
                    }
                }
                slot.insert(now);
            }
            hashbrown::hash_map::Entry::Vacant(slot) => {
                if hold {
                    now.held = Some(connection());
                } else {
                    give(connection());
                }
                slot.insert(now);
            }
        }
    }
}

impl Known {
    /// Whether `now` is another connection with the same addresses and ports.
    fn is_another(&self, now: &Known) -> bool {
        if let (Some(a), Some(b)) = (self.id, now.id) {
            return a != b;
        }
        if let (Some(a), Some(b)) = (self.start, now.start) {
            // Ages are in whole seconds.
            return b.saturating_sub(a) > 2 * SECOND;
        }
        if self.rank >= ENDING && now.rank < ENDING {
            return true;
        }
        if let (Some(a), Some(b)) = (self.packets, now.packets) {
            return b < a;
        }
        // The timeout of an entry in TIME_WAIT is normally not renewed.
        let passed = self.at.zip(now.at).map_or(0, |(a, b)| b.saturating_sub(a) / SECOND);
        let renewed = self
            .timeout
            .zip(now.timeout)
            .is_some_and(|(a, b)| b > a.saturating_sub(passed).saturating_add(5) && b > a);
        self.rank == TIME_WAIT && now.rank == TIME_WAIT && renewed
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::{Line, text};
    use super::*;

    /// Counts in snapshots 20 s apart; each entry is the text before and after its tuple.
    fn count(snapshots: &[&[(&str, &str)]]) -> usize {
        let mut tables = Tables::new(false);
        let mut given = 0;
        for (n, entries) in snapshots.iter().enumerate() {
            tables.begin(RecordTime::Clock(n as i64 * 20 * SECOND).into());
            for (state, rest) in *entries {
                let line = format!(
                    "tcp 6 {state} src=198.51.100.1 dst=192.0.2.77 sport=5 dport=80 {rest}"
                );
                let Line::Tcp(entry) = text(line.as_bytes()) else { panic!("{line}") };
                tables.take(&entry, &mut |_| given += 1);
            }
        }
        given
    }

    #[test]
    fn a_flow_in_several_snapshots_counts_once() {
        assert_eq!(
            count(&[&[("99 ESTABLISHED", "")], &[("110 TIME_WAIT", "")], &[("90 TIME_WAIT", "")]]),
            1
        );
        assert_eq!(count(&[&[("99 ESTABLISHED", ""), ("99 ESTABLISHED", "")]]), 1);
        assert_eq!(count(&[&[("99 SYN_SENT", "")], &[("100 SYN_SENT", "")]]), 1);
        let age = |n: &str| format!("delta-time={n}");
        let (a, b) = (age("3"), age("24"));
        assert_eq!(count(&[&[("9 ESTABLISHED", &a)], &[("9 ESTABLISHED", &b)]]), 1);
    }

    #[test]
    fn a_new_flow_on_the_same_ports_counts_again() {
        assert_eq!(count(&[&[("99 ESTABLISHED", "")], &[], &[("99 ESTABLISHED", "")]]), 2);
        assert_eq!(count(&[&[("99 TIME_WAIT", "")], &[("99 ESTABLISHED", "")]]), 2);
        assert_eq!(count(&[&[("30 TIME_WAIT", "")], &[("110 TIME_WAIT", "")]]), 2);
        assert_eq!(count(&[&[("9 ESTABLISHED", "id=1")], &[("9 ESTABLISHED", "id=2")]]), 2);
        assert_eq!(
            count(&[&[("9 ESTABLISHED", "packets=9")], &[("9 ESTABLISHED", "packets=3")]]),
            2
        );
        assert_eq!(
            count(&[&[("9 ESTABLISHED", "delta-time=30")], &[("9 ESTABLISHED", "delta-time=5")]]),
            2
        );
    }
}
