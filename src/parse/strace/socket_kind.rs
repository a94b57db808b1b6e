//! What the arguments of socket(2) say of the connections that are accepted on it.

use super::argument::{argument, comma};
use super::sockaddr::{Family, family};
use crate::parse::cursor::Cursor;

/// A kind of socket, by the arguments of socket(2) or an annotation of a descriptor.
///
/// The kinds are ordered by how much they say: if two parts of a call differ, the greater one holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum SocketKind {
    /// It can be a TCP socket (MPTCP is TCP). What cannot be read is no reason to leave connections out.
    #[default]
    MaybeTcp,
    /// No TCP socket, such as a Unix or UDP socket, or no socket at all.
    Other,
    /// A socket of SCTP or DCCP. The address of a peer does not show that it is no TCP connection.
    OtherTransport,
}

/// The kind of socket that the three arguments of socket(2) describe.
pub(super) fn socket_kind(c: &mut Cursor<'_>) -> SocketKind {
    let arguments = &c.0[..memchr::memchr(b')', c.0).unwrap_or(c.0.len())];
    let is_argument = |b: &u8| b.is_ascii_alphanumeric() || b"_|, =/*?:<>.[]-".contains(b);
    let commas = memchr::memchr_iter(b',', arguments).count();
    if !arguments.iter().all(is_argument) || commas != 2 {
        return SocketKind::MaybeTcp;
    }
    argument(c);
    let family = family(c);
    if !comma(c) {
        return SocketKind::MaybeTcp;
    }
    argument(c);
    let stream = is_stream(*c);
    let dccp = c.0.starts_with(b"SOCK_DCCP");
    c.skip(memchr::memchr(b',', c.0).unwrap_or(c.0.len()));
    comma(c);
    argument(c);
    match family {
        Family::Other => SocketKind::Other,
        Family::V4 | Family::V6 if dccp || is_sctp(*c) => SocketKind::OtherTransport,
        _ if stream => SocketKind::MaybeTcp,
        _ => SocketKind::Other,
    }
}

/// Whether the type is SOCK_STREAM, or cannot be read.
fn is_stream(mut c: Cursor<'_>) -> bool {
    if c.peek().is_ascii_digit() {
        return c.integer().is_none_or(|n| n & 0xf == 1) || c.peek() != b',';
    }
    let others: [&[u8]; 6] =
        [b"SOCK_DGRAM", b"SOCK_RAW", b"SOCK_RDM", b"SOCK_SEQPACKET", b"SOCK_DCCP", b"SOCK_PACKET"];
    !others.iter().any(|other| c.0.starts_with(other))
}

/// Whether the protocol is SCTP.
fn is_sctp(mut c: Cursor<'_>) -> bool {
    const IPPROTO_SCTP: u64 = 132;
    c.0.starts_with(b"IPPROTO_SCTP") || c.integer() == Some(IPPROTO_SCTP)
}
