//! [`Packet`]: the fields of a packet as tshark names them, and what they say of a connection.

use crate::parse::cursor::Cursor;
use crate::parse::deduplicate::{PacketKind, PacketObservation, point};
use crate::parse::digits::number;
use crate::parse::host::{Ends, Host};
use crate::parse::line_log::ParsedLine;
use crate::parse::timestamp::{DAY, SECOND, Stamp};

/// TCP flags.
pub(super) const FIN: u16 = 1;
pub(super) const SYN: u16 = 2;
pub(super) const RST: u16 = 4;
pub(super) const ACK: u16 = 16;

/// The fields of a packet, as they are written. What the record does not have is empty.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Packet<'a> {
    pub time: Stamp,
    pub source: &'a [u8],
    pub destination: &'a [u8],
    pub source_port: &'a [u8],
    pub destination_port: &'a [u8],
    pub flags: Option<u16>,
    /// `tcp.seq_raw` or an absolute `tcp.seq`.
    pub sequence: &'a [u8],
    /// The same of `tcp.ack`.
    pub acknowledged: &'a [u8],
    /// `tcp.stream`.
    pub stream: &'a [u8],
    /// `ip.id`.
    pub id: &'a [u8],
    /// Whether there are several values of a field, because packets are in packets.
    pub is_nested: bool,
}

impl Packet<'_> {
    /// The parsed line of this packet.
    pub(super) fn parsed(&self) -> ParsedLine {
        let Some(flags) = self.flags else { return ParsedLine::Other };
        let kind = match (flags & SYN != 0, flags & ACK != 0) {
            // No system opens a connection with these.
            (true, _) if flags & (FIN | RST) != 0 => return ParsedLine::Other,
            (false, has_ack) if flags & RST != 0 => {
                // A relative number is 1 there.
                match PacketKind::of_rst(has_ack, number(self.sequence)) {
                    Some(kind) => kind,
                    None => return ParsedLine::Other,
                }
            }
            (true, false) => PacketKind::Syn,
            (true, true) => PacketKind::SynAck,
            (false, true) => PacketKind::Onward,
            (false, false) => return ParsedLine::Other,
        };
        let ends = || {
            Some(Ends {
                client: Host::address(self.source)?,
                client_port: Some(number(self.source_port)?),
                server: Host::address(self.destination)?,
                server_port: Some(number(self.destination_port)?),
            })
        };
        let ends = match ends().filter(|_| !self.is_nested) {
            Some(ends) => ends,
            None if !kind.is_attempt() => return ParsedLine::Other,
            None => return ParsedLine::Broken,
        };
        let mut packet = PacketObservation::of_packet(ends, kind);
        if kind == PacketKind::Onward {
            return ParsedLine::Packet(self.time, packet);
        }
        // Relative numbers, 0 and 1, are the same for all connections. tshark gives each connection a
        // number of its own.
        let sequence = number::<u32>(self.sequence).filter(|n| *n != 0);
        let stream = number::<u32>(self.stream).filter(|_| sequence.is_none()).map(point);
        let acknowledged = || number::<u32>(self.acknowledged).map(|n| n.wrapping_sub(1));
        match kind {
            PacketKind::Syn => {
                packet.isn = sequence.or(stream);
                packet.id = hexadecimal(self.id).filter(|id| *id != 0);
            }
            PacketKind::Rst => {
                packet.server_isn = number(self.sequence);
                // A relative number does not tell which SYN it acknowledges.
                packet.isn = acknowledged().filter(|isn| *isn != 0);
            }
            PacketKind::SynAck | PacketKind::Onward => {
                packet.server_isn = sequence;
                packet.isn = stream.or_else(|| sequence.and_then(|_| acknowledged()));
            }
        }
        ParsedLine::Packet(self.time, packet)
    }
}

/// A number as tshark writes it: `0x0002`, `0x00000002` or in decimal.
pub(super) fn hexadecimal(text: &[u8]) -> Option<u16> {
    let mut cursor = Cursor(text);
    let value = cursor.integer()?;
    if cursor.0.is_empty() { u16::try_from(value).ok() } else { None }
}

/// `tcp.flags`, or `tcp.flags.str`: a letter or a dot for each flag.
pub(super) fn flags(text: &[u8]) -> Option<u16> {
    hexadecimal(text).or_else(|| flag_letters(text))
}

/// `·······A··S·`.
pub(super) fn flag_letters(text: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(text).ok()?;
    let is_flag = |c: char| "·*.RCEUAPSFNr".contains(c);
    // Three of them are reserved.
    if !(8..=12).contains(&text.chars().count()) || !text.chars().all(is_flag) {
        return None;
    }
    let flag = |letter: char, flag: u16| if text.contains(letter) { flag } else { 0 };
    // R is also a reserved flag, which stands before all others.
    let is_reset = text.char_indices().any(|(at, c)| c == 'R' && text[at..].chars().count() <= 3);
    let reset = if is_reset { RST } else { 0 };
    Some(flag('S', SYN) | flag('A', ACK) | flag('F', FIN) | reset)
}

/// The value of a single flag, in all versions.
pub(super) fn flag(text: &[u8]) -> Option<bool> {
    match text {
        b"1" | b"True" | b"true" | b"Set" => Some(true),
        b"0" | b"False" | b"false" | b"Not set" => Some(false),
        _ => None,
    }
}

/// A time and nothing else: `1795345122.200113000`, `Nov 22, 2026 10:58:42.200113000 UTC`, RFC 3339, a time of day,
/// or since the first packet.
pub(super) fn stamp(text: &[u8]) -> Stamp {
    let mut cursor = Cursor(text);
    if let Some(stamp) = cursor.syslog_time() {
        let is_zone = |b: &u8| b.is_ascii_alphabetic() || b" .()".contains(b);
        return match stamp {
            Stamp::Civil(date, ns) if matches!(cursor.0, b" UTC" | b" GMT" | b" Z") => {
                Stamp::utc(date, ns)
            }
            other if cursor.0.iter().all(is_zone) => other,
            _ => Stamp::None,
        };
    }
    let stamp = match cursor.iso() {
        Some(stamp) => stamp,
        None => match cursor.clock() {
            Some(clock) => Stamp::Clock(clock),
            None => match cursor.seconds() {
                Some(ns) if ns >= 1000 * DAY => Stamp::Epoch(ns),
                Some(ns) => Stamp::Elapsed(ns),
                None => Stamp::None,
            },
        },
    };
    if cursor.0.is_empty() { stamp } else { Stamp::None }
}

/// `timestamp` of `-T ek`: milliseconds since 1970.
pub(super) fn milliseconds(text: &[u8]) -> Stamp {
    let ms = number::<i64>(text).and_then(|ms| ms.checked_mul(SECOND / 1000));
    ms.map_or(Stamp::None, Stamp::Epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_in_every_form() {
        for text in
            ["0x0002", "0x00000002", "0x02", "2", "··········S·", "..........S.", "*******S*"]
        {
            let want = if text == "*******S*" { Some(SYN) } else { Some(2) };
            assert_eq!(flags(text.as_bytes()), want, "{text}");
        }
        assert_eq!(flags("·······A··S·".as_bytes()), Some(SYN | ACK));
        assert_eq!(flags("·······A·R··".as_bytes()), Some(RST | ACK));
        for text in ["", "0x", "SYN", "Set", "1,2"] {
            assert_eq!(flags(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn times_in_every_form() {
        let at = Stamp::Epoch(1_795_345_122_200_113_000);
        for text in [
            "1795345122.200113000",
            "Nov 22, 2026 10:58:42.200113000 UTC",
            "2026-11-22T10:58:42.200113000Z",
        ] {
            assert_eq!(stamp(text.as_bytes()), at, "{text}");
        }
        assert_eq!(stamp(b"5.456047000"), Stamp::Elapsed(5_456_047_000));
        assert!(matches!(stamp(b"Nov 22, 2026 10:58:42.2 CET"), Stamp::Civil(..)));
        for text in [
            "2026-11-22T10:58:42Z app: 1795345122.2",
            "Nov 22 10:58:42 1795345122.2",
            "5.4 5",
            "x",
            "",
        ] {
            assert_eq!(stamp(text.as_bytes()), Stamp::None, "{text}");
        }
        assert_eq!(milliseconds(b"1795345122200"), Stamp::Epoch(1_795_345_122_200_000_000));
    }
}
