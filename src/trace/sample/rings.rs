//! Two ring buffers for each CPU, and their records in the order of time.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::record::{Record, decode_all};
use crate::sys::cpu;
use crate::sys::perf_ring::{Ring, monotonic_now};

/// All rings together are at most this large.
const MAX_BYTES: usize = 32 << 20;
/// One ring is at most this large: more than a second of 10,000 connections.
const MAX_RING_BYTES: usize = 8 << 20;
/// A ring that cannot be at least this large is of no use.
const MIN_RING_BYTES: usize = 64 << 10;

/// A record is in its ring this long after its time, at the latest, save where the CPU was taken
/// away from the kernel itself.
const WRITING_NS: u64 = 1_000_000;

/// In which of a CPU's two rings the samples of a thread go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// Each record wakes up the reader.
    AtOnce,
    /// The reader looks from time to time, and when the ring is filled by a quarter.
    Later,
}

/// The rings of all CPUs.
#[derive(Debug)]
pub(super) struct Rings {
    cpus: Vec<CpuRings>,
    online: String,
    bytes: Vec<u8>,
    /// Records that were taken out of the rings, in the order of time.
    pending: VecDeque<Record>,
}

#[derive(Debug)]
struct CpuRings {
    prompt: Ring,
    bulk: Ring,
}

impl Rings {
    /// Maps them, as large as is allowed.
    ///
    /// # Errors
    /// Those of perf_event_open(2) and mmap(2).
    pub(super) fn map() -> io::Result<Rings> {
        let online = cpu::online()?;
        let cpus = cpu::parse_list(&online).ok_or(io::ErrorKind::InvalidData)?;
        let largest = (MAX_BYTES / (2 * cpus.len()).max(1)).clamp(MIN_RING_BYTES, MAX_RING_BYTES);
        let mut size = 1 << largest.ilog2();
        loop {
            let rings = cpus.iter().map(|cpu| CpuRings::map(*cpu, size)).collect();
            match rings {
                Ok(cpus) => {
                    let pending = VecDeque::new();
                    return Ok(Rings { cpus, online, bytes: Vec::new(), pending });
                }
                Err(_) if size > MIN_RING_BYTES => size /= 2,
                Err(e) => return Err(e),
            }
        }
    }

    /// How many CPUs there are.
    pub(super) fn cpus(&self) -> usize {
        self.cpus.len()
    }

    /// How many bytes each ring holds.
    pub(super) fn ring_bytes(&self) -> usize {
        self.cpus.first().map_or(0, |cpu| cpu.bulk.size())
    }

    /// For each CPU, the ring that wakes up the reader so.
    pub(super) fn each(&self, wake: Wake) -> impl Iterator<Item = &Ring> {
        self.cpus.iter().map(move |cpu| match wake {
            Wake::AtOnce => &cpu.prompt,
            Wake::Later => &cpu.bulk,
        })
    }

    /// Whether the CPUs are others than those that the rings were made for.
    pub(super) fn have_cpus_changed(&self) -> bool {
        cpu::online().is_ok_and(|now| now != self.online)
    }

    /// Waits until a ring wants to be read, a signal comes, or the time is over.
    pub(super) fn wait(&self, milliseconds: u16) {
        let rings = self.cpus.iter().flat_map(|cpu| [&cpu.prompt, &cpu.bulk]);
        let mut fds: Vec<PollFd<'_>> =
            rings.map(|ring| PollFd::new(ring.as_fd(), PollFlags::POLLIN)).collect();
        // A signal or an error ends the wait; the rings are read in any case.
        let _ = poll(&mut fds, PollTimeout::from(milliseconds));
    }

    /// Takes what has come out of the rings; `see` is called for each record, as they come.
    /// Returns until when all that the kernel has written is now pending.
    pub(super) fn drain(&mut self, mut see: impl FnMut(&Record)) -> u64 {
        let horizon = monotonic_now().saturating_sub(WRITING_NS);
        self.bytes.clear();
        for cpu in &mut self.cpus {
            cpu.prompt.take(&mut self.bytes);
            cpu.bulk.take(&mut self.bytes);
        }
        if self.bytes.is_empty() {
            return horizon;
        }
        let pending = &mut self.pending;
        decode_all(&self.bytes, |record| {
            see(&record);
            pending.push_back(record);
        });
        // Stable: what one CPU wrote at the same time stays in its order.
        pending.make_contiguous().sort_by_key(|record| record.time);
        horizon
    }

    /// The records that have been taken out of the rings, in the order of time.
    pub(super) fn pending(&mut self) -> &mut VecDeque<Record> {
        &mut self.pending
    }
}

impl CpuRings {
    fn map(cpu: u32, size: usize) -> io::Result<CpuRings> {
        let bulk = Ring::map(cpu, size, size as u32 / 4)?;
        let prompt = Ring::map(cpu, size, 1)?;
        Ok(CpuRings { prompt, bulk })
    }
}
