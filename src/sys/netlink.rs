//! NETLINK_SOCK_DIAG sockets with options that no library has: netlink(7), sock_diag(7).
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, setsockopt, socket, sockopt,
};

/// `SKNLGRP_INET_TCP_DESTROY` and `SKNLGRP_INET6_TCP_DESTROY` of linux/sock_diag.h, as bits.
const TCP_DESTROY: u32 = 1 << 0 | 1 << 2;

/// `SK_MEMINFO_DROPS` of linux/sock_diag.h.
const MEMINFO_DROPS: usize = 8;

/// `SK_MEMINFO_RCVBUF`.
const MEMINFO_RCVBUF: usize = 1;

/// Maximum number of messages per [`Batch::receive`].
const MESSAGES: usize = 64;

/// Bytes per message. A message has about 390 bytes in Linux 6.18, and tcp_info grows.
const ROOM: usize = 1024;

/// One instruction of a classic BPF program, see linux/filter.h.
pub(crate) type Instruction = libc::sock_filter;

/// Opens a socket for requests. With `destroy_events`, it receives a message for each TCP socket that is
/// destroyed in this network namespace.
pub(crate) fn open(destroy_events: bool) -> io::Result<OwnedFd> {
    let fd = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    let groups = if destroy_events { TCP_DESTROY } else { 0 };
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    Ok(fd)
}

/// Sets the size of the receive buffer to `bytes`, or to the maximum for this user, and returns it.
/// Without CAP_NET_ADMIN, the sysctl net.core.rmem_max is the limit. (The kernel doubles the
/// requested size for its own structures.)
pub(crate) fn enlarge(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<usize> {
    if setsockopt(&fd, sockopt::RcvBufForce, &bytes) == Err(Errno::EPERM) {
        setsockopt(&fd, sockopt::RcvBuf, &bytes)?;
    }
    Ok(meminfo(fd)?[MEMINFO_RCVBUF] as usize)
}

/// Number of messages that were dropped because the receive buffer was full.
pub(crate) fn drops(fd: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(meminfo(fd)?[MEMINFO_DROPS])
}

/// `SO_MEMINFO` (Linux 4.12).
fn meminfo(fd: BorrowedFd<'_>) -> io::Result<[u32; 9]> {
    option(fd, libc::SO_MEMINFO)
}

/// The cookie of a socket, unique until reboot: `SO_COOKIE` (Linux 4.12).
pub(crate) fn cookie(fd: BorrowedFd<'_>) -> io::Result<u64> {
    option(fd, libc::SO_COOKIE)
}

/// The value of a socket option. `T` must consist of integers only.
fn option<T: Default>(fd: BorrowedFd<'_>, name: i32) -> io::Result<T> {
    let mut value = T::default();
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes into `value`, and the callers' types allow
    // any bytes.
    let result = unsafe {
        let to = (&raw mut value).cast();
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, name, to, &raw mut len)
    };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

/// Attaches a socket filter: SO_ATTACH_FILTER. A message for which `program` returns 0 is dropped.
pub(crate) fn filter(fd: BorrowedFd<'_>, program: &[Instruction]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: program.len().try_into().map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel only reads `len` instructions, which outlive the call, and checks them.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of_val(&program) as libc::socklen_t,
        )
    };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Receives many small messages at once: recvmmsg(2).
#[derive(Debug)]
pub(crate) struct Batch {
    bytes: Box<[[u8; ROOM]]>,
    lengths: Vec<usize>,
}

impl Default for Batch {
    fn default() -> Batch {
        Batch { bytes: vec![[0; ROOM]; MESSAGES].into(), lengths: Vec::with_capacity(MESSAGES) }
    }
}

impl Batch {
    /// Receives the waiting messages without blocking. Returns whether there may be more.
    ///
    /// # Errors
    /// ENOBUFS if messages were lost since the last call; EAGAIN if there are none.
    pub(crate) fn receive(&mut self, fd: BorrowedFd<'_>) -> io::Result<bool> {
        self.lengths.clear();
        // SAFETY: all-zero is a valid iovec and mmsghdr: no buffer.
        let (mut vectors, mut headers): ([libc::iovec; MESSAGES], [libc::mmsghdr; MESSAGES]) =
            unsafe { std::mem::zeroed() };
        for ((buffer, vector), header) in self.bytes.iter_mut().zip(&mut vectors).zip(&mut headers)
        {
            vector.iov_base = buffer.as_mut_ptr().cast();
            vector.iov_len = ROOM;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: every header points to a vector, and every vector to a buffer of its length,
        // which are not touched otherwise until the call returns.
        let n = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                headers.as_mut_ptr(),
                MESSAGES as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let n = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
        self.lengths.extend(headers[..n].iter().map(|h| (h.msg_len as usize).min(ROOM)));
        Ok(n == MESSAGES)
    }

    /// The messages of the last call.
    pub(crate) fn messages(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.iter().zip(&self.lengths).map(|(bytes, len)| &bytes[..*len])
    }
}
