//! Reads the text before the body of a line: the time, the host and the program that wrote it.

use crate::parse::cursor::Cursor;
use crate::parse::decoration::wrapper;
use crate::parse::timestamp::Stamp;

/// The stamp of a line and what follows it.
pub(crate) fn split(line: &[u8]) -> (Stamp, &[u8]) {
    let first = split_outer(line);
    if first.0 != Stamp::None {
        return first;
    }
    // Something else may stand before it, such as the name of a container.
    let mut inner = wrapper::without_prefixes(line).map(|stripped| split_outer(stripped.rest));
    inner.find(|(stamp, _)| *stamp != Stamp::None).unwrap_or(first)
}

fn split_outer(line: &[u8]) -> (Stamp, &[u8]) {
    let mut cursor = Cursor(line);
    cursor.blanks();
    if cursor.syslog_priority() {
        cursor.blanks();
    } else if let Some(rest) = facility(cursor.0) {
        cursor = Cursor(rest);
    }
    let stamp = stamp(&mut cursor).unwrap_or(Stamp::None);
    (stamp, cursor.0)
}

/// `kern  :warn  : `, as dmesg -x has it.
fn facility(line: &[u8]) -> Option<&[u8]> {
    let word = |text: &'_ [u8]| text.iter().take_while(|b| b.is_ascii_lowercase()).count();
    let mut rest = line;
    for _ in 0..2 {
        let n = word(rest);
        let blanks = rest[n..].iter().take_while(|b| **b == b' ').count();
        if n == 0 || rest.get(n + blanks) != Some(&b':') {
            return None;
        }
        rest = &rest[n + blanks + 1..];
    }
    rest.strip_prefix(b" ")
}

fn stamp(cursor: &mut Cursor<'_>) -> Option<Stamp> {
    match cursor.0.first()? {
        b'[' => {
            let mut inner = Cursor(&cursor.0[1..]);
            inner.blanks();
            let stamp = inner.ctime().or_else(|| inner.seconds().map(Stamp::Uptime))?;
            inner.blanks();
            // journalctl -o short-delta puts the time since the line before behind it.
            if inner.eat(b"<") {
                let end = memchr::memchr(b'>', inner.0)?;
                inner.0 = &inner.0[end + 1..];
                inner.blanks();
            }
            if !inner.eat(b"]") {
                return None;
            }
            *cursor = inner;
            Some(stamp)
        }
        b'0'..=b'9' => {
            cursor.iso().or_else(|| kmsg(cursor)).or_else(|| proxmox(cursor)).or_else(|| {
                let mut copy = *cursor;
                let ns = copy.seconds()?;
                if !copy.0.starts_with(b" ") {
                    return None;
                }
                *cursor = copy;
                // Ten digits are seconds since 1970, fewer since the boot.
                Some(if ns >= 100_000_000_000_000_000 {
                    Stamp::Epoch(ns)
                } else {
                    Stamp::Uptime(ns)
                })
            })
        }
        b'A'..=b'Z' => cursor.syslog_time(),
        _ => None,
    }
}

/// `4,347,1427155599,-;`: level, number, microseconds since the boot.
fn kmsg(cursor: &mut Cursor<'_>) -> Option<Stamp> {
    let mut copy = *cursor;
    copy.number_up_to(4)?;
    copy.eat(b",").then(|| copy.number_up_to(18)).flatten()?;
    let us = copy.eat(b",").then(|| copy.number_up_to(18)).flatten()?;
    if !copy.eat(b",") {
        return None;
    }
    let end = memchr::memchr(b';', copy.0)?;
    copy.0 = &copy.0[end + 1..];
    *cursor = copy;
    Some(Stamp::Uptime(us.checked_mul(1000)?))
}

/// `101 1 tap101i0-IN 22/Nov/2026:10:58:42 +0100`, as the firewall of Proxmox writes it (pvefw-logger): the guest, the
/// level, and the chain come before the time.
fn proxmox(cursor: &mut Cursor<'_>) -> Option<Stamp> {
    let mut copy = *cursor;
    copy.number_up_to(9)?;
    copy.require(b" ")?;
    copy.number_up_to(1)?;
    copy.require(b" ")?;
    copy.word();
    copy.require(b" ")?;
    let stamp = copy.common_log_time()?;
    *cursor = copy;
    Some(stamp)
}

/// The program that wrote a line, from the text between its stamp and its body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Writer<'a> {
    /// The kernel or ulogd, or unknown.
    Kernel,
    /// A program, whose tag has a process id.
    Program(&'a [u8]),
}

/// Determines who wrote a line. `between` is the text between its stamp and its body.
pub(crate) fn writer(between: &[u8]) -> Writer<'_> {
    match program(between) {
        Some((name, _)) if !matches!(name, b"kernel" | b"ulogd") => Writer::Program(name),
        _ => Writer::Kernel,
    }
}

/// The program in the tag at the beginning of `text`, and what follows the tag.
fn program(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = Cursor(text);
    let mut word = || {
        rest.blanks();
        Some(rest.word()).filter(|word| !word.is_empty())
    };
    // The host, then the tag.
    let (_, tag) = (word()?, word()?);
    if let Some(tag) = tag.strip_suffix(b"]:") {
        let open = memchr::memrchr(b'[', tag)?;
        let numeric = tag[open + 1..].iter().all(u8::is_ascii_digit);
        return (open > 0 && numeric).then_some((&tag[..open], rest.0));
    }
    // RFC 5424: the process id is a field, and two more fields follow.
    let (pid, id) = (word()?, word()?);
    if pid.iter().all(u8::is_ascii_digit) && id == b"-" {
        rest.eat(b" -");
        return Some((tag, rest.0));
    }
    None
}

/// A program that passes on the lines of the kernel's log: it wrote all lines, and each begins with
/// the stamp that the kernel's logger gave it. A log in which other programs write too has none,
/// because their texts are as their clients want them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Forwarder(Option<Box<[u8]>>);

impl Forwarder {
    /// The forwarder of a log that begins with `head`.
    pub(crate) fn of(head: &[u8]) -> Forwarder {
        let mut name: Option<Option<Box<[u8]>>> = None;
        // The last line may be cut.
        let whole = memchr::memrchr(b'\n', head).map_or(head, |end| &head[..end]);
        crate::parse::lines::each(whole, |line, _| {
            if line.trim_ascii().is_empty() {
                return;
            }
            let own = program(split(line).1).map(|(name, _)| name);
            match &name {
                None => name = Some(own.map(Box::from)),
                Some(Some(known)) if own == Some(known) => {}
                Some(_) => name = Some(None),
            }
        });
        Forwarder(name.flatten().filter(|name| !matches!(&**name, b"kernel" | b"ulogd")))
    }

    /// The stamp of a line and what follows it, without what the forwarder put before the line.
    pub(crate) fn split<'a>(&self, line: &'a [u8]) -> (Stamp, &'a [u8]) {
        let (stamp, rest) = split(line);
        if let Some(forwarder) = &self.0
            && let Some((name, inner)) = program(rest)
            && *name == **forwarder
        {
            let (own, rest) = split(inner.trim_ascii_start());
            if own != Stamp::None {
                return (own, rest);
            }
        }
        (stamp, rest)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn stamps_before_a_message_are_read() {
        const S: i64 = 1_000_000_000;
        let at = (10 * 3600 + 58 * 60 + 42) * S;
        let us = at + 202_182_000;
        let day = date(2026, 11, 22);
        let up = Stamp::Uptime(1_485_291_490_000);
        for (line, want) in [
            ("Nov 22 10:58:42 gw1 kernel: [ 1485.291490] P", Stamp::Yearless(11, 22, at)),
            ("Nov  2 10:58:42 gw1 kernel: P", Stamp::Yearless(11, 2, at)),
            ("Nov 22 10:58:42.202182 h kernel: P", Stamp::Yearless(11, 22, us)),
            ("2026-11-22T10:58:42.202182+00:00 gw1 kernel: [ 1.2] P", Stamp::utc(day, us)),
            ("<4>1 2026-11-22T10:58:42.202182Z gw1 kernel - - - P", Stamp::utc(day, us)),
            ("<4>Nov 22 10:58:42 gw1 kernel: P", Stamp::Yearless(11, 22, at)),
            ("2026-11-22T10:58:42+0000 host kernel: P", Stamp::utc(day, at)),
            ("Sun 2026-11-22 10:58:42 UTC host kernel: P", Stamp::utc(day, at)),
            ("Sun 2026-11-22 10:58:42 CET host kernel: P", Stamp::Civil(day, at)),
            ("1795345122.202182 host kernel: P", Stamp::utc(day, us)),
            ("[ 1485.291490] host kernel: P", up),
            ("[ 1485.291490 <    0.100000 >] host kernel: P", up),
            ("[ 1485.291490] P", up),
            ("<4>[ 1485.291490] P", up),
            ("kern  :warn  : [ 1485.291490] P", up),
            ("kern  :warn  : [Sun Nov 22 10:58:42 2026] P", Stamp::Civil(day, at)),
            ("[Sun Nov 22 10:58:42 2026] P", Stamp::Civil(day, at)),
            ("Sun Nov 22 10:58:42 2026 kern.warn kernel: [ 1.2] P", Stamp::Civil(day, at)),
            ("2026-11-22T10:58:42,202182+00:00 P", Stamp::utc(day, us)),
            ("4,347,1485291490,-;P", up),
            ("101 1 tap101i0-IN 22/Nov/2026:11:58:42 +0100 DROP: P", Stamp::utc(day, at)),
            ("4,347,1485291490,-,caller=T1;P", up),
            ("P", Stamp::None),
            ("[UFW ALLOW] P", Stamp::None),
            ("", Stamp::None),
        ] {
            let (stamp, rest) = split(line.as_bytes());
            assert_eq!(stamp, want, "{line}");
            assert_eq!(rest.ends_with(b"P"), !line.is_empty(), "{line}");
        }
    }

    #[test]
    fn programs_quote_log_lines() {
        for (between, name) in [
            (" gw1 sshd[902]: said ", "sshd"),
            (" h fail2ban.filter[7]: ", "fail2ban.filter"),
            (" gw1 app 77 - - ", "app"),
        ] {
            assert_eq!(writer(between.as_bytes()), Writer::Program(name.as_bytes()), "{between}");
        }
        for between in [
            "",
            " gw1 kernel: [ 1485.291490] ",
            " gw1 kernel: [NEW] ",
            " gw1 kernel - - - [ 1.2] x: ",
            " host ulog: ",
            " host ulogd[9]: ",
            " web in ",
            " [UFW ALLOW] ",
        ] {
            assert_eq!(writer(between.as_bytes()), Writer::Kernel, "{between}");
        }
    }

    #[test]
    fn only_a_program_that_wrote_all_lines_is_a_forwarder() {
        let inner = "Nov 22 10:58:42 gw1 kernel: IN=";
        for outer in [
            "Nov 26 12:00:00 relay remote[991]: ",
            "<13>1 2026-11-26T12:00:00.123456Z relay remote 991 - - ",
            "Thu 2026-11-26 12:00:00 UTC relay remote[991]: ",
        ] {
            let line = format!("{outer}{inner}");
            let forwarder = Forwarder::of(format!("{line}\n{line}\n{outer}x").as_bytes());
            let (stamp, rest) = forwarder.split(line.as_bytes());
            assert_eq!(stamp, Stamp::Yearless(11, 22, 39_522_000_000_000), "{outer}");
            assert_eq!(writer(rest), Writer::Kernel);
            let other = "Nov 26 12:00:00 relay cron[7]: x";
            assert_eq!(Forwarder::of(format!("{line}\n{other}\n").as_bytes()), Forwarder(None));
        }
        let own = "Nov 26 12:00:00 gw1 app[7]: IN=";
        let (stamp, rest) = Forwarder::of(own.as_bytes()).split(own.as_bytes());
        assert_eq!(stamp, Stamp::Yearless(11, 26, 43_200_000_000_000));
        assert_eq!(writer(rest), Writer::Program(b"app"));
    }
}
