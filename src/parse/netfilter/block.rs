//! What lines of a kernel log tell, each by itself.

use std::sync::LazyLock;

use memchr::memmem::{self, Finder};

use super::body::{self, Body, Packet};
use super::entries::Entry;
use super::frame;
use crate::parse::lines::{self, LONGEST};
use crate::parse::timestamp::Stamp;

/// A line that tells of a connection.
#[derive(Debug)]
pub struct Fact {
    /// What it says of its time.
    pub stamp: Stamp,
    /// The packet that was logged.
    pub packet: Packet,
    /// Where it was logged.
    pub point: u32,
}

/// What many lines tell.
#[derive(Debug, Default)]
pub struct Block {
    /// In the order of the lines.
    pub facts: Vec<Fact>,
    /// Lines that tell of a connection, but not of which.
    pub broken: u64,
    /// The log says that it is not complete.
    pub missed: bool,
    /// Some of the lines belong together, so that what was read of them does not count: they are
    /// for [`Entries`](super::entries::Entries).
    pub joined: bool,
}

/// What a line is that does not stand for itself.
pub enum Joined<'a> {
    /// The beginning of a JSON object.
    Object(&'a [u8]),
    /// A field of an entry.
    Field,
    /// The head of an entry, whose fields follow.
    Head,
}

/// What sort of line this is.
pub enum Line<'a> {
    /// A JSON object.
    Object(&'a [u8]),
    /// Text, if any.
    Text,
    /// A part of something longer.
    Joined(Joined<'a>),
}

impl Line<'_> {
    /// Of a line that stands where no entry is open.
    #[inline]
    pub fn of(line: &[u8]) -> Line<'_> {
        match line {
            [b'{' | b'd' | 0x1e, ..] => match object(line) {
                Some(object) if object.trim_ascii_end() == b"{" => {
                    Line::Joined(Joined::Object(object))
                }
                Some(object) => Line::Object(object),
                None => Line::Text,
            },
            [b'_', b'_', ..] => Line::Joined(Joined::Field),
            [.., b']'] if memmem::find(line, b" [s=").is_some() => Line::Joined(Joined::Head),
            _ => Line::Text,
        }
    }
}

/// The object that a line begins with, behind what `-o json-seq` and `-o json-sse` put before it.
fn object(line: &[u8]) -> Option<&[u8]> {
    let object = line.strip_prefix(b"\x1e").unwrap_or(line);
    let object = object.strip_prefix(b"data: ").unwrap_or(object);
    object.starts_with(b"{").then_some(object)
}

impl Block {
    /// Reads lines, each by itself.
    pub fn read(&mut self, text: &[u8]) {
        self.clear();
        lines::each(text, |line, _| match Line::of(line) {
            Line::Text => self.text(line),
            Line::Object(object) => self.object(object),
            Line::Joined(_) => self.joined = true,
        });
        self.look_at(text);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.facts.clear();
        self.broken = 0;
        self.missed = false;
        self.joined = false;
    }

    /// Finds what has nothing to do with single packets.
    pub fn look_at(&mut self, text: &[u8]) {
        self.missed |= MESSAGES.find_iter(text).any(|at| says_missed(text, at));
        // The last line may have been cut.
        if let Some(last) = text.rsplit(|b| lines::is_end(*b)).next()
            && let last = &last[..last.len().min(LONGEST)]
            && body::is_log_line(last)
            && memmem::find(last, b" URGP=").is_none()
            && memmem::find(last, b" PROTO=TCP").is_some()
        {
            self.broken += 1;
        }
    }

    /// Takes a JSON object of the journal.
    pub fn object(&mut self, object: &[u8]) {
        if memmem::find(object, b" SYN ").is_none() && memchr::memchr(b'[', object).is_none() {
            return;
        }
        match Entry::json(object) {
            Some(entry) => self.entry(&entry),
            None => self.broken += u64::from(memmem::find(object, b" OUT=").is_some()),
        }
    }

    /// Takes an entry of the journal.
    pub fn entry(&mut self, entry: &Entry) {
        let stamp =
            entry.realtime.and_then(|us| us.checked_mul(1000)).map_or(Stamp::None, Stamp::Epoch);
        if let (Some(at), false) = (body::find(&entry.message), entry.programs) {
            let (prefix, body) = entry.message.split_at(at);
            self.body(stamp, prefix, body);
        }
    }

    /// Takes a line of text.
    #[inline]
    pub fn text(&mut self, line: &[u8]) {
        if SYN.find(line).is_none() {
            return;
        }
        let Some(at) = body::find(line) else { return };
        let (stamp, rest) = frame::split(line);
        let between = line.get(line.len() - rest.len()..at).unwrap_or_default();
        if !frame::is_programs(between) {
            self.body(stamp, between, &line[at..]);
        }
    }

    fn body(&mut self, stamp: Stamp, prefix: &[u8], body: &[u8]) {
        match body::read(body) {
            Body::Tells(packet) => {
                self.facts.push(Fact { stamp, packet, point: body::point(prefix, body) });
            }
            Body::Broken => self.broken += 1,
            Body::Other => {}
        }
    }
}

static SYN: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b" SYN"));
static MESSAGES: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"messages"));

/// Whether the line around `at` says that messages are missing: journald, rsyslog's imuxsock and
/// imjournal, and the console do.
fn says_missed(text: &[u8], at: usize) -> bool {
    let start = text[..at].iter().rposition(|b| lines::is_end(*b)).map_or(0, |n| n + 1);
    let line = &text[start..at + lines::end(&text[at..])];
    let has = |words: &str| memmem::find(line, words.as_bytes()).is_some();
    has(" kernel messages") && has("Missed ")
        || has("messages") && has(" due to rate-limiting") && has("lost")
        || has(" printk messages dropped")
}
