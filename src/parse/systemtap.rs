//! The text of the well-known SystemTap script that prints a line for each accept and, when it
//! ends, how many there were from each address.

use std::collections::HashMap;

use super::cursor::Cursor;
use super::gaps::{self, Gaps};
use super::host::{Ends, Host};
use super::input::Input;
use super::lines;
use super::reader::{Context, RecordFormat};
use super::timestamp::{Calendar, Stamp};
use crate::model::plural;
use crate::{Connection, ShortfallKind, Sink};

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

/// Maximum number of addresses whose connections are compared with a summary.
const MAX_ADDRESSES: usize = 1 << 20;

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

/// Whether a text has the heading of a summary.
pub(super) fn has_summary(text: &[u8]) -> bool {
    let mut found = false;
    lines::each(text, |one, _| found = found || line(one) == Line::Summary);
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
    let mut gaps = Gaps::default();
    let end = gaps::blocks(&mut input, &mut gaps, |text, _| {
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
    record.finish(sink);
    let name = input.name();
    cx.status.record_shortfall(
        ShortfallKind::UnreadInput,
        record.differing,
        format!(
            "{name}: a summary and the lines before it differ in {}, so they may be of different runs; put each run \
             into a file of its own",
            plural(record.differing, "connection", "connections")
        ),
    );
    cx.status.record_unreadable_lines(name, record.unreadable());
    gaps.report(name, cx.status);
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
    has_summary: bool,
    broken: u64,
    /// The lines of all runs so far, by address. In a file that was sorted all counts come before them.
    all: Addresses,
    /// Those of the run that is read.
    run: Addresses,
    /// The counts of its summary, and whether this has begun.
    summary: Addresses,
    is_in_summary: bool,
    /// Counts before the heading of the first summary.
    early: Addresses,
    /// Connections of summaries that differ from the lines of their run.
    differing: u64,
}

/// Numbers of connections by address.
#[derive(Default)]
struct Addresses {
    counts: HashMap<Host, u64>,
    /// Connections of addresses that are not remembered.
    others: u64,
}

impl Addresses {
    fn add(&mut self, host: Host, count: u64) {
        if self.counts.len() < MAX_ADDRESSES || self.counts.contains_key(&host) {
            let sum = self.counts.entry(host).or_default();
            *sum = sum.saturating_add(count);
        } else {
            self.others = self.others.saturating_add(count);
        }
    }

    fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Whether no address is in both.
    fn is_apart(&self, other: &Addresses) -> bool {
        self.others == 0 && !self.counts.keys().any(|host| other.counts.contains_key(host))
    }

    /// How many connections of `self` are not in `other`, by address.
    fn beyond(&self, other: &Addresses) -> Vec<(&Host, u64)> {
        let beyond = |(host, count): (&'_ Host, &u64)| {
            count.saturating_sub(other.counts.get(host).copied().unwrap_or(0))
        };
        let more = self.counts.iter().map(|(host, count)| (host, beyond((host, count))));
        more.filter(|(_, count)| *count > 0).collect()
    }

    /// Number of connections that are in one of both only.
    fn difference(&self, other: &Addresses) -> u64 {
        let sum = |more: Vec<(&Host, u64)>| {
            more.into_iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(count))
        };
        let both = sum(self.beyond(other)).saturating_add(sum(other.beyond(self)));
        both.saturating_add(self.others).saturating_add(other.others)
    }
}

impl Record {
    fn take(&mut self, line: Line, calendar: &mut Calendar, sink: &mut dyn Sink) {
        match line {
            Line::Event(stamp, client) => {
                self.end_run(sink);
                self.run.add(client.clone(), 1);
                self.all.add(client.clone(), 1);
                let time = calendar.record_time(stamp);
                sink.take(Connection { time, ..self.connection(client) });
            }
            Line::Summary => {
                self.end_run(sink);
                (self.has_summary, self.is_in_summary) = (true, true);
            }
            Line::Count(client, count) if self.is_in_summary => self.summary.add(client, count),
            Line::Count(client, count) => self.early.add(client, count),
            Line::Broken => self.broken += 1,
            Line::Other => {}
        }
    }

    /// Ends a run if its summary has begun. The summary describes the connections of the run's lines. Without these, or
    /// if they are of other addresses, it is that of another run.
    fn end_run(&mut self, sink: &mut dyn Sink) {
        if !std::mem::take(&mut self.is_in_summary) {
            return;
        }
        let (run, summary) = (std::mem::take(&mut self.run), std::mem::take(&mut self.summary));
        for (client, count) in summary.beyond(&run) {
            for _ in 0..count {
                sink.take(self.connection(client.clone()));
            }
        }
        let is_apart = summary.is_apart(&run) && run.others == 0;
        self.differing += if is_apart { summary.others } else { summary.difference(&run) };
    }

    /// Ends the record.
    fn finish(&mut self, sink: &mut dyn Sink) {
        self.end_run(sink);
        if !self.early.is_empty() && !self.all.is_empty() {
            self.differing += self.early.difference(&self.all);
        }
    }

    fn connection(&self, client: Host) -> Connection {
        let server = Host::Name("".into());
        Ends { client, client_port: None, server, server_port: self.port }.connection()
    }

    /// Number of lines that could not be read, at the end.
    fn unreadable(&self) -> u64 {
        // With a summary and no events, the lines were sorted.
        let is_sorted = self.has_summary && self.all.is_empty();
        self.broken + if is_sorted { self.early.counts.len() as u64 + self.early.others } else { 0 }
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
