//! The perf events that sample the accepts of threads, and the kernel's own count of them.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::io;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};

use crate::sys::capability;
use crate::sys::files;
use crate::sys::perf::{Event, Tracepoint};
use crate::sys::perf_ring::{Inherit, SampledEvent, SampledTracepoint, monotonic_now};
use crate::sys::ptrace::Tid;
use crate::trace::perf::PerfError;
use crate::trace::perf::tracepoint::Tracepoints;

use super::counters::{Counters, FamilyId, Place};
use super::learning::Mode;
use super::rings::Rings;

/// The filter for successful accepts: errors are negative, descriptors are not.
const SUCCESS: &CStr = c"ret >= 0";
/// The filter for calls of accept: a call whose length is NULL has no buffer to measure.
const WITH_LENGTH: &CStr = c"upeer_addrlen != 0";
/// Maximum number of families whose calls of accept are sampled from the start; for others, on demand.
const MAX_FAMILIES_WITH_ENTRIES: usize = 64;
/// Number of families above which unused ones are closed. A closed family counts nothing any more.
const MAX_UNUSED_KEPT: usize = 512;
/// Number of events on each CPU: entry and exit of accept and of accept4.
const EVENTS_PER_CPU: u64 = 4;
/// Number of events on any CPU: that of io_uring_setup.
const EVENTS_PER_THREAD: u64 = 1;
/// Number of descriptors that events leave free for socket look-ups and /proc.
const RESERVED_DESCRIPTORS: u64 = 32;

/// The events that were opened on one thread: of each CPU, and of accept and accept4.
#[derive(Debug)]
pub(super) struct Family {
    events: Vec<SampledEvent>,
    /// Counts calls of io_uring_setup.
    io_uring: Option<Event>,
    /// Samples of calls of accept, as long as the length of the buffer is not known.
    entries: Vec<SampledEvent>,
    /// When the first was about to be opened, and when the last one was: CLOCK_MONOTONIC.
    pub opened: (u64, u64),
    /// Living threads that have these events and no others.
    pub threads: u64,
    /// The content of their samples.
    pub mode: Mode,
}

/// All events.
#[derive(Debug)]
pub(super) struct Families {
    families: HashMap<FamilyId, Family>,
    counters: Counters,
    /// The tracepoints of calls of accept and accept4.
    entries: Option<[u16; 2]>,
    tracepoints: Tracepoints,
    /// The ids of all events of calls that were ever opened: their samples may still come.
    entry_events: Arc<HashSet<u64>>,
    inherit: Inherit,
    next: FamilyId,
    /// Families without a living thread at the last check.
    unused: HashSet<FamilyId>,
    /// Whether events that are closed saw an io_uring.
    closed_io_uring: bool,
}

/// The events of accept, that of io_uring_setup, and when the first was about to be opened and the
/// last one was.
type Opened = (Vec<SampledEvent>, Option<Event>, (u64, u64));

impl Families {
    /// Finds the tracepoints; nothing is counted yet.
    pub(super) fn new(inherit: Inherit) -> Result<Families, PerfError> {
        let tracepoints = Tracepoints::find_counting()?;
        Ok(Families {
            families: HashMap::new(),
            counters: Counters::default(),
            entries: tracepoints.entries(),
            tracepoints,
            entry_events: Arc::default(),
            inherit,
            next: FamilyId::default(),
            unused: HashSet::new(),
            closed_io_uring: false,
        })
    }

    /// Opens events on a thread.
    ///
    /// # Errors
    /// [`PerfError`], which names the remedy.
    pub(super) fn open(
        &mut self,
        tid: Tid,
        mode: Mode,
        rings: &Rings,
    ) -> Result<FamilyId, PerfError> {
        let events = match self.events(tid, mode, rings) {
            Err(PerfError::Files) if files::raise_limit() => self.events(tid, mode, rings)?,
            result => result?,
        };
        let (events, io_uring, opened) = events;
        let newest = events.iter().map(SampledEvent::descriptor).max().unwrap_or(0);
        if !files::has_room(RESERVED_DESCRIPTORS, newest) && !files::raise_limit() {
            return Err(PerfError::Files);
        }
        let id = self.next;
        self.next = id.next();
        for (pair, ring) in events.chunks(2).zip(rings.each()) {
            for (event, is_accept4) in pair.iter().zip([false, true]) {
                let place = Place { cpu: ring.cpu(), is_accept4 };
                self.counters.add(event.id(), (id, opened), place);
            }
        }
        let entries = Vec::new();
        let family = Family { events, io_uring, entries, opened, threads: 0, mode };
        self.families.insert(id, family);
        if mode.wakes_at_once && self.families.len() <= MAX_FAMILIES_WITH_ENTRIES {
            self.open_entries(id, tid, rings);
        }
        Ok(id)
    }

    /// Samples the calls of accept of a thread and its descendants as well, if that is possible and
    /// not so yet.
    pub(super) fn open_entries(&mut self, id: FamilyId, tid: Tid, rings: &Rings) {
        let Some(ids) = self.entries else { return };
        let Some(family) = self.families.get_mut(&id).filter(|f| f.entries.is_empty()) else {
            return;
        };
        let stack_bytes = family.mode.stack_bytes;
        let _raised = capability::raised();
        let opened: io::Result<Vec<SampledEvent>> = rings
            .each()
            .flat_map(|ring| ids.map(|id| (id, ring)))
            .map(|(id, ring)| {
                let tracepoint = SampledTracepoint {
                    id,
                    stack_bytes,
                    wakes_at_once: true,
                    tells_of_threads: false,
                    inherit: self.inherit,
                    filter: WITH_LENGTH,
                };
                SampledEvent::open(&tracepoint, tid, ring)
            })
            .collect();
        // Without these samples, the sockets are queried.
        let newest = opened.iter().flatten().map(SampledEvent::descriptor).max();
        if newest.is_some_and(|newest| files::has_room(RESERVED_DESCRIPTORS, newest)) {
            family.entries = opened.unwrap_or_default();
            let ids = family.entries.iter().map(SampledEvent::id);
            Arc::make_mut(&mut self.entry_events).extend(ids);
        }
    }

    /// The events whose samples are of calls of accept that have not returned.
    pub(super) fn entry_events(&self) -> Arc<HashSet<u64>> {
        self.entry_events.clone()
    }

    /// The length of the buffers of these threads is known.
    pub(super) fn close_entries(&mut self, id: FamilyId) {
        if let Some(family) = self.families.get_mut(&id) {
            family.entries.clear();
        }
    }

    fn events(&self, tid: Tid, mode: Mode, rings: &Rings) -> Result<Opened, PerfError> {
        let ids = self.tracepoints.ids();
        let _raised = capability::raised();
        let begun = monotonic_now();
        let io_uring = ids.io_uring_setup.map(|id| self.counting(id, tid)).transpose()?;
        let mut events = Vec::with_capacity(2 * rings.cpus());
        for ring in rings.each() {
            for (id, tells_of_threads) in [(ids.accept, false), (ids.accept4, true)] {
                let tracepoint = SampledTracepoint {
                    id,
                    stack_bytes: mode.stack_bytes,
                    wakes_at_once: mode.wakes_at_once,
                    tells_of_threads,
                    inherit: self.inherit,
                    filter: SUCCESS,
                };
                let event = SampledEvent::open(&tracepoint, tid, ring);
                events.push(event.map_err(|e| PerfError::on_thread(e, tid))?);
            }
        }
        Ok((events, io_uring, (begun, monotonic_now())))
    }

    /// An event that only counts.
    fn counting(&self, id: u16, tid: Tid) -> Result<Event, PerfError> {
        let inherit = Some(self.inherit);
        let event = Tracepoint { id, raw: false, notify: None, filter: Some(SUCCESS), inherit };
        Event::open(&event, tid).map_err(|e| PerfError::on_thread(e, tid))
    }

    /// Counts a sample.
    pub(super) fn see(&mut self, event: u64, time: u64) {
        self.counters.see(event, time);
    }

    /// Whether an io_uring was set up since the events were opened.
    pub(super) fn have_seen_io_uring(&self) -> bool {
        let mut events = self.families.values().filter_map(|family| family.io_uring.as_ref());
        self.closed_io_uring || events.any(|event| event.count().is_ok_and(|n| n > 0))
    }

    /// The family of an event.
    pub(super) fn family_of(&self, event: u64) -> Option<FamilyId> {
        self.place_of(event).map(|(family, _)| family)
    }

    /// The family of an event, and what it samples.
    pub(super) fn place_of(&self, event: u64) -> Option<(FamilyId, Place)> {
        self.counters.place_of(event)
    }

    /// What is known of each event.
    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// One of them, unless it is closed.
    pub(super) fn get_mut(&mut self, id: FamilyId) -> Option<&mut Family> {
        self.families.get_mut(&id)
    }

    /// One of them, unless it is closed.
    pub(super) fn get(&self, id: FamilyId) -> Option<&Family> {
        self.families.get(&id)
    }

    /// Whether the events of this number of further threads can be opened.
    pub(super) fn has_room_for(&self, threads: usize, rings: &Rings) -> bool {
        let each = EVENTS_PER_CPU * rings.cpus() as u64 + EVENTS_PER_THREAD;
        let open = self.families.values().flat_map(|family| &family.events);
        let newest = open.map(SampledEvent::descriptor).max().unwrap_or(0);
        let spare = RESERVED_DESCRIPTORS + threads as u64 * each;
        files::has_room(spare, newest) || files::raise_limit() && files::has_room(spare, newest)
    }

    /// Closes events. What they have counted is still compared with their samples.
    pub(super) fn close(&mut self, ids: impl IntoIterator<Item = FamilyId>) {
        for id in ids {
            let Some(family) = self.families.remove(&id) else { continue };
            let io_uring = family.io_uring.as_ref().map(Event::count);
            self.closed_io_uring |= io_uring.is_some_and(|count| count.is_ok_and(|n| n > 0));
            for event in &family.events {
                // Nothing is counted between the last look and the end.
                let is_disabled = event.disable().is_ok();
                let count = event.count().ok().filter(|_| is_disabled);
                self.counters.close(event.id(), count, monotonic_now());
            }
        }
    }

    /// Forgets closed events whose samples have all been processed, and closes those that no living
    /// thread has had since this was last called, if there are many. All records before
    /// `processed_until` have been processed.
    pub(super) fn close_unused(&mut self, processed_until: u64) {
        self.counters.forget_closed(processed_until);
        if self.families.len() < MAX_UNUSED_KEPT {
            return;
        }
        let unused = self.families.iter().filter(|(_, family)| family.threads == 0);
        let unused: HashSet<FamilyId> = unused.map(|(id, _)| *id).collect();
        let closed: Vec<FamilyId> = unused.intersection(&self.unused).copied().collect();
        self.unused = unused;
        self.close(closed);
    }

    /// How many accepts the kernel has counted by now, by event. Compare it, once the rings have
    /// been read, by [`Families::missing`].
    pub(super) fn counts(&self) -> io::Result<Vec<(u64, u64)>> {
        let open = self.families.values().flat_map(|family| &family.events);
        let open = open.map(|event| Ok((event.id(), event.count()?)));
        open.chain(self.counters.closed().map(Ok)).collect()
    }

    /// How many of the counted accepts have no sample.
    pub(super) fn missing(&self, counts: &[(u64, u64)]) -> u64 {
        self.counters.missing(counts)
    }

    /// Events that are opened from now on replace these, and count the same accepts.
    pub(super) fn begin_replacement(&mut self, former: &BTreeSet<FamilyId>) {
        self.counters.begin_overlap(former);
    }

    /// Closes the events that were replaced.
    pub(super) fn end_replacement(&mut self, former: BTreeSet<FamilyId>) {
        let open = self.families.values().flat_map(|family| &family.events);
        let counts: HashMap<u64, u64> =
            open.filter_map(|event| Some((event.id(), event.count().ok()?))).collect();
        self.counters.end_overlap(|event| counts.get(&event).copied(), monotonic_now());
        self.close(former);
    }

    /// Whether samples of living threads wake up the reader at once.
    pub(super) fn wake_at_once(&self) -> bool {
        self.families.values().any(|family| family.threads > 0 && family.mode.wakes_at_once)
    }

    /// The id of the next family. It changes whenever events are opened on a thread.
    pub(super) fn next(&self) -> FamilyId {
        self.next
    }

    /// How many events are open.
    pub(super) fn open_events(&self) -> usize {
        self.families.values().map(|family| family.events.len()).sum()
    }
}
