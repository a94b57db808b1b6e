//! The events of threads: what makes their accepts samples, and the kernel's own count of them.

use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::io;

use crate::sys::capability;
use crate::sys::files;
use crate::sys::perf_ring::{Inherit, SampledEvent, SampledTracepoint, monotonic_now};
use crate::sys::ptrace::Tid;
use crate::trace::perf::Refused;
use crate::trace::perf::tracepoint::Tracepoints;

use super::rings::{Rings, Wake};

/// accept's errors are negative; what it may return besides is a descriptor.
const SUCCESS: &CStr = c"ret >= 0";
/// How much of the stack each sample holds: nginx, redis, memcached and Python need less than 400.
const STACK_BYTES: u32 = 512;
/// Whether samples hold a `sockaddr_in6` at this address, with this stack pointer.
pub(crate) fn reaches(address: u64, stack_pointer: u64) -> bool {
    const SOCKADDR: u64 = 28;
    address >= stack_pointer
        && address.saturating_add(SOCKADDR) <= stack_pointer.saturating_add(STACK_BYTES.into())
}

/// Fewer are kept open: what is closed too early counts nothing any more.
const MANY_FAMILIES: usize = 512;
/// Descriptors that events leave to others, who look up sockets and read /proc.
const SPARE: u64 = 32;

/// Names the events that were opened on one thread, and that others have inherited from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FamilyId(u32);

/// The events that were opened on one thread: of each CPU, and of accept and accept4.
#[derive(Debug)]
pub(super) struct Family {
    events: Vec<SampledEvent>,
    /// When the first was about to be opened, and when the last one was: CLOCK_MONOTONIC.
    pub opened: (u64, u64),
    /// Living threads that have these events and no others.
    pub threads: u64,
    /// Into which rings they write.
    pub wake: Wake,
}

/// What the accepts of a family's threads were like.
#[derive(Debug, Default)]
pub(super) struct Experience {
    /// So many samples told the peer since the last that did not.
    pub told: u32,
    /// How often the rings were changed.
    pub changes: u32,
}

/// How many samples an event has brought.
#[derive(Debug)]
struct Counter {
    family: FamilyId,
    seen: u64,
    /// What the kernel had counted when the event was closed.
    closed: Option<u64>,
}

/// All events.
#[derive(Debug)]
pub(super) struct Families {
    // Before the tracepoints, which must be dropped last to make closing quick.
    families: HashMap<FamilyId, Family>,
    counters: HashMap<u64, Counter>,
    tracepoints: Tracepoints,
    inherit: Inherit,
    next: u32,
    /// Without a living thread when that was last looked at.
    unused: HashSet<FamilyId>,
}

impl Families {
    /// Finds the tracepoints; nothing is counted yet.
    pub(super) fn new(inherit: Inherit) -> Result<Families, Refused> {
        Ok(Families {
            families: HashMap::new(),
            counters: HashMap::new(),
            tracepoints: Tracepoints::find_counting()?,
            inherit,
            next: 0,
            unused: HashSet::new(),
        })
    }

    /// Opens events on a thread, which wake up the reader at once.
    ///
    /// # Errors
    /// [`Refused`], in which the remedy stands.
    pub(super) fn open(&mut self, tid: Tid, rings: &Rings) -> Result<FamilyId, Refused> {
        let events = match self.events(tid, rings) {
            Err(Refused::Files) if files::raise_limit() => self.events(tid, rings)?,
            result => result?,
        };
        let (events, opened) = events;
        let newest = events.iter().map(SampledEvent::descriptor).max().unwrap_or(0);
        if !files::has_room(SPARE, newest) && !files::raise_limit() {
            return Err(Refused::Files);
        }
        let id = FamilyId(self.next);
        self.next += 1;
        for event in &events {
            let counter = Counter { family: id, seen: 0, closed: None };
            self.counters.insert(event.id(), counter);
        }
        self.families.insert(id, Family { events, opened, threads: 0, wake: Wake::AtOnce });
        Ok(id)
    }

    fn events(&self, tid: Tid, rings: &Rings) -> Result<(Vec<SampledEvent>, (u64, u64)), Refused> {
        let ids = self.tracepoints.ids();
        let _raised = capability::raised();
        let begun = monotonic_now();
        let mut events = Vec::with_capacity(2 * rings.cpus());
        for ring in rings.each(Wake::AtOnce) {
            for (id, tells_of_threads) in [(ids.accept, false), (ids.accept4, true)] {
                let tracepoint = SampledTracepoint {
                    id,
                    stack_bytes: STACK_BYTES,
                    tells_of_threads,
                    inherit: self.inherit,
                    filter: SUCCESS,
                };
                let event = SampledEvent::open(&tracepoint, tid, ring);
                events.push(event.map_err(|e| Refused::on_thread(e, tid))?);
            }
        }
        Ok((events, (begun, monotonic_now())))
    }

    /// Notes a sample, and tells whose events it comes from.
    pub(super) fn see(&mut self, event: u64) -> Option<FamilyId> {
        let counter = self.counters.get_mut(&event)?;
        counter.seen += 1;
        Some(counter.family)
    }

    /// The events that an event belongs to.
    pub(super) fn family_of(&self, event: u64) -> Option<FamilyId> {
        self.counters.get(&event).map(|counter| counter.family)
    }

    /// One of them, unless it is closed.
    pub(super) fn get_mut(&mut self, id: FamilyId) -> Option<&mut Family> {
        self.families.get_mut(&id)
    }

    /// One of them, unless it is closed.
    pub(super) fn get(&self, id: FamilyId) -> Option<&Family> {
        self.families.get(&id)
    }

    /// Lets events write into other rings from now on.
    pub(super) fn send_to(&mut self, id: FamilyId, wake: Wake, rings: &Rings) -> io::Result<()> {
        let Some(family) = self.families.get_mut(&id).filter(|family| family.wake != wake) else {
            return Ok(());
        };
        // In the order in which they were opened: two for each CPU.
        for (pair, ring) in family.events.chunks(2).zip(rings.each(wake)) {
            pair.iter().try_for_each(|event| event.send_to(ring))?;
        }
        family.wake = wake;
        Ok(())
    }

    /// Closes the events that no living thread has had since this was last called, if there are
    /// many.
    pub(super) fn close_unused(&mut self) {
        if self.families.len() < MANY_FAMILIES {
            return;
        }
        let unused = self.families.iter().filter(|(_, family)| family.threads == 0);
        let unused: Vec<FamilyId> = unused.map(|(id, _)| *id).collect();
        for id in unused.iter().filter(|id| self.unused.contains(id)) {
            let Some(family) = self.families.remove(id) else { continue };
            for event in &family.events {
                if let Some(counter) = self.counters.get_mut(&event.id()) {
                    counter.closed = Some(event.count().unwrap_or(counter.seen));
                }
            }
        }
        self.unused = unused.into_iter().collect();
        // Of those that are closed, all samples have been seen, or never will be.
        self.counters.retain(|_, counter| counter.closed.is_none_or(|count| count > counter.seen));
    }

    /// How many accepts the kernel has counted by now, by event. Compare it, once the rings have
    /// been read, by [`Families::missing`].
    pub(super) fn counts(&self) -> io::Result<Vec<(u64, u64)>> {
        let open = self.families.values().flat_map(|family| &family.events);
        let open = open.map(|event| Ok((event.id(), event.count()?)));
        let closed = self.counters.iter().filter_map(|(id, c)| Some(Ok((*id, c.closed?))));
        open.chain(closed).collect()
    }

    /// How many of the counted accepts brought no sample.
    pub(super) fn missing(&self, counts: &[(u64, u64)]) -> u64 {
        let missing = |(id, count): &(u64, u64)| {
            let seen = self.counters.get(id).map_or(*count, |counter| counter.seen);
            count.saturating_sub(seen)
        };
        counts.iter().map(missing).sum()
    }

    /// How many events are open.
    pub(super) fn open_events(&self) -> usize {
        self.families.values().map(|family| family.events.len()).sum()
    }
}
