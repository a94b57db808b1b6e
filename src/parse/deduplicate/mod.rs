//! [`Deduplicator`]: joins all packets of a connection, so that it counts once.
//!
//! A SYN is retransmitted until it is answered, two rules or two interfaces may record it twice, and the
//! SYN+ACK belongs to the same connection. `Flow` decides which packets belong together. A
//! connection is given when it is first seen, so its time is that of the first SYN.
//!
//! A connection that may be another one behind address translation is held until its answers show
//! whether it is. Only what was seen within `SPAN` can still belong together, so no more is
//! remembered.

mod client;
mod flow;
mod generation;
mod observation;

use std::hash::BuildHasher;

use foldhash::quality::RandomState;

use self::client::{ClientKey, Known, MAX_FLOWS, Rules};
use self::flow::{Flow, Incomplete, RstEffect, SPAN, Unconfirmed};
use self::generation::Generation;
pub(super) use self::observation::{Give, PacketKind, PacketObservation, point};
use super::host::{Address, Host};
use super::reader::{Context, Setting};
use crate::model::plural;
use crate::{RecordTime, ShortfallKind, SourceStatus};

/// See the module.
pub(super) struct Deduplicator {
    local: Vec<Host>,
    established: bool,
    /// How messages name the option `established`.
    option: &'static str,
    /// Clients choose their addresses, so this one has a key.
    hasher: RandomState,
    /// A client's port is in one of the two: in `young` if it was seen since `begun`.
    young: Generation,
    old: Generation,
    begun: i64,
    /// Number of connections of those in `young`.
    flows: usize,
    /// How many connections were held so far.
    unconfirmed: u64,
    /// Connections that the recording machine opened itself.
    outbound: u64,
    /// Connections that are held may be behind address translation.
    saw_translation: bool,
    saw_answer: bool,
    /// A RST refused a SYN while there was no SYN+ACK.
    saw_refusal: bool,
    /// Number of RSTs that ended connections while there was no SYN+ACK.
    ends_without_answer: u64,
    saw_onward: bool,
    saw_attempt: bool,
    /// Number of connections that were given and not answered so far.
    unanswered: u64,
    /// Connections that `established` gave although nothing showed that they were, because the record had shown no
    /// answers, and no completed handshakes, by then.
    early: Early,
    /// Times of day may pass midnight unseen where there is no clock.
    kind: Option<std::mem::Discriminant<RecordTime>>,
}

/// What is said of a record of packets that may be one of data alone.
pub(super) const WITHOUT_SYN: &str = "no packet in it has SYN, so nothing shows that the packets that open connections were captured";

/// Numbers of connections that were given although they were never complete.
#[derive(Default)]
struct Early {
    /// The record had no answer to any by then.
    any: u64,
    /// They were answered, and the record had no handshake that was completed by then.
    answered: u64,
}

impl Early {
    /// Counts a connection that is given while `rule` says which incomplete ones are.
    fn note(&mut self, rule: Incomplete) {
        match rule {
            Incomplete::All => self.any += 1,
            Incomplete::Answered => self.answered += 1,
            Incomplete::None => {}
        }
    }

    /// How many of them the last rule of the record would not have given.
    fn wrong(&self, last: Incomplete) -> u64 {
        match last {
            Incomplete::All => 0,
            Incomplete::Answered => self.any,
            Incomplete::None => self.any + self.answered,
        }
    }
}

fn hash(hasher: &RandomState, host: &Host, port: u16) -> u64 {
    match host {
        Host::Ip(Address::V4(ip)) => hasher.hash_one(u64::from(*ip) << 16 | u64::from(port)),
        Host::Ip(Address::V6(ip)) => hasher.hash_one((ip, port)),
        Host::Name(name) => hasher.hash_one((name, port)),
    }
}

impl Deduplicator {
    /// As the options ask for it.
    pub(super) fn new(cx: &Context<'_>) -> Deduplicator {
        Deduplicator {
            local: cx.options.local.clone(),
            established: cx.options.established,
            option: cx.options.name(Setting::Established),
            hasher: RandomState::default(),
            young: Generation::default(),
            old: Generation::default(),
            begun: 0,
            flows: 0,
            unconfirmed: 0,
            outbound: 0,
            saw_translation: false,
            saw_answer: false,
            saw_refusal: false,
            ends_without_answer: 0,
            saw_onward: false,
            saw_attempt: false,
            unanswered: 0,
            early: Early::default(),
            kind: None,
        }
    }

    /// Whether packets of kind [`PacketKind::Onward`] are needed.
    pub(super) fn wants_onward(&self) -> bool {
        self.established
    }

    /// Takes one packet, and gives the connection if this is its first packet.
    pub(super) fn see(&mut self, s: PacketObservation, give: &mut Give<'_>) {
        if s.kind == PacketKind::Rst && self.saw_answer {
            // It shows nothing more. Most RSTs end a connection.
            return;
        }
        if !s.ends.inbound(&self.local) {
            return;
        }
        let Some(port) = s.ends.client_port else {
            // Nothing distinguishes it from others.
            if s.kind == PacketKind::Syn && !s.outgoing {
                give(s.ends, s.time);
            }
            return;
        };
        let now = s.time.map_or(0, RecordTime::nanoseconds);
        // The set of known connections must not depend on whether `established` was requested.
        if s.kind.is_attempt() {
            self.turn_over(s.time, now, give);
        }
        self.saw_attempt |= s.kind.is_attempt();
        match s.kind {
            PacketKind::Syn | PacketKind::Rst => {}
            PacketKind::SynAck => self.saw_answer = true,
            PacketKind::Onward => self.saw_onward = true,
        }
        let hash = hash(&self.hasher, &s.ends.client, port);
        let key = ClientKey { host: s.ends.client.clone(), port, hash };
        if s.kind == PacketKind::Rst {
            self.take_rst(&s, &key, now);
            return;
        }
        if let Some(client) = self.old.remove(&key) {
            self.flows += client.len();
            self.young.insert(client);
        }
        if s.kind == PacketKind::Onward {
            if let Some(client) = self.young.get_mut(&key) {
                client.goes_on(&s, give);
            }
            return;
        }
        self.take_attempt(s, &key, now, give);
    }

    /// Takes a RST to the client's port `key`, while no connection was answered.
    fn take_rst(&mut self, s: &PacketObservation, key: &ClientKey, now: i64) {
        let clients = [&mut self.young, &mut self.old].into_iter();
        let effect = clients.filter_map(|clients| clients.get_mut(key)?.rst_effect(s, now)).max();
        match effect {
            Some(RstEffect::Refuses) => self.saw_refusal = true,
            Some(RstEffect::Ends) => self.ends_without_answer += 1,
            None => {}
        }
    }

    /// Takes a SYN or the answer to one, of the client's port `key`.
    fn take_attempt(
        &mut self,
        s: PacketObservation,
        key: &ClientKey,
        now: i64,
        give: &mut Give<'_>,
    ) {
        let rules = Rules { established: self.established, incomplete: self.incomplete() };
        let client = self.young.get_or_insert(key);
        match client.find(&s, now, rules, give) {
            Known::Yes => return,
            Known::Answered => {
                self.unanswered = self.unanswered.saturating_sub(1);
                return;
            }
            Known::AsOutbound { counted } => self.outbound -= u64::from(counted),
            Known::No => {}
        }
        let early = &mut self.early;
        client.make_room(now, rules, &mut |ends, time| {
            if rules.established {
                early.note(rules.incomplete);
            }
            give(ends, time);
        });
        let translation = client.translation_to(&s, now, &mut self.unanswered);
        let mut flow = Flow::new(&s, now);
        if s.outgoing {
            // Its answer may be seen at a place that does not show the direction.
            flow.set_counted_outbound(translation.is_none());
            self.outbound += u64::from(translation.is_none());
        } else if self.established || translation.is_some() {
            self.unconfirmed += 1;
            self.saw_translation |= translation.is_some();
            let PacketObservation { ends, time, .. } = s;
            flow.hold(Unconfirmed { number: self.unconfirmed, ends, time, translation });
        } else {
            self.unanswered += u64::from(!flow.is_answered());
            give(s.ends, s.time);
        }
        client.add(flow);
        self.flows += 1;
    }

    /// Whether the record has shown that the packets of servers were captured.
    fn shows_answers(&self) -> bool {
        self.saw_answer || self.saw_refusal
    }

    fn incomplete(&self) -> Incomplete {
        match (self.saw_onward, self.shows_answers()) {
            (true, _) => Incomplete::None,
            (false, true) => Incomplete::Answered,
            (false, false) => Incomplete::All,
        }
    }

    /// Forgets connections that no later packet can belong to.
    fn turn_over(&mut self, time: Option<RecordTime>, now: i64, give: &mut Give<'_>) {
        let kind = time.as_ref().map(std::mem::discriminant);
        if kind != self.kind {
            // Another clock: nothing that was seen before compares with it.
            self.kind = kind;
            self.begun = now;
            self.forget_all(give);
        }
        let is_far = now.abs_diff(self.begun) > SPAN;
        if is_far && now > self.begun || self.flows >= MAX_FLOWS {
            self.begun = now;
            self.forget(give);
        } else if is_far {
            // A time was wrong, or the record begins anew: no reason yet to forget.
            self.begun = now;
        }
    }

    fn forget(&mut self, give: &mut Give<'_>) {
        std::mem::swap(&mut self.young, &mut self.old);
        self.flows = 0;
        if self.established || self.saw_translation {
            let rules = Rules { established: self.established, incomplete: self.incomplete() };
            let mut unconfirmed: Vec<Unconfirmed> =
                self.young.drain().filter_map(|flow| rules.end(flow)).collect();
            // Clients are in another order than their connections.
            unconfirmed.sort_unstable_by_key(|unconfirmed| unconfirmed.number);
            for Unconfirmed { ends, time, .. } in unconfirmed {
                if self.established {
                    self.early.note(rules.incomplete);
                }
                give(ends, time);
            }
        }
        self.young.clear(self.old.len());
    }

    /// Nothing that comes is of the same clock or machine as what was seen.
    fn forget_all(&mut self, give: &mut Give<'_>) {
        self.forget(give);
        self.forget(give);
    }

    /// Ends the record, and reports what it does not show.
    pub(super) fn finish(&mut self, name: &str, status: &mut SourceStatus, give: &mut Give<'_>) {
        let wrong = self.early.wrong(self.incomplete());
        self.forget_all(give);
        status.record_shortfall(
            ShortfallKind::UnreadInput,
            wrong,
            format!(
                "{name}: {} counts {} that may never have been established, because the record shows only later which \
                 ones are",
                self.option,
                plural(wrong, "connection", "connections")
            ),
        );
        if self.saw_attempt && !self.shows_answers() && !self.established {
            status.warn(format!(
                "{name}: this record has only SYNs, so attempts that were refused or never \
                 answered count too"
            ));
        }
        if self.shows_answers() && self.unanswered > 0 {
            status.warn(format!(
                "{name}: this record has {} (on all ports); {} leaves such attempts out",
                plural(
                    self.unanswered,
                    "attempt that was refused or never answered, and counts too",
                    "attempts that were refused or never answered, and count too"
                ),
                self.option
            ));
        }
        if self.outbound > 0 {
            status.warn(format!(
                "{name}: {} left out: the record marks the SYNs as outgoing",
                plural(
                    self.outbound,
                    "connection that the recording machine opened itself is",
                    "connections that the recording machine opened itself are"
                )
            ));
        }
        if self.established && self.saw_attempt {
            self.note_evidence(name, status);
        }
    }

    /// Says by what `established` decided.
    fn note_evidence(&self, name: &str, status: &mut SourceStatus) {
        let option = self.option;
        if self.saw_refusal && !self.saw_answer {
            status.warn(format!(
                "{name}: this record has no SYN+ACK, but RSTs that refuse SYNs, so {option} leaves attempts out"
            ));
            let n = self.ends_without_answer;
            let text = format!(
                "{name}: {} without SYN+ACK, so the capture left SYN+ACKs out, and {option} cannot tell connections from \
                 attempts",
                plural(n, "RST ends a connection", "RSTs end connections")
            );
            status.record_shortfall(ShortfallKind::UnreadInput, n, text);
        } else if self.saw_answer && !self.saw_onward {
            status.warn(format!(
                "{name}: {option} counts what was answered with SYN+ACK; whether the client completed the handshake \
                 is not in this record"
            ));
        } else if !self.saw_answer && !self.saw_onward {
            status.warn(format!(
                "{name}: this record has only SYNs and does not show which connections were established, so {option} \
                 counts every attempt"
            ));
        }
    }
}

#[cfg(test)]
mod tests;
