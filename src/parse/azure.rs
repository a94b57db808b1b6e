//! Flow logs of Azure: of network security groups (versions 1 and 2) and of virtual networks.
//!
//! The form is that of Microsoft's manual ("Flow logging for network security groups", "Virtual network flow logs"):
//! objects of JSON with lists of tuples, of which each is a text. [`convert`] makes a line of each tuple.
//!
//! * Version 1: `1542110377,198.51.100.7,192.0.2.77,40755,443,T,I,A`, one tuple for each flow.
//! * Version 2: the same with the state behind the decision, `B` when the flow begins, `C` while it goes on, `E` at its
//!   end, and packets and bytes.
//! * Virtual networks: `1663146003599,198.51.100.7,192.0.2.77,40755,443,6,I,B,NX,...`; a flow that was denied has the
//!   state `D`.

use std::io::Read;

use super::digits::number;
use super::host::{Ends, Host};
use super::input::source::{Convert, Converted};
use super::input::{Input, common_name};
use super::line_log::{self, Event, LineLog, ParsedLine};
use super::reader::{Context, RecordFormat};
use super::timestamp::{SECOND, Stamp};

/// Azure's logs.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "azure-flow",
    about: "flow log of Azure's network security groups or virtual networks",
    connection: "a TCP flow that began and was allowed to come in",
    is_text: true,
    is_json: false,
    is_snapshot: false,
    recognise: line_log::recognise::<Azure>,
    run: |_| Some(String::new()),
    read,
};

/// The member that holds the tuples.
const TUPLES: &[u8] = b"\"flowTuples\"";

/// Longer lines of other records are left out.
const MAX_OTHER_LINE: usize = 64 * 1024;

/// Maximum number of bytes of lines of other records before the first tuple.
const MAX_OTHERS: usize = 256 * 1024;

/// No tuple is longer.
const MAX_TUPLE: usize = 512;

struct Azure;

impl LineLog for Azure {
    fn of(_: &[&[u8]]) -> Azure {
        Azure
    }

    fn without_evidence(&self) -> Option<&'static str> {
        Some("no allowed flow of TCP is in it, so nothing shows that such flows are logged")
    }

    fn parse_line(&self, line: &[u8]) -> ParsedLine {
        let cells: Vec<&[u8]> = line.trim_ascii().split(|b| *b == b',').collect();
        let [time, from, to, from_port, to_port, protocol, direction, ref rest @ ..] = cells[..]
        else {
            return ParsedLine::Foreign;
        };
        let is_tuple = matches!(direction, b"I" | b"O")
            && matches!(protocol, b"T" | b"U" | [b'0'..=b'9', ..])
            && (9..=14).contains(&time.len());
        let (Some(time), true) = (number::<i64>(time), is_tuple) else {
            return ParsedLine::Foreign;
        };
        if !matches!(protocol, b"T" | b"6") {
            return ParsedLine::Other;
        }
        let (decision, state) = match (protocol, rest) {
            (b"T", [decision, state, ..]) => (*decision, *state),
            (b"T", [decision]) => (*decision, &b"B"[..]),
            (_, [b"D", ..]) => (&b"D"[..], &b"B"[..]),
            (_, [state, ..]) => (&b"A"[..], *state),
            _ => return ParsedLine::Broken,
        };
        let ends = || {
            Some(Ends {
                client: Host::address(from)?,
                client_port: Some(number(from_port)?),
                server: Host::address(to)?,
                server_port: Some(number(to_port)?),
            })
        };
        let stamp = Stamp::Epoch(match time {
            // Of virtual networks, in milliseconds.
            100_000_000_000.. => time.saturating_mul(1_000_000),
            _ => time.saturating_mul(SECOND),
        });
        match (decision, state, direction, ends()) {
            (_, _, _, None) => ParsedLine::Broken,
            (b"D", _, b"I", _) => ParsedLine::Blocked,
            (b"A", b"B", b"I", Some(ends)) => Event::new(stamp, ends, None).parsed(),
            (b"A", b"B", _, _) => ParsedLine::Outbound,
            (b"A", b"C" | b"E", ..) => ParsedLine::Evidence,
            (b"D", ..) => ParsedLine::Other,
            _ => ParsedLine::Broken,
        }
    }
}

/// Whether a text that begins with `head` has such lists of tuples.
pub(crate) fn has_tuples(head: &[u8]) -> bool {
    memchr::memmem::find(head, TUPLES).is_some()
}

/// The tuples in the text of `raw`, one a line.
pub(crate) fn convert(raw: Box<dyn Read + Send>) -> Box<dyn Read + Send> {
    Box::new(Converted::new(raw, Tuples::default()))
}

/// Stands for the tuples that a file lacks whose beginning or end was cut off: no tuple has such ends.
const CUT: &[u8] = b"000000000,,,,,T,I,A,B\n";

/// Finds the tuples: texts with commas that begin with a digit. In texts in texts their quotes are escaped.
struct Tuples {
    /// A text that is open.
    text: Option<Vec<u8>>,
    /// The line so far, if it began outside of all objects and has no tuple. Such a line is of another record.
    line: Option<Vec<u8>>,
    /// A tuple was found, so that the format can be recognised whatever follows.
    has_found: bool,
    /// Lines of other records that came before that.
    others: Vec<u8>,
    nesting: Nesting,
}

impl Default for Tuples {
    fn default() -> Tuples {
        Tuples {
            text: None,
            line: Some(Vec::new()),
            has_found: false,
            others: Vec::new(),
            nesting: Nesting::default(),
        }
    }
}

/// Which objects, lists and texts of JSON are open.
#[derive(Default)]
struct Nesting {
    /// Number of objects and lists.
    depth: u64,
    in_text: bool,
    is_escaped: bool,
    /// An object or list ended that had not begun.
    lacks_beginning: bool,
}

impl Nesting {
    fn take(&mut self, byte: u8) {
        match byte {
            _ if std::mem::take(&mut self.is_escaped) => {}
            b'\\' => self.is_escaped = true,
            b'"' => self.in_text = !self.in_text,
            b'{' | b'[' if !self.in_text => self.depth += 1,
            b'}' | b']' if !self.in_text => {
                self.lacks_beginning |= self.depth == 0;
                self.depth = self.depth.saturating_sub(1);
            }
            _ => {}
        }
    }

    /// Whether nothing is open.
    fn is_between(&self) -> bool {
        self.depth == 0 && !self.in_text
    }

    /// Whether the text that ends here was cut off at its beginning or end.
    fn is_cut(&self) -> bool {
        self.depth > 0 || self.in_text || self.lacks_beginning
    }
}

impl Convert for Tuples {
    fn convert(&mut self, raw: &[u8], text: &mut Vec<u8>) {
        for byte in raw {
            self.line = self.line.take().filter(|line| line.len() < MAX_OTHER_LINE);
            if let Some(line) = &mut self.line {
                line.push(*byte);
            }
            let was_between = self.nesting.is_between();
            self.nesting.take(*byte);
            let is_between = self.nesting.is_between();
            if matches!(byte, b'"' | b'\\') {
                if let Some(tuple) = self.text.take().filter(|text| is_tuple(text)) {
                    text.extend_from_slice(&tuple);
                    text.push(b'\n');
                    text.append(&mut self.others);
                    self.has_found = true;
                    self.line = None;
                }
                self.text = (*byte == b'"').then(Vec::new);
            } else if let Some(open) = self.text.as_mut().filter(|open| open.len() < MAX_TUPLE) {
                open.push(*byte);
            }
            if *byte == b'\n' {
                let line = self.line.take().filter(|_| is_between).unwrap_or_default();
                self.other(&line, text);
                self.line = is_between.then(Vec::new);
            } else if is_between && !was_between && self.line.is_none() {
                // A file without a line feed at its end may be before another one.
                self.line = Some(Vec::new());
            }
        }
        if raw.is_empty() {
            let line = self.line.take().unwrap_or_default();
            self.other(&line, text);
        }
        if raw.is_empty() && self.nesting.is_cut() {
            text.extend_from_slice(CUT);
        }
    }
}

impl Tuples {
    /// Takes a line of another record.
    fn other(&mut self, line: &[u8], text: &mut Vec<u8>) {
        if line.trim_ascii().is_empty() {
            return;
        }
        if self.has_found {
            text.extend_from_slice(line);
        } else if self.others.len() < MAX_OTHERS {
            self.others.extend_from_slice(line);
        }
    }
}

fn is_tuple(text: &[u8]) -> bool {
    text.first().is_some_and(u8::is_ascii_digit) && text.iter().filter(|b| **b == b',').count() > 1
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let name = common_name(inputs.iter());
    line_log::read::<Azure>(inputs, cx);
    cx.status.warn(format!("{name}: what the server refused counts too"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        match Azure.parse_line(line.as_bytes()) {
            ParsedLine::Connection(e) => format!(
                "{:?} {} {}",
                e.stamp,
                e.ends.client.ip().unwrap(),
                e.ends.server_port.unwrap()
            ),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn tuples_of_all_versions() {
        let ends = "198.51.100.7,192.0.2.77,40755,443";
        let want = "Epoch(1795345122000000000) 198.51.100.7 443";
        for (tuple, want) in [
            (format!("1795345122,{ends},T,I,A"), want),
            (format!("1795345122,{ends},T,I,A,B,,,,"), want),
            (format!("1795345122000,{ends},6,I,B,NX,0,0,0,0"), want),
            (format!("1795345122,{ends},T,I,D"), "Blocked"),
            (format!("1795345122,{ends},T,I,D,B,,,,"), "Blocked"),
            (format!("1795345122000,{ends},6,I,D,NX,0,0,0,0"), "Blocked"),
            (format!("1795345122,{ends},T,I,A,C,5,1000,6,2000"), "Evidence"),
            (format!("1795345122,{ends},T,I,A,E,5,1000,6,2000"), "Evidence"),
            (format!("1795345122,{ends},T,O,A,B,,,,"), "Outbound"),
            (format!("1795345122,{ends},U,I,A,B,,,,"), "Other"),
            (format!("1795345122000,{ends},17,I,B,NX,0,0,0,0"), "Other"),
            (format!("1795345122,{},T,I,A,B,,,,", ends.replace(".7,", ".x,")), "Broken"),
            (format!("1795345122,{ends},T,I,A,?"), "Broken"),
            ("a,b,c".into(), "Foreign"),
        ] {
            assert_eq!(shown(&tuple), want, "{tuple}");
        }
    }

    #[test]
    fn tuples_are_found_in_objects() {
        let text = r#"{"records":[{"time":"2026-11-22T10:59:00Z","flows":[{"rule":"a,b","flowTuples":["1,x,y","2,x,y"]}],"x":"{\"flowTuples\":[\"3,x,y\"]}"}]}"#;
        assert!(has_tuples(text.as_bytes()));
        let mut out = String::new();
        convert(Box::new(std::io::Cursor::new(text))).read_to_string(&mut out).unwrap();
        assert_eq!(out, "1,x,y\n2,x,y\n3,x,y\n");
        let others = "a line \"of another\" log\n{\"event_type\":\"flow\"}\n";
        let text = format!("{text}\n{others}{{\n\"flowTuples\":[\n\"4,x,y\"\n]\n}}\n{others}");
        let mut out = String::new();
        convert(Box::new(std::io::Cursor::new(text))).read_to_string(&mut out).unwrap();
        assert_eq!(out, format!("1,x,y\n2,x,y\n3,x,y\n{others}4,x,y\n{others}"));
    }

    #[test]
    fn lines_before_and_right_behind_the_objects_are_kept() {
        let text = "a line\n[another\n]\n{\"flowTuples\":[\"1,x,y\"]}\"a\",\"b\"\n{\"c\":1}\n";
        let mut out = String::new();
        convert(Box::new(std::io::Cursor::new(text))).read_to_string(&mut out).unwrap();
        assert_eq!(out, "1,x,y\na line\n\"a\",\"b\"\n{\"c\":1}\n");
    }

    #[test]
    fn a_text_without_its_beginning_or_end_is_cut() {
        let text = r#"{"records":[{"flowTuples":["1,x,y","2,x,y"]}],"x":"\"[{"}"#;
        let is_cut = |text: &str| {
            let mut out = String::new();
            convert(Box::new(std::io::Cursor::new(text.to_owned())))
                .read_to_string(&mut out)
                .unwrap();
            out.as_bytes().ends_with(CUT)
        };
        assert!(!is_cut(text));
        for at in 1..text.len() {
            assert!(is_cut(&text[at..]), "{}", &text[at..]);
            assert!(is_cut(&text[..at]), "{}", &text[..at]);
        }
        assert_eq!(shown(std::str::from_utf8(CUT.trim_ascii()).unwrap()), "Broken");
    }
}
