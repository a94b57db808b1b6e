//! Strips prefixes that other programs add to each line of a log: loggers, container engines, `ts`, grep,
//! quotations and prompts.
//!
//! A reader tries a line unchanged first. Only if it does not recognise the line, it calls [`strip`] to remove
//! the outermost prefix, and tries again.

use crate::parse::cursor::Cursor;
use crate::parse::timestamp::Stamp;

/// A line without one of its prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::parse) struct Stripped<'a> {
    /// The time in the prefix; [`Stamp::None`] if it has none.
    pub stamp: Stamp,
    /// What follows the prefix.
    pub rest: &'a [u8],
}

/// What ends the prefixes of a line, which tells whether other lines that begin with the same text have the same
/// prefixes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::parse) enum End {
    /// A mark: any line that begins with the same text.
    Mark,
    /// Blanks behind a time: those where [`is_behind_stamp`] is true of what follows.
    Blanks,
    /// What follows them decides.
    #[default]
    Unknown,
}

/// Maximum number of prefixes of a line.
pub(in crate::parse) const MAX_LAYERS: usize = 10;

/// Maximum length of a prefix.
const MAX_PREFIX: usize = 512;

/// Strips the outermost prefix of a line; `None` if it begins with none.
pub(in crate::parse) fn strip(line: &[u8]) -> Option<Stripped<'_>> {
    strip_to_end(line).map(|(stripped, _)| stripped)
}

/// Strips the outermost prefix of a line, and says what ends it.
fn strip_to_end(line: &[u8]) -> Option<(Stripped<'_>, End)> {
    let blanks = line.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    if blanks > 0 {
        return Some((Stripped { stamp: Stamp::None, rest: &line[blanks..] }, End::Unknown));
    }
    let mut cursor = Cursor(line);
    if let Some(stripped) = rfc5424(line) {
        return Some((stripped, End::Unknown));
    }
    if let Some(stamp) = priority_and_stamp(&mut cursor) {
        let rest = behind_stamp(cursor.0);
        let is_marked = rest.len() < cursor.0.trim_ascii_start().len();
        let end = if is_marked { End::Mark } else { End::Blanks };
        return Some((Stripped { stamp, rest }, end));
    }
    let unknown = |rest| (rest, End::Unknown);
    let (rest, end) = marker(line)
        .map(unknown)
        .or_else(|| container(line).map(|rest| (rest, End::Mark)))
        .or_else(|| label(line).map(unknown))
        .or_else(|| labels(line).map(|rest| (rest, End::Mark)))
        .or_else(|| location(line).map(unknown))
        .or_else(|| tag(line).map(unknown))
        .or_else(|| column(line).map(unknown))?;
    Some((Stripped { stamp: Stamp::None, rest }, end))
}

/// What follows the first prefix of a line, the first two, and so on. The stamp is that of the
/// innermost prefix so far that has one.
pub(in crate::parse) fn without_prefixes(line: &[u8]) -> impl Iterator<Item = Stripped<'_>> {
    layers(line).map(|(stripped, _)| stripped)
}

/// The same, each with what ends the prefixes.
pub(in crate::parse) fn layers(line: &[u8]) -> impl Iterator<Item = (Stripped<'_>, End)> {
    let mut outer = (Stripped { stamp: Stamp::None, rest: line }, End::Mark);
    let next = move || {
        let (Stripped { stamp, rest }, end) = strip_to_end(outer.0.rest)?;
        let stamp = if stamp == Stamp::None { outer.0.stamp } else { stamp };
        let end = if outer.1 == End::Mark { end } else { End::Unknown };
        outer = (Stripped { stamp, rest }, end);
        Some(outer)
    };
    std::iter::from_fn(next).take(MAX_LAYERS)
}

/// Whether nothing at the beginning of `rest`, which follows a time and blanks, belongs to the prefix of the time.
pub(in crate::parse) fn is_behind_stamp(rest: &[u8]) -> bool {
    behind_stamp(rest).len() == rest.len()
}

/// `<13>` or `<13>1 ` of syslog, and a stamp; or only one of them.
fn priority_and_stamp(cursor: &mut Cursor<'_>) -> Option<Stamp> {
    let priority = cursor.syslog_priority();
    match stamp(cursor) {
        Some(stamp) => Some(stamp),
        None => priority.then_some(Stamp::None),
    }
}

/// `<13>1 TIME host app pid id - ` of RFC 5424, and a list in brackets in place of the last `-`. Files of some daemons
/// have no priority.
fn rfc5424(line: &[u8]) -> Option<Stripped<'_>> {
    let mut cursor = Cursor(line);
    if cursor.eat(b"<") {
        cursor.number_up_to(3)?;
        cursor.require(b">")?;
    }
    cursor.require(b"1 ")?;
    let stamp = cursor.iso().or_else(|| cursor.eat(b"-").then_some(Stamp::None))?;
    for _ in 0..4 {
        cursor.require(b" ")?;
        if cursor.word().is_empty() {
            return None;
        }
    }
    cursor.require(b" ")?;
    if !cursor.eat(b"-") {
        while cursor.0.first() == Some(&b'[') {
            let end = memchr::memchr(b']', &cursor.0[..cursor.0.len().min(MAX_PREFIX)])?;
            cursor.0 = &cursor.0[end + 1..];
        }
    }
    cursor.require(b" ")?;
    // Some put a byte order mark before the text.
    let rest = cursor.0.strip_prefix(b"\xef\xbb\xbf").unwrap_or(cursor.0);
    Some(Stripped { stamp, rest })
}

/// A stamp that does not belong to a call, with the brackets around it.
fn stamp(cursor: &mut Cursor<'_>) -> Option<Stamp> {
    let mut inner = *cursor;
    let bracket = inner.eat(b"[");
    if bracket {
        inner.blanks();
    }
    let stamp = bare_stamp(&mut inner, bracket)?;
    inner.blanks();
    if bracket && !inner.eat(b"]") {
        return None;
    }
    let end = inner.0.first().is_none_or(|b| b" \t:|,-]>".contains(b));
    let apart = bracket
        || inner.0.len() < cursor.0.len()
            && matches!(cursor.0[cursor.0.len() - inner.0.len() - 1], b' ' | b'\t');
    if !end && !apart {
        return None;
    }
    *cursor = inner;
    Some(stamp)
}

fn bare_stamp(cursor: &mut Cursor<'_>, bracket: bool) -> Option<Stamp> {
    match cursor.0.first()? {
        b'0'..=b'9' => cursor.iso().or_else(|| clock(cursor)).or_else(|| seconds(cursor, bracket)),
        b'A'..=b'Z' => cursor.syslog_time(),
        _ => None,
    }
}

/// `11:43:54.123`, with two digits for each part.
fn clock(cursor: &mut Cursor<'_>) -> Option<Stamp> {
    let [_, _, b':', _, _, b':', ..] = cursor.0 else { return None };
    let mut copy = *cursor;
    let ns = copy.clock()?;
    // `12:10:00:00.123` is a number of a line and a time behind it.
    if copy.0.first() == Some(&b':') && copy.0.get(1).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    *cursor = copy;
    Some(Stamp::Clock(ns))
}

/// `1795345122.123456`, or in brackets the seconds since the boot.
fn seconds(cursor: &mut Cursor<'_>, bracket: bool) -> Option<Stamp> {
    memchr::memchr(b'.', &cursor.0[..cursor.0.len().min(13)])?;
    let mut copy = *cursor;
    let ns = copy.seconds()?;
    let since_1970 = ns >= 100_000_000_000_000_000;
    if !since_1970 && !bracket {
        return None;
    }
    *cursor = copy;
    Some(if since_1970 { Stamp::Epoch(ns) } else { Stamp::Uptime(ns) })
}

/// What follows a stamp and is of the same prefix: ` stderr F ` of CRI, ` host tag[12]: ` of
/// syslog, or a mark.
fn behind_stamp(rest: &[u8]) -> &[u8] {
    let rest = match rest {
        [b':' | b'|' | b',' | b'-', b' ', rest @ ..] => rest,
        other => other.trim_ascii_start(),
    };
    for stream in [&b"stdout "[..], b"stderr "] {
        if let Some([b'F' | b'P', b' ', rest @ ..]) = rest.strip_prefix(stream) {
            return rest;
        }
    }
    let host = rest.iter().take_while(|b| is_name(**b) && **b != b'/').count();
    if host > 0
        && rest.get(host) == Some(&b' ')
        && let Some(rest) = tag(&rest[host + 1..])
    {
        return rest;
    }
    tag(rest).unwrap_or(rest)
}

/// A character that quotations, lists, tables, differences and prompts begin with.
fn marker(line: &[u8]) -> Option<&[u8]> {
    match line {
        [
            b'>' | b'$' | b'#' | b'%' | b'|' | b'*' | b'+' | b'-' | b':' | b';' | b'/',
            b' ' | b'\t',
            rest @ ..,
        ]
        | [b'/', b'/', b' ', rest @ ..] => Some(rest),
        [b'>', b'>', ..] => Some(&line[1..]),
        [b'>' | b'+' | b'-' | b'|', next, ..]
            if next.is_ascii_alphanumeric() || b"[<".contains(next) =>
        {
            Some(&line[1..])
        }
        [b'`', ..] => Some(&line[line.iter().take_while(|b| **b == b'`').count()..]),
        _ => None,
    }
}

/// `name-1  | ` of docker compose.
fn container(line: &[u8]) -> Option<&[u8]> {
    let n = line.iter().take_while(|b| is_name(**b)).count();
    let blanks = line[n..].iter().take_while(|b| **b == b' ').count();
    match &line[n + blanks..] {
        [b'|', b' ', rest @ ..] if n > 0 => Some(rest),
        _ => None,
    }
}

/// `[pod/web-1/app] `, but not strace's own `[pid 12] `.
fn label(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(b"[")?;
    let end = memchr::memchr(b']', &rest[..rest.len().min(MAX_PREFIX)])?;
    if rest.starts_with(b"pid ") || memchr::memchr2(b'(', b'"', &rest[..end]).is_some() {
        return None;
    }
    let behind = rest[end + 1..].strip_prefix(b":").unwrap_or(&rest[end + 1..]);
    behind.strip_prefix(b" ")
}

/// `{app="web", host="a b"} ` of Loki's logcli, or `{} ` if all lines have the same labels.
fn labels(line: &[u8]) -> Option<&[u8]> {
    let mut rest = line.strip_prefix(b"{")?;
    while rest.first() != Some(&b'}') {
        let name = rest.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
        let value = rest[name..].strip_prefix(b"=\"").filter(|_| name > 0)?;
        let near = &value[..value.len().min(MAX_PREFIX)];
        let end =
            (0..near.len()).find(|at| near[*at] == b'"' && (*at == 0 || near[at - 1] != b'\\'))?;
        rest = &value[end + 1..];
        rest = rest.strip_prefix(b", ").unwrap_or(rest);
    }
    rest[1..].strip_prefix(b" ")
}

/// `12:`, `12-`, `12)`, `file:`, `file:12:`, `file-12-` of grep and of listings with numbers.
fn location(line: &[u8]) -> Option<&[u8]> {
    let is_address = |text: &[u8]| begins_with_ipv6(text) && !begins_with_ipv6(&text[5..]);
    let numbered = |text: &'_ [u8]| {
        let n = text.iter().take_while(|b| b.is_ascii_digit()).count();
        let mark = text.get(n).filter(|b| n > 0 && b":-)|.".contains(b))?;
        // `1.2.3.4` and `0.004183` are no numbers of lines.
        let dot = *mark == b'.' && text.get(n + 1) != Some(&b' ');
        // Nor is the first group of an IPv6 address.
        (!dot && !is_address(text)).then_some(n + 1)
    };
    if let Some(n) = numbered(line) {
        return Some(&line[n..]);
    }
    let near = &line[..line.len().min(MAX_PREFIX)];
    let end = near.iter().position(|b| b" \t(\"{=<".contains(b)).unwrap_or(near.len());
    let path = &near[..end];
    // The last place where a number stands between two marks.
    let place = (1..path.len())
        .filter(|at| matches!(path[*at], b':' | b'-'))
        // The time of a line behind the name of its file.
        .map_while(|at| clock(&mut Cursor(&line[at + 1..])).is_none().then_some(at))
        .find_map(|at| match &line[at + 1..] {
            text if is_address(text) => Some(at + 1),
            text => numbered(text).map(|n| at + 1 + n),
        });
    if let Some(at) = place {
        return Some(&line[at..]);
    }
    let colon = memchr::memchr(b':', path).filter(|n| *n > 0 && *n + 1 < line.len())?;
    Some(&line[colon + 1..])
}

/// Whether a text begins with an IPv6 address, perhaps with a port behind a point or a colon. Its first group has
/// four digits, as those of all networks in use.
fn begins_with_ipv6(text: &[u8]) -> bool {
    let [group @ .., b':'] = text.get(..5).unwrap_or_default() else { return false };
    if !group.iter().all(u8::is_ascii_hexdigit) {
        return false;
    }
    let word = text.split(|b| b" \t,".contains(b)).next().unwrap_or_default();
    let parses = |word: &[u8]| {
        std::str::from_utf8(word).is_ok_and(|word| word.parse::<std::net::Ipv6Addr>().is_ok())
    };
    parses(word)
        || memchr::memrchr(b'.', word).is_some_and(|dot| parses(&word[..dot]))
        || memchr::memrchr(b':', word).is_some_and(|colon| parses(&word[..colon]))
}

/// `strace[1499]: ` or `strace: `.
fn tag(line: &[u8]) -> Option<&[u8]> {
    let n = line.iter().take_while(|b| is_name(**b) || matches!(b, b'(' | b')' | b'@')).count();
    let mut rest = &line[n..];
    if let Some(inside) = rest.strip_prefix(b"[") {
        let digits = inside.iter().take_while(|b| b.is_ascii_digit()).count();
        rest = inside[digits..].strip_prefix(b"]")?;
    }
    // `0x0010:` is an offset in a dump.
    (n > 0 && !line.starts_with(b"0x")).then(|| rest.strip_prefix(b": ")).flatten()
}

/// A column before a tab.
fn column(line: &[u8]) -> Option<&[u8]> {
    let near = &line[..line.len().min(MAX_PREFIX)];
    let tab = memchr::memchr(b'\t', near)?;
    memchr::memchr3(b'(', b'"', b'{', &near[..tab]).is_none().then(|| &line[tab + 1..])
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'/')
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::parse::timestamp::SECOND;

    /// The last stamp of all prefixes before `CALL`.
    fn all(line: &str) -> (Stamp, usize) {
        let mut rest = line.as_bytes();
        let mut stamp = Stamp::None;
        for layers in 0..MAX_LAYERS {
            if rest.starts_with(b"accept") {
                return (stamp, layers);
            }
            let stripped = strip(rest).unwrap_or_else(|| panic!("{line}: {}", rest.escape_ascii()));
            assert!(stripped.rest.len() < rest.len(), "{line}");
            rest = stripped.rest;
            if stripped.stamp != Stamp::None {
                stamp = stripped.stamp;
            }
        }
        panic!("{line}: {}", rest.escape_ascii())
    }

    #[test]
    fn prefixes_of_known_tools_are_stripped() {
        let at = ((21 * 60 + 36) * 60 + 42) * SECOND;
        let day = date(2026, 5, 17);
        let utc = Stamp::utc(day, at);
        let ms = Stamp::utc(day, at + 123_000_000);
        for (prefix, stamp) in [
            ("    ", Stamp::None),
            ("\t", Stamp::None),
            ("> ", Stamp::None),
            ("> > ", Stamp::None),
            ("$ ", Stamp::None),
            ("web_1  | ", Stamp::None),
            ("web-1  | 2026-05-17T21:36:42.123Z ", ms),
            ("12:", Stamp::None),
            ("12-", Stamp::None),
            ("  12\t", Stamp::None),
            ("trace.log:12:", Stamp::None),
            ("/var/log/trace-1.log:12:", Stamp::None),
            ("trace.log-12-", Stamp::None),
            ("trace.log:", Stamp::None),
            ("trace.log:21:36:42 ", Stamp::Clock(at)),
            ("trace.log:7:21:36:42 ", Stamp::Clock(at)),
            ("May 17 21:36:42 web1 strace[1499]: ", Stamp::Yearless(5, 17, at)),
            ("May  7 21:36:42 web1 strace: ", Stamp::Yearless(5, 7, at)),
            ("<13>May 17 21:36:42 web1 strace[1499]: ", Stamp::Yearless(5, 17, at)),
            ("<13>1 2026-05-17T21:36:42.123Z web1 strace 1499 - - ", ms),
            ("1 2026-05-17T21:36:42.123Z web1 strace 1499 - - ", ms),
            ("1 2026-05-17T21:36:42.123Z web1 strace - - [a@1 b=\"c\"] ", ms),
            ("<13>1 2026-05-17T21:36:42.123Z web1 strace - x [a@1 b=\"c\"] ", ms),
            ("2026-05-17T21:36:42.123+00:00 web1 strace[1499]: ", ms),
            ("2026-05-17T21:36:42+0000 web1 strace[1499]: ", utc),
            ("Sun 2026-05-17 21:36:42 UTC web1 strace[1499]: ", utc),
            ("Sun 2026-05-17 21:36:42 CEST web1 strace[1499]: ", Stamp::Civil(day, at)),
            ("[ 1234.500000] web1 strace[1499]: ", Stamp::Uptime(1_234_500_000_000)),
            ("1795345122.5 web1 strace[1499]: ", Stamp::Epoch(1_795_345_122_500_000_000)),
            ("2026-05-17T21:36:42.123Z stderr F ", ms),
            ("2026-05-17T21:36:42.123Z ", ms),
            ("[pod/web-1/app] 2026-05-17T21:36:42.123Z ", ms),
            ("May 17 21:36:42 ", Stamp::Yearless(5, 17, at)),
            ("[2026-05-17 21:36:42] ", Stamp::Civil(day, at)),
            ("[Sun May 17 21:36:42 2026] ", Stamp::Civil(day, at)),
            ("2026-05-17 21:36:42,123 - ", Stamp::Civil(day, at + 123_000_000)),
            ("2026/05/17 21:36:42 ", Stamp::Civil(day, at)),
            ("21:36:42 | ", Stamp::Clock(at)),
            ("2026-05-17T21:36:42.123Z {app=\"a b\", host=\"web1\"} ", ms),
            ("2026-05-17T21:36:42.123Z {} ", ms),
            ("build\tRun tests\t2026-05-17T21:36:42.1230000Z ", ms),
        ] {
            let (got, layers) = all(&format!("{prefix}accept(3, NULL, NULL) = 4"));
            assert_eq!(got, stamp, "{prefix}");
            assert!(layers > 0);
        }
    }

    #[test]
    fn the_beginning_of_an_ipv6_address_is_no_number_of_a_line() {
        for (line, rest) in [
            ("x.out:2001:db8::7 2001:db8::1 443", "2001:db8::7 2001:db8::1 443"),
            ("x.out:12:2001:db8::7 443", "2001:db8::7 443"),
            ("x.out:2001:db8:c::10:56041 [", "2001:db8:c::10:56041 ["),
            ("x.out:12:2001:db8:c::10:443 [", "2001:db8:c::10:443 ["),
            ("1234:2001:db8::7.443 > x", "2001:db8::7.443 > x"),
        ] {
            let stripped = strip(line.as_bytes()).map(|stripped| stripped.rest);
            assert_eq!(stripped, Some(rest.as_bytes()), "{line}");
        }
    }

    #[test]
    fn calls_and_other_text_have_no_prefix() {
        for line in ["accept(3, NULL, NULL) = 4", "Waiting for a connection...", ""] {
            assert_eq!(strip(line.as_bytes()), None, "{line}");
        }
    }
}
