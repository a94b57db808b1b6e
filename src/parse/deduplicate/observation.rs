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
    /// A RST that may be the server's answer to a SYN. The ends are those of the connection, not of the packet.
    Rst,
}

impl PacketKind {
    /// The kind of a packet with SYN, or with SYN and ACK.
    pub(crate) fn of_syn(has_ack: bool) -> PacketKind {
        if has_ack { PacketKind::SynAck } else { PacketKind::Syn }
    }

    /// The kind of a packet with RST and without SYN. `None`: it does not answer a SYN. The answer has ACK and the
    /// sequence number 0 (RFC 9293, section 3.10.7.1); one of them is enough, since a firewall may change the other.
    pub(crate) fn of_rst(has_ack: bool, seq: Option<u32>) -> Option<PacketKind> {
        (has_ack || seq == Some(0)).then_some(PacketKind::Rst)
    }

    /// Whether it belongs to an attempt to open a connection: a SYN or a SYN+ACK.
    pub(crate) fn is_attempt(self) -> bool {
        matches!(self, PacketKind::Syn | PacketKind::SynAck)
    }

    /// Whether the server sends it.
    pub(crate) fn is_of_server(self) -> bool {
        matches!(self, PacketKind::SynAck | PacketKind::Rst)
    }
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
    /// The client's initial sequence number: of a SYN+ACK or a RST what it acknowledges, less one.
    pub isn: Option<u32>,
    /// The server's initial sequence number, of a SYN+ACK; the sequence number of a RST.
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
    /// A packet of which only the ends are known: `sender` are those of the packet, with its sender as the client.
    pub(crate) fn of_packet(sender: Ends, kind: PacketKind) -> PacketObservation {
        let ends = if kind.is_of_server() { sender.turned() } else { sender };
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
