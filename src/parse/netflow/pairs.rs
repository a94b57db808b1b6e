//! [`Pairs`]: joins the flows of a connection: both directions, and flows that were split in time.

use foldhash::quality::RandomState;
use hashbrown::HashMap;

use crate::parse::host::{Ends, Host};
use crate::parse::timestamp::SECOND;
use crate::{Connection, RecordTime};

/// SYN and ACK in a flow's flags.
pub(super) const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// Maximum time between the starts of both directions, with a SYN retransmitted in between.
const NEAR: i64 = 7 * SECOND / 2;
/// Maximum time before a SYN is retransmitted.
const SPAN: i64 = 130 * SECOND;
/// Without flags, a flow on the same ports within this time belongs to the same connection.
const MAX_PAUSE_NS: i64 = 60 * SECOND;
/// Maximum number of pairs of ends in each of the two generations, the recent and the older one.
const MAX_OPEN_FLOWS: usize = 1 << 19;

type End = (Host, u16);

/// One flow, in one direction.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    /// From where.
    pub from: End,
    /// To where.
    pub to: End,
    /// When it began.
    pub first: Option<RecordTime>,
    /// How long it lasted, in nanoseconds.
    pub length: i64,
    /// The flags of all its packets, if they are shown.
    pub flags: Option<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Side {
    time: Option<RecordTime>,
    first: i64,
    last: i64,
    flags: Option<u8>,
}

/// A connection: what each end sent, first the end that sorts first.
type Sides = [Option<Side>; 2];
type Map = HashMap<(String, End, End), Vec<Sides>, RandomState>;

/// Flows that are joined to connections, two generations of them.
pub(super) struct Pairs {
    young: Map,
    old: Map,
    local: Vec<Host>,
    established: bool,
    /// Whether any flow had no flags, so that its direction is uncertain.
    pub flagless: bool,
}

impl Pairs {
    /// Creates an empty set. `local`: addresses of servers; `established`: only connections with an answer.
    pub(super) fn new(local: &[Host], established: bool) -> Pairs {
        Pairs {
            young: Map::default(),
            old: Map::default(),
            local: local.to_vec(),
            established,
            flagless: false,
        }
    }

    /// Takes a TCP flow.
    pub(super) fn take(&mut self, flow: Flow, give: &mut dyn FnMut(Connection)) {
        self.flagless |= flow.flags.is_none();
        // Without a SYN it goes on with a connection that is counted already.
        if flow.flags.is_some_and(|flags| flags & SYN == 0) {
            return;
        }
        let first = flow.first.map_or(0, RecordTime::nanoseconds);
        let side = Side {
            time: flow.first,
            first,
            last: first.saturating_add(flow.length.max(0)),
            flags: flow.flags,
        };
        if self.young.len() >= MAX_OPEN_FLOWS {
            let young = std::mem::take(&mut self.young);
            let old = std::mem::replace(&mut self.old, young);
            self.give_all(old, give);
        }
        let (shown_from, shown_to) = (show(&flow.from), show(&flow.to));
        let turned = shown_from > shown_to;
        let (key, low, high) = if turned {
            (shown_to + &shown_from, flow.to, flow.from)
        } else {
            (shown_from + &shown_to, flow.from, flow.to)
        };
        let key = (key, low, high);
        if let Some(moved) = self.old.remove(&key) {
            self.young.entry(key.clone()).or_default().extend(moved);
        }
        let all = self.young.entry(key).or_default();
        let (mine, other) = (usize::from(turned), usize::from(!turned));
        for sides in all.iter_mut().rev() {
            let answer = sides[other];
            match (&mut sides[mine], answer) {
                (Some(known), _) if known.goes_on_in(&side) => {
                    known.first = known.first.min(side.first);
                    known.time = known.time.min(side.time);
                    known.last = known.last.max(side.last);
                    known.flags = known.flags.zip(side.flags).map(|(a, b)| a | b);
                    return;
                }
                (none @ None, Some(other))
                    if side.first <= other.last.saturating_add(NEAR)
                        && other.first <= side.last.saturating_add(NEAR) =>
                {
                    *none = Some(side);
                    return;
                }
                _ => {}
            }
        }
        let mut sides: Sides = [None, None];
        sides[mine] = Some(side);
        all.push(sides);
    }

    /// Gives the connections that wait for further flows.
    pub(super) fn finish(&mut self, give: &mut dyn FnMut(Connection)) {
        for map in [std::mem::take(&mut self.old), std::mem::take(&mut self.young)] {
            self.give_all(map, give);
        }
    }

    fn give_all(&self, map: Map, give: &mut dyn FnMut(Connection)) {
        for ((_, low, high), all) in map {
            for sides in all {
                let client_is_high = client_is_high(&sides, low.1, high.1);
                let (client, server) = if client_is_high { (&high, &low) } else { (&low, &high) };
                let asked = sides[usize::from(client_is_high)];
                let ends = Ends {
                    client: client.0.clone(),
                    client_port: Some(client.1),
                    server: server.0.clone(),
                    server_port: Some(server.1),
                };
                // A client that got through has acknowledged.
                let known = sides.iter().flatten().any(|s| s.flags.is_some());
                let complete = asked.or(sides[usize::from(!client_is_high)]);
                let complete = complete.and_then(|s| s.flags).is_none_or(|f| f & ACK != 0);
                if !ends.inbound(&self.local) || self.established && known && !complete {
                    continue;
                }
                let time = sides.iter().flatten().filter_map(|s| s.time).min();
                give(Connection { time, ..ends.connection() });
            }
        }
    }
}

fn show(end: &End) -> String {
    format!("{:?} {};", end.0, end.1)
}

impl Side {
    /// Whether `next`, of the same direction, is of the same connection.
    fn goes_on_in(&self, next: &Side) -> bool {
        // Two exporters may have seen it.
        if next.first.abs_diff(self.first) <= SECOND.unsigned_abs() {
            return true;
        }
        let pause = next.first.saturating_sub(self.last);
        match self.flags {
            // Not answered yet: the SYN is sent again, each time after at most twice as long.
            Some(flags) if flags & ACK == 0 => {
                let tried = self.last.saturating_sub(self.first);
                pause <= tried.saturating_mul(2).saturating_add(NEAR).min(SPAN)
            }
            Some(_) => false,
            None => pause <= MAX_PAUSE_NS,
        }
    }
}

/// Which end opened the connection: the one that sent first, or whose SYN nobody answered. Where
/// clocks are too coarse to decide, the server's port is the lower.
fn client_is_high(sides: &Sides, low_port: u16, high_port: u16) -> bool {
    let by_ports = |otherwise: bool| {
        // Active FTP opens its data connections from this port.
        let rank = |port: u16| if port == 20 { u16::MAX } else { port };
        let (low_port, high_port) = (rank(low_port), rank(high_port));
        let ephemeral = |port: u16| port >= 32768;
        if low_port == high_port || ephemeral(low_port) && ephemeral(high_port) {
            otherwise
        } else {
            high_port > low_port
        }
    };
    let lone_syn = |side: &Side| side.flags.is_some_and(|f| f & (SYN | ACK) == SYN);
    match sides {
        [Some(low), Some(high)] if low.first != high.first => high.first < low.first,
        [Some(low), _] if lone_syn(low) => false,
        [_, Some(high)] if lone_syn(high) => true,
        [Some(_), _] => by_ports(false),
        [None, _] => by_ports(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(from: (&str, u16), to: (&str, u16), at: i64, length: i64, flags: Option<u8>) -> Flow {
        let end = |(ip, port): (&str, u16)| (ip.parse().unwrap(), port);
        Flow {
            from: end(from),
            to: end(to),
            first: Some(RecordTime::Clock(at * SECOND)),
            length: length * SECOND,
            flags,
        }
    }

    const C: (&str, u16) = ("198.51.100.1", 40000);
    const S: (&str, u16) = ("192.0.2.77", 443);
    const OPEN: Option<u8> = Some(SYN | ACK);
    const LONE: Option<u8> = Some(SYN);
    const REST: Option<u8> = Some(ACK);

    fn given(flows: &[Flow]) -> Vec<(Option<u16>, String)> {
        let mut pairs = Pairs::new(&[], false);
        let mut given = Vec::new();
        let mut give = |c: Connection| given.push((c.local_port, c.ip.unwrap().to_string()));
        for flow in flows {
            pairs.take(flow.clone(), &mut give);
        }
        pairs.finish(&mut give);
        given
    }

    #[test]
    fn both_directions_are_one() {
        let want = vec![(Some(443), C.0.to_owned())];
        // A tie, in either order; and the reply alone.
        assert_eq!(given(&[flow(S, C, 5, 1, OPEN), flow(C, S, 5, 1, OPEN)]), want);
        assert_eq!(given(&[flow(C, S, 5, 1, None), flow(S, C, 5, 1, None)]), want);
        assert_eq!(given(&[flow(S, C, 5, 1, OPEN)]), want);
        // The SYN was sent again until it was answered.
        assert_eq!(given(&[flow(S, C, 9, 1, OPEN), flow(C, S, 5, 4, OPEN)]), want);
        // Active FTP.
        let data = ("192.0.2.77", 20);
        assert_eq!(
            given(&[flow(C, data, 5, 1, OPEN), flow(data, C, 5, 1, OPEN)]),
            [(Some(40000), S.0.to_owned())]
        );
        // The time outweighs the port.
        let high = ("198.51.100.1", 50000);
        assert_eq!(
            given(&[flow(S, high, 5, 1, OPEN), flow(high, S, 6, 1, OPEN)]),
            [(Some(50000), S.0.to_owned())]
        );
    }

    #[test]
    fn pieces_count_once_and_reused_ports_again() {
        // The rest of a connection.
        assert_eq!(given(&[flow(C, S, 5, 20, OPEN), flow(C, S, 30, 1, REST)]).len(), 1);
        // SYNs that nobody answers.
        assert_eq!(given(&[flow(C, S, 5, 7, LONE), flow(C, S, 20, 0, LONE)]).len(), 1);
        // The same ports again.
        assert_eq!(given(&[flow(C, S, 5, 1, OPEN), flow(C, S, 72, 1, OPEN)]).len(), 2);
        assert_eq!(given(&[flow(C, S, 5, 1, None), flow(C, S, 172, 1, None)]).len(), 2);
    }
}
