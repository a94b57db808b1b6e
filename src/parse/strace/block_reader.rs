//! Reads all lines of a text into a [`Block`]: by the fast path, and those that are not in its forms
//! by the general path.

use std::ops::Range;

use super::accepted::{Accepted, LinePart};
use super::block::{Block, Fact};
use super::call::{Call, Name, Returned};
use super::fd_annotation::fd_annotation;
use super::next_hit::NextHits;
use super::prefix::{Prefix, best, split};
use super::prefixed::KnownPrefixes;
use super::recent::Meanings;
use super::socket_kind::SocketKind;
use super::{fast_path, line, prefixed, rescue, window, wrapped};
use crate::parse::cursor::Cursor;
use crate::parse::decoration::clean;
use crate::parse::decoration::wrapper::{self, Stripped};
use crate::parse::timestamp::Stamp;
use crate::parse::{lines, losses};

/// Reads all lines of `text`.
pub fn read(block: &mut Block, text: &[u8]) {
    BlockReader { block }.read(text);
}

/// Whether a line may be of a connection.
#[cold]
pub(super) fn is_record(line: &[u8]) -> bool {
    let mut block = Block::default();
    line::read(&mut block, line, 0);
    block.unreadable > 0 || block.has_accepted(0)
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
        self.block.gaps.end(text);
    }

    /// Reads the line at `start` of `text`, and gives its length with its end.
    #[inline(always)]
    fn line(&mut self, text: &[u8], start: usize, state: &mut State) -> usize {
        let rest = &text[start..];
        let at = u32::try_from(start).unwrap_or(u32::MAX);
        let bytes = window::first_bytes(rest, &mut state.padded);
        if let Some((wrapper, length)) = state.prefixes.read(bytes)
            && let Some(length) =
                self.line_behind_known_prefixes(text, start, length, wrapper, state)
        {
            return length;
        }
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
            None if rest[0] == 0 => self.hole(text, start),
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
                self.accepted(accepted, rest, at, wrapper, entries);
                accepted.length
            }
            fast_path::Line::Resumed(accepted) => {
                self.resumed_accept(accepted, rest, at, wrapper, entries);
                accepted.length
            }
            fast_path::Line::Entry { pid, stamp, fd, annotation, length } => {
                let stamp = self.block.clock_span.see(best(stamp, wrapper));
                entries.add(pid, self.block.facts.len());
                let call = Call { fd, ..entries.call(annotation.of(rest)) };
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
            fast_path::Line::Fact(fact) => {
                let stamp = self.block.clock_span.see(best(fact.stamp, wrapper));
                if fact.part != LinePart::Whole {
                    // The thread is in no call of accept.
                    entries.take(fact.pid);
                }
                self.fact(at, fact.pid, fact.returned_at(stamp), fact.part, fact.call());
                fact.length
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
        if line::is_stack_frame(line) || line::is_attach(line) {
            return end + 1;
        }
        if line.ends_with(b"]") && losses::repeated_message(line).is_some() {
            self.line_of_other_program(text, start, line);
            return end + 1;
        }
        if self.line_behind_prefixes(text, start..start + end, state) {
            return end + 1;
        }
        // It may quote the beginning of a call.
        if losses::repeats_of_last(line).is_some() {
            self.line_of_other_program(text, start, line);
            return end + 1;
        }
        if wrapped::may_begin(line)
            && let Some((joined, length)) = wrapped::join(rest)
        {
            self.any_line(&joined, at, state);
            return length;
        }
        if !self.any_line(line, at, state) {
            self.line_of_other_program(text, start, line);
        }
        end + 1
    }

    /// Looks at a line that is not strace's: it may say that others are missing.
    #[cold]
    fn line_of_other_program(&mut self, text: &[u8], start: usize, line: &[u8]) {
        if losses::next_hint(line).is_some() {
            self.block.gaps.see_line(text, start, line, &is_record);
        }
    }

    /// Passes over the NULs at `start` of `text`, and gives their number.
    #[cold]
    fn hole(&mut self, text: &[u8], start: usize) -> usize {
        let bytes = lines::hole(&text[start..]);
        self.block.gaps.see_hole(text, start, bytes);
        bytes
    }

    /// Reads the line that is `part` of `text` behind the prefixes of other programs by the fast path.
    /// False, and nothing is read, if the general path may read the line in another way.
    fn line_behind_prefixes(&mut self, text: &[u8], part: Range<usize>, state: &mut State) -> bool {
        let line = &text[part.clone()];
        if !prefixed::may_have_prefixes(line) {
            return false;
        }
        for (Stripped { stamp, rest: inner }, end) in wrapper::layers(line) {
            let wrapper = rescue::of_wrapper(stamp);
            let inner_start = part.end - inner.len();
            let Some(known) = self.inner_line(&text[inner_start..], state) else {
                if prefixed::is_foreign(inner) {
                    continue;
                }
                return false;
            };
            if is_doubtful(&known, text, part.clone(), state) || clean::is_dirty(line) {
                return false;
            }
            state.prefixes.learn(&text[part.start..inner_start], wrapper, end);
            let at = u32::try_from(part.start).unwrap_or(u32::MAX);
            self.known_line(known, &text[inner_start..], at, wrapper, &mut state.entries);
            return true;
        }
        false
    }

    /// Reads a line behind prefixes by the fast path.
    #[inline(never)]
    fn inner_line(&self, rest: &[u8], state: &mut State) -> Option<fast_path::Line> {
        let bytes = window::first_bytes(rest, &mut state.padded);
        fast_path::line(bytes, &self.block.briefs.recent, &mut state.meanings)
    }

    /// Reads the line at `start` of `text` behind known prefixes, which have `prefixes_length` bytes and the time
    /// `wrapper`, as [`line_behind_prefixes`](Self::line_behind_prefixes) does, and gives its length with its end.
    #[inline(never)]
    fn line_behind_known_prefixes(
        &mut self,
        text: &[u8],
        start: usize,
        prefixes_length: usize,
        wrapper: Stamp,
        state: &mut State,
    ) -> Option<usize> {
        let rest = &text[start + prefixes_length..];
        let bytes = window::first_bytes(rest, &mut state.padded);
        let known = fast_path::line(bytes, &self.block.briefs.recent, &mut state.meanings)?;
        // The lines of accept are read to their ends: only the name of a thread may be any text, and no word before the
        // call ends as a tag does.
        let is_accept = !matches!(known, fast_path::Line::Close { .. } | fast_path::Line::Other(_));
        if !is_accept || prefixed::has_comm(rest) {
            let end = start + lines::end(&text[start..]);
            let line = &text[start..end];
            let is_too_long = line.len() >= lines::LONGEST;
            if is_too_long
                || !state.prefixes.end_before(rest)
                || is_doubtful(&known, text, start..end, state)
                || clean::is_dirty(line)
            {
                return None;
            }
        }
        let at = u32::try_from(start).unwrap_or(u32::MAX);
        Some(prefixes_length + self.known_line(known, rest, at, wrapper, &mut state.entries))
    }

    /// Reads a line that begins at `at`, in any form. False: nothing of it was strace's.
    #[inline(never)]
    fn any_line(&mut self, line: &[u8], at: u32, state: &mut State) -> bool {
        let before = self.block.facts.len();
        let is_own = line::read(self.block, line, at);
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
                _ => state.entries.clear(),
            },
            _ => state.entries.clear(),
        }
        is_own
    }

    /// Looks at a last line that has no end: a log that was cut there may have had an accept.
    fn last_line(&mut self, line: &[u8]) {
        let (prefix, body) = split(line);
        let text = body.0;
        let in_prefix = match text {
            [] => prefix != Prefix::default(),
            _ => {
                text.iter().any(|b| b.is_ascii_digit() || *b == b'[')
                    && text.iter().all(|b| b.is_ascii_digit() || b":.[pid ]".contains(b))
            }
        };
        self.block.unreadable += u64::from(in_prefix || rescue::is_cut_accept(text));
    }

    // By value, and without a call where nearly all lines pass: what was just written in parts and is
    // read as a whole, the processor waits for.
    #[inline(always)]
    fn accepted(
        &mut self,
        accepted: Accepted,
        line: &[u8],
        at: u32,
        wrapper: Stamp,
        entries: &mut OpenEntries,
    ) {
        let stamp = self.block.clock_span.see(best(accepted.stamp, wrapper)).plus(accepted.spent);
        if accepted.is_new() {
            self.block.briefs.learn(accepted, line);
        }
        // The second half of the call in which the thread was is missing: the log must know.
        let has_lost = accepted.pid != 0 && entries.take(accepted.pid).is_some();
        if has_lost || !self.block.briefs.take(accepted, stamp, line) {
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
            let briefs = &mut self.block.briefs;
            if entry.call.kind == SocketKind::MaybeTcp
                && if is_alone || accepted.known_local.is_some() || !briefs.want_local {
                    briefs.take(accepted, stamp, line)
                } else {
                    let call = accepted.call(line).after(&entry.call);
                    briefs.take_call(accepted.pid, &call, accepted.peer(), stamp)
                }
            {
                entry.part = LinePart::Joined;
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

/// Whether the general path may read in another way what the fast path read of the line that is `part` of `text`, which
/// has prefixes.
#[inline(always)]
fn is_doubtful(
    known: &fast_path::Line,
    text: &[u8],
    part: Range<usize>,
    state: &mut State,
) -> bool {
    let hits = &mut state.hits;
    match known {
        fast_path::Line::Accepted(_) | fast_path::Line::Resumed(_) => false,
        fast_path::Line::Fact(fact) if fact.is_accept() => false,
        fast_path::Line::Entry { .. } | fast_path::Line::Failed(..) | fast_path::Line::Fact(_) => {
            rescue::has_unread_accept(&text[part])
        }
        fast_path::Line::Close { .. } => hits.has_accept(text, part),
        fast_path::Line::Other(_) => {
            hits.has_accept(text, part.clone()) || hits.may_hide_accept(text, part)
        }
    }
}

/// What is known from one line of a text to the next.
struct State {
    prefixes: KnownPrefixes,
    hits: NextHits,
    entries: OpenEntries,
    meanings: Meanings,
    padded: [u8; window::LENGTH],
}

impl Default for State {
    fn default() -> State {
        State {
            prefixes: KnownPrefixes::default(),
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
    /// The annotation of the last one that had any, and what it tells.
    annotated: Option<(Vec<u8>, Call)>,
}

impl OpenEntries {
    fn clear(&mut self) {
        self.slots = [(0, 0); 32];
    }

    #[inline]
    fn add(&mut self, pid: u32, fact: usize) {
        self.slots[pid as usize % 32] = (pid, fact + 1);
    }

    /// An accept on a descriptor with this annotation.
    #[inline]
    fn call(&mut self, annotation: &[u8]) -> Call {
        match &self.annotated {
            _ if annotation.is_empty() => Call::new(Name::Accept),
            Some((known, call)) if known == annotation => *call,
            _ => {
                let mut call = Call::new(Name::Accept);
                call.note(fd_annotation(&mut Cursor(annotation)));
                self.annotated = Some((annotation.to_vec(), call));
                call
            }
        }
    }

    /// The fact of the first half of the call in which `pid` is.
    #[inline]
    fn take(&mut self, pid: u32) -> Option<usize> {
        let slot = &mut self.slots[pid as usize % 32];
        if slot.0 == pid { std::mem::take(slot).1.checked_sub(1) } else { None }
    }
}

#[cfg(test)]
mod tests;
