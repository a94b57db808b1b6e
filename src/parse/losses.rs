//! Lines by which the programs between a server and its log say that messages are not in it: journald, rsyslog,
//! syslog-ng, other syslog daemons, and the kernel.

use std::sync::LazyLock;

use memchr::memmem::{self, Finder};

/// What is in most of these lines.
static MESSAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"essage"));
/// What is in the others: statistics of syslog-ng and rsyslog.
static STATISTICS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"Log statistics; "));
static DISCARDED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b" discarded.full="));
/// What a line about repeats of the last one has. Making a finder takes longer than searching a line.
static LAST: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"ast message "));

/// Where the next line that may be one of these has a word of it.
pub(super) fn next_hint(text: &[u8]) -> Option<usize> {
    let mut first: Option<usize> = None;
    for finder in [&*MESSAGE, &STATISTICS, &DISCARDED] {
        let end = first.unwrap_or(text.len());
        first = finder.find(&text[..end]).or(first);
    }
    first
}

/// How many messages `line` says were lost; 0: it does not say how many.
pub(super) fn lost(line: &[u8]) -> Option<u64> {
    let has = |words: &str| memmem::find(line, words.as_bytes()).is_some();
    let limited = || {
        let from_pid = || between(line, " lost ", " messages from pid ");
        before(line, " messages lost due to rate-limiting")
            .or_else(|| from_pid().filter(|_| has(" due to rate-limiting")))
            .or_else(|| has("begin to drop messages due to rate-limiting").then_some(0))
    };
    // journald, rsyslog's ratelimit.c, the kernel's console, the system log of macOS.
    between(line, "Suppressed ", " messages from ")
        .or_else(|| between(line, "Missed ", " kernel messages"))
        .or_else(limited)
        .or_else(|| before(line, " printk messages dropped"))
        .or_else(|| has("log message per second limit").then_some(0))
        .or_else(|| queue_full(line))
        .or_else(|| statistics(line))
}

/// syslog-ng: `Destination queue full, dropping messages; queue_len='1000', count='4'`.
fn queue_full(line: &[u8]) -> Option<u64> {
    memmem::find(line, b"ueue full, dropping message")?;
    Some(between(line, " count='", "'").unwrap_or(0))
}

/// Counters that are not 0: `dropped='tcp(AF_INET(192.0.2.1:514))=6439'` of syslog-ng, and rsyslog's
/// `discarded.full=7 discarded.nf=0`.
fn statistics(line: &[u8]) -> Option<u64> {
    let sum = |key: &str, number: fn(&[u8]) -> Option<u64>| {
        let values = memmem::find_iter(line, key.as_bytes()).map(|at| &line[at + key.len()..]);
        values.filter_map(number).fold(0, u64::saturating_add)
    };
    let quoted = |value: &[u8]| {
        let value = value.split(|b| *b == b'\'').next()?;
        leading_number(value.rsplit(|b| *b == b'=').next()?)
    };
    let sum = sum("dropped='", quoted)
        .saturating_add(sum(" discarded.full=", leading_number))
        .saturating_add(sum(" discarded.nf=", leading_number));
    (sum > 0).then_some(sum)
}

/// How often the line before was repeated.
pub(super) struct Repeat<'a> {
    pub times: u64,
    /// The machine that says so.
    host: Option<&'a [u8]>,
}

impl Repeat<'_> {
    /// Whether `last` is of another machine, so that it is not what was repeated.
    pub(super) fn is_of_other_host(&self, last: &[u8]) -> bool {
        self.host.is_some_and(|host| last.split(|b| *b == b' ').all(|word| word != host))
    }
}

/// Reads `last message repeated 5 times` of the daemons of BSD, busybox and others, macOS's with dashes around it,
/// and `Last message 'its first 20 bytes' repeated 5 times` of syslog-ng.
pub(super) fn repeats_of_last(line: &[u8]) -> Option<Repeat<'_>> {
    let at = LAST.find(line)?;
    let (at, word) = (at.checked_sub(1)?, &line[at + 12..]);
    if !matches!(line[at], b'l' | b'L') || at > 0 && line[at - 1] != b' ' {
        return None;
    }
    let quoted = word.starts_with(b"'");
    let words = if quoted { &word[memmem::find(word, b"' repeated ")? + 2..] } else { word };
    let words = words.strip_prefix(b"repeated ").or_else(|| words.strip_prefix(b"buffered "))?;
    let times = leading_number(words)?;
    memmem::find(words, b" time")?;
    let before = line[..at].trim_ascii_end();
    let host = before.rsplit(|b| *b == b' ').next().filter(|word| {
        word.iter().any(u8::is_ascii_alphanumeric)
            && !word.iter().any(|b| b":[]<>".contains(b))
            && !word.iter().all(u8::is_ascii_digit)
    });
    Some(Repeat { times, host })
}

/// Reads rsyslog's `app[7]: message repeated 5 times: [ text]`: how often, and the line that was repeated. The text may
/// have been cut, and its bracket with it.
pub(super) fn repeated_message(line: &[u8]) -> Option<(u64, Vec<u8>)> {
    const BEGIN: &[u8] = b"message repeated ";
    const END: &[u8] = b" times: [";
    let at = memmem::find(line, BEGIN)?;
    let rest = &line[at + BEGIN.len()..];
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let text = rest[digits..].strip_prefix(END)?;
    let times = leading_number(rest)?;
    let text = text.trim_ascii();
    let text = text.strip_suffix(b"]").unwrap_or(text);
    Some((times, [&line[..at], text].concat()))
}

/// The number between two texts of `line`.
fn between(line: &[u8], begin: &str, end: &str) -> Option<u64> {
    let mut places = memmem::find_iter(line, begin.as_bytes());
    places.find_map(|at| {
        let rest = &line[at + begin.len()..];
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        rest[digits..].starts_with(end.as_bytes()).then(|| leading_number(rest)).flatten()
    })
}

/// The number before a text of `line`.
fn before(line: &[u8], end: &str) -> Option<u64> {
    let text = &line[..memmem::find(line, end.as_bytes())?];
    let digits = text.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    leading_number(&text[text.len() - digits..])
}

/// The number that `text` begins with.
fn leading_number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let digits = std::str::from_utf8(&text[..digits]).ok().filter(|digits| !digits.is_empty())?;
    Some(digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_about_lost_messages_have_their_number() {
        for (line, want) in [
            ("h systemd-journald[1]: Suppressed 400 messages from x.service", 400),
            ("h systemd-journal[1]: Suppressed 917 messages from /", 917),
            ("h systemd-journald[1]: Missed 42 kernel messages", 42),
            (
                "h rsyslogd: imjournal: 1234 messages lost due to rate-limiting (20000 allowed within 600 seconds)",
                1234,
            ),
            ("h rsyslogd-2177: imuxsock lost 71 messages from pid 12 due to rate-limiting", 71),
            ("h rsyslogd-2177: imuxsock[pid 12]: begin to drop messages due to rate-limiting", 0),
            ("h rsyslogd: imjournal from <h:x>: begin to drop messages due to rate-limiting", 0),
            ("h syslog-ng[1]: Number of dropped messages; dropped='5'", 5),
            (
                "h syslog-ng[1]: Log statistics; dropped='tcp(AF_INET(192.0.2.1:514))=6439', dropped='pipe(/dev/x)=1', processed='center(received)=9'",
                6440,
            ),
            (
                "h syslog-ng[1]: Destination queue full, dropping messages; queue_len='9', count='4'",
                4,
            ),
            (
                "h rsyslogd-pstats: main Q: size=1 full=3 discarded.full=7 discarded.nf=0 maxqsize=9",
                7,
            ),
            ("h kernel: ** 23 printk messages dropped **", 23),
        ] {
            assert!(next_hint(line.as_bytes()).is_some(), "{line}");
            assert_eq!(lost(line.as_bytes()), Some(want), "{line}");
        }
        for line in [
            "h syslog-ng[1]: Log statistics; dropped='pipe(/dev/x)=0', processed='center(received)=9'",
            "h rsyslogd-pstats: main Q: size=1 full=3 discarded.full=0 discarded.nf=0 maxqsize=9",
            "h app[1]: 5 messages lost",
            "h kernel: net_ratelimit: 17 callbacks suppressed",
        ] {
            assert_eq!(lost(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn repeats_have_their_number_and_their_machine() {
        for (line, want, host) in [
            ("Nov 28 20:00:02 h1 last message repeated 5 times", 5, Some("h1")),
            ("last message repeated 5 times", 5, None),
            ("2026-11-28T20:00:02 last message repeated 1 time", 1, None),
            ("--- last message repeated 5 times ---", 5, None),
            (
                "Nov 28 20:00:02 h1 app[7]: Last message 'it's so' repeated 3 times, suppressed by syslog-ng on h1",
                3,
                None,
            ),
        ] {
            let repeat = repeats_of_last(line.as_bytes()).unwrap();
            assert_eq!((repeat.times, repeat.host), (want, host.map(str::as_bytes)), "{line}");
        }
        let text = "h app[7]: message repeated 5 times: [ text [1]]";
        let (times, message) = repeated_message(text.as_bytes()).unwrap();
        assert_eq!((times, &message[..]), (5, &b"h app[7]: text [1]"[..]));
        assert!(repeats_of_last(b"h app: the last message was repeated").is_none());
    }
}
