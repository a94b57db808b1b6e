//! The forms that nfdump prints flows in.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::Deserialize;

use crate::parse::cursor::Cursor;
use crate::parse::host::Host;
use crate::parse::timestamp::Stamp;

/// A flow as printed.
#[derive(Debug, PartialEq)]
pub(crate) struct Printed {
    /// When it began.
    pub first: Stamp,
    /// How long it lasted, in nanoseconds.
    pub length: i64,
    /// From where.
    pub from: (Host, u16),
    /// To where.
    pub to: (Host, u16),
    /// The flags of its packets.
    pub flags: Option<u8>,
}

/// What a line is.
#[derive(Debug, PartialEq)]
pub(crate) enum Line {
    /// A TCP flow.
    Tcp(Printed),
    /// A flow of another protocol.
    OtherFlow,
    /// A TCP flow that cannot be read: its addresses were shortened.
    Shortened,
    /// No flow.
    Other,
}

fn number<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok()
}

fn stamp(text: &[u8]) -> Stamp {
    let mut cursor = Cursor(text.trim_ascii());
    let iso = cursor.iso();
    iso.or_else(|| cursor.seconds().map(Stamp::Epoch)).unwrap_or(Stamp::None)
}

/// `1.601`, `00:00:01.601`, and with days.
fn length(text: &[u8]) -> Option<i64> {
    let mut cursor = Cursor(text.trim_ascii());
    cursor.clock().or_else(|| cursor.seconds())
}

/// `...A.RS.`; those that are not set are points.
fn flags(text: &[u8]) -> Option<u8> {
    let text = text.trim_ascii();
    let known = text.len() >= 6 && text.iter().all(|b| b"CEUAPRSF.".contains(b));
    known.then(|| {
        let bit = |letter: u8, bit: u8| if text.contains(&letter) { bit } else { 0 };
        bit(b'F', 1) | bit(b'S', 2) | bit(b'R', 4) | bit(b'P', 8) | bit(b'A', 16) | bit(b'U', 32)
    })
}

fn is_tcp(text: &[u8]) -> bool {
    matches!(text.trim_ascii(), b"TCP" | b"6")
}

/// Kinds of output that are no list of single flows, as their header announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Summary {
    /// A table of statistics (`-s`), or flows summed up by some of their fields (`-A`).
    Statistics,
    /// The largest flows only (`-s record`).
    Largest,
    /// Flows, but those with the same ends summed up (`-a`).
    Aggregated,
}

/// What `line` announces, if it is such a header.
pub(crate) fn summary(line: &[u8]) -> Option<Summary> {
    let has = |text: &[u8]| memchr::memmem::find(line, text).is_some();
    if line.starts_with(b"Top ") && has(b" ordered by ") {
        let flows = has(b" flows ordered by ") || has(b"Top flows ordered by ");
        return Some(if flows { Summary::Largest } else { Summary::Statistics });
    }
    if line.starts_with(b"Aggregated flows ") {
        return Some(Summary::Aggregated);
    }
    let table = line.starts_with(b"Date first seen ")
        && !(has(b"Src IP Addr:Port") && has(b"Dst IP Addr:Port"));
    let csv = line.starts_with(b"ts,te,td,pr,val,")
        || line.starts_with(b"firstSeen,") && Columns::of(line).is_none();
    (table || csv).then_some(Summary::Statistics)
}

/// Whether a line is a row of statistics, or a flow in a form that is not read.
pub(crate) fn begins_with_time(line: &[u8]) -> bool {
    Cursor(line.trim_ascii_start()).iso().is_some()
}

/// The positions of the columns of CSV.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Columns {
    first: usize,
    length: usize,
    protocol: usize,
    source: usize,
    destination: usize,
    source_port: usize,
    destination_port: usize,
    flags: Option<usize>,
}

impl Columns {
    /// Of a header line; `None` if it is none.
    pub(crate) fn of(line: &[u8]) -> Option<Columns> {
        let names: Vec<&[u8]> = line.split(|b| *b == b',').map(<[u8]>::trim_ascii).collect();
        let at = |one: &[u8], other: &[u8]| names.iter().position(|n| *n == one || *n == other);
        Some(Columns {
            first: at(b"ts", b"firstSeen")?,
            length: at(b"td", b"duration")?,
            protocol: at(b"pr", b"proto")?,
            source: at(b"sa", b"srcAddr")?,
            destination: at(b"da", b"dstAddr")?,
            source_port: at(b"sp", b"srcPort")?,
            destination_port: at(b"dp", b"dstPort")?,
            flags: at(b"flg", b"flags"),
        })
    }

    /// Whether flags are among them.
    pub(crate) fn has_flags(&self) -> bool {
        self.flags.is_some()
    }

    /// Reads a line.
    pub(crate) fn read(&self, line: &[u8]) -> Line {
        let fields: Vec<&[u8]> = line.split(|b| *b == b',').collect();
        let get = |at: usize| fields.get(at).copied().unwrap_or_default();
        if stamp(get(self.first)) == Stamp::None {
            return Line::Other;
        }
        match fields.get(self.protocol) {
            Some(protocol) if is_tcp(protocol) => {}
            Some(_) => return Line::OtherFlow,
            None => return Line::Other,
        }
        let end = |host: usize, port: usize| {
            Some((Host::address(get(host).trim_ascii())?, number(get(port))?))
        };
        let (Some(from), Some(to)) =
            (end(self.source, self.source_port), end(self.destination, self.destination_port))
        else {
            return Line::Shortened;
        };
        Line::Tcp(Printed {
            first: stamp(get(self.first)),
            length: length(get(self.length)).unwrap_or(0),
            from,
            to,
            flags: self.flags.and_then(|at| flags(get(at))),
        })
    }
}

/// Whether a line is one of the rows under one of the headings.
pub(crate) fn is_row_of(headings: &[Columns], line: &[u8]) -> bool {
    headings.iter().any(|columns| columns.read(line) != Line::Other)
}

/// Whether a line has a part of what [`bars`] reads: so many numbers.
pub(crate) fn is_part_of_bars(line: &[u8]) -> bool {
    let is_number = |word: &&[u8]| !word.is_empty() && word.iter().all(u8::is_ascii_digit);
    line.split(|b| *b == b'|').filter(is_number).count() >= 8
}

/// Reads a line of numbers between bars, of nfdump 1.6 or 1.7.
pub(crate) fn bars(line: &[u8]) -> Line {
    let read = || {
        let fields: Vec<u64> = line.split(|b| *b == b'|').map(number).collect::<Option<_>>()?;
        if fields.len() < 20 || !matches!(fields[0], 2 | 10) {
            return None;
        }
        // Of 1.7, times are one number each.
        let together = fields[1] > 100_000_000_000;
        let ms = |at: usize| {
            if together {
                i64::try_from(fields[at]).ok()
            } else {
                i64::try_from(fields[2 * at - 1])
                    .ok()?
                    .checked_mul(1000)?
                    .checked_add(i64::try_from(fields[2 * at]).ok()?)
            }
        };
        let (first, last) = (ms(1)?, ms(2)?);
        let rest = &fields[if together { 3 } else { 5 }..];
        let end = |at: usize| {
            let words: Vec<u32> = rest
                .get(at..at + 4)?
                .iter()
                .map(|w| u32::try_from(*w).ok())
                .collect::<Option<_>>()?;
            let port = u16::try_from(*rest.get(at + 4)?).ok()?;
            let host = if fields[0] == 2 {
                Host::from(std::net::IpAddr::from(Ipv4Addr::from(words[3])))
            } else {
                let bits = words.iter().fold(0_u128, |bits, w| bits << 32 | u128::from(*w));
                Host::from(std::net::IpAddr::from(Ipv6Addr::from(bits)))
            };
            Some((host, port))
        };
        if rest[0] != 6 {
            return Some(Line::OtherFlow);
        }
        Some(Line::Tcp(Printed {
            first: Stamp::Epoch(first.checked_mul(1_000_000)?),
            length: last.saturating_sub(first).saturating_mul(1_000_000),
            from: end(1)?,
            to: end(6)?,
            flags: rest.get(15).and_then(|f| u8::try_from(*f & 0xff).ok()),
        }))
    };
    read().unwrap_or(Line::Other)
}

/// Reads a line for people: `line`, `long`, `extended`.
pub(crate) fn people(line: &[u8]) -> Line {
    let mut cursor = Cursor(line);
    let Some(first) = cursor.iso() else { return Line::Other };
    let mut words = cursor.0.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty());
    let (Some(duration), Some(protocol), Some(from), Some(arrow), Some(to)) =
        (words.next(), words.next(), words.next(), words.next(), words.next())
    else {
        return Line::Other;
    };
    let Some(length) = length(duration).filter(|_| matches!(arrow, b"->" | b"<->")) else {
        return Line::Other;
    };
    if !is_tcp(protocol) {
        return Line::OtherFlow;
    }
    // An IPv6 address is joined to its port by a point.
    let end = |text: &[u8]| {
        let colons = text.iter().filter(|b| **b == b':').count();
        let joint = if colons > 1 { b'.' } else { b':' };
        let at = memchr::memrchr(joint, text)?;
        Some((Host::address(&text[..at])?, number(&text[at + 1..])?))
    };
    let (Some(from), Some(to)) = (end(from), end(to)) else { return Line::Shortened };
    Line::Tcp(Printed { first, length, from, to, flags: words.next().and_then(flags) })
}

#[derive(Deserialize)]
struct Object<'a> {
    first: Option<&'a str>,
    last: Option<&'a str>,
    proto: Option<u64>,
    tcp_flags: Option<&'a str>,
    src4_addr: Option<&'a str>,
    src6_addr: Option<&'a str>,
    dst4_addr: Option<&'a str>,
    dst6_addr: Option<&'a str>,
    src_port: Option<u16>,
    dst_port: Option<u16>,
}

/// Reads a JSON object.
pub(crate) fn json(text: &[u8]) -> Line {
    let Ok(object) = serde_json::from_slice::<Object<'_>>(text) else { return Line::Other };
    if object.proto != Some(6) {
        return if object.proto.is_some() { Line::OtherFlow } else { Line::Other };
    }
    let end = |v4: Option<&str>, v6: Option<&str>, port: Option<u16>| {
        Some((Host::address(v4.or(v6)?.as_bytes())?, port?))
    };
    let (Some(from), Some(to)) = (
        end(object.src4_addr, object.src6_addr, object.src_port),
        end(object.dst4_addr, object.dst6_addr, object.dst_port),
    ) else {
        return Line::Shortened;
    };
    let (first, last) = (object.first.unwrap_or_default(), object.last.unwrap_or_default());
    let first = stamp(first.as_bytes());
    let length = match (first, stamp(last.as_bytes())) {
        (Stamp::Civil(a, from), Stamp::Civil(b, to)) => {
            let days = (b - a).get_days();
            i64::from(days).saturating_mul(86_400_000_000_000).saturating_add(to - from)
        }
        (Stamp::Epoch(from), Stamp::Epoch(to)) => to.saturating_sub(from),
        _ => 0,
    };
    let flags = object.tcp_flags.and_then(|f| flags(f.as_bytes()));
    Line::Tcp(Printed { first, length, from, to, flags })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: Line) -> String {
        match line {
            Line::Tcp(p) => format!(
                "{} {} {} {} {} {:?}",
                p.from.0.ip().unwrap(),
                p.from.1,
                p.to.0.ip().unwrap(),
                p.to.1,
                p.length / 1_000_000,
                p.flags
            ),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn lines_for_people_have_ends_duration_and_flags() {
        let want = "198.51.100.1 36239 192.0.2.77 80 1601 ";
        for (line, flags) in [
            (
                "2026-11-22 10:59:26.461     1.601 TCP  198.51.100.1:36239 ->  192.0.2.77:80  4  136  1",
                "None",
            ),
            (
                "2026-11-22 10:59:26.461  00:00:01.601 TCP 198.51.100.1:36239 -> 192.0.2.77:80 ...A.RS. 0 4 216 1",
                "Some(22)",
            ),
            (
                "2026-11-22 10:59:26.461  1.601 TCP 198.51.100.1:36239 -> 192.0.2.77:80 .A..S. 0 4 216 1",
                "Some(18)",
            ),
        ] {
            assert_eq!(shown(people(line.as_bytes())), format!("{want}{flags}"), "{line}");
        }
        assert_eq!(
            shown(people(
                b"2026-11-22 10:59:26.461 1.601 TCP 2001:db8:c::1a.5 -> 2001:db8::1.80 4 1 1"
            )),
            "2001:db8:c::1a 5 2001:db8::1 80 1601 None"
        );
        assert_eq!(
            people(b"2026-11-22 10:59:26.461 1.601 TCP 2001:db..:c::1a.5 -> 2001:db8::1.80 4 1 1"),
            Line::Shortened
        );
        assert_eq!(people(b"Time window: 2026-11-22 10:59:17 - 2026-11-22 10:59:32"), Line::Other);
    }

    #[test]
    fn statistics_are_no_lists_of_flows() {
        for (line, want) in [
            ("Top 10 Src IP Addr ordered by flows:", Some(Summary::Statistics)),
            ("Top 10 Dst Port ordered by bytes:", Some(Summary::Statistics)),
            ("Top 10 flows ordered by packets:", Some(Summary::Largest)),
            ("Top flows ordered by packets:", Some(Summary::Largest)),
            ("Aggregated flows 24", Some(Summary::Aggregated)),
            ("Date first seen  Duration Proto  Src IP Addr Flows(%)", Some(Summary::Statistics)),
            ("Date first seen  Duration  Src IP Addr Packets Bytes", Some(Summary::Statistics)),
            ("Date first seen  Duration Proto  Src IP Addr:Port  Dst IP Addr:Port Flags", None),
            ("ts,te,td,pr,val,fl,flP,ipkt,ipktP", Some(Summary::Statistics)),
            ("ts,te,td,sa,da,sp,dp,pr,flg", None),
            ("Time window: 2026-11-22 10:59:17 - 2026-11-22 10:59:32", None),
        ] {
            assert_eq!(summary(line.as_bytes()), want, "{line}");
        }
    }

    #[test]
    fn numbers_between_bars_are_a_flow() {
        let v16 = "2|1795345166|461|1795345168|62|6|0|0|0|3325256705|36239|0|0|0|3221226061|80|0|0|0|0|18|0|4|136";
        let v17 = "2|1795345166461|1795345168062|6|0|0|0|3325256705|36239|0|0|0|3221226061|80|0|0|0|0|18|0|4|136";
        for line in [v16, v17] {
            assert_eq!(
                shown(bars(line.as_bytes())),
                "198.51.100.1 36239 192.0.2.77 80 1601 Some(18)"
            );
        }
        assert_eq!(bars(b"1|2|3"), Line::Other);
    }
}
