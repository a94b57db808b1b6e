//! Columns of `tshark -T fields`: what they hold, by their names, and the packet in a line of them.

use memchr::memmem;

use super::packet::{self, ACK, FIN, Packet, RST, SYN};
use crate::parse::cursor::Cursor;
use crate::parse::digits::number;
use crate::parse::host::Host;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Time,
    Source,
    Destination,
    /// Both addresses.
    Addresses,
    SourcePort,
    DestinationPort,
    /// Both ports.
    Ports,
    Flags,
    /// One of the flags.
    Flag(u16),
    /// The column of the packet list.
    Info,
    /// `tcp.seq` may be relative, `tcp.seq_raw` is not.
    Sequence,
    Acknowledged,
    Stream,
    Id,
}

/// The fields that are used, by their names.
const NAMES: &[(&str, Field)] = &[
    ("frame.time_epoch", Field::Time),
    ("frame.time", Field::Time),
    ("frame.time_utc", Field::Time),
    ("frame.time_relative", Field::Time),
    ("_ws.col.Time", Field::Time),
    ("_ws.col.time", Field::Time),
    ("_ws.col.cls_time", Field::Time),
    ("ip.src", Field::Source),
    ("ipv6.src", Field::Source),
    ("_ws.col.Source", Field::Source),
    ("_ws.col.def_src", Field::Source),
    ("ip.dst", Field::Destination),
    ("ipv6.dst", Field::Destination),
    ("_ws.col.Destination", Field::Destination),
    ("_ws.col.def_dst", Field::Destination),
    ("ip.addr", Field::Addresses),
    ("ipv6.addr", Field::Addresses),
    ("tcp.srcport", Field::SourcePort),
    ("tcp.dstport", Field::DestinationPort),
    ("tcp.port", Field::Ports),
    ("tcp.flags", Field::Flags),
    ("tcp.flags.str", Field::Flags),
    ("tcp.flags.syn", Field::Flag(SYN)),
    ("tcp.flags.ack", Field::Flag(ACK)),
    ("tcp.flags.reset", Field::Flag(RST)),
    ("tcp.flags.fin", Field::Flag(FIN)),
    ("_ws.col.Info", Field::Info),
    ("_ws.col.info", Field::Info),
    ("tcp.seq_raw", Field::Sequence),
    ("tcp.seq", Field::Sequence),
    ("tcp.ack_raw", Field::Acknowledged),
    ("tcp.ack", Field::Acknowledged),
    ("tcp.stream", Field::Stream),
    ("ip.id", Field::Id),
];

/// The form of the lines.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fields {
    pub separator: u8,
    pub columns: Vec<Option<Field>>,
    /// Whether a line names the columns.
    pub is_named: bool,
}

impl Fields {
    /// Whether the columns tell which packets open a connection, and between whom.
    pub(super) fn is_enough(&self) -> bool {
        let has = |field| self.columns.contains(&Some(field));
        let addresses = has(Field::Addresses) || has(Field::Source) && has(Field::Destination);
        let ports = has(Field::Ports) || has(Field::SourcePort) && has(Field::DestinationPort);
        let both = has(Field::Flag(SYN)) && has(Field::Flag(ACK));
        addresses && ports && (has(Field::Flags) || has(Field::Info) || both)
    }

    /// Whether the values of a line are those of other columns.
    pub(super) fn is_of_others(&self, cells: &[&[u8]]) -> bool {
        self.columns.iter().zip(cells).any(|(field, cell)| match field {
            Some(Field::Source | Field::Destination | Field::Addresses) => {
                is_misplaced(cell, |address| Host::address(address).is_some())
            }
            Some(Field::SourcePort | Field::DestinationPort | Field::Ports) => {
                is_misplaced(cell, |port| number::<u16>(port).is_some())
            }
            _ => false,
        })
    }

    /// The fields in a line.
    pub(super) fn packet<'a>(&self, cells: &[&'a [u8]]) -> Packet<'a> {
        let mut packet = Packet::default();
        let mut single = None;
        for (field, cell) in self.columns.iter().zip(cells) {
            let (Some(field), false) = (field, cell.is_empty()) else { continue };
            match field {
                Field::Time => packet.time = packet::stamp(cell),
                Field::Source | Field::Destination | Field::SourcePort | Field::DestinationPort => {
                    set(&mut packet, *field, cell);
                }
                Field::Addresses | Field::Ports => {
                    let comma = memchr::memchr(b',', cell).unwrap_or(cell.len());
                    let second = cell.get(comma + 1..).unwrap_or_default();
                    let (from, to) = match field {
                        Field::Addresses => (Field::Source, Field::Destination),
                        _ => (Field::SourcePort, Field::DestinationPort),
                    };
                    set(&mut packet, from, &cell[..comma]);
                    set(&mut packet, to, second);
                }
                Field::Flags => {
                    // Of packets in packets, or damaged: it may open a connection.
                    let flags = packet::flags(cell);
                    packet.is_nested |= flags.is_none();
                    packet.flags = Some(flags.unwrap_or(SYN));
                }
                Field::Info => packet.flags = packet.flags.or_else(|| info_flags(cell)),
                Field::Flag(flag) => {
                    let is_set = packet::flag(cell).unwrap_or(true);
                    packet.is_nested |= packet::flag(cell).is_none();
                    *single.get_or_insert(0) |= if is_set { *flag } else { 0 };
                }
                Field::Sequence if packet.sequence.len() < 3 => packet.sequence = cell,
                Field::Acknowledged if packet.acknowledged.len() < 3 => packet.acknowledged = cell,
                Field::Sequence | Field::Acknowledged => {}
                Field::Stream => packet.stream = cell,
                Field::Id => packet.id = cell,
            }
        }
        packet.flags = packet.flags.or(single);
        packet
    }
}

/// Whether one of the values in `cell` is a number or an address, and not one that its column can have. Names and other
/// text may be a value of any.
fn is_misplaced(cell: &[u8], is_valid: impl Fn(&[u8]) -> bool) -> bool {
    let is_number = |b: &u8| b.is_ascii_digit() || matches!(b, b'.' | b'x');
    let mut values = cell.split(|b| *b == b',').filter(|value| !value.is_empty());
    values.any(|value| value.iter().all(is_number) && !is_valid(value))
}

/// Sets an end of a packet. A second value is that of a packet in the packet.
fn set<'a>(packet: &mut Packet<'a>, field: Field, cell: &'a [u8]) {
    let place = match field {
        Field::Source => &mut packet.source,
        Field::Destination => &mut packet.destination,
        Field::SourcePort => &mut packet.source_port,
        _ => &mut packet.destination_port,
    };
    let is_second = !place.is_empty();
    *place = cell;
    packet.is_nested |= is_second || cell.contains(&b',');
}

/// The flags in the column of the packet list: `40755 → 80 [SYN, ACK] Seq=0`.
fn info_flags(info: &[u8]) -> Option<u16> {
    let mut info = info;
    // Remarks of the analysis.
    while let Some(remark) = info.strip_prefix(b"[") {
        info = remark[memchr::memchr(b']', remark)? + 1..].trim_ascii_start();
    }
    let arrow = ["→", "->", " > "].iter().find_map(|arrow| memmem::find(info, arrow.as_bytes()))?;
    // Other protocols may have such a text further on.
    if info[..arrow].trim_ascii().contains(&b' ') {
        return None;
    }
    let open = memchr::memchr(b'[', &info[arrow..])? + arrow;
    let close = memchr::memchr(b']', &info[open..])? + open;
    let names = [(&b"SYN"[..], SYN), (b"ACK", ACK), (b"RST", RST), (b"FIN", FIN)];
    let flag = |text: &[u8]| names.iter().find(|(name, _)| *name == text.trim_ascii());
    Some(
        info[open + 1..close].split(|b| *b == b',').filter_map(flag).fold(0, |all, (_, f)| all | f),
    )
}

/// Divides a line into its cells. A quoted one may have separators in it.
pub(super) fn split(line: &[u8], separator: u8) -> Vec<&[u8]> {
    let mut cells = Vec::new();
    let mut rest = line;
    loop {
        let quote = rest.first().copied().filter(|b| matches!(b, b'"' | b'\''));
        let quoted = quote.and_then(|quote| {
            let end = memchr::memchr(quote, &rest[1..])? + 1;
            matches!(rest.get(end + 1), None | Some(b'\r'))
                .then_some(end)
                .or_else(|| (rest.get(end + 1) == Some(&separator)).then_some(end))
        });
        let (cell, end) = match quoted {
            Some(end) => (&rest[1..end], end + 1),
            None => {
                let end = memchr::memchr(separator, rest).unwrap_or(rest.len());
                (rest[..end].trim_ascii(), end)
            }
        };
        cells.push(cell);
        match rest.get(end) {
            Some(b) if *b == separator => rest = &rest[end + 1..],
            _ => return cells,
        }
    }
}

/// Joins `Nov 22` and ` 2026 10:58:42`, which a separator `,` divided.
pub(super) fn join_date(cells: &mut Vec<&[u8]>) {
    let is_date = |pair: &[&[u8]]| {
        let mut cursor = Cursor(pair[0]);
        cursor.month_and_day().is_some() && cursor.0.is_empty() && pair[1].starts_with(b"20")
    };
    if let Some(at) = cells.windows(2).position(is_date) {
        // The date is not used then; the time of day is.
        cells[at] = cells[at + 1].get(5..).unwrap_or_default();
        cells.remove(at + 1);
    }
}

/// The columns that a line names.
pub(super) fn header(line: &[u8]) -> Option<Fields> {
    let line = line.trim_ascii();
    let begin = line.iter().take_while(|b| matches!(b, b'"' | b'\'')).count();
    let is_name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let name = line[begin..].iter().take_while(|b| is_name(b)).count();
    let separator = line.get(2 * begin + name).copied().unwrap_or(b'\t');
    let names = split(line, separator);
    let is_field = |name: &&[u8]| {
        let parts = [&b"ip."[..], b"ipv6.", b"tcp.", b"frame.", b"_ws.", b"eth.", b"udp."];
        name.iter().all(is_name) && parts.iter().any(|part| name.starts_with(part))
    };
    if !names.iter().any(is_field) || !names.iter().all(|n| !n.is_empty() && n.iter().all(is_name))
    {
        return None;
    }
    let known = |name: &&[u8]| NAMES.iter().position(|(known, _)| known.as_bytes() == *name);
    let places: Vec<Option<usize>> = names.iter().map(known).collect();
    // Of several times the best one counts.
    let is_time = |place: &usize| NAMES[*place].1 == Field::Time;
    let time = places.iter().flatten().copied().filter(is_time).min();
    let field = |place: &Option<usize>| {
        place.filter(|place| !is_time(place) || Some(*place) == time).map(|place| NAMES[place].1)
    };
    Some(Fields { separator, columns: places.iter().map(field).collect(), is_named: true })
}
