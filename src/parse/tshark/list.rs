//! The packet list of tshark and Wireshark, one line for each packet: what `tshark -r FILE` prints, and
//! the text that Wireshark exports ("Packet summary line").
//!
//! The columns are those of the default profile: number, time, source, destination, protocol, length
//! and info. In the CSV that Wireshark exports the heading names them, and there may be others. The info of TCP is `PORT → PORT [FLAGS] Seq=...` (epan/dissectors/packet-tcp.c), behind
//! remarks such as `[TCP Retransmission]`. The arrow is `→`; versions before 2 write `->` and `>`.
//! Versions before 1.8 have no length.

use memchr::memmem;

use super::columns::split;
use crate::parse::cursor::Cursor;
use crate::parse::deduplicate::{PacketKind, PacketObservation, WITHOUT_SYN, point};
use crate::parse::host::{Ends, Host};
use crate::parse::input::Input;
use crate::parse::line_log::{self, LineLog, ParsedLine};
use crate::parse::reader::{Context, RecordFormat};
use crate::parse::services;
use crate::parse::timestamp::{SECOND, Stamp};

/// The text of tshark.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "tshark",
    about: "packet list of tshark or Wireshark as text",
    connection: "a TCP packet that opens a connection",
    is_text: true,
    is_json: false,
    is_snapshot: false,
    recognise: line_log::recognise::<Tshark>,
    run: |_| Some(String::new()),
    read,
};

/// The form of the lines.
struct Tshark {
    /// Whether a heading names the columns. Only then there may be no arrow between the addresses.
    has_heading: bool,
    /// Where the columns are in CSV, in the order of [`CSV_NAMES`].
    csv: Option<CsvColumns>,
}

/// The columns of CSV that are used.
const CSV_NAMES: [&str; 5] = ["Time", "Source", "Destination", "Protocol", "Info"];

type CsvColumns = [usize; CSV_NAMES.len()];

/// The places of the columns that a heading in CSV names.
fn csv_columns(line: &[u8]) -> Option<CsvColumns> {
    if !memmem::find(line, b"Source").is_some_and(|_| line.contains(&b',')) {
        return None;
    }
    let names = split(line, b',');
    let mut places = [0; CSV_NAMES.len()];
    for (place, name) in places.iter_mut().zip(CSV_NAMES) {
        *place = names.iter().position(|n| *n == name.as_bytes())?;
    }
    Some(places)
}

/// Divides a line of CSV into its time and its columns. `None`: it has not all of them.
fn csv_line<'a>(line: &'a [u8], places: &CsvColumns) -> Option<(Stamp, Columns<'a>)> {
    let cells = split(line, b',');
    let [time, source, destination, protocol, info] = places.map(|place| cells.get(place).copied());
    let time = stamp(&mut Cursor(time?)).unwrap_or(Stamp::None);
    let (source, destination, protocol) = (source?, destination?, protocol?);
    Some((time, Columns { line, source, destination, protocol, info: info? }))
}

impl LineLog for Tshark {
    fn of(lines: &[&[u8]]) -> Tshark {
        Tshark {
            has_heading: lines.iter().any(|line| is_heading(line)),
            csv: lines.iter().find_map(|line| csv_columns(line)),
        }
    }

    fn needs_order(&self) -> bool {
        true
    }

    fn without_evidence(&self) -> Option<&'static str> {
        Some(WITHOUT_SYN)
    }

    fn parse_line(&self, line: &[u8]) -> ParsedLine {
        if is_heading(line) {
            return ParsedLine::Other;
        }
        let (stamp, columns) = match &self.csv {
            Some(csv) => match csv_columns(line) {
                Some(again) if again == *csv => return ParsedLine::Other,
                Some(_) => return ParsedLine::Broken,
                None => match csv_line(line, csv) {
                    Some(read) => read,
                    None if line.contains(&b',') => return ParsedLine::Broken,
                    None => return ParsedLine::Foreign,
                },
            },
            None => match columns(line, self.has_heading) {
                Some(read) => read,
                None => return ParsedLine::Foreign,
            },
        };
        if !matches!(columns.protocol, b"TCP" | b"MPTCP") {
            return ParsedLine::Other;
        }
        match packet(&columns) {
            Ok(Some(packet)) => ParsedLine::Packet(stamp, packet),
            Ok(None) => ParsedLine::Other,
            Err(Unreadable) => ParsedLine::Broken,
        }
    }
}

/// The heading of a text that Wireshark exports.
fn is_heading(line: &[u8]) -> bool {
    let line = line.trim_ascii_start();
    let has = |text: &[u8]| memmem::find(line, text).is_some();
    line.starts_with(b"No.") && has(b" Source ") && has(b" Destination ")
}

/// The columns of a line behind the time.
struct Columns<'a> {
    line: &'a [u8],
    source: &'a [u8],
    destination: &'a [u8],
    protocol: &'a [u8],
    info: &'a [u8],
}

/// Divides a line into its time and its columns.
fn columns(line: &[u8], has_heading: bool) -> Option<(Stamp, Columns<'_>)> {
    let mut cursor = Cursor(line);
    cursor.blanks();
    cursor.number_up_to(12)?;
    cursor.require(b" ")?;
    cursor.blanks();
    let stamp = stamp(&mut cursor)?;
    cursor.require(b" ")?;
    let mut word = || {
        cursor.blanks();
        cursor.word()
    };
    let source = word();
    let mut destination = word();
    let has_arrow = matches!(destination, b"->") || destination == "→".as_bytes();
    if has_arrow {
        destination = word();
    }
    let mut protocol = word();
    if !has_arrow && !has_heading || protocol.is_empty() {
        return None;
    }
    cursor.blanks();
    let behind = cursor.0;
    // `GTP <TCP>`: a packet in a tunnel.
    let inner = cursor.word();
    if let Some(inner) = inner.strip_prefix(b"<").and_then(|inner| inner.strip_suffix(b">")) {
        protocol = inner;
    } else {
        cursor.0 = behind;
    }
    cursor.blanks();
    let mut length = cursor;
    if length.number_up_to(9).is_some() && length.spaces() > 0 && arrow(length.0) != Some(0) {
        cursor = length;
    }
    Some((stamp, Columns { line, source, destination, protocol, info: cursor.0 }))
}

/// A time in a form of `-t`: since the first packet (the default), or with `a`, `ad` or `e`.
fn stamp(cursor: &mut Cursor<'_>) -> Option<Stamp> {
    if let Some(stamp) = cursor.iso().or_else(|| cursor.clock().map(Stamp::Clock)) {
        return Some(stamp);
    }
    let ns = cursor.seconds()?;
    let is_epoch = ns >= 100_000_000 * SECOND;
    Some(if is_epoch { Stamp::Epoch(ns) } else { Stamp::Elapsed(ns) })
}

/// Where the first arrow is.
fn arrow(text: &[u8]) -> Option<usize> {
    let arrows = ["→".as_bytes(), b"->", b"> "];
    arrows.iter().filter_map(|arrow| memmem::find(text, arrow)).min()
}

/// The packet may have opened a connection and cannot be read.
struct Unreadable;

/// Reads the info of a TCP packet. `None`: it says nothing about a connection.
fn packet(columns: &Columns<'_>) -> Result<Option<PacketObservation>, Unreadable> {
    let mut info = columns.info;
    let mut is_repeated = false;
    // Remarks of the analysis.
    while let Some(remark) = info.strip_prefix(b"[") {
        let Some(end) = memchr::memchr(b']', remark) else { return Ok(None) };
        let repeated =
            ["TCP Retransmission", "TCP Spurious Ret", "TCP Fast Ret", "TCP Out-Of-Order"];
        is_repeated |= repeated.iter().any(|begin| remark.starts_with(begin.as_bytes()));
        info = remark[end + 1..].trim_ascii_start();
    }
    if info.is_empty() {
        // `[TCP segment of a reassembled PDU]` alone.
        return Ok(None);
    }
    let open = memchr::memchr(b'[', info).ok_or(Unreadable)?;
    let close = memchr::memchr(b']', &info[open..]).ok_or(Unreadable)? + open;
    let flags: Vec<&[u8]> = info[open + 1..close].split(|b| *b == b',').collect();
    let has = |flag: &[u8]| flags.iter().any(|f| f.trim_ascii() == flag);
    let value = |name: &[u8]| {
        let at = memmem::find(&info[close..], name)? + close + name.len();
        u32::try_from(Cursor(&info[at..]).number_up_to(10)?).ok()
    };
    let number = value(b" Seq=");
    let kind = match (has(b"SYN"), has(b"ACK")) {
        // No system opens a connection with these.
        (true, _) if has(b"FIN") || has(b"RST") => None,
        // A relative number is 1 there.
        (false, has_ack) if has(b"RST") => PacketKind::of_rst(has_ack, number),
        (true, false) => Some(PacketKind::Syn),
        (true, true) => Some(PacketKind::SynAck),
        (false, true) => Some(PacketKind::Onward),
        (false, false) => None,
    };
    let Some(kind) = kind else { return Ok(None) };
    let ends = match ends(columns, &info[..open]) {
        Some(ends) => ends,
        None if !kind.is_attempt() => return Ok(None),
        None => return Err(Unreadable),
    };
    let mut packet = PacketObservation::of_packet(ends, kind);
    // Numbers relative to the first are the same for all connections.
    let seq = number.filter(|seq| *seq != 0);
    match kind {
        // The analysis knows the numbers that the line does not show: this is no SYN sent again, so it
        // is another connection than the last from its port.
        PacketKind::Syn if seq.is_none() && !is_repeated => packet.isn = Some(point(columns.line)),
        PacketKind::Syn => packet.isn = seq,
        PacketKind::SynAck if seq.is_some() => {
            packet.server_isn = seq;
            packet.isn = value(b" Ack=").map(|ack| ack.wrapping_sub(1));
        }
        PacketKind::Rst => {
            packet.server_isn = number;
            // A relative number does not tell which SYN it acknowledges.
            packet.isn = value(b" Ack=").map(|ack| ack.wrapping_sub(1)).filter(|isn| *isn != 0);
        }
        PacketKind::SynAck | PacketKind::Onward => {}
    }
    Ok(Some(packet))
}

/// The ends of a packet. `ports` is `PORT → PORT `.
fn ends(columns: &Columns<'_>, ports: &[u8]) -> Option<Ends> {
    let at = arrow(ports)?;
    let behind = ["→".as_bytes(), b"->", b">"].iter().find_map(|a| ports[at..].strip_prefix(*a))?;
    let port = |text: &[u8]| services::port(text.trim_ascii());
    Some(Ends {
        client: Host::address_or_name(columns.source)?,
        client_port: Some(port(&ports[..at])?),
        server: Host::address_or_name(columns.destination)?,
        server_port: Some(port(behind)?),
    })
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    line_log::read::<Tshark>(inputs, cx);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        let log = Tshark { has_heading: false, csv: None };
        match log.parse_line(line.as_bytes()) {
            ParsedLine::Packet(_, p) => {
                let absolute = p.isn.filter(|isn| *isn < 100);
                format!("{:?} {:?} {absolute:?}", p.kind, p.ends.client_port)
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn csv_of_wireshark_is_read() {
        let heading = r#""No.","Time","Delta","Source","Destination","Protocol","Length","Info""#;
        let log = Tshark::of(&[heading.as_bytes()]);
        let shown = |line: &str| match log.parse_line(line.as_bytes()) {
            ParsedLine::Packet(stamp, p) => {
                format!("{stamp:?} {:?} {:?}", p.kind, p.ends.server_port)
            }
            other => format!("{other:?}"),
        };
        let row = |info: &str, protocol: &str| {
            shown(&format!(
                r#""1","0.000500","0.1","198.51.100.7","192.0.2.77","{protocol}","74","{info}""#
            ))
        };
        let elapsed = "Elapsed(500000)";
        for arrow in ["  >  ", " → ", " > "] {
            let info = format!("40755{arrow}443 [SYN] Seq=0 Win=64240 Len=0 MSS=1460");
            assert_eq!(row(&info, "TCP"), format!("{elapsed} Syn Some(443)"), "{arrow}");
        }
        assert_eq!(row("40755 > 443 [SYN", "TCP"), "Broken");
        assert_eq!(row("Standard query 0x1 A example.com", "DNS"), "Other");
        assert_eq!(shown(heading), "Other");
        assert_eq!(shown(r#""1","0.0005","0.1","198.51"#), "Broken");
        assert_eq!(shown("some text"), "Foreign");
    }

    #[test]
    fn lists_of_all_versions_are_read() {
        let syn = "Syn Some(40755) None";
        for line in [
            "    3   5.456047 198.51.100.7 → 192.0.2.77   GTP <TCP> 90 40755 → 80 [SYN] Seq=0 Win=64800 Len=0",
            "    9   5.456047 2001:db8:c::1a → 2001:db8:77::1 TCP 100 40755 → 80 [SYN] Seq=0 Win=64800 Len=0",
            "9 5.4 198.51.100.7 → 192.0.2.77 TCP 74 40755 → 443 [SYN, ECE, CWR] Seq=0 Win=64240 Len=0",
            "  9   5.456047 198.51.100.7 -> 192.0.2.77 TCP 74 40755 > http [SYN] Seq=0 Win=5840 Len=0 MSS=1460",
            "  9   5.456047 198.51.100.7 -> 192.0.2.77 TCP 40755 > http [SYN] Seq=0 Len=0 MSS=1460",
            "  9   5.456047 198.51.100.7 -> 192.0.2.77 TCP 74 40755→80 [SYN] Seq=0 Win=5840 Len=0",
            "  9 5.4 198.51.100.7 → 192.0.2.77 TCP 74 [TCP Retransmission] 40755 → 80 [SYN] Seq=0 Len=0",
        ] {
            assert_eq!(shown(line), syn, "{line}");
        }
        let absolute =
            "9 1795345122.5 198.51.100.7 → 192.0.2.77 TCP 74 40755 → 443 [SYN] Seq=77 Len=0";
        assert_eq!(shown(absolute), "Syn Some(40755) Some(77)");
        let answer =
            "9 5.4 192.0.2.77 → 198.51.100.7 TCP 74 443 → 40755 [SYN, ACK] Seq=5 Ack=78 Len=0";
        assert_eq!(shown(answer), "SynAck Some(40755) Some(77)");
        for (numbers, want) in
            [("Seq=1 Ack=1", "Rst Some(40755) None"), ("Seq=0 Ack=78", "Rst Some(40755) Some(77)")]
        {
            let line =
                format!("9 5.4 192.0.2.77 → 198.51.100.7 TCP 54 443 → 40755 [RST, ACK] {numbers}");
            assert_eq!(shown(&format!("{line} Win=0 Len=0")), want);
        }
        for (line, want) in [
            ("9 5.4 198.51.100.7 → 192.0.2.77 HTTP 200 GET /40755 → 80 [SYN] HTTP/1.1", "Other"),
            ("9 5.4 198.51.100.7 → 192.0.2.77 TCP 54 40755 → 443 [RST] Seq=1 Win=0 Len=0", "Other"),
            ("9 5.4 192.0.2.77 → 198.51.100.7 TCP 54 443 → 40755 [SYN, RST] Seq=0 Len=0", "Other"),
            ("9 5.4 198.51.100.7 → 192.0.2.77 TCP 74 40755 → 443 [SY", "Broken"),
            ("9 5.4 198.51.100.7 192.0.2.77 TCP 74 40755 443 [SYN]", "Foreign"),
            ("10:58:42.2 IP 198.51.100.7.40755 > 192.0.2.77.443: Flags [S], seq 7", "Foreign"),
        ] {
            assert_eq!(shown(line), want, "{line}");
        }
    }
}
