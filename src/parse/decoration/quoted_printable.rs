//! Logs in mails, as mailboxes and archives of lists have them: quoted-printable, RFC 2045, section 6.7.

use std::io::Read;

use crate::parse::input::source::convert_lines;
use crate::parse::lines::LONGEST;

/// Lines are wrapped that are longer than 76 characters, behind a word as a rule.
const WRAPPED: std::ops::RangeInclusive<usize> = 50..=76;

/// Whether `head` is quoted-printable: each equals sign begins a byte in hexadecimal, or ends a line that is
/// wrapped. The headers of mails and of their parts are not encoded.
pub(crate) fn is_encoded(head: &[u8]) -> bool {
    let mut encoded = 0;
    let mut rest = head;
    let (mut may_be_header, mut is_mail) = (true, false);
    while !rest.is_empty() {
        let header = if may_be_header { header_len(rest) } else { 0 };
        is_mail |= header > 0;
        rest = &rest[header..];
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let (line, behind) = rest.split_at(end);
        rest = behind;
        let is_boundary = is_mail && is_boundary(line);
        match encoded_signs(line) {
            _ if is_boundary => {}
            Some(n) => encoded += n,
            None => return false,
        }
        // In a mailbox, the next mail follows.
        may_be_header = is_boundary || line.trim_ascii().is_empty() && rest.starts_with(b"From ");
    }
    encoded > 0
}

/// Number of encoded equals signs and of wraps in `line`; `None`: it is not encoded.
fn encoded_signs(line: &[u8]) -> Option<u32> {
    let mut encoded = 0;
    for at in memchr::memchr_iter(b'=', line) {
        match &line[at + 1..] {
            [high, low, ..] if hex(*high).is_some() && hex(*low).is_some() => {
                encoded += u32::from((*high, *low) == (b'3', b'D'));
            }
            b"\n" | b"\r\n" if WRAPPED.contains(&(at + 1)) => encoded += 1,
            b"\n" | b"\r\n" => return None,
            // The text is cut.
            [] | [_] => {}
            _ => return None,
        }
    }
    Some(encoded)
}

/// Whether `line` may begin or end a part of a mail.
fn is_boundary(line: &[u8]) -> bool {
    line.starts_with(b"--") && !line.trim_ascii().contains(&b' ')
}

/// Length of the block of headers that `text` begins with, or 0. It ends with an empty line, or is cut.
fn header_len(text: &[u8]) -> usize {
    let mut len = 0;
    for line in text.split_inclusive(|b| *b == b'\n') {
        let is_empty = line.trim_ascii().is_empty();
        let name = line.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'-').count();
        let is_field = name > 0 && matches!(line[name..], [b':', b' ' | b'\t' | b'\r' | b'\n', ..]);
        let is_continued = len > 0 && matches!(line.first(), Some(b' ' | b'\t'));
        let is_mailbox = len == 0 && line.starts_with(b"From ");
        if !(is_empty || is_field || is_continued || is_mailbox) {
            return 0;
        }
        if is_empty {
            return len;
        }
        len += line.len();
    }
    len
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
    fn headers_of_mails_are_no_part_of_the_encoded_text() {
        let header = "Received: from a by b (Postfix)\n\twith ESMTP id 4=x\nDKIM-Signature: v=1; a=rsa-sha256;\n \
            bh=ab\nContent-Type: text/plain; charset=\"utf-8\"\n\
            Content-Transfer-Encoding: quoted-printable\n\n";
        let body = "1234 accept(3, {sa_family=3DAF_INET}) =3D 4\n";
        let part = "Content-Type: text/plain; charset=\"utf-8\"\n\n";
        for mail in [
            format!("{header}{body}"),
            format!("From a@example.org Sun Nov 22 10:58:42 2026\n{header}{body}"),
            format!("{header}{body}").replace('\n', "\r\n"),
            format!("{header}{body}\nFrom b@example.org Sun Nov 22 10:58:42 2026\n{header}{body}"),
            format!("{header}--===1==\n{part}{body}\n--===1==--\n"),
            format!("strace: Process 7 attached\n{body}"),
        ] {
            assert!(is_encoded(mail.as_bytes()), "{mail}");
        }
        for text in [
            format!("{header}a=1\n"),
            format!("{header}\nFrom here\na=1\n{body}"),
            header.to_owned(),
        ] {
            assert!(!is_encoded(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn other_texts_are_not_encoded() {
        for text in ["", "accept(3) = 4\n", "a=3D b=3d\n", "sa_family=AF_INET = 3\n", "a=\nb\n"] {
            assert!(!is_encoded(text.as_bytes()), "{text}");
        }
    }
}
