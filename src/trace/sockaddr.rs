//! Reads the peer's address that accept wrote into a tracee's memory.

use std::io::IoSliceMut;
use std::net::SocketAddr;

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use crate::sys::ptrace::Tid;
use crate::sys::sockaddr;
use crate::sys::tracee;

/// The size of a `sockaddr_in6`, the largest address that is read.
pub(super) const MAX_SOCKADDR_BYTES: usize = sockaddr::INET6_BYTES;
/// The size of a `sockaddr_in`.
pub(super) const INET: usize = sockaddr::INET_BYTES;

/// The smallest page size of any architecture.
const PAGE: usize = 4096;
/// The longest single read for address and length together: longer reads cost more.
const MAX_READ: usize = 256;

/// The peer that was read from the tracee's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerAddr {
    /// The peer, if the buffer was long enough and no other thread has written to it.
    Peer(SocketAddr),
    /// The peer, unless the tracee's buffer was too short. Then the kernel writes a part of the
    /// address and the full length, and the rest of the memory keeps its old content.
    Perhaps(SocketAddr),
    /// Unknown: not an internet address, or the length does not match the family.
    Unclear,
}

/// Reads what accept wrote to `address` and `length` (addresses in the tracee; 0: NULL).
pub(super) fn read(tid: Tid, address: u64, length: u64) -> PeerAddr {
    if address == 0 || length == 0 {
        return PeerAddr::Unclear;
    }
    let (address, length) = (address as usize, length as usize);
    in_one_piece(tid, address, length).unwrap_or_else(|| in_pieces(tid, address, length))
}

/// Reads both with one read, which takes half the time of three. Usually they are close together on
/// the stack.
fn in_one_piece(tid: Tid, address: usize, length: usize) -> Option<PeerAddr> {
    let start = address.min(length);
    let size = address.checked_add(MAX_SOCKADDR_BYTES)?.max(length.checked_add(4)?) - start;
    // A page is mapped as a whole.
    if size > MAX_READ || start % PAGE + size > PAGE {
        return None;
    }
    let mut near = [0; MAX_READ];
    tracee::read_memory(tid, start as u64, &mut near[..size]).ok()?;
    let len = near[length - start..].first_chunk()?;
    let bytes = near[address - start..].first_chunk()?;
    Some(decode(u32::from_ne_bytes(*len) as usize, bytes, MAX_SOCKADDR_BYTES))
}

/// Reads in pieces, because an IPv4 address may end where its mapping ends.
fn in_pieces(tid: Tid, address: usize, length: usize) -> PeerAddr {
    let mut len = [0u8; 4];
    let mut bytes = [0u8; MAX_SOCKADDR_BYTES];
    let remote = [
        RemoteIoVec { base: length, len: 4 },
        RemoteIoVec { base: address, len: INET },
        RemoteIoVec { base: address.wrapping_add(INET), len: MAX_SOCKADDR_BYTES - INET },
    ];
    let mut local = [IoSliceMut::new(&mut len), IoSliceMut::new(&mut bytes)];
    match process_vm_readv(Pid::from_raw(tid), &mut local, &remote) {
        Ok(n) if n >= 4 + INET => decode(u32::from_ne_bytes(len) as usize, &bytes, n - 4),
        _ => PeerAddr::Unclear,
    }
}

/// Decodes a sockaddr whose length accept returned as `len`; `have` bytes of it could be read.
pub(super) fn decode(len: usize, bytes: &[u8; MAX_SOCKADDR_BYTES], have: usize) -> PeerAddr {
    let peer = bytes.get(..have).and_then(sockaddr::decode);
    match (peer, len) {
        (Some(peer @ SocketAddr::V4(v4)), INET) => {
            // The kernel writes eight zero bytes after the address, which a short buffer lacks.
            let is_whole = bytes[8..INET].iter().all(|b| *b == 0);
            if is_whole && !v4.ip().is_unspecified() {
                PeerAddr::Peer(peer)
            } else {
                PeerAddr::Perhaps(peer)
            }
        }
        // Some programs pass a sockaddr_in for an IPv6 socket, and a sockaddr_in6 has no padding
        // that would reveal it.
        (Some(peer @ SocketAddr::V6(_)), MAX_SOCKADDR_BYTES) => PeerAddr::Perhaps(peer),
        _ => PeerAddr::Unclear,
    }
}

/// Decodes what accept may have left in a buffer: the peer, and whether it is certain.
#[cfg(feature = "internals")]
pub fn decode_peer(
    len: usize,
    bytes: &[u8; MAX_SOCKADDR_BYTES],
    have: usize,
) -> Option<(SocketAddr, bool)> {
    match decode(len, bytes, have) {
        PeerAddr::Peer(peer) => Some((peer, true)),
        PeerAddr::Perhaps(peer) => Some((peer, false)),
        PeerAddr::Unclear => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inet(tail: [u8; 8]) -> [u8; MAX_SOCKADDR_BYTES] {
        let mut b = [0; MAX_SOCKADDR_BYTES];
        b[..8].copy_from_slice(&[2, 0, 0x30, 0x39, 127, 0, 0, 5]);
        b[8..16].copy_from_slice(&tail);
        b
    }

    #[test]
    fn an_ipv4_peer_is_certain_only_with_its_padding() {
        let peer = "127.0.0.5:12345".parse().unwrap();
        assert_eq!(decode(16, &inet([0; 8]), MAX_SOCKADDR_BYTES), PeerAddr::Peer(peer));
        assert_eq!(decode(16, &inet([1; 8]), MAX_SOCKADDR_BYTES), PeerAddr::Perhaps(peer));
        assert_eq!(decode(16, &inet([0; 8]), INET), PeerAddr::Peer(peer));
    }

    /// Reads from memory of this process, as if accept had written to `address` and `length`.
    fn read_at(address: usize, length: usize) -> PeerAddr {
        #[repr(align(4096))]
        struct Pages([u8; 2 * PAGE]);
        let mut pages = Box::new(Pages([0xaa; 2 * PAGE]));
        pages.0[address..address + MAX_SOCKADDR_BYTES].copy_from_slice(&inet([0; 8]));
        pages.0[length..length + 4].copy_from_slice(&(INET as u32).to_ne_bytes());
        let start = pages.0.as_ptr() as u64;
        read(std::process::id() as Tid, start + address as u64, start + length as u64)
    }

    #[test]
    fn reads_address_and_length_wherever_they_are() {
        let peer = PeerAddr::Peer("127.0.0.5:12345".parse().unwrap());
        let neighbours = [
            (64, 92),
            (64, 60),
            (64, 64 + MAX_READ - 4),
            (PAGE - MAX_SOCKADDR_BYTES, PAGE - MAX_SOCKADDR_BYTES - 4),
        ];
        let others = [(64, 64 + MAX_READ), (0, PAGE), (PAGE - 20, 64), (PAGE - 4, PAGE + 64)];
        for (address, length) in neighbours.into_iter().chain(others) {
            assert_eq!(read_at(address, length), peer, "{address} {length}");
        }
    }

    #[test]
    fn a_length_that_contradicts_the_family_tells_nothing() {
        assert_eq!(decode(28, &inet([0; 8]), MAX_SOCKADDR_BYTES), PeerAddr::Unclear);
        assert_eq!(decode(16, &[0; MAX_SOCKADDR_BYTES], MAX_SOCKADDR_BYTES), PeerAddr::Unclear);
    }
}
