//! [`Client`]: the connections of one client's port.

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::flow::{Flow, Incomplete, RstEffect, Translation, Unconfirmed};
use super::observation::{Give, PacketKind, PacketObservation};
use crate::parse::host::{Ends, Host};

/// Maximum number of connections in each of the two sets of clients' ports that are remembered in a record without
/// times, or a flood. A port that is seen again brings its own into the newer set.
pub(super) const MAX_FLOWS: usize = if cfg!(test) { 1 << 14 } else { 1 << 20 };

/// Maximum number of connections of one client's port that are compared. A scanner may use a single port; older
/// connections are found by their server's end only.
const MAX_RECENT: usize = 64;

/// Number of older connections of a port at which closed ones are removed.
pub(super) const MIN_OLDER: usize = 1024;

/// A client's port.
#[derive(Clone, PartialEq)]
pub(super) struct ClientKey {
    /// Of the others.
    pub hash: u64,
    pub port: u16,
    pub host: Host,
}

/// All connections of a client's port.
pub(super) struct Client {
    pub key: ClientKey,
    recent: SmallVec<[Flow; 1]>,
    pub older: Option<Box<Older>>,
}

/// The older connections of a client's port.
#[derive(Default)]
pub(super) struct Older {
    flows: HashMap<(Host, Option<u16>), SmallVec<[Flow; 1]>, RandomState>,
    pub count: usize,
    /// At this number, closed ones are removed.
    limit: usize,
}

/// Which of the held connections count.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    pub established: bool,
    pub incomplete: Incomplete,
}

impl Rules {
    /// The connection of `flow` that counts at its end, if any.
    pub(super) fn end(self, flow: Flow) -> Option<Unconfirmed> {
        flow.end(self.incomplete, self.established)
    }
}

/// Whether the connection of a packet is known.
pub(super) enum Known {
    Yes,
    /// The packet is the first answer to a connection that was given before.
    Answered,
    No,
    /// It seemed to be opened by the recording machine, and is forwarded instead. Whether it was counted as such.
    AsOutbound {
        counted: bool,
    },
}

impl Known {
    fn yes(is_first_answer: bool) -> Known {
        if is_first_answer { Known::Answered } else { Known::Yes }
    }
}

impl Client {
    /// A port that was not seen.
    pub(super) fn new(key: ClientKey) -> Client {
        Client { key, recent: SmallVec::new(), older: None }
    }

    /// Number of its connections.
    pub(super) fn len(&self) -> usize {
        self.recent.len() + self.older.as_ref().map_or(0, |older| older.count)
    }

    /// Adds the newest connection.
    pub(super) fn add(&mut self, flow: Flow) {
        self.recent.push(flow);
    }

    /// Whether `s` belongs to a connection that is known; then it is noted.
    pub(super) fn find(
        &mut self,
        s: &PacketObservation,
        now: i64,
        rules: Rules,
        give: &mut Give<'_>,
    ) -> Known {
        self.recent.retain(|flow| flow.is_held() || !flow.is_over(now));
        if let Some(at) = self.recent.iter().rposition(|flow| flow.is(s, now)) {
            if s.kind == PacketKind::Syn && !s.outgoing && self.recent[at].is_outbound() {
                let counted = self.recent.remove(at).is_counted_outbound();
                return Known::AsOutbound { counted };
            }
            let is_first_answer = self.recent[at].note(s, now);
            if s.kind == PacketKind::SynAck {
                self.compare_answers(at, rules, give);
            }
            return Known::yes(is_first_answer);
        }
        if let Some(flow) = self.older_mut(&s.ends).and_then(|mut all| all.find(|f| f.is(s, now))) {
            return Known::yes(flow.note(s, now));
        }
        if s.kind != PacketKind::SynAck {
            return Known::No;
        }
        let Some(flow) = self.recent.iter_mut().rev().find(|flow| flow.has_isns(s, now)) else {
            return Known::No;
        };
        Known::yes(flow.answer())
    }

    /// The answer to the connection at `at` shows which of the unconfirmed ones is the same.
    fn compare_answers(&mut self, at: usize, rules: Rules, give: &mut Give<'_>) {
        for other in 0..self.recent.len() {
            let (one, two) = (&self.recent[at], &self.recent[other]);
            let held = match (one.translation(), two.translation()) {
                _ if other == at => continue,
                (_, Some(_)) => other,
                (Some(_), None) => at,
                (None, None) => continue,
            };
            match one.is_same_as(two) {
                None => {}
                Some(true) => drop(self.recent[held].take()),
                Some(false) if rules.established => self.recent[held].set_translation(None),
                Some(false) => {
                    if let Some(unconfirmed) = self.recent[held].take() {
                        give(unconfirmed.ends, unconfirmed.time);
                    }
                }
            }
        }
    }

    /// Whether `s`, the first packet to its server, may belong to a connection to another. An answer to that one is
    /// subtracted from `unanswered`.
    pub(super) fn translation_to(
        &mut self,
        s: &PacketObservation,
        now: i64,
        unanswered: &mut u64,
    ) -> Option<Translation> {
        let is_candidate = |flow: &&mut Flow| flow.translation().is_none() && !flow.is_outbound();
        let mut candidates = self.recent.iter_mut().rev().filter(is_candidate);
        let found = candidates.find_map(|flow| Some((flow.translation_to(s, now)?, flow)));
        let (translation, flow) = found?;
        if s.kind == PacketKind::SynAck {
            *unanswered = unanswered.saturating_sub(flow.answer().into());
            return Some(translation);
        }
        // A packet is translated once. With a third server these are different connections.
        let mut scanned = false;
        for other in self.recent.iter_mut().filter(|flow| flow.translation().is_some()) {
            if other.has_numbers_of(s) {
                other.set_translation(Some(Translation::Unlikely));
                scanned = true;
            }
        }
        Some(if scanned { Translation::Unlikely } else { translation })
    }

    /// Moves the oldest of the recent connections to the older ones, if there are many.
    pub(super) fn make_room(&mut self, now: i64, rules: Rules, give: &mut Give<'_>) {
        if self.recent.len() < MAX_RECENT {
            return;
        }
        let flow = self.recent.remove(0);
        let older = self.older.get_or_insert_default();
        if older.count >= older.limit.max(MIN_OLDER) {
            older.forget(now, rules, give);
        }
        older.count += 1;
        older.flows.entry(flow.server()).or_default().push(flow);
    }

    fn older_mut(&mut self, ends: &Ends) -> Option<impl Iterator<Item = &mut Flow>> {
        let older = self.older.as_mut()?;
        let key = (ends.server.clone(), ends.server_port);
        Some(older.flows.get_mut(&key)?.iter_mut().rev())
    }

    /// The client sends more, so what was answered is complete.
    pub(super) fn goes_on(&mut self, s: &PacketObservation, give: &mut Give<'_>) {
        let was_answered = |flow: &&mut Flow| flow.is_answered() && flow.is_to(&s.ends);
        if let Some(flow) = self.recent.iter_mut().rev().find(was_answered) {
            if let Some(unconfirmed) = flow.complete() {
                give(unconfirmed.ends, unconfirmed.time);
            }
            return;
        }
        if let Some(flow) = self.older_mut(&s.ends).and_then(|mut all| all.find(was_answered))
            && let Some(unconfirmed) = flow.complete()
        {
            give(unconfirmed.ends, unconfirmed.time);
        }
    }

    /// What the RST `s` does to one of its connections, none of which was answered.
    pub(super) fn rst_effect(&mut self, s: &PacketObservation, now: i64) -> Option<RstEffect> {
        let recent = self.recent.iter().filter_map(|flow| flow.rst_effect(s, now)).max();
        let older = self.older_mut(&s.ends).into_iter().flatten();
        recent.max(older.filter_map(|flow| flow.rst_effect(s, now)).max())
    }

    /// All of them.
    pub(super) fn into_flows(self) -> impl Iterator<Item = Flow> {
        let older = self.older.into_iter().flat_map(|older| older.flows.into_values().flatten());
        self.recent.into_iter().chain(older)
    }
}

impl Older {
    /// Removes closed connections, or all if that is not enough.
    fn forget(&mut self, now: i64, rules: Rules, give: &mut Give<'_>) {
        let mut ended: Vec<Unconfirmed> = Vec::new();
        let mut flows: Vec<Flow> = self.flows.drain().flat_map(|(_, flows)| flows).collect();
        if flows.iter().filter(|flow| !flow.is_over(now)).count() < MAX_FLOWS / 2 {
            let (over, kept): (Vec<Flow>, Vec<Flow>) =
                flows.into_iter().partition(|flow: &Flow| flow.is_over(now));
            flows = over;
            self.count = 0;
            for flow in kept {
                self.count += 1;
                self.flows.entry(flow.server()).or_default().push(flow);
            }
        } else {
            self.count = 0;
        }
        self.limit = 2 * self.count;
        ended.extend(flows.into_iter().filter_map(|flow| rules.end(flow)));
        ended.sort_unstable_by_key(|unconfirmed| unconfirmed.number);
        ended.into_iter().for_each(|unconfirmed| give(unconfirmed.ends, unconfirmed.time));
    }
}
