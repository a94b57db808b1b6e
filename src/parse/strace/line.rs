//! From lines to [`Fact`]s. A fact is what one line says by itself; what follows from several
//! lines is [`log`](super::log)'s work. So the blocks of a log can be read in any order.

use std::sync::Arc;

use super::accepted::{Accepted, LinePart};
use super::call::{self, Call, Name, Parsed, Returned, named};
use super::clock::ClockSpan;
use super::compact::Briefs;
use super::cursor::{Cursor, unescape};
use super::prefix::{Prefix, Stamp, split};
use super::sockaddr::Shown;
use super::{fast_path, rescue};
use crate::Connection;
use crate::parse::{clean, lines};

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
    /// The time that another program put before the line that is being read.
    pub(super) wrapper: Stamp,
    /// How often parts of the line may still be tried.
    pub(super) attempts: u32,
}

/// A line can be glued to another, cut one, and that to a third: but not for ever.
const GLUED: u8 = 16;

/// An accept that begins so many bytes before the cut of a line may be divided by it.
const CUT_CALL: usize = 1024;

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
        let mut accepts = NextAccept::default();
        let mut entries = OpenEntries::default();
        let mut padded = [0; fast_path::WINDOW];
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            if rest[0] == 0 {
                at += lines::hole(rest);
                continue;
            }
            let place = u32::try_from(at).unwrap_or(u32::MAX);
            let bytes = fast_path::window(rest, &mut padded);
            match fast_path::line(bytes, &self.briefs.recent) {
                Some(fast_path::Line::Accepted(accepted)) => {
                    self.accepted(&accepted, rest, place);
                    at += accepted.length;
                }
                Some(fast_path::Line::Resumed(accepted)) => {
                    at += accepted.length;
                    self.resumed_accept(accepted, rest, place, &mut entries);
                }
                Some(fast_path::Line::Call { pid, stamp, spent, part, call, length }) => {
                    at += length;
                    let stamp = self.clock_span.see(stamp).plus(spent);
                    if call.name == Name::Close && self.briefs.close(call.fd) {
                        continue;
                    }
                    if part == LinePart::Entry {
                        entries.add(pid, self.facts.len());
                    }
                    let (leader, comm) = (pid, 0);
                    self.facts.push(Fact { at: place, pid, leader, comm, part, stamp, call });
                }
                other => {
                    let end = lines::end(rest);
                    match other {
                        Some(fast_path::Line::Other(stamp)) if !accepts.within(text, at, end) => {
                            self.clock_span.see(stamp);
                        }
                        _ => {
                            let before = self.facts.len();
                            self.long_line(&rest[..end], place);
                            if self.facts.len() > before {
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
        self.unreadable += u64::from(in_prefix || rescue::is_cut_accept(text));
    }

    #[inline]
    fn accepted(&mut self, accepted: &Accepted, line: &[u8], at: u32) {
        let Accepted { pid, stamp, spent, .. } = *accepted;
        let stamp = self.clock_span.see(stamp).plus(spent);
        if accepted.has_annotation() && accepted.known_local.is_none() {
            self.briefs.learn(accepted, line);
        }
        if !self.briefs.take(accepted, stamp, line) {
            let (part, call) = (LinePart::Whole, accepted.call(line));
            self.facts.push(Fact { at, pid, leader: pid, comm: 0, part, stamp, call });
        }
    }

    /// Takes the second half of an accept that gave a connection.
    #[inline]
    fn resumed_accept(
        &mut self,
        mut accepted: Accepted,
        line: &[u8],
        at: u32,
        entries: &mut OpenEntries,
    ) {
        let pid = accepted.pid;
        let stamp = self.clock_span.see(accepted.stamp);
        if accepted.has_annotation() && accepted.known_local.is_none() {
            self.briefs.learn(&accepted, line);
        }
        if let Some(entry) = entries.take(pid).and_then(|n| self.facts.get_mut(n)) {
            accepted.listener = entry.call.fd;
            if self.briefs.take(&accepted, stamp, line) {
                // What is left of both halves: the thread has no open call.
                entry.part = LinePart::Resumed;
                entry.call.returned = Returned::Failed;
                return;
            }
        }
        accepted.listener = -1;
        let (part, call) = (LinePart::Resumed, accepted.call(line));
        self.facts.push(Fact { at, pid, leader: pid, comm: 0, part, stamp, call });
    }

    fn long_line(&mut self, line: &[u8], at: u32) {
        self.attempts = rescue::MAX_ATTEMPTS;
        let before = (self.facts.len(), self.unreadable);
        self.line(&line[..line.len().min(lines::LONGEST)], at, GLUED);
        if line.len() >= lines::LONGEST {
            self.cut_line(line, before);
        } else if self.unreadable == before.1 && memchr::memmem::find(line, b"accept").is_some() {
            self.check_accept(line, before.0);
        }
    }

    /// Counts a line as unreadable if it has an accept with a result that is in none of its facts,
    /// which begin at `before`.
    #[cold]
    fn check_accept(&mut self, line: &[u8], before: usize) {
        // The line of another run was checked when it was read.
        let read = self.facts[before..].iter().any(|fact| fact.part == LinePart::NewRun)
            || self.has_accepted(before);
        self.unreadable += u64::from(!read && rescue::has_unread_accept(line));
    }

    /// Whether a fact from `before` on is a successful accept.
    pub(super) fn has_accepted(&self, before: usize) -> bool {
        let mut torn = None;
        self.facts[before..].iter().any(|fact| {
            let name = match fact.part {
                LinePart::Torn => {
                    torn = Some(fact.call.name);
                    None
                }
                LinePart::Whole | LinePart::Resumed => Some(fact.call.name),
                LinePart::Continued => torn.take().filter(|_| fact.call.shown != Shown::Foreign),
                _ => None,
            };
            name == Some(Name::Accept) && matches!(fact.call.returned, Returned::Value(_))
        })
    }

    /// Looks for accepts where a line that is too long was cut, and behind. `before` is the number
    /// of facts and of unreadable lines before this one.
    #[cold]
    fn cut_line(&mut self, line: &[u8], before: (usize, u64)) {
        let whole = |fact: &Fact| matches!(fact.part, LinePart::Whole | LinePart::Resumed);
        let unread = self.unreadable == before.1 && !self.facts[before.0..].iter().any(whole);
        let end = lines::LONGEST - CUT_CALL;
        let divided = unread && rescue::has_accept(&line[end..lines::LONGEST]);
        let behind = rescue::has_accept(&line[lines::LONGEST - lines::OVERLAP..]);
        self.unreadable += u64::from(divided || behind);
    }

    /// Reads a line, however it looks. False: nothing of it was strace's.
    pub(super) fn line(&mut self, line: &[u8], at: u32, glued: u8) -> bool {
        self.own_line(line, at, glued) || rescue::rescue(self, line, at, glued)
    }

    /// Reads a line that begins as strace's lines do.
    #[inline]
    pub(super) fn own_line(&mut self, line: &[u8], at: u32, glued: u8) -> bool {
        let (prefix, body) = split(line);
        match body.peek() {
            b'a'..=b'z' | b'_' => self.call(line, prefix, body, at, glued),
            b'<' => self.resumed(line, prefix, body, at, glued),
            b'+' | b'-' => self.event(&prefix, body, at),
            _ => self.other(line, at),
        }
    }

    /// Takes the time of a line.
    fn see(&mut self, own: Stamp) -> Stamp {
        let stamp = if self.wrapper == Stamp::None { own } else { rescue::best(own, self.wrapper) };
        self.clock_span.see(stamp)
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
                return false;
            }
            let Some(name) = named(&body.0[..n]) else {
                return self.other_call(&prefix, body.0, n);
            };
            (name, n)
        };
        self.uring |= name == Name::Uring;
        let arguments = &body.0[n + 1..];
        let parsed = call::call(name, Cursor(arguments));
        let doubtful = matches!(parsed, Parsed::Torn(..) | Parsed::Unreadable | Parsed::Nothing);
        if doubtful && self.cleaned(line, at, glued) {
            return true;
        }
        let stamp = self.see(prefix.stamp);
        match parsed {
            Parsed::Whole(call, spent, rest) => {
                self.add(&prefix, stamp.plus(spent), at, LinePart::Whole, call);
                self.rest(rest, at, glued);
            }
            Parsed::Entry(call, rest) => {
                self.add(&prefix, stamp, at, LinePart::Entry, call);
                let before = (self.facts.len(), self.unreadable);
                let goes_on = matches!(rest.first(), Some(b',' | b')' | b'{'));
                if !goes_on {
                    self.rest(rest, at, glued);
                }
                if name == Name::Accept && before == (self.facts.len(), self.unreadable) {
                    self.unreadable += u64::from(rescue::ends_with_result(rest));
                }
            }
            // An annotation without its end may have swallowed the rest.
            Parsed::Torn(_, b"") if rescue::ends_with_result(arguments) => {
                self.unreadable += u64::from(name == Name::Accept);
            }
            Parsed::Torn(call, rest) => self.torn(&prefix, stamp, at, call, rest, glued),
            Parsed::Nothing => {
                let hidden = name == Name::Accept && rescue::ends_with_result(arguments);
                self.unreadable += u64::from(hidden);
                self.behind_unreadable(arguments, at, glued);
            }
            Parsed::Unreadable => {
                self.unreadable += u64::from(name == Name::Accept);
                self.behind_unreadable(arguments, at, glued);
            }
        }
        true
    }

    /// A call that does not matter, with a name of `n` bytes. False: it is none.
    fn other_call(&mut self, prefix: &Prefix<'_>, body: &[u8], n: usize) -> bool {
        let (name, arguments) = (&body[..n], &body[n + 1..]);
        // Text stands right before the name.
        if name.ends_with(b"accept") || name.ends_with(b"accept4") {
            return false;
        }
        let is_call = rescue::is_other_call(name, arguments);
        if !is_call && !rescue::is_one_call(arguments) {
            return false;
        }
        self.see(prefix.stamp);
        // A name that no call has may be that of accept, damaged.
        self.unreadable += u64::from(!is_call && rescue::may_hide_accept(body));
        true
    }

    /// What follows a call on its line.
    #[inline]
    fn rest(&mut self, rest: &[u8], at: u32, glued: u8) {
        if !rest.is_empty()
            && rest != b"\r"
            && (rest.contains(&b'(') || memchr::memmem::find(rest, b"resumed>").is_some())
        {
            self.next_call(rest.trim_ascii_start(), at, glued);
        }
    }

    /// What may follow a call that could not be read.
    #[cold]
    fn behind_unreadable(&mut self, arguments: &[u8], at: u32, glued: u8) {
        if let Some(n) = rescue::next_call(arguments)
            && rescue::has_accept(arguments)
            && !rescue::is_one_call(arguments)
        {
            self.next_call(&arguments[n..], at, glued);
        }
    }

    #[cold]
    fn next_call(&mut self, text: &[u8], at: u32, glued: u8) {
        // Carriage returns may separate many.
        let several = text.contains(&b'\r');
        for piece in text.split(|b| *b == b'\r') {
            if glued == 0 {
                rescue::rescue(self, piece, at, 0);
            } else {
                self.line(piece, at, if several { glued } else { glued - 1 });
            }
        }
    }

    /// A first half behind which something else follows: the first line of another run of strace
    /// (when this one was killed), or text of another program.
    #[cold]
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
        if glued == 0 {
            self.unreadable += u64::from(rescue::may_hide_accept(rest));
            return;
        }
        let before = self.facts.len();
        let first = split(rest).0;
        let has_prefix = first.pid.is_some() || first.stamp != Stamp::None;
        // What is left of an accept whose address is not shown may also be other text.
        let hidden = !has_prefix && matches!(rest.first(), Some(b',' | b'0' | b'N'));
        if !hidden && self.own_line(rest, at, glued - 1) {
            // Without a prefix, what looks like another call may be text within this one.
            let nothing = self.facts.len() == before && !has_prefix;
            if nothing && call.name == Name::Accept {
                self.unreadable += u64::from(rescue::ends_with_result(rest));
            }
            if has_prefix {
                let unread = call.name == Name::Accept
                    && !self.has_accepted(before - 1)
                    && (!is_alike(&first, prefix) || rescue::has_unread_result(rest));
                self.unreadable += u64::from(unread);
                let call = Call::new(Name::Close);
                let (part, stamp) = (LinePart::NewRun, Stamp::None);
                self.facts
                    .insert(before, Fact { at, pid: 0, leader: 0, comm: 0, part, stamp, call });
            }
            return;
        }
        // The text of another program may have no line feed, and then the call goes on here.
        if let Some(n) = rescue::address(rest)
            && self.continued(&rest[n..], at)
        {
            return;
        }
        if !rescue::rescue(self, rest, at, glued - 1) && call.name == Name::Accept {
            self.unreadable += u64::from(rescue::ends_with_result(rest));
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
            return false;
        }
        let Some(name) = named(word) else {
            if !rescue::is_other_call(word, c.0) {
                return false;
            }
            self.see(prefix.stamp);
            return true;
        };
        let parsed = call::resumed(name, c);
        let doubtful = !matches!(parsed, Parsed::Whole(..));
        if doubtful && self.cleaned(line, at, glued) {
            return true;
        }
        let stamp = self.see(prefix.stamp);
        match parsed {
            Parsed::Whole(call, _, rest) => {
                let failed = call.returned == Returned::Failed;
                self.add(&prefix, stamp, at, LinePart::Resumed, call);
                if failed && name == Name::Accept && rescue::ends_with_result(rest) {
                    self.unreadable += 1;
                } else {
                    self.rest(rest, at, glued);
                }
            }
            _ => {
                self.unreadable += u64::from(name == Name::Accept);
                self.behind_unreadable(c.0, at, glued);
            }
        }
        true
    }

    /// `+++ exited with 0 +++`, `--- SIGCHLD {...} ---`.
    fn event(&mut self, prefix: &Prefix<'_>, body: Cursor<'_>, at: u32) -> bool {
        const EXITS: [&[u8]; 3] = [b"+++ exited", b"+++ killed", b"+++ superseded"];
        let exit = EXITS.iter().any(|exit| body.0.starts_with(exit));
        let signal = body.0.starts_with(b"--- SIG") || body.0.starts_with(b"--- stopped");
        if !exit && !signal || rescue::has_accept(body.0) || rescue::ends_with_result(body.0) {
            return false;
        }
        let stamp = self.see(prefix.stamp);
        if exit {
            let nothing = Call::new(Name::Close);
            self.add(prefix, stamp, at, LinePart::Exit, nothing);
        }
        true
    }

    /// A line that begins with neither a call nor anything else of strace's.
    #[cold]
    fn other(&mut self, line: &[u8], at: u32) -> bool {
        match line.first() {
            Some(b'{' | b',' | b'N' | b'0') => self.continued(line, at),
            Some(b' ') if line.starts_with(b" <unfinished ...>") && !rescue::has_accept(line) => {
                let nothing = Call::new(Name::Close);
                self.add(&Prefix::default(), Stamp::None, at, LinePart::Unfinished, nothing);
                true
            }
            _ => false,
        }
    }

    /// The rest of a torn accept (or getsockname, getpeername: [`log`](super::log) knows which).
    fn continued(&mut self, text: &[u8], at: u32) -> bool {
        let Parsed::Whole(call, ..) = call::continued(Name::Accept, Cursor(text)) else {
            return false;
        };
        if rescue::has_accept(text) {
            return false;
        }
        self.add(&Prefix::default(), Stamp::None, at, LinePart::Continued, call);
        true
    }

    /// Reads the line once more as it was before a terminal or a web page changed it, if one did.
    #[cold]
    fn cleaned(&mut self, line: &[u8], at: u32, glued: u8) -> bool {
        glued > 0 && clean::is_dirty(line) && {
            let read = |found, piece: &Vec<u8>| self.line(piece, at, glued - 1) | found;
            clean::pieces(line).iter().fold(false, read)
        }
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

/// Whether two lines have the same prefixes, as those of runs with the same options have.
fn is_alike(a: &Prefix<'_>, b: &Prefix<'_>) -> bool {
    a.pid.is_some() == b.pid.is_some()
        && std::mem::discriminant(&a.stamp) == std::mem::discriminant(&b.stamp)
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

    /// What a line says where [`fast_path`] sees it first, and what it says to the general path.
    fn both(line: &[u8]) -> [(Vec<Fact>, ClockSpan, u64, bool); 2] {
        let [mut fast, mut general] = [Block::default(), Block::default()];
        fast.read(line);
        lines::each(line, |line, at| general.long_line(line, at as u32));
        [fast, general].map(|block| (block.facts, block.clock_span, block.unreadable, block.uring))
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
            let [quickly, slowly] = both(&line);
            prop_assert_eq!(quickly, slowly);
        }
    }
}
