//! What `tshark -T fields` prints: chosen fields of each packet, in columns.
//!
//! With `-E header=y` the first line names the fields. Without it the columns are recognised by their
//! content, if that is certain: two addresses, two ports and the flags, and the ports of the packets that
//! open a connection show which end is the server. The options of `-E` are those of tshark's manual:
//! separator, quote, occurrence and aggregator.

use super::columns::{Fields, header, join_date, split};
use super::guess::guess;
use crate::parse::decoration::layers::first_lines;
use crate::parse::deduplicate::WITHOUT_SYN;
use crate::parse::host::{Host, has_two_addresses};
use crate::parse::input::{Input, common_name};
use crate::parse::line_log::{self, LineLog, ParsedLine};
use crate::parse::reader::{Context, RecordFormat};

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

impl LineLog for Fields {
    fn of(lines: &[&[u8]]) -> Fields {
        let named = lines.iter().find_map(|line| header(line)).filter(Fields::is_enough);
        named.or_else(|| guess(lines)).unwrap_or(Fields {
            separator: b'\t',
            columns: Vec::new(),
            is_named: false,
        })
    }

    fn needs_order(&self) -> bool {
        true
    }

    fn without_evidence(&self) -> Option<&'static str> {
        Some(WITHOUT_SYN)
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
            // A row of another table has another separator.
            1 if self.columns.len() > 1 && !has_two_addresses(line) => ParsedLine::Foreign,
            // A line that is cut may have been of TCP.
            n if n != self.columns.len() => ParsedLine::Broken,
            _ if self.is_of_others(&cells) => ParsedLine::Broken,
            _ => self.packet(&cells).parsed(),
        }
    }

    fn may_be_cut(&self, _: &[u8]) -> bool {
        true
    }
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
                format!("{stamp:?} {:?} {} {port} {:?}", p.kind, p.ends.client.ip().unwrap(), p.isn)
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
    fn rows_of_another_table_are_broken() {
        let head = "ip.src\tip.dst\ttcp.srcport\ttcp.dstport\ttcp.flags\tframe.time_epoch";
        for (row, want) in [
            (SYN_ROW.to_owned(), "Broken"),
            (SYN_ROW.replace('\t', ","), "Broken"),
            (SYN_ROW.replace("0x0002", "0x0010"), "Broken"),
            ("198.51.100.7\t192.0.2.77\t40755\t0x0002\t443\t1.5".into(), "Broken"),
            ("Capturing on 'eth0'".into(), "Foreign"),
            ("02:00:00:00:00:01\tff02::1\t\t\t\t1.5".into(), "Other"),
            ("198.51.100.7,192.0.2.9\t192.0.2.77,192.0.2.8\t7\t8\t0x0010\t1.5".into(), "Other"),
        ] {
            assert_eq!(shown(&[head], &row), want, "{row}");
        }
    }

    #[test]
    fn insufficient_columns_are_reported() {
        for text in ["198.51.100.7\n", "ip.src\tip.dst\n", "198.51.100.7\t192.0.2.77\t48034\t80\n"]
        {
            assert!(is_not_enough(text.as_bytes()), "{text}");
        }
        assert!(!is_not_enough(
            b"filterlog[7]: 1,,,9,em0,match,block,in,4,203.0.113.104,10.10.50.10\n"
        ));
    }
}
