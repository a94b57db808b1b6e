//! The forms of lines that many logs have beside those of [`fast_path`](super::fast_path): calls that show the address of
//! a descriptor, accepts that do not ask for it, beginnings and ends of threads and processes, signals.

use super::accepted::LinePart;
use super::call::{Call, Name, Returned, shares};
use super::fields::{self, address_end, flags, spent};
use super::rescue;
use super::sockaddr::{End, Shown};
use super::window::Window;
use crate::parse::host::Address;
use crate::parse::timestamp::Stamp;

/// What such a line says. It is small, because [`Line`](super::fast_path::Line) is copied for every line.
pub(super) struct RareFact {
    /// The thread; 0 if the line has none.
    pub pid: u32,
    /// What the prefix says.
    pub stamp: Stamp,
    /// The nanoseconds that the whole call took, or 0.
    spent: i64,
    /// Which part of the call it is.
    pub part: LinePart,
    name: Name,
    /// The first argument; -1 if this part of the line has none.
    fd: i32,
    /// clone: the child shares the descriptors.
    shares: bool,
    returned: Returned,
    shown: Option<(Address, u16)>,
    /// The bytes of the line with its line feed.
    pub length: usize,
}

impl RareFact {
    fn new(pid: u32, stamp: Stamp, part: LinePart, name: Name) -> RareFact {
        let returned = Returned::Pending;
        let (fd, shares, shown, length) = (-1, false, None, 0);
        RareFact { pid, stamp, spent: 0, part, name, fd, shares, returned, shown, length }
    }

    /// Whether the call failed.
    pub(super) fn has_failed(&self) -> bool {
        self.returned == Returned::Failed
    }

    /// Whether it is an accept that gave a connection.
    pub(super) fn is_accept(&self) -> bool {
        self.name == Name::Accept
    }

    /// When the call returned, if `stamp` is the time of the line.
    pub(super) fn returned_at(&self, stamp: Stamp) -> Stamp {
        stamp.plus(self.spent)
    }

    /// The call as any other is told.
    pub(super) fn call(&self) -> Call {
        let shown = match self.shown {
            Some((ip, port)) => Shown::Inet(End { ip: ip.ip(), port }),
            None if self.is_accept() => Shown::Hidden,
            None => Shown::Absent,
        };
        let (fd, shares, returned) = (self.fd, self.shares, self.returned);
        Call { fd, shares, returned, shown, ..Call::new(self.name) }
    }
}

/// Reads an accept from its second argument on, which is no address:
/// `NULL, NULL, SOCK_CLOEXEC) = -1 EAGAIN (Resource temporarily unavailable)`, `NULL, NULL) = 7`.
#[inline(never)]
pub(super) fn without_address(
    mut w: Window<'_>,
    pid: u32,
    stamp: Stamp,
    fd: i32,
    is_bare: bool,
) -> Option<RareFact> {
    pointer(&mut w)?;
    w.eat(b", ")?;
    if w.eat(b"[").is_some() {
        w.mark::<16>()?;
        w.number()?;
        w.eat(b"]")?;
    } else {
        pointer(&mut w)?;
    }
    flags(&mut w);
    if w.eat(b") = -1 EAGAIN (Resource temporarily unavailable)").is_some() {
        spent(&mut w)?;
        w.end()?;
        let fact = RareFact::new(pid, stamp, LinePart::Whole, Name::Accept);
        return Some(RareFact { returned: Returned::Failed, length: w.at, ..fact });
    }
    // The general path reads annotations.
    if !is_bare {
        return None;
    }
    w.eat(b")")?;
    w.spaces()?;
    w.eat(b"= ")?;
    w.mark::<16>()?;
    let returned = Returned::Value(w.number()?.0 as i32);
    let spent = spent(&mut w)?;
    w.end()?;
    let fact = RareFact::new(pid, stamp, LinePart::Whole, Name::Accept);
    Some(RareFact { fd, returned, spent, length: w.at, ..fact })
}

/// `NULL`, `0x7ffd5a5c2c60`.
fn pointer(w: &mut Window<'_>) -> Option<()> {
    if w.eat(b"NULL").is_some() {
        return Some(());
    }
    w.eat(b"0x")?;
    let here = w.bytes.get(w.at..)?;
    let n = here.iter().position(|b| !b.is_ascii_hexdigit())?;
    w.at += n;
    (1..=16).contains(&n).then_some(())
}

/// Reads a getsockname or getpeername from its first argument on.
#[inline(never)]
pub(super) fn address(mut w: Window<'_>, pid: u32, stamp: Stamp, name: Name) -> Option<RareFact> {
    w.mark::<48>()?;
    let fd = w.number()?.0 as i32;
    w.eat(b", ")?;
    let (family, (ip, port, _)) = fields::address(&mut w)?;
    address_end(&mut w, family)?;
    w.eat(b")")?;
    w.spaces()?;
    w.eat(b"= 0")?;
    let spent = spent(&mut w)?;
    w.end()?;
    let fact = RareFact::new(pid, stamp, LinePart::Whole, name);
    let (returned, shown) = (Returned::Value(0), Some((ip, port)));
    Some(RareFact { fd, returned, shown, spent, length: w.at, ..fact })
}

/// Reads ` <unfinished ...>` behind the descriptor of a close.
#[inline(never)]
pub(super) fn unfinished_close(
    mut w: Window<'_>,
    pid: u32,
    stamp: Stamp,
    fd: i32,
) -> Option<RareFact> {
    w.eat(b" <unfinished ...>")?;
    w.end()?;
    let fact = RareFact::new(pid, stamp, LinePart::Entry, Name::Close);
    Some(RareFact { fd, length: w.at, ..fact })
}

/// Reads `)             = 0` behind `<... close resumed>`.
#[inline(never)]
pub(super) fn resumed_close(mut w: Window<'_>, pid: u32, stamp: Stamp) -> Option<RareFact> {
    w.eat(b" ");
    w.eat(b")")?;
    w.spaces()?;
    w.eat(b"= 0")?;
    spent(&mut w)?;
    w.end()?;
    let fact = RareFact::new(pid, stamp, LinePart::Resumed, Name::Close);
    Some(RareFact { returned: Returned::Value(0), length: w.at, ..fact })
}

/// Reads a clone or clone3 from its first argument on, or its first half:
/// `child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7f2b2c0a1a10) = 2084`.
#[inline(never)]
pub(super) fn clone(mut w: Window<'_>, pid: u32, stamp: Stamp) -> Option<RareFact> {
    let from = w.at;
    plain_arguments(&mut w)?;
    let arguments = w.bytes.get(from..w.at)?;
    let fact = RareFact::new(pid, stamp, LinePart::Entry, Name::Clone);
    let fact = RareFact { shares: shares(arguments), ..fact };
    if arguments.ends_with(b" ") {
        w.eat(b"<unfinished ...>")?;
        w.end()?;
        return Some(RareFact { length: w.at, ..fact });
    }
    child(w, RareFact { part: LinePart::Whole, ..fact })
}

/// Reads `, child_tidptr=0x7f2b2c0a1a10) = 2084` behind `<... clone resumed>`.
#[inline(never)]
pub(super) fn resumed_clone(mut w: Window<'_>, pid: u32, stamp: Stamp) -> Option<RareFact> {
    plain_arguments(&mut w)?;
    child(w, RareFact::new(pid, stamp, LinePart::Resumed, Name::Clone))
}

/// Reads the result of a clone, `) = 2084`.
fn child(mut w: Window<'_>, fact: RareFact) -> Option<RareFact> {
    w.eat(b")")?;
    w.spaces()?;
    w.eat(b"= ")?;
    w.mark::<16>()?;
    let returned = Returned::Value(w.number()?.0 as i32);
    let spent = spent(&mut w)?;
    w.end()?;
    Some(RareFact { returned, spent, length: w.at, ..fact })
}

/// Steps over arguments that are numbers, flags and structures of them.
fn plain_arguments(w: &mut Window<'_>) -> Option<()> {
    const PLAIN: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0_u8;
        while byte < 0x80 {
            table[byte as usize] = byte.is_ascii_alphanumeric()
                || matches!(
                    byte,
                    b'_' | b'|' | b'=' | b',' | b' ' | b'{' | b'}' | b'[' | b']' | b'>'
                );
            byte += 1;
        }
        table
    };
    let here = w.bytes.get(w.at..)?;
    w.at += here.iter().position(|byte| !PLAIN[usize::from(*byte)])?;
    Some(())
}

/// `+++ exited with 0 +++`.
#[inline(never)]
pub(super) fn exit(mut w: Window<'_>, pid: u32, stamp: Stamp) -> Option<RareFact> {
    w.eat(b"+++ exited with ")?;
    w.mark::<16>()?;
    w.number()?;
    w.eat(b" +++")?;
    w.end()?;
    let fact = RareFact::new(pid, stamp, LinePart::Exit, Name::Close);
    Some(RareFact { length: w.at, ..fact })
}

/// Whether this is `--- SIGCHLD {si_signo=SIGCHLD, …} ---`.
#[inline(never)]
pub(super) fn is_signal(w: &Window<'_>) -> bool {
    let here = w.bytes.get(w.at..).unwrap_or_default();
    let Some(length) = memchr::memchr2(b'\n', 0, here) else { return false };
    let line = &here[..length];
    line.starts_with(b"--- SIG")
        && line.ends_with(b"} ---")
        && here[length] == b'\n'
        && !rescue::ends_with_result(line)
}
