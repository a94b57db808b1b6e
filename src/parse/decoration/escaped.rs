//! Text within strings: of JSON, of programs, of shells. Its line feeds and quotes are escaped, so that many lines of a
//! log look like one.

use std::io::Read;

use crate::parse::input::source::convert_lines;
use crate::parse::lines::LONGEST;

/// Whether `head` has lines of a log in strings. `is_known` tells whether a line is one of the log.
pub(crate) fn has_lines(head: &[u8], is_known: impl Fn(&[u8]) -> bool) -> bool {
    // The escapes are those of the text, and not of a string in it.
    let is_bare = |first: usize| !head[..first].contains(&b'"');
    let first = memchr::memmem::find(head, b"\\n");
    let is_one_line = !head.trim_ascii().contains(&b'\n') && first.is_some_and(is_bare);
    first.is_some()
        && head.split(|b| *b == b'\n').any(|line| {
            let mut unescaped = Vec::new();
            line_of_strings(line, &mut unescaped);
            let known = |at_least: usize| {
                unescaped.split(|b| *b == b'\n').filter(|l| is_known(l)).nth(at_least - 1).is_some()
            };
            // Of some formats only the heading is known by itself.
            let is_string = line.trim_ascii_start().starts_with(b"\"");
            unescaped != line && known(if is_string || is_one_line { 1 } else { 2 })
        })
}

/// Whether `head` has calls of strace whose quotes are escaped, and no other.
pub(crate) fn has_calls(head: &[u8]) -> bool {
    const ADDRESSES: [(&[u8], &[u8]); 2] = [
        (b"inet_addr(\\\"", b"inet_addr(\""),
        (b"inet_pton(AF_INET6, \\\"", b"inet_pton(AF_INET6, \""),
    ];
    let has = |text: &[u8], address: &[u8]| memchr::memmem::find(text, address).is_some();
    ADDRESSES.iter().all(|(_, raw)| !has(head, raw))
        && head.split(|b| *b == b'\n').any(|line| {
            let at = ADDRESSES.iter().find_map(|(escaped, _)| memchr::memmem::find(line, escaped));
            at.is_some_and(|at| !is_argument(&line[..at]))
        })
}

/// Whether `before` ends within a string that is an argument of a call: what a traced program writes may have the text
/// of a log. Elsewhere a string begins a line, or follows a colon or a bracket, and no parenthesis is before it.
fn is_argument(before: &[u8]) -> bool {
    let is_escaped = |at: usize| at > 0 && before[at - 1] == b'\\';
    let Some(quote) = memchr::memrchr_iter(b'"', before).find(|at| !is_escaped(*at)) else {
        return false;
    };
    let in_front = before[..quote].trim_ascii();
    // A hyphen stands before each entry of a list in YAML.
    in_front.contains(&b'(')
        || in_front != b"-" && in_front.last().is_some_and(|b| !matches!(b, b':' | b'['))
}

/// The text of `raw`, with the lines of each string as lines of their own.
pub(crate) fn unescape(raw: Box<dyn Read + Send>) -> Box<dyn Read + Send> {
    convert_lines(raw, 64 * LONGEST, line_of_strings)
}

/// Adds a line. What stands in a string with escaped line feeds or quotes gets lines of its own, and so does a string
/// that is the whole line.
fn line_of_strings(line: &[u8], text: &mut Vec<u8>) {
    let start = text.len();
    let mut rest = line;
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest) {
        let (before, from) = rest.split_at(at);
        text.extend_from_slice(before);
        if from[0] == b'\\' {
            // In a string whose quotes are not in the line.
            rest = unescape_one(from, text);
            continue;
        }
        let (end, is_escaped) = string(&from[1..]);
        let (inside, behind) = from[1..].split_at(end);
        let is_alone = matches!(before.trim_ascii(), b"" | b"-")
            && text.len() == start + before.len()
            && matches!(behind.trim_ascii_end(), b"\"" | b"\",");
        if !is_escaped && !is_alone {
            text.extend_from_slice(&from[..=end]);
            rest = behind;
            if let [b'"', behind @ ..] = rest {
                text.push(b'"');
                rest = behind;
            }
            continue;
        }
        text.push(b'\n');
        let mut inner = inside;
        while let Some(at) = memchr::memchr(b'\\', inner) {
            text.extend_from_slice(&inner[..at]);
            inner = unescape_one(&inner[at..], text);
        }
        text.extend_from_slice(inner);
        text.push(b'\n');
        rest = behind.strip_prefix(b"\"").unwrap_or(behind);
    }
    text.extend_from_slice(rest);
}

/// The length of a string up to its closing quote, or the end of the line, and whether quotes or line feeds in it are
/// escaped.
fn string(text: &[u8]) -> (usize, bool) {
    let (mut at, mut is_escaped) = (0, false);
    while at < text.len() {
        match text[at] {
            b'"' | b'\n' => break,
            b'\\' => {
                is_escaped |= matches!(text.get(at + 1), Some(b'n' | b'"'));
                at += 1;
            }
            _ => {}
        }
        at += 1;
    }
    (at.min(text.len()), is_escaped)
}

/// Adds the character that `text` begins with an escape of. Returns what follows.
fn unescape_one<'a>(text: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    match text {
        [b'\\', b'n', rest @ ..] => {
            out.push(b'\n');
            rest
        }
        [b'\\', b't', rest @ ..] => {
            out.push(b'\t');
            rest
        }
        [b'\\', b'r', rest @ ..] => rest,
        [b'\\', b'u', a, b, c, d, rest @ ..] => {
            let hex = std::str::from_utf8(&[*a, *b, *c, *d]).ok().map(str::to_owned);
            let code = hex.and_then(|hex| u32::from_str_radix(&hex, 16).ok());
            let character = code.and_then(char::from_u32).unwrap_or('\u{fffd}');
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            rest
        }
        [b'\\', other @ (b'"' | b'\\' | b'/' | b'\''), rest @ ..] => {
            out.push(*other);
            rest
        }
        [first, rest @ ..] => {
            out.push(*first);
            rest
        }
        [] => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unescaped(text: &str) -> String {
        let mut out = String::new();
        unescape(Box::new(std::io::Cursor::new(text.as_bytes().to_vec())))
            .read_to_string(&mut out)
            .unwrap();
        out
    }

    #[test]
    fn lines_in_strings_become_lines() {
        for (text, want) in [
            (r#"{"out": "a\nb \"c\"", "rc": 0}"#, "{\"out\": \na\nb \"c\"\n, \"rc\": 0}"),
            (r#"f(\"192.0.2.9\") = 4"#, "f(\"192.0.2.9\") = 4"),
            (r#"x = "plain", "\u003ca\n""#, "x = \"plain\", \n<a\n\n"),
            ("\"cut\\nhere\nnext", "\ncut\nhere\n\nnext"),
            ("none", "none"),
        ] {
            assert_eq!(unescaped(text), want, "{text}");
        }
        let call = r#"accept4(3, {sin_addr=inet_addr(\"192.0.2.9\")}, [16]) = 4"#;
        assert!(has_calls(call.as_bytes()));
        assert!(has_calls(format!("{{\"stderr\": \"{call}\"}}").as_bytes()));
        assert!(has_calls(format!("  - \"{call}\"").as_bytes()));
        assert_eq!(unescaped("  - \"7 accept(3\"\n"), "  - \n7 accept(3\n\n");
        assert!(!has_calls(format!("write(5, \"{call}\"..., 98) = 98").as_bytes()));
        assert!(!has_calls(format!("execve(\"a\", [\"{call}\"], 0x7) = 0").as_bytes()));
        let is_known = |line: &[u8]| line.starts_with(b"SYN ");
        assert!(has_lines(b"\"SYN 1\\nSYN 2\\n\"", is_known));
        assert!(has_lines(b"\"SYN 1\\nother\\n\"", is_known));
        assert!(has_lines(b"SYN 1\\nother\n", is_known), "a heading, and rows");
        assert!(!has_lines(b"said \"SYN 1\\nother\\n\"", is_known));
        assert!(!has_lines(b"SYN 1\nSYN 2\n", is_known));
    }
}
