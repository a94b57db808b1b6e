//! The peer's address as accept wrote it into the tracee's memory.

use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use crate::sys::ptrace::Tid;
use crate::sys::tracee;

/// The bytes of a `sockaddr_in6`, the largest that matters.
pub(super) const MAX_SOCKADDR_BYTES: usize = 28;
/// The bytes of a `sockaddr_in`.
pub(super) const INET: usize = 16;

/// The smallest page there is.
const PAGE: usize = 4096;
/// How much is read at most to get both: the more, the longer it takes.
const NEAR: usize = 256;

/// What the tracee's memory tells of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerAddr {
    /// The peer, if the buffer was long enough and nobody else has written to it.
    Peer(SocketAddr),
    /// The peer, unless the tracee's buffer was too short: the kernel then writes a part of the
    /// address and the length of the whole, and the rest is whatever was there before.
    Perhaps(SocketAddr),
    /// Nothing: no internet address, or none that the length fits.
    Unclear,
}

/// Reads what accept wrote to `address` and `length` (addresses in the tracee; 0: NULL).
pub fn read(tid: Tid, address: u64, length: u64) -> PeerAddr {
    if address == 0 || length == 0 {
        return PeerAddr::Unclear;
    }
    let (address, length) = (address as usize, length as usize);
    in_one_piece(tid, address, length).unwrap_or_else(|| in_pieces(tid, address, length))
}

/// Both are neighbours on the stack, as a rule: one piece costs half as much as three.
fn in_one_piece(tid: Tid, address: usize, length: usize) -> Option<PeerAddr> {
    let start = address.min(length);
    let size = address.checked_add(MAX_SOCKADDR_BYTES)?.max(length.checked_add(4)?) - start;
    // Within a page nothing can be missing.
    if size > NEAR || start % PAGE + size > PAGE {
        return None;
    }
    let mut near = [0; NEAR];
    tracee::read_memory(tid, start as u64, &mut near[..size]).ok()?;
    let len = near[length - start..].first_chunk()?;
    let bytes = near[address - start..].first_chunk()?;
    Some(decode(u32::from_ne_bytes(*len) as usize, bytes, MAX_SOCKADDR_BYTES))
}

/// An IPv4 address at the end of a mapping must not fail for want of the rest.
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

pub(super) fn decode(len: usize, bytes: &[u8; MAX_SOCKADDR_BYTES], have: usize) -> PeerAddr {
    let u16_at = |i: usize| u16::from_be_bytes([bytes[i], bytes[i + 1]]);
    match (i32::from(u16::from_ne_bytes([bytes[0], bytes[1]])), len) {
        (libc::AF_INET, INET) => {
            let ip = Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]);
            let peer = SocketAddr::new(IpAddr::V4(ip), u16_at(2));
            // The kernel writes eight zeroes behind the address, which a short buffer lacks.
            let whole = bytes[8..INET].iter().all(|b| *b == 0);
            if whole && !ip.is_unspecified() {
                PeerAddr::Peer(peer)
            } else {
                PeerAddr::Perhaps(peer)
            }
        }
        (libc::AF_INET6, MAX_SOCKADDR_BYTES) if have >= MAX_SOCKADDR_BYTES => {
            let mut ip = [0; 16];
            ip.copy_from_slice(&bytes[8..24]);
            // A sockaddr_in given for an IPv6 socket is a fault that happens, and IPv6 has no
            // padding to tell it by.
            PeerAddr::Perhaps(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(ip)), u16_at(2)))
        }
        _ => PeerAddr::Unclear,
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

    /// In memory of our own, as if accept had written it at `address` and `length`.
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
            (64, 64 + NEAR - 4),
            (PAGE - MAX_SOCKADDR_BYTES, PAGE - MAX_SOCKADDR_BYTES - 4),
        ];
        let others = [(64, 64 + NEAR), (0, PAGE), (PAGE - 20, 64), (PAGE - 4, PAGE + 64)];
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
