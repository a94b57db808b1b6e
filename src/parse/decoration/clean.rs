//! Restores lines that a terminal, an editor or a web page changed.

use std::borrow::Cow;
use std::ops::Range;

use crate::parse::lines::terminal_sequence;

/// Entities of HTML that occur in strace's output.
const ENTITIES: &[(&[u8], &[u8])] = &[
    (b"&lt;", b"<"),
    (b"&gt;", b">"),
    (b"&quot;", b"\""),
    (b"&apos;", b"'"),
    (b"&nbsp;", b" "),
    (b"&#160;", b" "),
    (b"&#34;", b"\""),
    (b"&#39;", b"'"),
    (b"&#x27;", b"'"),
    (b"&#60;", b"<"),
    (b"&#62;", b">"),
    // Text that was escaped twice needs no second step: what follows is read as it is.
    (b"&amp;", b"&"),
];

/// Characters that text processors put in place of others, in UTF-8.
const CHARACTERS: &[(&str, &[u8])] = &[
    ("\u{a0}", b" "),
    ("\u{202f}", b" "),
    ("\u{2007}", b" "),
    ("\u{2009}", b" "),
    ("\u{3000}", b" "),
    ("\u{200b}", b""),
    ("\u{2060}", b""),
    ("\u{feff}", b""),
    ("\u{201c}", b"\""),
    ("\u{201d}", b"\""),
    ("\u{201e}", b"\""),
    ("\u{2026}", b"..."),
    ("\u{2192}", b"->"),
];

/// Elements of HTML that syntax highlighting and copied pages leave behind.
const ELEMENTS: &[&[u8]] = &[
    b"span", b"br", b"b", b"i", b"em", b"strong", b"code", b"pre", b"p", b"div", b"a", b"li",
    b"td", b"tr", b"font", b"mark",
];

/// Number of bytes that [`is_dirty`] looks at together.
const TOGETHER: usize = 32;

/// Whether [`pieces`] would change anything.
pub(in crate::parse) fn is_dirty(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let begins = |mut places: Range<usize>| places.any(|at| begins_dirt(&line[at..]));
    let (chunks, rest) = line.as_chunks::<TOGETHER>();
    let mut places = (0..).step_by(TOGETHER);
    if chunks
        .iter()
        .zip(&mut places)
        .any(|(c, from)| may_have_dirt(c) && begins(from..from + TOGETHER))
    {
        return true;
    }
    match line.last_chunk::<TOGETHER>() {
        // Together with bytes that were looked at before.
        Some(last) => may_have_dirt(last) && begins(line.len() - rest.len()..line.len()),
        None => begins(0..line.len()),
    }
}

/// Whether something that [`pieces`] changes may begin in `chunk`.
#[inline(always)]
fn may_have_dirt(chunk: &[u8; TOGETHER]) -> bool {
    // Without a branch for each byte: few bytes may begin anything.
    let may_begin = |b: u8| b.wrapping_sub(b' ') > b'~' - b' ' || b == b'&' || b == b'<';
    chunk.iter().fold(false, |any, byte| any | may_begin(*byte))
}

/// Whether `text` begins with something that [`pieces`] changes.
fn begins_dirt(text: &[u8]) -> bool {
    match text[0] {
        b'\t' => false,
        b'&' => entity(text).is_some(),
        b'<' => element(text).is_some(),
        0xc2 | 0xe2 | 0xe3 | 0xef => character(text).is_some(),
        byte => byte < b' ' || byte == 0x7f,
    }
}

/// The line without terminal sequences, entities and look-alike characters. A carriage return
/// begins another piece: what follows it was written over what came before.
pub(in crate::parse) fn pieces(line: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut out = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some(byte) = rest.first() {
        let (length, text): (usize, &[u8]) = match byte {
            0x1b => (terminal_sequence(rest), b""),
            b'\r' => {
                all.push(std::mem::take(&mut out));
                (1, b"")
            }
            0x08 => {
                out.pop();
                (1, b"")
            }
            b'&' => entity(rest).unwrap_or((1, &rest[..1])),
            b'<' => element(rest).unwrap_or((1, &rest[..1])),
            0xc2 | 0xe2 | 0xe3 | 0xef => character(rest).unwrap_or((1, &rest[..1])),
            b'\t' => (1, b"\t"),
            byte if *byte < b' ' || *byte == 0x7f => (1, b""),
            _ => (1, &rest[..1]),
        };
        out.extend_from_slice(text);
        rest = rest.get(length..).unwrap_or_default();
    }
    all.push(out);
    all.retain(|piece| !piece.is_empty());
    all
}

/// The line without entities, tags and look-alike characters. Control characters are left.
pub(in crate::parse) fn without_markup(line: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some(byte) = rest.first() {
        let (length, text): (usize, &[u8]) = match byte {
            b'&' => entity(rest).unwrap_or((1, &rest[..1])),
            b'<' => element(rest).unwrap_or((1, &rest[..1])),
            0xc2 | 0xe2 | 0xe3 | 0xef => character(rest).unwrap_or((1, &rest[..1])),
            _ => (1, &rest[..1]),
        };
        out.extend_from_slice(text);
        rest = rest.get(length..).unwrap_or_default();
    }
    out
}

/// The line without terminal sequences and the like, in one piece.
pub(in crate::parse) fn joined(line: &[u8]) -> Cow<'_, [u8]> {
    if is_dirty(line) { Cow::Owned(pieces(line).join(&b'\n')) } else { Cow::Borrowed(line) }
}

fn entity(text: &[u8]) -> Option<(usize, &'static [u8])> {
    let known = ENTITIES.iter().find(|(name, _)| text.starts_with(name))?;
    Some((known.0.len(), known.1))
}

fn character(text: &[u8]) -> Option<(usize, &'static [u8])> {
    let known = CHARACTERS.iter().find(|(name, _)| text.starts_with(name.as_bytes()))?;
    Some((known.0.len(), known.1))
}

/// The length of the tag that `text` begins with, and what stands for it.
fn element(text: &[u8]) -> Option<(usize, &'static [u8])> {
    let name = text[1..].strip_prefix(b"/").unwrap_or(&text[1..]);
    let begins = |element: &&&[u8]| {
        let behind = name.get(element.len());
        name.starts_with(element) && behind.is_some_and(|b| b" >/".contains(b))
    };
    ELEMENTS.iter().find(begins)?;
    let length = memchr::memchr(b'>', &text[..text.len().min(256)])? + 1;
    // Cells of tables are apart from each other.
    Some((length, if text.starts_with(b"</td") { b" " } else { b"" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(line: &str) -> String {
        assert!(is_dirty(line.as_bytes()), "{line}");
        String::from_utf8(pieces(line.as_bytes()).join(&b'|')).unwrap()
    }

    #[test]
    fn terminal_sequences_are_removed() {
        assert_eq!(clean("\x1b[0m[\x1b[35;1mpid 1\x1b[0m]"), "[pid 1]");
        assert_eq!(clean("\x1b[?2004l\raccept("), "accept(");
        assert_eq!(clean("\x1b[?25l\x1b[2Kaccept("), "accept(");
        assert_eq!(clean("\x1b]0;root@web: ~\x07accept("), "accept(");
        assert_eq!(clean("\x1b]0;root@web: ~\x1b\\accept("), "accept(");
        assert_eq!(clean("\x1b(B\x1b=accept("), "accept(");
        assert_eq!(clean("10%\r20%\raccept("), "10%|20%|accept(");
        assert_eq!(clean("|\x08/\x08accept("), "accept(");
    }

    #[test]
    fn entities_and_look_alike_characters_are_replaced() {
        assert_eq!(clean("&lt;... accept resumed&gt;"), "<... accept resumed>");
        assert_eq!(
            clean("accept(3,\u{a0}inet_addr(&quot;::1&quot;)"),
            "accept(3, inet_addr(\"::1\")"
        );
        assert_eq!(clean("<span class=\"n\">accept</span>(3"), "accept(3");
        assert_eq!(clean("\u{201c}x\u{201d} <unfinished \u{2026}>"), "\"x\" <unfinished ...>");
    }

    #[test]
    fn dirt_is_found_at_every_place_of_lines_of_any_length() {
        for length in 1..100 {
            for at in 0..length {
                for (byte, want) in
                    [(0x1b, true), (0x7f, true), (b'\t', false), (b'&', false), (0xff, false)]
                {
                    let mut line = vec![b'x'; length];
                    line[at] = byte;
                    assert_eq!(is_dirty(&line), want, "{byte} at {at} of {length}");
                }
            }
        }
    }

    #[test]
    fn plain_lines_are_clean() {
        for line in ["accept(3, 0x7f, [16]) = 4\r", "a\tb & c &sin6_addr <unfinished ...>", "ü <a"]
        {
            assert!(!is_dirty(line.as_bytes()), "{line}");
        }
    }
}
