//! Recognises strace logs.

use memchr::memmem::find;

use super::call::named;

use super::prefix::split;
use super::rescue;
use crate::parse::decoration::{clean, wrapper};
use crate::parse::lines;
use crate::parse::timestamp::Stamp;

/// How the table of `-c` begins.
const SUMMARY: &[u8] = b"% time     seconds  usecs/call";

/// Whether `head` has the table of `-c`, and no call.
pub(super) fn only_summary(head: &[u8]) -> bool {
    let mut calls = false;
    lines::each(head, |line, _| calls |= !line.starts_with(SUMMARY) && line_is(line, false));
    !calls && find(head, SUMMARY).is_some()
}

/// Whether one of the lines of `head` is strace's.
pub(super) fn of_strace(head: &[u8]) -> bool {
    let mut found = false;
    lines::each(head, |line, at| {
        if !found {
            let cut = at + line.len() == head.len();
            found = line_is(line, cut) || is_changed(line);
        }
    });
    found
}

/// Whether this is a line of strace's that other programs changed.
fn is_changed(line: &[u8]) -> bool {
    let has = |text: &[u8], mark: &[u8]| find(text, mark).is_some();
    if memchr::memchr(b'(', line).is_none()
        && ![&b"resumed"[..], b"+++ "].iter().any(|m| has(line, m))
    {
        return false;
    }
    let clean = clean::joined(line);
    if clean.split(|b| *b == b'\n').any(|piece| line_is(piece, false)) {
        return true;
    }
    let line = &*clean;
    if wrapper::without_prefixes(line).any(|stripped| line_is(stripped.rest, false)) {
        return true;
    }
    // Text before the call.
    rescue::next_call(line).is_some_and(|at| {
        let call = &line[at..];
        line_is(call, false) && (has(call, b"{sa_family=") || has(call, b"NULL"))
    })
}

fn line_is(line: &[u8], cut: bool) -> bool {
    let (prefix, body) = split(line);
    let text = body.0;
    let n = text.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
    if n > 0 && text.get(n) == Some(&b'(') {
        // The last line may end anywhere.
        return has_result(text)
            || find(text, b" <unfinished ...>").is_some()
            || find(text, b" <detached ...>").is_some()
            || cut && (named(&text[..n]).is_some() || prefix.stamp != Stamp::None);
    }
    if text.starts_with(b"<... ") {
        return find(text, b" resumed>").is_some();
    }
    let messages: [&[u8]; 5] = [
        b"+++ exited with ",
        b"+++ killed by ",
        b"+++ superseded by ",
        b"--- SIG",
        b"--- stopped by ",
    ];
    messages.iter().any(|m| text.starts_with(m))
        || line.starts_with(SUMMARY)
        || line.starts_with(b"strace: ")
        || line.starts_with(b"Process ") && find(line, b" attached").is_some()
}

/// `)`, spaces, `= `, and a number or `?`.
fn has_result(text: &[u8]) -> bool {
    memchr::memmem::find_iter(text, b"= ").any(|at| {
        let closed = text[..at].trim_ascii_end().ends_with(b")") && text[at - 1] == b' ';
        closed && matches!(text.get(at + 2), Some(b'0'..=b'9' | b'-' | b'?'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_and_other_text() {
        let logs = [
            "noise\nbrk(NULL)                               = 0x55\n",
            "12 <... read resumed>\"\", 5) = 0",
            "[pid 7] 10:00:00 +++ exited with 0 +++",
            "10:11:03 accept(3, ",
            "\x1b[33mbrk\x1b[0m(NULL)  = 0",
            "\0\0\0\0futex(0x7f, FUTEX_WAIT, 2, NULL <unfinished ...>",
        ];
        for log in logs {
            assert!(of_strace(log.as_bytes()), "{log}");
        }
        let others = [
            "",
            "int main(void) { return f(1) == 2; }\n",
            "printf(\"%d\");\nx = f(3)\n",
            "127.0.0.1 - - [22/Nov/2026] \"GET / HTTP/1.0\" 200\n",
            "Nov 22 10:00:00 host kernel: IN=eth0 SRC=1.2.3.4\n",
        ];
        for other in others {
            assert!(!of_strace(other.as_bytes()), "{other}");
        }
    }
}
