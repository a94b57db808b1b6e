//! Lines of netfilter's LOG target and nftables' `log`, in every log that they may get to.

pub mod body;
pub mod frame;
pub mod journal;

use memchr::memmem;

use self::body::Body;
use self::journal::Entry;
use super::context::Context;
use super::fold::{Fold, Sighting};
use super::input::Input;
use super::lines;
use super::recognise::Kind;
use super::when::{Calendar, Stamp};
use crate::Connection;

/// Kernel logs with LOG lines.
pub const KIND: Kind = Kind {
    name: "netfilter",
    about: "kernel log with lines of iptables LOG or nftables log",
    recognise,
    run: |_| Some(String::new()),
    read,
};

/// More than this is no JSON object of the journal.
const OBJECT: usize = 1024 * 1024;

fn recognise(head: &[u8]) -> bool {
    let mut found = false;
    lines::each(head, |line, _| found = found || is_log_line(line));
    found
}

fn is_log_line(line: &[u8]) -> bool {
    let Some(at) = body::find(line) else { return false };
    let body = &line[at..];
    [&b" SRC="[..], b" DST=", b" LEN="].iter().all(|field| memmem::find(body, field).is_some())
}

fn stamp(line: &[u8]) -> Stamp {
    frame::split(line).0
}

fn read(mut inputs: Vec<Input>, cx: &mut Context<'_>) {
    let mut fold = Fold::new(cx);
    let mut calendars: Vec<(Calendar, Input)> =
        inputs.drain(..).map(|mut input| (Calendar::new(&mut input, cx, &stamp), input)).collect();
    // Rotated logs come in any order; what is sent again may be in the next of them.
    calendars.sort_by_cached_key(|(calendar, input)| {
        let mut first = Stamp::None;
        lines::each(input.head(), |line, _| {
            if first == Stamp::None {
                first = stamp(line);
            }
        });
        calendar.peek(first)
    });
    let name = super::common_name(calendars.iter().map(|(_, input)| input));
    for (calendar, mut input) in calendars {
        let mut log = Log {
            calendar,
            entry: None,
            object: None,
            broken: 0,
            missed: false,
            fold: &mut fold,
            give: &mut |connection| cx.sink.take(connection),
        };
        let end = lines::blocks(&mut input, |text, _| log.block(text));
        log.end();
        let (broken, missed) = (log.broken, log.missed);
        cx.account.unreadable_lines += broken;
        if missed {
            cx.account.complete = false;
            cx.account.warn(format!(
                "{}: the log says that messages were lost or suppressed on the way into it; \
                 connections may be missing",
                input.name()
            ));
        }
        if let Err(e) = end {
            cx.broken(&input, &e);
        }
    }
    fold.finish(&name, cx.account, &mut |connection| cx.sink.take(connection));
}

/// One log, line by line.
struct Log<'a> {
    calendar: Calendar,
    /// An entry of the journal whose fields come line by line.
    entry: Option<Entry>,
    /// A JSON object that goes over many lines.
    object: Option<Vec<u8>>,
    broken: u64,
    missed: bool,
    fold: &'a mut Fold,
    give: &'a mut dyn FnMut(Connection),
}

impl Log<'_> {
    fn block(&mut self, text: &[u8]) {
        self.missed |= memmem::find(text, b" kernel messages").is_some()
            && memmem::find(text, b"Missed ").is_some()
            || memmem::find(text, b"messages lost due to rate-limiting").is_some();
        lines::each(text, |line, _| self.line(line));
        // The last line may have been cut.
        if !text.ends_with(b"\n") && !text.ends_with(b"\0") {
            let start = memchr::memrchr2(b'\n', 0, text).map_or(0, |n| n + 1);
            let last = &text[start..];
            if is_log_line(last)
                && memmem::find(last, b" URGP=").is_none()
                && memmem::find(last, b" PROTO=TCP").is_some()
            {
                self.broken += 1;
            }
        }
    }

    fn line(&mut self, line: &[u8]) {
        if self.object.is_some() {
            self.in_object(line);
            return;
        }
        match line.first() {
            None | Some(b'\r') => self.end(),
            Some(b'{' | b'd' | 0x1e) => {
                let object = line.strip_prefix(b"\x1e").unwrap_or(line);
                let object = object.strip_prefix(b"data: ").unwrap_or(object);
                if object.trim_ascii() == b"{" {
                    self.object = Some(object.to_vec());
                } else if object.starts_with(b"{") {
                    self.json(object);
                } else {
                    self.text(line);
                }
            }
            Some(b'_' | b'A'..=b'Z') if self.entry.is_some() || line.starts_with(b"__") => {
                if line.starts_with(b"__CURSOR=") {
                    self.end();
                }
                let entry = self.entry.get_or_insert_default();
                if !entry.field(line) {
                    self.end();
                    self.text(line);
                }
            }
            // journalctl -o verbose puts the fields behind blanks, and the time above them.
            Some(b' ') if self.entry.is_some() => {
                if let Some(entry) = &mut self.entry {
                    entry.field(line.trim_ascii_start());
                }
            }
            _ if line.ends_with(b"]") && memmem::find(line, b" [s=").is_some() => {
                self.end();
                let realtime = match frame::split(line).0 {
                    Stamp::None => None,
                    stamp => self.calendar.moment(stamp),
                };
                let realtime = realtime.and_then(|m| m.timestamp()).map(|t| t.as_microsecond());
                self.entry = Some(Entry { realtime, ..Entry::default() });
            }
            _ => self.text(line),
        }
    }

    fn in_object(&mut self, line: &[u8]) {
        let Some(object) = &mut self.object else { return };
        let line = line.strip_prefix(b"data: ").unwrap_or(line);
        if object.len() + line.len() < OBJECT {
            object.extend_from_slice(line);
            object.push(b'\n');
        }
        if line.starts_with(b"}") {
            let object = self.object.take().unwrap_or_default();
            self.json(&object);
        }
    }

    fn json(&mut self, object: &[u8]) {
        if memmem::find(object, b" SYN ").is_none() && memmem::find(object, b"[").is_none() {
            return;
        }
        match Entry::json(object) {
            Some(entry) => self.entry(&entry),
            None => self.broken += u64::from(memmem::find(object, b" OUT=").is_some()),
        }
    }

    /// Ends an entry, and the log.
    fn end(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.entry(&entry);
        }
    }

    fn entry(&mut self, entry: &Entry) {
        let stamp =
            entry.realtime.and_then(|us| us.checked_mul(1000)).map_or(Stamp::None, Stamp::Epoch);
        if let (Some(at), false) = (body::find(&entry.message), entry.programs) {
            self.body(stamp, &entry.message[at..]);
        }
    }

    fn text(&mut self, line: &[u8]) {
        if memmem::find(line, b" SYN").is_none() {
            return;
        }
        let Some(at) = body::find(line) else { return };
        let (stamp, rest) = frame::split(line);
        let between = line.get(line.len() - rest.len()..at).unwrap_or_default();
        if !frame::is_programs(between) {
            self.body(stamp, &line[at..]);
        }
    }

    fn body(&mut self, stamp: Stamp, body: &[u8]) {
        match body::read(body) {
            Body::Tells(packet) => {
                let time = self.calendar.moment(stamp);
                let body::Packet { ends, part, isn, id } = packet;
                self.fold.see(Sighting { ends, time, part, isn, id }, self.give);
            }
            Body::Broken => self.broken += 1,
            Body::Other => {}
        }
    }
}
