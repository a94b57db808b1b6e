//! Makes a [`Connection`] of an accept that has returned.

use std::net::SocketAddr;

use crate::model::connection::{Connection, RequestedFields, canonical};
use crate::model::record_time::RecordTime;
use crate::sys::ptrace::Tid;
use crate::sys::tracee;

use super::abi::{Arch, Call, SOCKETCALL_ACCEPTS};
use super::procfs;
use super::registers::CallRegisters;
use super::sockaddr::{self, PeerAddr};
use super::socket::{SocketLookup, Sockets};

/// Reads what a stopped tracee has accepted.
#[derive(Debug, Default)]
pub struct Reader {
    requested: RequestedFields,
    sockets: Sockets,
}

/// Where accept wrote the peer's address: addresses in the tracee, 0 for NULL.
#[derive(Clone, Copy, Debug)]
struct Buffers {
    address: u64,
    length: u64,
}

impl Reader {
    /// A reader that finds out what is `requested`, and the peer.
    pub fn new(requested: RequestedFields) -> Reader {
        Reader { requested, sockets: Sockets::default() }
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
        let buffers = match call {
            Call::Accept => Buffers {
                address: registers.argument(1, arch),
                length: registers.argument(2, arch),
            },
            Call::Socketcall => {
                let operation = registers.argument(0, arch) as u32;
                if !SOCKETCALL_ACCEPTS.contains(&operation) {
                    return None;
                }
                socketcall_buffers(tid, registers.argument(1, arch))
            }
            Call::IoUringSetup | Call::Clone | Call::Clone3 => return None,
        };
        let time = RecordTime::now();
        let (local, peer) = self.ends(tid, fd, buffers)?;
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

    /// The local and the remote end, as far as they are known; `None`: not an internet socket.
    fn ends(
        &mut self,
        tid: Tid,
        fd: i32,
        buffers: Buffers,
    ) -> Option<(Option<SocketAddr>, Option<SocketAddr>)> {
        let heard = sockaddr::read(tid, buffers.address, buffers.length);
        match heard {
            PeerAddr::NotInet => return None,
            PeerAddr::Peer(peer) if !self.requested.local => return Some((None, Some(peer))),
            _ => {}
        }
        match self.sockets.find(tid, fd) {
            SocketLookup::NotInet => None,
            SocketLookup::Inet { local, peer } => Some((Some(local), peer.or(heard.peer()))),
            SocketLookup::Unknown => Some((None, heard.peer())),
        }
    }

    /// Forgets a thread that has ended or executed another program.
    pub fn forget(&mut self, tid: Tid) {
        self.sockets.forget(tid);
    }
}

impl PeerAddr {
    fn peer(self) -> Option<SocketAddr> {
        match self {
            PeerAddr::Peer(peer) | PeerAddr::Perhaps(peer) => Some(peer),
            PeerAddr::NotInet | PeerAddr::Unclear => None,
        }
    }
}

/// socketcall's arguments are an array of 32-bit words in the tracee's memory.
fn socketcall_buffers(tid: Tid, array: u64) -> Buffers {
    let mut bytes = [0u8; 12];
    match tracee::read_memory(tid, array, &mut bytes) {
        Ok(()) => {
            let word =
                |i: usize| u32::from_ne_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]);
            Buffers { address: word(4).into(), length: word(8).into() }
        }
        Err(_) => Buffers { address: 0, length: 0 },
    }
}
