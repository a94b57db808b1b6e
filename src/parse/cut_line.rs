//! Finds a first line whose beginning was cut off: rotation with `copytruncate` and `tail -c` begin a file in the middle
//! of a line.
//!
//! No reader knows such a line. It is found by its shape: the shape of a line of the record ends with it.

use super::lines;

/// Maximum number of lines that the first is compared with.
const MAX_COMPARED: usize = 200;

/// Maximum number of lines among which these are looked for.
const MAX_LINES: usize = 1000;

/// Longer lines have the shape of their last bytes.
const MAX_SHAPE_BYTES: usize = 16 * 1024;

/// Whether the first line of `text`, the beginning of an input, is the rest of a line. `is_own`: whether a line is one of
/// the record.
pub(super) fn begins_within_line(text: &[u8], is_own: impl Fn(&[u8]) -> bool) -> bool {
    let Some(end) = memchr::memchr(b'\n', text) else { return false };
    let (first, others) = (text[..end].trim_ascii_end(), &text[end + 1..]);
    if first.is_empty() || is_own(first) {
        return false;
    }
    let mut compared = 0;
    let mut is_rest = false;
    let mut n = 0;
    lines::each(others, |line, _| {
        n += 1;
        if !is_rest && n < MAX_LINES && compared < MAX_COMPARED && is_own(line) {
            compared += 1;
            is_rest = is_rest_of(first, line.trim_ascii_end());
        }
    });
    is_rest
}

/// Whether `rest` looks like the rest of a line like `whole`.
fn is_rest_of(rest: &[u8], whole: &[u8]) -> bool {
    if rest.len() < whole.len() && whole.ends_with(rest) {
        return true;
    }
    let (of_rest, of_whole) = (shape(rest), shape(whole));
    let is_word = |part: Option<&u8>| part.is_some_and(|part| WORDS.contains(part));
    // The first word may be the end of another.
    let begin = usize::from(is_word(of_rest.first()));
    let known = &of_rest[begin..];
    if known.is_empty() {
        return of_rest == [NUMBER] && of_whole.last() == Some(&NUMBER) && of_whole.len() > 1;
    }
    let Some(before) = of_whole.strip_suffix(known) else { return false };
    match (begin, before) {
        (0, _) => !before.is_empty(),
        (_, [.., other, last]) => is_word(Some(last)) && !is_word(Some(other)),
        // All parts are there, but the first may not be whole.
        (_, [last]) => {
            let word = |text: &[u8]| {
                text.iter().position(|b| !b.is_ascii_alphanumeric()).unwrap_or(text.len())
            };
            let (mine, its) = (&rest[..word(rest)], &whole[..word(whole)]);
            is_word(Some(last)) && its.len() > mine.len() && its.ends_with(mine)
        }
        (_, []) => false,
    }
}

/// A word with a digit in a shape, and one without.
const NUMBER: u8 = b'0';
const LETTERS: u8 = b'a';
const WORDS: [u8; 2] = [NUMBER, LETTERS];

/// The punctuation of a line, with a byte for each word and each run of blanks.
fn shape(line: &[u8]) -> Vec<u8> {
    let line = &line[line.len().saturating_sub(MAX_SHAPE_BYTES)..];
    let kind = |b: &u8| match b {
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => LETTERS,
        b' ' | b'\t' => b' ',
        other => *other,
    };
    let mut shape = Vec::with_capacity(line.len() / 2);
    for run in line.chunk_by(|a, b| kind(a) == kind(b) && [LETTERS, b' '].contains(&kind(a))) {
        let has_digit = run.iter().any(u8::is_ascii_digit);
        shape.push(if has_digit { NUMBER } else { run.first().map_or(b' ', kind) });
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "Nov 22 10:58:42 fw %ASA-6-302013: Built inbound TCP connection 7 for \
        outside:198.51.100.7/40755 to inside:192.0.2.77/443";

    #[test]
    fn the_rest_of_a_line_is_found_wherever_it_begins() {
        let other = LINE
            .replace("Nov 22", "Dec  1")
            .replace("40755", "7")
            .replace("connection 7", "connection 4711");
        let is_own = |line: &[u8]| line.starts_with(b"Nov ") || line.starts_with(b"Dec ");
        let begins = |first: &str| {
            begins_within_line(format!("{first}\n{other}\n{LINE}\n").as_bytes(), is_own)
        };
        for at in 1..LINE.len() {
            assert!(begins(&LINE[at..]), "{}", &LINE[at..]);
        }
        for whole in
            [LINE, "", "# a comment", "10:58:42", "a heading of names", "Total: 7 connections"]
        {
            assert!(!begins(whole), "{whole}");
        }
    }

    #[test]
    fn lines_of_json_are_compared_by_their_members() {
        let line =
            r#"{"time":"2026-11-22T10:58:42Z","src":"198.51.100.7","port":443,"tcp":{"syn":true}}"#;
        let is_own = |line: &[u8]| line.starts_with(b"{\"time");
        for at in 2..line.len() {
            let text = format!("{}\n{line}\n", &line[at..]);
            assert!(begins_within_line(text.as_bytes(), is_own), "{}", &line[at..]);
        }
        assert!(!begins_within_line(format!("{{\"a\":1}}\n{line}\n").as_bytes(), is_own));
    }
}
