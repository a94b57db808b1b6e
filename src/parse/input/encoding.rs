//! Text encodings: converts text to UTF-8 with line feeds before a reader reads it.
//!
//! Editors and PowerShell put a byte order mark in front, PowerShell writes UTF-16, old terminals
//! and some copies end lines with a carriage return alone.

use std::io::{self, Read};

use crate::parse::input::source::{Convert, Converted};

/// The byte order mark of UTF-8.
pub(super) const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";

/// An encoding that has to be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// UTF-16, least significant byte first.
    Utf16Le,
    /// UTF-16, most significant byte first.
    Utf16Be,
    /// Lines that end with a carriage return alone.
    CarriageReturns,
}

impl Encoding {
    /// The encoding of a text that begins with `head`; `None` if it needs no conversion, or is no
    /// text.
    pub(super) fn of(head: &[u8]) -> Option<Encoding> {
        match head {
            [0xff, 0xfe, ..] => return Some(Encoding::Utf16Le),
            [0xfe, 0xff, ..] => return Some(Encoding::Utf16Be),
            _ => {}
        }
        // Without a mark, ASCII text shows itself by a NUL in every other byte.
        let (pairs, _) = head[..head.len().min(64)].as_chunks::<2>();
        if pairs.len() >= 4 {
            if pairs.iter().all(|[low, high]| is_text(*low) && *high == 0) {
                return Some(Encoding::Utf16Le);
            }
            if pairs.iter().all(|[high, low]| is_text(*low) && *high == 0) {
                return Some(Encoding::Utf16Be);
            }
        }
        let only_returns = memchr::memchr(b'\r', head).is_some()
            && memchr::memchr(b'\n', head).is_none()
            // A carriage return at the end may belong to a line feed that comes next.
            && !(head.ends_with(b"\r") && memchr::memchr(b'\r', head) == Some(head.len() - 1))
            && head.iter().all(|b| is_text(*b));
        only_returns.then_some(Encoding::CarriageReturns)
    }

    /// The text of `raw` in UTF-8 with line feeds.
    pub(super) fn convert(self, raw: Box<dyn Read + Send>) -> Box<dyn Read + Send> {
        match self {
            Encoding::CarriageReturns => Box::new(LineFeeds(raw)),
            Encoding::Utf16Le | Encoding::Utf16Be => {
                let utf16 = Utf16 { big: self == Encoding::Utf16Be, ..Utf16::default() };
                Box::new(Converted::new(raw, utf16))
            }
        }
    }
}

/// Whether `byte` occurs in text: printable, part of a UTF-8 sequence, or a control character that
/// logs and terminals use.
fn is_text(byte: u8) -> bool {
    byte >= b' ' && byte != 0x7f || matches!(byte, b'\t' | b'\n' | b'\r' | 0x07 | 0x08 | 0x1b)
}

/// Reads carriage returns as line feeds. What ends with both gets an empty line, which says nothing.
struct LineFeeds(Box<dyn Read + Send>);

impl Read for LineFeeds {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.0.read(buffer)?;
        buffer[..n].iter_mut().filter(|b| **b == b'\r').for_each(|b| *b = b'\n');
        Ok(n)
    }
}

/// Converts UTF-16 to UTF-8. What is no character becomes U+FFFD.
#[derive(Default)]
struct Utf16 {
    big: bool,
    /// Half a unit.
    odd: Option<u8>,
    /// The first half of a surrogate pair.
    high: Option<u16>,
    begun: bool,
}

impl Utf16 {
    fn unit(&mut self, unit: u16, text: &mut Vec<u8>) {
        let first = !self.begun;
        self.begun = true;
        if let Some(high) = self.high.take() {
            if (0xdc00..0xe000).contains(&unit) {
                let pair = char::decode_utf16([high, unit]).next();
                return push(pair.and_then(Result::ok), text);
            }
            push(None, text);
        }
        match unit {
            0xfeff if first => {}
            0xd800..0xdc00 => self.high = Some(unit),
            // Lines may end with a carriage return alone here too.
            _ => push(char::from_u32(u32::from(unit)), text),
        }
    }
}

impl Convert for Utf16 {
    fn convert(&mut self, raw: &[u8], text: &mut Vec<u8>) {
        for byte in raw {
            match self.odd.take() {
                None => self.odd = Some(*byte),
                Some(first) if self.big => self.unit(u16::from_be_bytes([first, *byte]), text),
                Some(first) => self.unit(u16::from_le_bytes([first, *byte]), text),
            }
        }
    }
}

fn push(c: Option<char>, text: &mut Vec<u8>) {
    let c = c.unwrap_or(char::REPLACEMENT_CHARACTER);
    text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(bytes: &[u8]) -> Option<String> {
        let mut text = String::new();
        let raw = Box::new(io::Cursor::new(bytes.to_vec()));
        Encoding::of(bytes)?.convert(raw).read_to_string(&mut text).unwrap();
        Some(text)
    }

    #[test]
    fn utf16_becomes_utf8() {
        let text = "accept(3, \u{a0}\u{1f600}) = 4\r\n";
        let le: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let be: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(converted(&[b"\xff\xfe", &le[..]].concat()).as_deref(), Some(text));
        assert_eq!(converted(&[b"\xfe\xff", &be[..]].concat()).as_deref(), Some(text));
        let ascii: Vec<u8> = "accept(3, NULL) = 4".bytes().flat_map(|b| [b, 0]).collect();
        assert_eq!(converted(&ascii).as_deref(), Some("accept(3, NULL) = 4"));
    }

    #[test]
    fn carriage_returns_alone_become_line_feeds() {
        assert_eq!(converted(b"one\rtwo\r").as_deref(), Some("one\ntwo\n"));
        assert_eq!(converted(b"one\r\ntwo\r\n"), None);
        assert_eq!(converted(b"one\r"), None);
    }

    #[test]
    fn binary_records_are_left_alone() {
        for head in [
            &b"\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0\r\0\0\0"[..],
            b"\x0a\x0d\x0d\x0a\x1c\0\0\0",
            b"\0\0\0\0\0\0\0\0\0\0",
            b"",
            b"\r",
        ] {
            assert_eq!(Encoding::of(head), None, "{}", head.escape_ascii());
        }
    }
}
