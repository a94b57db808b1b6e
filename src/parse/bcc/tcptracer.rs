//! Output of tcptracer, which has a line for each connect, accept and close. Accepts count.

use super::table::{self, Columns, Row};
use crate::Connection;
use crate::parse::digits::number;
use crate::parse::host::{Ends, Host};
use crate::parse::input::Input;
use crate::parse::reader::{Context, RecordFormat};

/// tcptracer's text.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "tcptracer",
    about: "text of bcc's tcptracer",
    connection: "an accepted connection (A)",
    is_text: true,
    is_json: false,
    is_snapshot: false,
    recognise: |head| table::has_header(head, header) || columns_of_rows(head).is_some(),
    run: |_| None,
    read,
};

fn header(line: &[u8]) -> Option<Columns> {
    let columns = Columns::of(line, &["SADDR", "DADDR", "SPORT", "DPORT"])?;
    event_column(&columns).map(|_| columns)
}

/// The columns of the versions, for a text without a header: with `-t` a time comes first, with `-v` the name of the event,
/// and the namespace last.
const HEADERS: &[&str] = &[
    "T PID COMM IP SADDR DADDR SPORT DPORT",
    "TIME(s) T PID COMM IP SADDR DADDR SPORT DPORT",
    "TIME(ns) T PID COMM IP SADDR DADDR SPORT DPORT",
    "TYPE PID COMM IP SADDR DADDR SPORT DPORT NETNS",
    "TIME(ns) TYPE PID COMM IP SADDR DADDR SPORT DPORT NETNS",
];

fn columns_of_rows(head: &[u8]) -> Option<Columns> {
    let is_row = |columns: &Columns, row: &Row<'_>| {
        let is_number =
            |name| row.get(columns.find(name)).is_none_or(|word| number::<u64>(word).is_some());
        event(columns, row).is_some()
            && ends(columns, row).is_some()
            && is_number("NETNS")
            && is_number("TIME(ns)")
    };
    table::columns_of_rows(head, HEADERS, is_row)
}

/// The column of the letter, or with `-v` of the word, that names the event.
fn event_column(columns: &Columns) -> Option<usize> {
    columns.find("T").or_else(|| columns.find("TYPE"))
}

enum Event {
    Accept(Ends, Option<u32>),
    Other,
}

fn event(columns: &Columns, row: &Row<'_>) -> Option<Event> {
    match row.at(event_column(columns)?) {
        b"A" | b"accept" => {}
        b"C" | b"X" | b"U" | b"-" | b"connect" | b"close" | b"unknown" => {
            return Some(Event::Other);
        }
        _ => return None,
    }
    Some(Event::Accept(ends(columns, row)?, row.get(columns.find("PID")).and_then(number)))
}

/// The ends of a line, as if it were of an accept.
fn ends(columns: &Columns, row: &Row<'_>) -> Option<Ends> {
    // IPv6 addresses are in brackets.
    let host = |text: &[u8]| {
        let inside = text.strip_prefix(b"[").and_then(|text| text.strip_suffix(b"]"));
        Host::address(inside.unwrap_or(text))
    };
    let port = |name| number(row.at(columns.find(name)?));
    Some(Ends {
        client: host(row.at(columns.find("DADDR")?))?,
        client_port: Some(port("DPORT")?),
        server: host(row.at(columns.find("SADDR")?))?,
        server_port: Some(port("SPORT")?),
    })
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let local = cx.options.local.clone();
    for mut input in inputs {
        table::read(&mut input, cx, header, Some(columns_of_rows), |columns, row, time, sink| {
            match event(columns, row) {
                Some(Event::Accept(ends, pid)) if ends.inbound(&local) => {
                    let comm = Some(row.comm());
                    sink.take(Connection { time, pid, comm, ..ends.connection() });
                    true
                }
                read => read.is_some(),
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_without_a_header_are_known_by_their_values() {
        let of = |text: &str| columns_of_rows(text.as_bytes());
        let row = "A  907    my sshd          4  192.0.2.77       198.51.100.7     22     40001\n";
        let ipv6 = "C  907    curl             6  [2001:db8::1]    [2001:db8::2]    40001  443\n";
        assert_eq!(of(row), header(HEADERS[0].as_bytes()));
        assert_eq!(of(&format!("damaged\n{ipv6}{row}")), header(HEADERS[0].as_bytes()));
        assert_eq!(of(&format!("0.123 {row}")), header(HEADERS[1].as_bytes()));
        assert_eq!(of(&format!("123456789 {row}")), header(HEADERS[2].as_bytes()));
        let verbose = row.replace("A ", "accept ").replace("40001", "40001 4026531969");
        assert_eq!(of(&verbose), header(HEADERS[3].as_bytes()));
        for other in [
            row.replace("A ", "B "),
            row.replace(" 4 ", " 5 "),
            row.replace("40001", "x"),
            String::new(),
        ] {
            assert_eq!(of(&other), None, "{other}");
        }
    }
}
