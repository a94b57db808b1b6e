//! Lines behind the prefixes of other programs, such as journald, docker compose and grep, for the fast path. What
//! the general path may read in another way is left to it.

use super::rescue;
use crate::parse::decoration::clean;
use crate::parse::decoration::wrapper::{self, Stripped};
use crate::parse::input::may_be_wrapped;
use crate::parse::lines;
use crate::parse::timestamp::Stamp;

/// What `read` reads behind the fewest prefixes of `line`, the length of these, and their time. `read` gets the
/// place of what it shall read. `None` if the general path may read the line in another way.
#[inline]
pub(super) fn find_behind<T>(
    line: &[u8],
    mut read: impl FnMut(usize) -> Option<T>,
) -> Option<(T, usize, Stamp)> {
    if line.len() >= lines::LONGEST || !is_foreign(line) || may_be_wrapped(line) {
        return None;
    }
    for Stripped { stamp, rest } in wrapper::without_prefixes(line) {
        let before = line.len() - rest.len();
        if let Some(found) = read(before) {
            let stamp = rescue::of_wrapper(stamp);
            return (!clean::is_dirty(line)).then_some((found, before, stamp));
        }
        if !is_foreign(rest) {
            return None;
        }
    }
    None
}

/// Whether a line certainly begins as none of strace's lines does.
#[inline]
fn is_foreign(line: &[u8]) -> bool {
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

    /// How long the prefixes are behind which a call is found.
    fn before(line: &str) -> Option<usize> {
        let read = |at: usize| line[at..].starts_with("read(").then_some(());
        find_behind(line.as_bytes(), read).map(|((), before, _)| before)
    }

    #[test]
    fn prefixes_of_other_programs_are_found() {
        for prefix in [
            "Nov 22 10:53:30 web1 strace[812]: ",
            "2026-11-22T10:53:30.123456789Z ",
            "2026-11-22T10:53:30.123456789Z stderr F ",
            "2026-11-22T10:53:30+0100 web1 strace[812]: ",
            "web-1  | ",
            "<13>Nov 22 10:53:30 web1 strace: ",
            "123:",
            "log.txt:123:",
            "web-1  | 2026-11-22 10:53:30 ",
        ] {
            assert_eq!(before(&format!("{prefix}read(3) = 5")), Some(prefix.len()), "{prefix}");
        }
    }

    #[test]
    fn lines_that_the_general_path_may_read_in_another_way_are_left_to_it() {
        for prefix in [
            "12 ",
            "12:10:53 ",
            "[a] ",
            "NULL: ",
            "0x7f: ",
            "key=\"a: ",
            "read(: ",
            "web | \u{1b}[1m",
            "{\"a\": ",
        ] {
            assert_eq!(before(&format!("{prefix}read(3) = 5")), None, "{prefix}");
        }
        assert_eq!(before("web | read(3) = 5\u{1b}[1m"), None);
    }
}
