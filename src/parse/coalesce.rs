//! [`Coalescer`]: counts connections with the same ends together, so that the sink gets each pair of
//! ends once.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use super::host::Address;
use crate::sys::memory::advise_huge_pages;
use crate::{Connection, RecordTime, Sink};

/// Number of slots at first, as a power of two: few clients stay in the cache.
const FEWEST_BITS: u32 = 12;

/// Maximum number of slots, as a power of two: more memory costs as much as the sink.
const MAX_BITS: u32 = 18;

/// Number of slots that a client may be in. With 4, one client in fifty had no room among 100,000, and each
/// of its connections evicted another's.
const PROBES: usize = 8;

/// Maximum number of local ends. Connections to others are given to the sink at once.
const MAX_LOCALS: usize = 64;

/// The address and the port of a local end.
pub(super) type Local = (Option<IpAddr>, Option<u16>);

/// Two random numbers, so that an attacker cannot choose addresses that share slots.
#[derive(Clone, Copy)]
struct Seed([u64; 2]);

impl Default for Seed {
    fn default() -> Seed {
        let random = RandomState::new();
        Seed([0, 1].map(|n: u64| random.hash_one(n)))
    }
}

impl Seed {
    /// Mixes by the high and the low half of a product, as foldhash and wyhash do.
    #[inline]
    fn mix(self, a: u64, b: u64) -> u64 {
        let product = u128::from(a ^ self.0[0]) * u128::from(b ^ self.0[1]);
        product as u64 ^ (product >> 64) as u64
    }

    /// Spreads the bits once more. With some seeds, one product alone puts addresses that follow each
    /// other into the same slots.
    #[inline]
    fn spread(self, hash: u64) -> u64 {
        let product = u128::from(hash) * u128::from(self.0[0] | 1);
        product as u64 ^ (product >> 64) as u64
    }
}

/// An address as a key.
trait Key: Copy + Eq + Default {
    /// The hash of the address and the place of its local end.
    fn hash(self, local: u32, seed: Seed) -> u64;
    fn address(self) -> Address;
}

impl Key for u32 {
    #[inline]
    fn hash(self, local: u32, seed: Seed) -> u64 {
        seed.spread(seed.mix(u64::from(self) | u64::from(local) << 32, 0))
    }

    fn address(self) -> Address {
        Address::V4(self)
    }
}

impl Key for [u64; 2] {
    #[inline]
    fn hash(self, local: u32, seed: Seed) -> u64 {
        seed.mix(seed.mix(self[0], u64::from(local)), self[1])
    }

    fn address(self) -> Address {
        Address::V6(self)
    }
}

/// Connections of one client to one port. Aligned, so that an IPv4 client's is in one cache line.
#[derive(Clone, Copy, Default)]
#[repr(align(32))]
struct Slot<K> {
    key: K,
    /// Index of the local end in `Coalescer::locals`.
    local: u32,
    /// Number of connections; 0 in an empty slot.
    count: u32,
    first: i64,
    last: i64,
}

impl<K> Slot<K> {
    /// One connection.
    #[inline]
    fn new(key: K, local: u32, time: i64) -> Slot<K> {
        Slot { key, local, count: 1, first: time, last: time }
    }
}

/// Clients whose connections have the same kind of time.
#[derive(Default)]
struct Slots<K> {
    slots: Vec<Slot<K>>,
    /// The number of slots is 2 to the power of this.
    bits: u32,
    seed: Seed,
    /// Number of slots evicted since the last growth.
    evicted: usize,
}

/// Slots are added when this part of them has been evicted: an eviction costs several times as
/// much as a cache miss.
const EVICTED_PART: usize = 16;

impl<K: Key> Slots<K> {
    /// Adds connections, whose key and local end have this hash. Returns the slot that was evicted for them.
    #[inline]
    fn add(&mut self, hash: u64, new: Slot<K>) -> Option<Slot<K>> {
        if self.slots.is_empty() {
            self.bits = FEWEST_BITS;
            self.slots = empty_slots(FEWEST_BITS);
        }
        let home = self.home(hash);
        for n in 0..PROBES {
            let slot = &mut self.slots[home ^ n];
            if slot.count == 0 {
                *slot = new;
                return None;
            }
            if slot.key == new.key
                && slot.local == new.local
                && let Some(count) = slot.count.checked_add(new.count)
            {
                slot.count = count;
                slot.first = slot.first.min(new.first);
                slot.last = slot.last.max(new.last);
                return None;
            }
        }
        self.replace(home, new)
    }

    #[inline]
    fn hash(&self, key: K, local: u32) -> u64 {
        key.hash(local, self.seed)
    }

    #[inline]
    fn home(&self, hash: u64) -> usize {
        (hash >> (64 - self.bits)) as usize
    }

    /// The count in the first slot of a client. Reading it brings the slot into the cache.
    #[inline(always)]
    fn touch(&self, hash: u64) -> u32 {
        if self.slots.is_empty() { 0 } else { self.slots[self.home(hash)].count }
    }

    #[inline(never)]
    fn replace(&mut self, home: usize, new: Slot<K>) -> Option<Slot<K>> {
        self.evicted += 1;
        if self.evicted > self.slots.len() / EVICTED_PART && self.bits < MAX_BITS {
            self.grow();
            return self.insert(new);
        }
        let place = home ^ (self.evicted % PROBES);
        Some(std::mem::replace(&mut self.slots[place], new))
    }

    /// Puts a slot into an empty place, or in the place of another.
    fn insert(&mut self, new: Slot<K>) -> Option<Slot<K>> {
        let home = self.home(self.hash(new.key, new.local));
        let place = (0..PROBES).map(|n| home ^ n).find(|place| self.slots[*place].count == 0);
        let old = std::mem::replace(&mut self.slots[place.unwrap_or(home)], new);
        (old.count > 0).then_some(old)
    }

    fn grow(&mut self) {
        let old = std::mem::take(&mut self.slots);
        self.bits = (self.bits + 2).min(MAX_BITS);
        self.evicted = 0;
        self.slots = empty_slots(self.bits);
        // Each old group has four new ones, so that none has to go.
        for slot in old.into_iter().filter(|slot| slot.count > 0) {
            self.insert(slot);
        }
    }
}

/// Slots, as a power of two, in which no connection waits.
fn empty_slots<K: Key>(bits: u32) -> Vec<Slot<K>> {
    let mut slots = Vec::with_capacity(1 << bits);
    advise_huge_pages(slots.spare_capacity_mut());
    slots.resize(1 << bits, Slot::default());
    slots
}

/// Connections that are not given to the sink yet, by the kind of their time.
#[derive(Default)]
pub(super) struct Coalescer {
    v4: [Slots<u32>; KINDS],
    v6: [Slots<[u64; 2]>; KINDS],
    locals: Vec<Local>,
    /// Index of the local end that was looked up last.
    local: u32,
}

/// Kinds of times: none, of a clock, since the beginning of the record.
const KINDS: usize = 3;

/// Connections whose slots are loaded at the same time.
const GROUP: usize = 32;

/// A connection whose slot is known.
#[derive(Clone, Copy)]
struct Prepared {
    ip: Address,
    /// Index of the local end in `Coalescer::locals`.
    place: u32,
    /// Index of the slots for its kind of time.
    kind: usize,
    /// Nanoseconds.
    time: i64,
    /// The hash of `ip` and `place`.
    hash: u64,
}

impl Default for Prepared {
    fn default() -> Prepared {
        Prepared { ip: Address::V4(0), place: 0, kind: 0, time: 0, hash: 0 }
    }
}

/// The kind of a time, and its value.
#[inline]
fn kind(time: Option<RecordTime>) -> (usize, i64) {
    match time {
        None => (0, 0),
        Some(RecordTime::Clock(time)) => (1, time),
        Some(RecordTime::Elapsed(time)) => (2, time),
    }
}

fn time(kind: usize, value: i64) -> Option<RecordTime> {
    match kind {
        0 => None,
        1 => Some(RecordTime::Clock(value)),
        _ => Some(RecordTime::Elapsed(value)),
    }
}

impl Coalescer {
    /// Takes a connection. One without an address of the peer, or with the name of a machine or TCP statistics,
    /// goes to the sink at once. Of the others, only the ends and the time are kept: see
    /// `UsedFields::can_coalesce`.
    #[inline]
    pub(super) fn take(&mut self, c: Connection, sink: &mut dyn Sink) {
        let place = peer(&c).and_then(|ip| Some((ip, self.place((c.local_ip, c.local_port))?)));
        match place {
            Some((ip, place)) => {
                let (kind, time) = kind(c.time);
                let hash = self.hash(ip, kind, place);
                self.add(&Prepared { ip, place, kind, time, hash }, sink);
            }
            None => sink.take(c),
        }
    }

    /// Takes connections of which no more than this is known: the address, the local end as an
    /// index into `locals`, and the time.
    pub(super) fn take_briefs<T>(
        &mut self,
        briefs: &[T],
        locals: &[Local],
        mut brief: impl FnMut(&T) -> (Address, usize, Option<RecordTime>),
        sink: &mut dyn Sink,
    ) {
        let places: Vec<Option<u32>> = locals.iter().map(|local| self.place(*local)).collect();
        // The slots of many clients do not fit into the cache. Without this, each addition would
        // wait for memory; so the processor loads the slots of a group at the same time.
        let mut group = [Prepared::default(); GROUP];
        for briefs in briefs.chunks(GROUP) {
            let mut touched = 0;
            let mut used = 0;
            for b in briefs {
                let (ip, local, time) = brief(b);
                let Some(place) = places.get(local).copied().flatten() else {
                    let local = locals.get(local).copied().unwrap_or_default();
                    give_one(ip.ip(), local, time, sink);
                    continue;
                };
                let (kind, time) = kind(time);
                let hash = self.hash(ip, kind, place);
                touched ^= self.touch(ip, kind, hash);
                group[used] = Prepared { ip, place, kind, time, hash };
                used += 1;
            }
            std::hint::black_box(touched);
            group[..used].iter().for_each(|prepared| self.add(prepared, sink));
        }
    }

    #[inline(always)]
    fn hash(&self, ip: Address, kind: usize, place: u32) -> u64 {
        match ip {
            Address::V4(ip) => self.v4[kind].hash(ip, place),
            Address::V6(ip) => self.v6[kind].hash(ip, place),
        }
    }

    #[inline]
    fn touch(&self, ip: Address, kind: usize, hash: u64) -> u32 {
        match ip {
            Address::V4(_) => self.v4[kind].touch(hash),
            Address::V6(_) => self.v6[kind].touch(hash),
        }
    }

    #[inline]
    fn add(&mut self, prepared: &Prepared, sink: &mut dyn Sink) {
        let Prepared { ip, place, kind, time, hash } = *prepared;
        match ip {
            Address::V4(ip) => {
                if let Some(old) = self.v4[kind].add(hash, Slot::new(ip, place, time)) {
                    give(&old, kind, &self.locals, sink);
                }
            }
            Address::V6(ip) => {
                if let Some(old) = self.v6[kind].add(hash, Slot::new(ip, place, time)) {
                    give(&old, kind, &self.locals, sink);
                }
            }
        }
    }

    /// Takes all connections of `other`.
    pub(super) fn join(&mut self, other: Coalescer, sink: &mut dyn Sink) {
        if self.locals.is_empty() {
            *self = other;
            return;
        }
        let places: Vec<Option<u32>> =
            other.locals.iter().map(|local| self.place(*local)).collect();
        let locals = (&self.locals[..], &other.locals[..], &places[..]);
        join_kinds(&mut self.v4, other.v4, locals, sink);
        join_kinds(&mut self.v6, other.v6, locals, sink);
    }

    /// The place of a local end. `None`: there are too many.
    #[inline]
    fn place(&mut self, local: Local) -> Option<u32> {
        if self.locals.get(self.local as usize) == Some(&local) {
            return Some(self.local);
        }
        self.find_local(local)
    }

    /// Looks for the place of a local end, or gives it one.
    #[inline(never)]
    fn find_local(&mut self, local: Local) -> Option<u32> {
        let known = self.locals.iter().position(|known| *known == local);
        let place = known.unwrap_or(self.locals.len());
        if place == MAX_LOCALS {
            return None;
        }
        if place == self.locals.len() {
            self.locals.push(local);
        }
        self.local = place as u32;
        Some(self.local)
    }

    /// Gives everything to the sink.
    pub(super) fn end(&mut self, sink: &mut dyn Sink) {
        fn all<K: Key>(kinds: &mut [Slots<K>], locals: &[Local], sink: &mut dyn Sink) {
            for (kind, slots) in kinds.iter_mut().enumerate() {
                slots.slots.drain(..).for_each(|slot| give(&slot, kind, locals, sink));
            }
        }
        all(&mut self.v4, &self.locals, sink);
        all(&mut self.v6, &self.locals, sink);
        self.locals.clear();
    }
}

/// Adds all slots of `others` to `kinds`. `locals` are the local ends of `kinds`, those of `others`, and the places
/// of these among the former.
fn join_kinds<K: Key>(
    kinds: &mut [Slots<K>; KINDS],
    others: [Slots<K>; KINDS],
    (locals, other_locals, places): (&[Local], &[Local], &[Option<u32>]),
    sink: &mut dyn Sink,
) {
    for (kind, (slots, other)) in kinds.iter_mut().zip(others).enumerate() {
        for slot in other.slots.into_iter().filter(|slot| slot.count > 0) {
            let Some(local) = places.get(slot.local as usize).copied().flatten() else {
                give(&slot, kind, other_locals, sink);
                continue;
            };
            let hash = slots.hash(slot.key, local);
            if let Some(old) = slots.add(hash, Slot { local, ..slot }) {
                give(&old, kind, locals, sink);
            }
        }
    }
}

/// Gives a connection to the sink.
pub(super) fn give_one(
    ip: IpAddr,
    (local_ip, local_port): Local,
    time: Option<RecordTime>,
    sink: &mut dyn Sink,
) {
    let ip = Some(ip);
    sink.take(Connection { time, ip, local_ip, local_port, ..Connection::default() });
}

#[inline(never)]
fn give<K: Key>(slot: &Slot<K>, kind: usize, locals: &[Local], sink: &mut dyn Sink) {
    if slot.count == 0 {
        return;
    }
    let (local_ip, local_port) = locals.get(slot.local as usize).copied().unwrap_or_default();
    let connection = Connection {
        time: time(kind, slot.first),
        ip: Some(slot.key.address().ip()),
        local_ip,
        local_port,
        ..Connection::default()
    };
    sink.take_many(connection, slot.count.into(), time(kind, slot.last));
}

/// The peer of a connection that can be counted together with others. The fields that are not looked at here
/// are not used: see `UsedFields::can_coalesce`.
#[inline]
pub(super) fn peer(c: &Connection) -> Option<Address> {
    match (c.ip, &c.machine, &c.transport) {
        (Some(ip), None, None) => Some(ip.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn nothing_is_lost_however_many_clients_there_are() {
        for clients in [10, 5_000, 60_000_u32] {
            let mut coalescers = [Coalescer::default(), Coalescer::default()];
            let mut sink: Vec<Connection> = Vec::new();
            let mut want: HashMap<(IpAddr, Option<u16>), u64> = HashMap::new();
            for n in 0..clients.max(1000) * 2 {
                let client = n.wrapping_mul(0x9e37_79b1) % clients;
                let ip: IpAddr = match client % 3 {
                    0 => Ipv6Addr::from(u128::from(client) << 70 | 1).into(),
                    _ => Ipv4Addr::from(client).into(),
                };
                let local_port = [None, Some(80), Some((n % 200) as u16)][client as usize % 3];
                let time = match n % 3 {
                    0 => None,
                    1 => Some(RecordTime::Clock(n.into())),
                    _ => Some(RecordTime::Elapsed(n.into())),
                };
                *want.entry((ip, local_port)).or_default() += 1;
                let c = Connection { ip: Some(ip), local_port, time, ..Connection::default() };
                coalescers[n as usize / 7 % 2].take(c, &mut sink);
            }
            let [mut all, other] = coalescers;
            all.join(other, &mut sink);
            all.end(&mut sink);
            let mut got: HashMap<(IpAddr, Option<u16>), u64> = HashMap::new();
            for c in sink {
                *got.entry((c.ip.unwrap(), c.local_port)).or_default() += 1;
            }
            assert_eq!(got, want, "{clients}");
        }
    }
}
