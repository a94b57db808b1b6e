//! The forms that nearly all lines of large logs are in, read without looking for the end of the
//! line first. What is not exactly so is left to [`line`](mod@super::line), which reads every form;
//! what is read here, it would read the same.

use super::accepted::{Accepted, LinePart, Range};
use super::call::{Name, named};
use super::fast_calls::{self, RareFact};
use super::fields::{address, address_end, flags, spent};
use super::prefix::{EPOCH, EPOCH_END, clock};
use super::recent::{Family, Meanings, Recent};
use super::syscalls::is_syscall;
use super::window::{LENGTH, Window};
use crate::parse::digits::few_of_eight;
use crate::parse::timestamp::Stamp;

/// What a line is.
pub(super) enum Line {
    /// A whole call of accept that gave a connection.
    Accepted(Accepted),
    /// The second half of one. It bears the time of the return.
    Resumed(Accepted),
    /// The first half of an accept.
    Entry {
        /// The thread; 0 if the line has none.
        pid: u32,
        /// What the prefix says.
        stamp: Stamp,
        /// The descriptor that listens.
        fd: i32,
        /// Its annotation.
        annotation: Range,
        /// The bytes of the line with its line feed.
        length: usize,
    },
    /// A whole call of close.
    Close {
        /// The thread; 0 if the line has none.
        pid: u32,
        /// What the prefix says.
        stamp: Stamp,
        /// The nanoseconds that the call took, or 0.
        spent: i64,
        /// The descriptor.
        fd: i32,
        /// The bytes of the line with its line feed.
        length: usize,
    },
    /// A call of accept for which no connection waited, and the bytes of the line with its line feed.
    Failed(Stamp, usize),
    /// A line of another kind that matters.
    Fact(RareFact),
    /// A call that does not matter.
    Other(Stamp),
}

/// Reads the line that begins the window. `recent` and `meanings` are of the lines before.
#[inline(always)]
pub(super) fn line(bytes: &[u8; LENGTH], recent: &Recent, meanings: &mut Meanings) -> Option<Line> {
    let mut w = Window::new(bytes, recent)?;
    let pid = pid(&mut w, meanings.want_comms)?;
    let stamp = time(&mut w, meanings)?;
    w.brackets()?;
    if w.eat(b"accept4(").is_some() || w.eat(b"accept(").is_some() {
        return accept(w, pid, stamp);
    }
    if w.eat(b"close(").is_some() {
        return close(w, pid, stamp);
    }
    if w.eat(b"<... ").is_some() {
        return resumed(w, pid, stamp, meanings);
    }
    match w.peek()? {
        b'g' if w.eat(b"getsockname(").is_some() => {
            fast_calls::address(w, pid, stamp, Name::GetSockName).map(Line::Fact)
        }
        b'g' if w.eat(b"getpeername(").is_some() => {
            fast_calls::address(w, pid, stamp, Name::GetPeerName).map(Line::Fact)
        }
        b'c' if w.eat(b"clone(").is_some() || w.eat(b"clone3(").is_some() => {
            fast_calls::clone(w, pid, stamp).map(Line::Fact)
        }
        b's' if w.eat(b"socket(").is_some() => fast_calls::socket(w, pid, stamp).map(Line::Fact),
        b'd' if w.eat(b"dup2(").is_some() || w.eat(b"dup3(").is_some() => {
            fast_calls::dup(w, pid, stamp).map(Line::Fact)
        }
        b'f' if w.eat(b"fcntl(").is_some() => {
            fast_calls::duplicates_nothing(w).then_some(Line::Other(stamp))
        }
        b'+' => fast_calls::exit(w, pid, stamp).map(Line::Fact),
        b'-' => fast_calls::is_signal(&w).then_some(Line::Other(stamp)),
        _ => other(&w, b'(', stamp, meanings),
    }
}

#[inline(always)]
fn resumed(mut w: Window<'_>, pid: u32, stamp: Stamp, meanings: &mut Meanings) -> Option<Line> {
    if w.eat(b"accept4 resumed>").is_some() || w.eat(b"accept resumed>").is_some() {
        // The space is that of strace before 5.0, the comma that of 6.16 and later.
        if w.eat(b", ").is_none() {
            w.eat(b" ");
        }
        if fast_calls::has_no_address(&w) {
            let fact = RareFact::new(pid, stamp, LinePart::Resumed, Name::Accept);
            return fast_calls::without_address(w, fact, true).map(Line::Fact);
        }
        let accepted = from_address(w)?;
        return Some(Line::Resumed(Accepted { pid, stamp, spent: 0, ..accepted }));
    }
    if w.eat(b"close resumed>").is_some() {
        return fast_calls::resumed_close(w, pid, stamp).map(Line::Fact);
    }
    if w.eat(b"clone resumed>").is_some() || w.eat(b"clone3 resumed>").is_some() {
        return fast_calls::resumed_clone(w, pid, stamp).map(Line::Fact);
    }
    other(&w, b' ', stamp, meanings)
}

/// A call that does not matter, or its second half, behind whose name stands `end`.
#[inline(always)]
fn other(w: &Window<'_>, end: u8, stamp: Stamp, meanings: &mut Meanings) -> Option<Line> {
    let name = w.bytes.get(w.at..)?;
    let beginning = *name.first_chunk()?;
    let goes_on =
        |n: usize| end == b'(' || name.get(n..).is_some_and(|rest| rest.starts_with(b" resumed>"));
    if let Some(n) = meanings.known_name(beginning, end) {
        return goes_on(n).then_some(Line::Other(stamp));
    }
    if !matches!(name.first()?, b'a'..=b'z' | b'_') {
        return None;
    }
    let n = name.iter().position(|b| !matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))?;
    if name[n] != end || !goes_on(n) || named(&name[..n]).is_some() || !is_syscall(&name[..n]) {
        return None;
    }
    meanings.learn_name(beginning, n, end);
    Some(Line::Other(stamp))
}

/// `1234  `, `[pid  1234] `, either with a name behind the number, or nothing, which is 0.
#[inline(always)]
fn pid(w: &mut Window<'_>, wants_name: bool) -> Option<u32> {
    let bracket = w.peek()? == b'[';
    if bracket {
        w.eat(b"[pid ")?;
        w.spaces()?;
    } else if !(1..8).contains(&w.digits()) || w.bytes[2] == b':' {
        return Some(0);
    }
    let (pid, _) = w.number()?;
    if w.peek()? == b'<' {
        if wants_name {
            return None;
        }
        let here = w.bytes.get(w.at..)?;
        w.at += here.iter().position(|b| matches!(b, b'>' | b'\n' | 0))?;
        w.eat(b">")?;
        w.mark::<48>()?;
    }
    if bracket {
        w.eat(b"]")?;
    }
    w.eat(b" ")?;
    w.spaces()?;
    Some(pid)
}

/// `10:53:30.174673 `, `1795344802.927766 `, `     0.004183 `, the first with the last in brackets,
/// or nothing.
#[inline(always)]
fn time(w: &mut Window<'_>, meanings: &mut Meanings) -> Option<Stamp> {
    let here = w.bytes.get(w.at..)?;
    let (seconds, is_clock) = match w.digits() {
        2 if here[2] == b':' => {
            let seconds = meanings.time.of(*here.first_chunk()?, |text| clock(&text))?;
            w.at += 8;
            (seconds, true)
        }
        10 => {
            let read = |text| Some(few_of_eight(text, 8));
            let hundreds = meanings.time.of(*here.first_chunk()?, read)?;
            let ones = u64::from(here[8] - b'0') * 10 + u64::from(here[9] - b'0');
            w.at += 10;
            let seconds = hundreds * 100 + ones;
            ((EPOCH..EPOCH_END).contains(&seconds).then_some(seconds)?, false)
        }
        0 if here.first()? != &b' ' => return Some(Stamp::None),
        0..8 => return relative(w).map(Stamp::Since),
        _ => return None,
    };
    let mut ns = seconds * 1_000_000_000;
    if w.peek()? == b'.' {
        w.at += 1;
        ns += w.fraction()?;
    }
    w.eat(b" ")?;
    if w.eat(b"(+").is_some() {
        relative(w)?;
    }
    Some(if is_clock { Stamp::Clock(ns as i64) } else { Stamp::Epoch(ns as i64) })
}

/// `     0.004183 `, or `     0.004183) `.
#[inline(always)]
fn relative(w: &mut Window<'_>) -> Option<i64> {
    w.spaces()?;
    w.mark_again::<16>()?;
    let mut ns = u64::from(w.number()?.0) * 1_000_000_000;
    // Whole seconds may be the number of a process.
    w.eat(b".")?;
    ns += w.fraction()?;
    w.eat(b")");
    w.eat(b" ")?;
    w.spaces()?;
    Some(ns as i64)
}

#[inline(always)]
fn accept(mut w: Window<'_>, pid: u32, stamp: Stamp) -> Option<Line> {
    w.mark_again::<8>()?;
    let fd = w.number()?.0 as i32;
    let (annotation, known_listener) = w.listener()?;
    let goes_on = w.eat(b", ").is_some();
    if goes_on && fast_calls::has_no_address(&w) {
        let mut fact = RareFact::new(pid, stamp, LinePart::Whole, Name::Accept);
        fact.fd = fd;
        let fact = fast_calls::without_address(w, fact, annotation.is_empty())?;
        return Some(if fact.has_failed() {
            Line::Failed(stamp, fact.length)
        } else {
            Line::Fact(fact)
        });
    }
    if !goes_on || w.peek()? != b'{' {
        w.eat(b" ");
        w.eat(b"<unfinished ...>")?;
        w.end()?;
        return Some(Line::Entry { pid, stamp, fd, annotation, length: w.at });
    }
    let mut accepted = from_address(w)?;
    (accepted.pid, accepted.stamp, accepted.listener) = (pid, stamp, fd);
    accepted.annotations[0] = annotation;
    accepted.known_listener = known_listener;
    Some(Line::Accepted(accepted))
}

#[inline(always)]
fn close(mut w: Window<'_>, pid: u32, stamp: Stamp) -> Option<Line> {
    w.mark_again::<8>()?;
    let fd = w.number()?.0 as i32;
    w.any_annotation()?;
    if w.peek()? == b' ' {
        return fast_calls::unfinished_close(w, pid, stamp, fd).map(Line::Fact);
    }
    w.eat(b")")?;
    w.spaces()?;
    w.eat(b"= 0")?;
    let spent = spent(&mut w)?;
    w.end()?;
    Some(Line::Close { pid, stamp, spent, fd, length: w.at })
}

/// Reads an accept from its address on, without thread, time and listener.
#[inline(always)]
fn from_address(mut w: Window<'_>) -> Option<Accepted> {
    let (family, (ip, port, peer)) = address(&mut w)?;
    let from = w.at;
    let mut new_ending = None;
    if w.known_ending(family).is_none() {
        ending(&mut w, family)?;
        new_ending = Some((family, Range::new(from, w.at)));
    }
    w.mark::<16>()?;
    let (fd, _) = w.number()?;
    let (annotation, known_local) = w.connection(family, peer)?;
    let spent = spent(&mut w)?;
    w.end()?;
    Some(Accepted {
        pid: 0,
        stamp: Stamp::None,
        spent,
        listener: -1,
        ip,
        port,
        fd,
        length: w.at,
        annotations: [Range::default(), annotation],
        known_listener: true,
        known_local,
        new_ending,
    })
}

/// What is between an address and the new descriptor.
#[inline(always)]
fn ending(w: &mut Window<'_>, family: Family) -> Option<()> {
    address_end(w, family)?;
    flags(w);
    w.eat(b") = ")
}
