//! Lines that do not begin like strace's own: a prompt without a line feed before the call, the
//! prefix of a logger, terminal sequences, two lines in one. Also decides whether a line that
//! cannot be read may hide an accepted connection, so that nothing is left out silently.

use std::sync::LazyLock;

use memchr::memmem::{self, Finder};

use super::call::named;
use super::prefix::{Prefix, split};
use super::result::ACCEPT;
pub(super) use super::result::next_call;
use super::syscalls::is_syscall;
use crate::parse::cursor::Cursor;
use crate::parse::decoration::clean;
use crate::parse::lines;
use crate::parse::timestamp::Stamp;

/// The prefixes of strace itself are no longer than this.
const MAX_PREFIX: usize = 160;

/// More places of a line are not looked at one by one: it is unreadable then.
const MAX_HITS: usize = 16;

/// Whether `text` has `accept(`, `accept4(`, or the second half of one.
pub(super) fn has_accept(text: &[u8]) -> bool {
    accepts(text).next().is_some()
}

/// Where `accept` is named as a call in `text`.
pub(super) fn accepts(text: &[u8]) -> impl Iterator<Item = usize> + '_ {
    ACCEPT.find_iter(text).filter(|at| is_accept(text, *at))
}

/// Whether the `accept` at `at` is that of a call: `accept(`, `accept4(`, `<... accept`,
/// `accept resumed`.
fn is_accept(text: &[u8], at: usize) -> bool {
    let rest = &text[at + 6..];
    let rest = rest.strip_prefix(b"4").unwrap_or(rest);
    rest.first() == Some(&b'(') || rest.starts_with(b" resumed") || text[..at].ends_with(b"<... ")
}

/// Whether `text` is the beginning of a line of accept that was cut in the name of the call.
pub(super) fn is_cut_accept(text: &[u8]) -> bool {
    let calls =
        ["accept4(", "accept(", "socketcall(", "<... accept4 resumed>", "<... accept resumed>"];
    calls.iter().any(|call| call.as_bytes().starts_with(text) && text.len() < call.len())
        && !text.is_empty()
}

/// Whether `text`, from behind the parenthesis that opens a call (or from behind `resumed>`), is
/// the rest of one call and no more: all that looks like an accept is in its strings.
pub(super) fn is_one_call(text: &[u8]) -> bool {
    let mut c = Cursor(text);
    let mut depth = 0;
    loop {
        match c.peek() {
            0 if c.0.is_empty() => return false,
            b'"' => {
                // Strings end before a mark; where one does not, the quotes are another text's.
                let ends =
                    c.quoted().is_some() && c.0.first().is_none_or(|b| b" ,.)}]=>|".contains(b));
                if !ends {
                    return false;
                }
                continue;
            }
            b'a' if c.0.starts_with(b"accept") && is_accept(text, text.len() - c.0.len()) => {
                return false;
            }
            b' ' if c.0.starts_with(b" <unfinished ...>")
                || c.0.starts_with(b" <detached ...>") =>
            {
                return !has_accept(c.0);
            }
            b'(' | b'{' => depth += 1,
            b'}' => depth -= 1,
            b')' if depth <= 0 => break,
            b')' => depth -= 1,
            _ => {}
        }
        c.skip(1);
    }
    c.skip(1);
    c.spaces();
    c.eat(b"= ") && !has_accept(c.0)
}

/// The last result of `line`.
fn last_result(line: &[u8]) -> &[u8] {
    memmem::rfind(line, b" = ").map_or(b"", |at| &line[at + 3..])
}

fn is_zero(result: &[u8]) -> bool {
    result.first() == Some(&b'0') && result.get(1).is_none_or(|b| b" \r<".contains(b))
}

fn is_error(value: &[u8]) -> bool {
    value.starts_with(b"-1 E") || value.starts_with(b"? E") || value == b"?"
}

/// What only an internet address has.
pub(super) static ADDRESS: LazyLock<[Finder<'static>; 4]> =
    LazyLock::new(|| ["sin_port=", "sin_addr=", "sin6_port=", "_family=AF_INET"].map(Finder::new));

/// What may be left of the name of accept.
pub(super) static NAME: LazyLock<[Finder<'static>; 6]> =
    LazyLock::new(|| ["accep", "ccept", "acce", "cept", "ept(", "ept4("].map(Finder::new));

/// Whether a line of which no accepted connection was read has an accept, outside of strings, with a
/// result that is no error.
#[cold]
pub(super) fn has_unread_accept(line: &[u8]) -> bool {
    is_true_of_both(line, has_unread_accept_as_it_is)
}

fn has_unread_accept_as_it_is(line: &[u8]) -> bool {
    let places: Vec<usize> = accepts(line).take(MAX_HITS + 1).collect();
    if places.len() > MAX_HITS {
        return memmem::find(line, b"= ").is_some();
    }
    let places: Vec<usize> = places.into_iter().filter(|at| !is_quoted(line, *at)).collect();
    let ends = places.iter().skip(1).copied().chain([line.len()]);
    places.iter().zip(ends).any(|(from, to)| has_success(&line[*from..to]))
}

/// Whether `line`, which follows the first half of an accept, has a result that is no error and may
/// be that of the accept: the line is not one other call.
#[cold]
pub(super) fn has_unread_result(line: &[u8]) -> bool {
    let (_, body) = split(line);
    let n = memchr::memchr(b'(', body.0).unwrap_or(0);
    let name = word_before(&body.0[..n]);
    let arguments = body.0.get(n + 1..).unwrap_or_default();
    let takes_address = matches!(name, b"bind" | b"connect" | b"getsockname" | b"getpeername");
    let has_address = ADDRESS.iter().any(|mark| mark.find(arguments).is_some());
    // What accept ends with.
    let tails: [&[u8]; 4] = [b"NULL, NULL", b"], SOCK_", b"])", b"], 0)"];
    let has_tail = tails.iter().any(|tail| memmem::find(arguments, tail).is_some());
    let is_other = name.len() == n
        && is_syscall(name)
        && (takes_address || !has_tail)
        && arguments.first().is_some_and(|b| *b != b' ')
        && is_one_call(arguments)
        && (takes_address || moves_data(name) || !has_address);
    has_success(line) && !(is_other && memmem::find_iter(line, b" = ").count() == 1)
}

/// Whether `text` has a result that is no error: `) = 7`.
fn has_success(text: &[u8]) -> bool {
    successes(text).next().is_some()
}

/// Whether other calls than accept are in `head`, and all calls failed.
pub(super) fn has_only_failures(head: &[u8]) -> bool {
    let is_other = |line: &[u8]| !has_accept(line) && memmem::find(line, b"= -1 E").is_some();
    head.split(|b| lines::is_end(*b)).any(is_other) && !has_success(head)
}

/// Where the results in `text` stand that are no errors.
fn successes(text: &[u8]) -> impl Iterator<Item = usize> + '_ {
    memchr::memchr_iter(b'=', text).filter(|at| {
        let at = *at;
        let value = text[at + 1..].trim_ascii_start();
        let closed = text[..at].trim_ascii_end().ends_with(b")");
        let injected = memmem::find(value, b" (INJECTED").is_some_and(|n| n < 16);
        closed && value.first().is_some_and(u8::is_ascii_digit) && !injected
    })
}

/// Whether a line that could not be read may have told of an accepted connection, also as it was
/// before a web page or an editor changed it.
#[cold]
pub(super) fn may_hide_accept(line: &[u8]) -> bool {
    is_true_of_both(line, may_hide_accept_as_it_is)
}

/// Whether `question` is answered by yes for a line, and for what it was before a web page or an
/// editor changed it: strings have other quotes there.
fn is_true_of_both(line: &[u8], question: fn(&[u8]) -> bool) -> bool {
    question(line) && (!clean::is_dirty(line) || question(&clean::without_markup(line)))
}

fn may_hide_accept_as_it_is(line: &[u8]) -> bool {
    let is_apart = |at: usize| line[..at].ends_with(b" ") || line.get(at + 1) == Some(&b' ');
    let last = memchr::memrchr_iter(b'=', line).find(|at| is_apart(*at));
    let hits = accepts(line).filter(|at| last.is_some_and(|last| *at < last));
    for (n, at) in hits.enumerate() {
        if n >= MAX_HITS || !is_quoted(line, at) {
            return true;
        }
    }
    // The name itself, or the address, may be damaged.
    let result = last_result(line);
    let Some(last) = last.filter(|_| !is_error(result)) else { return false };
    let has = |mark: &Finder<'_>| {
        let mut hits = mark.find_iter(line).filter(|at| *at < last).enumerate();
        hits.any(|(n, at)| n >= MAX_HITS || !is_quoted(line, at))
    };
    let names = |is_other: fn(&[u8]) -> bool| {
        memchr::memchr_iter(b'(', line).any(|at| is_other(word_before(&line[..at])))
    };
    let has_name = line.contains(&b'(') && NAME.iter().any(has);
    if ADDRESS.iter().any(has) && !names(moves_data) {
        // bind, connect and getsockname return 0.
        return has_name || !is_zero(result);
    }
    has_name && !names(|word| is_syscall(word) && !word.starts_with(b"accept"))
}

/// Whether a call of this name may have an internet address and a result above 0, and is no accept.
fn moves_data(name: &[u8]) -> bool {
    name.starts_with(b"recv") || name.starts_with(b"send")
}

/// The name that `text` ends with.
fn word_before(text: &[u8]) -> &[u8] {
    let is_word = |b: &&u8| b.is_ascii_lowercase() || b.is_ascii_digit() || **b == b'_';
    let n = text.iter().rev().take_while(is_word).count();
    &text[text.len() - n..]
}

/// Whether `at` lies within a string among the arguments of a call, where the strings of the line are
/// as they should be. The strings that a logger puts lines into are no arguments.
pub(super) fn is_quoted(line: &[u8], at: usize) -> bool {
    let mut c = Cursor(line);
    let mut inside = false;
    let mut depth = 0_usize;
    while let Some(quote) = memchr::memchr(b'"', c.0) {
        let before = &c.0[..quote];
        depth = before.iter().fold(depth, |depth, b| match b {
            b'(' => depth + 1,
            b')' => depth.saturating_sub(1),
            _ => depth,
        });
        if memmem::find(before, b"resumed>").is_some() {
            depth += 1;
        }
        c.skip(quote);
        let begin = line.len() - c.0.len();
        if c.quoted().is_none() {
            return false;
        }
        inside |= depth > 0 && (begin..line.len() - c.0.len()).contains(&at);
    }
    inside
}

/// The time of a wrapper, if it is one of the clock: relative times are of the wrapper's lines.
pub(super) fn of_wrapper(stamp: Stamp) -> Stamp {
    match stamp {
        Stamp::None | Stamp::Uptime(_) | Stamp::Elapsed(_) | Stamp::Since(_) => Stamp::None,
        clock => clock,
    }
}

/// Whether `place` is within a string that another call at the beginning of the line has.
pub(super) fn is_in_string_of_call(line: &[u8], place: usize) -> bool {
    let (_, body) = split(line);
    let n =
        body.0.iter().take_while(|b| b.is_ascii_lowercase() || b"0123456789_".contains(b)).count();
    if body.0.get(n) != Some(&b'(') || !is_syscall(&body.0[..n]) {
        return false;
    }
    let mut c = body;
    while let Some(quote) = memchr::memchr(b'"', c.0) {
        c.skip(quote);
        let begin = line.len() - c.0.len();
        if begin >= place {
            return false;
        }
        if c.quoted().is_none() || line.len() - c.0.len() > place {
            return true;
        }
    }
    false
}

/// The places where a call that matters may begin.
pub(super) fn calls(line: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let whole = memchr::memchr_iter(b'(', line).filter_map(|at| {
        let word = word_before(&line[..at]);
        if named(word).is_some() {
            return Some(at - word.len());
        }
        // Text may stand right before the name.
        let ends: [&[u8]; 6] =
            [b"accept4", b"accept", b"getsockname", b"getpeername", b"listen", b"bind"];
        let end = ends.iter().find(|end| word.ends_with(end)).filter(|_| !is_syscall(word))?;
        // `SYS_accept(` is of ltrace -S, which shows the function beside the system call.
        (!line[..at - end.len()].ends_with(b"SYS_")).then_some(at - end.len())
    });
    let halves = memmem::find_iter(line, b"<... ").filter(|at| {
        let word = &line[at + 5..];
        let n = word.iter().take_while(|b| **b != b' ').count();
        named(&word[..n]).is_some()
    });
    let mut all: Vec<usize> = whole.chain(halves).collect();
    all.sort_unstable();
    all.into_iter()
}

/// Where the prefix of strace begins that ends at `place`; `place` itself if there is none.
pub(super) fn prefix_start(line: &[u8], place: usize) -> usize {
    let from = place.saturating_sub(MAX_PREFIX);
    let begins = |at: &usize| {
        let before = at.checked_sub(1).map_or(b' ', |n| line[n]);
        match line[*at] {
            b'[' => true,
            b'0'..=b'9' => {
                let fraction = at.checked_sub(2).is_some_and(|n| line[n].is_ascii_digit());
                !(before.is_ascii_digit() || fraction && matches!(before, b'.' | b':'))
            }
            // Relative times are padded.
            b' ' => line[*at..].starts_with(b"   ") && before != b' ',
            _ => false,
        }
    };
    let certain = |at: &usize| {
        let (Prefix { pid, stamp, .. }, body) = split(&line[*at..]);
        let bracket = line[*at] == b'[' && pid.is_some();
        line.len() - body.0.len() == place && (bracket || stamp != Stamp::None)
    };
    (from..place).filter(begins).find(certain).unwrap_or(place)
}

/// Whether a line with another call's name tells of that call alone.
pub(super) fn is_other_call(name: &[u8], arguments: &[u8]) -> bool {
    if has_accept(arguments) {
        return is_one_call(arguments);
    }
    is_syscall(name)
}

/// Where an address begins in the text that tore a call, if no other call comes before it.
pub(super) fn address(text: &[u8]) -> Option<usize> {
    let family = memmem::find(text, b"_family=")?;
    let brace = memchr::memrchr(b'{', &text[..family])?;
    calls(&text[..brace]).next().is_none().then_some(brace)
}

/// Where the last `= ` of `text` stands.
pub(super) fn last_assignment(text: &[u8]) -> Option<usize> {
    memchr::memrchr_iter(b'=', text).find(|at| text.get(at + 1) == Some(&b' '))
}

/// Whether a log was cut at its front within the line of a call that may be an accept: `head` begins with
/// `ET, [16]) = 7`. What [`may_hide_accept`] sees, the reader of lines has counted.
#[cold]
pub(super) fn begins_within_call(head: &[u8]) -> bool {
    let line = head.split(|b| lines::is_end(*b)).next().unwrap_or_default();
    let body = split(line).1.0;
    let name = &body[..memchr::memchr(b'(', body).unwrap_or(0)];
    let is_call = is_syscall(name) || memmem::find(line, b" resumed>").is_some();
    let count = |byte| memchr::memchr_iter(byte, line).count();
    let is_rest = ends_with_result(line) && count(b')') > count(b'(');
    let is_result = matches!(line, [b'=', b' ', b'0'..=b'9', ..]);
    (is_rest || is_result) && !is_call && !may_hide_accept(line)
}

/// Whether the last thing of `text` is the result of a call: `) = 7`.
pub(super) fn ends_with_result(text: &[u8]) -> bool {
    last_assignment(text).is_some_and(|at| {
        let closed = text[..at].trim_ascii_end().ends_with(b")");
        closed && text[at + 2..].first().is_some_and(u8::is_ascii_digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_another_call_hide_nothing() {
        for call in [
            r#"5, "accept(3, {sa_family=AF_INET, sin_addr=inet_addr(\"6.6.6.6\")}, [16]) = 5"..., 98) = 98"#,
            r#"5, [{iov_base="accept4(3", iov_len=9}], 1) = 9"#,
            r#"5, "accept(3"..., 98 <unfinished ...>"#,
        ] {
            assert!(is_one_call(call.as_bytes()), "{call}");
        }
        for call in [
            r"3, accept4(3, {sa_family=AF_INET}, [16]) = 4",
            r"3) = 4accept4(3, {sa_family=AF_INET}, [16]) = 4",
            r#""accept4(3, {sin_addr=inet_addr("192.0.2.7")}, [16]) = 4"#,
            r"3 <unfinished ...>accept4(3, {sa_family=AF_INET}, [16]) = 4",
        ] {
            assert!(!is_one_call(call.as_bytes()), "{call}");
        }
    }

    #[test]
    fn prefixes_behind_text_are_found() {
        for (line, want) in [
            ("Waiting... accept(", "accept("),
            ("Waiting...[pid  12] accept(", "[pid  12] accept("),
            ("Waiting...10:11:12.345 accept(", "10:11:12.345 accept("),
            ("took 5 accept(", "accept("),
            ("x | 12    10:11:12.345 accept(", "12    10:11:12.345 accept("),
            ("done      0.001234 accept(", "      0.001234 accept("),
        ] {
            let place = line.find("accept").unwrap();
            assert_eq!(&line[prefix_start(line.as_bytes(), place)..], want);
        }
    }
}
