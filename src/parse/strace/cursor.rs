//! [`Cursor`]: a place in a line, and the small things that are read there.

/// What is left of a line.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    /// The next byte; 0 at the end (lines hold no NULs).
    pub fn peek(&self) -> u8 {
        self.0.first().copied().unwrap_or(0)
    }

    /// Steps over `n` bytes, or to the end.
    pub fn skip(&mut self, n: usize) {
        self.0 = self.0.get(n..).unwrap_or_default();
    }

    /// Steps over `text`, if it is here.
    #[inline]
    pub fn eat(&mut self, text: &[u8]) -> bool {
        match self.0.strip_prefix(text) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    /// Steps over spaces and says how many there were.
    #[inline]
    pub fn spaces(&mut self) -> usize {
        let n = self.0.iter().take_while(|b| **b == b' ').count();
        self.0 = &self.0[n..];
        n
    }

    /// Steps over a decimal number of at most 18 digits.
    #[inline]
    pub fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        let mut n = 0;
        while let Some(digit) = self.0.get(n).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
            value = value * 10 + u64::from(digit);
            n += 1;
            if n > 18 {
                return None;
            }
        }
        if n == 0 {
            return None;
        }
        self.0 = &self.0[n..];
        Some(value)
    }

    /// Steps over `.` and digits, and gives them as nanoseconds; 0 if there is no fraction.
    #[inline]
    pub fn fraction(&mut self) -> u64 {
        if self.peek() != b'.' {
            return 0;
        }
        let mut ns = 0;
        let mut unit = 1_000_000_000;
        let mut n = 1;
        while let Some(digit) = self.0.get(n).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
            unit /= 10;
            ns += u64::from(digit) * unit;
            n += 1;
        }
        self.0 = &self.0[n..];
        ns
    }

    /// Steps over a number, decimal, or hexadecimal behind `0x`.
    pub fn integer(&mut self) -> Option<u64> {
        if !self.0.starts_with(b"0x") {
            return self.number();
        }
        let digits = &self.0[2..];
        let n = digits.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        if n == 0 || n > 16 {
            return None;
        }
        let text = std::str::from_utf8(&digits[..n]).ok()?;
        let value = u64::from_str_radix(text, 16).ok()?;
        self.0 = &digits[n..];
        Some(value)
    }

    /// Steps over a quoted string and gives what is between the quotes, still escaped.
    pub fn quoted(&mut self) -> Option<&'a [u8]> {
        let text = self.0.strip_prefix(b"\"")?;
        let mut at = 0;
        loop {
            at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
            if text[at] == b'"' {
                break;
            }
            at += 2;
        }
        self.0 = &text[at + 1..];
        Some(&text[..at])
    }

    /// Steps over `/* … */` and the space before it.
    pub fn comment(&mut self) {
        if self.0.starts_with(b" /* ")
            && let Some(end) = memchr::memmem::find(self.0, b"*/")
        {
            self.skip(end + 2);
        }
    }
}

/// Undoes the escapes of a string that strace quoted, as in C: octal of one to three digits,
/// `\xNN`, and the letters.
pub fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied().peekable();
    while let Some(b) = rest.next() {
        if b != b'\\' {
            out.push(b);
            continue;
        }
        let Some(escape) = rest.next() else { break };
        match escape {
            b'0'..=b'7' => {
                let mut value = u32::from(escape - b'0');
                for _ in 0..2 {
                    let Some(digit) = rest.next_if(|b| (b'0'..=b'7').contains(b)) else { break };
                    value = value * 8 + u32::from(digit - b'0');
                }
                out.push(value as u8);
            }
            b'x' => {
                let mut value = 0;
                for _ in 0..2 {
                    let Some(digit) = rest.next_if(u8::is_ascii_hexdigit) else { break };
                    value = value * 16 + char::from(digit).to_digit(16).unwrap_or(0);
                }
                out.push(value as u8);
            }
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b'r' => out.push(b'\r'),
            b'f' => out.push(0x0c),
            b'v' => out.push(0x0b),
            other => out.push(other),
        }
    }
    out
}

/// The line without SGR sequences (`ESC [ … m`), which `--color` puts round every element.
pub fn without_colours(line: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = memchr::memchr(0x1b, rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(sequence) = rest.strip_prefix(b"[") {
            let n = sequence.iter().take_while(|b| b.is_ascii_digit() || b";:".contains(b)).count();
            rest = &sequence[n..];
            // K erases to the end of the line: terminals that record add it.
            if matches!(rest.first(), Some(b'm' | b'K')) {
                rest = &rest[1..];
            }
        }
    }
    out.extend_from_slice(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_fractions() {
        let mut c = Cursor(b"12.0345 0x1f 99999999999999999999");
        assert_eq!((c.number(), c.fraction(), c.spaces()), (Some(12), 34_500_000, 1));
        assert_eq!((c.integer(), c.spaces(), c.number()), (Some(31), 1, None));
    }

    #[test]
    fn strings_end_at_their_own_quote() {
        let mut c = Cursor(br#""a\"b\\" rest"#);
        assert_eq!(c.quoted(), Some(&br#"a\"b\\"#[..]));
        assert_eq!(c.0, b" rest");
        assert_eq!(Cursor(br#""never \" ends"#).quoted(), None);
    }

    #[test]
    fn escapes() {
        assert_eq!(unescape(br"\213a\177\0\0\2"), [0o213, b'a', 0o177, 0, 0, 2]);
        assert_eq!(unescape(br"\x31\x2e\0001\n"), [b'1', b'.', 0, b'1', b'\n']);
    }

    #[test]
    fn colours() {
        assert_eq!(without_colours(b"\x1b[0m[\x1b[35;1mpid 1\x1b[0m]"), b"[pid 1]");
    }
}
