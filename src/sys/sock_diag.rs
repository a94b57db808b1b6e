//! Encodes and decodes messages of sock_diag(7): requests for dumps, and descriptions of sockets.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};

use super::netlink;
use super::sockaddr::decode_ip;

/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// `struct inet_diag_msg`.
const SOCKET: usize = 72;

/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// `INET_DIAG_INFO`.
const INFO: u16 = 2;

/// Timer of a TIME_WAIT bucket, see sock_diag(7).
const TIME_WAIT_TIMER: u8 = 3;

/// States of a TCP socket, from the kernel's net/tcp_states.h.
pub(crate) mod state {
    /// A connection.
    pub(crate) const ESTABLISHED: u8 = 1;
    /// Has sent a SYN.
    pub(crate) const SYN_SENT: u8 = 2;
    /// Handshakes of inbound connections.
    pub(crate) const SYN_RECV: u8 = 3;
    /// Closed: the final state of all connections.
    pub(crate) const CLOSE: u8 = 7;
    /// A connection whose client has closed its side.
    pub(crate) const CLOSE_WAIT: u8 = 8;
    /// Waits for connections.
    pub(crate) const LISTEN: u8 = 10;

    /// The states of connections, as a set for dumps: ESTABLISHED, FIN_WAIT1, FIN_WAIT2,
    /// CLOSE_WAIT, LAST_ACK, CLOSING.
    pub(crate) const CONNECTED: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;
}

/// An address and port as in the socket: IPv4 addresses of IPv6 sockets are mapped.
pub(crate) type End = (IpAddr, u16);

/// A socket as the kernel describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Socket {
    /// Its cookie, unique until reboot.
    pub cookie: u64,
    /// One of [`state`].
    pub state: u8,
    /// The local address.
    pub local: End,
    /// The remote address; unspecified if there is none. A connection that the server closes with a
    /// reset keeps only `peer.0`, `local.1`, and the address that its listener was bound to.
    pub peer: End,
    /// Whether this is the remainder of a closed connection (TIME_WAIT, or FIN_WAIT2 of an orphaned
    /// socket), which is a separate socket.
    pub remnant: bool,
    /// For a listener: the number of connections that wait to be accepted.
    pub queue: u32,
    /// Its inode, as in the links of descriptors. 0: no process has it open, before accept and after close.
    pub inode: u32,
    /// Its statistics, if they were requested.
    pub info: Option<Info>,
}

/// Fields of `struct tcp_info`, see tcp(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Info {
    /// Milliseconds since data was sent; since the start if none was.
    pub last_data_sent: u32,
    /// Milliseconds since data was received; since the start if none was.
    pub last_data_received: u32,
    /// Milliseconds since an acknowledgement was received.
    pub last_ack_received: u32,
    /// Smoothed round-trip time in microseconds; 0: never measured.
    pub rtt: u32,
    /// Sequence numbers that the peer has acknowledged: bytes, and one for each of FIN and, on
    /// the side that opened the connection, SYN.
    pub acked: u64,
    /// Sequence numbers received: bytes, and one for FIN.
    pub received: u64,
    /// Bytes sent, including retransmissions (Linux 4.19).
    pub sent: u64,
    /// Bytes that were retransmitted.
    pub resent: u64,
    /// All received segments, with the SYN.
    pub all_segments_received: u32,
    /// Received segments with data.
    pub segments_received: u32,
    /// Sent segments with data.
    pub segments_sent: u32,
    /// Microseconds during which data was being sent or waiting to be sent.
    pub busy: u64,
}

impl Socket {
    /// Whether it has lost its peer's port and most of its tcp_info because its owner has reset it.
    pub(crate) fn is_wiped(&self) -> bool {
        self.peer.1 == 0
    }
}

/// One message of a dump.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// A socket.
    Socket(Socket),
    /// The dump has ended, or was refused with this errno.
    Done(i32),
    /// Nothing of interest.
    Other,
}

/// Encodes a request for the sockets of one family in a set of states, those that a filter selects
/// (INET_DIAG_REQ_BYTECODE) or all.
fn request(
    bytecode: Option<&[u8]>,
    family: i32,
    states: u32,
    info: bool,
    sequence: u32,
) -> Vec<u8> {
    /// `struct inet_diag_req_v2`.
    const REQUEST: usize = 56;
    /// `INET_DIAG_REQ_BYTECODE`.
    const BYTECODE: u16 = 1;
    let attribute = bytecode.map_or(0, |code| 4 + code.len());
    let mut out = Vec::with_capacity(HEADER + REQUEST + attribute);
    out.extend(((HEADER + REQUEST + attribute) as u32).to_ne_bytes());
    out.extend(BY_FAMILY.to_ne_bytes());
    out.extend(((libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16).to_ne_bytes());
    out.extend(sequence.to_ne_bytes());
    out.extend([0; 4]);
    out.extend([family as u8, libc::IPPROTO_TCP as u8, u8::from(info) << (INFO - 1), 0]);
    out.extend(states.to_ne_bytes());
    // The socket id: any.
    out.extend([0; 48]);
    if let Some(bytecode) = bytecode {
        out.extend((attribute as u16).to_ne_bytes());
        out.extend(BYTECODE.to_ne_bytes());
        out.extend(bytecode);
    }
    out
}

/// Sends a request, and gives each socket of the answer.
fn ask(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    request: &[u8],
    sequence: u32,
    each: &mut impl FnMut(Socket),
) -> io::Result<()> {
    let socket = socket.as_raw_fd();
    send(socket, request, MsgFlags::empty())?;
    loop {
        let len = match recv(socket, buffer, MsgFlags::empty()) {
            Err(Errno::EINTR) => continue,
            result => result?,
        };
        for (of, message) in messages(&buffer[..len]) {
            match message {
                _ if of != sequence => {}
                Message::Socket(s) => each(s),
                Message::Done(0) => return Ok(()),
                Message::Done(errno) => return Err(io::Error::from_raw_os_error(errno)),
                Message::Other => {}
            }
        }
    }
}

/// The kernel never fills more of a buffer at once.
const BUFFER: usize = 64 << 10;

/// Requests dumps of sockets.
#[derive(Debug)]
pub(crate) struct Requester {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Requester {
    /// Opens it in the network namespace of the calling thread.
    pub(crate) fn open() -> io::Result<Requester> {
        Ok(Requester { socket: netlink::open(false)?, sequence: 0, buffer: vec![0; BUFFER] })
    }

    /// Gives each socket of IPv4 and IPv6 in a set of states, those that `bytecode` selects or all; with `info` also
    /// its tcp_info, which takes longer.
    pub(crate) fn dump(
        &mut self,
        bytecode: Option<&[u8]>,
        states: u32,
        info: bool,
        mut each: impl FnMut(Socket),
    ) -> io::Result<()> {
        for family in [libc::AF_INET, libc::AF_INET6] {
            self.sequence = self.sequence.wrapping_add(1);
            let request = request(bytecode, family, states, info, self.sequence);
            let (socket, buffer) = (self.socket.as_fd(), &mut self.buffer);
            match ask(socket, buffer, &request, self.sequence, &mut each) {
                // A kernel without IPv6 has no IPv6 sockets.
                Err(error) if family == libc::AF_INET6 && is_missing(&error) => {}
                answer => answer?,
            }
        }
        Ok(())
    }
}

/// Whether the kernel has no sock_diag(7) for what was requested, such as IPv6 sockets where it has no IPv6.
pub(crate) fn is_missing(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    matches!(errno, Some(libc::ENOENT | libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT))
}

/// Splits a received buffer into messages with their sequence numbers.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u32, Message)> {
    std::iter::from_fn(move || {
        let len = u32_at(bytes, 0)? as usize;
        let kind = u16_at(bytes, 4)?;
        let sequence = u32_at(bytes, 8)?;
        let whole = bytes.get(..len).filter(|_| len >= HEADER)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        let message = match i32::from(kind) {
            libc::NLMSG_DONE | libc::NLMSG_ERROR => {
                let errno = u32_at(whole, HEADER).unwrap_or_default() as i32;
                Message::Done(errno.saturating_neg())
            }
            _ if kind == BY_FAMILY => socket(whole).map_or(Message::Other, Message::Socket),
            _ => Message::Other,
        };
        Some((sequence, message))
    })
}

fn socket(message: &[u8]) -> Option<Socket> {
    let m = message.get(HEADER..HEADER + SOCKET)?;
    let family = i32::from(m[0]);
    Some(Socket {
        cookie: u64::from(u32_at(m, 44)?) | u64::from(u32_at(m, 48)?) << 32,
        state: m[1],
        local: (decode_ip(family, &m[8..24])?, u16::from_be_bytes([m[4], m[5]])),
        peer: (decode_ip(family, &m[24..40])?, u16::from_be_bytes([m[6], m[7]])),
        remnant: m[2] == TIME_WAIT_TIMER,
        queue: u32_at(m, 56)?,
        inode: u32_at(m, 68)?,
        info: attribute(&message[HEADER + SOCKET..], INFO).and_then(info),
    })
}

/// Returns the content of the first attribute of this type.
fn attribute(mut bytes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let len = usize::from(u16_at(bytes, 0)?);
        if u16_at(bytes, 2)? == kind {
            return bytes.get(4..len);
        }
        bytes = bytes.get(len.max(4).next_multiple_of(4)..)?;
    }
}

fn info(i: &[u8]) -> Option<Info> {
    Some(Info {
        last_data_sent: u32_at(i, 44)?,
        last_data_received: u32_at(i, 52)?,
        last_ack_received: u32_at(i, 56)?,
        rtt: u32_at(i, 68)?,
        acked: u64_at(i, 120)?,
        received: u64_at(i, 128)?,
        sent: u64_at(i, 200)?,
        resent: u64_at(i, 208)?,
        all_segments_received: u32_at(i, 140)?,
        segments_received: u32_at(i, 152)?,
        segments_sent: u32_at(i, 156)?,
        busy: u64_at(i, 168)?,
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
