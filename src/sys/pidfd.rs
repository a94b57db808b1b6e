//! Sockets of other processes, by pidfd_getfd(2) (Linux 5.6).
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

/// A pidfd of one thread; EINVAL before Linux 6.9 unless it leads its process.
pub(crate) fn open_thread(tid: Tid) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    own(unsafe { libc::syscall(libc::SYS_pidfd_open, tid, PIDFD_THREAD) })
}

/// A pidfd of a process.
pub(crate) fn open_process(pid: Tid) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    own(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

/// A duplicate of another process' descriptor. Needs PTRACE_MODE_ATTACH_REALCREDS of it.
pub(crate) fn get(pidfd: BorrowedFd<'_>, fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    own(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0) })
}

/// The address of one end of a socket's connection.
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

/// The local end: getsockname(2).
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

/// The remote end, in the family of `local`. Asks by SO_PEERNAME, which knows the peer of a
/// connection that has been reset as well; getpeername(2) does not.
pub(crate) fn peer_name(socket: BorrowedFd<'_>, local: &SocketAddr) -> io::Result<Name> {
    peer_name_in(
        socket,
        match local {
            SocketAddr::V4(_) => size_of::<libc::sockaddr_in>(),
            SocketAddr::V6(_) => size_of::<libc::sockaddr_in6>(),
        },
    )
}

/// The remote end of a socket whose family is not known. Fails for names that are shorter than
/// those of IPv4.
pub(crate) fn peer_name_of_any(socket: BorrowedFd<'_>) -> io::Result<Name> {
    // The kernel gives as much as is asked for, and refuses to give more than there is.
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
            return Err(io::Error::last_os_error());
        }
        Ok(decode(&storage))
    }
}
