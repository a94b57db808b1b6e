//! Calls of accept whose lines a mail program, a document or a terminal has wrapped: a line ends among the arguments,
//! and the next ones have the rest. A terminal divides words and numbers, too.

use super::accepted::LinePart;
use super::block::{Block, Fact};
use super::call::Name;
use super::{line, rescue};
use crate::parse::decoration::clean;
use crate::parse::lines;

/// Maximum number of lines of one call.
const MAX_LINES: usize = 4;
/// Maximum length of a line that is wrapped, and of each that follows.
const MAX_LINE: usize = 200;

/// The call at the beginning of `text` in one line, and the length of its lines in `text`. `None` if it is not
/// wrapped.
#[cold]
pub(super) fn join(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut length = 0;
    let mut joined: Vec<u8> = Vec::new();
    for number in 1..=MAX_LINES {
        let end = lines::end(&text[length..]);
        let line = text[length..][..end].trim_ascii_end();
        // An end that is not there may be that of a part of the file.
        if line.is_empty() || line.len() > MAX_LINE || length + end == text.len() {
            return None;
        }
        length += end + 1;
        if number == 1 {
            joined.extend_from_slice(line);
            continue;
        }
        let rest = continuation(&joined, line);
        if rescue::has_accept(rest) {
            return None;
        }
        // Some wrap between `htons` and its parenthesis.
        if ends_at_space(&joined) && !rest.starts_with(b"(") {
            joined.push(b' ');
        }
        joined.extend_from_slice(rest);
        if is_accept(&joined) {
            return Some((joined, length));
        }
    }
    None
}

/// Whether a line may be the first of a wrapped call of accept: it has no result.
#[inline]
pub(super) fn may_begin(line: &[u8]) -> bool {
    let line = line.trim_ascii_end();
    line.len() <= MAX_LINE
        && !line.ends_with(b"...>")
        && rescue::has_accept(line)
        && rescue::last_assignment(line).is_none()
        // Look-alike characters may hide the result.
        && !clean::is_dirty(line)
}

/// How many of the last bytes of `text`, all of them whole lines, may be the first lines of a wrapped call whose others
/// follow.
pub(super) fn open_end(text: &[u8]) -> usize {
    let (mut begin, mut open) = (text.len(), 0);
    for _ in 1..MAX_LINES {
        let Some((last, before)) = text[..begin].split_last() else { break };
        if !lines::is_end(*last) {
            break;
        }
        let end = begin - 1;
        begin = memchr::memrchr2(b'\n', 0, before).map_or(0, |n| n + 1);
        if may_begin(&text[begin..end]) && join(&text[begin..]).is_none() {
            open = text.len() - begin;
        }
    }
    open
}

/// Whether a space follows a part of a call that ends like `text`.
fn ends_at_space(text: &[u8]) -> bool {
    text.last().is_some_and(|b| b",>)".contains(b)) || text.ends_with(b" =")
}

/// A line without what quotes or comments out the first one, too.
fn continuation<'a>(first: &[u8], line: &'a [u8]) -> &'a [u8] {
    let is_mark = |b: &u8| b" \t>#/*|".contains(b);
    let marks = &first[..first.iter().take_while(|b| is_mark(b)).count()];
    let n = line.iter().take_while(|b| marks.contains(b) || b.is_ascii_whitespace()).count();
    &line[n..]
}

/// Whether a line is a whole call of accept.
fn is_accept(line: &[u8]) -> bool {
    let mut block = Block::default();
    line::read(&mut block, line, 0);
    let is_accept = |fact: &Fact| {
        matches!(fact.part, LinePart::Whole | LinePart::Resumed) && fact.call.name == Name::Accept
    };
    block.unreadable == 0 && matches!(&block.facts[..], [fact] if is_accept(fact))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(text: &str) -> Option<(String, usize)> {
        let is_first = may_begin(text.lines().next().unwrap().as_bytes());
        let (line, length) = join(text.as_bytes()).filter(|_| is_first)?;
        Some((String::from_utf8(line).unwrap(), length))
    }

    #[test]
    fn lines_of_mails_and_documents_are_joined() {
        const REST: &str = "close(7) = 0\n";
        for (text, want) in [
            (
                "accept(5, {sa_family=AF_INET, sin_port=htons(7),\n        \
                 sin_addr=inet_addr(\"192.0.2.1\")}, [16]) = 9\n",
                "accept(5, {sa_family=AF_INET, sin_port=htons(7), sin_addr=inet_addr(\"192.0.2.1\")}, [16]) = 9",
            ),
            (
                "> 2682  09:25:57.231961 <... accept resumed> {sa_family=AF_INET,\n> sin_port=htons\n\
                 > (7), sin_addr=inet_addr(\"192.0.2.1\")}, [16]) =\r\n> 43 <27.993066>\n",
                "> 2682  09:25:57.231961 <... accept resumed> {sa_family=AF_INET, sin_port=htons(7), \
                 sin_addr=inet_addr(\"192.0.2.1\")}, [16]) = 43 <27.993066>",
            ),
            (
                "7 accept(5, {sa_family=AF_INET, sin_port=htons(40\n00), sin_addr=inet_addr(\"192.\n\
                 0.2.1\")}, [16]) = 9\n",
                "7 accept(5, {sa_family=AF_INET, sin_port=htons(4000), sin_addr=inet_addr(\"192.0.2.1\")}, [16]) = 9",
            ),
            (
                "// accept4(5, NULL,\n// NULL, SOCK_CLOEXEC) = 9\n",
                "// accept4(5, NULL, NULL, SOCK_CLOEXEC) = 9",
            ),
        ] {
            let text_length = text.len();
            assert_eq!(joined(&format!("{text}{REST}")), Some((want.to_owned(), text_length)));
        }
    }

    #[test]
    fn the_first_lines_of_a_wrapped_call_are_an_open_end() {
        const BEFORE: &str = "close(7) = 0\n";
        const LINES: [&str; 3] = [
            "7 accept(5, {sa_family=AF_INET, sin_port=htons(40\n",
            "00), sin_addr=inet_addr(\"192.\n",
            "0.2.1\")}, [16]) = 9\n",
        ];
        for number in 0..=LINES.len() {
            let first = LINES[..number].concat();
            let want = if number == LINES.len() { 0 } else { first.len() };
            assert_eq!(open_end(format!("{BEFORE}{first}").as_bytes()), want);
            assert_eq!(open_end(first.as_bytes()), want);
        }
        // Its end is not there: a line that is too long, or the end of the log.
        assert_eq!(open_end(LINES[0].trim_end().as_bytes()), 0);
    }

    #[test]
    fn other_lines_are_not_joined() {
        for text in [
            "accept(5, {sa_family=AF_INET, sin_port=htons(7),\nclose(7) = 0\nclose(8) = 0\n",
            "accept(5, NULL,\naccept(5, NULL, NULL) = 9\n",
            "accept(5, NULL,\n\nNULL) = 9\n",
            "accept(5, NULL,\nNULL) = 9",
            "accept(5, Process 7 attached\nNULL, NULL) = 9\n",
            "7 accept(5,  <unfinished ...>\nNULL, NULL) = 9\n",
            "close(5,\nNULL, NULL) = 9\n",
            "accept(5, {sa_family=AF_INET, sin_port=htons(7), sin_addr=inet_addr(\"192.0.2.1\")}, [16]) =\u{a0}9\n\
             12 exit(0)\n",
            "0.01 accept(5, NULL, NULL) = 9 <0.01>\n0.02 close(9) = 0 <0.01>\n",
        ] {
            assert_eq!(joined(text), None, "{text}");
        }
    }
}
