//! [`Objects`]: finds the objects of JSON in a stream of bytes, and makes lines of those that hold some.

use serde_json::{Map, Value};

use super::docker;
use super::json_members::{self, TEXT};
use super::logfmt::{self, Logfmt};
use crate::parse::host::has_two_addresses;

/// Larger objects are broken.
const MAX_OBJECT: usize = 1024 * 1024;
/// Docker splits lines that are longer, and ends only the last part with a line feed.
pub(super) const DOCKER_LINE: usize = 16 * 1024;

/// The member in which it writes them.
const LOG: &str = "log";

/// What Ansible writes between the name of a machine and the result of a task.
pub(super) const RESULT: &[u8] = b" => ";

/// An object or an array that is open.
pub(super) struct Open {
    /// Where in [`Objects::pending`] an object begins that may hold a text: one that is in no
    /// other object but as an element of an array. `None`: another, or one that was found to hold
    /// objects with texts.
    start: Option<usize>,
    is_array: bool,
}

/// Finds the objects in a stream of bytes, and makes lines of them.
pub(super) struct Objects {
    stamped: bool,
    /// Lines that are ready.
    pub text: Vec<u8>,
    /// Objects that had a text.
    pub unwrapped: u64,
    /// Objects that could not be read.
    pub broken: u64,
    /// Of each member of [`TEXT`] a bit, if texts came from it.
    pub members: u64,
    /// What is not decided: the objects that are open, or a line that is no JSON.
    pub pending: Vec<u8>,
    pub open: Vec<Open>,
    in_string: bool,
    escaped: bool,
    /// Whether nothing of the line was seen but blanks.
    at_line_start: bool,
    /// In a line that is no JSON.
    in_plain_line: bool,
    /// The first parts of a line of Docker.
    partial: String,
}

impl Objects {
    pub(super) fn new(stamped: bool) -> Objects {
        Objects {
            stamped,
            text: Vec::new(),
            unwrapped: 0,
            broken: 0,
            members: 0,
            pending: Vec::new(),
            open: Vec::new(),
            in_string: false,
            escaped: false,
            at_line_start: true,
            in_plain_line: false,
            partial: String::new(),
        }
    }

    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while let Some((byte, rest)) = bytes.split_first() {
            if let Some(length) = self.docker_line(bytes) {
                bytes = &bytes[length..];
                continue;
            }
            self.byte(*byte);
            let (run, rest) = rest.split_at(self.run(rest));
            self.pending.extend_from_slice(run);
            bytes = rest;
        }
    }

    /// Takes the line of Docker's that `bytes` begin with, and returns its length with its line feed. `None`, and
    /// nothing is taken, if it has to be read as any object.
    fn docker_line(&mut self, bytes: &[u8]) -> Option<usize> {
        let is_between = self.at_line_start && self.open.is_empty() && !self.in_plain_line;
        if !is_between || !docker::begins(bytes) {
            return None;
        }
        let length = memchr::memchr(b'\n', bytes).filter(|length| *length < MAX_OBJECT)?;
        let before = self.partial.len();
        let time = docker::read(&bytes[..length], &mut self.partial)?;
        let text = &self.partial[before..];
        // A text may be an object that holds another one.
        if text.trim_start().starts_with('{') {
            self.partial.truncate(before);
            return None;
        }
        self.pending.clear();
        self.added(LOG, before, || json_members::text_prefix(time));
        Some(length + 1)
    }

    /// How many of these bytes are of a string, or of a line that is no JSON, and neither end it nor make it too long.
    fn run(&self, bytes: &[u8]) -> usize {
        let room = MAX_OBJECT.saturating_sub(self.pending.len());
        let bytes = &bytes[..bytes.len().min(room)];
        let end = match self.in_plain_line {
            true => memchr::memchr2(b'{', b'\n', bytes),
            false if self.in_string && !self.escaped => memchr::memchr3(b'"', b'\\', b'\n', bytes),
            false => Some(0),
        };
        end.unwrap_or(bytes.len())
    }

    pub(super) fn end(&mut self) {
        if self.in_plain_line {
            self.plain_line();
        } else if !self.open.is_empty() {
            self.give_up();
        }
        if !self.partial.is_empty() {
            let partial = std::mem::take(&mut self.partial);
            self.text.extend_from_slice(partial.as_bytes());
        }
    }

    fn byte(&mut self, byte: u8) {
        if self.in_plain_line {
            if byte == b'{' && self.pending.ends_with(RESULT) {
                self.in_plain_line = false;
                return self.between(byte);
            }
            self.pending.push(byte);
            if byte == b'\n' || self.pending.len() > MAX_OBJECT {
                self.plain_line();
                self.in_plain_line = byte != b'\n';
                self.at_line_start = byte == b'\n';
            }
            return;
        }
        if self.open.is_empty() {
            return self.between(byte);
        }
        if byte == b'\n' && self.in_string || self.pending.len() > MAX_OBJECT {
            // No string goes over the end of a line.
            return self.give_up();
        }
        if byte == b'{' && self.at_line_start && self.open.len() == 1 && !self.open[0].is_array {
            // Objects in an object do not begin a line: the one before was cut.
            self.give_up();
            return self.between(byte);
        }
        self.at_line_start = byte == b'\n';
        self.pending.push(byte);
        self.inside(byte);
    }

    /// Takes a line that is no JSON.
    fn plain_line(&mut self) {
        match logfmt::read(&self.pending, |key| TEXT.contains(&key)) {
            Some(Logfmt::Pairs(pairs)) => {
                self.pending.clear();
                self.wrapped(&pairs);
            }
            Some(Logfmt::Broken) => {
                self.pending.clear();
                self.broken += 1;
            }
            None => self.text.append(&mut self.pending),
        }
    }

    /// Takes a byte outside of all objects and arrays.
    fn between(&mut self, byte: u8) {
        match byte {
            b'{' | b'[' => {
                self.pending.clear();
                self.pending.push(byte);
                self.at_line_start = false;
                self.open(byte);
            }
            b'\n' => {
                // An empty line, or the end of that of an object.
                self.pending.clear();
                self.at_line_start = true;
            }
            b' ' | b'\t' | b'\r' | b',' | 0x1e => self.pending.push(byte),
            _ => {
                self.pending.push(byte);
                let so_far = self.pending.trim_ascii_start();
                if b"data:".starts_with(so_far) {
                    return;
                }
                self.in_plain_line = true;
            }
        }
    }

    /// Takes a byte of an object or an array.
    fn inside(&mut self, byte: u8) {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.open(byte),
            b'}' | b']' => self.close(),
            _ => {}
        }
    }

    fn open(&mut self, byte: u8) {
        let is_array = byte == b'[';
        let candidate = !is_array && self.open.last().is_none_or(|parent| parent.is_array);
        let start = candidate.then(|| self.pending.len() - 1);
        self.open.push(Open { start, is_array });
    }

    fn close(&mut self) {
        let Some(closed) = self.open.pop() else { return };
        if let Some(start) = closed.start {
            let object = self.pending.split_off(start);
            if self.object(&object) {
                // What is around it is a frame, which need not be kept.
                self.open.iter_mut().for_each(|outer| outer.start = None);
                self.pending.clear();
            } else if self.open.iter().all(|outer| outer.is_array) && has_two_addresses(&object) {
                // It may be an object of another record.
                let is_end = |b: u8| matches!(b, b'\n' | b'\r');
                self.text.extend(object.iter().map(|b| if is_end(*b) { b' ' } else { *b }));
                self.text.push(b'\n');
                self.pending.clear();
            } else if self.open.is_empty() {
                self.pending.clear();
            } else {
                self.pending.extend_from_slice(&object);
            }
        }
        if self.open.iter().all(|outer| outer.start.is_none()) {
            self.pending.clear();
        }
    }

    /// Gives up what is open, since it cannot be read.
    fn give_up(&mut self) {
        self.broken += 1;
        self.pending.clear();
        self.open.clear();
        self.in_string = false;
        self.escaped = false;
        self.at_line_start = true;
    }

    /// Makes lines of an object; false if there is no text in it.
    fn object(&mut self, object: &[u8]) -> bool {
        let Ok(Value::Object(object)) = serde_json::from_slice::<Value>(object) else {
            self.broken += u64::from(self.open.is_empty());
            return false;
        };
        self.wrapped(&object)
    }

    /// Makes lines of the members of an object; false if none of them is a text.
    fn wrapped(&mut self, object: &Map<String, Value>) -> bool {
        if let Some((key, lines)) = json_members::timed_lines(object) {
            self.found(key);
            for (time, text) in lines {
                self.lines(if self.stamped { &time } else { "" }, text);
            }
            return true;
        }
        let Some((key, text)) = json_members::find_text(object) else { return false };
        let before = self.partial.len();
        self.partial.push_str(&text);
        self.added(key, before, || json_members::prefix(object));
        true
    }

    /// Makes lines of the text that was added to those parts of a line that were there `before`, from the member `key`
    /// of an object. `prefix` gives what stands before them if the times of objects are wanted.
    fn added(&mut self, key: &str, before: usize, prefix: impl FnOnce() -> String) {
        self.found(key);
        let text = &self.partial[before..];
        let whole = text.ends_with('\n') || key != LOG || text.len() < DOCKER_LINE;
        if !whole && self.partial.len() < MAX_OBJECT {
            return;
        }
        let mut text = std::mem::take(&mut self.partial);
        // An object of another record has its own time.
        let is_object = text.starts_with('{');
        let prefix = match self.stamped && !is_object {
            true => prefix(),
            false => String::new(),
        };
        self.lines(&prefix, &text);
        text.clear();
        self.partial = text;
    }

    /// Notes that an object has a text in the member `key`.
    fn found(&mut self, key: &str) {
        self.unwrapped += 1;
        self.members |= TEXT.iter().position(|member| *member == key).map_or(0, |at| 1 << at);
    }

    /// Adds the lines of a text.
    fn lines(&mut self, prefix: &str, text: &str) {
        for line in text.trim_end_matches(['\n', '\r']).split('\n') {
            self.text.extend_from_slice(prefix.as_bytes());
            self.text.extend_from_slice(line.as_bytes());
            self.text.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARTS: [&str; 18] = [
        "{\"log\":\"",
        "accept4(3, NULL, NULL) = 7",
        "\\n\",",
        "\"time\":\"2026-11-22T10:58:42.5Z\"}",
        "\n",
        "\"",
        "\\",
        "{",
        "}",
        "[",
        "]",
        "web1 | CHANGED => ",
        "time=\"2026-11-22T10:58:42Z\" msg=\"a\"",
        "data: ",
        "ü",
        " ",
        "{\"log\":\"close(7) = 0\\n\",\"stream\":\"stderr\",\"time\":\"2026-11-22T10:58:42.5Z\"}\n",
        "{\"log\":\"close(8\",\"stream\":\"stderr\",\"time\":\"2026-11-22T10:58:42.6Z\"}\r\n",
    ];

    /// What is read of `text` in parts of `size` bytes.
    fn read(text: &str, size: usize) -> (String, u64, u64, u64) {
        let mut objects = Objects::new(true);
        text.as_bytes().chunks(size).for_each(|bytes| objects.feed(bytes));
        objects.end();
        let lines = String::from_utf8(objects.text).unwrap();
        (lines, objects.unwrapped, objects.broken, objects.members)
    }

    proptest! {
        #[test]
        fn runs_of_bytes_are_read_as_single_bytes(
            parts in prop::collection::vec(prop::sample::select(&PARTS[..]), 0..40),
        ) {
            let text = parts.concat();
            prop_assert_eq!(read(&text, text.len().max(1)), read(&text, 1));
        }
    }

    #[test]
    fn lines_of_docker_are_read_as_any_object() {
        const TIME: &str = r#""time":"2026-11-22T10:58:42.5Z""#;
        const LOG: &str = r#""log":"accept4(3, \"\u00fc\\n\", NULL) = 7\r\n""#;
        let long = format!(r#"{{"log":"{}","stream":"stdout",{TIME}}}"#, "a".repeat(DOCKER_LINE));
        for object in [
            format!(r#"{{{LOG},"stream":"stderr",{TIME}}}"#),
            format!(r#"{{{LOG} , {TIME}, "stream" : "stderr"}}  "#),
            format!(r#"{{{LOG},"stream":"stderr","time":"1795345122.5"}}"#),
            format!(r#"{{{LOG},"stream":"stderr","time":"2026-11-22 10:58:42"}}"#),
            format!(r#"{{{LOG},"stream":"stderr","time":"now"}}"#),
            format!(r#"{{{LOG},"stream":"stderr","time":1795345122}}"#),
            format!(r#"{{{LOG},"stream":"stderr",{TIME},"log":"again"}}"#),
            format!(r#"{{{LOG},"stream":"stderr",{TIME},"attrs":{{"tag":"web"}}}}"#),
            format!(r#"{{{LOG},"stream":"stderr",{TIME},"pid":7,"ident":"web"}}"#),
            format!("{{{LOG},{TIME}}}"),
            format!(r#"{{"log":"a","stream":"stderr",{TIME}}}{{{LOG},{TIME}}}"#),
            format!(r#"{{"log":"\ud800","stream":"stderr",{TIME}}}"#),
            format!(r#"{{"log":"\ud83d\ude00","stream":"stderr",{TIME}}}"#),
            format!(r#"{{"log":"\u003c\u00E4ü\/\t","stream":"stderr",{TIME}}}"#),
            format!(r#"{{"log":"\u+0fe","stream":"stderr",{TIME}}}"#),
            format!(r#"{{"log":"\u00\u00e4","stream":"stderr",{TIME}}}"#),
            format!(r#"{{"log":"\b\f","stream":"stderr",{TIME}}}"#),
            format!(r#"{{"log":"\x","stream":"stderr",{TIME}}}"#),
            format!("{{\"log\":\"a\tb\",\"stream\":\"stderr\",{TIME}}}"),
            format!(r#"{{"log":"a","stream":"std\u0065rr",{TIME}}}"#),
            r#"{"log":"a","stream":"stderr","time":"\u0032026-11-22T10:58:42Z"}"#.to_owned(),
            r#"{"log":"a\"#.to_owned(),
            r#"{"log":"a"#.to_owned(),
            format!(r#"{{"log":" {{\"msg\":\"a\"}}\n","stream":"stderr",{TIME}}}"#),
            format!(r#"{{"log":"{{sa_family","stream":"stderr",{TIME}}}"#),
            format!(r#"{{"log":"","stream":"stderr",{TIME}}}"#),
            format!("{long}\n{long}\n{{{LOG},\"stream\":\"stderr\",{TIME}}}"),
        ] {
            let text = format!("{object}\n{{{LOG},\"stream\":\"stdout\",{TIME}}}\n");
            assert_eq!(read(&text, text.len()), read(&text, 1), "{object:.200}");
        }
    }

    #[test]
    fn an_object_that_is_too_large_is_broken_at_any_size_of_reads() {
        let text = format!("{{\"log\":\"{}\\n\"}}\n{{\"log\":\"b\\n\"}}\n", "a".repeat(MAX_OBJECT));
        for size in [1, 4096, text.len()] {
            let mut objects = Objects::new(false);
            text.as_bytes().chunks(size).for_each(|bytes| objects.feed(bytes));
            objects.end();
            assert_eq!((objects.broken, objects.text.ends_with(b"b\n")), (1, true), "{size}");
        }
    }
}
