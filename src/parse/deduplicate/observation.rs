//! [`PacketObservation`]: a packet of a connection, as a record shows it.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;

use crate::RecordTime;
use crate::parse::host::Ends;

/// Takes a connection: its ends, and the time of its first packet.
pub(in crate::parse) type Give<'a> = dyn FnMut(Ends, Option<RecordTime>) + 'a;

/// The role of a packet in its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PacketKind {
    /// The SYN of the client.
    Syn,
    /// The server answers. The ends are those of the connection, not of the packet.
    SynAck,
    /// Any later packet of the client except a reset.
    Onward,
}

/// One packet of a connection.
#[derive(Clone, Debug)]
pub(crate) struct PacketObservation {
    /// The ends of the connection.
    pub ends: Ends,
    /// When it was recorded.
    pub time: Option<RecordTime>,
    /// Its role in the connection.
    pub kind: PacketKind,
    /// The client's initial sequence number: of a SYN+ACK what it acknowledges, less one.
    pub isn: Option<u32>,
    /// The server's initial sequence number, of a SYN+ACK.
    pub server_isn: Option<u32>,
    /// Whether it is a SYN that the recording machine sent: to open a connection elsewhere, or to
    /// forward one.
    pub outgoing: bool,
    /// The IP ID of a SYN, unless 0.
    pub id: Option<u16>,
    /// Where it was recorded: a hash of the interface, of the sender's address on the link, or of
    /// the prefix that a rule of the firewall gave it.
    pub point: Option<u32>,
}

impl PacketObservation {
    /// A SYN, or a SYN+ACK if `is_answer`, of which only the ends are known: `sender` are those of
    /// the packet, with its sender as the client.
    pub(crate) fn of_packet(sender: Ends, is_answer: bool) -> PacketObservation {
        let (ends, kind) = match is_answer {
            true => (sender.turned(), PacketKind::SynAck),
            false => (sender, PacketKind::Syn),
        };
        PacketObservation {
            ends,
            time: None,
            kind,
            isn: None,
            server_isn: None,
            outgoing: false,
            id: None,
            point: None,
        }
    }
}

/// Identifies a place where packets are recorded, such as an interface or a rule of a firewall, for
/// [`PacketObservation::point`]. The seed is fixed, so parts of a record that are read by different
/// threads agree.
pub(crate) fn point(place: impl Hash) -> u32 {
    (FixedState::with_seed(0).hash_one(place) >> 32) as u32
}
