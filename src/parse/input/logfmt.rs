//! Lines in logfmt, `time="…" level=info msg="…"`, as logrus and the tools of containers write
//! them.

use serde_json::{Map, Value};

/// What a line is.
#[derive(Debug, PartialEq)]
pub(crate) enum Logfmt {
    /// Pairs, with one of the members that hold a text.
    Pairs(Map<String, Value>),
    /// The line ends within a text.
    Broken,
}

/// Reads a line; `None` if it is no logfmt. `holds_text` says which keys hold texts.
///
/// The value of such a key is in quotes. Without them, the line may be any list of pairs, such as
/// the fields of a LOG line.
pub(crate) fn read(line: &[u8], holds_text: impl Fn(&str) -> bool) -> Option<Logfmt> {
    let mut pairs = Map::new();
    let mut has_text = false;
    let mut rest = line.trim_ascii();
    while !rest.is_empty() {
        let n = key_length(rest);
        let key = std::str::from_utf8(&rest[..n]).ok().filter(|key| !key.is_empty())?;
        let value = rest[n..].strip_prefix(b"=")?;
        rest = if let [b'"', quoted @ ..] = value {
            let text = holds_text(key);
            let Some((value, behind)) = unquoted(quoted) else {
                return text.then_some(Logfmt::Broken);
            };
            has_text |= text;
            pairs.insert(key.to_owned(), Value::String(value));
            behind
        } else {
            let end = memchr::memchr(b' ', value).unwrap_or(value.len());
            let word = String::from_utf8_lossy(&value[..end]).into_owned();
            pairs.insert(key.to_owned(), Value::String(word));
            &value[end..]
        };
        if !rest.is_empty() {
            rest = rest.strip_prefix(b" ")?.trim_ascii_start();
        }
    }
    has_text.then_some(Logfmt::Pairs(pairs))
}

/// Whether `line` begins with a key and the mark behind it.
pub(super) fn begins(line: &[u8]) -> bool {
    line.get(key_length(line)) == Some(&b'=')
}

/// The length of the key that `text` begins with.
fn key_length(text: &[u8]) -> usize {
    let is_key = |b: &u8| b.is_ascii_alphanumeric() || b"_.@-".contains(b);
    text.iter().take_while(|b| is_key(b)).count()
}

/// The text up to the closing quote, and what follows the quote.
fn unquoted(quoted: &[u8]) -> Option<(String, &[u8])> {
    let mut text = Vec::new();
    let mut bytes = quoted.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Some((String::from_utf8_lossy(&text).into_owned(), &quoted[at + 1..])),
            b'\\' => match bytes.next()?.1 {
                b'n' => text.push(b'\n'),
                b't' => text.push(b'\t'),
                b'r' => text.push(b'\r'),
                other @ (b'"' | b'\\') => text.push(*other),
                other => text.extend([b'\\', *other]),
            },
            other => text.push(*other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_unquoted() {
        let read = |line: &str| read(line.as_bytes(), |key| key == "msg");
        let Some(Logfmt::Pairs(pairs)) =
            read(r#"time="2026-11-22T10:58:42Z" level=info msg="a \"b\" \\x\n" n=1"#)
        else {
            panic!()
        };
        assert_eq!(pairs["msg"], "a \"b\" \\x\n");
        assert_eq!((&pairs["time"], &pairs["n"]), (&"2026-11-22T10:58:42Z".into(), &"1".into()));
        assert_eq!(read(r#"level=info msg="accept(3"#), Some(Logfmt::Broken));
        for line in [
            "",
            "a b",
            "level=info",
            "type=SYSCALL msg=audit(1795345122.1:7): arch=c000003e",
            "IN=eth0 OUT= SRC=192.0.2.1 DST=192.0.2.2 LEN=60 DF PROTO=TCP",
            r#"level="in"#,
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
