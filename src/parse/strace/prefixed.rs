//! Which lines may be read by the fast path behind the prefixes of other programs, such as journald, docker compose
//! and grep. What the general path may read in another way is left to it.

use crate::parse::input::may_be_wrapped;
use crate::parse::lines;

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
}
