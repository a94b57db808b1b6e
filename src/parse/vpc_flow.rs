//! Flow logs of Amazon VPC with the field `tcp-flags`: a line for each flow in one direction and in
//! one interval of a minute or ten.
//!
//! The fields are those of Amazon's manual ("Flow log records"); the header line names them, as in
//! the files in S3. `tcp-flags` has all flags of the interval, but ACK only with SYN: 2 is a client
//! that connects, 18 a server that answers. Without this field a flow does not show whether a
//! connection began in it.

use super::columns::{each_word, words};
use super::deduplicate::{PacketKind, PacketObservation};
use super::digits::number;
use super::host::{Ends, Host};
use super::input::{Input, common_name};
use super::line_log::{self, LineLog, ParsedLine};
use super::reader::{Context, RecordFormat};
use super::timestamp::{SECOND, Stamp};

/// Amazon's flow logs.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "vpc-flow",
    about: "flow log of Amazon VPC with the field tcp-flags",
    connection: "a TCP flow with SYN to this machine",
    is_text: true,
    is_json: false,
    is_snapshot: false,
    recognise: line_log::recognise::<VpcFlow>,
    run: |_| Some(String::new()),
    read,
};

/// TCP flags.
const SYN: u16 = 2;
const ACK: u16 = 16;

/// The columns that are used; the last two may be missing.
const NAMES: [&str; 9] = [
    "srcaddr",
    "dstaddr",
    "srcport",
    "dstport",
    "protocol",
    "start",
    "tcp-flags",
    "action",
    "flow-direction",
];
const NEEDED: usize = 7;
/// The place of columns that are not used.
const UNUSED: usize = NAMES.len();

type Columns = [Option<usize>; NAMES.len()];

struct VpcFlow {
    columns: Option<Columns>,
    /// What each column is: a place in [`NAMES`], or [`UNUSED`].
    places: Vec<usize>,
}

/// The columns that a header line names.
fn columns(line: &[u8]) -> Option<(Columns, usize)> {
    memchr::memmem::find(line, b"srcaddr")?;
    // An object names each value, and so looks like a heading.
    if line.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    let names = words(line);
    // Amazon's console writes tcp-flags, its services tcp_flags too.
    let same = |a: &[u8], b: &str| {
        a.len() == b.len()
            && a.iter().zip(b.bytes()).all(|(a, b)| *a == b || (*a, b) == (b'_', b'-'))
    };
    let columns = NAMES.map(|name| names.iter().position(|n| same(column_name(n), name)));
    columns[..NEEDED].iter().all(Option::is_some).then_some((columns, names.len()))
}

/// The name of a column without quotes and escapes that another program has put around it.
fn column_name(word: &[u8]) -> &[u8] {
    let start = word.iter().position(u8::is_ascii_alphabetic).unwrap_or(0);
    let is_part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let length = word[start..].iter().take_while(|b| is_part(b)).count();
    &word[start..start + length]
}

/// The values of a line, in the order of [`NAMES`], and one that is not used.
type Values<'a> = [&'a [u8]; UNUSED + 1];

impl VpcFlow {
    /// The values of a line and the number of its columns.
    fn values<'a>(&self, line: &'a [u8]) -> (Values<'a>, usize) {
        let mut values: Values<'a> = [b""; UNUSED + 1];
        let mut width = 0;
        each_word(line, |word| {
            let place = self.places.get(width).map_or(UNUSED, |place| *place);
            values[place] = word;
            width += 1;
        });
        (values, width)
    }
}

impl LineLog for VpcFlow {
    fn of(lines: &[&[u8]]) -> VpcFlow {
        let Some((columns, width)) = lines.iter().find_map(|line| columns(line)) else {
            return VpcFlow { columns: None, places: Vec::new() };
        };
        let place =
            |at: usize| columns.iter().position(|column| *column == Some(at)).unwrap_or(UNUSED);
        VpcFlow { columns: Some(columns), places: (0..width).map(place).collect() }
    }

    fn is_own(&self, line: &[u8]) -> bool {
        let (values, width) = self.values(line);
        let [from, to, from_port, to_port, protocol, ..] = values;
        let ends_are_valid = Host::address(from).is_some()
            && Host::address(to).is_some()
            && [from_port, to_port].iter().all(|port| number::<u16>(port).is_some());
        width == self.places.len() && number::<u8>(protocol).is_some() && ends_are_valid
    }

    fn without_evidence(&self) -> Option<&'static str> {
        Some(
            "no accepted flow of TCP is in it, so nothing shows that such flows are logged (filter: all or accept)",
        )
    }

    fn parse_line(&self, line: &[u8]) -> ParsedLine {
        let Some(wanted) = &self.columns else { return ParsedLine::Foreign };
        let (values, width) = self.values(line);
        // Only what is no flow, or has no data, has no number here.
        let has_protocol = values[4].first().is_some_and(u8::is_ascii_digit);
        if !has_protocol && memchr::memmem::find(line, b"srcaddr").is_some() {
            return match columns(line) {
                Some((columns, _)) if columns == *wanted => ParsedLine::Other,
                _ => ParsedLine::Broken,
            };
        }
        match width {
            0 | 1 => ParsedLine::Foreign,
            _ if !has_protocol
                && (line.ends_with(b"SKIPDATA")
                    || memchr::memmem::find(line, b" SKIPDATA").is_some()) =>
            {
                ParsedLine::Lost
            }
            _ if width != self.places.len() => ParsedLine::Broken,
            _ => flow(&values),
        }
    }
}

fn flow(values: &Values<'_>) -> ParsedLine {
    let [from, to, from_port, to_port, protocol, start, flags, action, direction, _] = *values;
    // `-`: no data in this interval.
    if protocol != b"6" {
        return if number::<u8>(protocol).is_some() || protocol == b"-" {
            ParsedLine::Other
        } else {
            ParsedLine::Broken
        };
    }
    let Some(flags) = number::<u16>(flags) else { return ParsedLine::Broken };
    if flags & SYN != 0 && !matches!(direction, b"ingress" | b"egress" | b"-" | b"") {
        return ParsedLine::Broken;
    }
    let answer = flags & ACK != 0;
    let away = if answer { &b"ingress"[..] } else { b"egress" };
    if flags & SYN == 0 || direction == away {
        return if action == b"REJECT" { ParsedLine::Other } else { ParsedLine::Evidence };
    }
    let ends = || {
        Some(Ends {
            client: Host::address(from)?,
            client_port: Some(number(from_port)?),
            server: Host::address(to)?,
            server_port: Some(number(to_port)?),
        })
    };
    let (Some(ends), Some(start)) = (ends(), number::<u32>(start)) else {
        return ParsedLine::Broken;
    };
    if action == b"REJECT" {
        return ParsedLine::Blocked;
    }
    let packet = PacketObservation::of_packet(ends, PacketKind::of_syn(answer));
    ParsedLine::Packet(Stamp::Epoch(i64::from(start) * SECOND), packet)
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let name = common_name(inputs.iter());
    line_log::read::<VpcFlow>(inputs, cx);
    cx.status.warn(format!(
        "{name}: a flow has all packets of an interval, so connections from the same port in one \
         interval count as one"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] =
        b"version account-id interface-id srcaddr dstaddr srcport dstport protocol packets \
        bytes start end action log-status tcp-flags flow-direction";

    fn shown(line: &str) -> String {
        match VpcFlow::of(&[HEAD]).parse_line(line.as_bytes()) {
            ParsedLine::Packet(stamp, p) => {
                format!(
                    "{stamp:?} {:?} {} {}",
                    p.kind,
                    p.ends.client.ip().unwrap(),
                    p.ends.server_port.unwrap()
                )
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn flows_with_syn_count() {
        let row = |ends: &str, rest: &str| {
            format!("5 123456789012 eni-0a1 {ends} 6 9 900 1795345122 1795345180 {rest}")
        };
        let (there, back) =
            ("198.51.100.7 192.0.2.77 40755 443", "192.0.2.77 198.51.100.7 443 40755");
        let at = "Epoch(1795345122000000000)";
        assert_eq!(shown(&row(there, "ACCEPT OK 2 ingress")), format!("{at} Syn 198.51.100.7 443"));
        assert_eq!(shown(&row(there, "ACCEPT OK 3 ingress")), format!("{at} Syn 198.51.100.7 443"));
        assert_eq!(
            shown(&row(back, "ACCEPT OK 19 egress")),
            format!("{at} SynAck 198.51.100.7 443")
        );
        for (line, want) in [
            (row(there, "REJECT OK 2 ingress"), "Blocked"),
            (row(there, "ACCEPT OK 1 ingress"), "Evidence"),
            (row(there, "ACCEPT OK 2 egress"), "Evidence"),
            (row(there, "ACCEPT OK 2 ingress").replace(" 6 9", " 17 9"), "Other"),
            (row(there, "ACCEPT OK 2"), "Broken"),
            (row(there, "ACCEPT OK x ingress"), "Broken"),
            (row(there, "ACCEPT OK 2 ingress\u{1b}[0m"), "Broken"),
            ("5 1 eni-0a1 - - - - - - - 1795345122 1795345180 - NODATA - -".into(), "Other"),
            ("5 1 eni-0a1 - - - - - - - 1795345122 1795345180 - SKIPDATA - -".into(), "Lost"),
        ] {
            assert_eq!(shown(&line), want, "{line}");
        }
    }

    #[test]
    fn logs_without_flags_are_not_recognised() {
        let head = b"version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes \
            start end action log-status\n";
        assert!(!line_log::recognise::<VpcFlow>(head));
    }
}
