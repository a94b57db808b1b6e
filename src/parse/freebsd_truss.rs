//! Output of FreeBSD's truss with prefixes, made like strace's: the process with `-f`, the thread with `-H`, the time
//! since the start with `-d`, the duration of the call with `-D`.
//!
//! The forms are those of `print_line_prefix` in FreeBSD's usr.bin/truss/setup.c. A call is printed when it
//! returns, on one line, so the thread is not needed to join lines.

use std::io::Read;

use super::cursor::Cursor;
use super::decoration::layers::first_lines;
use super::input::Conversion;
use super::input::source::convert_lines;
use super::lines::LONGEST;
use super::timestamp::SECOND;

/// Process numbers are smaller than this (PID_MAX), and thread numbers are not.
const MIN_TID: u64 = 100_000;
/// Digits of the fraction of a time.
const FRACTION_DIGITS: usize = 9;
/// Part of successive times, as a divisor, that may go back if they are times since the start: those of signals and
/// new threads may be old.
const MAX_BACKWARD: usize = 10;

/// The prefixes of a line.
#[derive(Debug, PartialEq, Eq)]
struct Prefix {
    pid: Option<u64>,
    /// The times in nanoseconds: since the start, the duration, or both.
    times: [Option<i64>; 2],
    length: usize,
}

/// What makes strace's lines of a text that begins with `head`, if it is of FreeBSD's truss and needs that.
pub(super) fn conversion(head: &[u8]) -> Option<Conversion> {
    let lines = first_lines(head);
    let prefixes: Vec<Prefix> =
        lines.iter().filter(|line| is_call(line)).filter_map(|line| prefix(line)).collect();
    if prefixes.is_empty() {
        return None;
    }
    let times: Vec<i64> = prefixes.iter().filter_map(|prefix| prefix.times[0]).collect();
    let backward = times.windows(2).filter(|pair| pair[1] < pair[0]).count();
    let has_both = prefixes.iter().any(|prefix| prefix.times[1].is_some());
    let is_since_start = has_both || backward * MAX_BACKWARD <= times.len();
    Some(if is_since_start { |raw| convert(raw, true) } else { |raw| convert(raw, false) })
}

/// The lines of `raw` with strace's prefixes.
fn convert(raw: Box<dyn Read + Send>, with_times: bool) -> Box<dyn Read + Send> {
    let mut before = 0;
    convert_lines(raw, LONGEST, move |line, text| {
        let Some(prefix) = prefix(line) else { return text.extend_from_slice(line) };
        if let Some(pid) = prefix.pid {
            text.extend_from_slice(format!("{pid:<5} ").as_bytes());
        }
        if let Some(time) = prefix.times[0].filter(|_| with_times) {
            // strace -r gives the time since the line before.
            let since = (time - before).max(0);
            before = before.max(time);
            let (seconds, fraction) = (since / SECOND, since % SECOND);
            text.extend_from_slice(format!("{seconds:>6}.{fraction:09} ").as_bytes());
        }
        text.extend_from_slice(&line[prefix.length..]);
    })
}

/// Whether a line ends as only FreeBSD's truss writes it: ` = 5 (0x5)`, ` ERR#35 'Resource temporarily unavailable'`.
fn is_call(line: &[u8]) -> bool {
    let line = line.trim_ascii_end();
    let Some(at) = memchr::memrchr(b')', line) else { return false };
    if memchr::memmem::find(&line[at..], b" ERR#").is_some() {
        return true;
    }
    let value = memchr::memmem::rfind(line, b" = ").map(|at| Cursor(&line[at + 3..]));
    value.is_some_and(|mut value| {
        value.eat(b"-");
        value.number().is_some() && value.eat(b" (0x") && value.0.ends_with(b")")
    })
}

/// Reads the prefixes of `line`; `None`: it has none.
fn prefix(line: &[u8]) -> Option<Prefix> {
    let mut cursor = Cursor(line);
    let pid = pid(&mut cursor);
    let times = [(); 2].map(|()| time(&mut cursor));
    let length = line.len() - cursor.0.len();
    (length > 0).then_some(Prefix { pid, times, length })
}

/// `60123: `, `60123 100456: `, `100456: `: steps over process and thread, and gives the process if it is here.
fn pid(cursor: &mut Cursor<'_>) -> Option<u64> {
    let mut probe = *cursor;
    probe.spaces();
    let first = probe.number()?;
    let has_both = probe.spaces() > 0 && probe.number().is_some();
    probe.require(b": ")?;
    *cursor = probe;
    (has_both || first < MIN_TID).then_some(first)
}

/// `12.000123456 ` in nanoseconds.
fn time(cursor: &mut Cursor<'_>) -> Option<i64> {
    let mut probe = *cursor;
    let seconds = i64::try_from(probe.number()?).ok()?;
    let digits = probe.0.iter().skip(1).take_while(|b| b.is_ascii_digit()).count();
    if probe.peek() != b'.' || digits != FRACTION_DIGITS {
        return None;
    }
    let fraction = i64::try_from(probe.fraction()).ok()?;
    probe.require(b" ")?;
    *cursor = probe;
    seconds.checked_mul(SECOND)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: &str =
        "accept4(3,{ AF_INET 198.51.100.7:40755 },0x7fffffffe4a4,0x10000000) = 5 (0x5)";

    fn converted(prefixes: &[&str]) -> Option<Vec<String>> {
        let text: String = prefixes.iter().map(|prefix| format!("{prefix}{CALL}\n")).collect();
        let mut out = String::new();
        let convert = conversion(text.as_bytes())?;
        convert(Box::new(std::io::Cursor::new(text))).read_to_string(&mut out).unwrap();
        Some(out.lines().map(|line| line.strip_suffix(CALL).unwrap().to_owned()).collect())
    }

    #[test]
    fn prefixes_become_those_of_strace() {
        for (prefixes, want) in [
            (&["60123: ", "  912: "][..], &["60123 ", "912   "][..]),
            (&["60123 100456: "], &["60123 "]),
            (&["100456: "], &[""]),
            (
                &["0.000000500 ", "3.5", "3.000000700 "],
                &["     0.000000500 ", "3.5", "     3.000000200 "],
            ),
            (&["912: 12.000000500 0.000000001 "], &["912       12.000000500 "]),
            // -D alone: the durations of calls tell no time.
            (&["912: 2.000000000 ", "912: 1.000000000 "], &["912   ", "912   "]),
        ] {
            assert_eq!(converted(prefixes).unwrap(), want, "{prefixes:?}");
        }
    }

    #[test]
    fn lines_without_prefixes_or_of_strace_are_left() {
        assert_eq!(converted(&["", ""]), None);
        let strace = "12: 0.000000500 accept4(3, NULL, NULL, 0) = 4\n12: 1.0 close(4) = 0\n";
        assert!(conversion(strace.as_bytes()).is_none());
    }
}
