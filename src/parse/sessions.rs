//! [`Sessions`]: joins the lines of a session in logs that have its start, perhaps several times, and its end.
//!
//! Each rule of a firewall decides what is logged, so a log may have the start of one session, the end of another, and
//! both of a third. A session counts at its start, or else at its end. Exported logs may have the newest line first: then
//! the end comes before the start, and is held for a while.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::BuildHasher;

use foldhash::quality::RandomState;

use super::event::Event;
use super::host::Ends;
use crate::model::plural;
use crate::{RecordTime, ShortfallKind, SourceStatus};

/// Maximum number of sessions whose starts are remembered: twice this.
const MAX_STARTED: usize = if cfg!(test) { 1 << 10 } else { 1 << 19 };

/// Maximum number of ends that are held.
const MAX_HELD: usize = 1 << 14;

/// The hash of the ends and the number of a session. Clients choose their ports, so it has a key.
type Key = u64;

/// See the module.
#[derive(Default)]
pub(super) struct Sessions {
    hasher: RandomState,
    /// Sessions that have counted. One is in `young` if it counted lately.
    young: HashSet<Key>,
    old: HashSet<Key>,
    /// Ends without a start so far.
    held: VecDeque<Held>,
    /// Numbers of those in `held`, counted from the first that was ever held.
    places: HashMap<Key, u64>,
    /// Number of those that have left `held`.
    released: u64,
    /// The earliest time in the log so far, in nanoseconds.
    first: Option<i64>,
    latest: Option<i64>,
    /// The latest time when `old` was begun, and when what it replaced was: sessions that began until then are forgotten.
    old_until: Option<i64>,
    forgotten: Option<i64>,
    unjoined: Unjoined,
}

/// The end of a session.
struct Held {
    key: Key,
    /// `None`: its start came.
    event: Option<(Event, Option<RecordTime>)>,
}

/// Sessions of which the log has only the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unjoined {
    /// They count: they began in the time of the log, or it has no times.
    pub counted: u64,
    /// They had begun before it.
    pub midstream: u64,
    /// Their start may have been logged so long ago that it is not remembered.
    pub undecided: u64,
}

impl Unjoined {
    /// Reports those of which it is not known whether they count.
    pub(super) fn report(self, name: &str, status: &mut SourceStatus) {
        let Unjoined { counted, undecided, .. } = self;
        status.record_shortfall(
            ShortfallKind::UnreadInput,
            // If all others have their start, then these do.
            if counted > 0 { undecided } else { 0 },
            format!(
                "{name}: {} left out, because it is not known whether {} started in the record: it is too large; \
                 split it",
                plural(undecided, "end of a session is", "ends of sessions are"),
                if undecided == 1 { "it" } else { "they" },
            ),
        );
    }
}

impl Sessions {
    /// Takes the start of a session with a number that no other one between the same ends has, if it is known.
    /// Returns whether the session counts.
    pub(super) fn starts(
        &mut self,
        ends: &Ends,
        number: Option<u64>,
        time: Option<RecordTime>,
    ) -> bool {
        let key = self.key(ends, number);
        self.note(time.map(RecordTime::nanoseconds));
        if let Some(place) = self.places.remove(&key)
            && let Ok(at) = usize::try_from(place - self.released)
        {
            self.held[at].event = None;
        }
        let is_known = !self.remember(key);
        !(is_known && number.is_some())
    }

    /// Takes the end of a session, and gives those that certainly have no start in the log.
    pub(super) fn ends(
        &mut self,
        event: Event,
        number: Option<u64>,
        time: Option<RecordTime>,
        give: &mut dyn FnMut(Event, Option<RecordTime>),
    ) {
        let key = self.key(&event.ends, number);
        let begun = begun(&event, time);
        self.note(begun.map(|begun| begun.saturating_add(lasted(&event))));
        if self.young.contains(&key) || self.old.contains(&key) || self.places.contains_key(&key) {
            return;
        }
        if begun.is_some() && begun <= self.forgotten {
            self.unjoined.undecided += 1;
            return;
        }
        self.places.insert(key, self.released + self.held.len() as u64);
        self.held.push_back(Held { key, event: Some((event, time)) });
        if self.held.len() > MAX_HELD {
            self.release(give);
        }
    }

    /// Ends the log: gives all ends that are still held and count.
    pub(super) fn finish(mut self, give: &mut dyn FnMut(Event, Option<RecordTime>)) -> Unjoined {
        while !self.held.is_empty() {
            self.release(give);
        }
        self.unjoined
    }

    /// Decides about the first of the ends that are held.
    fn release(&mut self, give: &mut dyn FnMut(Event, Option<RecordTime>)) {
        let Some(Held { key, event }) = self.held.pop_front() else { return };
        self.released += 1;
        let Some((event, time)) = event else { return };
        self.places.remove(&key);
        if begun(&event, time).is_some_and(|begun| Some(begun) <= self.first) {
            self.unjoined.midstream += 1;
            return;
        }
        self.unjoined.counted += 1;
        self.remember(key);
        give(event, time);
    }

    fn key(&self, ends: &Ends, number: Option<u64>) -> Key {
        let Ends { client, client_port, server, server_port } = ends;
        self.hasher.hash_one((client, client_port, server, server_port, number))
    }

    /// Notes the time of a line.
    fn note(&mut self, time: Option<i64>) {
        self.first = self.first.into_iter().chain(time).min();
        self.latest = self.latest.max(time);
    }

    /// Remembers that a session has counted; false: it had before.
    fn remember(&mut self, key: Key) -> bool {
        if self.young.len() >= MAX_STARTED {
            self.forgotten = std::mem::replace(&mut self.old_until, self.latest);
            self.old = std::mem::take(&mut self.young);
        }
        !self.old.contains(&key) && self.young.insert(key)
    }
}

/// When the session of an end began.
fn begun(event: &Event, time: Option<RecordTime>) -> Option<i64> {
    time.map(|time| time.nanoseconds().saturating_sub(event.before))
}

/// How long the session of an end lasted.
fn lasted(event: &Event) -> i64 {
    let duration = event.more.transport.as_ref().and_then(|transport| transport.duration);
    duration.and_then(|duration| i64::try_from(duration.as_nanos()).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::host::Host;
    use crate::parse::timestamp::{SECOND, Stamp};

    struct Bench {
        sessions: Sessions,
        given: u64,
    }

    impl Bench {
        fn new() -> Bench {
            Bench { sessions: Sessions::default(), given: 0 }
        }

        fn ends(server: u8) -> Ends {
            let address = |text: String| Host::address(text.as_bytes()).unwrap();
            Ends {
                client: address("198.51.100.7".into()),
                client_port: Some(40755),
                server: address(format!("192.0.2.{server}")),
                server_port: Some(443),
            }
        }

        fn start(&mut self, server: u8, number: Option<u64>, at: i64) {
            let time = Some(RecordTime::Clock(at * SECOND));
            self.given += u64::from(self.sessions.starts(&Bench::ends(server), number, time));
        }

        /// The session lasted from `begun` to `at`.
        fn end(&mut self, server: u8, number: Option<u64>, begun: i64, at: i64) {
            let mut event = Event::new(Stamp::None, Bench::ends(server), None);
            event.before = (at - begun) * SECOND;
            event.more.transport = Some(Box::new(crate::Transport {
                duration: Some(std::time::Duration::from_secs((at - begun).unsigned_abs())),
                ..crate::Transport::default()
            }));
            let time = Some(RecordTime::Clock(at * SECOND));
            self.sessions.ends(event, number, time, &mut |_, _| self.given += 1);
        }

        fn finish(mut self) -> (u64, Unjoined) {
            let unjoined = self.sessions.finish(&mut |_, _| self.given += 1);
            (self.given, unjoined)
        }
    }

    #[test]
    fn a_scanner_with_one_port_has_a_session_with_each_server() {
        let mut b = Bench::new();
        for server in 0..=255 {
            b.start(server, Some(server.into()), 0);
            b.start(server, Some(server.into()), 1);
        }
        assert_eq!(b.finish().0, 256);
    }

    #[test]
    fn starts_without_a_number_count_each() {
        let mut b = Bench::new();
        for at in 0..3 {
            b.start(1, None, at);
        }
        assert_eq!(b.finish().0, 3);
    }

    #[test]
    fn a_session_without_a_start_counts_at_its_end_if_it_began_in_the_log() {
        for newest_first in [false, true] {
            let mut lines: [fn(&mut Bench); 6] = [
                |b| b.start(1, Some(1), 10),
                |b| b.end(1, Some(1), 10, 12),
                |b| b.end(2, Some(2), 5, 13),
                |b| b.end(3, Some(3), 11, 14),
                // The log was sent to two places, and joined.
                |b| b.end(3, Some(3), 11, 14),
                |b| b.end(1, Some(1), 10, 12),
            ];
            if newest_first {
                lines.reverse();
            }
            let mut b = Bench::new();
            lines.into_iter().for_each(|line| line(&mut b));
            let unjoined = Unjoined { counted: 1, midstream: 1, undecided: 0 };
            assert_eq!(b.finish(), (2, unjoined), "{newest_first}");
        }
    }

    #[test]
    fn memory_is_bounded_and_what_is_forgotten_is_not_guessed() {
        let mut b = Bench::new();
        for number in 0..3 * MAX_STARTED as u64 {
            b.start(1, Some(number), number as i64);
        }
        assert!(b.sessions.young.len() + b.sessions.old.len() <= 2 * MAX_STARTED);
        b.end(1, Some(0), 0, 3 * MAX_STARTED as i64);
        for number in 0..2 * MAX_HELD as u64 {
            let at = (3 * MAX_STARTED as u64 + number) as i64;
            b.end(2, Some(number), at, at);
        }
        assert!(b.sessions.held.len() <= MAX_HELD && b.sessions.places.len() <= MAX_HELD);
        let counted = 2 * MAX_HELD as u64;
        let unjoined = Unjoined { counted, midstream: 0, undecided: 1 };
        assert_eq!(b.finish(), (3 * MAX_STARTED as u64 + counted, unjoined));
    }
}
