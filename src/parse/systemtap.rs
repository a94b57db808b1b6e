//! The text of the well-known SystemTap script that prints a line for each accept and, when it
//! ends, how many there were from each address.

use super::cursor::Cursor;
use super::host::{Ends, Host};
use super::input::Input;
use super::lines;
use super::reader::{Context, RecordFormat};
use super::timestamp::{Calendar, Stamp};
use crate::{Connection, Sink};

/// SystemTap's text.
pub(super) const FORMAT: RecordFormat = RecordFormat {
    name: "systemtap",
    about: "text of a SystemTap script that prints new connections",
    connection: "a line for a new connection",
    is_text: true,
    is_json: false,
    is_snapshot: false,
    recognise,
    run: |_| None,
    read,
};

const NEW: &[u8] = b"New connection from ";
const SUMMARY: &[u8] = b"=== Summary ===";

/// More of one address is no count but damage.
const MAX_COUNT: u64 = 1 << 32;

#[derive(Debug, PartialEq, Eq)]
enum Line {
    Event(Stamp, Host),
    Summary,
    Count(Host, u64),
    Broken,
    Other,
}

fn line(text: &[u8]) -> Line {
    let text = text.strip_prefix(b"^C").unwrap_or(text).trim_ascii();
    if text.starts_with(SUMMARY) {
        return Line::Summary;
    }
    if let Some(at) = memchr::memmem::find(text, NEW) {
        let mut cursor = Cursor(text);
        let stamp = cursor.ctime().or_else(|| cursor.iso()).unwrap_or(Stamp::None);
        return match Host::address(text[at + NEW.len()..].trim_ascii()) {
            Some(host) => Line::Event(stamp, host),
            None => Line::Broken,
        };
    }
    // An address has colons too.
    let Some(at) = memchr::memmem::rfind(text, b": ") else { return Line::Other };
    let count = std::str::from_utf8(&text[at + 2..]).ok().and_then(|n| n.trim().parse().ok());
    match (Host::address(&text[..at]), count) {
        (Some(host), Some(count)) if count < MAX_COUNT => Line::Count(host, count),
        (Some(_), _) => Line::Broken,
        _ => Line::Other,
    }
}

/// Whether `text` may be the beginning of an address.
fn is_part_of_address(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b'.' | b':'))
}

fn recognise(head: &[u8]) -> bool {
    let mut found = false;
    lines::each(head, |text, _| {
        found = found || matches!(line(text), Line::Event(..) | Line::Summary);
    });
    found
}

fn stamp(text: &[u8]) -> Stamp {
    match line(text) {
        Line::Event(stamp, _) => stamp,
        _ => Stamp::None,
    }
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    for input in inputs {
        read_one(input, cx);
    }
}

fn read_one(mut input: Input, cx: &mut Context<'_>) {
    let mut calendar = Calendar::new(&mut input, cx, &stamp);
    let mut record = Record { port: cx.options.port, ..Record::default() };
    let sink = &mut *cx.sink;
    let end = lines::blocks(&mut input, |text, _| {
        let is_whole = text.ends_with(b"\n");
        lines::each(text, |one, at| {
            let may_be_cut = !is_whole && at + one.len() == text.len();
            match line(one) {
                // An address or a number without its end.
                Line::Event(..) | Line::Count(..) if may_be_cut => record.broken += 1,
                Line::Other if may_be_cut && is_part_of_address(one) => record.broken += 1,
                read => record.take(read, &mut calendar, sink),
            }
        });
    });
    let name = input.name();
    cx.status.record_unreadable_lines(name, record.unreadable());
    if let Some(port) = record.port {
        cx.status.warn(format!(
            "{name}: this record does not contain the local port; all its connections are taken to be to {port}"
        ));
    }
    if let Err(e) = end {
        cx.record_read_error(&input, e);
    }
}

/// What is known from one line of an input to the next.
#[derive(Default)]
struct Record {
    /// The server's port, as the options have it.
    port: Option<u16>,
    has_events: bool,
    has_summary: bool,
    broken: u64,
    /// Counts before the heading of the summary.
    early: u64,
}

impl Record {
    fn take(&mut self, line: Line, calendar: &mut Calendar, sink: &mut dyn Sink) {
        match line {
            Line::Event(stamp, client) => {
                self.has_events = true;
                let time = calendar.record_time(stamp);
                sink.take(Connection { time, ..self.connection(client) });
            }
            Line::Summary => self.has_summary = true,
            // It describes the same connections as the events.
            Line::Count(client, count) if self.has_summary && !self.has_events => {
                for _ in 0..count {
                    sink.take(self.connection(client.clone()));
                }
            }
            Line::Count(..) if !self.has_summary => self.early += 1,
            Line::Broken => self.broken += 1,
            Line::Count(..) | Line::Other => {}
        }
    }

    fn connection(&self, client: Host) -> Connection {
        let server = Host::Name("".into());
        Ends { client, client_port: None, server, server_port: self.port }.connection()
    }

    /// Number of lines that could not be read, at the end.
    fn unreadable(&self) -> u64 {
        // With a summary and no events, the lines were sorted.
        let is_sorted = self.has_summary && !self.has_events;
        self.broken + if is_sorted { self.early } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_events_summaries_counts_or_broken() {
        let host = |s: &str| s.parse::<Host>().unwrap();
        assert!(matches!(
            line(b"^CSun Nov  2 10:58:47 2026 New connection from 2001:db8::1"),
            Line::Event(Stamp::Civil(..), h) if h == host("2001:db8::1")
        ));
        assert_eq!(line(b"^C=== Summary ==="), Line::Summary);
        assert_eq!(line(b"2001:0db8:0:0:0:0:0:1: 4"), Line::Count(host("2001:db8::1"), 4));
        assert_eq!(line(b"Sun Nov 22 10:59:29 2026 New connection from 198."), Line::Broken);
        assert_eq!(line(b"198.51.100.4: 8$"), Line::Broken);
        assert_eq!(line(b"hello: 4"), Line::Other);
    }
}
