//! [`Capture`]: the events and ring buffers of all CPUs, with their records in order of time.

use std::collections::{HashMap, VecDeque};
use std::ffi::CStr;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::sys::perf_ring::{RECORD_SAMPLE, Ring, SampledEvent, monotonic_now, records};
use crate::sys::ptrace::Tid;
use crate::sys::{capability, cpu};

use super::layout::{Layout, StateChange};

/// Maximum total size of the rings.
const MAX_BYTES: usize = 32 << 20;
/// Maximum size of one ring: 70,000 records.
const MAX_RING_BYTES: usize = 8 << 20;
/// Minimum size of a ring, unless the user requests a smaller one.
const MIN_RING_BYTES: usize = 64 << 10;
const PAGE: usize = 4096;
/// Size of the ring for [`Purpose::Others`]. These records are rare, and wake the reader at once.
const PROMPT_RING_BYTES: usize = 16 << 10;

/// The maximum delay until a record is in its ring, unless a hypervisor stops the CPU.
const WRITING_NS: u64 = 1_000_000;

/// The purpose of an event. Losses of the two have different consequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// New connections.
    Connections,
    /// What decides which connections count.
    Others,
}

/// A record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// CLOCK_MONOTONIC in nanoseconds.
    pub time: u64,
    /// The thread that the CPU was running. It is meaningful for listeners only.
    pub tid: Tid,
    /// The purpose of the event that wrote it.
    pub purpose: Purpose,
    /// The change that it describes.
    pub change: StateChange,
}

#[derive(Debug)]
struct CountedEvent {
    event: SampledEvent,
    purpose: Purpose,
    /// Records that were read from the ring.
    seen: u64,
}

/// The rings of one CPU.
#[derive(Debug)]
struct Rings {
    connections: Ring,
    others: Ring,
}

impl Rings {
    fn map(cpu: u32, size: usize) -> io::Result<Rings> {
        let connections = Ring::map(cpu, size, size as u32 / 4)?;
        Ok(Rings { connections, others: Ring::map(cpu, PROMPT_RING_BYTES, 1)? })
    }
}

/// The events of one tracepoint on all CPUs.
#[derive(Debug)]
pub(super) struct Capture {
    layout: Layout,
    // Declared before the rings, because the events write into them.
    events: Vec<CountedEvent>,
    by_id: HashMap<u64, usize>,
    rings: Vec<Rings>,
    online: String,
    bytes: Vec<u8>,
    pending: VecDeque<Record>,
    unreadable: u64,
}

impl Capture {
    /// Maps rings that are as large as allowed, or of `buffer` bytes rounded up to a power of two.
    ///
    /// # Errors
    /// Those of perf_event_open(2) and mmap(2).
    pub(super) fn map(layout: Layout, buffer: Option<usize>) -> io::Result<Capture> {
        let _raised = capability::raised();
        let online = cpu::online()?;
        let cpus = cpu::parse_list(&online).ok_or(io::ErrorKind::InvalidData)?;
        let share = (MAX_BYTES / cpus.len().max(1)).clamp(MIN_RING_BYTES, MAX_RING_BYTES);
        let least = buffer.map_or(MIN_RING_BYTES, |_| PAGE);
        let mut size = match buffer {
            Some(bytes) => bytes.clamp(PAGE, MAX_RING_BYTES).next_power_of_two(),
            None => 1 << share.ilog2(),
        };
        let rings = loop {
            let map = |cpu: &u32| Rings::map(*cpu, size);
            match cpus.iter().map(map).collect::<io::Result<Vec<Rings>>>() {
                Ok(rings) => break rings,
                Err(_) if size > least => size /= 2,
                Err(e) => return Err(e),
            }
        };
        Ok(Capture {
            layout,
            events: Vec::new(),
            by_id: HashMap::new(),
            rings,
            online,
            bytes: Vec::new(),
            pending: VecDeque::new(),
            unreadable: 0,
        })
    }

    /// Opens and enables an event for each purpose and CPU.
    ///
    /// # Errors
    /// Those of perf_event_open(2) and of its filters.
    pub(super) fn open(&mut self, id: u16, filters: &[(Purpose, &CStr)]) -> io::Result<()> {
        let _raised = capability::raised();
        for rings in &self.rings {
            for (purpose, filter) in filters {
                let ring = match purpose {
                    Purpose::Connections => &rings.connections,
                    Purpose::Others => &rings.others,
                };
                let event = SampledEvent::open_raw(id, filter, ring)?;
                self.by_id.insert(event.id(), self.events.len());
                self.events.push(CountedEvent { event, purpose: *purpose, seen: 0 });
            }
        }
        self.events.iter().try_for_each(|e| e.event.enable())
    }

    /// Closes all events and drops their records.
    pub(super) fn take_events(&mut self) -> Closed {
        self.drain();
        self.pending.clear();
        self.by_id.clear();
        Closed { _events: std::mem::take(&mut self.events) }
    }

    /// The size in bytes of all rings for connections.
    pub(super) fn ring_bytes(&self) -> usize {
        self.rings.iter().map(|rings| rings.connections.size()).sum()
    }

    /// Whether the online CPUs have changed since the rings were mapped.
    pub(super) fn have_cpus_changed(&self) -> bool {
        cpu::online().is_ok_and(|now| now != self.online)
    }

    /// Waits until a connection ring is a quarter full, another record or a signal arrives, or the
    /// time has passed.
    pub(super) fn wait(&self, time: Duration) {
        // Rounded up, so that the time has passed when the wait ends.
        let time = PollTimeout::try_from(time.as_millis() + 1).unwrap_or(PollTimeout::MAX);
        let rings = self.rings.iter().flat_map(|rings| [&rings.connections, &rings.others]);
        let mut fds: Vec<PollFd<'_>> =
            rings.map(|ring| PollFd::new(ring.as_fd(), PollFlags::POLLIN)).collect();
        // A signal or an error ends the wait; the rings are read in any case.
        let _ = poll(&mut fds, time);
    }

    /// Reads the rings. Returns the time up to which all records have been read.
    pub(super) fn drain(&mut self) -> u64 {
        let horizon = monotonic_now().saturating_sub(WRITING_NS);
        self.bytes.clear();
        for rings in &self.rings {
            rings.connections.take(&mut self.bytes);
            rings.others.take(&mut self.bytes);
        }
        if self.bytes.is_empty() {
            return horizon;
        }
        for record in records(&self.bytes).filter(|r| r.kind == RECORD_SAMPLE) {
            let Some(sample) = Sample::decode(record.body) else { continue };
            let Some(event) = self.by_id.get(&sample.event).and_then(|i| self.events.get_mut(*i))
            else {
                continue;
            };
            event.seen += 1;
            match self.layout.decode(sample.raw) {
                Some(change) => self.pending.push_back(Record {
                    time: sample.time,
                    tid: sample.tid,
                    purpose: event.purpose,
                    change,
                }),
                None => self.unreadable += 1,
            }
        }
        // Stable: records of one CPU with the same time keep their order.
        self.pending.make_contiguous().sort_by_key(|record| record.time);
        horizon
    }

    /// Removes and returns the earliest record if it is not later than `until`.
    pub(super) fn next_until(&mut self, until: u64) -> Option<Record> {
        self.pending.front().filter(|record| record.time <= until)?;
        self.pending.pop_front()
    }

    /// Disables all events. Their records can still be [read](Capture::drain).
    pub(super) fn disable(&self) -> io::Result<()> {
        self.events.iter().try_for_each(|e| e.event.disable())
    }

    /// Returns how many changes the kernel has counted, by event. Call it before the rings are read,
    /// and [`missing`](Capture::missing) afterwards.
    pub(super) fn counts(&self) -> io::Result<Vec<u64>> {
        self.events.iter().map(|e| e.event.count()).collect()
    }

    /// Returns how many of the counted changes have no record.
    pub(super) fn missing(&self, counts: &[u64], purpose: Purpose) -> u64 {
        let events = self.events.iter().zip(counts).filter(|(e, _)| e.purpose == purpose);
        events.map(|(e, count)| count.saturating_sub(e.seen)).sum()
    }

    /// Records that could not be decoded.
    pub(super) fn unreadable(&self) -> u64 {
        self.unreadable
    }
}

/// Events that no longer belong to a [`Capture`]. They are closed when this is dropped, which takes
/// microseconds while other events of the tracepoint are open, and tens of milliseconds otherwise.
#[derive(Debug)]
pub(super) struct Closed {
    _events: Vec<CountedEvent>,
}

/// `PERF_RECORD_SAMPLE` with `PERF_SAMPLE_IDENTIFIER`, TID, TIME and RAW.
struct Sample<'a> {
    event: u64,
    tid: Tid,
    time: u64,
    raw: &'a [u8],
}

impl<'a> Sample<'a> {
    fn decode(body: &'a [u8]) -> Option<Sample<'a>> {
        let (event, body) = body.split_first_chunk()?;
        let (_pid, body) = body.split_first_chunk::<4>()?;
        let (tid, body) = body.split_first_chunk()?;
        let (time, body) = body.split_first_chunk()?;
        let (size, body) = body.split_first_chunk()?;
        Some(Sample {
            event: u64::from_ne_bytes(*event),
            tid: Tid::from_ne_bytes(*tid),
            time: u64::from_ne_bytes(*time),
            raw: body.get(..u32::from_ne_bytes(*size) as usize)?,
        })
    }
}
