//! Reads all lines of a text into a [`Block`]: by the fast path, and those that are not in its forms
//! by the general path.

use super::accepted::{Accepted, LinePart};
use super::block::{Block, Fact};
use super::call::{Name, Returned};
use super::prefix::{Prefix, split};
use super::recent::Meanings;
use super::{fast_path, line, rescue, window};
use crate::parse::lines;
use crate::parse::timestamp::Stamp;

/// Reads all lines of `text`.
pub fn read(block: &mut Block, text: &[u8]) {
    BlockReader { block }.read(text);
}

/// Reads a text.
struct BlockReader<'a> {
    block: &'a mut Block,
}

impl BlockReader<'_> {
    fn read(&mut self, text: &[u8]) {
        let mut accepts = NextAccept::default();
        let mut entries = OpenEntries::default();
        let mut meanings = Meanings::default();
        let mut padded = [0; window::LENGTH];
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            if rest[0] == 0 {
                at += lines::hole(rest);
                continue;
            }
            let place = u32::try_from(at).unwrap_or(u32::MAX);
            let bytes = window::first_bytes(rest, &mut padded);
            match fast_path::line(bytes, &self.block.briefs.recent, &mut meanings) {
                Some(fast_path::Line::Accepted(accepted)) => {
                    at += accepted.length;
                    self.accepted(accepted, rest, place);
                }
                Some(fast_path::Line::Resumed(accepted)) => {
                    at += accepted.length;
                    self.resumed_accept(accepted, rest, place, &mut entries);
                }
                Some(fast_path::Line::Call { pid, stamp, spent, part, call, length }) => {
                    at += length;
                    let stamp = self.block.clock_span.see(stamp).plus(spent);
                    if call.name == Name::Close && self.block.briefs.close(call.fd) {
                        continue;
                    }
                    if part == LinePart::Entry {
                        entries.add(pid, self.block.facts.len());
                    }
                    let (leader, comm) = (pid, 0);
                    self.block.facts.push(Fact { at: place, pid, leader, comm, part, stamp, call });
                }
                other => {
                    let end = lines::end(rest);
                    match other {
                        Some(fast_path::Line::Other(stamp)) if !accepts.within(text, at, end) => {
                            self.block.clock_span.see(stamp);
                        }
                        _ => {
                            let before = self.block.facts.len();
                            line::read(self.block, &rest[..end], place);
                            if self.block.facts.len() > before {
                                entries = OpenEntries::default();
                            }
                        }
                    }
                    at += end + 1;
                }
            }
        }
        if let Some(line) = text.rsplit(|b| lines::is_end(*b)).next().filter(|l| !l.is_empty()) {
            self.last_line(line);
        }
    }

    /// Looks at a last line that has no end: a log that was cut there may have had an accept.
    fn last_line(&mut self, line: &[u8]) {
        let (prefix, body) = split(line);
        let text = body.0;
        let in_prefix = match text {
            [] => prefix != Prefix::default(),
            _ => text.iter().all(|b| b.is_ascii_digit() || b":.[pid ]".contains(b)),
        };
        self.block.unreadable += u64::from(in_prefix || rescue::is_cut_accept(text));
    }

    // By value, and without a call where nearly all lines pass: what was just written in parts and is
    // read as a whole, the processor waits for.
    #[inline(always)]
    fn accepted(&mut self, accepted: Accepted, line: &[u8], at: u32) {
        let stamp = self.block.clock_span.see(accepted.stamp).plus(accepted.spent);
        if accepted.is_new() {
            self.block.briefs.learn(accepted, line);
        }
        if !self.block.briefs.take(accepted, stamp, line) {
            self.fact(accepted, stamp, LinePart::Whole, line, at);
        }
    }

    /// Takes the second half of an accept that gave a connection.
    #[inline(always)]
    fn resumed_accept(
        &mut self,
        mut accepted: Accepted,
        line: &[u8],
        at: u32,
        entries: &mut OpenEntries,
    ) {
        let stamp = self.block.clock_span.see(accepted.stamp);
        if accepted.is_new() {
            self.block.briefs.learn(accepted, line);
        }
        let entry = entries.take(accepted.pid).and_then(|n| self.block.facts.get_mut(n));
        if let Some(entry) = entry {
            accepted.listener = entry.call.fd;
            if self.block.briefs.take(accepted, stamp, line) {
                // What is left of both halves: the thread has no open call.
                entry.part = LinePart::Resumed;
                entry.call.returned = Returned::Failed;
                return;
            }
        }
        accepted.listener = -1;
        self.fact(accepted, stamp, LinePart::Resumed, line, at);
    }

    #[inline(never)]
    fn fact(&mut self, accepted: Accepted, stamp: Stamp, part: LinePart, line: &[u8], at: u32) {
        let (pid, call) = (accepted.pid, accepted.call(line));
        self.block.facts.push(Fact { at, pid, leader: pid, comm: 0, part, stamp, call });
    }
}

/// First halves of accept in the block, as [`fast_path`] reads them, whose second half may follow.
#[derive(Default)]
struct OpenEntries {
    /// The thread, and the place of the fact from 1.
    slots: [(u32, usize); 32],
}

impl OpenEntries {
    #[inline]
    fn add(&mut self, pid: u32, fact: usize) {
        self.slots[pid as usize % 32] = (pid, fact + 1);
    }

    /// The fact of the first half of the call in which `pid` is.
    #[inline]
    fn take(&mut self, pid: u32) -> Option<usize> {
        let slot = &mut self.slots[pid as usize % 32];
        if slot.0 == pid { std::mem::take(slot).1.checked_sub(1) } else { None }
    }
}

/// Where the next line is that may tell of an accept, so that the lines before it need no search.
struct NextAccept {
    finder: memchr::memmem::Finder<'static>,
    /// No `accept` is between here and the place that was asked for last.
    at: Option<usize>,
}

impl Default for NextAccept {
    fn default() -> NextAccept {
        NextAccept { finder: memchr::memmem::Finder::new(b"accept"), at: None }
    }
}

impl NextAccept {
    /// Whether one is in the `length` bytes of `text` from `from` on. `from` never goes back.
    #[inline]
    fn within(&mut self, text: &[u8], from: usize, length: usize) -> bool {
        let next = match self.at {
            Some(at) if at >= from => at,
            _ => {
                let at = self.finder.find(&text[from..]).map_or(usize::MAX, |n| from + n);
                self.at = Some(at);
                at
            }
        };
        next < from + length
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::parse::timestamp::ClockSpan;

    /// What a line says where [`fast_path`] sees it first, and what it says to the general path.
    fn both(line: &[u8]) -> [(Vec<Fact>, ClockSpan, u64, bool); 2] {
        let [mut fast, mut general] = [Block::default(), Block::default()];
        super::read(&mut fast, line);
        lines::each(line, |line, at| line::read(&mut general, line, at as u32));
        [fast, general].map(|block| (block.facts, block.clock_span, block.unreadable, block.uring))
    }

    #[test]
    fn fast_path_reads_what_the_general_path_reads() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/strace");
        let mut lines = 0;
        for case in std::fs::read_dir(root).unwrap() {
            let Ok(log) = std::fs::read(case.unwrap().path().join("log")) else { continue };
            // The last line of many has no line feed.
            for line in log.split_inclusive(|b| *b == b'\n').filter(|l| l.ends_with(b"\n")) {
                let [fast, general] = both(line);
                assert_eq!(fast, general, "{}", line.escape_ascii());
                lines += 1;
            }
        }
        assert!(lines > 5_000, "{lines}");
    }

    /// The general path takes five times as long, and nothing else would tell.
    #[test]
    fn accepts_behind_every_usual_prefix_are_read_by_the_fast_path() {
        let pids =
            ["", "7 ", "12345 ", "1234567 ", "[pid 1001] ", "[pid  1001] ", "[pid 1234567] "];
        let times = [
            "",
            "10:53:30 ",
            "10:53:30.174673 ",
            "1795344802.927766 ",
            "     0.004183 ",
            "   123.004183 ",
            "10:53:30.174673 (+     0.008233) ",
            "1795344802.927766 (+   123.315166) ",
        ];
        let v4 =
            "{sa_family=AF_INET, sin_port=htons(40001), sin_addr=inet_addr(\"192.0.2.177\")}, [16]";
        let v6 = "{sa_family=AF_INET6, sin6_port=htons(40001), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, \"2001:db8::7\", &sin6_addr), sin6_scope_id=0}, [28]";
        let calls = [
            format!("accept4(4, {v4}, SOCK_CLOEXEC|SOCK_NONBLOCK) = 12"),
            format!("accept4(1234567, {v6}, SOCK_NONBLOCK) = 1234567 <0.000019>"),
            format!("accept(4, {v4}) = 12"),
            format!(
                "accept4(4<TCP:[0.0.0.0:80]>, {v4}, 0) = 12<TCP:[192.0.2.1:80->192.0.2.177:40001]>"
            ),
            format!("<... accept4 resumed>{v4}, SOCK_CLOEXEC) = 12"),
            format!("<... accept resumed> {v6}) = 12 <0.000019>"),
            "accept4(12345,  <unfinished ...>".to_owned(),
            "close(1234567)                          = 0".to_owned(),
        ];
        let block = Block::default();
        for ((pid, time), call) in pids
            .iter()
            .flat_map(|pid| times.map(|time| (pid, time)))
            .flat_map(|p| calls.iter().map(move |c| (p, c)))
        {
            let text = format!("{pid}{time}{call}\n");
            let mut padded = [0; window::LENGTH];
            let bytes = window::first_bytes(text.as_bytes(), &mut padded);
            let read = fast_path::line(bytes, &block.briefs.recent, &mut Meanings::default());
            assert!(read.is_some(), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn both_paths_read_lines_that_nearly_look_right_alike(
            pid in prop::sample::select(vec![
                "", "1 ", "12 ", "123   ", "1234567 ", "12345678 ", "[pid 7] ", "[pid    77]  ",
                "[pid7] ", "[pid  7 ", "7<a> ", "99999999999 ",
            ]),
            time in prop::sample::select(vec![
                "", "10:53:30 ", "10:53:30.1 ", "23:59:60.123456 ", "24:00:00 ", "10:53:30.12345678 ",
                "1795344802.927766 ", "1795344802 ", "9999999999.5 ", "0000000001.5 ",
                "179534480.927766 ", "17953448021.9 ", "1795344802. ", "     0.004183 ",
                "10:53:30.174673 (+     0.008233) ", "     0 ", "      12.654334 ", "1795344802.927766 (+     1.5) ", "[ 288] ", "1795344802.927766036 ",
            ]),
            call in prop::sample::select(vec![
                "accept4(", "accept(", "<... accept4 resumed>", "<... accept resumed> ",
                "close(", "read(", "socket(", "accept5(", "_x(", "9(", "accept4", "",
            ]),
            first in prop::sample::select(vec!["", "3", "3, ", "3<TCP:[0.0.0.0:80]>, ", "3<TCPv6:[[::]:80]>, ", "3<TCP:[77]>, ", "3<UDP:[1.2.3.4:5]>, ", "12345678, ", "3,  <unfinished ...>\n", "-1, ", "3<x>, "]),
            address in prop::sample::select(vec![
                "{sa_family=AF_INET, sin_port=htons(36459), sin_addr=inet_addr(\"127.0.0.3\")}",
                "{sa_family=AF_INET, sin_port=htons(66459), sin_addr=inet_addr(\"127.0.0.3\")}",
                "{sa_family=AF_INET, sin_port=htons(0), sin_addr=inet_addr(\"1.256.0.3\")}",
                "{sa_family=AF_INET, sin_port=htons(1), sin_addr=inet_addr(\"1.1234.0.3\")}",
                "{sa_family=AF_INET, sin_port=htons(1), sin_addr=inet_addr(\"001.02.0.3\")}",
                "{sa_family=AF_INET6, sin6_port=htons(41565), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, \"2001:db8::7\", &sin6_addr), sin6_scope_id=0}",
                "{sa_family=AF_INET6, sin6_port=htons(41565), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, \"::ffff:1.2.3.4\", &sin6_addr), sin6_scope_id=0}",
                "{sa_family=AF_INET6, sin6_port=htons(41565), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, \"1.2.3.4\", &sin6_addr), sin6_scope_id=0}",
                "{sa_family=AF_UNIX}", "NULL", "0x7f", "",
            ]),
            length in prop::sample::select(vec![", [16]", ", [128 => 16]", ", [128->16]", ", [1234]", ", NULL", ""]),
            flags in prop::sample::select(vec![
                "", ", 0", ", SOCK_CLOEXEC", ", SOCK_NONBLOCK", ", SOCK_CLOEXEC|SOCK_NONBLOCK", ", SOCK_X",
            ]),
            end in prop::sample::select(vec![
                ") = 7\n", ") = 7<TCP:[192.0.2.1:80->192.0.2.7:40001]>\n", ") = 7<TCPv6:[[::1]:80->[::1]:40001]> <0.000019>\r\n", ") = 7<TCP:[9]>\n", ") = 12345678\n", ")                = 0\n", ") = 7 <0.000019>\n", ") = 7 <0.123456789>\n",
                ") = -1 EAGAIN (Resource temporarily unavailable)\n", ") = ?\n", ") = 7 x\n", ") = 7\r\n", "\n",
                ") = 7<socket:[9]>\n",
            ]),
            damage in prop::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>())),
        ) {
            let mut line =
                [pid, time, call, first, address, length, flags, end].concat().into_bytes();
            if let Some((at, byte)) = damage {
                let at = at.index(line.len());
                line[at] = byte;
            }
            let [fast, general] = both(&line);
            prop_assert_eq!(fast, general);
        }
    }
}
