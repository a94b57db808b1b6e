//! Logs in mails, as mailboxes and archives of lists have them: quoted-printable, RFC 2045, section 6.7.

use std::io::Read;

use crate::parse::input::source::convert_lines;
use crate::parse::lines::LONGEST;

/// Lines are wrapped that are longer than 76 characters, behind a word as a rule.
const WRAPPED: std::ops::RangeInclusive<usize> = 50..=76;

/// Whether `head` is quoted-printable: each equals sign begins a byte in hexadecimal, or ends a line that is
/// wrapped.
pub(crate) fn is_encoded(head: &[u8]) -> bool {
    let mut encoded = 0;
    for at in memchr::memchr_iter(b'=', head) {
        match &head[at + 1..] {
            [high, low, ..] if hex(*high).is_some() && hex(*low).is_some() => {
                encoded += u32::from((*high, *low) == (b'3', b'D'));
            }
            [] | [_] => {}
            [b'\n', ..] | [b'\r', b'\n', ..] if is_wrapped(&head[..=at]) => encoded += 1,
            _ => return false,
        }
    }
    encoded > 0
}

/// Whether the last line of `text` has the length of one that is wrapped.
fn is_wrapped(text: &[u8]) -> bool {
    WRAPPED.contains(&text.iter().rev().take_while(|b| **b != b'\n').count())
}

/// The text of `raw`, decoded.
pub(crate) fn decode(raw: Box<dyn Read + Send>) -> Box<dyn Read + Send> {
    convert_lines(raw, LONGEST, decode_line)
}

fn decode_line(line: &[u8], text: &mut Vec<u8>) {
    let mut rest = line;
    while let Some(at) = memchr::memchr(b'=', rest) {
        text.extend_from_slice(&rest[..at]);
        rest = match &rest[at + 1..] {
            // The line goes on in the next one.
            b"\n" | b"\r\n" => return,
            [high, low, behind @ ..] if let (Some(high), Some(low)) = (hex(*high), hex(*low)) => {
                text.push(high << 4 | low);
                behind
            }
            behind => {
                text.push(b'=');
                behind
            }
        };
    }
    text.extend_from_slice(rest);
}

/// The value of a digit, whose letters are capitals.
fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mails_are_decoded() {
        let mail = "> 1234 accept(3, {sa_family=3DAF_INET, sin_port=3Dhtons(7), =\n\
                    sin_addr=3D}) =3D 4\nna=C3=AFve\n";
        assert!(is_encoded(mail.as_bytes()));
        let mut text = String::new();
        decode(Box::new(std::io::Cursor::new(mail))).read_to_string(&mut text).unwrap();
        assert_eq!(
            text,
            "> 1234 accept(3, {sa_family=AF_INET, sin_port=htons(7), sin_addr=}) = 4\nnaïve\n"
        );
    }

    #[test]
    fn other_texts_are_not_encoded() {
        for text in ["", "accept(3) = 4\n", "a=3D b=3d\n", "sa_family=AF_INET = 3\n", "a=\nb\n"] {
            assert!(!is_encoded(text.as_bytes()), "{text}");
        }
    }
}
