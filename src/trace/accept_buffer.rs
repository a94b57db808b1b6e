//! Whether the peer's address that accept(2) wrote into a tracee's memory is trustworthy.
//!
//! It can be wrong unnoticed for two reasons:
//!
//! * The buffer is shorter than the address. The kernel writes the beginning of the address and the
//!   length of the whole address; the rest of the memory keeps its old content. The length of the
//!   buffer is in memory only until accept returns. An engine that stops at the entry of accept
//!   reads it there, once for each buffer. With other engines, the first addresses are compared with
//!   those that the kernel reports, until two of them differ in the last byte: then the kernel has
//!   written the whole address.
//! * Another thread writes to the buffer before it is read. A buffer outside of the stack of the
//!   accepting thread is not trusted if the process has several threads.

use std::net::{IpAddr, SocketAddr};

use crate::sys::arch::RED_ZONE_BYTES;
use crate::sys::ptrace::Tid;
use crate::sys::tracee;

use super::procfs;

/// Where accept writes the peer's address: addresses in the tracee, 0 for NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AcceptBuffer {
    /// The address of the `struct sockaddr`.
    pub address: u64,
    /// The address of its length.
    pub length: u64,
}

/// A buffer this close to the stack pointer is on the thread's own stack: glibc keeps more than
/// this above the first frame of a thread.
const STACK_BYTES: u64 = 2048;

/// Where an IPv4 address ends in a `struct sockaddr_in`, and an IPv6 address in a `sockaddr_in6`.
const INET_END: u32 = 8;
const INET6_END: u32 = 24;

/// What is known of the buffer that a thread gives to accept.
#[derive(Debug, Default)]
pub(crate) struct BufferEvidence {
    latest: Option<(AcceptBuffer, Evidence)>,
    /// Whether the thread shares its memory, and how many threads had been created at that time.
    shares_memory: Option<(bool, u64)>,
}

/// The evidence that a buffer is long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Evidence {
    /// None, or one address that was right: its last byte.
    Unproven(Option<u8>),
    /// Two IPv4 addresses with different last bytes were right.
    Ipv4,
    /// The length that was given to accept.
    Length(u32),
    /// An address was wrong, or there is no buffer.
    Refuted,
}

impl BufferEvidence {
    /// Whether the length of the buffer has to be read at the entry of the next accept.
    pub(super) fn needs_length(&self) -> bool {
        self.latest.is_none_or(|(_, e)| matches!(e, Evidence::Unproven(_)))
    }

    /// Reads the length of the buffer. The thread is at the entry of accept.
    pub(super) fn read_length(&mut self, tid: Tid, buffer: AcceptBuffer) {
        let mut bytes = [0; 4];
        let is_null = buffer.address == 0 || buffer.length == 0;
        let evidence = if is_null {
            Evidence::Refuted
        } else if tracee::read_memory(tid, buffer.length, &mut bytes).is_ok() {
            Evidence::Length(u32::from_ne_bytes(bytes))
        } else {
            Evidence::Unproven(None)
        };
        self.latest = Some((buffer, evidence));
    }

    /// Whether an address of this family in the buffer of thread `tid` is trustworthy.
    /// `threads_created` is the number of threads that tracees have created so far.
    pub(super) fn is_trusted(
        &mut self,
        tid: Tid,
        stack_pointer: u64,
        buffer: AcceptBuffer,
        is_ipv4: bool,
        threads_created: u64,
    ) -> bool {
        let is_long_enough = match self.latest {
            Some((known, evidence)) if known == buffer => match evidence {
                Evidence::Ipv4 => is_ipv4,
                Evidence::Length(length) if is_ipv4 => length >= INET_END,
                Evidence::Length(length) => length >= INET6_END,
                Evidence::Unproven(_) | Evidence::Refuted => false,
            },
            _ => {
                self.latest = Some((buffer, Evidence::Unproven(None)));
                false
            }
        };
        is_long_enough
            && (is_on_stack(buffer, stack_pointer) || !self.shares_memory(tid, threads_created))
    }

    /// Compares an address in the buffer with the one that the kernel reports.
    pub(super) fn compare(&mut self, in_memory: Option<SocketAddr>, in_kernel: SocketAddr) {
        let Some((_, evidence @ Evidence::Unproven(_))) = &mut self.latest else { return };
        let Evidence::Unproven(former) = *evidence else { return };
        *evidence = match (in_memory, in_kernel.ip()) {
            (Some(address), _) if address != in_kernel => Evidence::Refuted,
            (Some(_), IpAddr::V4(ip)) => {
                let last = ip.octets()[3];
                if former.is_some_and(|f| f != last) {
                    Evidence::Ipv4
                } else {
                    Evidence::Unproven(Some(last))
                }
            }
            _ => *evidence,
        };
    }

    /// Notes that the thread accepted a connection of another family: a program may pass the
    /// length that accept returned to the next call.
    pub(super) fn note_other_family(&mut self) {
        if let Some((_, evidence @ (Evidence::Ipv4 | Evidence::Length(_)))) = &mut self.latest {
            *evidence = Evidence::Unproven(None);
        }
    }

    fn shares_memory(&mut self, tid: Tid, threads_created: u64) -> bool {
        match self.shares_memory {
            Some((true, _)) => true,
            Some((false, at)) if at == threads_created => false,
            _ => {
                let has_several = procfs::status_field(tid, "Threads").is_none_or(|n| n != "1");
                self.shares_memory = Some((has_several, threads_created));
                has_several
            }
        }
    }
}

fn is_on_stack(buffer: AcceptBuffer, stack_pointer: u64) -> bool {
    let start = stack_pointer.saturating_sub(RED_ZONE_BYTES);
    let end = stack_pointer.saturating_add(STACK_BYTES);
    [buffer.address, buffer.length].iter().all(|a| (start..end).contains(a))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUFFER: AcceptBuffer = AcceptBuffer { address: 0x7000, length: 0x7080 };
    const SP: u64 = 0x6f80;

    fn peer(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], 1000 + u16::from(last)))
    }

    fn is_trusted(evidence: &mut BufferEvidence, is_ipv4: bool) -> bool {
        evidence.is_trusted(1, SP, BUFFER, is_ipv4, 0)
    }

    fn with_length(length: u32) -> BufferEvidence {
        let latest = Some((BUFFER, Evidence::Length(length)));
        BufferEvidence { latest, ..BufferEvidence::default() }
    }

    #[test]
    fn two_addresses_with_different_last_bytes_prove_a_buffer() {
        let mut evidence = BufferEvidence::default();
        assert!(!is_trusted(&mut evidence, true));
        for last in [1, 1, 1] {
            evidence.compare(Some(peer(last)), peer(last));
            assert!(!is_trusted(&mut evidence, true));
        }
        evidence.compare(Some(peer(2)), peer(2));
        assert!(is_trusted(&mut evidence, true));
        assert!(!is_trusted(&mut evidence, false), "nothing is known of IPv6");
        // The length of a unix peer's name may be given to the next accept.
        evidence.note_other_family();
        assert!(!is_trusted(&mut evidence, true));
    }

    #[test]
    fn a_wrong_address_refutes_a_buffer() {
        let mut evidence = BufferEvidence::default();
        assert!(!is_trusted(&mut evidence, true));
        evidence.compare(Some(peer(1)), peer(2));
        for last in [3, 4, 5] {
            evidence.compare(Some(peer(last)), peer(last));
        }
        assert!(!is_trusted(&mut evidence, true));
        assert!(!evidence.needs_length());
    }

    #[test]
    fn another_buffer_is_not_trusted_at_first() {
        let mut evidence = with_length(16);
        assert!(is_trusted(&mut evidence, true));
        let other = AcceptBuffer { address: BUFFER.address + 8, ..BUFFER };
        assert!(!evidence.is_trusted(1, SP, other, true, 0));
        assert!(!is_trusted(&mut evidence, true));
    }

    #[test]
    fn the_length_given_to_accept_decides() {
        for (length, ipv4, ipv6) in
            [(4, false, false), (8, true, false), (16, true, false), (28, true, true)]
        {
            let mut evidence = with_length(length);
            assert_eq!(is_trusted(&mut evidence, true), ipv4, "{length}");
            assert_eq!(is_trusted(&mut evidence, false), ipv6, "{length}");
        }
    }

    #[test]
    fn a_buffer_outside_of_the_stack_is_trusted_only_without_other_threads() {
        // The test runner has several threads.
        let me = rustix::thread::gettid().as_raw_pid();
        let mut evidence = with_length(16);
        assert!(evidence.is_trusted(me, SP, BUFFER, true, 0));
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(!evidence.is_trusted(me, 0x9_0000, BUFFER, true, 0)));
        });
    }
}
