//! Reads all lines of a text into a [`Block`]: by the fast path, and those that are not in its forms
//! by the general path.

use std::ops::Range;

use super::accepted::{Accepted, LinePart};
use super::block::{Block, Fact};
use super::call::{Call, Name, Returned};
use super::next_hit::NextHits;
use super::prefix::{Prefix, best, split};
use super::recent::Meanings;
use super::{fast_path, line, prefixed, rescue, window, wrapped};
use crate::parse::decoration::clean;
use crate::parse::decoration::wrapper::{self, Stripped};
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
        let meanings = Meanings::new(self.block.want_comms);
        let mut state = State { meanings, ..State::default() };
        let mut at = 0;
        while at < text.len() {
            at += self.line(text, at, &mut state);
        }
        if let Some(line) = text.rsplit(|b| lines::is_end(*b)).next().filter(|l| !l.is_empty()) {
            self.last_line(line);
        }
    }

    /// Reads the line at `start` of `text`, and gives its length with its end.
    #[inline(always)]
    fn line(&mut self, text: &[u8], start: usize, state: &mut State) -> usize {
        let rest = &text[start..];
        let at = u32::try_from(start).unwrap_or(u32::MAX);
        let bytes = window::first_bytes(rest, &mut state.padded);
        match fast_path::line(bytes, &self.block.briefs.recent, &mut state.meanings) {
            Some(fast_path::Line::Other(stamp)) => {
                let end = lines::end(rest);
                if state.hits.has_accept(text, start..start + end) {
                    self.any_line(&rest[..end], at, state);
                } else {
                    self.block.clock_span.see(stamp);
                }
                end + 1
            }
            Some(line) => self.known_line(line, rest, at, Stamp::None, &mut state.entries),
            None if rest[0] == 0 => lines::hole(rest),
            None => self.line_of_other_form(text, start, state),
        }
    }

    /// Takes the line that the fast path read at the beginning of `rest`, and gives its length with its
    /// end. `wrapper` is the time that another program put before it.
    #[inline(always)]
    fn known_line(
        &mut self,
        line: fast_path::Line,
        rest: &[u8],
        at: u32,
        wrapper: Stamp,
        entries: &mut OpenEntries,
    ) -> usize {
        match line {
            fast_path::Line::Accepted(accepted) => {
                self.accepted(accepted, rest, at, wrapper);
                accepted.length
            }
            fast_path::Line::Resumed(accepted) => {
                self.resumed_accept(accepted, rest, at, wrapper, entries);
                accepted.length
            }
            fast_path::Line::Entry { pid, stamp, fd, length } => {
                let stamp = self.block.clock_span.see(best(stamp, wrapper));
                entries.add(pid, self.block.facts.len());
                let call = Call { fd, ..Call::new(Name::Accept) };
                self.fact(at, pid, stamp, LinePart::Entry, call);
                length
            }
            fast_path::Line::Close { pid, stamp, spent, fd, length } => {
                let stamp = self.block.clock_span.see(best(stamp, wrapper)).plus(spent);
                if !self.block.briefs.close(fd) {
                    let returned = Returned::Value(0);
                    let call = Call { fd, returned, ..Call::new(Name::Close) };
                    self.fact(at, pid, stamp, LinePart::Whole, call);
                }
                length
            }
            fast_path::Line::Failed(stamp, length) => {
                self.block.clock_span.see(best(stamp, wrapper));
                self.block.failed_accepts += 1;
                length
            }
            fast_path::Line::Other(stamp) => {
                self.block.clock_span.see(best(stamp, wrapper));
                lines::end(rest) + 1
            }
        }
    }

    /// Reads the line at `start` of `text`, which does not begin in a form of the fast path, and gives
    /// its length with its end.
    #[inline(never)]
    fn line_of_other_form(&mut self, text: &[u8], start: usize, state: &mut State) -> usize {
        let rest = &text[start..];
        let at = u32::try_from(start).unwrap_or(u32::MAX);
        let end = lines::end(rest);
        let line = &rest[..end];
        if self.line_behind_prefixes(text, start..start + end, state) {
            return end + 1;
        }
        if wrapped::may_begin(line)
            && let Some((joined, length)) = wrapped::join(rest)
        {
            self.any_line(&joined, at, state);
            return length;
        }
        if !line::is_stack_frame(line) {
            self.any_line(line, at, state);
        }
        end + 1
    }

    /// Reads the line that is `part` of `text` behind the prefixes of other programs by the fast path.
    /// False, and nothing is read, if the general path may read the line in another way.
    #[inline(always)]
    fn line_behind_prefixes(&mut self, text: &[u8], part: Range<usize>, state: &mut State) -> bool {
        let line = &text[part.clone()];
        if !prefixed::may_have_prefixes(line) {
            return false;
        }
        for Stripped { stamp, rest: inner } in wrapper::without_prefixes(line) {
            let rest = &text[part.end - inner.len()..];
            let bytes = window::first_bytes(rest, &mut state.padded);
            let recent = &self.block.briefs.recent;
            let Some(known) = fast_path::line(bytes, recent, &mut state.meanings) else {
                if prefixed::is_foreign(inner) {
                    continue;
                }
                return false;
            };
            let hits = &mut state.hits;
            let is_doubtful = match &known {
                fast_path::Line::Accepted(_) | fast_path::Line::Resumed(_) => false,
                fast_path::Line::Entry { .. } | fast_path::Line::Failed(..) => {
                    rescue::has_unread_accept(line)
                }
                fast_path::Line::Close { .. } => hits.has_accept(text, part.clone()),
                fast_path::Line::Other(_) => {
                    hits.has_accept(text, part.clone()) || hits.may_hide_accept(text, part.clone())
                }
            };
            if is_doubtful || clean::is_dirty(line) {
                return false;
            }
            let at = u32::try_from(part.start).unwrap_or(u32::MAX);
            let wrapper = rescue::of_wrapper(stamp);
            self.known_line(known, rest, at, wrapper, &mut state.entries);
            return true;
        }
        false
    }

    /// Reads a line that begins at `at`, in any form.
    #[inline(never)]
    fn any_line(&mut self, line: &[u8], at: u32, state: &mut State) {
        let before = self.block.facts.len();
        line::read(self.block, line, at);
        match &self.block.facts[before..] {
            [] => {}
            [Fact { pid, part: LinePart::Entry, call, .. }] if call.name == Name::Accept => {
                state.entries.add(*pid, before);
            }
            [Fact { pid, part, .. }] => match part {
                LinePart::Whole => {
                    self.block.settle();
                }
                // The thread is in no call of accept.
                LinePart::Entry | LinePart::Resumed | LinePart::Exit => {
                    state.entries.take(*pid);
                }
                _ => state.entries = OpenEntries::default(),
            },
            _ => state.entries = OpenEntries::default(),
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
    fn accepted(&mut self, accepted: Accepted, line: &[u8], at: u32, wrapper: Stamp) {
        let stamp = self.block.clock_span.see(best(accepted.stamp, wrapper)).plus(accepted.spent);
        if accepted.is_new() {
            self.block.briefs.learn(accepted, line);
        }
        if !self.block.briefs.take(accepted, stamp, line) {
            self.fact(at, accepted.pid, stamp, LinePart::Whole, accepted.call(line));
        }
    }

    /// Takes the second half of an accept that gave a connection.
    #[inline(always)]
    fn resumed_accept(
        &mut self,
        mut accepted: Accepted,
        line: &[u8],
        at: u32,
        wrapper: Stamp,
        entries: &mut OpenEntries,
    ) {
        let stamp = self.block.clock_span.see(best(accepted.stamp, wrapper));
        if accepted.is_new() {
            self.block.briefs.learn(accepted, line);
        }
        let entry = entries.take(accepted.pid).and_then(|n| self.block.facts.get_mut(n));
        if let Some(entry) = entry {
            accepted.listener = entry.call.fd;
            // Its annotation may tell the local end.
            let is_alone = entry.call.inode == 0 && entry.call.local.is_none();
            if (is_alone || !self.block.briefs.want_local)
                && !entry.call.foreign
                && self.block.briefs.take(accepted, stamp, line)
            {
                // What is left of both halves: the thread has no open call.
                entry.part = LinePart::Resumed;
                entry.call.returned = Returned::Failed;
                return;
            }
        }
        accepted.listener = -1;
        self.fact(at, accepted.pid, stamp, LinePart::Resumed, accepted.call(line));
    }

    #[inline(never)]
    fn fact(&mut self, at: u32, pid: u32, stamp: Stamp, part: LinePart, call: Call) {
        self.block.facts.push(Fact { at, pid, leader: pid, comm: 0, part, stamp, call });
    }
}

/// What is known from one line of a text to the next.
struct State {
    hits: NextHits,
    entries: OpenEntries,
    meanings: Meanings,
    padded: [u8; window::LENGTH],
}

impl Default for State {
    fn default() -> State {
        State {
            hits: NextHits::default(),
            entries: OpenEntries::default(),
            meanings: Meanings::default(),
            padded: [0; window::LENGTH],
        }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::parse::timestamp::ClockSpan;

    /// What a line says where [`fast_path`] sees it first, and what it says to the general path.
    fn both(line: &[u8]) -> [(Vec<Fact>, ClockSpan, [u64; 2], bool); 2] {
        let [mut fast, mut general] = [Block::default(), Block::default()];
        super::read(&mut fast, line);
        lines::each(line, |line, at| {
            let mut reader = BlockReader { block: &mut general };
            reader.any_line(line, at as u32, &mut State::default());
        });
        [fast, general].map(|block| {
            let counts = [block.unreadable, block.failed_accepts];
            (block.facts, block.clock_span, counts, block.uring)
        })
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
        let pids = [
            "",
            "7 ",
            "12345 ",
            "1234567 ",
            "1001<nginx> ",
            "[pid 1001] ",
            "[pid  1001] ",
            "[pid 1234567] ",
        ];
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
            format!("accept4(4<socket:[31337]>, {v4}, 0) = 12<socket:[314159]> <0.000019>"),
            "accept4(4, NULL, NULL, 0) = -1 EAGAIN (Resource temporarily unavailable)".to_owned(),
            "<... epoll_wait resumed>[], 512, 5) = 0".to_owned(),
            "close(7</tmp/a>)                        = 0 <0.000019>".to_owned(),
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
            for prefix in PREFIXES_OF_FAST_PATH {
                let text = format!("{prefix}{text}");
                let mut reader = BlockReader { block: &mut Block::default() };
                let part = 0..text.len() - 1;
                let mut state = State::default();
                assert!(reader.line_behind_prefixes(text.as_bytes(), part, &mut state), "{text}");
            }
        }
    }

    const PREFIXES_OF_FAST_PATH: [&str; 6] = [
        "Nov 22 10:53:30 web1 strace[812]: ",
        "2026-11-22T10:53:30.123456789Z stderr F ",
        "2026-11-22T10:53:30+0100 web1 strace[812]: ",
        "web-1  | ",
        "123:",
        "log.txt:123:",
    ];

    /// What other programs put before lines, and what nearly looks so.
    const PREFIXES: [&str; 44] = [
        "Nov 22 10:53:30 web1 strace[812]: ",
        "Nov  2 10:53:30 web1 strace: ",
        "Nov 22 10:53:30 ",
        "Nov 32 10:53:30 web1 strace[812]: ",
        "Nov 22 24:53:30 web1 strace[812]: ",
        "Nov 22 10:53:30 web1 ",
        "Nov 22 10:53:30 web1 strace[812]:  ",
        "<13>Nov 22 10:53:30 web1 strace[812]: ",
        "<13>1 2026-11-22T10:53:30.5Z web1 strace 812 - - ",
        "<30>",
        "2026-11-22T10:53:30.123456789Z ",
        "2026-11-22T10:53:30.123456789Z stderr F ",
        "2026-11-22T10:53:30.123456789Z stdout P ",
        "2026-11-22T10:53:30+0100 web1 strace[812]: ",
        "2026-11-22 10:53:30,123 ",
        "2026-13-22T10:53:30Z ",
        "web-1  | ",
        "web-1 | ",
        "web| ",
        "web |",
        "accept-1  | ",
        "accept4(1): ",
        "acce: ",
        "sin_port=1 | ",
        "12:",
        "1:",
        "123456789012345678901:",
        "12-",
        "log.txt:12:",
        "log.txt:",
        "/var/log/a.1-12-",
        "2001:db8::7 ",
        "10:53:30 ",
        "10:53:30 | ",
        "[2026-11-22 10:53:30] ",
        "[  12.345678] ",
        "[pod/web-1/app] ",
        "> ",
        "   ",
        "a\t",
        "time=\"a\" ",
        "data: ",
        "{\"log\":\"",
        "NULL, ",
    ];

    /// What other programs and the line's own strings may put anywhere into a line.
    const JUNK: [&str; 20] = [
        "accept",
        "accept4(3, NULL, NULL) = 7",
        "<... accept resumed>",
        "\u{1b}[1m",
        "\r",
        "\u{a0}",
        "&lt;",
        "\"",
        "= 7",
        "read(7) = 0",
        " <unfinished ...>",
        "sin_addr=inet_addr(\"1.2.3.4\")",
        "cept4(",
        "Waiting... ",
        ": ",
        " | ",
        "Nov 22 10:53:30 web1 x: ",
        "\\",
        "<b>",
        "\t",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn both_paths_read_lines_that_nearly_look_right_alike(
            prefixes in prop::collection::vec(prop::sample::select(&PREFIXES[..]), 0..3),
            pid in prop::sample::select(vec![
                "", "1 ", "12 ", "123   ", "1234567 ", "12345678 ", "[pid 7] ", "[pid    77]  ",
                "[pid7] ", "[pid  7 ", "7<a> ", "7<(a b)>  ", "[pid 7<a>] ", "7<a->b> ", "99999999999 ",
            ]),
            time in prop::sample::select(vec![
                "", "10:53:30 ", "10:53:30.1 ", "23:59:60.123456 ", "24:00:00 ", "10:53:30.12345678 ",
                "1795344802.927766 ", "1795344802 ", "9999999999.5 ", "0000000001.5 ",
                "179534480.927766 ", "17953448021.9 ", "1795344802. ", "     0.004183 ",
                "10:53:30.174673 (+     0.008233) ", "     0 ", "      12.654334 ", "1795344802.927766 (+     1.5) ", "[ 288] ", "[ 288] [00007f7a49728f63] ", "10:53:30 [00007f7a49728f63] ", "[x] ", "1795344802.927766036 ",
            ]),
            call in prop::sample::select(vec![
                "accept4(", "accept(", "<... accept4 resumed>", "<... accept resumed> ",
                "close(", "read(", "socket(", "<... read resumed>", "<... close resumed>", "<... reed resumed>", "accept5(", "_x(", "9(", "accept4", "",
            ]),
            first in prop::sample::select(vec!["", "3", "3, ", "3<TCP:[0.0.0.0:80]>, ", "3<TCPv6:[[::]:80]>, ", "3<TCP:[77]>, ", "3<socket:[77]>, ", "3<socket:[77]>", "3</a/b->c>", "3<TCP:[[::1]:80->[::1]:81]>", "3<anon_inode:[a]>", "3<UDP:[1.2.3.4:5]>, ", "12345678, ", "3,  <unfinished ...>\n", "-1, ", "3<x>, "]),
            address in prop::sample::select(vec![
                "{sa_family=AF_INET, sin_port=htons(36459), sin_addr=inet_addr(\"127.0.0.3\")}",
                "{sa_family=AF_INET, sin_port=htons(66459), sin_addr=inet_addr(\"127.0.0.3\")}",
                "{sa_family=AF_INET, sin_port=htons(0), sin_addr=inet_addr(\"1.256.0.3\")}",
                "{sa_family=AF_INET, sin_port=htons(1), sin_addr=inet_addr(\"1.1234.0.3\")}",
                "{sa_family=AF_INET, sin_port=htons(1), sin_addr=inet_addr(\"001.02.0.3\")}",
                "{sa_family=AF_INET6, sin6_port=htons(41565), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, \"2001:db8::7\", &sin6_addr), sin6_scope_id=0}",
                "{sa_family=AF_INET6, sin6_port=htons(41565), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, \"::ffff:1.2.3.4\", &sin6_addr), sin6_scope_id=0}",
                "{sa_family=AF_INET6, sin6_port=htons(41565), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, \"1.2.3.4\", &sin6_addr), sin6_scope_id=0}",
                "{sa_family=AF_INET6, sin6_port=htons(41565), inet_pton(AF_INET6, \"2001:db8::7\", &sin6_addr), sin6_flowinfo=0, sin6_scope_id=0}",
                "{sa_family=AF_INET6, sin6_port=htons(41565), inet_pton(AF_INET6, \"2001:db8::7\", &sin6_addr), sin6_flowinfo=htonl(0), sin6_scope_id=0}",
                "{sa_family=AF_INET6, sin6_port=htons(41565), inet_pton(AF_INET6, \"2001:db8::7\", &sin6_addr), sin6_scope_id=0}",
                "{sa_family=AF_UNIX}", "NULL", "0x7f", "0x7ffd5a5c2c60", "",
            ]),
            length in prop::sample::select(vec![", [16]", ", [128 => 16]", ", [128->16]", ", [1234]", ", NULL", ", 0x7ffd5a5c2c5c", ""]),
            flags in prop::sample::select(vec![
                "", ", 0", ", SOCK_CLOEXEC", ", SOCK_NONBLOCK", ", SOCK_CLOEXEC|SOCK_NONBLOCK", ", SOCK_X",
            ]),
            end in prop::sample::select(vec![
                ") = 7\n", ") = 7<TCP:[192.0.2.1:80->192.0.2.7:40001]>\n", ") = 7<TCPv6:[[::1]:80->[::1]:40001]> <0.000019>\r\n", ") = 7<TCP:[9]>\n", ") = 12345678\n", ")                = 0\n", ") = 7 <0.000019>\n", ") = 7 <0.123456789>\n",
                ") = -1 EAGAIN (Resource temporarily unavailable)\n", ") = ?\n", ") = 7 x\n", ") = 7\r\n", "\n",
                ") = 7<socket:[9]>\n", ") = 7<socket:[9]> <0.000019>\n", ") = 7<socket:[x]>\n", ") = 0\n", ") = 0 <0.000019>\n",
                ") = -1 EAGAIN (Resource temporarily unavailable) <0.000019>\n", ") = -1 EAGAIN (Resource temporarily unavailable)\r\n",
            ]),
            junk in prop::option::weighted(
                0.2, (any::<prop::sample::Index>(), prop::sample::select(&JUNK[..])),
            ),
            damage in prop::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>())),
        ) {
            let before = prefixes.concat();
            let mut line = [&*before, pid, time, call, first, address, length, flags, end].concat();
            // A line that is divided may be joined again, which is not the matter of either path.
            let is_divided = line.trim_end_matches('\n').contains('\n');
            if let Some((at, junk)) = junk.filter(|_| !is_divided) {
                // Not behind the line feed.
                let places: Vec<_> = line.char_indices().map(|(at, _)| at).collect();
                line.insert_str(*at.get(&places), junk);
            }
            let mut line = line.into_bytes();
            if let Some((at, byte)) = damage.filter(|(_, byte)| !lines::is_end(*byte)) {
                let at = at.index(line.len());
                line[at] = byte;
            }
            let [fast, general] = both(&line);
            prop_assert_eq!(fast, general);
        }
    }
}
