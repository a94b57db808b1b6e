//! Lines of a log in fields of CSV (RFC 4180), as search engines for logs export them. In lines of strace the quotes are
//! doubled, which tells that they are fields.

use std::io::Read;

use memchr::memmem;

use super::layers::first_lines;
use crate::parse::input::source::convert_lines;
use crate::parse::lines::LONGEST;

/// Whether `head` has calls of strace whose quotes are doubled, and no other.
pub(crate) fn has_calls(head: &[u8]) -> bool {
    const ADDRESSES: [(&[u8], &[u8]); 2] = [
        (b"inet_addr(\"\"", b"inet_addr(\""),
        (b"inet_pton(AF_INET6, \"\"", b"inet_pton(AF_INET6, \""),
    ];
    let count = |text: &[u8]| memmem::find_iter(head, text).count();
    let doubled = ADDRESSES.map(|(doubled, any)| (count(doubled), count(any)));
    doubled.iter().any(|(doubled, _)| *doubled > 0)
        && doubled.iter().all(|(doubled, any)| doubled == any)
}

/// The text of `raw`, with the fields of each line separated by blanks.
pub(crate) fn convert(raw: Box<dyn Read + Send>) -> Box<dyn Read + Send> {
    convert_lines(raw, LONGEST, |line, text| match fields(line) {
        Some(fields) => join(&fields, b' ', text),
        None => text.extend_from_slice(line),
    })
}

/// The first lines of a text that begins with `head` as [`convert_columns`] gives them; `None`: none of them has a
/// field in quotes.
pub(crate) fn columns_of_head(head: &[u8]) -> Option<Vec<u8>> {
    let lines = first_lines(head);
    // Strings of JSON have quotes, too.
    let is_json = matches!(head.trim_ascii_start().first(), Some(b'[' | b'{'))
        || [&b"\\n"[..], b"\\\""].iter().any(|escape| memmem::find(head, escape).is_some());
    let is_row = |line: &&[u8]| {
        (line.starts_with(b"\"") || memmem::find(line, b",\"").is_some())
            && fields(line)
                .is_some_and(|fields| fields.iter().filter(|f| !f.is_empty()).count() > 1)
    };
    let mut text = Vec::new();
    (!is_json && lines.iter().any(is_row)).then(|| {
        lines.iter().for_each(|line| convert_columns_of(line, &mut text));
        text
    })
}

/// The text of `raw` without its heading, and with the fields of each line as columns between tabs.
pub(crate) fn convert_columns(raw: Box<dyn Read + Send>) -> Box<dyn Read + Send> {
    convert_lines(raw, LONGEST, convert_columns_of)
}

fn convert_columns_of(line: &[u8], text: &mut Vec<u8>) {
    match fields(line) {
        Some(fields) if is_heading(&fields) => {}
        Some(fields) => join(&fields, b'\t', text),
        None => text.extend_from_slice(line),
    }
}

/// The fields of a line; `None` if it has none.
fn fields(line: &[u8]) -> Option<csv::ByteRecord> {
    let mut fields = csv::ByteRecord::new();
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line);
    reader.read_byte_record(&mut fields).is_ok_and(|read| read).then_some(fields)
}

fn join(fields: &csv::ByteRecord, separator: u8, text: &mut Vec<u8>) {
    for (number, field) in fields.iter().enumerate() {
        if number > 0 {
            text.push(separator);
        }
        text.extend_from_slice(field);
    }
    text.push(b'\n');
}

/// Whether these are names of columns: several words without digits, so that no address is among them.
fn is_heading(fields: &csv::ByteRecord) -> bool {
    let is_part = |b: &u8| b.is_ascii_alphabetic() || b"_@.-/ ".contains(b);
    fields.len() > 1 && fields.iter().all(|field| !field.is_empty() && field.iter().all(is_part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_restored() {
        let call = |quote: &str| {
            format!("accept(3, {{sin_addr=inet_addr({quote}192.0.2.1{quote})}}, [16]) = 4")
        };
        let exported = format!("_time,_raw\n2026-11-26T10:00:00Z,\"7 {}\"\n\n", call("\"\""));
        assert!(has_calls(exported.as_bytes()));
        assert!(!has_calls(call("\"").as_bytes()), "as strace writes it");
        assert!(!has_calls(format!("{exported}{}", call("\"")).as_bytes()), "both");
        let mut text = String::new();
        convert(Box::new(std::io::Cursor::new(exported))).read_to_string(&mut text).unwrap();
        assert_eq!(text, format!("_time _raw\n2026-11-26T10:00:00Z 7 {}\n\n", call("\"")));
    }

    #[test]
    fn fields_in_quotes_become_columns_and_the_heading_is_left_out() {
        let exported = "\"timestamp\",\"source\",\"message\"\n\"2026-11-22T10:58:42Z\",\"fw1\",\"5,,,\"\"x\"\"\"\n";
        let want = "2026-11-22T10:58:42Z\tfw1\t5,,,\"x\"\n";
        let mut text = String::new();
        convert_columns(Box::new(std::io::Cursor::new(exported)))
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, want);
        assert_eq!(columns_of_head(exported.as_bytes()).unwrap(), want.as_bytes());
        for other in
            ["a,b\n1,2\n", "[\n\"a\",\"b\"]", "\"a\\nb\",\"c\"", "\"a b\",\n", "\"a,\"", "x\n"]
        {
            assert_eq!(columns_of_head(other.as_bytes()), None, "{other}");
        }
    }
}
