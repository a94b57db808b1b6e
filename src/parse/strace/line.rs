//! From lines to [`Fact`]s. A fact is what one line says by itself; what follows from several
//! lines is [`log`](super::log)'s work. So the blocks of a log can be read in any order.

use std::sync::Arc;

use super::call::{self, Call, Name, Parsed, named};
use super::clock::ClockSpan;
use super::compact::Briefs;
use super::cursor::{Cursor, unescape, without_colours};
use super::fast_path;
use super::prefix::{Prefix, Stamp, split};
use crate::Connection;
use crate::parse::lines;

/// Which part of a call a line holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinePart {
    /// All of it.
    Whole,
    /// The first half, up to `<unfinished ...>`.
    Entry,
    /// The first half, cut by text that is not strace's.
    Torn,
    /// The second half, with a prefix: `<... accept resumed>`.
    Resumed,
    /// The second half of a torn one.
    Continued,
    /// ` <unfinished ...>` by itself: a torn one is only unfinished.
    Unfinished,
    /// Not a call: the thread has ended.
    Exit,
    /// Not a call: strace itself was killed, and what follows is another run's.
    NewRun,
}

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Where the line begins in its block.
    pub at: u32,
    /// The thread; 0 if the line has none.
    pub pid: u32,
    /// The process that it belongs to, as [`log`](super::log) found out.
    pub leader: u32,
    /// Its name: a place in [`Block::comms`], from 1; 0 if the line has none or nobody wants it.
    pub comm: u32,
    /// Which part of the call it is.
    pub part: LinePart,
    /// Counted from the beginning of the block. Of a whole call: when it returned.
    pub stamp: Stamp,
    /// The call.
    pub call: Call,
}

/// A connection that is certain.
#[derive(Debug)]
pub enum Given {
    /// This fact is one.
    Fact(u32),
    /// One whose peer or port came from another line.
    Late(Box<Connection>),
}

/// The facts of some lines that follow each other.
#[derive(Debug, Default)]
pub struct Block {
    /// In the order of the lines.
    pub facts: Vec<Fact>,
    /// Names of threads.
    pub comms: Vec<Arc<str>>,
    /// How time passed.
    pub clock_span: ClockSpan,
    /// Lines that should have told of a connection and could not be read.
    pub unreadable: u64,
    /// Whether io_uring was used.
    pub uring: bool,
    /// What is to be given, as [`log`](super::log) found out.
    pub given: Vec<Given>,
    /// Whether names of threads are wanted.
    pub want_comms: bool,
    /// Connections that need no fact.
    pub briefs: Briefs,
}

/// A line can be glued to another, cut one, and that to a third: but not for ever.
const GLUED: u8 = 4;

impl Block {
    /// Forgets everything but the memory it has.
    pub fn clear(&mut self) {
        self.facts.clear();
        self.comms.clear();
        self.given.clear();
        self.briefs.clear();
        self.clock_span = ClockSpan::default();
        self.unreadable = 0;
        self.uring = false;
    }

    /// Reads all lines of `text`.
    pub fn read(&mut self, text: &[u8]) {
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            if rest[0] == 0 {
                at += lines::hole(rest);
                continue;
            }
            let place = u32::try_from(at).unwrap_or(u32::MAX);
            match rest.first_chunk().and_then(fast_path::line) {
                Some(fast_path::Line::Accepted(accepted)) => {
                    let fast_path::Accepted { pid, stamp, spent, ip, fd, length, .. } = accepted;
                    let stamp = self.clock_span.see(stamp).plus(spent);
                    if !self.briefs.take(ip, stamp, fd) {
                        let (part, call) = (LinePart::Whole, accepted.call());
                        let leader = pid;
                        self.facts.push(Fact {
                            at: place,
                            pid,
                            leader,
                            comm: 0,
                            part,
                            stamp,
                            call,
                        });
                    }
                    at += length;
                }
                Some(fast_path::Line::Call { pid, stamp, spent, part, call, length }) => {
                    let stamp = self.clock_span.see(stamp).plus(spent);
                    self.facts.push(Fact {
                        at: place,
                        pid,
                        leader: pid,
                        comm: 0,
                        part,
                        stamp,
                        call,
                    });
                    at += length;
                }
                other => {
                    let end = lines::end(rest);
                    match other {
                        Some(fast_path::Line::Other(stamp)) => {
                            self.clock_span.see(stamp);
                        }
                        _ => {
                            self.line(&rest[..end.min(lines::LONGEST)], place, GLUED);
                        }
                    }
                    at += end + 1;
                }
            }
        }
    }

    #[inline]
    fn line(&mut self, line: &[u8], at: u32, glued: u8) -> bool {
        let (prefix, body) = split(line);
        match body.peek() {
            b'a'..=b'z' | b'_' => self.call(line, prefix, body, at, glued),
            b'<' => self.resumed(line, prefix, body, at, glued),
            b'+' | b'-' => self.event(&prefix, body, at),
            _ => self.other(line, body, at, glued),
        }
    }

    fn call(
        &mut self,
        line: &[u8],
        prefix: Prefix<'_>,
        body: Cursor<'_>,
        at: u32,
        glued: u8,
    ) -> bool {
        let (name, n) = if body.0.starts_with(b"accept4(") {
            (Name::Accept, 7)
        } else {
            let word = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_';
            let n = body.0.iter().take_while(|b| word(b)).count();
            if body.0.get(n) != Some(&b'(') {
                return self.coloured(line, body, at, glued);
            }
            let Some(name) = named(&body.0[..n]) else {
                self.clock_span.see(prefix.stamp);
                return true;
            };
            (name, n)
        };
        self.uring |= name == Name::Uring;
        let parsed = call::call(name, Cursor(&body.0[n + 1..]));
        let doubtful = matches!(parsed, Parsed::Torn(..) | Parsed::Unreadable | Parsed::Nothing);
        if doubtful && self.coloured(line, body, at, glued) {
            return true;
        }
        let stamp = self.clock_span.see(prefix.stamp);
        match parsed {
            Parsed::Whole(call, spent) => {
                self.add(&prefix, stamp.plus(spent), at, LinePart::Whole, call);
            }
            Parsed::Entry(call) => self.add(&prefix, stamp, at, LinePart::Entry, call),
            Parsed::Torn(call, rest) => self.torn(&prefix, stamp, at, call, rest, glued),
            Parsed::Nothing => {}
            Parsed::Unreadable => self.unreadable += u64::from(name == Name::Accept),
        }
        true
    }

    /// A first half behind which something else follows: the first line of another run of strace
    /// (when this one was killed), or text of another program.
    fn torn(
        &mut self,
        prefix: &Prefix<'_>,
        stamp: Stamp,
        at: u32,
        call: Call,
        rest: &[u8],
        glued: u8,
    ) {
        self.add(prefix, stamp, at, LinePart::Torn, call);
        if rest.is_empty() || glued == 0 {
            return;
        }
        let before = self.facts.len();
        if self.line(rest, at, glued - 1) {
            let first = split(rest).0;
            if first.pid.is_some() || first.stamp != Stamp::None {
                let call = Call::new(Name::Close);
                let (part, stamp) = (LinePart::NewRun, Stamp::None);
                self.facts
                    .insert(before, Fact { at, pid: 0, leader: 0, comm: 0, part, stamp, call });
            }
            return;
        }
        // The text of another program may have no line feed, and then the call goes on here.
        if let Some(n) = memchr::memmem::find(rest, b"{sa_family=")
            && memchr::memchr(b'(', &rest[..n]).is_none()
        {
            self.continued(&rest[n..], at);
        }
    }

    fn resumed(
        &mut self,
        line: &[u8],
        prefix: Prefix<'_>,
        body: Cursor<'_>,
        at: u32,
        glued: u8,
    ) -> bool {
        let mut c = body;
        if !c.eat(b"<... ") {
            return false;
        }
        let n = c.0.iter().take_while(|b| **b != b' ').count();
        let word = &c.0[..n];
        c.skip(n);
        if !c.eat(b" resumed>") {
            return self.coloured(line, body, at, glued);
        }
        let Some(name) = named(word) else {
            self.clock_span.see(prefix.stamp);
            return true;
        };
        let parsed = call::resumed(name, c);
        let doubtful = !matches!(parsed, Parsed::Whole(..));
        if doubtful && self.coloured(line, body, at, glued) {
            return true;
        }
        let stamp = self.clock_span.see(prefix.stamp);
        match parsed {
            Parsed::Whole(call, _) => self.add(&prefix, stamp, at, LinePart::Resumed, call),
            _ => self.unreadable += u64::from(name == Name::Accept),
        }
        true
    }

    /// `+++ exited with 0 +++`, `--- SIGCHLD {...} ---`.
    fn event(&mut self, prefix: &Prefix<'_>, body: Cursor<'_>, at: u32) -> bool {
        let exit = body.0.starts_with(b"+++ ");
        if !exit && !body.0.starts_with(b"--- ") {
            return false;
        }
        let stamp = self.clock_span.see(prefix.stamp);
        if exit {
            let nothing = Call::new(Name::Close);
            self.add(prefix, stamp, at, LinePart::Exit, nothing);
        }
        true
    }

    /// A line that begins with neither a call nor anything else of strace's.
    #[cold]
    fn other(&mut self, line: &[u8], body: Cursor<'_>, at: u32, glued: u8) -> bool {
        if self.coloured(line, body, at, glued) {
            return true;
        }
        match line.first() {
            Some(b'{' | b',' | b'N' | b'0') => self.continued(line, at),
            Some(b' ') if line.starts_with(b" <unfinished ...>") => {
                let nothing = Call::new(Name::Close);
                self.add(&Prefix::default(), Stamp::None, at, LinePart::Unfinished, nothing);
                true
            }
            _ => false,
        }
    }

    /// The rest of a torn accept (or getsockname, getpeername: [`log`](super::log) knows which).
    fn continued(&mut self, text: &[u8], at: u32) -> bool {
        let Parsed::Whole(call, _) = call::continued(Name::Accept, Cursor(text)) else {
            return false;
        };
        self.add(&Prefix::default(), Stamp::None, at, LinePart::Continued, call);
        true
    }

    /// Reads the line once more without its colours, if it has any from `body` on.
    #[cold]
    fn coloured(&mut self, line: &[u8], body: Cursor<'_>, at: u32, glued: u8) -> bool {
        if memchr::memchr(0x1b, body.0).is_none() {
            return false;
        }
        let plain = without_colours(line);
        self.line(&plain, at, glued)
    }

    fn add(&mut self, prefix: &Prefix<'_>, stamp: Stamp, at: u32, part: LinePart, call: Call) {
        let comm = match prefix.comm {
            Some(name) if self.want_comms => self.intern(name),
            _ => 0,
        };
        let pid = prefix.pid.unwrap_or(0);
        self.facts.push(Fact { at, pid, leader: pid, comm, part, stamp, call });
    }

    fn intern(&mut self, name: &[u8]) -> u32 {
        let name = String::from_utf8_lossy(&unescape(name)).into_owned();
        // Few names come often; if they are many, some are kept more than once.
        let recent = self.comms.len().saturating_sub(32);
        let known = self.comms[recent..].iter().position(|known| **known == *name);
        let known = known.map(|place| recent + place);
        let place = known.unwrap_or_else(|| {
            self.comms.push(name.into());
            self.comms.len() - 1
        });
        place as u32 + 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a line says where [`fast_path`] sees it, and where it comes last, which quick never reads.
    fn both(line: &[u8]) -> [(Vec<Fact>, ClockSpan, u64, bool); 2] {
        let mut followed = line.to_vec();
        followed.resize(followed.len() + 2 * fast_path::WINDOW, b'\n');
        [&followed, line].map(|text| {
            let mut block = Block::default();
            block.read(text);
            (block.facts, block.clock_span, block.unreadable, block.uring)
        })
    }

    #[test]
    fn quick_reads_what_is_read_slowly() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/strace");
        let mut lines = 0;
        for case in std::fs::read_dir(root).unwrap() {
            let Ok(log) = std::fs::read(case.unwrap().path().join("log")) else { continue };
            // The last line of many has no line feed.
            for line in log.split_inclusive(|b| *b == b'\n').filter(|l| l.ends_with(b"\n")) {
                let [quickly, slowly] = both(line);
                assert_eq!(quickly, slowly, "{}", line.escape_ascii());
                lines += 1;
            }
        }
        assert!(lines > 5_000, "{lines}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn and_so_of_lines_that_nearly_look_right(
            pid in prop::sample::select(vec![
                "", "1 ", "12 ", "123   ", "1234567 ", "12345678 ", "[pid 7] ", "[pid    77]  ",
                "[pid7] ", "[pid  7 ", "7<a> ", "99999999999 ",
            ]),
            time in prop::sample::select(vec![
                "", "10:53:30 ", "10:53:30.1 ", "23:59:60.123456 ", "24:00:00 ", "10:53:30.12345678 ",
                "1795344802.927766 ", "1795344802 ", "9999999999.5 ", "0000000001.5 ",
                "179534480.927766 ", "17953448021.9 ", "1795344802. ", "     0.004183 ",
                "10:53:30.174673 (+     0.008233) ", "[ 288] ", "1795344802.927766036 ",
            ]),
            call in prop::sample::select(vec![
                "accept4(", "accept(", "<... accept4 resumed>", "<... accept resumed> ",
                "close(", "read(", "socket(", "accept5(", "_x(", "9(", "accept4", "",
            ]),
            first in prop::sample::select(vec!["", "3", "3, ", "12345678, ", "3,  <unfinished ...>\n", "-1, ", "3<x>, "]),
            address in prop::sample::select(vec![
                "{sa_family=AF_INET, sin_port=htons(36459), sin_addr=inet_addr(\"127.0.0.3\")}",
                "{sa_family=AF_INET, sin_port=htons(66459), sin_addr=inet_addr(\"127.0.0.3\")}",
                "{sa_family=AF_INET, sin_port=htons(0), sin_addr=inet_addr(\"1.256.0.3\")}",
                "{sa_family=AF_INET, sin_port=htons(1), sin_addr=inet_addr(\"1.1234.0.3\")}",
                "{sa_family=AF_INET, sin_port=htons(1), sin_addr=inet_addr(\"001.02.0.3\")}",
                "{sa_family=AF_UNIX}", "NULL", "0x7f", "",
            ]),
            length in prop::sample::select(vec![", [16]", ", [128 => 16]", ", [128->16]", ", [1234]", ", NULL", ""]),
            flags in prop::sample::select(vec![
                "", ", 0", ", SOCK_CLOEXEC", ", SOCK_NONBLOCK", ", SOCK_CLOEXEC|SOCK_NONBLOCK", ", SOCK_X",
            ]),
            end in prop::sample::select(vec![
                ") = 7\n", ") = 12345678\n", ")                = 0\n", ") = 7 <0.000019>\n", ") = 7 <0.123456789>\n",
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
            let [quickly, slowly] = both(&line);
            prop_assert_eq!(quickly, slowly);
        }
    }
}
