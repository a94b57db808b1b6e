//! Which lines may be read by the fast path behind the prefixes of other programs, such as journald, docker compose
//! and grep. What the general path may read in another way is left to it.

use super::recent::Text;
use super::rescue;
use super::window::LENGTH;
use crate::parse::cursor::Cursor;
use crate::parse::decoration::wrapper::{self, End};
use crate::parse::input::may_be_wrapped;
use crate::parse::lines;
use crate::parse::timestamp::{SECOND, Stamp};

/// Whether the general path certainly looks for a call behind the prefixes of a line.
#[inline]
pub(super) fn may_have_prefixes(line: &[u8]) -> bool {
    line.len() < lines::LONGEST && is_foreign(line) && !may_be_wrapped(line)
}

/// Whether a line certainly begins as none of strace's lines does.
#[inline]
pub(super) fn is_foreign(line: &[u8]) -> bool {
    let length = |is_part: fn(&u8) -> bool| line.iter().take_while(|b| is_part(b)).count();
    match line {
        // `NULL` may continue a call.
        [b'A'..=b'Z', next, ..] => *next != b'U',
        [b'a'..=b'z', ..] => {
            let n = length(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
            line.get(n).is_some_and(|b| *b != b'(')
        }
        // The priority of syslog.
        [b'<', b'0'..=b'9', ..] => true,
        // Neither a process number, nor a time, nor a pointer.
        [b'1'..=b'9', ..] => {
            let n = length(u8::is_ascii_digit);
            let is_clock = n == 2 && line.get(5) == Some(&b':');
            !is_clock && matches!(line.get(n), Some(b':' | b'-' | b'/'))
        }
        _ => false,
    }
}

/// Whether the name of a thread follows the process number that a line begins with.
#[inline]
pub(super) fn has_comm(line: &[u8]) -> bool {
    let number = line.strip_prefix(b"[pid ").unwrap_or(line).trim_ascii_start();
    let digits = number.iter().take_while(|b| b.is_ascii_digit()).count();
    digits > 0 && number.get(digits) == Some(&b'<')
}

/// The prefixes of a line before, which the next line mostly has too, with another fraction of a second.
#[derive(Default)]
pub(super) struct KnownPrefixes {
    /// Up to the fraction, or all. Empty if nothing is known.
    head: Text,
    /// The digits of the fraction; 0 if there is none.
    digits: usize,
    /// What follows the fraction.
    tail: Text,
    /// The time without the fraction.
    stamp: Stamp,
    end: End,
}

impl KnownPrefixes {
    /// Remembers the prefixes of a line, their time, and what ends them. Nothing is known then if another line that
    /// begins with them may have to be read in another way.
    pub(super) fn learn(&mut self, prefixes: &[u8], stamp: Stamp, end: End) {
        *self = KnownPrefixes { stamp, end, ..KnownPrefixes::default() };
        let begins_with_word = prefixes.first().is_some_and(u8::is_ascii_alphanumeric);
        let is_harmless =
            memchr::memchr2(b'<', b'&', prefixes).is_none() && !rescue::has_accept(prefixes);
        if end == End::Unknown || !begins_with_word || !prefixes.ends_with(b" ") || !is_harmless {
            return;
        }
        let Some((at, ns)) = fraction(prefixes).filter(|(_, ns)| *ns == stamp.split().1 % SECOND)
        else {
            self.head.set(prefixes);
            return;
        };
        let digits = prefixes[at + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
        self.head.set(&prefixes[..at]);
        self.tail.set(&prefixes[at + 1 + digits..]);
        self.digits = digits;
        self.stamp = stamp.plus(-ns);
    }

    /// The time and the length of the known prefixes, if a line begins with them.
    #[inline(always)]
    pub(super) fn read(&self, line: &[u8; LENGTH]) -> Option<(Stamp, usize)> {
        let at = self.head.begins(line)?;
        if self.digits == 0 {
            return Some((self.stamp, at));
        }
        self.read_fraction(line, at)
    }

    fn read_fraction(&self, line: &[u8; LENGTH], at: usize) -> Option<(Stamp, usize)> {
        let mut cursor = Cursor(line.get(at..)?);
        let ns = cursor.fraction_or_comma() as i64;
        let tail = at + 1 + self.digits;
        let length = self.tail.begins(cursor.0)?;
        (line.len() - cursor.0.len() == tail).then_some((self.stamp.plus(ns), tail + length))
    }

    /// Whether `rest`, which follows the known prefixes, does not belong to them.
    #[inline]
    pub(super) fn end_before(&self, rest: &[u8]) -> bool {
        self.end == End::Mark || wrapper::is_behind_stamp(rest)
    }
}

/// The only fraction of a second in `text`: where its point is, and the nanoseconds, which are not 0.
fn fraction(text: &[u8]) -> Option<(usize, i64)> {
    let is_second = |four: &[u8]| matches!(four, [b':', b'0'..=b'9', b'0'..=b'9', b'.' | b',']);
    let mut places = text.windows(4).enumerate().filter(|(_, four)| is_second(four));
    let at = places.next()?.0 + 3;
    let ns = Cursor(&text[at..]).fraction_or_comma() as i64;
    (places.next().is_none() && ns > 0).then_some((at, ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_may_be_strace_s_own_or_hold_a_text_are_left_to_the_general_path() {
        for (prefix, want) in [
            ("Nov 22 10:53:30 web1 strace[812]: ", true),
            ("<13>Nov 22 10:53:30 web1 strace: ", true),
            ("2026-11-22T10:53:30.123456789Z ", true),
            ("web-1  | ", true),
            ("123:", true),
            ("log.txt:123:", true),
            ("", false),
            ("12 ", false),
            ("12:10:53 ", false),
            ("[a] ", false),
            ("NULL: ", false),
            ("0x7f: ", false),
            ("key=\"a: ", false),
            ("{\"a\": ", false),
            ("read(: ", false),
        ] {
            let line = format!("{prefix}read(3, \"a\", 1) = 1");
            assert_eq!(may_have_prefixes(line.as_bytes()), want, "{line}");
        }
    }

    /// What is known behind the prefixes of `line`, after those of `before` with the time `stamp` were learnt.
    fn known(before: &str, stamp: Stamp, line: &str) -> Option<(Stamp, usize)> {
        let mut prefixes = KnownPrefixes::default();
        prefixes.learn(before.as_bytes(), stamp, End::Mark);
        let mut bytes = [0; LENGTH];
        bytes[..line.len()].copy_from_slice(line.as_bytes());
        prefixes.read(&bytes)
    }

    #[test]
    fn known_prefixes_differ_in_the_fraction_of_their_time() {
        let at = |ns| Stamp::Epoch(1_795_344_810 * SECOND + ns);
        const BEFORE: &str = "2026-11-22T10:53:30.123456789Z stderr F ";
        for (line, want) in [
            ("2026-11-22T10:53:30.123456789Z stderr F read(3", Some((at(123_456_789), 40))),
            ("2026-11-22T10:53:30.000000001Z stderr F 12 read(3", Some((at(1), 40))),
            ("2026-11-22T10:53:31.123456789Z stderr F read(3", None),
            ("2026-11-22T10:53:30.12345678Z stderr F read(3", None),
            ("2026-11-22T10:53:30.1234567890Z stderr F read(3", None),
            ("2026-11-22T10:53:30.123456789Z stdout F read(3", None),
            ("2026-11-22T10:53:30.", None),
        ] {
            assert_eq!(known(BEFORE, at(123_456_789), line), want, "{line}");
        }
        let clock = Stamp::Yearless(11, 22, 39_210 * SECOND);
        let journal = "Nov 22 10:53:30 web1 strace[812]: ";
        assert_eq!(known(journal, clock, &format!("{journal}read(3")), Some((clock, 34)));
        // The fraction is not that of the time.
        let host = "Nov 22 10:53:30 web:10.5 x: ";
        assert_eq!(known(host, clock, &host.replace("10.5", "10.6")), None);
    }

    #[test]
    fn prefixes_that_other_lines_may_end_in_another_way_are_not_known() {
        for before in ["a:", "12:", "<13>a ", "[a] ", "a<b ", "a&lt; ", "a accept(1): ", ""] {
            assert_eq!(known(before, Stamp::None, before), None, "{before}");
        }
        let mut prefixes = KnownPrefixes::default();
        prefixes.learn(b"web-1 ", Stamp::None, End::Unknown);
        let mut bytes = [0; LENGTH];
        bytes[..6].copy_from_slice(b"web-1 ");
        assert_eq!(prefixes.read(&bytes), None);
    }

    #[test]
    fn names_of_threads_are_behind_process_numbers() {
        for (line, want) in [
            ("12<a> read(3", true),
            ("[pid    12<a>] read(3", true),
            ("12 read(3<a>", false),
            ("[pid 12] read(3<a>", false),
            ("read(3<a>", false),
            ("<... read resumed>", false),
        ] {
            assert_eq!(has_comm(line.as_bytes()), want, "{line}");
        }
    }
}
