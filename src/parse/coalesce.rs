//! [`Coalescer`]: makes one of connections that differ in nothing that is counted by, before the sink
//! has to look at each.

use std::net::{IpAddr, Ipv4Addr};

use crate::Sink;
use crate::{Connection, RecordTime};

/// Clients that are remembered: so many that those which come often stay, and so few that they
/// stay in the cache.
const SLOTS: usize = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 12;

type Local = (Option<IpAddr>, Option<u16>);

/// Connections of one client to one port.
#[derive(Clone, Copy)]
struct Slot {
    ip: Ipv4Addr,
    /// 0: none is waiting here.
    count: u32,
    local: Local,
    first: i64,
    last: i64,
}

const EMPTY: Slot =
    Slot { ip: Ipv4Addr::UNSPECIFIED, count: 0, local: (None, None), first: 0, last: 0 };

/// Connections that wait for more like them.
#[derive(Default)]
pub struct Coalescer(Vec<Slot>);

impl Coalescer {
    /// Takes a connection; others than those of IPv4 clients at a clock time go on at once.
    #[inline]
    pub fn take(&mut self, c: Connection, sink: &mut dyn Sink) {
        let (Some(IpAddr::V4(ip)), Some(RecordTime::Clock(time)), None, None) =
            (c.ip, c.time, &c.machine, &c.transport)
        else {
            return sink.take(c);
        };
        self.add(ip, (c.local_ip, c.local_port), time, sink);
    }

    /// Takes a connection of which no more than this is known.
    #[inline]
    pub fn take_brief(&mut self, ip: Ipv4Addr, time: Option<RecordTime>, sink: &mut dyn Sink) {
        match time {
            Some(RecordTime::Clock(time)) => self.add(ip, (None, None), time, sink),
            time => sink.take(Connection { time, ip: Some(ip.into()), ..Connection::default() }),
        }
    }

    #[inline]
    fn add(&mut self, ip: Ipv4Addr, local: Local, time: i64, sink: &mut dyn Sink) {
        if self.0.is_empty() {
            self.0.resize(SLOTS, EMPTY);
        }
        // The multiplier is that of Fibonacci hashing: 2^32 by the golden ratio.
        let ends = u32::from(ip) ^ u32::from(local.1.unwrap_or(0)).rotate_left(16);
        let place = ends.wrapping_mul(0x9e37_79b1) >> (32 - SLOT_BITS);
        let slot = &mut self.0[place as usize];
        if slot.ip == ip && slot.local == local && (1..u32::MAX).contains(&slot.count) {
            slot.count += 1;
            slot.first = slot.first.min(time);
            slot.last = slot.last.max(time);
        } else {
            slot.give(sink);
            *slot = Slot { ip, count: 1, local, first: time, last: time };
        }
    }

    /// Gives all that wait.
    pub fn end(&mut self, sink: &mut dyn Sink) {
        self.0.drain(..).for_each(|slot| slot.give(sink));
    }
}

impl Slot {
    #[inline(never)]
    fn give(&self, sink: &mut dyn Sink) {
        if self.count > 0 {
            let (local_ip, local_port) = self.local;
            let connection = Connection {
                time: Some(RecordTime::Clock(self.first)),
                ip: Some(self.ip.into()),
                local_ip,
                local_port,
                ..Connection::default()
            };
            sink.take_many(connection, self.count.into(), Some(RecordTime::Clock(self.last)));
        }
    }
}
