//! [`Ledger`]: puts dumps and notices together, so that every connection counts once.
//!
//! A connection is known by the cookie of its socket. It is seen in a dump, or in the notice of
//! its end, or in both. The ledger must be told in this order: notices that came before a dump
//! was asked for, the dump, notices that came later. Then a socket that is in a dump and not
//! known is new, since the notice of its end cannot have been told yet; and a notice of a socket
//! that is not known is of one that came and went after the dump before.

use std::collections::{HashMap, VecDeque};

use super::listeners::Listeners;
use super::wire::{End, Info, Socket, state};

/// A point in time: nanoseconds since 1970.
pub type Nanos = i64;

/// Notices are sent up to this much after the end that they tell of: the kernel leaves them to a
/// thread, which has to wait for its turn.
pub const LATE: Nanos = 100_000_000;

/// So many former dumps are remembered at the least: notices are that late very rarely.
const DUMPS: usize = 32;

/// tcp_info counts in the kernel's ticks, of 10 ms at the most.
const TICK: Nanos = 10_000_000;

/// When something happened, as near as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Not before.
    pub after: Nanos,
    /// Not after.
    pub before: Nanos,
}

/// A connection that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// This side.
    pub local: End,
    /// The client.
    pub peer: End,
    /// When it began.
    pub began: Span,
    /// When it ended, or, if it had not, when it was last seen, where that is known.
    pub until: Option<Nanos>,
    /// How it fared until then.
    pub info: Option<Info>,
}

/// The sockets that the kernel has at one time.
#[derive(Clone, Debug, Default)]
pub struct Dump {
    /// When it was asked for.
    pub start: Nanos,
    /// When it was complete.
    pub end: Nanos,
    /// Listeners and connections on the watched ports.
    pub sockets: Vec<Socket>,
}

impl Dump {
    /// How many connections are over, but are told of by nothing than that they wait to be
    /// accepted: the client has reset them, and the kernel keeps them for the server.
    pub fn hidden(&self) -> u64 {
        let mut waiting: HashMap<u16, i64> = HashMap::new();
        for s in &self.sockets {
            *waiting.entry(s.local.1).or_default() += match s.state {
                state::LISTEN => s.queue.into(),
                state::ESTABLISHED | state::CLOSE_WAIT if !s.owned => -1,
                _ => 0,
            };
        }
        waiting.into_values().map(|n| n.max(0) as u64).sum()
    }
}

/// A socket whose end is awaited.
#[derive(Clone, Copy, Debug)]
struct Open {
    seen: Seen,
    what: What,
    /// The number of the last dump that had it.
    dump: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Waits for connections.
    Listener,
    /// Does not count: open when watching began, or outbound.
    Ignored,
    /// Has been given.
    Given,
    /// Counts, and will be given at its end.
    Kept,
}

/// A connection for which no listener is known that it could have come from.
#[derive(Clone, Copy, Debug)]
struct Undecided {
    seen: Seen,
    /// The numbers of the dumps after which it began, the first and the last that it can be.
    born: (u32, u32),
    ended: bool,
    /// As of [`Open`].
    dump: u32,
}

/// What is known of the sockets on the watched ports.
#[derive(Debug)]
pub struct Ledger {
    /// Give connections at their end, with how they fared, rather than at once.
    keep: bool,
    open: HashMap<u64, Open>,
    undecided: HashMap<u64, Undecided>,
    listeners: Listeners,
    /// The number of the last dump, and when it and others before it were taken.
    dump: u32,
    dumps: VecDeque<Span>,
    /// Since when connections count.
    started: Nanos,
    given: Vec<Seen>,
    passive: u64,
    opened_before: u64,
    vanished: u64,
}

impl Ledger {
    /// A ledger without any entry. With `keep`, it gives connections at their end.
    pub fn new(keep: bool) -> Ledger {
        Ledger {
            keep,
            open: HashMap::new(),
            undecided: HashMap::new(),
            listeners: Listeners::default(),
            dump: 0,
            dumps: VecDeque::new(),
            started: 0,
            given: Vec::new(),
            passive: 0,
            opened_before: 0,
            vanished: 0,
        }
    }

    /// Takes note of what is open before counting begins.
    pub fn open_before(&mut self, dump: &Dump) {
        let taken = self.begin_dump(dump);
        self.started = dump.start;
        for s in dump.sockets.iter().filter(|s| is_connection(s)) {
            let seen = seen(s, taken, None);
            let open = Open { seen, what: What::Ignored, dump: self.dump };
            let new = self.open.insert(s.cookie, open).is_none();
            if new && self.listeners.had(s.local, self.dump, self.dump) {
                self.opened_before += 1;
            }
        }
    }

    /// Takes note of an end before counting begins.
    pub fn ended_before(&mut self, s: &Socket) {
        self.open.remove(&s.cookie);
    }

    /// Brings everything up to date with a dump.
    pub fn dumped(&mut self, dump: &Dump) {
        let former = self.dumps.back().map_or(dump.start, |former| former.after);
        self.begin_dump(dump);
        let began = Span { after: former, before: dump.end };
        for s in dump.sockets.iter().filter(|s| is_connection(s)) {
            if let Some(open) = self.open.get_mut(&s.cookie) {
                open.dump = self.dump;
                (open.seen.info, open.seen.until) = (s.info, Some(dump.end));
            } else if let Some(known) = self.undecided.get_mut(&s.cookie) {
                known.dump = self.dump;
                (known.seen.info, known.seen.until) = (s.info, Some(dump.end));
            } else {
                let seen = seen(s, began, Some(dump.end));
                let dump = self.dump;
                if self.listeners.had(s.local, dump - 1, dump - 1) {
                    self.opened(s.cookie, Open { seen, what: What::Kept, dump });
                } else {
                    let new = Undecided { seen, born: (dump - 1, dump - 1), ended: false, dump };
                    self.undecided.insert(s.cookie, new);
                }
            }
        }
        self.decide(false);
        self.listeners.prune(self.dump.saturating_sub(DUMPS as u32));
    }

    /// Takes note of a notice that a socket has ended, sent and received in this span.
    pub fn ended(&mut self, s: &Socket, told: Span) {
        let at = told.before;
        if let Some(open) = self.open.remove(&s.cookie) {
            match open.what {
                What::Listener => self.listeners.note(s.local, self.dump),
                What::Ignored | What::Given => {}
                What::Kept => self.given.push(ended(open.seen, s, at)),
            }
        } else if let Some(known) = self.undecided.get_mut(&s.cookie) {
            known.seen = ended(known.seen, s, at);
            known.ended = true;
        } else if s.peer.0.is_unspecified() {
            // A listener that came and went between two dumps.
            self.listeners.note(s.local, self.dump);
        } else if s.state == state::CLOSE {
            self.came_and_went(s, told);
        }
        // In any other state it never was a connection: two processors took the client's last
        // word of the handshake at once, and the socket of one of them was thrown away.
    }

    /// A connection that no dump has seen.
    fn came_and_went(&mut self, s: &Socket, told: Span) {
        let at = told.before;
        let before = at - s.info.map_or(0, |i| least_age(&i, is_wiped(s)));
        let s = &Socket { info: s.info.filter(|_| !is_wiped(s)), ..*s };
        // One that was over before counting began may have been kept by the server until now.
        if before < self.started || s.info.is_some_and(|i| opened_here(&i)) {
            return;
        }
        // It began after the last dump that was complete before the notice can have been due: in
        // that dump it was not, and it cannot have been over by then.
        let complete = |dump: &&Span| dump.before + LATE <= told.after;
        let later = self.dumps.iter().rev().take_while(|dump| !complete(dump)).count();
        let from = self.dump - later as u32;
        let known = self.dumps.iter().rev().nth(later);
        let after = known.map_or(self.started, |dump| dump.after);
        let seen = seen(s, Span { after, before: before.max(after) }, Some(at));
        if self.listeners.had(s.local, from, self.dump) {
            self.passive += 1;
            self.given.push(seen);
        } else {
            let (born, dump) = ((from, self.dump), self.dump);
            self.undecided.insert(s.cookie, Undecided { seen, born, ended: true, dump });
        }
    }

    /// Ends the account: decides what is undecided, and gives what was kept for its end.
    pub fn finish(&mut self) {
        self.decide(true);
        for open in self.open.values_mut().filter(|o| o.what == What::Kept) {
            open.what = What::Given;
            self.given.push(open.seen);
        }
    }

    /// The connections that count since the last call.
    pub fn take(&mut self) -> std::vec::Drain<'_, Seen> {
        self.given.drain(..)
    }

    /// How many connections were open before counting began.
    pub fn opened_before(&self) -> u64 {
        self.opened_before
    }

    /// How many connections have begun since, of which the ledger knows.
    pub fn passive(&self) -> u64 {
        self.passive
    }

    /// Whether a listener on one of these ports was in the last dump.
    pub fn listens(&self, (low, high): (u16, u16)) -> bool {
        self.listeners.has_port(low..=high, self.dump)
    }

    /// How many sockets are gone from the last dumps without a notice.
    pub fn vanished(&self) -> u64 {
        self.vanished + self.open.values().filter(|o| o.dump + 1 < self.dump).count() as u64
    }

    fn begin_dump(&mut self, dump: &Dump) -> Span {
        self.dump += 1;
        let taken = Span { after: dump.start, before: dump.end };
        if self.dumps.len() == DUMPS {
            self.dumps.pop_front();
        }
        self.dumps.push_back(taken);
        for s in dump.sockets.iter().filter(|s| s.state == state::LISTEN) {
            self.listeners.note(s.local, self.dump);
            let (seen, what) = (seen(s, taken, None), What::Listener);
            self.open.insert(s.cookie, Open { seen, what, dump: self.dump });
        }
        taken
    }

    /// A connection that counts, and is open.
    fn opened(&mut self, cookie: u64, mut open: Open) {
        self.passive += 1;
        if !self.keep {
            open.what = What::Given;
            self.given.push(open.seen);
        }
        self.open.insert(cookie, open);
    }

    /// Decides what was undecided: for good where no evidence can come any more, which is when
    /// the dump after the next one is there, or at the end.
    fn decide(&mut self, at_the_end: bool) {
        let decided: Vec<(u64, Undecided, bool)> = self
            .undecided
            .iter()
            .map(|(cookie, u)| (*cookie, *u, self.listeners.had(u.seen.local, u.born.0, u.born.1)))
            .filter(|(_, u, passive)| *passive || at_the_end || u.born.1 + 2 <= self.dump)
            .collect();
        for (cookie, u, passive) in decided {
            self.undecided.remove(&cookie);
            let Undecided { seen, dump, .. } = u;
            match (passive, u.ended) {
                (true, true) => {
                    self.passive += 1;
                    self.given.push(seen);
                }
                (true, false) => self.opened(cookie, Open { seen, what: What::Kept, dump }),
                (false, true) => {}
                (false, false) => {
                    self.open.insert(cookie, Open { seen, what: What::Ignored, dump });
                }
            }
        }
    }
}

/// Whether a socket of a dump is a connection.
fn is_connection(s: &Socket) -> bool {
    s.state != state::LISTEN && !s.remnant && s.peer.1 != 0
}

/// Whether a socket has forgotten most of what it knew, because it was reset by its owner.
fn is_wiped(s: &Socket) -> bool {
    s.peer.1 == 0
}

/// What is known of a connection whose end has come.
fn ended(seen: Seen, s: &Socket, at: Nanos) -> Seen {
    let info = if is_wiped(s) { seen.info } else { s.info };
    Seen { until: Some(at), info, ..seen }
}

fn seen(s: &Socket, began: Span, until: Option<Nanos>) -> Seen {
    Seen { local: s.local, peer: s.peer, began, until, info: s.info }
}

/// Whether this side opened the connection: its SYN was acknowledged besides its bytes and FIN.
fn opened_here(info: &Info) -> bool {
    info.acked > info.sent.saturating_sub(info.resent) + 1
}

/// How long a connection has existed at least.
fn least_age(info: &Info, wiped: bool) -> Nanos {
    let received = if wiped { 0 } else { info.last_data_received };
    let quiet = info.last_data_sent.max(received);
    (i64::from(quiet) * 1_000_000 - TICK).max(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    const PORT: u16 = 80;

    fn ip(n: u8) -> IpAddr {
        [127, 0, 0, n].into()
    }

    fn socket(cookie: u64, state: u8, peer: u16) -> Socket {
        Socket {
            cookie,
            state,
            local: (ip(1), PORT),
            peer: (ip(if peer == 0 { 0 } else { 2 }), peer),
            remnant: false,
            queue: 0,
            owned: true,
            info: None,
        }
    }

    fn listener() -> Socket {
        Socket { peer: ("0.0.0.0".parse().unwrap(), 0), ..socket(1, state::LISTEN, 0) }
    }

    fn open(cookie: u64) -> Socket {
        socket(cookie, state::ESTABLISHED, cookie as u16)
    }

    fn over(cookie: u64) -> Socket {
        socket(cookie, state::CLOSE, cookie as u16)
    }

    const SECOND: Nanos = 1_000_000_000;

    fn dump(at: Nanos, sockets: impl IntoIterator<Item = Socket>) -> Dump {
        let (start, end) = (at * SECOND, at * SECOND + 1000);
        Dump { start, end, sockets: sockets.into_iter().chain([listener()]).collect() }
    }

    /// Sent and received at once.
    fn told(at: Nanos) -> Span {
        Span { after: at, before: at }
    }

    fn begun(keep: bool) -> Ledger {
        let mut ledger = Ledger::new(keep);
        ledger.open_before(&dump(1, []));
        ledger
    }

    fn ports(ledger: &mut Ledger) -> Vec<u16> {
        let mut ports: Vec<u16> = ledger.take().map(|s| s.peer.1).collect();
        ports.sort_unstable();
        ports
    }

    #[test]
    fn what_was_open_at_the_start_does_not_count() {
        let mut ledger = Ledger::new(false);
        ledger.open_before(&dump(1, [open(5)]));
        ledger.dumped(&dump(2, [open(5), open(6)]));
        ledger.ended(&over(5), told(3 * SECOND));
        ledger.finish();
        assert_eq!(ports(&mut ledger), [6]);
        assert_eq!((ledger.opened_before(), ledger.passive()), (1, 1));
    }

    #[test]
    fn what_was_over_before_the_start_does_not_count_when_it_is_let_go() {
        let info = Info { last_data_sent: 5000, last_data_received: 5000, ..Info::default() };
        let at = 3 * SECOND;
        let mut ledger = begun(false);
        ledger.ended(&Socket { info: Some(info), ..over(5) }, told(at));
        // Reset by its owner: of its age it has kept half.
        let wiped = Socket { peer: (ip(2), 0), info: Some(info), ..over(6) };
        ledger.ended(&wiped, told(at));
        ledger.ended(&over(7), told(at));
        ledger.finish();
        assert_eq!(ports(&mut ledger), [7]);
    }

    #[test]
    fn the_age_of_a_connection_bounds_its_beginning() {
        let info = Info { last_data_sent: 300, last_data_received: 200, ..Info::default() };
        let mut ledger = begun(false);
        ledger.dumped(&dump(10, []));
        ledger.dumped(&dump(20, []));
        ledger.ended(&Socket { info: Some(info), ..over(5) }, told(21 * SECOND));
        // Its notice may have been under way while the dump was taken.
        ledger.ended(&over(6), told(20 * SECOND + 2000));
        let began: Vec<Span> = ledger.take().map(|s| s.began).collect();
        let before = 21 * SECOND - 300_000_000 + TICK;
        assert_eq!(
            began,
            [
                Span { after: 20 * SECOND, before },
                Span { after: 10 * SECOND, before: 20 * SECOND + 2000 },
            ]
        );
    }

    #[test]
    fn a_connection_needs_a_listener() {
        let no_listener = |at| Dump { sockets: Vec::new(), ..dump(at, []) };
        let mut ledger = Ledger::new(false);
        ledger.open_before(&no_listener(1));
        ledger.ended(&over(5), told(SECOND + LATE));
        ledger.dumped(&no_listener(2));
        // A listener that came and went: of now, and not of then.
        ledger.dumped(&no_listener(3));
        ledger.ended(&over(6), told(3 * SECOND + LATE));
        ledger.ended(&Socket { state: state::CLOSE, ..listener() }, told(3 * SECOND + LATE));
        ledger.dumped(&no_listener(4));
        ledger.dumped(&no_listener(5));
        ledger.finish();
        assert_eq!(ports(&mut ledger), [6]);
    }

    #[test]
    fn remnants_and_thrown_away_sockets_are_no_connections() {
        let mut ledger = begun(false);
        let remnant = Socket { remnant: true, state: 5, ..open(5) };
        ledger.dumped(&dump(2, [remnant]));
        ledger.ended(&Socket { state: 3, ..open(6) }, told(3 * SECOND));
        ledger.finish();
        assert!(ports(&mut ledger).is_empty());
    }

    #[test]
    fn kept_ones_are_given_once_with_what_is_known_of_their_end() {
        let mut ledger = begun(true);
        ledger.dumped(&dump(2, [open(5), open(6), open(7)]));
        assert!(ports(&mut ledger).is_empty());
        let info = Some(Info { acked: 9, ..Info::default() });
        ledger.ended(&Socket { info, ..over(5) }, told(3 * SECOND));
        ledger.dumped(&dump(4, [Socket { info, ..open(6) }]));
        ledger.dumped(&dump(5, [Socket { info, ..open(6) }]));
        ledger.finish();
        ledger.finish();
        let given: BTreeSet<_> =
            ledger.take().map(|s| (s.peer.1, s.until, s.info.is_some())).collect();
        let until = |at| Some(at * SECOND);
        let seen = |at| Some(at * SECOND + 1000);
        let expected = [(5, until(3), true), (6, seen(5), true), (7, seen(2), false)];
        assert_eq!(given, expected.into());
        assert_eq!((ledger.passive(), ledger.vanished()), (3, 1));
    }

    proptest! {
        /// Whatever happens, in whatever order notices come and however late, as long as the
        /// order between notices and dumps is kept.
        #[test]
        fn every_connection_counts_once(
            steps in proptest::collection::vec((0u8..6, any::<u8>()), 0..200),
            keep: bool,
        ) {
            let mut ledger = Ledger::new(keep);
            ledger.open_before(&dump(1, (100..110).map(open)));
            let mut now: BTreeSet<u64> = (100..110).collect();
            let mut notices: Vec<u64> = Vec::new();
            let mut next = 200;
            let mut at = 2;
            for (what, which) in steps {
                let pick = |n: usize| usize::from(which) % n.max(1);
                match what {
                    0 | 1 => {
                        now.insert(next);
                        next += 1;
                    }
                    2 => {
                        if let Some(cookie) = now.iter().copied().nth(pick(now.len())) {
                            now.remove(&cookie);
                            notices.push(cookie);
                        }
                    }
                    3 if !notices.is_empty() => {
                        let cookie = notices.remove(pick(notices.len()));
                        ledger.ended(&over(cookie), told(at * SECOND));
                    }
                    4 => {
                        at += 1;
                        ledger.dumped(&dump(at, now.iter().copied().map(open)));
                    }
                    // Ends while a dump is taken, which has it still.
                    5 => {
                        at += 1;
                        let before: Vec<u64> = now.iter().copied().collect();
                        if let Some(cookie) = before.get(pick(before.len())) {
                            now.remove(cookie);
                            notices.push(*cookie);
                        }
                        ledger.dumped(&dump(at, before.into_iter().map(open)));
                    }
                    _ => {}
                }
            }
            ledger.dumped(&dump(at + 1, now.iter().copied().map(open)));
            for cookie in notices {
                ledger.ended(&over(cookie), told((at + 1) * SECOND));
            }
            ledger.finish();
            let expected: Vec<u16> = (200..next as u16).collect();
            prop_assert_eq!(ports(&mut ledger), expected);
            prop_assert_eq!(ledger.passive(), next - 200);
            prop_assert_eq!(ledger.vanished(), 0);
        }
    }
}
