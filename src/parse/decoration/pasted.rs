//! Text that was copied from a web page or a terminal: HTML entities, look-alike characters and
//! what a terminal was told are replaced before the record is recognised.
//!
//! The reader of strace logs does this itself, line by line.

use super::clean;

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

/// Whether `head` has blanks that only editors and web pages write.
pub(crate) fn has_blanks(head: &[u8]) -> bool {
    memchr::memmem::find(head, "\u{a0}".as_bytes()).is_some()
}

/// Whether [`clean`](mod@clean) would change a line of `head`.
pub(crate) fn is_dirty(head: &[u8]) -> bool {
    head.split(|b| *b == b'\n').any(clean::is_dirty)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::super::one_line::divide_html;
    use super::*;

    #[test]
    fn copied_text_is_restored() {
        let text = "a &gt; b&nbsp;c\n\u{a0}d\nlast &quot;line&quot;";
        assert!(
            has_entities(text.as_bytes())
                && is_dirty(text.as_bytes())
                && has_blanks(text.as_bytes())
        );
        let mut out = String::new();
        divide_html(Box::new(std::io::Cursor::new(text))).read_to_string(&mut out).unwrap();
        assert_eq!(out, "a > b c\n d\nlast \"line\"");
        for text in ["a > b &gt; c", "a & b", ""] {
            assert!(!has_entities(text.as_bytes()), "{text}");
        }
    }
}
