//! Many lines of a log in one: rsyslog writes the line feeds of a message as `#012`, Python and JSON have the lines of
//! a list as strings between commas, and pages of HTML need no line feeds.

use std::io::Read;

use memchr::memmem;

use super::{clean, escaped};
use crate::parse::input::Conversion;
use crate::parse::input::source::convert_lines;
use crate::parse::lines::LONGEST;

/// A mark, and what it stands for.
type Mark = (&'static [u8], &'static [u8]);

/// The line feed and the tab, as rsyslog writes control characters (`$EscapeControlCharactersOnReceive`): `#` and
/// three octal digits.
const SYSLOG: [Mark; 2] = [(b"#012", b"\n"), (b"#011", b"\t")];
/// What separates the strings of a list in Python.
const LIST: [Mark; 1] = [(b"', '", b"\n")];
/// The same in JSON.
const JSON_LIST: [Mark; 2] = [(b"\", \"", b"\n"), (b"\",\"", b"\n")];
/// The ends of lines in HTML.
const HTML: [Mark; 7] = [
    (b"<br>", b"\n"),
    (b"<br/>", b"\n"),
    (b"<br />", b"\n"),
    (b"</p>", b"\n"),
    (b"</div>", b"\n"),
    (b"</li>", b"\n"),
    (b"</tr>", b"\n"),
];

/// What divides the lines of a text that begins with `head`, if it needs that. `is_known` tells whether a line is one
/// of a log.
pub(crate) fn divider(head: &[u8], is_known: impl Fn(&[u8]) -> bool) -> Option<Conversion> {
    let begins = |text: &[u8]| head.trim_ascii_start().starts_with(text);
    // Further on, a traced server may have written it.
    let first_line = head.split(|b| *b == b'\n').next().unwrap_or_default();
    let is_html = HTML.iter().any(|(mark, _)| memmem::find(first_line, mark).is_some());
    let ways: [(bool, &[Mark], Conversion); 4] = [
        (memmem::find(head, SYSLOG[0].0).is_some(), &SYSLOG, divide_syslog),
        (begins(b"['"), &LIST, divide_list),
        (begins(b"[\""), &JSON_LIST, divide_json_list),
        (is_html, &HTML, divide_html),
    ];
    let way = ways.into_iter().find(|(may_be, marks, _)| {
        // What comes first in a line is known without this.
        let is_known_behind = |line: &[u8]| {
            let mut text = Vec::new();
            replace(line, marks, &mut text);
            text.split(|b| *b == b'\n').skip(1).any(&is_known)
        };
        *may_be && head.split(|b| *b == b'\n').any(is_known_behind)
    });
    way.map(|(.., conversion)| conversion)
}

fn divide_syslog(raw: Box<dyn Read + Send>) -> Box<dyn Read + Send> {
    convert_lines(raw, 64 * LONGEST, |line, text| replace(line, &SYSLOG, text))
}

fn divide_list(raw: Box<dyn Read + Send>) -> Box<dyn Read + Send> {
    convert_lines(raw, 64 * LONGEST, |line, text| strings_of_list(line, b"['", b"']", &LIST, text))
}

fn divide_json_list(raw: Box<dyn Read + Send>) -> Box<dyn Read + Send> {
    let divided = convert_lines(raw, 64 * LONGEST, |line, text| {
        strings_of_list(line, b"[\"", b"\"]", &JSON_LIST, text);
    });
    escaped::unescape(divided)
}

/// Divides the lines of a web page, and restores its characters.
pub(crate) fn divide_html(raw: Box<dyn Read + Send>) -> Box<dyn Read + Send> {
    let lines = convert_lines(raw, 64 * LONGEST, |line, text| replace(line, &HTML, text));
    convert_lines(lines, LONGEST, |line, text| {
        let (line, feed) = match line.strip_suffix(b"\n") {
            Some(line) => (line, &b"\n"[..]),
            None => (line, &b""[..]),
        };
        text.extend_from_slice(&clean::joined(line));
        text.extend_from_slice(feed);
    })
}

/// Appends the strings of a list, which stands between `begin` and `end`.
fn strings_of_list(line: &[u8], begin: &[u8], end: &[u8], marks: &[Mark], text: &mut Vec<u8>) {
    let line = line.strip_prefix(begin).unwrap_or(line);
    match line.trim_ascii_end().strip_suffix(end) {
        Some(line) => {
            replace(line, marks, text);
            text.push(b'\n');
        }
        None => replace(line, marks, text),
    }
}

/// Appends `line` with each of `marks` replaced.
fn replace(line: &[u8], marks: &[Mark], text: &mut Vec<u8>) {
    let mut rest = line;
    while let Some(first) = rest.first() {
        let mark = marks.iter().find(|(mark, _)| rest.starts_with(mark));
        let (length, with) = mark.map_or((1, std::slice::from_ref(first)), |(m, w)| (m.len(), *w));
        text.extend_from_slice(with);
        rest = &rest[length..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divided(text: &str) -> Option<String> {
        let conversion = divider(text.as_bytes(), |line| line.starts_with(b"accept("))?;
        let mut divided = String::new();
        conversion(Box::new(std::io::Cursor::new(text.to_owned())))
            .read_to_string(&mut divided)
            .unwrap();
        Some(divided)
    }

    #[test]
    fn lines_are_divided_where_another_is_known() {
        assert_eq!(divided("a: x#012accept(#0113)#012\n").unwrap(), "a: x\naccept(\t3)\n\n");
        assert_eq!(divided("['x', 'accept(3)']\n").unwrap(), "x\naccept(3)\n");
        assert_eq!(divided("[\"x\", \"accept(\\\"3\\\")\"]\n").unwrap(), "x\naccept(\"3\")\n");
        assert_eq!(divided("<p>x<br/>accept(3)</p>\n").unwrap(), "x\naccept(3)\n\n");
    }

    #[test]
    fn other_lines_stay_as_they_are() {
        let in_string = "read(3)\nwrite(1, \"<br>\naccept(3)\n";
        for text in
            [in_string, "a: x#012y\n", "write(1, \"#012\")\naccept(3)\n", "f('a', 'accept(')\n"]
        {
            assert_eq!(divided(text), None, "{text}");
        }
    }
}
