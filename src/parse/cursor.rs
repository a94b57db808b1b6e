//! [`Cursor`]: reads numbers, words and quoted text from the front of a line.

use super::digits::{few_of_eight, leading_digits};

/// The part of a line that is not read yet. Methods that return `None` or false leave it unchanged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    /// The next byte; 0 at the end (lines hold no NULs).
    pub(crate) fn peek(&self) -> u8 {
        self.0.first().copied().unwrap_or(0)
    }

    /// Steps over `n` bytes, or to the end.
    pub(crate) fn skip(&mut self, n: usize) {
        self.0 = self.0.get(n..).unwrap_or_default();
    }

    /// Steps over `text`, if it is here. Inlined also where code is optimised for size: the compiler then knows
    /// the length and calls no memcmp(3).
    #[inline(always)]
    pub(crate) fn eat(&mut self, text: &[u8]) -> bool {
        match self.0.split_at_checked(text.len()) {
            Some((first, rest)) if first == text => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    /// The same; the length is known to the compiler, which makes it a few instructions.
    #[inline(always)]
    pub(crate) fn eat_all<const N: usize>(&mut self, text: &[u8; N]) -> bool {
        match self.0.split_first_chunk::<N>() {
            Some((first, rest)) if first == text => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    /// Steps over `text`; `None` if something else is here.
    #[inline(always)]
    pub(crate) fn require(&mut self, text: &[u8]) -> Option<()> {
        self.eat(text).then_some(())
    }

    /// Steps over everything before the next space and returns it.
    #[inline]
    pub(crate) fn word(&mut self) -> &'a [u8] {
        let n = self.0.iter().take_while(|b| **b != b' ').count();
        let (word, rest) = self.0.split_at(n);
        self.0 = rest;
        word
    }

    /// Steps over spaces and tabs.
    #[inline(always)]
    pub(crate) fn blanks(&mut self) {
        let n = self.0.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
        self.0 = &self.0[n..];
    }

    /// Steps over spaces and returns their number.
    #[inline]
    pub(crate) fn spaces(&mut self) -> usize {
        let n = self.0.iter().take_while(|b| **b == b' ').count();
        self.0 = &self.0[n..];
        n
    }

    /// Steps over a decimal number of at most 18 digits.
    #[inline]
    pub(crate) fn number(&mut self) -> Option<u64> {
        let (value, n) = leading_digits(self.0);
        if n == 8 {
            return self.long_number();
        }
        if n == 0 {
            return None;
        }
        self.0 = self.0.get(n..)?;
        Some(value)
    }

    fn long_number(&mut self) -> Option<u64> {
        let n = self.0.iter().take_while(|b| b.is_ascii_digit()).count();
        if n > 18 {
            return None;
        }
        let value = self.0[..n].iter().fold(0, |value, b| value * 10 + u64::from(b - b'0'));
        self.0 = &self.0[n..];
        Some(value)
    }

    /// Steps over the next digits, `most` of them at most (18), and returns their number.
    #[inline(always)]
    pub(crate) fn number_up_to(&mut self, most: usize) -> Option<i64> {
        let (mut value, mut n) = (0, 0);
        for b in &self.0[..self.0.len().min(most.min(18))] {
            let digit = b.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            value = value * 10 + i64::from(digit);
            n += 1;
        }
        if n == 0 {
            return None;
        }
        self.0 = &self.0[n..];
        Some(value)
    }

    /// Steps over `.` and digits, and gives them as nanoseconds; 0 if there is no fraction.
    #[inline]
    pub(crate) fn fraction(&mut self) -> u64 {
        if self.peek() != b'.' {
            return 0;
        }
        self.0 = &self.0[1..];
        self.decimals()
    }

    /// The same in the times of logs: some write a comma for the point, and a digit must follow.
    pub(crate) fn fraction_or_comma(&mut self) -> u64 {
        let [b'.' | b',', b'0'..=b'9', ..] = self.0 else { return 0 };
        self.0 = &self.0[1..];
        self.decimals()
    }

    /// Steps over the digits behind a decimal point, and gives them as nanoseconds.
    #[inline]
    fn decimals(&mut self) -> u64 {
        const UNITS: [u64; 8] =
            [1_000_000_000, 100_000_000, 10_000_000, 1_000_000, 100_000, 10_000, 1000, 100];
        let (value, n) = leading_digits(self.0);
        if let Some(unit) = UNITS.get(n) {
            self.skip(n);
            return value * unit;
        }
        let Some((eight, rest)) = self.0.split_first_chunk::<8>() else { return 0 };
        let more = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let ninth = if more > 0 { u64::from(rest[0] - b'0') } else { 0 };
        self.0 = &rest[more..];
        few_of_eight(*eight, 8) * 10 + ninth
    }

    /// Steps over a number, decimal, or hexadecimal behind `0x`.
    pub(crate) fn integer(&mut self) -> Option<u64> {
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

    /// Steps over a quoted string and returns the text between the quotes, still escaped.
    pub(crate) fn quoted(&mut self) -> Option<&'a [u8]> {
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
    pub(crate) fn comment(&mut self) {
        if self.0.starts_with(b" /* ")
            && let Some(end) = memchr::memmem::find(self.0, b"*/")
        {
            self.skip(end + 2);
        }
    }
}

/// Undoes the escapes of a string that strace quoted, as in C: octal of one to three digits,
/// `\xNN`, and the letters.
pub(crate) fn unescape(text: &[u8]) -> Vec<u8> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_fractions_are_read() {
        let mut c = Cursor(b"12.0345 0x1f 99999999999999999999");
        assert_eq!((c.number(), c.fraction(), c.spaces()), (Some(12), 34_500_000, 1));
        assert_eq!((c.integer(), c.spaces(), c.number()), (Some(31), 1, None));
    }

    #[test]
    fn numbers_of_every_length() {
        for n in 1..=18 {
            let text = &"123456789012345678"[..n];
            let value: u64 = text.parse().unwrap();
            for after in ["", ")", ") = 5 and more", " 12345678", "/:a\u{ff}99999"] {
                let line = format!("{text}{after}");
                let mut c = Cursor(line.as_bytes());
                assert_eq!(c.number(), Some(value), "{line}");
                assert_eq!(c.0, after.as_bytes());
                let line = format!(".{line}");
                let mut c = Cursor(line.as_bytes());
                let nine: u64 = format!("{text:0<9.9}").parse().unwrap();
                assert_eq!((c.fraction(), c.0), (nine, after.as_bytes()), "{line}");
            }
        }
        assert_eq!(Cursor(b"a1234567").number(), None);
        assert_eq!(Cursor(b"").number(), None);
    }

    #[test]
    fn strings_end_at_their_own_quote() {
        let mut c = Cursor(br#""a\"b\\" rest"#);
        assert_eq!(c.quoted(), Some(&br#"a\"b\\"#[..]));
        assert_eq!(c.0, b" rest");
        assert_eq!(Cursor(br#""never \" ends"#).quoted(), None);
    }

    #[test]
    fn escapes_become_bytes() {
        assert_eq!(unescape(br"\213a\177\0\0\2"), [0o213, b'a', 0o177, 0, 0, 2]);
        assert_eq!(unescape(br"\x31\x2e\0001\n"), [b'1', b'.', 0, b'1', b'\n']);
    }
}
