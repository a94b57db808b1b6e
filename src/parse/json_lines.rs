//! JSON objects over many lines, or in an array, as one line each: so `gcloud logging read --format=json`,
//! `tshark -T json`, `jq -s` and pretty printers write them. Readers of JSON read line by line.

use std::io::Read;

use super::input::source::{Convert, Converted};

/// The objects in `head`, one a line; `None` if it is no array or object.
pub(crate) fn of_head(head: &[u8]) -> Option<Vec<u8>> {
    if !matches!(head.trim_ascii_start().first(), Some(b'{' | b'[')) {
        return None;
    }
    let mut lines = JsonLines::default();
    let mut text = Vec::with_capacity(head.len());
    lines.convert(head, &mut text);
    // The last object may be cut.
    text.truncate(memchr::memrchr(b'\n', &text).map_or(0, |end| end + 1));
    Some(text)
}

/// The objects in the text of `raw`, one a line.
pub(crate) fn convert(raw: Box<dyn Read + Send>) -> Box<dyn Read + Send> {
    Box::new(Converted::new(raw, JsonLines::default()))
}

/// `text` with each JSON object in a line of its own.
pub(crate) fn divide(text: &[u8]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(text.len());
    JsonLines::default().convert(text, &mut lines);
    lines
}

/// Leaves out the line feeds and the blanks between the parts of an object, and the array around
/// the objects. Text outside of objects stays in lines of its own.
#[derive(Default)]
struct JsonLines {
    /// How many objects and arrays are open in an object.
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// In a line of text outside of objects.
    in_text: bool,
}

impl Convert for JsonLines {
    fn convert(&mut self, raw: &[u8], text: &mut Vec<u8>) {
        for byte in raw {
            self.byte(*byte, text);
        }
    }
}

impl JsonLines {
    fn byte(&mut self, byte: u8, text: &mut Vec<u8>) {
        if self.in_text {
            text.push(byte);
            self.in_text = byte != b'\n';
        } else if self.depth == 0 {
            match byte {
                b'{' => {
                    self.depth = 1;
                    text.push(byte);
                }
                b'[' | b']' | b',' | b' ' | b'\t' | b'\r' | b'\n' => {}
                _ => {
                    self.in_text = true;
                    text.push(byte);
                }
            }
        } else if self.in_string {
            text.push(byte);
            match byte {
                // No string goes over the end of a line: the object is cut.
                b'\n' => *self = JsonLines::default(),
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
        } else {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => return,
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth -= 1,
                _ => {}
            }
            text.push(byte);
            if self.depth == 0 {
                text.push(b'\n');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_every_layout_become_lines() {
        for (text, want) in [
            (
                "[\n  {\n    \"a\": \"x y\",\n    \"b\": [1, 2]\n  },\n  {\"c\":{}}\n]\n",
                "{\"a\":\"x y\",\"b\":[1,2]}\n{\"c\":{}}\n",
            ),
            ("{\"a\":1}\n{\"b\":\"}\\\"{\"}\n", "{\"a\":1}\n{\"b\":\"}\\\"{\"}\n"),
            ("[{\"a\":1},{\"b\":2}]", "{\"a\":1}\n{\"b\":2}\n"),
            ("{\"a\":1}\nRunning as user\n{\"b\":2}\n", "{\"a\":1}\nRunning as user\n{\"b\":2}\n"),
            ("{\"a\":\"cut\n{\"b\":2}\n", "{\"a\":\"cut\n{\"b\":2}\n"),
            ("[{\"a\":1},\n{\"b\":", "{\"a\":1}\n{\"b\":"),
        ] {
            let mut out = String::new();
            convert(Box::new(std::io::Cursor::new(text))).read_to_string(&mut out).unwrap();
            assert_eq!(out, want, "{text}");
        }
        assert_eq!(of_head(b"[{\"a\": 1},{\"b\"").unwrap(), b"{\"a\":1}\n");
        assert_eq!(of_head(b"a {\"a\": 1}"), None);
    }
}
