//! Decodes an accept that has returned into a [`Connection`].

use std::net::SocketAddr;

use crate::model::connection::{Connection, RequestedFields, canonical};
use crate::model::record_time::RecordTime;
use crate::sys::arch::{Arch, Call, Registers, SOCKETCALL_ACCEPTS};
use crate::sys::ptrace::Tid;
use crate::sys::tracee;

use super::accept_buffer::{AcceptBuffer, BufferEvidence};
use super::procfs;
use super::sockaddr::{self, PeerAddr};
use super::socket::{SocketLookup, Sockets};

/// Reads the connections that stopped tracees have accepted.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    requested: RequestedFields,
    sockets: Sockets,
    threads_created: u64,
}

impl Reader {
    /// Returns a reader that determines the peer and the `requested` fields.
    pub(super) fn new(requested: RequestedFields) -> Reader {
        Reader { requested, ..Reader::default() }
    }

    /// Returns the connection that `call` of the stopped thread `tid` has accepted; `None` if the
    /// call failed or returned a socket of another family. `evidence` is of the same thread.
    pub(super) fn read(
        &mut self,
        tid: Tid,
        evidence: &mut BufferEvidence,
        registers: &Registers,
        arch: Arch,
        call: Call,
    ) -> Option<Connection> {
        let fd = registers.success()?;
        let buffer = buffer_of(tid, registers, arch, call)?;
        let time = RecordTime::now();
        let accept = Accepted {
            tid,
            fd,
            listener: listener_of(registers, arch, call),
            buffer,
            stack_pointer: registers.stack_pointer(),
        };
        let (local, peer) = self.ends(&accept, evidence)?;
        Some(Connection {
            time: Some(time),
            ip: peer.map(|p| canonical(p.ip())),
            host: None,
            port: peer.map(|p| p.port()),
            local_ip: local.map(|l| canonical(l.ip())).filter(|ip| !ip.is_unspecified()),
            local_port: local.map(|l| l.port()),
            pid: if self.requested.pid { procfs::process_of(tid).map(|p| p as u32) } else { None },
            tid: Some(tid as u32),
            comm: if self.requested.comm { procfs::comm(tid) } else { None },
            container: self.requested.container.then(|| procfs::container(tid)).flatten(),
            fd: Some(fd),
            machine: None,
            transport: None,
        })
    }

    /// Notes that a tracee has created a thread.
    pub(super) fn note_thread_created(&mut self) {
        self.threads_created += 1;
    }

    /// Returns the local and the remote address, as far as they are known; `None` if it is not an
    /// internet socket.
    fn ends(
        &mut self,
        accept: &Accepted,
        evidence: &mut BufferEvidence,
    ) -> Option<(Option<SocketAddr>, Option<SocketAddr>)> {
        let Accepted { tid, fd, listener, buffer, stack_pointer } = *accept;
        let read = sockaddr::read(tid, buffer.address, buffer.length);
        let in_memory = read.peer();
        let is_ipv4 = in_memory.is_none_or(|p| p.is_ipv4());
        let is_trusted =
            evidence.is_trusted(tid, stack_pointer, buffer, is_ipv4, self.threads_created);
        let certain = in_memory.filter(|_| is_trusted);
        if let (PeerAddr::Peer(peer), true, false) = (read, is_trusted, self.requested.local) {
            return Some((None, Some(peer)));
        }
        let found = match certain {
            Some(peer) => self.sockets.find_accepted(tid, fd, (listener, peer), self.requested),
            None => self.sockets.find(tid, fd, self.requested.local),
        };
        match found {
            SocketLookup::NotInet => {
                evidence.note_other_family();
                None
            }
            SocketLookup::Inet { local, peer } => {
                if let Some(peer) = peer {
                    evidence.compare(in_memory, peer);
                }
                Some((local, peer.or(certain)))
            }
            SocketLookup::Unknown => Some((None, certain)),
        }
    }

    /// Drops the pidfd of a thread that has ended or executed another program.
    pub(super) fn forget(&mut self, tid: Tid) {
        self.sockets.forget(tid);
    }
}

/// An accept that has returned.
struct Accepted {
    tid: Tid,
    /// The descriptor of the connection.
    fd: i32,
    /// The descriptor that accept was called on, if the registers still have it.
    listener: Option<i32>,
    buffer: AcceptBuffer,
    stack_pointer: u64,
}

/// Returns the descriptor that a call accepts from; `None` if the registers do not have it any more.
fn listener_of(registers: &Registers, arch: Arch, call: Call) -> Option<i32> {
    match call {
        Call::Accept => registers.kept_first_argument(arch).map(|fd| fd as i32),
        _ => None,
    }
}

impl BufferEvidence {
    /// Reads the length of the buffer of a thread at the entry of a call.
    pub(super) fn enter(&mut self, tid: Tid, registers: &Registers, arch: Arch, call: Call) {
        if let Some(buffer) = buffer_of(tid, registers, arch, call) {
            self.read_length(tid, buffer);
        }
    }
}

impl PeerAddr {
    fn peer(self) -> Option<SocketAddr> {
        match self {
            PeerAddr::Peer(peer) | PeerAddr::Perhaps(peer) => Some(peer),
            PeerAddr::Unclear => None,
        }
    }
}

/// Returns where a call writes the peer's address; `None` if it does not accept.
fn buffer_of(tid: Tid, registers: &Registers, arch: Arch, call: Call) -> Option<AcceptBuffer> {
    match call {
        Call::Accept => Some(AcceptBuffer {
            address: registers.argument(1, arch),
            length: registers.argument(2, arch),
        }),
        Call::Socketcall => is_socketcall_accept(registers, arch)
            .then(|| socketcall_buffer(tid, registers.argument(1, arch))),
        Call::IoUringSetup | Call::Clone | Call::Clone3 => None,
    }
}

/// Whether a call of socketcall(2) accepts a connection.
pub(super) fn is_socketcall_accept(registers: &Registers, arch: Arch) -> bool {
    SOCKETCALL_ACCEPTS.contains(&(registers.argument(0, arch) as u32))
}

/// Reads the arguments of socketcall: an array of 32-bit words in the tracee's memory.
fn socketcall_buffer(tid: Tid, array: u64) -> AcceptBuffer {
    let mut bytes = [0u8; 12];
    match tracee::read_memory(tid, array, &mut bytes) {
        Ok(()) => {
            let word =
                |i: usize| u32::from_ne_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]);
            AcceptBuffer { address: word(4).into(), length: word(8).into() }
        }
        Err(_) => AcceptBuffer { address: 0, length: 0 },
    }
}
