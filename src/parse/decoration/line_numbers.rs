//! Numbers of lines before strace's lines, as editors and pagers show them: they look like process numbers.

use std::io::Read;

use super::layers::{first_lines, numbered};
use crate::parse::input::source::convert_lines;
use crate::parse::lines::LONGEST;

/// Lines from which on successive numbers are those of lines, and not of threads in the order of their creation.
const MIN_LINES: usize = 8;
/// The same where the numbers begin with 0 or 1.
const MIN_FIRST_LINES: usize = 3;
/// strace pads process numbers on the right to this width, and seconds (`-r`) on the left to one more.
const PID_WIDTH: usize = 5;

/// Whether successive numbers are before the lines of strace in `head`.
pub(crate) fn has_numbers(head: &[u8]) -> bool {
    let lines = first_lines(head);
    let numbers: Vec<i64> = lines.iter().filter_map(|line| Some(numbered(line)?.0)).collect();
    let min_lines = match numbers.first() {
        Some(0 | 1) => MIN_FIRST_LINES,
        _ => MIN_LINES,
    };
    numbers.len() >= min_lines
        && numbers.windows(2).all(|pair| pair[1] == pair[0] + 1)
        && !lines.iter().all(|line| is_padded_by_strace(line))
}

/// The text of `raw`, without the numbers of its lines.
pub(crate) fn remove(raw: Box<dyn Read + Send>) -> Box<dyn Read + Send> {
    let mut next = None;
    convert_lines(raw, LONGEST, move |line, text| {
        let (line, end) = line.split_at(line.trim_ascii_end().len());
        let rest = match numbered(line) {
            Some((number, rest)) if next.is_none_or(|next| next == number) => {
                next = Some(number + 1);
                rest
            }
            _ => line,
        };
        text.extend_from_slice(rest);
        text.extend_from_slice(end);
    })
}

/// Whether the number that `line` begins with is in a column that strace writes. That of whole seconds may count up
/// as numbers of lines do.
fn is_padded_by_strace(line: &[u8]) -> bool {
    let blanks = |text: &[u8]| text.iter().take_while(|b| **b == b' ').count();
    let before = blanks(line);
    let digits = line[before..].iter().take_while(|b| b.is_ascii_digit()).count();
    let behind = blanks(&line[before + digits..]);
    let is_pid = before == 0 && digits < PID_WIDTH && digits + behind == PID_WIDTH + 1;
    let is_seconds = before > 0 && before + digits == PID_WIDTH + 1 && behind == 1;
    is_pid || is_seconds
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `count` lines with the numbers from `first`.
    fn text(first: usize, count: usize, show: impl Fn(usize) -> String) -> String {
        (first..first + count).map(|n| format!("{}close(3) = 0\n", show(n))).collect()
    }

    #[test]
    fn successive_numbers_are_numbers_of_lines() {
        let one_blank = |n: usize| format!("{n} ");
        let right = |n: usize| format!("{n:>7} ");
        let pid = |n: usize| format!("{n:<5} ");
        let seconds = |n: usize| format!("{n:>6} ");
        for (text, want) in [
            (text(1, 3, one_blank), true),
            (text(0, 3, right), true),
            (text(95, 8, one_blank), true),
            (format!("$ cat log\n{}", text(1, 3, one_blank)), true),
            (format!("{}close(3) = 0\n", text(1, 3, one_blank)), true),
            (text(1, 2, one_blank), false),
            (text(95, 7, one_blank), false),
            (format!("{0}{0}", text(1, 3, one_blank)), false),
            (text(1, 9, pid), false),
            (text(0, 9, seconds), false),
            (text(1, 9, |n| format!("{n}:")), false),
        ] {
            assert_eq!(has_numbers(text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn numbers_are_removed_as_far_as_they_are_successive() {
        let listing =
            "# a log\n 9 socket() = 3\n10\n11   7 bind() = 0\n7 close(3) = 0\n12\r\n13 exit(0)";
        let mut out = String::new();
        remove(Box::new(std::io::Cursor::new(listing))).read_to_string(&mut out).unwrap();
        assert_eq!(out, "# a log\nsocket() = 3\n\n  7 bind() = 0\n7 close(3) = 0\n\r\nexit(0)");
    }
}
