//! What `tshark -T fields` prints: chosen fields of each packet, in columns.
//!
//! With `-E header=y` the first line names the fields. Without it the columns are recognised by their
//! content, if that is certain: two addresses, two ports and the flags, and the ports of the packets that
//! open a connection show which end is the server. The options of `-E` are those of tshark's manual:
//! separator, quote, occurrence and aggregator.

use memchr::memmem;

use super::packet::{self, ACK, FIN, Packet, RST, SYN};
use crate::parse::cursor::Cursor;
use crate::parse::digits::number;
use crate::parse::host::Host;
use crate::parse::input::{Input, common_name};
use crate::parse::layers::first_lines;
use crate::parse::line_log::{self, LineLog, ParsedLine};
use crate::parse::port_uses::{Direction, PortUses};
use crate::parse::reader::{Context, RecordFormat};
use crate::parse::timestamp::Stamp;

/// The columns of tshark.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "tshark-fields",
    about: "fields of packets that tshark printed (-T fields)",
    connection: "a TCP packet that opens a connection",
    is_text: true,
    is_json: false,
    is_snapshot: false,
    recognise: line_log::recognise::<Fields>,
    run: |_| Some(String::new()),
    read,
};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
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

/// How the lines look.
#[derive(Debug, PartialEq, Eq)]
struct Fields {
    separator: u8,
    columns: Vec<Option<Field>>,
    /// Whether a line names the columns.
    is_named: bool,
}

impl LineLog for Fields {
    fn of(lines: &[&[u8]]) -> Fields {
        let named = lines.iter().find_map(|line| header(line)).filter(Fields::is_enough);
        named.or_else(|| guess(lines)).unwrap_or(Fields {
            separator: b'\t',
            columns: Vec::new(),
            is_named: false,
        })
    }

    fn parse_line(&self, line: &[u8]) -> ParsedLine {
        if self.columns.is_empty() {
            return ParsedLine::Foreign;
        }
        if let Some(again) = header(line) {
            return if again == *self { ParsedLine::Other } else { ParsedLine::Broken };
        }
        let mut cells = split(line, self.separator);
        if cells.len() == self.columns.len() + 1 {
            join_date(&mut cells);
        }
        match cells.len() {
            1 if self.columns.len() > 1 => ParsedLine::Foreign,
            // A line that is cut may have been of TCP.
            n if n != self.columns.len() => ParsedLine::Broken,
            _ => self.packet(&cells).parsed(),
        }
    }

    fn may_be_cut(&self, _: &[u8]) -> bool {
        true
    }
}

impl Fields {
    /// Whether the columns tell which packets open a connection, and between whom.
    fn is_enough(&self) -> bool {
        let has = |field| self.columns.contains(&Some(field));
        let addresses = has(Field::Addresses) || has(Field::Source) && has(Field::Destination);
        let ports = has(Field::Ports) || has(Field::SourcePort) && has(Field::DestinationPort);
        let both = has(Field::Flag(SYN)) && has(Field::Flag(ACK));
        addresses && ports && (has(Field::Flags) || has(Field::Info) || both)
    }

    /// The fields in a line.
    fn packet<'a>(&self, cells: &[&'a [u8]]) -> Packet<'a> {
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
fn split(line: &[u8], separator: u8) -> Vec<&[u8]> {
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
fn join_date(cells: &mut Vec<&[u8]>) {
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
fn header(line: &[u8]) -> Option<Fields> {
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

/// What all cells of a column look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Empty,
    Ipv4,
    Ipv6,
    Port,
    Number,
    Flags,
    Time,
    Other,
}

fn look(cells: &[&[u8]]) -> Look {
    let cells: Vec<&[u8]> = cells.iter().copied().filter(|cell| !cell.is_empty()).collect();
    let all = |is: &dyn Fn(&[u8]) -> bool| cells.iter().all(|cell| is(cell));
    let ip = |cell: &[u8]| Host::address(cell).and_then(|host| host.ip());
    let is_v4 = |cell: &[u8]| !cell.contains(&b':') && ip(cell).is_some();
    if cells.is_empty() {
        Look::Empty
    } else if all(&is_v4) {
        Look::Ipv4
    } else if all(&|cell| cell.contains(&b':') && ip(cell).is_some()) {
        Look::Ipv6
    } else if all(&|cell| number::<u16>(cell).is_some_and(|port| port > 0)) {
        Look::Port
    } else if all(&|cell| cell.iter().all(u8::is_ascii_digit)) {
        Look::Number
    } else if are_flags(&cells) {
        Look::Flags
    } else if all(&|cell| cell.contains(&b'.') && packet::stamp(cell) != Stamp::None) {
        Look::Time
    } else {
        Look::Other
    }
}

/// Whether these are the flags of TCP, and not another number: the IP ID, or the flags of IP.
fn are_flags(cells: &[&[u8]]) -> bool {
    if cells.iter().all(|cell| packet::flag_letters(cell).is_some()) {
        return true;
    }
    let values: Option<Vec<u16>> = cells
        .iter()
        .map(|cell| {
            packet::hexadecimal(cell)
                .filter(|_| matches!(cell.len(), 6 | 10) && cell.starts_with(b"0x"))
        })
        .collect();
    let Some(values) = values else { return false };
    let usual = |value: &u16| *value < 0x200;
    let opens = |value: &u16| *value & (SYN | RST | FIN) == SYN;
    let are_many = values.iter().any(|value| *value != values[0]);
    // Old versions write the flags of IP with ten digits, too: 2 is "do not fragment" there.
    let is_certain = are_many || cells.iter().all(|cell| cell.len() == 6);
    values.iter().all(usual) && values.iter().any(opens) && is_certain
}

/// Recognises columns without names; `None`: not with certainty.
fn guess(lines: &[&[u8]]) -> Option<Fields> {
    let separator = if lines.first()?.contains(&b'\t') { b'\t' } else { b',' };
    let rows: Vec<Vec<&[u8]>> = lines.iter().map(|line| split(line, separator)).collect();
    let width = rows.first()?.len();
    if width < 5 || rows.iter().any(|row| row.len() != width) {
        return None;
    }
    let column = |at: usize| rows.iter().map(|row| row[at]).collect::<Vec<_>>();
    let looks: Vec<Look> = (0..width).map(|at| look(&column(at))).collect();
    let mut columns: Vec<Option<Field>> = vec![None; width];
    let mut pair = |kind: Look, first: Field, second: Field| {
        let found: Vec<usize> = (0..width).filter(|at| looks[*at] == kind).collect();
        match found[..] {
            [] => Some(false),
            [a, b] => {
                (columns[a], columns[b]) = (Some(first), Some(second));
                Some(true)
            }
            _ => None,
        }
    };
    let v4 = pair(Look::Ipv4, Field::Source, Field::Destination)?;
    let v6 = pair(Look::Ipv6, Field::Source, Field::Destination)?;
    let ports = pair(Look::Port, Field::SourcePort, Field::DestinationPort)?;
    let only = |kind: Look| {
        let mut found = (0..width).filter(|at| looks[*at] == kind);
        found.next().filter(|_| found.next().is_none())
    };
    columns[only(Look::Flags)?] = Some(Field::Flags);
    if let Some(at) = looks.iter().position(|look| *look == Look::Time) {
        columns[at] = Some(Field::Time);
    }
    let fields = Fields { separator, columns, is_named: false };
    ((v4 || v6) && ports && is_source_first(&fields, &rows)).then_some(fields)
}

/// Whether the packets that open a connection go from the first end to the second: the second has the port
/// of a server, and there are no more servers than clients.
fn is_source_first(fields: &Fields, rows: &[Vec<&[u8]>]) -> bool {
    let ports = PortUses::new(None);
    let (mut inbound, mut others) = (0, 0);
    let (mut clients, mut servers) = (Vec::new(), Vec::new());
    for row in rows {
        let packet = fields.packet(row);
        if packet.flags.is_none_or(|flags| flags & (SYN | ACK | RST | FIN) != SYN) {
            continue;
        }
        let (Some(from), Some(to)) = (number(packet.source_port), number(packet.destination_port))
        else {
            continue;
        };
        match ports.by_number(to, from) {
            Direction::Inbound => inbound += 1,
            Direction::Outbound => return false,
            Direction::Unknown => others += 1,
        }
        clients.push(packet.source);
        servers.push(packet.destination);
    }
    for ends in [&mut clients, &mut servers] {
        ends.sort_unstable();
        ends.dedup();
    }
    inbound > others && servers.len() <= clients.len()
}

/// Whether a text looks like columns of tshark that do not tell the connections.
pub(crate) fn is_not_enough(head: &[u8]) -> bool {
    let lines = first_lines(head);
    let Some(first) = lines.first() else { return false };
    if let Some(fields) = header(first) {
        return !fields.is_enough();
    }
    let ip = |cell: &[u8]| Host::address(cell).is_some_and(|host| host.ip().is_some());
    let is_cell = |cell: &[u8]| {
        let is_number = |b: &u8| b.is_ascii_hexdigit() || matches!(b, b'x' | b'.');
        ip(cell) || cell.iter().all(is_number)
    };
    let is_row = |line: &&&[u8]| {
        let separator = if line.contains(&b'\t') { b'\t' } else { b',' };
        let cells = split(line, separator);
        cells.iter().any(|cell| ip(cell)) && cells.iter().all(|cell| is_cell(cell))
    };
    let few = lines.iter().take(20);
    few.clone().filter(is_row).count() * 2 >= few.len()
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let name = common_name(inputs.iter());
    let is_named =
        |input: &Input| first_lines(input.head()).iter().any(|line| header(line).is_some());
    let all_named = inputs.iter().all(is_named);
    line_log::read::<Fields>(inputs, cx);
    if !all_named {
        cx.status.warn(format!(
            "{name}: the columns have no names and were recognised by their content: addresses, ports and flags, \
             the source first; tshark -E header=y names them"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(lines: &[&str], row: &str) -> String {
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        match Fields::of(&lines).parse_line(row.as_bytes()) {
            ParsedLine::Packet(stamp, p) => {
                let port = p.ends.server_port.unwrap();
                format!("{stamp:?} {:?} {} {port} {:?}", p.part, p.ends.client.ip().unwrap(), p.isn)
            }
            other => format!("{other:?}"),
        }
    }

    const SYN_ROW: &str = "1795345122.200113000\t198.51.100.7\t192.0.2.77\t40755\t443\t0x0002";
    const ANSWER: &str = "1795345122.200213000\t192.0.2.77\t198.51.100.7\t443\t40755\t0x0012";

    #[test]
    fn columns_are_known_by_their_names() {
        let at = "Epoch(1795345122200113000) Syn 198.51.100.7 443";
        for (head, row, want) in [
            (
                "frame.time_epoch\tip.src\tip.dst\ttcp.srcport\ttcp.dstport\ttcp.flags",
                SYN_ROW,
                format!("{at} None"),
            ),
            (
                "\"ip.addr\",\"tcp.port\",\"tcp.flags.syn\",\"tcp.flags.ack\",\"tcp.seq_raw\",\"frame.time\"",
                "\"198.51.100.7,192.0.2.77\",\"40755,443\",\"True\",\"False\",\"7\",\"Nov 22, 2026 10:58:42.200113000 UTC\"",
                format!("{at} Some(7)"),
            ),
            (
                "ip.src;ip.dst;tcp.srcport;tcp.dstport;_ws.col.Info;frame.time_epoch",
                "198.51.100.7;192.0.2.77;40755;443;40755 → 443 [SYN] Seq=0;1795345122.200113000",
                format!("{at} None"),
            ),
        ] {
            assert_eq!(shown(&[head], row), want, "{row}");
            assert_eq!(shown(&[head], head), "Other");
        }
    }

    #[test]
    fn columns_without_names_must_be_certain() {
        let syn = "Epoch(1795345122200113000) Syn 198.51.100.7 443 None";
        assert_eq!(shown(&[SYN_ROW, ANSWER], SYN_ROW), syn);
        assert_eq!(shown(&[SYN_ROW], SYN_ROW), syn);
        let turned = "1.000000000\t192.0.2.77\t198.51.100.7\t443\t40755\t0x0002";
        for lines in [
            // The SYN goes from the server's port; another small number; old flags of IP; no flags.
            vec![turned],
            vec!["1.0\t198.51.100.7\t192.0.2.77\t40755\t443\t0x0002\t7"],
            vec!["1.0\t198.51.100.7\t192.0.2.77\t40755\t443\t0x00000002"],
            vec!["1.0\t198.51.100.7\t192.0.2.77\t40755\t443"],
        ] {
            assert_eq!(shown(&lines, lines[0]), "Foreign", "{lines:?}");
        }
    }

    #[test]
    fn columns_that_are_not_enough_are_told() {
        for text in ["198.51.100.7\n", "ip.src\tip.dst\n", "198.51.100.7\t192.0.2.77\t48034\t80\n"]
        {
            assert!(is_not_enough(text.as_bytes()), "{text}");
        }
        assert!(!is_not_enough(
            b"filterlog[7]: 1,,,9,em0,match,block,in,4,203.0.113.104,10.10.50.10\n"
        ));
    }
}
