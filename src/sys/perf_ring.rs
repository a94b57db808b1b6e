//! perf_event_open(2) for tracepoints that write samples into a ring buffer. The thread is not
//! stopped and gets no signal.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use perf_event_open_sys::bindings::{
    PERF_COUNT_SW_DUMMY, PERF_FLAG_FD_CLOEXEC, PERF_FLAG_FD_NO_GROUP, PERF_FLAG_FD_OUTPUT,
    PERF_SAMPLE_IDENTIFIER, PERF_SAMPLE_RAW, PERF_SAMPLE_REGS_USER, PERF_SAMPLE_STACK_USER,
    PERF_SAMPLE_TID, PERF_SAMPLE_TIME, PERF_TYPE_SOFTWARE, PERF_TYPE_TRACEPOINT, perf_event_attr,
    perf_event_mmap_page,
};
use perf_event_open_sys::{ioctls, perf_event_open};

use super::arch::SAMPLED_REGISTERS;
use super::ptrace::Tid;

/// perf_event_open(2), `pid`.
const ALL_PROCESSES: Tid = -1;

/// Which new threads and processes inherit an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inherit {
    /// The threads that the thread creates (Linux 5.13).
    Threads,
    /// Threads and child processes.
    All,
}

/// What to open: every occurrence in one thread on one CPU, as a sample with registers and stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SampledTracepoint<'a> {
    /// The tracepoint's id, as in its `id` file in tracefs.
    pub id: u16,
    /// The number of bytes of the user stack in each sample; a multiple of 8.
    pub stack_bytes: u32,
    /// Whether each sample wakes up who waits for the ring. Otherwise the ring's watermark decides.
    pub wakes_at_once: bool,
    /// Whether PERF_RECORD_FORK, EXIT and COMM are written, too.
    pub tells_of_threads: bool,
    /// Which new threads and processes inherit it.
    pub inherit: Inherit,
    /// Only occurrences that pass this filter count.
    pub filter: &'a CStr,
}

/// An open event that writes into a [`Ring`]. It is closed when dropped, also in threads that
/// inherited it.
#[derive(Debug)]
pub(crate) struct SampledEvent {
    file: File,
    id: u64,
}

impl SampledEvent {
    /// Opens `tracepoint` on a thread and the CPU of `ring`. Its records go into that ring from
    /// then on.
    ///
    /// # Errors
    /// Those of perf_event_open(2).
    pub(crate) fn open(
        tracepoint: &SampledTracepoint<'_>,
        tid: Tid,
        ring: &Ring,
    ) -> io::Result<SampledEvent> {
        let mut attr = attributes(PERF_TYPE_TRACEPOINT, tracepoint.id.into());
        attr.__bindgen_anon_1.sample_period = 1;
        attr.sample_type |= u64::from(PERF_SAMPLE_REGS_USER | PERF_SAMPLE_STACK_USER);
        attr.sample_regs_user = SAMPLED_REGISTERS.iter().fold(0, |mask, r| mask | 1 << r);
        attr.sample_stack_user = tracepoint.stack_bytes;
        if tracepoint.wakes_at_once {
            attr.set_watermark(0);
            attr.__bindgen_anon_2.wakeup_events = 1;
        }
        attr.set_task(tracepoint.tells_of_threads.into());
        attr.set_comm(tracepoint.tells_of_threads.into());
        attr.set_comm_exec(tracepoint.tells_of_threads.into());
        attr.set_inherit(1);
        attr.set_inherit_thread((tracepoint.inherit == Inherit::Threads).into());
        SampledEvent::open_into(ring, &mut attr, tid, tracepoint.filter)
    }

    /// Opens the tracepoint `id` for all processes on the CPU of `ring`. Each sample holds the raw
    /// record instead of registers and stack. Nothing counts before [`SampledEvent::enable`].
    ///
    /// # Errors
    /// Those of perf_event_open(2): EACCES or EPERM without CAP_PERFMON.
    pub(crate) fn open_raw(id: u16, filter: &CStr, ring: &Ring) -> io::Result<SampledEvent> {
        let mut attr = attributes(PERF_TYPE_TRACEPOINT, id.into());
        attr.__bindgen_anon_1.sample_period = 1;
        attr.sample_type |= u64::from(PERF_SAMPLE_RAW);
        // Most state changes of sockets happen outside of system calls, in the kernel.
        attr.set_exclude_kernel(0);
        attr.set_disabled(1);
        SampledEvent::open_into(ring, &mut attr, ALL_PROCESSES, filter)
    }

    fn open_into(
        ring: &Ring,
        attr: &mut perf_event_attr,
        tid: Tid,
        filter: &CStr,
    ) -> io::Result<SampledEvent> {
        let flags = PERF_FLAG_FD_OUTPUT | PERF_FLAG_FD_NO_GROUP | PERF_FLAG_FD_CLOEXEC;
        let file = open(attr, tid, ring.cpu, ring.owner.as_raw_fd(), flags)?;
        // SAFETY: the descriptor is a perf event; the kernel copies the string.
        check(unsafe { ioctls::SET_FILTER(file.as_raw_fd(), filter.as_ptr().cast_mut()) })?;
        let mut id = 0;
        // SAFETY: the descriptor is a perf event; the kernel writes eight bytes to `id`.
        check(unsafe { ioctls::ID(file.as_raw_fd(), &raw mut id) })?;
        Ok(SampledEvent { file, id })
    }

    /// Starts counting.
    pub(crate) fn enable(&self) -> io::Result<()> {
        // SAFETY: the descriptor is a perf event; the argument is a number.
        check(unsafe { ioctls::ENABLE(self.file.as_raw_fd(), 0) })
    }

    /// Stops counting. No record is written after this returns.
    pub(crate) fn disable(&self) -> io::Result<()> {
        // SAFETY: the descriptor is a perf event; the argument is a number.
        check(unsafe { ioctls::DISABLE(self.file.as_raw_fd(), 0) })
    }

    /// Returns the number of occurrences, including those in threads that inherited the event and
    /// in ended threads.
    pub(crate) fn count(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        (&self.file).read_exact(&mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    /// The id that its samples contain, also those of threads that inherited it.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The number of its descriptor.
    pub(crate) fn descriptor(&self) -> i32 {
        self.file.as_raw_fd()
    }
}

/// The common attributes of all events. The kernel requires the same clock for all events of a
/// ring.
fn attributes(kind: u32, config: u64) -> perf_event_attr {
    let mut attr = perf_event_attr {
        type_: kind,
        size: size_of::<perf_event_attr>() as u32,
        config,
        clockid: libc::CLOCK_MONOTONIC,
        sample_type: u64::from(PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_TID | PERF_SAMPLE_TIME),
        ..Default::default()
    };
    attr.set_use_clockid(1);
    attr.set_sample_id_all(1);
    attr.set_exclude_kernel(1);
    attr.set_exclude_hv(1);
    // Without `wakeup_events`, the watermark of the ring's owner decides about wake-ups.
    attr.set_watermark(1);
    attr
}

fn open(
    attr: &mut perf_event_attr,
    tid: Tid,
    cpu: u32,
    output: i32,
    flags: u32,
) -> io::Result<File> {
    // SAFETY: `attr` lives, and its size is stated; the kernel writes to it only the size that it
    // knows. The descriptor, if there is one, is new and nobody else's.
    unsafe {
        let fd = perf_event_open(attr, tid, cpu as i32, output, flags.into());
        if fd == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(File::from_raw_fd(fd))
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A record of a ring: perf_event_open(2), "MMAP layout".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawRecord<'a> {
    /// One of `PERF_RECORD_*`.
    pub kind: u32,
    /// `PERF_RECORD_MISC_*`.
    pub misc: u16,
    /// The bytes behind the header.
    pub body: &'a [u8],
}

/// `PERF_RECORD_SAMPLE`.
pub(crate) const RECORD_SAMPLE: u32 = 9;

/// Splits `bytes` into records. Stops at an incomplete record.
pub(crate) fn records(mut bytes: &[u8]) -> impl Iterator<Item = RawRecord<'_>> {
    /// `struct perf_event_header`.
    const HEADER: usize = 8;
    std::iter::from_fn(move || {
        let (header, _) = bytes.split_first_chunk::<HEADER>()?;
        let [k0, k1, k2, k3, m0, m1, s0, s1] = *header;
        let size = usize::from(u16::from_ne_bytes([s0, s1]));
        let body = bytes.get(HEADER..size).filter(|_| size >= HEADER)?;
        bytes = &bytes[size..];
        let kind = u32::from_ne_bytes([k0, k1, k2, k3]);
        Some(RawRecord { kind, misc: u16::from_ne_bytes([m0, m1]), body })
    })
}

/// CLOCK_MONOTONIC in nanoseconds: the clock of all records.
pub(crate) fn monotonic_now() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills the live structure; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The ring buffer of one CPU. It belongs to a separate event that never occurs.
#[derive(Debug)]
pub(crate) struct Ring {
    owner: File,
    cpu: u32,
    mapping: Mutex<Mapping>,
    /// A power of two.
    size: usize,
}

/// The memory of a ring: a page with its positions, and the ring itself behind it.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    page: usize,
    size: usize,
}

// SAFETY: the mapping belongs to this value alone and is reached through `&mut self` only.
unsafe impl Send for Mapping {}

impl Ring {
    /// Maps a ring of `size` bytes (a power of two), or a page if that is more, for events on a CPU.
    /// poll(2) on its descriptor returns when `watermark` bytes have been written.
    ///
    /// # Errors
    /// EPERM if the limits perf_event_mlock_kb and RLIMIT_MEMLOCK do not allow the size.
    pub(crate) fn map(cpu: u32, size: usize, watermark: u32) -> io::Result<Ring> {
        let mut attr = attributes(PERF_TYPE_SOFTWARE, PERF_COUNT_SW_DUMMY.into());
        attr.__bindgen_anon_2.wakeup_watermark = watermark;
        let owner = open(&mut attr, 0, cpu, -1, PERF_FLAG_FD_CLOEXEC)?;
        // AArch64 also has pages of 16 and 64 KiB.
        let page = page_size();
        let size = size.max(page);
        // SAFETY: a new shared mapping, at an address that the kernel chooses.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                page + size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                owner.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Ring { owner, cpu, mapping: Mutex::new(Mapping { start, page, size }), size })
    }

    /// The CPU.
    pub(crate) fn cpu(&self) -> u32 {
        self.cpu
    }

    /// Its size in bytes.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Moves the new records to the end of `bytes`, which frees their space in the ring.
    pub(crate) fn take(&self, bytes: &mut Vec<u8>) {
        self.mapping.lock().unwrap_or_else(PoisonError::into_inner).take(bytes);
    }
}

impl Mapping {
    fn take(&mut self, bytes: &mut Vec<u8>) {
        let control = self.start.as_ptr().cast::<perf_event_mmap_page>();
        // SAFETY: the first page of the mapping is a perf_event_mmap_page, aligned to a page. The
        // kernel writes `data_head` while this process reads it, so both are taken as atomics.
        let (head, tail) = unsafe {
            (
                AtomicU64::from_ptr(&raw mut (*control).data_head),
                AtomicU64::from_ptr(&raw mut (*control).data_tail),
            )
        };
        // Acquire: what the kernel wrote before it moved the head must be visible after the head
        // was read.
        let end = head.load(Ordering::Acquire);
        let begin = tail.load(Ordering::Relaxed);
        let length = (end.wrapping_sub(begin) as usize).min(self.size);
        let offset = begin as usize & (self.size - 1);
        let first = length.min(self.size - offset);
        bytes.reserve(length);
        // SAFETY: the `size` bytes behind the first page are mapped, `offset` is less than `size`,
        // and the kernel does not write between tail and head until the tail has moved.
        unsafe {
            let data = self.start.as_ptr().add(self.page);
            for (from, count) in [(data.add(offset), first), (data, length - first)] {
                let to = bytes.spare_capacity_mut().as_mut_ptr().cast::<u8>();
                std::ptr::copy_nonoverlapping(from, to, count);
                bytes.set_len(bytes.len() + count);
            }
        }
        // Release: the kernel may overwrite the bytes only after they have been copied.
        tail.store(end, Ordering::Release);
    }
}

/// A ring in ordinary memory, into which a test writes as the kernel does.
#[cfg(any(test, feature = "internals"))]
#[derive(Debug)]
pub struct SimulatedRing(Mapping);

#[cfg(any(test, feature = "internals"))]
impl SimulatedRing {
    /// A ring of `size` bytes, a power of two of pages, whose positions begin at `start`.
    pub fn new(size: usize, start: u64) -> io::Result<SimulatedRing> {
        let page = page_size();
        let (access, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new private mapping, at an address that the kernel chooses.
        let memory = unsafe { libc::mmap(std::ptr::null_mut(), page + size, access, kind, -1, 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let ring = Mapping { start: memory, page, size };
        let control = memory.as_ptr().cast::<perf_event_mmap_page>();
        // SAFETY: the first page is mapped, aligned, and nobody else's.
        unsafe {
            (*control).data_head = start;
            (*control).data_tail = start;
        }
        Ok(SimulatedRing(ring))
    }

    /// Writes `bytes` if they find room. Returns whether they did.
    pub fn write(&mut self, bytes: &[u8]) -> bool {
        let ring = &self.0;
        let control = ring.start.as_ptr().cast::<perf_event_mmap_page>();
        // SAFETY: the first page is a perf_event_mmap_page, and there is no other thread.
        let (head, tail) = unsafe { ((*control).data_head, (*control).data_tail) };
        if bytes.len() > ring.size - head.wrapping_sub(tail) as usize {
            return false;
        }
        for (byte, at) in bytes.iter().zip(0u64..) {
            let offset = head.wrapping_add(at) as usize & (ring.size - 1);
            // SAFETY: the offset is within the `size` bytes behind the first page.
            unsafe { *ring.start.as_ptr().add(ring.page + offset) = *byte };
        }
        // SAFETY: as above.
        unsafe { (*control).data_head = head.wrapping_add(bytes.len() as u64) };
        true
    }

    /// Moves the new records to the end of `bytes`.
    pub fn take(&mut self, bytes: &mut Vec<u8>) {
        self.0.take(bytes);
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.owner.as_fd()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's, and nothing refers to it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.page + self.size) };
    }
}

fn page_size() -> usize {
    // SAFETY: takes a number only.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 4096;

    /// Portions that end everywhere in the ring, from positions that are about to overflow, too.
    #[test]
    fn all_bytes_are_taken_once_also_where_the_ring_wraps() {
        for start in [0, 4090, u64::MAX - 100, 1 << 63] {
            let mut ring = SimulatedRing::new(SIZE, start).unwrap();
            let [mut written, mut taken] = [Vec::new(), Vec::new()];
            for length in [0, 1, 7, 4096, 100, 4000, 4095, 8, 1] {
                let bytes: Vec<u8> = (0..length).map(|n| (n as u8) ^ (length as u8)).collect();
                assert!(ring.write(&bytes));
                written.extend(bytes);
                ring.take(&mut taken);
                assert!(taken == written, "{start} {length}");
            }
        }
    }

    /// Where pages are larger than the ring that was asked for, the kernel writes into the whole page.
    #[test]
    #[cfg_attr(miri, ignore = "it has no perf events")]
    fn a_ring_has_the_size_that_the_kernel_uses() {
        for size in [page_size() / 4, page_size(), 4 * page_size()] {
            let Ok(ring) = Ring::map(0, size, 1) else { return };
            let mapping = ring.mapping.lock().unwrap();
            let control = mapping.start.as_ptr().cast::<perf_event_mmap_page>();
            // SAFETY: the first page of the mapping is a perf_event_mmap_page.
            assert_eq!(unsafe { (*control).data_size }, mapping.size as u64);
        }
    }

    #[test]
    fn records_that_do_not_fit_are_not_written() {
        let mut ring = SimulatedRing::new(SIZE, 8).unwrap();
        assert!(ring.write(&[1; 4000]) && !ring.write(&[2; 97]) && ring.write(&[3; 96]));
        let mut taken = Vec::new();
        ring.take(&mut taken);
        assert!(taken[..4000] == [1; 4000] && taken[4000..] == [3; 96]);
    }

    #[test]
    fn an_incomplete_record_ends_the_split() {
        let whole = [9, 0, 0, 0, 2, 0, 12, 0, 1, 2, 3, 4];
        let split =
            |bytes: &[u8]| records(bytes).map(|r| (r.kind, r.body.len())).collect::<Vec<_>>();
        assert_eq!(split(&[&whole[..], &whole].concat()), [(9, 4), (9, 4)]);
        assert_eq!(split(&[&whole[..], &whole[..11]].concat()), [(9, 4)]);
        assert!(split(&[9, 0, 0, 0, 2, 0, 7, 0]).is_empty());
    }
}
