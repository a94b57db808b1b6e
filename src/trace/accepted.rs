//! Makes a [`Connection`] of an accept that has returned.

use std::net::SocketAddr;

use crate::model::connection::{Connection, RequestedFields, canonical};
use crate::model::record_time::RecordTime;
use crate::sys::ptrace::Tid;
use crate::sys::tracee;

use super::abi::{Arch, Call, SOCKETCALL_ACCEPTS};
use super::accept_buffer::{AcceptBuffer, AcceptBuffers};
use super::procfs;
use super::registers::CallRegisters;
use super::sockaddr::{self, PeerAddr};
use super::socket::{SocketLookup, Sockets};

/// Reads what a stopped tracee has accepted.
#[derive(Debug, Default)]
pub struct Reader {
    requested: RequestedFields,
    sockets: Sockets,
    buffers: AcceptBuffers,
}

impl Reader {
    /// A reader that finds out what is `requested`, and the peer.
    pub fn new(requested: RequestedFields) -> Reader {
        Reader { requested, ..Reader::default() }
    }

    /// The connection that `call` of the stopped thread `tid` has accepted; `None` if the call
    /// failed or gave a socket of another family.
    pub fn read(
        &mut self,
        tid: Tid,
        registers: &CallRegisters,
        arch: Arch,
        call: Call,
    ) -> Option<Connection> {
        let fd = registers.success()?;
        let buffer = buffer_of(tid, registers, arch, call)?;
        let time = RecordTime::now();
        let (local, peer) = self.ends(tid, fd, buffer, registers.stack_pointer())?;
        Some(Connection {
            time: Some(time),
            ip: peer.map(|p| canonical(p.ip())),
            host: None,
            port: peer.map(|p| p.port()),
            local_ip: local.map(|l| canonical(l.ip())),
            local_port: local.map(|l| l.port()),
            pid: if self.requested.pid { procfs::process_of(tid).map(|p| p as u32) } else { None },
            tid: Some(tid as u32),
            comm: if self.requested.comm { procfs::comm(tid) } else { None },
            fd: Some(fd),
            machine: None,
            transport: None,
        })
    }

    /// Whether [`enter`](Reader::enter) is to be called at the thread's next accept.
    pub fn wants_entry(&self, tid: Tid) -> bool {
        self.buffers.wants_length(tid)
    }

    /// A thread stands at the entry of a call.
    pub fn enter(&mut self, tid: Tid, registers: &CallRegisters, arch: Arch, call: Call) {
        if let Some(buffer) = buffer_of(tid, registers, arch, call) {
            self.buffers.enter(tid, buffer);
        }
    }

    /// A tracee has made a thread.
    pub fn thread_created(&mut self) {
        self.buffers.thread_created();
    }

    /// The local and the remote end, as far as they are known; `None`: not an internet socket.
    fn ends(
        &mut self,
        tid: Tid,
        fd: i32,
        buffer: AcceptBuffer,
        stack_pointer: u64,
    ) -> Option<(Option<SocketAddr>, Option<SocketAddr>)> {
        let heard = sockaddr::read(tid, buffer.address, buffer.length);
        let in_memory = heard.peer();
        let is_ipv4 = in_memory.is_none_or(|p| p.is_ipv4());
        let is_believed = self.buffers.is_believed(tid, stack_pointer, buffer, is_ipv4);
        if let (PeerAddr::Peer(peer), true, false) = (heard, is_believed, self.requested.local) {
            return Some((None, Some(peer)));
        }
        match self.sockets.find(tid, fd, self.requested.local) {
            SocketLookup::NotInet => {
                self.buffers.accepted_other(tid);
                None
            }
            SocketLookup::Inet { local, peer } => {
                if let Some(peer) = peer {
                    self.buffers.compare(tid, in_memory, peer);
                }
                Some((local, peer.or(in_memory.filter(|_| is_believed))))
            }
            SocketLookup::Unknown => Some((None, in_memory.filter(|_| is_believed))),
        }
    }

    /// Forgets a thread that has ended or executed another program.
    pub fn forget(&mut self, tid: Tid) {
        self.sockets.forget(tid);
        self.buffers.forget(tid);
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

/// Where a call writes the peer's address; `None`: it does not accept.
fn buffer_of(tid: Tid, registers: &CallRegisters, arch: Arch, call: Call) -> Option<AcceptBuffer> {
    match call {
        Call::Accept => Some(AcceptBuffer {
            address: registers.argument(1, arch),
            length: registers.argument(2, arch),
        }),
        Call::Socketcall => {
            let operation = registers.argument(0, arch) as u32;
            SOCKETCALL_ACCEPTS
                .contains(&operation)
                .then(|| socketcall_buffer(tid, registers.argument(1, arch)))
        }
        Call::IoUringSetup | Call::Clone | Call::Clone3 => None,
    }
}

/// socketcall's arguments are an array of 32-bit words in the tracee's memory.
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
