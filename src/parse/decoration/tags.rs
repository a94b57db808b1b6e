//! Tags that an issue tracker or a web page has right before the first line of a text and right behind the last one:
//! `{code:java}`, `{noformat}`, `<pre><code class="text">`.

use std::io::Read;

use super::clean;
use crate::parse::input::Conversion;
use crate::parse::input::source::convert_lines;
use crate::parse::lines::LONGEST;

/// What tags begin and end with. Attributes are short.
const TAGS: [(&[u8], u8); 4] =
    [(b"{code", b'}'), (b"{noformat", b'}'), (b"<pre", b'>'), (b"<code", b'>')];
const MAX_TAG: usize = 128;
const CLOSING: [&[u8]; 4] = [b"{code}", b"{noformat}", b"</pre>", b"</code>"];

/// What removes the tags of a text that begins with `head`, if the first line goes on behind them.
pub(crate) fn remover(head: &[u8]) -> Option<Conversion> {
    let rest = without_opening(head);
    let next = rest.iter().find(|b| !matches!(b, b' ' | b'\t'));
    let is_glued = rest.len() < head.len() && !next.is_none_or(|b| matches!(b, b'\n' | b'\r'));
    is_glued.then_some(if head.starts_with(b"<") { remove_of_page } else { remove })
}

fn remove(raw: Box<dyn Read + Send>) -> Box<dyn Read + Send> {
    let mut is_first = true;
    convert_lines(raw, LONGEST, move |line, text| {
        // Further on, it is text of the record.
        let line = if std::mem::take(&mut is_first) { without_opening(line) } else { line };
        let (line, end) = line.split_at(line.trim_ascii_end().len());
        text.extend_from_slice(without_closing(line));
        text.extend_from_slice(end);
    })
}

/// Also restores the characters that a page writes as entities.
fn remove_of_page(raw: Box<dyn Read + Send>) -> Box<dyn Read + Send> {
    convert_lines(remove(raw), LONGEST, |line, text| {
        let (line, end) = line.split_at(line.trim_ascii_end().len());
        text.extend_from_slice(&clean::joined(line));
        text.extend_from_slice(end);
    })
}

/// What follows the tags that `text` begins with.
fn without_opening(text: &[u8]) -> &[u8] {
    let behind_tag = |text: &[u8]| {
        let (name, last) = TAGS.iter().find(|(name, _)| text.starts_with(name))?;
        let more = &text[name.len()..text.len().min(MAX_TAG)];
        // Not a longer name.
        let is_tag = more.first().is_some_and(|b| b" :>}".contains(b));
        let end = more.iter().position(|b| b == last || *b == b'\n').filter(|_| is_tag)?;
        (more[end] == *last).then_some(name.len() + end + 1)
    };
    let mut rest = text;
    while let Some(length) = behind_tag(rest) {
        rest = &rest[length..];
    }
    rest
}

fn without_closing(line: &[u8]) -> &[u8] {
    let mut rest = line;
    while let Some(shorter) = CLOSING.iter().find_map(|tag| rest.strip_suffix(*tag)) {
        rest = shorter;
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_on_the_lines_of_a_text_are_removed() {
        for (text, want) in [
            ("{code:java|title=log}a\nb{code}\n", "a\nb\n"),
            ("{noformat} a {code}\n{code}b{noformat}", " a \n{code}b"),
            ("<pre><code class=\"text\">a &gt; b\nc\n</code></pre>\n", "a > b\nc\n\n"),
        ] {
            let mut out = String::new();
            let raw = Box::new(std::io::Cursor::new(text.to_owned()));
            remover(text.as_bytes()).unwrap()(raw).read_to_string(&mut out).unwrap();
            assert_eq!(out, want, "{text}");
        }
        for text in [
            "{code}\na\n",
            "{code} \na\n",
            "{\"code\":1}\n",
            "{codes}a\n",
            "<prefix>a\n",
            "{code\na}\n",
            "",
        ] {
            assert!(remover(text.as_bytes()).is_none(), "{text}");
        }
    }
}
