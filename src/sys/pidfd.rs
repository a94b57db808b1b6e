//! Duplicates sockets of other processes and asks for their addresses: pidfd_getfd(2) (Linux 5.6).
#![allow(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::ptrace::Tid;
use super::sockaddr;

/// `PIDFD_THREAD` (Linux 6.9): the descriptor names a thread, which may have a table of
/// descriptors of its own.
const PIDFD_THREAD: libc::c_uint = libc::O_EXCL as libc::c_uint;

fn own(result: libc::c_long) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(result as i32) })
}

/// `SO_PEERNAME` of asm-generic/socket.h, which libc lacks.
const SO_PEERNAME: i32 = 28;

/// Opens a pidfd of one thread. EINVAL before Linux 6.9, unless it is the first thread of its
/// process.
pub(crate) fn open_thread(tid: Tid) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    own(unsafe { libc::syscall(libc::SYS_pidfd_open, tid, PIDFD_THREAD) })
}

/// Opens a pidfd of a process.
pub(crate) fn open_process(pid: Tid) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    own(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

/// Duplicates a descriptor of another process. Needs PTRACE_MODE_ATTACH_REALCREDS for it.
pub(crate) fn get(pidfd: BorrowedFd<'_>, fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    own(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0) })
}

/// An address of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// An IPv4 or IPv6 address and port.
    Inet(SocketAddr),
    /// An address of another family.
    Other,
}

fn decode(storage: &libc::sockaddr_storage) -> Name {
    // SAFETY: a sockaddr_storage is plain numbers, and larger than a sockaddr_in6.
    let bytes = unsafe { &*(&raw const *storage).cast::<[u8; sockaddr::INET6_BYTES]>() };
    sockaddr::decode(bytes).map_or(Name::Other, Name::Inet)
}

/// Returns the local address: getsockname(2).
pub(crate) fn local_name(socket: BorrowedFd<'_>) -> io::Result<Name> {
    // SAFETY: the kernel writes at most `len` bytes into `storage`; zeroes are a valid one.
    unsafe {
        let mut storage: libc::sockaddr_storage = std::mem::zeroed();
        let mut len = size_of_val(&storage) as libc::socklen_t;
        let to = (&raw mut storage).cast();
        if libc::getsockname(socket.as_raw_fd(), to, &raw mut len) == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(decode(&storage))
    }
}

/// Returns the remote address, in the family of `local`. Uses SO_PEERNAME, because getpeername(2)
/// fails for a connection that has been reset.
pub(crate) fn peer_name(socket: BorrowedFd<'_>, local: &SocketAddr) -> io::Result<Name> {
    peer_name_in(
        socket,
        match local {
            SocketAddr::V4(_) => size_of::<libc::sockaddr_in>(),
            SocketAddr::V6(_) => size_of::<libc::sockaddr_in6>(),
        },
    )
}

/// Returns the remote address of a socket of unknown family. Fails for addresses that are shorter
/// than those of IPv4.
pub(crate) fn peer_name_of_any(socket: BorrowedFd<'_>) -> io::Result<Name> {
    // The kernel returns exactly the requested length, and fails if the address is shorter.
    match peer_name_in(socket, size_of::<libc::sockaddr_in>())? {
        Name::Inet(SocketAddr::V6(_)) => peer_name_in(socket, size_of::<libc::sockaddr_in6>()),
        name => Ok(name),
    }
}

fn peer_name_in(socket: BorrowedFd<'_>, size: usize) -> io::Result<Name> {
    // SAFETY: the kernel writes at most `len` bytes into `storage`; zeroes are a valid one.
    unsafe {
        let mut storage: libc::sockaddr_storage = std::mem::zeroed();
        let mut len = size as libc::socklen_t;
        let to = (&raw mut storage).cast();
        let (level, option) = (libc::SOL_SOCKET, SO_PEERNAME);
        if libc::getsockopt(socket.as_raw_fd(), level, option, to, &raw mut len) == -1 {
            let error = io::Error::last_os_error();
            // A filter of a container may know getpeername(2) only. Others are about this socket.
            let is_unknown = matches!(
                error.raw_os_error(),
                Some(libc::ENOPROTOOPT | libc::ENOSYS | libc::EPERM)
            );
            if !is_unknown || libc::getpeername(socket.as_raw_fd(), to.cast(), &raw mut len) == -1 {
                return Err(error);
            }
        }
        Ok(decode(&storage))
    }
}
