//! Entries of the journal that go over many lines: `-o export`, `verbose` and `json-pretty`.

use serde::Deserialize;

use super::block::{Block, Joined, Line};
use super::frame;
use crate::parse::lines;
use crate::parse::timestamp::{Calendar, Stamp};

/// More than this is no JSON object of the journal.
const OBJECT: usize = 1024 * 1024;

/// Reads lines in their order, and remembers those whose entry is not complete.
#[derive(Debug, Default)]
pub struct Entries {
    /// An entry whose fields come line by line.
    entry: Option<Entry>,
    /// A JSON object whose end has not come yet.
    object: Option<Vec<u8>>,
}

impl Entries {
    /// Whether the lines that come may belong to what came before.
    pub fn is_open(&self) -> bool {
        self.entry.is_some() || self.object.is_some()
    }

    /// Reads lines into `block`.
    pub fn read(&mut self, text: &[u8], block: &mut Block, calendar: &mut Calendar) {
        block.clear();
        lines::each(text, |line, _| self.line(line, block, calendar));
        block.look_at(text);
    }

    fn line(&mut self, line: &[u8], block: &mut Block, calendar: &mut Calendar) {
        if self.object.is_some() {
            return self.in_object(line, block);
        }
        match (Line::of(line), &mut self.entry) {
            (Line::Object(object), _) => block.object(object),
            (Line::Joined(Joined::Object(object)), _) => self.object = Some(object.to_vec()),
            (_, _) if matches!(line, [] | [b'\r']) => self.end(block),
            // journalctl -o verbose puts the fields behind blanks, and the time above them.
            (_, Some(entry)) if line.starts_with(b" ") => {
                entry.field(line.trim_ascii_start());
            }
            (Line::Joined(Joined::Field), _) | (Line::Text, Some(_))
                if matches!(line, [b'_' | b'A'..=b'Z', ..]) =>
            {
                if line.starts_with(b"__CURSOR=") {
                    self.end(block);
                }
                if !self.entry.get_or_insert_default().field(line) {
                    self.end(block);
                    block.text(line);
                }
            }
            (Line::Joined(Joined::Head), _) => {
                self.end(block);
                let realtime = match frame::split(line).0 {
                    Stamp::None => None,
                    stamp => calendar.record_time(stamp),
                };
                let realtime = realtime
                    .and_then(crate::model::record_time::RecordTime::timestamp)
                    .map(jiff::Timestamp::as_microsecond);
                self.entry = Some(Entry { realtime, ..Entry::default() });
            }
            _ => block.text(line),
        }
    }

    fn in_object(&mut self, line: &[u8], block: &mut Block) {
        let Some(object) = &mut self.object else { return };
        let line = line.strip_prefix(b"data: ").unwrap_or(line);
        if object.len() + line.len() < OBJECT {
            object.extend_from_slice(line);
            object.push(b'\n');
        }
        if line.starts_with(b"}") {
            let object = self.object.take().unwrap_or_default();
            block.object(&object);
        }
    }

    /// Ends the entry that is open, if one is.
    pub fn end(&mut self, block: &mut Block) {
        if let Some(entry) = self.entry.take() {
            block.entry(&entry);
        }
    }
}

/// The fields of an entry that matter.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// `MESSAGE`.
    pub message: Vec<u8>,
    /// `__REALTIME_TIMESTAMP`, microseconds since 1970.
    pub realtime: Option<i64>,
    /// A program said it, and not the kernel.
    pub programs: bool,
}

impl Entry {
    /// Takes a line `KEY=value`; false if it is none.
    pub fn field(&mut self, line: &[u8]) -> bool {
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
            b"SYSLOG_IDENTIFIER" => self.programs |= !matches!(value, b"kernel" | b"ulogd"),
            b"_TRANSPORT" => self.programs |= value == b"stdout",
            _ => {}
        }
        true
    }

    /// Reads a JSON object; `None` if it is none of the journal's.
    pub fn json(text: &[u8]) -> Option<Entry> {
        let object: Object<'_> = serde_json::from_slice(text).ok()?;
        let message = match object.message {
            Some(Text::Utf8(text)) => text.into_owned().into_bytes(),
            Some(Text::Bytes(bytes)) => bytes,
            Some(Text::Other(_)) | None => Vec::new(),
        };
        Some(Entry {
            message,
            realtime: object.realtime.and_then(|t| t.parse().ok()),
            programs: object.identifier.is_some_and(|i| !matches!(&*i, "kernel" | "ulogd")),
        })
    }
}

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(rename = "MESSAGE", borrow)]
    message: Option<Text<'a>>,
    #[serde(rename = "__REALTIME_TIMESTAMP", borrow)]
    realtime: Option<std::borrow::Cow<'a, str>>,
    #[serde(rename = "SYSLOG_IDENTIFIER", borrow)]
    identifier: Option<std::borrow::Cow<'a, str>>,
}

/// Text that is not UTF-8 is an array of bytes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text<'a> {
    Utf8(std::borrow::Cow<'a, str>),
    Bytes(Vec<u8>),
    Other(serde::de::IgnoredAny),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_in_its_forms() {
        let line = br#"{"MESSAGE":"a \"b\" IN=","__REALTIME_TIMESTAMP":"17","_PID":1}"#;
        let entry = Entry::json(line).unwrap();
        assert_eq!((&entry.message[..], entry.realtime), (&b"a \"b\" IN="[..], Some(17)));
        let bytes = br#"{ "MESSAGE" : [73,78,61], "SYSLOG_IDENTIFIER" : "sshd" }"#;
        let entry = Entry::json(bytes).unwrap();
        assert_eq!((&entry.message[..], entry.programs), (&b"IN="[..], true));
        assert_eq!(Entry::json(br#"{"MESSAGE":null}"#), Some(Entry::default()));
        assert_eq!(Entry::json(b"{"), None);
    }
}
