//! A ring buffer for each CPU, and the records of all in the order of time.
//!
//! A thread moves the records out of the rings whenever their watermark is reached. So the rings must hold
//! only the records until that thread gets a CPU, however long the processing of earlier records takes.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::record::{Record, decode_all};
use crate::sys::capability::{self, Duty};
use crate::sys::cpu;
use crate::sys::perf_ring::{Ring, monotonic_now};

/// Maximum size of all rings together.
const MAX_BYTES: usize = 64 << 20;
/// Maximum size of one ring: more than a second at 30,000 connections per second.
const MAX_RING_BYTES: usize = 8 << 20;
/// Minimum size of a ring.
const MIN_RING_BYTES: usize = 64 << 10;
/// Watermark: the reader is woken up when this part of a ring is full.
const WATERMARK_SHARE: u32 = 8;
/// Maximum bytes of records outside the rings, some 300,000 records. Further records are left in the rings.
const MAX_COLLECTED_BYTES: usize = 64 << 20;
/// Capacity above which memory is freed once its records have been read.
const KEPT_BYTES: usize = 4 << 20;

const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// A record is in its ring within this time, unless the CPU was taken away from the kernel itself
/// (as a hypervisor does).
const WRITING_NS: u64 = 1_000_000;

/// The rings of all CPUs.
#[derive(Debug)]
pub(super) struct Rings {
    shared: Arc<Shared>,
    /// `None` before [`Rings::collect`], or if no thread could be started.
    collector: Option<Collector>,
    online: String,
    bytes: Vec<u8>,
    /// Records that were taken out of the rings, in the order of time.
    pending: VecDeque<Record>,
}

#[derive(Debug)]
struct Shared {
    rings: Vec<Ring>,
    /// What was moved out of the rings, whole records. Those of one ring are in their order.
    collected: Mutex<Vec<u8>>,
}

/// The thread that empties the rings.
#[derive(Debug)]
struct Collector {
    thread: Option<JoinHandle<()>>,
    signals: Arc<Signals>,
}

#[derive(Debug)]
struct Signals {
    /// Readable when records were collected.
    filled: EventFd,
    /// Readable when the thread is to end.
    stop: EventFd,
}

impl Rings {
    /// Maps them, as large as is allowed.
    ///
    /// # Errors
    /// Those of perf_event_open(2) and mmap(2).
    pub(super) fn map() -> io::Result<Rings> {
        let online = cpu::online()?;
        let cpus = cpu::parse_list(&online).ok_or(io::ErrorKind::InvalidData)?;
        let largest = (MAX_BYTES / cpus.len().max(1)).clamp(MIN_RING_BYTES, MAX_RING_BYTES);
        let mut size = 1 << largest.ilog2();
        let rings = loop {
            let map = |cpu: &u32| Ring::map(*cpu, size, size as u32 / WATERMARK_SHARE);
            match cpus.iter().map(map).collect::<io::Result<Vec<Ring>>>() {
                Ok(rings) => break rings,
                Err(_) if size > MIN_RING_BYTES => size /= 2,
                Err(e) => return Err(e),
            }
        };
        let shared = Arc::new(Shared { rings, collected: Mutex::default() });
        let (bytes, pending) = (Vec::new(), VecDeque::new());
        Ok(Rings { shared, collector: None, online, bytes, pending })
    }

    /// Starts the thread that empties the rings. Without it, they are emptied by
    /// [`drain`](Rings::drain) alone.
    ///
    /// # Errors
    /// EAGAIN if no thread can be started, EMFILE if no descriptor is left.
    pub(super) fn collect(&mut self) -> io::Result<()> {
        let event = || EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let signals = Arc::new(Signals { filled: event()?, stop: event()? });
        let thread = {
            let (shared, signals) = (self.shared.clone(), signals.clone());
            Builder::new().name("rings".into()).spawn(move || {
                // It may be started before a command is. Failure is harmless: nothing is executed.
                let _ = capability::renounce_new();
                let _ = capability::give_up_beyond(Duty::Observe);
                shared.collect(&signals);
            })?
        };
        self.collector = Some(Collector { thread: Some(thread), signals });
        Ok(())
    }

    /// How many CPUs there are.
    pub(super) fn cpus(&self) -> usize {
        self.shared.rings.len()
    }

    /// How many bytes each ring holds.
    pub(super) fn ring_bytes(&self) -> usize {
        self.shared.rings.first().map_or(0, Ring::size)
    }

    /// The ring of each CPU.
    pub(super) fn each(&self) -> impl Iterator<Item = &Ring> {
        self.shared.rings.iter()
    }

    /// Whether the CPUs are others than those that the rings were made for.
    pub(super) fn have_cpus_changed(&self) -> bool {
        cpu::online().is_ok_and(|now| now != self.online)
    }

    /// Waits until there are records to be read, a signal comes, or the time is over.
    pub(super) fn wait(&self, milliseconds: u16) {
        let waited = match &self.collector {
            Some(collector) => poll_for_input([collector.signals.filled.as_fd()], milliseconds),
            None => poll_for_input(self.each().map(AsFd::as_fd), milliseconds),
        };
        if waited.is_err() {
            std::thread::sleep(RETRY_INTERVAL);
        }
    }

    /// Moves the records of the rings to those that are pending; calls `see` for each.
    /// `is_entry` says which events are at the entry of a call. Returns the time before which
    /// every record is pending now.
    pub(super) fn drain(
        &mut self,
        is_entry: impl Fn(u64) -> bool,
        mut see: impl FnMut(&Record),
    ) -> u64 {
        let horizon = monotonic_now().saturating_sub(WRITING_NS);
        self.bytes.clear();
        {
            let mut collected = self.shared.empty_rings(usize::MAX);
            std::mem::swap(&mut *collected, &mut self.bytes);
            if let Some(collector) = &self.collector {
                // Its value does not matter; the read resets it.
                let _ = collector.signals.filled.read();
            }
        }
        if self.bytes.is_empty() {
            return horizon;
        }
        let pending = &mut self.pending;
        decode_all(&self.bytes, is_entry, |record| {
            see(&record);
            pending.push_back(record);
        });
        // Stable: what one CPU wrote at the same time stays in its order.
        pending.make_contiguous().sort_by_key(|record| record.time);
        if self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
        }
        horizon
    }

    /// The records that have been taken out of the rings, in the order of time.
    pub(super) fn pending(&mut self) -> &mut VecDeque<Record> {
        &mut self.pending
    }
}

impl Shared {
    /// Moves all records out of the rings, unless that would be more than `limit` bytes.
    fn empty_rings(&self, limit: usize) -> MutexGuard<'_, Vec<u8>> {
        let mut collected = self.collected.lock().unwrap_or_else(PoisonError::into_inner);
        for ring in &self.rings {
            if collected.len() < limit {
                ring.take(&mut collected);
            }
        }
        collected
    }

    /// Empties the rings at their watermarks, until it is stopped.
    fn collect(&self, signals: &Signals) {
        loop {
            let rings = self.rings.iter().map(AsFd::as_fd);
            if poll_for_input(rings.chain([signals.stop.as_fd()]), PollTimeout::NONE).is_err() {
                // More rings than files may be open, for example. It is no reason to spin.
                std::thread::sleep(RETRY_INTERVAL);
            }
            if signals.stop.read().is_ok() {
                return;
            }
            let collected = self.empty_rings(MAX_COLLECTED_BYTES);
            if !collected.is_empty() {
                let _ = signals.filled.write(1);
            }
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.signals.stop.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Waits until a descriptor is readable, a signal comes, or the time is over.
fn poll_for_input<'a>(
    fds: impl IntoIterator<Item = BorrowedFd<'a>>,
    timeout: impl Into<PollTimeout>,
) -> nix::Result<()> {
    let mut fds: Vec<PollFd<'_>> =
        fds.into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    match poll(&mut fds, timeout.into()) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}
