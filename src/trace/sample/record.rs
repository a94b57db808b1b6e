//! Decodes the records of a ring: perf_event_open(2), "MMAP layout".

use std::net::SocketAddr;
use std::sync::Arc;

use crate::sys::arch::{SAMPLED_REGISTERS, SampledCall, sampled_call};
use crate::sys::perf_ring::{RECORD_SAMPLE, records};
use crate::sys::ptrace::Tid;
use crate::trace::sockaddr::{self, MAX_SOCKADDR_BYTES, PeerAddr};

/// Samples hold this much of the stack at most.
pub(super) const MAX_STACK_BYTES: u32 = 4096;

const LOST: u32 = 2;
const COMM: u32 = 3;
const EXIT: u32 = 4;
const FORK: u32 = 7;
/// Size of the fields at the end of each record but a sample: thread, time, event.
const TRAILER: usize = 24;
const MISC_COMM_EXEC: u16 = 1 << 13;
/// `PERF_SAMPLE_REGS_ABI_64`.
const ABI_64: u64 = 2;

/// A record, with the time at which the kernel wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// CLOCK_MONOTONIC in nanoseconds.
    pub time: u64,
    /// The event that wrote it.
    pub event: u64,
    /// The content.
    pub what: What,
}

/// The content of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// An accept has returned.
    Accept(Accept),
    /// An accept is called.
    Entry(Entry),
    /// A thread was created.
    Fork(Fork),
    /// A thread has ended.
    Exit(Thread),
    /// A thread has another name.
    Comm(Thread, Arc<str>),
    /// A process executes another program, and has this name from now on.
    Exec(Thread, Arc<str>),
    /// The ring had no room for this number of records.
    Lost(u64),
}

/// A thread and its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Thread {
    /// The process (thread group).
    pub pid: Tid,
    /// The thread.
    pub tid: Tid,
}

/// A new thread, and the one that created it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fork {
    /// The new one.
    pub child: Thread,
    /// Its creator.
    pub parent: Thread,
}

impl Fork {
    /// Whether it is the first thread of a new process.
    pub(super) fn is_process(&self) -> bool {
        self.child.pid != self.parent.pid
    }

    /// The new process that it is of, if this one has created it.
    pub(super) fn process_of(&self, creator: Tid) -> Option<Tid> {
        (self.is_process() && self.parent.pid == creator).then_some(self.child.pid)
    }
}

/// An accept that has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accept {
    /// Who called it.
    pub thread: Thread,
    /// What it returned; `None`: no success.
    pub fd: Option<i32>,
    /// The listening descriptor, if the registers still tell it.
    pub listener: Option<i32>,
    /// Where in the program it was called.
    pub site: Site,
    /// Where the caller wanted the peer's address.
    pub buffer: Buffer,
    /// The peer in the sample.
    pub sampled_peer: PeerAddr,
}

impl Accept {
    /// Whether both may be samples of the same accept. Samples of different sizes contain different parts of
    /// the stack.
    pub(super) fn is_alike(&self, other: &Accept) -> bool {
        let call = |accept: &Accept| (accept.thread, accept.fd, accept.listener, accept.site);
        call(self) == call(other)
    }
}

/// A call of accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Who calls.
    pub thread: Thread,
    /// Where in the program.
    pub site: Site,
    /// The listening descriptor, if the registers tell it.
    pub listener: Option<i32>,
    /// The length of the buffer for the address.
    pub length: u32,
}

/// Identifies a call of accept in a program by the offsets of the address and its length from the stack
/// pointer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Site {
    address: u64,
    length: u64,
}

impl Site {
    /// The addresses in a call, and the stack pointer.
    pub(super) fn new(address: u64, length: u64, stack_pointer: u64) -> Site {
        Site {
            address: address.wrapping_sub(stack_pointer),
            length: length.wrapping_sub(stack_pointer),
        }
    }

    /// How many bytes of the stack a sample must contain for the whole address; `None` if it is not on the
    /// stack.
    pub(super) fn reach(self) -> Option<u32> {
        let address = self.address.checked_add(MAX_SOCKADDR_BYTES as u64)?;
        let length = self.length.checked_add(size_of::<libc::socklen_t>() as u64)?;
        u32::try_from(address.max(length)).ok()
    }

    /// Whether samples can hold the buffer.
    pub(super) fn is_in_reach(self) -> bool {
        self.reach().is_some_and(|reach| reach <= MAX_STACK_BYTES)
    }
}

/// Where the caller of accept wanted the peer's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Buffer {
    /// In the part of the stack that the sample holds.
    Sampled,
    /// Nowhere: it passed NULL.
    Null,
    /// This many bytes above the stack pointer, beyond the end of the sample.
    Elsewhere(u64),
    /// The sample has no registers.
    Unknown,
}

/// Decodes whole records; what is not known is skipped. `is_entry` says whether an event is one at
/// the entry of a call, for architectures whose registers do not tell it.
pub(super) fn decode_all(bytes: &[u8], is_entry: impl Fn(u64) -> bool, take: impl FnMut(Record)) {
    records(bytes).filter_map(|r| decode(r.kind, r.misc, r.body, &is_entry)).for_each(take);
}

fn decode(kind: u32, misc: u16, body: &[u8], is_entry: impl Fn(u64) -> bool) -> Option<Record> {
    if kind == RECORD_SAMPLE {
        return sample(body, is_entry);
    }
    let end = body.len().checked_sub(TRAILER)?;
    let (body, mut trailer) = (&body[..end], Fields(&body[end..]));
    trailer.skip(8)?;
    let (time, event) = (trailer.u64()?, trailer.u64()?);
    let mut fields = Fields(body);
    let what = match kind {
        FORK | EXIT => {
            let (pid, parent_pid, tid, parent_tid) =
                (fields.tid()?, fields.tid()?, fields.tid()?, fields.tid()?);
            let child = Thread { pid, tid };
            match kind {
                EXIT => What::Exit(child),
                _ => {
                    let parent = Thread { pid: parent_pid, tid: parent_tid };
                    What::Fork(Fork { child, parent })
                }
            }
        }
        COMM => {
            let thread = Thread { pid: fields.tid()?, tid: fields.tid()? };
            let name = fields.0.split(|b| *b == 0).next()?;
            let name = String::from_utf8_lossy(name).into();
            match misc & MISC_COMM_EXEC {
                0 => What::Comm(thread, name),
                _ => What::Exec(thread, name),
            }
        }
        LOST => {
            fields.skip(8)?;
            What::Lost(fields.u64()?)
        }
        _ => return None,
    };
    Some(Record { time, event, what })
}

fn sample(body: &[u8], is_entry: impl Fn(u64) -> bool) -> Option<Record> {
    let mut fields = Fields(body);
    let event = fields.u64()?;
    let thread = Thread { pid: fields.tid()?, tid: fields.tid()? };
    let time = fields.u64()?;
    let unreadable = Accept {
        thread,
        fd: None,
        listener: None,
        site: Site::default(),
        buffer: Buffer::Unknown,
        sampled_peer: PeerAddr::Unclear,
    };
    let accept = if fields.u64()? == ABI_64 {
        let mut registers = [0; SAMPLED_REGISTERS.len()];
        for register in &mut registers {
            *register = fields.u64()?;
        }
        let room = fields.u64()? as usize;
        let stack = fields.0.get(..room)?;
        fields.skip(room)?;
        // dyn_size: the bytes that the kernel could copy. It is absent where the room is 0.
        let filled = if room == 0 { 0 } else { fields.u64()? as usize };
        let stack = stack.get(..filled)?;
        let call = sampled_call(registers);
        if call.is_entry.unwrap_or_else(|| is_entry(event)) {
            let what = What::Entry(entry(thread, &call, stack)?);
            return Some(Record { time, event, what });
        }
        accept(thread, &call, stack)
    } else {
        unreadable
    };
    Some(Record { time, event, what: What::Accept(accept) })
}

/// `stack` begins at the stack pointer.
fn accept(thread: Thread, call: &SampledCall, stack: &[u8]) -> Accept {
    let site = Site::new(call.address, call.length, call.stack_pointer);
    let (buffer, sampled_peer) = peer(call.address, call.length, call.stack_pointer, stack);
    let fd = i32::try_from(call.result as i64).ok().filter(|fd| *fd >= 0);
    Accept { thread, fd, listener: call.listener, site, buffer, sampled_peer }
}

/// `None`: the length is not in the sampled part of the stack.
fn entry(thread: Thread, call: &SampledCall, stack: &[u8]) -> Option<Entry> {
    let site = Site::new(call.address, call.length, call.stack_pointer);
    let offset = usize::try_from(call.length.checked_sub(call.stack_pointer)?).ok()?;
    let bytes = stack.get(offset..)?.first_chunk()?;
    let length = u32::from_ne_bytes(*bytes);
    Some(Entry { thread, site, listener: call.listener, length })
}

fn peer(address: u64, length: u64, sp: u64, stack: &[u8]) -> (Buffer, PeerAddr) {
    if address == 0 || length == 0 {
        return (Buffer::Null, PeerAddr::Unclear);
    }
    let at = |pointer: u64, size: usize| {
        let offset = usize::try_from(pointer.checked_sub(sp)?).ok()?;
        stack.get(offset..).filter(|bytes| bytes.len() >= size)
    };
    let (Some(name), Some(length)) = (at(address, sockaddr::INET), at(length, 4)) else {
        return (Buffer::Elsewhere(address.wrapping_sub(sp)), PeerAddr::Unclear);
    };
    let have = name.len().min(MAX_SOCKADDR_BYTES);
    let mut bytes = [0; MAX_SOCKADDR_BYTES];
    bytes[..have].copy_from_slice(&name[..have]);
    let length = u32::from_ne_bytes([length[0], length[1], length[2], length[3]]);
    let sampled_peer = sockaddr::decode(length as usize, &bytes, have);
    let has_leftovers = match sampled_peer {
        // No client has this address: the kernel has written none of it.
        PeerAddr::Perhaps(peer) if peer.ip().to_canonical().is_unspecified() => true,
        // The kernel writes zeroes there: something else was left by an earlier use of the stack.
        PeerAddr::Perhaps(SocketAddr::V6(_)) => {
            let zeroes = bytes[FLOW_INFO].iter().chain(&bytes[SCOPE_ID]);
            zeroes.copied().any(|b| b != 0) && !is_link_local(&bytes)
        }
        _ => false,
    };
    (Buffer::Sampled, if has_leftovers { PeerAddr::Unclear } else { sampled_peer })
}

/// Position of the flow information in a `sockaddr_in6`, which is 0 unless it was requested.
const FLOW_INFO: std::ops::Range<usize> = 4..8;
/// Position of the scope id, the interface of link-local addresses.
const SCOPE_ID: std::ops::Range<usize> = 24..28;

/// fe80::/10
fn is_link_local(sockaddr_in6: &[u8; MAX_SOCKADDR_BYTES]) -> bool {
    sockaddr_in6[8] == 0xfe && sockaddr_in6[9] & 0xc0 == 0x80
}

/// Takes fields off the front of bytes.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.0 = self.0.get(count..)?;
        Some(())
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_ne_bytes)
    }

    fn tid(&mut self) -> Option<Tid> {
        self.take().map(Tid::from_ne_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::arch::sampled_values;

    const SAMPLE: u32 = RECORD_SAMPLE;
    const HEADER: usize = 8;
    const EVENT: u64 = 77;
    const ENTRY_EVENT: u64 = 78;

    fn record(kind: u32, misc: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = kind.to_ne_bytes().to_vec();
        bytes.extend(misc.to_ne_bytes());
        bytes.extend(((HEADER + body.len()) as u16).to_ne_bytes());
        bytes.extend(body);
        bytes
    }

    fn words(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|w| w.to_ne_bytes()).collect()
    }

    fn pair(low: u32, high: u32) -> u64 {
        u64::from(low) | u64::from(high) << 32
    }

    fn decoded(bytes: &[u8]) -> Vec<Record> {
        let mut records = Vec::new();
        decode_all(bytes, |event| event == ENTRY_EVENT, |r| records.push(r));
        records
    }

    /// A sample with the address `offset` bytes above the stack pointer, the length behind it.
    fn sample_with(stack: &[u8], offset: u64, result: Option<u64>) -> Vec<u8> {
        let stack_pointer = 0x7fff_0000;
        let (address, length) = (stack_pointer + offset, stack_pointer + offset + 32);
        let event = if result.is_some() { EVENT } else { ENTRY_EVENT };
        let mut body = words(&[event, pair(10, 11), 5000, ABI_64]);
        let is_entry = Some(result.is_none());
        let (result, listener) = (result.unwrap_or(3), Some(3));
        let call = SampledCall { result, listener, address, length, stack_pointer, is_entry };
        body.extend(words(&sampled_values(&call)));
        body.extend(words(&[stack.len() as u64]));
        body.extend(stack);
        body.extend(words(&[stack.len() as u64]));
        record(SAMPLE, 2, &body)
    }

    fn stack_with_peer(offset: usize) -> [u8; 128] {
        let mut stack = [0; 128];
        stack[offset..offset + 8].copy_from_slice(&[2, 0, 0x30, 0x39, 127, 0, 0, 5]);
        stack[offset + 32] = 16;
        stack
    }

    #[test]
    fn a_peer_on_the_stack_is_decoded() {
        let records = decoded(&sample_with(&stack_with_peer(40), 40, Some(9)));
        let [Record { time: 5000, event: EVENT, what: What::Accept(accept) }] = records[..] else {
            panic!("{records:?}")
        };
        assert_eq!(accept.thread, Thread { pid: 10, tid: 11 });
        assert_eq!(accept.fd, Some(9));
        assert!(accept.listener.is_none_or(|fd| fd == 3));
        assert_eq!(accept.buffer, Buffer::Sampled);
        assert_eq!(accept.sampled_peer, PeerAddr::Peer("127.0.0.5:12345".parse().unwrap()));
    }

    #[test]
    fn a_buffer_beyond_the_sampled_stack_is_elsewhere() {
        for offset in [100, 128, 5000] {
            let records = decoded(&sample_with(&stack_with_peer(40), offset, Some(9)));
            let [Record { what: What::Accept(accept), .. }] = records[..] else { panic!() };
            assert_eq!(accept.buffer, Buffer::Elsewhere(offset));
            assert_eq!(accept.sampled_peer, PeerAddr::Unclear);
        }
    }

    #[test]
    fn the_entry_tells_the_length_of_the_buffer() {
        let mut stack = stack_with_peer(40);
        stack[72] = 4;
        let records = decoded(&sample_with(&stack, 40, None));
        let [Record { what: What::Entry(entry), .. }] = records[..] else { panic!("{records:?}") };
        assert_eq!(entry.length, 4);
        let records = decoded(&sample_with(&stack, 40, Some(9)));
        let [Record { what: What::Accept(accept), .. }] = records[..] else { panic!() };
        assert_eq!(accept.site, entry.site);
    }

    #[test]
    fn an_error_is_no_descriptor() {
        let records = decoded(&sample_with(&stack_with_peer(0), 0, Some(-11i64 as u64)));
        let [Record { what: What::Accept(accept), .. }] = records[..] else { panic!() };
        assert_eq!(accept.fd, None);
    }

    #[test]
    fn records_about_threads_and_losses_are_decoded() {
        let trailer = [pair(10, 11), 5000, 77];
        let fork = [&[pair(20, 10), pair(21, 11), 5000][..], &trailer].concat();
        let mut name = words(&[pair(20, 21)]);
        name.extend(b"worker\0\0");
        name.extend(words(&trailer));
        let mut bytes = record(FORK, 0, &words(&fork));
        bytes.extend(record(EXIT, 0, &words(&fork)));
        bytes.extend(record(COMM, 0, &name));
        bytes.extend(record(COMM, MISC_COMM_EXEC, &name));
        bytes.extend(record(99, 0, &words(&fork)));
        bytes.extend(record(LOST, 0, &words(&[&[77, 1234][..], &trailer].concat())));
        let child = Thread { pid: 20, tid: 21 };
        let parent = Thread { pid: 10, tid: 11 };
        let contents: Vec<What> = decoded(&bytes).into_iter().map(|r| r.what).collect();
        let expected = [
            What::Fork(Fork { child, parent }),
            What::Exit(child),
            What::Comm(child, "worker".into()),
            What::Exec(child, "worker".into()),
            What::Lost(1234),
        ];
        assert_eq!(contents, expected);
    }

    #[test]
    fn cut_off_records_end_the_decoding() {
        let whole = sample_with(&stack_with_peer(40), 40, Some(9));
        for length in 0..whole.len() {
            assert!(decoded(&whole[..length]).is_empty(), "{length}");
        }
        assert!(decoded(&record(SAMPLE, 2, &[])).is_empty());
        assert!(decoded(&[0; 64]).is_empty(), "a size of 0 would be read for ever");
    }
}
