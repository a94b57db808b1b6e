//! Text that was copied from a web page or a terminal: HTML entities, look-alike characters and
//! what a terminal was told are replaced before the record is recognised.
//!
//! The reader of strace logs does this itself, line by line.

use std::io::{self, Read};

use super::clean;
use super::lines::LONGEST;

/// Bytes of the raw text that are read at a time.
const READ_BYTES: usize = 64 * 1024;

/// Entities that stand for the characters between the words of records.
const ENTITIES: &[&[u8]] = &[b"&gt;", b"&lt;", b"&quot;", b"&#34;", b"&#60;", b"&#62;"];

/// Whether `head` has entities in place of characters of the record: the character itself occurs
/// nowhere.
pub(crate) fn has_entities(head: &[u8]) -> bool {
    memchr::memchr(b'&', head).is_some()
        && [(b'>', [0, 5]), (b'<', [1, 4]), (b'"', [2, 3])].iter().any(|(raw, names)| {
            memchr::memchr(*raw, head).is_none()
                && names.iter().any(|at| memchr::memmem::find(head, ENTITIES[*at]).is_some())
        })
}

/// Whether [`clean()`] would change a line of `head`.
pub(crate) fn is_dirty(head: &[u8]) -> bool {
    head.split(|b| *b == b'\n').any(clean::is_dirty)
}

/// The text of `raw` as it was before it was copied.
pub(crate) fn clean(raw: Box<dyn Read + Send>) -> Box<dyn Read + Send> {
    Box::new(Clean { raw, pending: Vec::new(), text: Vec::new(), given: 0, ended: false })
}

struct Clean {
    raw: Box<dyn Read + Send>,
    /// The beginning of a line.
    pending: Vec<u8>,
    /// Converted.
    text: Vec<u8>,
    /// How much of it was given.
    given: usize,
    ended: bool,
}

impl Clean {
    /// Converts all whole lines of `pending`, or everything.
    fn convert(&mut self, everything: bool) {
        let end = match memchr::memrchr(b'\n', &self.pending) {
            _ if everything || self.pending.len() > LONGEST => self.pending.len(),
            Some(end) => end + 1,
            None => return,
        };
        for line in self.pending[..end].split_inclusive(|b| *b == b'\n') {
            let (line, feed) = match line.strip_suffix(b"\n") {
                Some(line) => (line, &b"\n"[..]),
                None => (line, &b""[..]),
            };
            self.text.extend_from_slice(&clean::joined(line));
            self.text.extend_from_slice(feed);
        }
        self.pending.drain(..end);
    }
}

impl Read for Clean {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.given == self.text.len() && !self.ended {
            self.text.clear();
            self.given = 0;
            let old = self.pending.len();
            self.pending.resize(old + READ_BYTES, 0);
            let read = self.raw.read(&mut self.pending[old..]);
            self.pending.truncate(old + *read.as_ref().unwrap_or(&0));
            self.ended = read? == 0;
            self.convert(self.ended);
        }
        let n = buffer.len().min(self.text.len() - self.given);
        buffer[..n].copy_from_slice(&self.text[self.given..self.given + n]);
        self.given += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copied_text_is_restored() {
        let text = "a &gt; b&nbsp;c\n\u{a0}d\nlast &quot;line&quot;";
        assert!(has_entities(text.as_bytes()) && is_dirty(text.as_bytes()));
        let mut out = String::new();
        clean(Box::new(io::Cursor::new(text))).read_to_string(&mut out).unwrap();
        assert_eq!(out, "a > b c\n d\nlast \"line\"");
        for text in ["a > b &gt; c", "a & b", ""] {
            assert!(!has_entities(text.as_bytes()), "{text}");
        }
    }
}
