//! conn.log of Zeek (and Bro): a line for each connection when it has ended, as columns between tabs
//! or as a JSON object.
//!
//! The fields and states are those of Zeek's manual (base/protocols/conn/main.zeek). The originator
//! is the client. `OTH` is a connection whose beginning Zeek did not see.
//!
//! The package zeek-long-connections writes a line of the same columns to conn_long.log each time that an open connection
//! has become longer, so there a `uid` counts once.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use memchr::memmem;
use serde_json::{Map, Value};

use super::columns::each_tabbed;
use super::cursor::Cursor;
use super::decoration::layers::first_lines;
use super::digits::number;
use super::host::{Ends, Host};
use super::input::{Input, common_name};
use super::line_log::{self, Event, LineLog, ParsedLine};
use super::reader::{Context, RecordFormat};
use super::requests::WrittenFor;
use super::timestamp::Stamp;
use crate::Transport;

/// Zeek's log of connections.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "zeek",
    about: "conn.log of Zeek, in columns or JSON",
    connection: "a TCP connection whose beginning Zeek saw",
    is_text: true,
    is_json: true,
    is_snapshot: false,
    recognise: line_log::recognise::<ByLine>,
    run: |_| Some(String::new()),
    read,
};

/// The columns that are used.
const NAMES: [&str; 11] = [
    "ts",
    "id.orig_h",
    "id.orig_p",
    "id.resp_h",
    "id.resp_p",
    "proto",
    "conn_state",
    "duration",
    "orig_bytes",
    "resp_bytes",
    "uid",
];

/// Where they are by default, and what is in a line of them. Columns beside these differ from version to version.
const DEFAULT_COLUMNS: [Option<usize>; NAMES.len()] = [
    Some(0),
    Some(2),
    Some(3),
    Some(4),
    Some(5),
    Some(6),
    Some(11),
    Some(8),
    Some(9),
    Some(10),
    Some(1),
];

/// The place of `uid` in [`NAMES`].
const UID: usize = 10;

/// States of connections.
const STATES: [&[u8]; 13] = [
    b"S0", b"S1", b"SF", b"REJ", b"S2", b"S3", b"RSTO", b"RSTR", b"RSTOS0", b"RSTRH", b"SH",
    b"SHR", b"OTH",
];

/// Logs of which each line in columns counts.
type ByLine = Zeek<false>;
/// Logs with conn_long.log among them, of which each `uid` counts once. That costs time.
type ByUid = Zeek<true>;

/// Where the columns of a log are, in the order of [`NAMES`].
struct Zeek<const BY_UID: bool> {
    columns: Option<[Option<usize>; NAMES.len()]>,
    /// What each column is, as a place in [`NAMES`].
    places: Vec<Option<usize>>,
}

/// The values of a line, in the order of [`NAMES`]. `-` is no value.
type Values<'a> = [Option<&'a [u8]>; NAMES.len()];

/// The columns that the header line `#fields` names; `None` for other lines and other logs.
fn columns(line: &[u8]) -> Option<[Option<usize>; NAMES.len()]> {
    let names: Vec<&[u8]> = line.strip_prefix(b"#fields\t")?.split(|b| *b == b'\t').collect();
    let find = |name: &str| names.iter().position(|n| is_same_name(n.trim_ascii(), name));
    let columns = NAMES.map(find);
    // Other logs of Zeek have the ends too.
    columns[..7].iter().all(Option::is_some).then_some(columns)
}

/// Whether a line has the default columns of conn.log: the log may have lost its header, as by `grep -v '^#'`.
fn has_default_columns(line: &[u8]) -> bool {
    let cells: Vec<&[u8]> = line.split(|b| *b == b'\t').map(<[u8]>::trim_ascii).collect();
    let [ts, _, orig, orig_port, resp, resp_port, proto, _, _, _, _, state, ..] = cells[..] else {
        return false;
    };
    let is_time = ts.first().is_some_and(u8::is_ascii_digit) && stamp(ts).is_some();
    is_time
        && [orig, resp].iter().all(|host| Host::address(host).is_some())
        && [orig_port, resp_port].iter().all(|port| number::<u16>(port).is_some())
        && [&b"tcp"[..], b"udp", b"icmp", b"unknown_transport"].contains(&proto)
        && STATES.contains(&state)
}

/// Whether `head` has columns between tabs with addresses and a protocol or a state, as zeek-cut prints those that it is
/// asked for. It leaves out their names unless `-c` or `-C` is given.
pub(super) fn is_cut(head: &[u8]) -> bool {
    let lines = first_lines(head);
    let is_cut = |line: &&[u8]| {
        let mut cells = line.split(|b| *b == b'\t').map(<[u8]>::trim_ascii);
        let is_word = |cell: &[u8]| STATES.contains(&cell) || matches!(cell, b"tcp" | b"udp");
        cells.clone().any(is_word) && cells.any(|cell| Host::address(cell).is_some())
    };
    !lines.is_empty() && lines.iter().all(is_cut)
}

/// Whether `name` is that of a field, with any separator of `Log::default_scope_sep`.
fn is_same_name(name: &[u8], field: &str) -> bool {
    let same = |(a, b): (&u8, u8)| *a == b || b == b'.' && a.is_ascii_punctuation();
    name.len() == field.len() && name.iter().zip(field.bytes()).all(same)
}

impl<const BY_UID: bool> LineLog for Zeek<BY_UID> {
    fn of(lines: &[&[u8]]) -> Zeek<BY_UID> {
        let by_name = lines.iter().find_map(|line| columns(line));
        let by_content = || lines.iter().any(|line| has_default_columns(line));
        let columns = by_name.or_else(|| by_content().then_some(DEFAULT_COLUMNS));
        let known = columns.unwrap_or_default();
        let width = known.iter().flatten().max().map_or(0, |last| last + 1);
        let used = if BY_UID { &known[..] } else { &known[..UID] };
        let place = |at: usize| used.iter().position(|column| *column == Some(at));
        Zeek { columns, places: (0..width).map(place).collect() }
    }

    fn parse_line(&self, line: &[u8]) -> ParsedLine {
        self.parse(line, true)
    }

    fn parse_ends(&self, line: &[u8]) -> ParsedLine {
        self.parse(line, false)
    }

    fn is_own(&self, line: &[u8]) -> bool {
        let (Some(first), true) = (line.first(), self.columns.is_some()) else { return false };
        let (values, _) = self.values(line);
        let [ts, orig, orig_port, resp, resp_port, ..] = values;
        let is_address = |value: Option<&[u8]>| value.is_some_and(|v| Host::address(v).is_some());
        let is_port = |value: Option<&[u8]>| value.is_some_and(|v| number::<u16>(v).is_some());
        first.is_ascii_digit()
            && ts.is_some_and(|ts| Cursor(ts).seconds().is_some())
            && is_address(orig)
            && is_address(resp)
            && is_port(orig_port)
            && is_port(resp_port)
    }
}

impl<const BY_UID: bool> Zeek<BY_UID> {
    /// The values of a line in columns, in the order of [`NAMES`], and how many columns it has, as far as
    /// they are used.
    fn values<'a>(&self, line: &'a [u8]) -> (Values<'a>, usize) {
        let mut values: Values<'a> = [None; NAMES.len()];
        let mut places = self.places.iter();
        each_tabbed(line, |column| {
            let Some(place) = places.next() else { return false };
            if let Some(place) = place {
                values[*place] = Some(column.trim_ascii());
            }
            true
        });
        (values, self.places.len() - places.len())
    }

    /// Reads a line. Values beside the ends and the time are read `with_statistics` only.
    fn parse(&self, line: &[u8], with_statistics: bool) -> ParsedLine {
        match line.first() {
            Some(b'{') => json(line, with_statistics),
            Some(b'#') if self.columns.is_some() => match columns(line) {
                // Logs with other columns, one behind the other.
                Some(columns) if self.columns != Some(columns) => ParsedLine::Broken,
                _ => ParsedLine::Other,
            },
            Some(_) => {
                if self.columns.is_none() {
                    return ParsedLine::Foreign;
                }
                let (values, width) = self.values(line);
                let Some(stamp) = values[0].and_then(stamp).filter(|_| width >= 7) else {
                    return if width > 1 { ParsedLine::Broken } else { ParsedLine::Foreign };
                };
                flow(stamp, &values, with_statistics)
            }
            None => ParsedLine::Foreign,
        }
    }
}

/// A time in seconds since 1970, or in ISO 8601.
fn stamp(ts: &[u8]) -> Option<Stamp> {
    let mut cursor = Cursor(ts);
    // No year has five digits.
    let is_date = !ts.iter().take(5).all(u8::is_ascii_digit);
    let date = is_date.then(|| cursor.iso()).flatten();
    date.or_else(|| cursor.seconds().map(Stamp::Epoch))
}

/// The value of a member, whose points may be written as `_`, or stand for a member of a member.
fn get<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let is_same = |(key, _): &(&String, &Value)| is_same_name(key.as_bytes(), name);
    let nested = || {
        let (outer, inner) = name.split_once('.')?;
        object.get(outer)?.as_object()?.get(inner)
    };
    let renamed = || object.iter().find(is_same).map(|(_, value)| value);
    object.get(name).or_else(nested).or_else(renamed)
}

/// Whether an object is of conn.log.
fn is_connection(object: &Map<String, Value>) -> bool {
    ["id.orig_h", "proto", "conn_state"].iter().all(|name| get(object, name).is_some())
}

/// Reads an object.
fn json(line: &[u8], with_statistics: bool) -> ParsedLine {
    if memmem::find(line, b"\"conn_state\"").is_none() && memmem::find(line, b"orig_h\"").is_none()
    {
        return ParsedLine::Foreign;
    }
    let Ok(object) = serde_json::from_slice::<Map<String, Value>>(line) else {
        return ParsedLine::Broken;
    };
    // Kafka's writer puts the object into one of the name of the log.
    let inner = object.values().filter_map(Value::as_object).find(|inner| is_connection(inner));
    let object = inner.unwrap_or(&object);
    if !is_connection(object) {
        // An object of another log of Zeek.
        return match memmem::find(line, b"\"conn_state\"") {
            Some(_) => ParsedLine::Broken,
            None => ParsedLine::Foreign,
        };
    }
    let get = |name: &str| get(object, name);
    let texts = NAMES.map(|name| match get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    });
    let values = texts.each_ref().map(|text| text.as_deref().map(str::as_bytes));
    flow(values[0].and_then(stamp).unwrap_or(Stamp::None), &values, with_statistics)
}

fn flow(stamp: Stamp, values: &Values<'_>, with_statistics: bool) -> ParsedLine {
    // `-` is no value.
    let value = |n: usize| values[n].filter(|value| *value != b"-");
    let (protocol, state) = (value(5), value(6));
    if protocol.is_some_and(|p| p != b"tcp") {
        return ParsedLine::Other;
    }
    let established = match state {
        Some(b"S1" | b"S2" | b"S3" | b"SF" | b"RSTO" | b"RSTR") => Some(true),
        Some(b"S0" | b"REJ" | b"RSTOS0" | b"RSTRH" | b"SH" | b"SHR") => Some(false),
        Some(b"OTH") => return ParsedLine::Midstream,
        _ => None,
    };
    let ends = || {
        Some(Ends {
            client: Host::address(value(1)?)?,
            client_port: Some(number(value(2)?)?),
            server: Host::address(value(3)?)?,
            server_port: Some(number(value(4)?)?),
        })
    };
    let Some(ends) = ends() else { return ParsedLine::Broken };
    let uid = value(UID).map(hash);
    if !with_statistics && uid.is_none() {
        return ParsedLine::Ends(stamp, ends, established);
    }
    let mut event = Event::new(stamp, ends, established);
    if uid.is_some() {
        event.written_for = WrittenFor::Start(uid);
    }
    let seconds = value(7).and_then(|d| std::str::from_utf8(d).ok()?.parse().ok());
    event.more.transport = Some(Box::new(Transport {
        duration: seconds.and_then(|s| Duration::try_from_secs_f64(s).ok()),
        bytes_in: value(8).and_then(number),
        bytes_out: value(9).and_then(number),
        ..Transport::default()
    }));
    event.parsed()
}

fn hash(uid: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    uid.hash(&mut hasher);
    hasher.finish()
}

/// Whether it is conn_long.log, by its line `#path` or its name.
fn is_of_long_connections(input: &Input) -> bool {
    const PATH: &[u8] = b"conn_long";
    [input.head(), input.name().as_bytes()].iter().any(|text| memmem::find(text, PATH).is_some())
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let name = common_name(inputs.iter());
    if inputs.iter().any(is_of_long_connections) {
        line_log::read::<ByUid>(inputs, cx);
    } else {
        line_log::read::<ByLine>(inputs, cx);
    }
    cx.status.warn(format!(
        "{name}: Zeek writes a connection when it has ended, so those that were still open are not in \
         the log; attempts that were refused or never answered count too"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &[u8] =
        b"#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\t\
        duration\torig_bytes\tresp_bytes\tconn_state";

    fn shown(zeek: &ByLine, line: &str) -> String {
        match zeek.parse_line(line.as_bytes()) {
            ParsedLine::Connection(e) => format!(
                "{:?} {:?} {:?} {:?}",
                e.stamp,
                e.ends.server_port.unwrap(),
                e.established,
                e.more.transport.unwrap().duration.unwrap_or_default()
            ),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_cut_line_whose_time_is_in_a_late_column_is_broken() {
        let fields =
            b"#fields\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tconn_state\tuid\tts";
        let zeek = ByLine::of(&[fields]);
        let cut = "198.51.100.7\t40755\t192.0.2.77\t443\ttcp\tSF\tCx1";
        assert_eq!(shown(&zeek, cut), "Broken");
        let whole = format!("{cut}\t1795345122.5");
        assert!(shown(&zeek, &whole).starts_with("Epoch("), "{}", shown(&zeek, &whole));
    }

    #[test]
    fn columns_and_objects_are_the_same_connections() {
        let zeek = ByLine::of(&[b"#separator \\x09", FIELDS]);
        let row = |proto: &str, state: &str| {
            format!(
                "1795345122.200113\tCx1\t198.51.100.7\t40755\t192.0.2.77\t443\t{proto}\tssl\t1.500000\t9\t\
                 8\t{state}"
            )
        };
        let want = |established| format!("Epoch(1795345122200113000) 443 {established} 1.5s");
        assert_eq!(shown(&zeek, &row("tcp", "SF")), want("Some(true)"));
        assert_eq!(shown(&zeek, &row("tcp", "S0")), want("Some(false)"));
        assert_eq!(shown(&zeek, &row("tcp", "OTH")), "Midstream");
        assert_eq!(shown(&zeek, &row("udp", "SF")), "Other");
        assert_eq!(shown(&zeek, &row("tcp", "SF")[..50]), "Broken");
        assert_eq!(shown(&zeek, "#close\t2026-11-22-11-00-00"), "Other");
        for ts in ["1795345122.200113", "\"2026-11-22T10:58:42.200113Z\""] {
            let line = format!(
                "{{\"ts\":{ts},\"uid\":\"Cx1\",\"id.orig_h\":\"198.51.100.7\",\"id.orig_p\":40755,\
                 \"id.resp_h\":\"192.0.2.77\",\"id.resp_p\":443,\"proto\":\"tcp\",\"duration\":1.5,\
                 \"conn_state\":\"SF\"}}"
            );
            assert_eq!(shown(&zeek, &line), want("Some(true)"));
            assert_eq!(shown(&zeek, &line[..120]), "Broken");
        }
    }

    #[test]
    fn names_have_any_separator_of_scopes() {
        let fields = String::from_utf8(FIELDS.to_vec()).unwrap().replace("id.", "id_");
        let zeek = ByLine::of(&[fields.as_bytes()]);
        let row = "1795345122.5\tC\t198.51.100.7\t40755\t192.0.2.77\t443\ttcp\t-\t1.5\t9\t8\tSF";
        assert!(shown(&zeek, row).starts_with("Epoch("));
        let object = r#"{"ts":1795345122.5,"id_orig_h":"198.51.100.7","id_orig_p":1,"id_resp_h":"192.0.2.77","id_resp_p":443,"proto":"tcp","conn_state":"SF"}"#;
        assert!(shown(&zeek, object).starts_with("Epoch("));
    }

    #[test]
    fn ends_may_be_members_of_a_member() {
        let object = br#"{"ts":1795345122.5,"uid":"C","id":{"orig_h":"198.51.100.7","orig_p":1,"resp_h":"192.0.2.77","resp_p":443},"proto":"tcp","conn_state":"SF"}"#;
        assert!(line_log::recognise::<ByLine>(object));
        let read = shown(&ByLine::of(&[object]), std::str::from_utf8(object).unwrap());
        assert!(read.starts_with("Epoch("), "{read}");
    }

    #[test]
    fn the_default_columns_are_known_without_their_header() {
        let row =
            "1795345122.5\tC\t198.51.100.7\t40755\t192.0.2.77\t443\ttcp\t-\t1.5\t9\t8\tSF\tT\tF";
        assert!(line_log::recognise::<ByLine>(row.as_bytes()));
        let zeek = ByLine::of(&[row.as_bytes()]);
        assert!(shown(&zeek, row).starts_with("Epoch("), "{}", shown(&zeek, row));
        assert_eq!(shown(&zeek, &row[..45]), "Broken");
        // Of dns.log, and of another order.
        let dns = row.replace("\t-\t1.5\t9\t8\tSF", "\t4711\t-\texample.org\t1\tC_INTERNET");
        for other in [dns, row.replace("\tC\t", "\t")] {
            assert!(!line_log::recognise::<ByLine>(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn other_logs_of_zeek_are_not_recognised() {
        let dns =
            b"#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\ttrans_id\n";
        assert!(!line_log::recognise::<ByLine>(dns));
        let dns = b"{\"ts\":1.5,\"id.orig_h\":\"192.0.2.1\",\"proto\":\"udp\",\"query\":\"x\"}\n";
        assert!(!line_log::recognise::<ByLine>(dns));
    }
}
