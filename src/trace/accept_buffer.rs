//! Whether the peer's address that accept(2) wrote into a tracee's memory can be believed.
//!
//! Two things make it wrong without a sign of it:
//!
//! * The buffer is shorter than the address. The kernel writes the beginning of the address and the
//!   length of the whole, and the rest is whatever was in memory before. How long the buffer is
//!   stands in memory only until accept returns. An engine that stops at the entry of accept reads
//!   it there, once for each buffer. Otherwise the first addresses are compared with what the kernel
//!   says, until two of them differ in the last byte: the kernel has written that far.
//! * Another thread writes to the buffer before it is read. A buffer that is not on the stack of the
//!   accepting thread is not believed if its process has several threads.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use crate::sys::ptrace::Tid;
use crate::sys::tracee;

use super::procfs;

/// Where accept wrote the peer's address: addresses in the tracee, 0 for NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptBuffer {
    /// Of the `struct sockaddr`.
    pub address: u64,
    /// Of its length.
    pub length: u64,
}

/// So far from the stack pointer a buffer is on the thread's own stack: glibc has more than this
/// above a thread's first frame.
const STACK_BYTES: u64 = 2048;
/// Below the stack pointer, by the ABI of x86-64.
const RED_ZONE_BYTES: u64 = 128;

/// Where an IPv4 address ends in a `struct sockaddr_in`, and an IPv6 address in a `sockaddr_in6`.
const INET_END: u32 = 8;
const INET6_END: u32 = 24;

/// What is known of the buffers of each thread.
#[derive(Debug, Default)]
pub struct AcceptBuffers {
    known: HashMap<Tid, (AcceptBuffer, Evidence)>,
    /// Whether a thread shares its memory, and after how many new threads that was looked up.
    shares: HashMap<Tid, (bool, u64)>,
    new_threads: u64,
}

/// What speaks for a buffer being long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Evidence {
    /// Nothing, or one address that was right: its last byte.
    Unproven(Option<u8>),
    /// Two IPv4 addresses with different last bytes were right.
    Ipv4,
    /// The length that was given to accept.
    Length(u32),
    /// An address was wrong, or there is no buffer.
    Refuted,
}

impl AcceptBuffers {
    /// Whether the length of the buffer has to be read at the entry of the next accept.
    pub fn wants_length(&self, tid: Tid) -> bool {
        self.known.get(&tid).is_none_or(|(_, e)| matches!(e, Evidence::Unproven(_)))
    }

    /// A thread stands at the entry of accept with this buffer.
    pub fn enter(&mut self, tid: Tid, buffer: AcceptBuffer) {
        let mut bytes = [0; 4];
        let is_null = buffer.address == 0 || buffer.length == 0;
        let evidence = if is_null {
            Evidence::Refuted
        } else if tracee::read_memory(tid, buffer.length, &mut bytes).is_ok() {
            Evidence::Length(u32::from_ne_bytes(bytes))
        } else {
            Evidence::Unproven(None)
        };
        self.known.insert(tid, (buffer, evidence));
    }

    /// Whether an address of this family in the buffer of a thread can be believed.
    pub fn is_believed(
        &mut self,
        tid: Tid,
        stack_pointer: u64,
        buffer: AcceptBuffer,
        is_ipv4: bool,
    ) -> bool {
        let is_long_enough = match self.known.get(&tid) {
            Some((known, evidence)) if *known == buffer => match evidence {
                Evidence::Ipv4 => is_ipv4,
                Evidence::Length(length) if is_ipv4 => *length >= INET_END,
                Evidence::Length(length) => *length >= INET6_END,
                Evidence::Unproven(_) | Evidence::Refuted => false,
            },
            _ => {
                self.known.insert(tid, (buffer, Evidence::Unproven(None)));
                false
            }
        };
        is_long_enough && (is_on_stack(buffer, stack_pointer) || !self.shares_memory(tid))
    }

    /// Compares an address in the buffer of a thread with what the kernel says.
    pub fn compare(&mut self, tid: Tid, in_memory: Option<SocketAddr>, in_kernel: SocketAddr) {
        let Some((_, evidence @ Evidence::Unproven(_))) = self.known.get_mut(&tid) else { return };
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

    /// A thread has accepted a connection of another family: the length that accept returned may
    /// be given to the next one.
    pub fn accepted_other(&mut self, tid: Tid) {
        if let Some((_, evidence @ (Evidence::Ipv4 | Evidence::Length(_)))) =
            self.known.get_mut(&tid)
        {
            *evidence = Evidence::Unproven(None);
        }
    }

    /// A thread has been made.
    pub fn thread_created(&mut self) {
        self.new_threads += 1;
    }

    fn shares_memory(&mut self, tid: Tid) -> bool {
        match self.shares.get(&tid) {
            Some((true, _)) => true,
            Some((false, at)) if *at == self.new_threads => false,
            _ => {
                let has_several = procfs::status_field(tid, "Threads").is_none_or(|n| n != "1");
                self.shares.insert(tid, (has_several, self.new_threads));
                has_several
            }
        }
    }

    /// Forgets a thread that has ended or executed another program.
    pub fn forget(&mut self, tid: Tid) {
        self.known.remove(&tid);
        self.shares.remove(&tid);
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

    fn believed(buffers: &mut AcceptBuffers) -> bool {
        buffers.is_believed(1, SP, BUFFER, true)
    }

    #[test]
    fn two_addresses_with_different_last_bytes_prove_a_buffer() {
        let mut buffers = AcceptBuffers::default();
        assert!(!believed(&mut buffers));
        for last in [1, 1, 1] {
            buffers.compare(1, Some(peer(last)), peer(last));
            assert!(!believed(&mut buffers));
        }
        buffers.compare(1, Some(peer(2)), peer(2));
        assert!(believed(&mut buffers));
        assert!(!buffers.is_believed(1, SP, BUFFER, false), "nothing is known of IPv6");
        // The length of a unix peer's name may be given to the next accept.
        buffers.accepted_other(1);
        assert!(!believed(&mut buffers));
    }

    #[test]
    fn a_wrong_address_refutes_a_buffer() {
        let mut buffers = AcceptBuffers::default();
        assert!(!believed(&mut buffers));
        buffers.compare(1, Some(peer(1)), peer(2));
        for last in [3, 4, 5] {
            buffers.compare(1, Some(peer(last)), peer(last));
        }
        assert!(!believed(&mut buffers));
        assert!(!buffers.wants_length(1));
    }

    #[test]
    fn another_buffer_has_to_prove_itself() {
        let mut buffers = AcceptBuffers::default();
        buffers.known.insert(1, (BUFFER, Evidence::Length(16)));
        assert!(believed(&mut buffers));
        let other = AcceptBuffer { address: BUFFER.address + 8, ..BUFFER };
        assert!(!buffers.is_believed(1, SP, other, true));
        buffers.forget(1);
        assert!(!believed(&mut buffers));
    }

    #[test]
    fn the_length_given_to_accept_decides() {
        for (length, ipv4, ipv6) in
            [(4, false, false), (8, true, false), (16, true, false), (28, true, true)]
        {
            let mut buffers = AcceptBuffers::default();
            buffers.known.insert(1, (BUFFER, Evidence::Length(length)));
            assert_eq!(believed(&mut buffers), ipv4, "{length}");
            assert_eq!(buffers.is_believed(1, SP, BUFFER, false), ipv6, "{length}");
        }
    }

    #[test]
    fn off_the_stack_only_a_process_with_one_thread_is_believed() {
        // The test runner has several threads.
        let me = nix::unistd::gettid().as_raw();
        let mut buffers = AcceptBuffers::default();
        buffers.known.insert(me, (BUFFER, Evidence::Length(16)));
        assert!(buffers.is_believed(me, SP, BUFFER, true));
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(!buffers.is_believed(me, 0x9_0000, BUFFER, true)));
        });
    }
}
