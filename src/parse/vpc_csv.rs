//! Flow logs of Amazon VPC as Athena and other databases export them: CSV with a heading, made the columns of
//! [`vpc_flow`](super::vpc_flow).

use std::io::Read;

use super::input::source::convert_lines;
use super::lines::LONGEST;

/// Names of columns that Amazon's manuals give tables of flow logs, and the names in the logs themselves.
const NAMES: &[(&str, &str)] = &[
    ("sourceaddress", "srcaddr"),
    ("destinationaddress", "dstaddr"),
    ("sourceport", "srcport"),
    ("destinationport", "dstport"),
    ("starttime", "start"),
    ("start_time", "start"),
    ("starttimestamp", "start"),
    ("tcpflags", "tcp-flags"),
    ("tcp_flags", "tcp-flags"),
    ("flowdirection", "flow-direction"),
    ("flow_direction", "flow-direction"),
];

/// Whether a text that begins with `head` has a heading of such columns.
pub(crate) fn is_csv(head: &[u8]) -> bool {
    let line = head.split(|b| *b == b'\n').find(|line| !line.trim_ascii().is_empty());
    let heading = line.map(words).unwrap_or_default();
    heading.iter().any(|name| name == b"srcaddr") && line.is_some_and(|line| line.contains(&b','))
}

/// The text of `raw`, with blanks between the values.
pub(crate) fn convert(raw: Box<dyn Read + Send>) -> Box<dyn Read + Send> {
    convert_lines(raw, LONGEST, convert_line)
}

fn convert_line(line: &[u8], text: &mut Vec<u8>) {
    // Of another record: the reader must see that it is.
    if !line.contains(&b',') {
        return text.extend_from_slice(line);
    }
    text.extend_from_slice(&words(line).join(&b' '));
    if line.ends_with(b"\n") {
        text.push(b'\n');
    }
}

/// The values of a line; `-` where there is none.
fn words(line: &[u8]) -> Vec<Vec<u8>> {
    let cells = line.trim_ascii().split(|b| *b == b',');
    cells.map(|cell| word(cell.trim_ascii())).collect()
}

fn word(cell: &[u8]) -> Vec<u8> {
    let bare = cell.strip_prefix(b"\"").and_then(|cell| cell.strip_suffix(b"\"")).unwrap_or(cell);
    let named = NAMES.iter().find(|(name, _)| bare.eq_ignore_ascii_case(name.as_bytes()));
    match named {
        Some((_, own)) => own.as_bytes().to_vec(),
        None if bare.is_empty() => b"-".to_vec(),
        None => bare.iter().map(|b| if b.is_ascii_whitespace() { b'_' } else { *b }).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_csv_become_words() {
        let text = "\"interfaceid\",\"sourceaddress\",\"destinationaddress\",\"tcpflags\",\"day\"\r\n\
            \"eni-1\",\"198.51.100.7\",\"192.0.2.77\",\"2\",\"\"\n\"eni-1\",\"198.51";
        assert!(is_csv(text.as_bytes()));
        let mut out = String::new();
        convert(Box::new(std::io::Cursor::new(text))).read_to_string(&mut out).unwrap();
        let want = "interfaceid srcaddr dstaddr tcp-flags day\neni-1 198.51.100.7 192.0.2.77 2 -\n\
            eni-1 \"198.51";
        assert_eq!(out, want);
        let other = "Nov 22 10:58:42 fw kernel: SRC=198.51.100.7 DST=192.0.2.77\n";
        let mut out = String::new();
        convert(Box::new(std::io::Cursor::new(other))).read_to_string(&mut out).unwrap();
        assert_eq!(out, other);
        assert!(!is_csv(b"srcaddr dstaddr srcport\n") && !is_csv(b"a,b,c\n"));
    }
}
