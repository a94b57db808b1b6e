//! Recognises the columns of `tshark -T fields` by their content, if there is no header line.

use super::columns::{Field, Fields, split};
use super::packet::{self, ACK, FIN, RST, SYN};
use crate::parse::digits::number;
use crate::parse::host::Host;
use crate::parse::port_uses::{Direction, PortUses};
use crate::parse::timestamp::Stamp;

/// What all cells of a column look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CellKind {
    Empty,
    Ipv4,
    Ipv6,
    Port,
    Number,
    Flags,
    Time,
    Other,
}

fn look(cells: &[&[u8]]) -> CellKind {
    let cells: Vec<&[u8]> = cells.iter().copied().filter(|cell| !cell.is_empty()).collect();
    let all = |is: &dyn Fn(&[u8]) -> bool| cells.iter().all(|cell| is(cell));
    let ip = |cell: &[u8]| Host::address(cell).and_then(|host| host.ip());
    let is_v4 = |cell: &[u8]| !cell.contains(&b':') && ip(cell).is_some();
    if cells.is_empty() {
        CellKind::Empty
    } else if all(&is_v4) {
        CellKind::Ipv4
    } else if all(&|cell| cell.contains(&b':') && ip(cell).is_some()) {
        CellKind::Ipv6
    } else if all(&|cell| number::<u16>(cell).is_some_and(|port| port > 0)) {
        CellKind::Port
    } else if all(&|cell| cell.iter().all(u8::is_ascii_digit)) {
        CellKind::Number
    } else if are_flags(&cells) {
        CellKind::Flags
    } else if all(&|cell| cell.contains(&b'.') && packet::stamp(cell) != Stamp::None) {
        CellKind::Time
    } else {
        CellKind::Other
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
pub(super) fn guess(lines: &[&[u8]]) -> Option<Fields> {
    let separator = if lines.first()?.contains(&b'\t') { b'\t' } else { b',' };
    let rows: Vec<Vec<&[u8]>> = lines.iter().map(|line| split(line, separator)).collect();
    let width = rows.first()?.len();
    if width < 5 || rows.iter().any(|row| row.len() != width) {
        return None;
    }
    let column = |at: usize| rows.iter().map(|row| row[at]).collect::<Vec<_>>();
    let looks: Vec<CellKind> = (0..width).map(|at| look(&column(at))).collect();
    let mut columns: Vec<Option<Field>> = vec![None; width];
    let mut pair = |kind: CellKind, first: Field, second: Field| {
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
    let v4 = pair(CellKind::Ipv4, Field::Source, Field::Destination)?;
    let v6 = pair(CellKind::Ipv6, Field::Source, Field::Destination)?;
    let ports = pair(CellKind::Port, Field::SourcePort, Field::DestinationPort)?;
    let only = |kind: CellKind| {
        let mut found = (0..width).filter(|at| looks[*at] == kind);
        found.next().filter(|_| found.next().is_none())
    };
    columns[only(CellKind::Flags)?] = Some(Field::Flags);
    if let Some(at) = looks.iter().position(|look| *look == CellKind::Time) {
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
