//! Flow logs of Amazon VPC as objects of JSON, made the columns of [`vpc_flow`](super::vpc_flow).
//!
//! CloudWatch Logs Insights exports a row of its result as an object, or as a list of pairs (`aws logs get-query-results`):
//! `[{"field": "srcAddr", "value": "198.51.100.7"}, ...]`. Its names are those of Amazon's manual ("Supported logs and
//! discovered fields"), or what the query calls them. Databases and collectors have objects with similar names.

use std::io::Read;

use serde_json::{Map, Value};

use super::cursor::Cursor;
use super::input::source::{Convert, Converted};
use super::timestamp::{SECOND, Stamp};

/// The columns that are written, and the names that the values may have, without case, `-` and `_`.
const COLUMNS: [(&str, &[&str]); 10] = [
    ("srcaddr", &["srcaddr", "sourceaddress"]),
    ("dstaddr", &["dstaddr", "destinationaddress"]),
    ("srcport", &["srcport", "sourceport"]),
    ("dstport", &["dstport", "destinationport"]),
    ("protocol", &["protocol"]),
    ("start", &["start", "starttime", "starttimestamp", "@timestamp"]),
    ("action", &["action"]),
    ("flow-direction", &["flowdirection"]),
    ("tcp-flags", &["tcpflags"]),
    ("log-status", &["logstatus"]),
];
const START: usize = 5;
const FLAGS: usize = 8;

/// What all such objects have.
const NEEDED: [&[u8]; 3] = [b"\"srcaddr\"", b"\"dstaddr\"", b"\"protocol\""];

/// Bytes that are looked at to recognise such objects.
const HEAD_BYTES: usize = 64 * 1024;

/// Larger objects are left out, and reported.
const MAX_OBJECT: usize = 1024 * 1024;

/// Stands for an object that cannot be read.
const BROKEN: &[u8] = b"srcaddr of an object that cannot be read\n";

/// Whether a text that begins with `head` has such objects.
pub(crate) fn has_flows(head: &[u8]) -> bool {
    let head = head.trim_ascii_start();
    if !matches!(head.first(), Some(b'{' | b'[')) {
        return false;
    }
    let text: Vec<u8> = head[..head.len().min(HEAD_BYTES)]
        .iter()
        .filter(|b| !matches!(b, b'_' | b'-'))
        .map(u8::to_ascii_lowercase)
        .collect();
    NEEDED.iter().all(|name| {
        memchr::memmem::find_iter(&text, name).any(|at| is_member(&text[at + name.len()..]))
    })
}

/// Whether what follows a name shows that it is one of a member, or of a pair: it may be in a heading of CSV.
fn is_member(rest: &[u8]) -> bool {
    match rest.trim_ascii_start() {
        [b':' | b'}', ..] => true,
        [b',', rest @ ..] => rest.trim_ascii_start().starts_with(b"\"value\""),
        _ => false,
    }
}

/// The flows in the text of `raw`, one a line behind a heading.
pub(crate) fn convert(raw: Box<dyn Read + Send>) -> Box<dyn Read + Send> {
    Box::new(Converted::new(raw, Flows::default()))
}

/// An object or a list that is open: where it begins in [`Flows::pending`], unless flows were found in it.
type Open = Option<usize>;

/// Finds the flows.
#[derive(Default)]
struct Flows {
    pending: Vec<u8>,
    open: Vec<Open>,
    in_string: bool,
    escaped: bool,
    /// In a line outside of all objects.
    in_text: bool,
    /// Whether the flows have the column `tcp-flags`; `None`: no flow was found.
    has_flags: Option<bool>,
}

impl Convert for Flows {
    fn convert(&mut self, raw: &[u8], text: &mut Vec<u8>) {
        for byte in raw {
            self.byte(*byte, text);
        }
        if raw.is_empty() && (!self.open.is_empty() || self.in_string) {
            self.broken(text);
        }
    }
}

impl Flows {
    fn byte(&mut self, byte: u8, text: &mut Vec<u8>) {
        if self.in_text {
            text.push(byte);
            self.in_text = byte != b'\n';
            return;
        }
        if self.open.is_empty() {
            match byte {
                b'{' | b'[' => {}
                b']' | b',' | b' ' | b'\t' | b'\r' | b'\n' => return,
                _ => {
                    text.push(byte);
                    self.in_text = true;
                    return;
                }
            }
        }
        if self.in_string && byte == b'\n' || self.pending.len() > MAX_OBJECT {
            return self.broken(text);
        }
        self.pending.push(byte);
        match byte {
            _ if self.in_string && self.escaped => self.escaped = false,
            b'\\' if self.in_string => self.escaped = true,
            b'"' => self.in_string = !self.in_string,
            _ if self.in_string => {}
            b'{' | b'[' => self.open.push(Some(self.pending.len() - 1)),
            b'}' | b']' => self.close(text),
            _ => {}
        }
    }

    /// Ends the innermost object or list.
    fn close(&mut self, text: &mut Vec<u8>) {
        let Some(start) = self.open.pop().flatten() else {
            return self.pending.clear();
        };
        let value = serde_json::from_slice::<Value>(&self.pending[start..]);
        let row = match &value {
            Ok(Value::Object(object)) => row(object),
            Ok(Value::Array(pairs)) => pairs_of(pairs).and_then(|object| row(&object)),
            _ => None,
        };
        if let Some(row) = row {
            self.write(&row, text);
            // What is around it is a frame, which need not be kept.
            self.open.iter_mut().for_each(|outer| *outer = None);
            self.pending.clear();
        } else if self.open.is_empty() {
            if value.is_err() {
                return self.broken(text);
            }
            // An object of another record.
            let line = self.pending.iter().map(|b| if *b == b'\n' { b' ' } else { *b });
            text.extend(line.chain([b'\n']));
            self.pending.clear();
        } else if self.open.iter().all(Option::is_none) {
            self.pending.clear();
        }
    }

    fn write(&mut self, row: &Row, text: &mut Vec<u8>) {
        let has_flags = row[FLAGS].is_some();
        if self.has_flags.is_none() {
            self.has_flags = Some(has_flags);
            let names = COLUMNS.iter().enumerate().filter(|(at, _)| has_flags || *at != FLAGS);
            let names: Vec<&str> = names.map(|(_, (name, _))| *name).collect();
            text.extend_from_slice(names.join(" ").as_bytes());
            text.push(b'\n');
        }
        let is_written = |at: usize| at != FLAGS || has_flags || self.has_flags == Some(true);
        let values = row.iter().enumerate().filter(|(at, _)| is_written(*at));
        let values: Vec<&str> = values.map(|(_, value)| value.as_deref().unwrap_or("-")).collect();
        text.extend_from_slice(values.join(" ").as_bytes());
        text.push(b'\n');
    }

    /// Gives up what is open, since it cannot be read.
    fn broken(&mut self, text: &mut Vec<u8>) {
        text.extend_from_slice(BROKEN);
        let has_flags = self.has_flags;
        *self = Flows { has_flags, ..Flows::default() };
    }
}

/// The values of a flow, in the order of [`COLUMNS`].
type Row = [Option<String>; COLUMNS.len()];

/// The flow in an object; `None`: it is none.
fn row(object: &Map<String, Value>) -> Option<Row> {
    let named = |name: &str| {
        let same = |key: &str| {
            let key = key.bytes().filter(|b| !matches!(b, b'_' | b'-'));
            key.map(|b| b.to_ascii_lowercase()).eq(name.bytes())
        };
        object.iter().find_map(|(key, value)| same(key).then(|| word(value)).flatten())
    };
    let mut row: Row = COLUMNS.map(|(_, names)| names.iter().find_map(|name| named(name)));
    row[START] = row[START].take().map(|start| seconds(&start).unwrap_or(start));
    row[..2].iter().all(Option::is_some).then_some(row)
}

/// The object that a list of pairs stands for.
fn pairs_of(pairs: &[Value]) -> Option<Map<String, Value>> {
    let pair = |pair: &Value| {
        let name = pair.get("field")?.as_str()?.to_owned();
        Some((name, pair.get("value")?.clone()))
    };
    if pairs.is_empty() { None } else { pairs.iter().map(pair).collect() }
}

/// A value as one word; `None`: there is none.
fn word(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// The seconds since 1970 of a time; `None`: they are seconds. Amazon writes such times in UTC.
fn seconds(text: &str) -> Option<String> {
    let ns = match Cursor(text.as_bytes()).iso()? {
        Stamp::Epoch(ns) => ns,
        Stamp::Civil(date, ns) => match Stamp::utc(date, ns) {
            Stamp::Epoch(ns) => ns,
            _ => return None,
        },
        _ => return None,
    };
    Some((ns / SECOND).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "srcaddr dstaddr srcport dstport protocol start action flow-direction tcp-flags log-status\n";
    const ROW: &str = "198.51.100.7 192.0.2.77 40755 443 6 1795345122 ACCEPT - 2 OK\n";

    fn converted(text: &str) -> String {
        let mut out = String::new();
        convert(Box::new(std::io::Cursor::new(text.to_owned()))).read_to_string(&mut out).unwrap();
        out
    }

    #[test]
    fn objects_and_pairs_become_rows() {
        let object = r#"{"@timestamp": "2026-11-22 10:58:42.000", "@message": "5 1 eni {", "srcAddr": "198.51.100.7",
            "dstAddr": "192.0.2.77", "srcPort": "40755", "dstPort": 443, "protocol": "6", "action": "ACCEPT",
            "logStatus": "OK", "tcpFlags": 2}"#;
        let pairs = r#"{"results": [[{"field": "start", "value": "1795345122"}, {"field": "srcaddr", "value": "198.51.100.7"},
            {"field": "dstaddr", "value": "192.0.2.77"}, {"field": "srcport", "value": "40755"},
            {"field": "dstport", "value": "443"}, {"field": "protocol", "value": "6"}, {"field": "action", "value": "ACCEPT"},
            {"field": "tcp_flags", "value": "2"}, {"field": "log_status", "value": "OK"},
            {"field": "@ptr", "value": "CmEKJ}"}]], "statistics": {"recordsMatched": 1.0}, "status": "Complete"}"#;
        for text in [object, pairs] {
            assert!(has_flows(text.as_bytes()), "{text}");
            assert_eq!(converted(text), format!("{HEAD}{ROW}"), "{text}");
        }
        let list = format!("[{object},\n{object}]\n");
        assert_eq!(converted(&list), format!("{HEAD}{ROW}{ROW}"));
        let flagless = object.replace("tcpFlags", "x");
        let without = |text: &str| text.replace(" tcp-flags", "").replace(" 2 OK", " OK");
        assert_eq!(converted(&flagless), without(HEAD) + &without(ROW));
        assert_eq!(
            converted(&format!("{object}{flagless}")),
            format!("{HEAD}{ROW}{}", ROW.replace(" 2 OK", " - OK"))
        );
        let other = "{\"event\":\n{\"a\":1}}\nline\n";
        assert_eq!(
            converted(&format!("{object}\n{other}{object}")),
            format!("{HEAD}{ROW}{{\"event\": {{\"a\":1}}}}\nline\n{ROW}")
        );
    }

    #[test]
    fn a_text_that_is_cut_has_a_line_that_cannot_be_read() {
        let text =
            r#"[{"srcaddr":"198.51.100.7","dstaddr":"192.0.2.77","protocol":6,"tcp_flags":"2"}]"#;
        for at in 1..text.len() {
            let cut = converted(&text[..at]);
            assert!(cut.ends_with(std::str::from_utf8(BROKEN).unwrap()), "{}", &text[..at]);
        }
        assert!(
            !has_flows(b"srcaddr dstaddr protocol") && !has_flows(b"{\"src_addr\":1,\"proto\":6}")
        );
    }
}
