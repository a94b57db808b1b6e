//! [`SocketTracker`]: combines dumps and destroy events so that every connection counts once.
//!
//! A connection is identified by the cookie of its socket. It is seen in a dump, in the destroy event of
//! its end, or in both. The tracker must get them in this order: destroy events received before a dump was
//! requested, the dump, later destroy events. Then an unknown socket in a dump is new, because the destroy event
//! of its end has not been processed yet. A destroy event of an unknown socket is of one that was opened
//! and closed after the previous dump.

mod history;

use std::collections::HashMap;

use self::history::{Forgotten, History};
use super::age::{Age, Bounds, bound};
use super::dump::{Dump, Nanos, Span, is_connection, opened_here, was_discarded};
use super::listeners::Listeners;
use crate::sys::sock_diag::{End, Info, Socket, state};
use crate::watch::ports::PortSet;

/// A socket that dumps no longer have is forgotten after this time without a destroy event.
const FORGET: Nanos = 60_000_000_000;

/// A connection that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::watch) struct ObservedSocket {
    /// The local address.
    pub local: End,
    /// The client.
    pub peer: End,
    /// When it began.
    pub began: Span,
    /// Its duration, or the time until it was last seen; `None` while it is open.
    pub duration: Option<Bounds>,
    /// Its statistics at that time.
    pub info: Option<Info>,
}

/// A socket whose destroy event has not been received.
#[derive(Clone, Copy, Debug)]
struct Open {
    seen: ObservedSocket,
    what: What,
    /// The number of the last dump that had it, and when that was taken.
    dump: u32,
    taken: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Waits for connections.
    Listener,
    /// Does not count: open at the start, or outbound.
    Ignored,
    /// Has been reported.
    Reported,
    /// Counts, and will be reported when it closes.
    Kept,
}

/// A connection without a known listener that can have accepted it.
#[derive(Clone, Copy, Debug)]
struct Undecided {
    seen: ObservedSocket,
    /// The first and the last number of the dump after which it can have begun.
    born: (u32, u32),
    ended: bool,
    /// As of [`Open`].
    dump: u32,
    taken: Span,
}

/// The state of the sockets on the watched ports.
#[derive(Debug)]
pub(in crate::watch) struct SocketTracker {
    /// Report connections when they close, with their statistics, instead of at once.
    keep: bool,
    open: HashMap<u64, Open>,
    undecided: HashMap<u64, Undecided>,
    listeners: Listeners,
    history: History,
    /// A dump with its start time. Sockets that were last seen before it can be dropped some time
    /// later.
    mark: (u32, Nanos),
    /// The time since which connections count.
    started: Nanos,
    /// Sockets that were dropped.
    forgotten: Forgotten,
    reported: Vec<ObservedSocket>,
    passive: u64,
    /// Second sockets of handshakes.
    discarded: u64,
    opened_before: u64,
    vanished: u64,
}

impl SocketTracker {
    /// Returns a tracker without sockets. With `keep`, it reports connections when they close.
    pub(in crate::watch) fn new(keep: bool) -> SocketTracker {
        SocketTracker {
            keep,
            open: HashMap::new(),
            undecided: HashMap::new(),
            listeners: Listeners::default(),
            history: History::default(),
            mark: (0, 0),
            started: 0,
            forgotten: Forgotten::default(),
            reported: Vec::new(),
            passive: 0,
            discarded: 0,
            opened_before: 0,
            vanished: 0,
        }
    }

    /// Records which sockets are open before counting starts.
    pub(in crate::watch) fn open_before(&mut self, dump: &Dump) {
        let taken = self.begin_dump(dump);
        let this = self.history.last();
        (self.started, self.mark) = (dump.start, (this, dump.start));
        for s in dump.sockets.iter().filter(|s| is_connection(s)) {
            let open = Open { seen: seen(s, taken), what: What::Ignored, dump: this, taken };
            let new = self.open.insert(s.cookie, open).is_none();
            if new && self.listeners.had(s.local, this, this) {
                self.opened_before += 1;
            }
        }
    }

    /// Records a closed socket before counting starts.
    pub(in crate::watch) fn ended_before(&mut self, s: &Socket) {
        self.open.remove(&s.cookie);
    }

    /// Updates the state with a dump.
    pub(in crate::watch) fn dumped(&mut self, dump: &Dump) {
        let former = self.history.last_start().unwrap_or(dump.start);
        let taken = self.begin_dump(dump);
        let this = self.history.last();
        let began = Span { after: former, before: dump.end };
        for s in dump.sockets.iter().filter(|s| is_connection(s)) {
            if let Some(open) = self.open.get_mut(&s.cookie) {
                (open.seen.info, open.dump, open.taken) = (s.info, this, taken);
            } else if let Some(known) = self.undecided.get_mut(&s.cookie) {
                (known.seen.info, known.dump, known.taken) = (s.info, this, taken);
            } else {
                let seen = seen(s, began);
                let born = (this - 1, this - 1);
                if self.listeners.had(s.local, born.0, born.1) {
                    self.opened(s.cookie, Open { seen, what: What::Kept, dump: this, taken });
                } else {
                    let new = Undecided { seen, born, ended: false, dump: this, taken };
                    self.undecided.insert(s.cookie, new);
                }
            }
        }
        self.decide(false);
        self.listeners.prune(self.history.first());
        if dump.start - self.mark.1 >= FORGET {
            self.forget();
            self.mark = (this, dump.start);
        }
    }

    /// Drops sockets that disappeared long ago: their destroy events were lost, or the clients have reset the connections and
    /// the server still has them open.
    fn forget(&mut self) {
        for (cookie, gone) in self.open.extract_if(|_, open| open.dump < self.mark.0) {
            self.vanished += 1;
            self.forgotten.add(cookie);
            if gone.what == What::Kept {
                self.reported.push(last_seen(&gone));
            }
        }
    }

    /// Processes the destroy event of a closed socket, sent and received in this span.
    pub(in crate::watch) fn ended(&mut self, s: &Socket, notified: Span) {
        if let Some(open) = self.open.remove(&s.cookie) {
            match open.what {
                What::Listener => self.listeners.note(s.local, self.history.last()),
                What::Ignored | What::Reported => {}
                What::Kept => {
                    self.reported.push(ended(open.seen, s, notified, open.taken.after));
                }
            }
        } else if let Some(known) = self.undecided.get_mut(&s.cookie) {
            known.seen = ended(known.seen, s, notified, known.taken.after);
            known.ended = true;
        } else if s.peer.0.is_unspecified() {
            // A listener that was opened and closed between two dumps.
            self.listeners.note(s.local, self.history.last());
        } else if self.forgotten.remove(s.cookie) {
            self.vanished -= 1;
        } else if was_discarded(s) {
            self.discarded += u64::from([state::CLOSE, state::SYN_RECV].contains(&s.state));
        } else {
            self.came_and_went(s, notified);
        }
    }

    /// Handles a connection that is in no dump.
    fn came_and_went(&mut self, s: &Socket, notified: Span) {
        let age = Age::of(s);
        let before = notified.before.saturating_sub(age.map_or(0, |age| age.least));
        // A connection that ended before counting started may have been kept open by the server
        // until now.
        let outbound = |i: &Info| !s.is_wiped() && opened_here(i);
        if before < self.started || s.info.as_ref().is_some_and(outbound) {
            return;
        }
        let (from, after) = self.history.before(notified.after - Age::event_delay(age));
        let after = after.unwrap_or(self.started);
        let began = Span { after, before: notified.before.max(after) };
        let unseen = ObservedSocket { info: None, ..seen(s, began) };
        let seen = ended(unseen, s, notified, after);
        let dump = self.history.last();
        if self.listeners.had(s.local, from, dump) {
            self.passive += 1;
            self.reported.push(seen);
        } else {
            let new = Undecided { seen, born: (from, dump), ended: true, dump, taken: notified };
            self.undecided.insert(s.cookie, new);
        }
    }

    /// Ends counting: decides undecided connections, and reports those that were kept until their
    /// end.
    pub(in crate::watch) fn finish(&mut self) {
        self.decide(true);
        for open in self.open.values_mut().filter(|o| o.what == What::Kept) {
            open.what = What::Reported;
            self.reported.push(last_seen(open));
        }
    }

    /// Removes and returns the connections that count since the last call.
    pub(in crate::watch) fn take(&mut self) -> std::vec::Drain<'_, ObservedSocket> {
        self.reported.drain(..)
    }

    /// The number of connections that were open before counting started.
    pub(in crate::watch) fn opened_before(&self) -> u64 {
        self.opened_before
    }

    /// The local and the remote ends of open connections that do not count.
    pub(in crate::watch) fn ignored(&self) -> impl Iterator<Item = (End, End)> {
        let ignored = self.open.values().filter(|open| open.what == What::Ignored);
        ignored.map(|open| (open.seen.local, open.seen.peer))
    }

    /// The number of known connections that have begun since.
    #[cfg(test)]
    pub(in crate::watch) fn passive(&self) -> u64 {
        self.passive
    }

    /// The number of known sockets that the kernel has counted as inbound connections since: also those that it made
    /// for a handshake and discarded.
    pub(in crate::watch) fn counted_by_kernel(&self) -> u64 {
        self.passive + self.discarded
    }

    /// The ranges of `ports` on which the last dump has no listener.
    pub(in crate::watch) fn unused(&self, ports: &PortSet) -> Vec<(u16, u16)> {
        let listens = |low, high| self.listeners.has_port(low..=high, self.history.last());
        ports.ranges().iter().copied().filter(|(low, high)| !listens(*low, *high)).collect()
    }

    /// The number of sockets that are missing in the last dumps and had no destroy event.
    pub(in crate::watch) fn vanished(&self) -> u64 {
        let last = self.history.last();
        self.vanished + self.open.values().filter(|o| o.dump + 1 < last).count() as u64
    }

    /// Whether there is a connection that is still undecided.
    pub(in crate::watch) fn is_undecided(&self) -> bool {
        !self.undecided.is_empty()
    }

    /// The number of connections that count and are not reported yet because they are open.
    pub(in crate::watch) fn kept(&self) -> u64 {
        self.open.values().filter(|o| o.what == What::Kept).count() as u64
    }

    fn begin_dump(&mut self, dump: &Dump) -> Span {
        let taken = Span { after: dump.start, before: dump.end };
        self.history.add(taken);
        let this = self.history.last();
        for s in dump.sockets.iter().filter(|s| s.state == state::LISTEN) {
            self.listeners.note(s.local, this);
            let (seen, what) = (seen(s, taken), What::Listener);
            self.open.insert(s.cookie, Open { seen, what, dump: this, taken });
        }
        taken
    }

    /// Handles an open connection that counts.
    fn opened(&mut self, cookie: u64, mut open: Open) {
        self.passive += 1;
        if !self.keep {
            open.what = What::Reported;
            self.reported.push(open.seen);
        }
        self.open.insert(cookie, open);
    }

    /// Decides undecided connections. The decision is final when no more evidence can come: with
    /// the second dump after, or at the end.
    fn decide(&mut self, at_the_end: bool) {
        let decided: Vec<(u64, Undecided, bool)> = self
            .undecided
            .iter()
            .map(|(cookie, u)| (*cookie, *u, self.listeners.had(u.seen.local, u.born.0, u.born.1)))
            .filter(|(_, u, passive)| *passive || at_the_end || u.born.1 + 2 <= self.history.last())
            .collect();
        for (cookie, u, passive) in decided {
            self.undecided.remove(&cookie);
            let Undecided { seen, dump, taken, .. } = u;
            match (passive, u.ended) {
                (true, true) => {
                    self.passive += 1;
                    self.reported.push(seen);
                }
                (true, false) => self.opened(cookie, Open { seen, what: What::Kept, dump, taken }),
                (false, true) => {}
                (false, false) => {
                    self.open.insert(cookie, Open { seen, what: What::Ignored, dump, taken });
                }
            }
        }
    }
}

/// Returns what is known of a closed connection, by a destroy event that was sent and received in `notified`.
/// It was alive at the time `alive`.
fn ended(seen: ObservedSocket, s: &Socket, notified: Span, alive: Nanos) -> ObservedSocket {
    let age = Age::of(s);
    let delay = Age::event_delay(age);
    let (began, duration) =
        bound(seen.began, age, notified, alive.max(notified.after - delay), delay);
    let info = if s.is_wiped() { seen.info } else { s.info };
    ObservedSocket { began, duration: Some(duration), info, ..seen }
}

/// Returns what is known of a connection that was open in the last dump that contained it.
fn last_seen(open: &Open) -> ObservedSocket {
    let age = open.seen.info.map(|info| Age::of_info(&info, false));
    let (began, duration) = bound(open.seen.began, age, open.taken, open.taken.after, 0);
    ObservedSocket { began, duration: Some(duration), ..open.seen }
}

fn seen(s: &Socket, began: Span) -> ObservedSocket {
    ObservedSocket { local: s.local, peer: s.peer, began, duration: None, info: s.info }
}

/// Gives a tracker the messages in `parts`, by turns as a dump and as destroy events, and returns how many connections it
/// has reported. `steps`: the seconds between them.
#[cfg(feature = "internals")]
pub fn track_messages(keep: bool, steps: &[i32], parts: &[&[u8]]) -> usize {
    use crate::sys::sock_diag::{Message, messages};
    let mut tracker = SocketTracker::new(keep);
    tracker.open_before(&Dump { start: 1, end: 1, sockets: Vec::new() });
    let (mut now, mut reported) = (1, 0);
    for ((part, step), turn) in parts.iter().zip(steps).zip(0..) {
        now += i64::from(*step) * 1_000_000_000;
        let sockets = messages(part).filter_map(|(_, message)| match message {
            Message::Socket(socket) => Some(socket),
            Message::Done(_) | Message::Other => None,
        });
        if turn % 2 == 0 {
            tracker.dumped(&Dump { start: now, end: now + 1000, sockets: sockets.collect() });
        } else {
            sockets.for_each(|s| tracker.ended(&s, Span { after: now, before: now + 1000 }));
        }
        reported += tracker.take().count();
    }
    tracker.finish();
    reported + tracker.take().count()
}

#[cfg(test)]
mod tests;
