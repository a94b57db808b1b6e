//! Journal entries of several lines: `journalctl -o export` and `-o verbose`.

use super::block::{Block, Entry, Joined, Line};
use super::frame::{self, Forwarder};
use crate::parse::lines;
use crate::parse::timestamp::{Calendar, Stamp};

/// Reads lines in their order, and keeps the entry that is not complete.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    entry: Option<Entry>,
}

impl Entries {
    /// Whether the next lines may belong to an entry that has begun.
    pub(crate) fn is_open(&self) -> bool {
        self.entry.is_some()
    }

    /// Reads lines into `block`.
    pub(crate) fn read(
        &mut self,
        text: &[u8],
        block: &mut Block,
        calendar: &mut Calendar,
        forwarder: &Forwarder,
    ) {
        block.clear();
        lines::each(text, |line, _| self.line(line, block, calendar, forwarder));
        block.look_at(text);
    }

    fn line(
        &mut self,
        line: &[u8],
        block: &mut Block,
        calendar: &mut Calendar,
        forwarder: &Forwarder,
    ) {
        match (Line::of(line), &mut self.entry) {
            (Line::Object(object), _) => block.object(object, forwarder),
            (_, _) if line.trim_ascii().is_empty() => self.end(block),
            // journalctl -o verbose indents the fields; the time is on the line above.
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
                    block.text(line, forwarder);
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
            _ => block.text(line, forwarder),
        }
    }

    /// Ends the current entry, if any.
    pub(crate) fn end(&mut self, block: &mut Block) {
        if let Some(entry) = self.entry.take() {
            block.entry(&entry);
        }
    }
}
