//! Reverse lookups of addresses: getnameinfo(3).
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::net::{IpAddr, SocketAddr};

use nix::sys::socket::{SockaddrLike, SockaddrStorage};

/// What the resolver of this machine answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The name of the address.
    Name(String),
    /// The address has no name.
    NoName,
    /// No name server answered in time, or it failed.
    Failed,
}

/// Asks for the name of an address, as /etc/nsswitch.conf and /etc/resolv.conf say. May take many seconds.
pub(crate) fn name_of(ip: IpAddr) -> Answer {
    let address = SockaddrStorage::from(SocketAddr::new(ip, 0));
    let mut host = [0u8; libc::NI_MAXHOST as usize];
    // SAFETY: the address is valid for its length, and the buffer is written up to its length. getnameinfo(3) is
    // safe in any thread.
    let status = unsafe {
        libc::getnameinfo(
            address.as_ptr(),
            address.len(),
            host.as_mut_ptr().cast(),
            host.len() as libc::socklen_t,
            std::ptr::null_mut(),
            0,
            libc::NI_NAMEREQD,
        )
    };
    match (status, CStr::from_bytes_until_nul(&host)) {
        (0, Ok(name)) => Answer::Name(name.to_string_lossy().into_owned()),
        (libc::EAI_NONAME, _) => Answer::NoName,
        _ => Answer::Failed,
    }
}
