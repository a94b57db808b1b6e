//! Lines of strace in fields of CSV (RFC 4180), as search engines for logs export them: their quotes are doubled.

use std::io::Read;

use crate::parse::input::source::convert_lines;
use crate::parse::lines::LONGEST;

/// Whether `head` has calls of strace whose quotes are doubled, and no other.
pub(crate) fn has_calls(head: &[u8]) -> bool {
    const ADDRESSES: [(&[u8], &[u8]); 2] = [
        (b"inet_addr(\"\"", b"inet_addr(\""),
        (b"inet_pton(AF_INET6, \"\"", b"inet_pton(AF_INET6, \""),
    ];
    let count = |text: &[u8]| memchr::memmem::find_iter(head, text).count();
    let doubled = ADDRESSES.map(|(doubled, any)| (count(doubled), count(any)));
    doubled.iter().any(|(doubled, _)| *doubled > 0)
        && doubled.iter().all(|(doubled, any)| doubled == any)
}

/// The text of `raw`, with the fields of each line separated by blanks.
pub(crate) fn convert(raw: Box<dyn Read + Send>) -> Box<dyn Read + Send> {
    convert_lines(raw, LONGEST, convert_line)
}

fn convert_line(line: &[u8], text: &mut Vec<u8>) {
    let mut fields = csv::ByteRecord::new();
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line);
    match reader.read_byte_record(&mut fields) {
        Ok(true) => {
            for (number, field) in fields.iter().enumerate() {
                if number > 0 {
                    text.push(b' ');
                }
                text.extend_from_slice(field);
            }
            text.push(b'\n');
        }
        _ => text.extend_from_slice(line),
    }
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
}
