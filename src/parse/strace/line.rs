//! The general path: reads any line, and whatever else is on it, into a [`Block`].

use memchr::memmem;

use super::accepted::LinePart;
use super::block::{Block, Fact};
use super::call::{self, Call, Name, Parsed, Returned, named};
use super::prefix::{Prefix, split};
use super::rescue;
use super::result::ACCEPT;
use super::uring;
use crate::parse::cursor::Cursor;
use crate::parse::decoration::clean;
use crate::parse::decoration::wrapper::{self, Stripped};
use crate::parse::input::unwrap_line;
use crate::parse::lines;
use crate::parse::timestamp::Stamp;

/// A line can be glued to another, cut one, and that to a third: but not for ever.
const GLUED: u8 = 16;

/// An accept that begins within this number of bytes before the cut of a line may be divided by it.
const MAX_CALL_BYTES: usize = 1024;

/// How often parts of one line are tried, so that a line takes no time to speak of, however it is
/// made.
const MAX_ATTEMPTS: u32 = 40;

/// Reads one line.
struct LineReader<'a> {
    block: &'a mut Block,
    /// How often parts of the line may still be tried.
    attempts: u32,
}

/// Reads a line, which begins at `at` in the text of the block. False: nothing of it was strace's.
pub(super) fn read(block: &mut Block, line: &[u8], at: u32) -> bool {
    LineReader { block, attempts: MAX_ATTEMPTS }.long_line(line, at)
}

impl LineReader<'_> {
    fn long_line(&mut self, line: &[u8], at: u32) -> bool {
        let before = (self.block.facts.len(), self.block.unreadable);
        let is_own = self.line(&line[..line.len().min(lines::LONGEST)], at, GLUED);
        if line.len() >= lines::LONGEST {
            self.cut_line(line, before);
        } else if self.block.unreadable == before.1 && ACCEPT.find(line).is_some() {
            self.check_accept(line, before.0);
        }
        is_own
    }

    /// Counts a line as unreadable if it has an accept with a result that is in none of its facts,
    /// which begin at `before`.
    #[cold]
    fn check_accept(&mut self, line: &[u8], before: usize) {
        // The line of another run was checked when it was read.
        let read = self.block.facts[before..].iter().any(|fact| fact.part == LinePart::NewRun)
            || self.block.has_accepted(before);
        let is_unread = |text: Vec<u8>| text.split(|b| *b == b'\n').any(rescue::has_unread_accept);
        let hidden =
            !read && rescue::has_unread_accept(line) && unwrap_line(line).is_none_or(is_unread);
        self.block.unreadable += u64::from(hidden);
    }

    /// Looks for accepts where a line that is too long was cut, and behind. `before` is the number
    /// of facts and of unreadable lines before this one.
    #[cold]
    fn cut_line(&mut self, line: &[u8], before: (usize, u64)) {
        let whole = |fact: &Fact| matches!(fact.part, LinePart::Whole | LinePart::Resumed);
        let unread =
            self.block.unreadable == before.1 && !self.block.facts[before.0..].iter().any(whole);
        let end = lines::LONGEST - MAX_CALL_BYTES;
        let divided = unread && rescue::has_accept(&line[end..lines::LONGEST]);
        let behind = rescue::has_accept(&line[lines::LONGEST - lines::OVERLAP..]);
        self.block.unreadable += u64::from(divided || behind);
    }

    /// Reads a line, however it looks. False: nothing of it was strace's.
    fn line(&mut self, line: &[u8], at: u32, glued: u8) -> bool {
        self.own_line(line, at, glued) || self.rescue(line, at, glued)
    }

    /// Reads a line that begins as strace's lines do.
    #[inline]
    fn own_line(&mut self, line: &[u8], at: u32, glued: u8) -> bool {
        let (prefix, body) = split(line);
        match body.peek() {
            b'a'..=b'z' | b'_' => self.call(line, prefix, body, at, glued),
            b'<' => self.resumed(line, prefix, body, at, glued),
            b'+' | b'-' => self.event(&prefix, body, at),
            _ => self.other(line, at),
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
                return false;
            }
            let Some(name) = named(&body.0[..n]) else {
                return self.other_call(&prefix, body.0, n);
            };
            (name, n)
        };
        let arguments = &body.0[n + 1..];
        if name == Name::Uring {
            self.block.uring |= uring::is_used(&body.0[..n], arguments);
        }
        let parsed = call::call(name, Cursor(arguments));
        let doubtful = matches!(parsed, Parsed::Torn(..) | Parsed::Unreadable | Parsed::Nothing);
        if doubtful && self.cleaned(line, at, glued) {
            return true;
        }
        let stamp = self.block.see(prefix.stamp);
        match parsed {
            Parsed::Whole(call, spent, rest) => {
                self.block.add(&prefix, stamp.plus(spent), at, LinePart::Whole, call);
                self.rest(rest, at, glued);
            }
            Parsed::Entry(call, rest) => {
                self.block.add(&prefix, stamp, at, LinePart::Entry, call);
                let before = (self.block.facts.len(), self.block.unreadable);
                let goes_on = matches!(rest.first(), Some(b',' | b')' | b'{'));
                if !goes_on {
                    self.rest(rest, at, glued);
                }
                if name == Name::Accept && before == (self.block.facts.len(), self.block.unreadable)
                {
                    self.block.unreadable += u64::from(rescue::ends_with_result(rest));
                }
            }
            // An annotation without its end may have swallowed the rest.
            Parsed::Torn(_, b"") if rescue::ends_with_result(arguments) => {
                self.block.unreadable += u64::from(name == Name::Accept);
            }
            Parsed::Torn(call, rest) => self.torn(&prefix, stamp, at, call, rest, glued),
            Parsed::Nothing => {
                let hidden = name == Name::Accept && rescue::ends_with_result(arguments);
                self.block.unreadable += u64::from(hidden);
                self.behind_unreadable(arguments, at, glued);
            }
            Parsed::Unreadable => {
                self.block.unreadable += u64::from(name == Name::Accept);
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
        self.block.see(prefix.stamp);
        // A name that no call has may be that of accept, damaged.
        self.block.unreadable += u64::from(!is_call && rescue::may_hide_accept(body));
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
                self.rescue(piece, at, 0);
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
        self.block.add(prefix, stamp, at, LinePart::Torn, call);
        if glued == 0 {
            self.block.unreadable += u64::from(rescue::may_hide_accept(rest));
            return;
        }
        let before = self.block.facts.len();
        let first = split(rest).0;
        let has_prefix = first.pid.is_some() || first.stamp != Stamp::None;
        // What is left of an accept whose address is not shown may also be other text.
        let hidden = !has_prefix && matches!(rest.first(), Some(b',' | b'0' | b'N'));
        if !hidden && self.own_line(rest, at, glued - 1) {
            // Without a prefix, what looks like another call may be text within this one.
            let nothing = self.block.facts.len() == before && !has_prefix;
            if nothing && call.name == Name::Accept {
                self.block.unreadable += u64::from(rescue::ends_with_result(rest));
            }
            if has_prefix {
                let unread = call.name == Name::Accept
                    && !self.block.has_accepted(before - 1)
                    && (!is_alike(&first, prefix) || rescue::has_unread_result(rest));
                self.block.unreadable += u64::from(unread);
                let call = Call::new(Name::Close);
                let (part, stamp) = (LinePart::NewRun, Stamp::None);
                self.block
                    .facts
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
        if !self.rescue(rest, at, glued - 1) && call.name == Name::Accept {
            self.block.unreadable += u64::from(rescue::ends_with_result(rest));
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
            self.block.see(prefix.stamp);
            return true;
        };
        if name == Name::Uring {
            self.block.uring |= uring::is_used(word, c.0);
        }
        let parsed = call::resumed(name, c);
        let doubtful = !matches!(parsed, Parsed::Whole(..));
        if doubtful && self.cleaned(line, at, glued) {
            return true;
        }
        let stamp = self.block.see(prefix.stamp);
        match parsed {
            Parsed::Whole(call, _, rest) => {
                let failed = call.returned == Returned::Failed;
                self.block.add(&prefix, stamp, at, LinePart::Resumed, call);
                if failed && name == Name::Accept && rescue::ends_with_result(rest) {
                    self.block.unreadable += 1;
                } else {
                    self.rest(rest, at, glued);
                }
            }
            _ => {
                self.block.unreadable += u64::from(name == Name::Accept);
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
        let stamp = self.block.see(prefix.stamp);
        if exit {
            let nothing = Call::new(Name::Close);
            self.block.add(prefix, stamp, at, LinePart::Exit, nothing);
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
                self.block.add(&Prefix::default(), Stamp::None, at, LinePart::Unfinished, nothing);
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
        self.block.add(&Prefix::default(), Stamp::None, at, LinePart::Continued, call);
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

    /// Reads a line that is none of strace's as it is. False: nothing of it was strace's.
    #[cold]
    fn rescue(&mut self, line: &[u8], at: u32, depth: u8) -> bool {
        let marks: [&[u8]; 3] = [b"resumed", b"+++ ", b"--- "];
        if memchr::memchr(b'(', line).is_none()
            && !marks.iter().any(|m| memmem::find(line, m).is_some())
        {
            return false;
        }
        if depth == 0 || self.attempts == 0 {
            let hidden = rescue::may_hide_accept(line);
            self.block.unreadable +=
                if hidden { rescue::accepts(line).count().max(1) as u64 } else { 0 };
            return true;
        }
        self.attempts -= 1;
        if clean::is_dirty(line) {
            let before = (self.block.facts.len(), self.block.unreadable);
            let read = |found, piece: &Vec<u8>| self.line(piece, at, depth - 1) | found;
            let found = clean::pieces(line).iter().fold(false, read);
            // A control character may have removed a part of the name.
            let nothing = before == (self.block.facts.len(), self.block.unreadable);
            self.block.unreadable += u64::from(nothing && rescue::may_hide_accept(line));
            return found;
        }
        if self.unwrapped(line, at, depth)
            || self.behind_wrapper(line, at, depth)
            || self.behind_text(line, at, depth)
        {
            return true;
        }
        let hidden = rescue::may_hide_accept(line);
        self.block.unreadable += u64::from(hidden);
        hidden
    }

    /// Reads what a line of logfmt or of JSON holds, among lines that are none.
    fn unwrapped(&mut self, line: &[u8], at: u32, depth: u8) -> bool {
        let Some(text) = unwrap_line(line) else { return false };
        let read = |found, piece: &[u8]| self.line(piece, at, depth - 1) | found;
        text.split(|b| *b == b'\n').filter(|piece| !piece.is_empty()).fold(false, read)
    }

    /// Reads what follows the prefixes of other programs.
    fn behind_wrapper(&mut self, line: &[u8], at: u32, depth: u8) -> bool {
        for Stripped { stamp, rest } in wrapper::without_prefixes(line) {
            let outer = std::mem::replace(&mut self.block.wrapper, rescue::of_wrapper(stamp));
            let before = (self.block.facts.len(), self.block.unreadable);
            let found = self.own_line(rest, at, depth - 1);
            self.block.wrapper = outer;
            if found {
                // What was taken for a prefix may be a part of the name.
                let nothing = before == (self.block.facts.len(), self.block.unreadable);
                self.block.unreadable += u64::from(nothing && rescue::may_hide_accept(line));
                return true;
            }
        }
        false
    }

    /// Reads a call that follows other text on the same line.
    fn behind_text(&mut self, line: &[u8], at: u32, depth: u8) -> bool {
        // Connections that the line shows and that another way to read it leaves out.
        let mut left_out = 0;
        for place in rescue::calls(line) {
            // Whatever looks like a call within a string is none, unless it can be read to its end.
            if self.attempts == 0 {
                return false;
            }
            self.attempts -= 1;
            if rescue::is_quoted(line, place) && !rescue::has_accept(&line[place..]) {
                continue;
            }
            let start = rescue::prefix_start(line, place);
            let before = (self.block.facts.len(), self.block.unreadable);
            if self.own_line(&line[start..], at, depth - 1) && self.block.unreadable == before.1 {
                // A string of another call, or an accept behind one that was cut: nobody can tell.
                if rescue::is_in_string_of_call(line, place) {
                    self.block.unreadable += u64::from(self.block.has_accepted(before.0));
                    self.block.facts.truncate(before.0);
                }
                self.block.unreadable += left_out;
                return true;
            }
            // What follows may be the call; this was not.
            left_out += u64::from(self.block.has_accepted(before.0));
            self.block.facts.truncate(before.0);
            self.block.unreadable = before.1;
        }
        false
    }
}

/// ` > /usr/lib/libc.so.6(accept4+0x50) [0x11e1a0]`: a frame of `-k`, in which nothing is called and
/// nothing returned.
pub(super) fn is_stack_frame(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let is_frame = line.starts_with(b" > ")
        && line.ends_with(b"]")
        && memchr::memrchr(b'[', line).is_some_and(|at| line[at..].starts_with(b"[0x"));
    // A result, a string, half of a call; what a terminal or a web page may have made of them.
    is_frame
        && memchr::memchr3(b'=', b'"', b'<', line).is_none()
        && memchr::memchr2(b'&', 0x1b, line).is_none()
        && !rescue::has_accept(line)
}

/// `strace: Process 1234 attached`.
pub(super) fn is_attach(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let number = line.strip_prefix(b"strace: Process ").and_then(|l| l.strip_suffix(b" attached"));
    number.is_some_and(|number| number.iter().all(u8::is_ascii_digit))
}

/// Whether two lines have the same prefixes, as those of runs with the same options have.
fn is_alike(a: &Prefix<'_>, b: &Prefix<'_>) -> bool {
    (a.pid.is_some(), a.comm.is_some()) == (b.pid.is_some(), b.comm.is_some())
        && std::mem::discriminant(&a.stamp) == std::mem::discriminant(&b.stamp)
}
