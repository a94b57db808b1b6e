//! [`Block`]: reads many lines of a kernel log, each independently of the others.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use memchr::memmem::{self, Finder};

use super::body::{self, Body, Packet};
use super::frame::{self, Forwarder, Writer};
use crate::parse::gaps::Gaps;
use crate::parse::input::unwrap_object;
use crate::parse::lines::{self, LONGEST};
use crate::parse::timestamp::Stamp;

/// Maximum number of programs that are reported by name.
const MAX_PROGRAMS: usize = 16;
/// The name under which all further programs are counted.
const OTHER_PROGRAMS: &[u8] = b"others";

/// A logged packet of a connection attempt.
#[derive(Debug)]
pub(crate) struct Fact {
    /// Time of the line.
    pub stamp: Stamp,
    /// The packet that was logged.
    pub packet: Packet,
    /// Where the packet was logged, see [`body::point`].
    pub point: u32,
}

/// The result of reading many lines.
#[derive(Debug, Default)]
pub(crate) struct Block {
    /// In the order of the lines.
    pub facts: Vec<Fact>,
    /// Lines with a SYN whose fields cannot be read.
    pub broken: u64,
    /// Lines with a SYN that a program wrote and not the kernel, by the name of the program.
    pub programs: BTreeMap<Box<[u8]>, u64>,
    /// SYNs of rules that refuse what they log, see [`body::is_of_refusal`].
    pub refused: u64,
    /// What is missing in the log.
    pub gaps: Gaps,
    /// Whether some lines belong together. Then the result is not valid and the lines must be read
    /// in order by `Entries`.
    pub joined: bool,
}

/// A line that is part of a journal entry of several lines.
pub(crate) enum Joined {
    /// A field.
    Field,
    /// The head, whose fields follow.
    Head,
}

/// The kind of a line.
pub(crate) enum Line<'a> {
    /// A JSON object.
    Object(&'a [u8]),
    /// Text.
    Text,
    /// A part of an entry.
    Joined(Joined),
}

impl Line<'_> {
    /// Returns the kind of a line outside of entries.
    #[inline]
    pub(crate) fn of(line: &[u8]) -> Line<'_> {
        match line {
            [b'{', ..] => Line::Object(line),
            [b'_', b'_', ..] => Line::Joined(Joined::Field),
            [.., b']'] if memmem::find(line, b" [s=").is_some() => Line::Joined(Joined::Head),
            _ => Line::Text,
        }
    }
}

/// The fields of a journal entry that are used.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// `MESSAGE`.
    pub message: Vec<u8>,
    /// `__REALTIME_TIMESTAMP`, microseconds since 1970.
    pub realtime: Option<i64>,
    /// The program that wrote the message, if it was not the kernel.
    pub program: Option<Box<[u8]>>,
}

impl Entry {
    /// Adds a line `KEY=value`; returns false if the line has another form.
    pub(crate) fn field(&mut self, line: &[u8]) -> bool {
        let line = line.trim_ascii_end();
        let Some(equals) = memchr::memchr(b'=', line) else { return false };
        let (key, value) = (&line[..equals], &line[equals + 1..]);
        let fits = |b: &u8| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_';
        if key.is_empty() || !key.iter().all(fits) {
            return false;
        }
        match key {
            b"MESSAGE" => self.message = value.to_vec(),
            b"__REALTIME_TIMESTAMP" => {
                self.realtime = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok());
            }
            b"SYSLOG_IDENTIFIER" if !matches!(value, b"kernel" | b"ulogd") => {
                self.program = Some(value.into());
            }
            b"_TRANSPORT" if value == b"stdout" => {
                self.program.get_or_insert_with(|| b"a service".as_slice().into());
            }
            _ => {}
        }
        true
    }
}

impl Block {
    /// Reads lines, each independently of the others.
    pub(crate) fn read(&mut self, text: &[u8], forwarder: &Forwarder) {
        self.clear();
        lines::each(text, |line, _| match Line::of(line) {
            Line::Text => self.text(line, forwarder),
            Line::Object(object) => self.object(object, forwarder),
            Line::Joined(_) => self.joined = true,
        });
        self.look_at(text);
    }

    /// Empties the block.
    pub(crate) fn clear(&mut self) {
        self.facts.clear();
        self.broken = 0;
        self.programs.clear();
        self.refused = 0;
        self.gaps.clear();
        self.joined = false;
    }

    /// Looks for what is missing, and for a last line that is cut.
    pub(crate) fn look_at(&mut self, text: &[u8]) {
        self.gaps.scan(text, &is_record);
        // The last line may have been cut.
        if let Some(last) = text.rsplit(|b| lines::is_end(*b)).next()
            && let last = &last[..last.len().min(LONGEST)]
            && body::is_cut(last)
        {
            self.broken += 1;
        }
    }

    /// Reads a JSON object that follows lines of text. (A log that begins with an object is
    /// unwrapped before it is recognised.)
    pub(crate) fn object(&mut self, object: &[u8], forwarder: &Forwarder) {
        if memmem::find(object, b" SYN ").is_none() && memchr::memchr(b'[', object).is_none() {
            return;
        }
        match unwrap_object(object) {
            Some(lines) => lines::each(&lines, |line, _| self.text(line, forwarder)),
            None => self.broken += u64::from(memmem::find(object, b" OUT=").is_some()),
        }
    }

    /// Reads a journal entry.
    pub(crate) fn entry(&mut self, entry: &Entry) {
        let stamp =
            entry.realtime.and_then(|us| us.checked_mul(1000)).map_or(Stamp::None, Stamp::Epoch);
        if let Some(at) = body::find(&entry.message) {
            let (prefix, body) = entry.message.split_at(at);
            match &entry.program {
                Some(program) => self.programs_line(program, body),
                None => self.body(stamp, prefix, body),
            }
        }
    }

    /// Reads a line of text.
    #[inline]
    pub(crate) fn text(&mut self, line: &[u8], forwarder: &Forwarder) {
        if SYN.find(line).is_none() {
            return;
        }
        let Some(at) = body::find(line) else {
            self.broken += u64::from(body::is_of_ipchains(line) || body::is_headless(line));
            return;
        };
        let (stamp, rest) = forwarder.split(line);
        let between = line.get(line.len() - rest.len()..at).unwrap_or_default();
        match frame::writer(between) {
            Writer::Kernel => self.body(stamp, between, &line[at..]),
            Writer::Program(name) => self.programs_line(name, &line[at..]),
        }
    }

    /// Notes a line that a program wrote, if it would count.
    fn programs_line(&mut self, program: &[u8], body: &[u8]) {
        if body::read(body) == Body::Other {
            return;
        }
        let is_room = self.programs.len() < MAX_PROGRAMS;
        let name = if is_room { program } else { OTHER_PROGRAMS };
        match self.programs.get_mut(program) {
            Some(count) => *count += 1,
            None => *self.programs.entry(name.into()).or_default() += 1,
        }
    }

    fn body(&mut self, stamp: Stamp, prefix: &[u8], body: &[u8]) {
        match body::read(body) {
            Body::Tells(packet) => {
                self.refused += u64::from(body::is_of_refusal(prefix));
                self.facts.push(Fact { stamp, packet, point: body::point(prefix, body) });
            }
            Body::Broken => self.broken += 1,
            Body::Other => {}
        }
    }
}

static SYN: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b" SYN"));

/// A line that is repeated has the same packet as before, and the connection is the same.
pub(super) fn is_record(_: &[u8]) -> bool {
    false
}
