//! What a call returned: ` = 7<annotation> (DELAYED) <0.000046>`, ` = -1 EAGAIN (…)`, ` = ?`.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::fd_annotation::{FdAnnotation, fd_annotation};
use super::syscalls::is_syscall;
use crate::parse::cursor::Cursor;

/// The name that all calls of accept begin with. Making a finder takes longer than searching a line.
pub(super) static ACCEPT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"accept"));

/// What a call returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returned {
    /// Not in this part of the line.
    Pending,
    /// An error, `?`, or an injected success.
    Failed,
    /// A number that is not negative.
    Value(i32),
}

/// Reads ` = 7<note> (DELAYED) <0.000046>`; what follows it is left.
#[inline]
pub(super) fn result(c: &mut Cursor<'_>) -> Option<(Returned, FdAnnotation, i64)> {
    while matches!(c.peek(), b' ' | b'\t') {
        c.skip(1);
    }
    if !c.eat(b"= ") {
        // FreeBSD's truss.
        let failed = c.eat(b"ERR#") && c.number().is_some();
        return failed.then_some((Returned::Failed, FdAnnotation::None, 0)).filter(|_| quit(c));
    }
    if matches!(c.peek(), b'-' | b'?') {
        return failure(c.0)
            .then_some((Returned::Failed, FdAnnotation::None, 0))
            .filter(|_| quit(c));
    }
    let raw = c.0.starts_with(b"0x");
    let value = c.integer()?;
    let mut returned = match i32::try_from(value) {
        Ok(value) => Returned::Value(value),
        // -e raw shows errors as large numbers.
        Err(_) if raw => Returned::Failed,
        Err(_) => return None,
    };
    if c.0.is_empty() {
        return Some((returned, FdAnnotation::None, 0));
    }
    // The mark of a first half is no annotation: lines of two writers are mixed here, and the rest of
    // the call follows.
    if c.0.starts_with(b"<unfinished ...>") {
        return None;
    }
    let fd_annotation = fd_annotation(c);
    if let Some(number) = own_number(c) {
        returned = Returned::Value(number);
    }
    while c.0.starts_with(b" (") {
        let Some(end) = memchr::memchr(b')', c.0) else { break };
        let remark = &c.0[2..end];
        // The arguments alone may be injected, and the call made all the same.
        let ends = matches!(c.0.get(end + 1), None | Some(b' ' | b'\r'));
        if remark.starts_with(b"INJECTED") && remark != b"INJECTED: args" && ends {
            returned = Returned::Failed;
        }
        c.skip(end + 1);
    }
    let mut spent = 0;
    let mut probe = *c;
    if probe.eat(b" <")
        && let Some(seconds) = probe.number()
    {
        let ns = probe.fraction();
        if probe.eat(b">") {
            spent = i64::try_from(seconds.saturating_mul(1_000_000_000).saturating_add(ns)).ok()?;
            *c = probe;
        }
    }
    // Text may follow, but not more of the number.
    let more = c.peek().is_ascii_digit()
        || matches!(c.peek(), b'.' | b':') && c.0.get(1).is_some_and(u8::is_ascii_digit);
    (!more).then_some((returned, fd_annotation, spent))
}

/// Where the next accept begins in `text`, wherever it stands.
pub(crate) fn next_call(text: &[u8]) -> Option<usize> {
    let at = ACCEPT.find(text)?;
    let begin = text[..at].ends_with(b"<... ");
    Some(if begin { at - 5 } else { at })
}

/// Leaves nothing of the line: behind an error stands its name in words.
fn quit(c: &mut Cursor<'_>) -> bool {
    // Unless the line goes on with another call.
    let end = next_call(c.0).unwrap_or(c.0.len());
    c.skip(end);
    true
}

/// Whether a result that begins with `-` or `?` is one that strace writes: `-1 EAGAIN (…)`,
/// `-1 (errno 524)`, `-1 errno=11 (…)` of qemu, `-1 Err#35` of dtruss, `? ERESTARTSYS (…)`, `? <unavailable>`, `?`.
fn failure(result: &[u8]) -> bool {
    let Some(rest) = result.strip_prefix(b"-1").or_else(|| result.strip_prefix(b"?")) else {
        return false;
    };
    let words = rest.trim_ascii_start();
    match words.first() {
        None => true,
        Some(_) if words.len() == rest.len() => false,
        Some(b'E') if words.starts_with(b"Err#") => {
            words[4..].first().is_some_and(u8::is_ascii_digit)
        }
        Some(b'E') => {
            let n =
                words.iter().take_while(|b| b.is_ascii_uppercase() || b.is_ascii_digit()).count();
            let (name, behind) = words.split_at(n);
            // E2BIG, EL2HLT.
            let is_errno = name.len() > 2 && !name[3..].iter().any(u8::is_ascii_digit);
            is_errno && is_explanation(behind)
        }
        Some(b'(') => is_explanation(rest),
        Some(b'<') => {
            words.starts_with(b"<unavailable>") || words.get(1).is_some_and(u8::is_ascii_digit)
        }
        Some(_) => words.starts_with(b"errno="),
    }
}

/// Whether `text` may follow an error: ` (Resource temporarily unavailable) <0.000019>`, perhaps cut.
fn is_explanation(text: &[u8]) -> bool {
    let Some(rest) = text.strip_prefix(b" (") else {
        let ends = text.first().is_none_or(|b| b" \t\r".contains(b));
        let more =
            text.trim_ascii_start().first().is_some_and(|b| b.is_ascii_digit() || *b == b'=');
        return ends && !more && !has_second_result(text);
    };
    let (words, behind) = match memchr::memchr(b')', rest) {
        Some(end) => rest.split_at(end),
        None => (rest, &b""[..]),
    };
    let is_word = |b: &u8| !b.is_ascii_digit() && !b"(=*\"{}[]<>".contains(b);
    let has_number = words.starts_with(b"errno ") || words.starts_with(b"Unknown error ");
    (has_number || words.iter().all(is_word)) && !has_second_result(behind)
}

/// Whether `text`, which follows a result, has another one that is not of another call.
pub(super) fn has_second_result(text: &[u8]) -> bool {
    if text.is_empty() {
        return false;
    }
    // The name of an error, without the -1 or the ? before it.
    if let [b'E', second, third, ..] = text.trim_ascii_start()
        && second.is_ascii_uppercase()
        && third.is_ascii_uppercase()
    {
        return true;
    }
    let is_word = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_';
    let next = memchr::memchr_iter(b'(', text).find(|at| {
        let n = text[..*at].iter().rev().take_while(|b| is_word(b)).count();
        is_syscall(&text[at - n..*at])
    });
    let text = &text[..next.unwrap_or(text.len())];
    let error = |mark: &[u8]| memchr::memmem::find(text, mark).is_some();
    let unclosed = text.first() == Some(&b'<') && next.is_some();
    unclosed
        || error(b"-1 E")
        || error(b"? E")
        || error(b"<unfinished")
        || memchr::memchr_iter(b'=', text).any(|at| {
            let is_value =
                matches!(text[at + 1..].trim_ascii_start(), [b'0'..=b'9' | b'-' | b'?', ..]);
            is_value && text[..at].trim_ascii_end().last().is_none_or(|b| *b == b')')
        })
}

/// ` /* 103 in strace's PID NS */`: the child's number as strace's prefixes have it.
fn own_number(c: &mut Cursor<'_>) -> Option<i32> {
    let mut probe = *c;
    if !probe.eat(b" /* ") {
        return None;
    }
    let number = probe.number()?;
    if !probe.eat(b" in strace's PID NS */") {
        return None;
    }
    *c = probe;
    i32::try_from(number).ok()
}
