//! The forms of lines that many logs have beside those of [`fast_path`](super::fast_path): calls that show the address of
//! a descriptor, accepts that do not ask for it, beginnings and ends of threads and processes, signals.

use super::accepted::LinePart;
use super::call::{Call, Name, Returned, shares};
use super::fields::{self, address_end, flags, spent};
use super::rescue;
use super::result::ACCEPT;
use super::sockaddr::{End, Shown};
use super::socket_kind::{SocketKind, socket_kind};
use super::window::Window;
use crate::parse::cursor::Cursor;
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
    pub fd: i32,
    /// clone: the child shares the descriptors.
    shares: bool,
    /// socket: its kind.
    kind: SocketKind,
    returned: Returned,
    /// The address argument.
    shown: Shown,
    /// The bytes of the line with its line feed.
    pub length: usize,
}

impl RareFact {
    /// What is known before the call is read.
    pub(super) fn new(pid: u32, stamp: Stamp, part: LinePart, name: Name) -> RareFact {
        let returned = Returned::Pending;
        let (fd, spent, length) = (-1, 0, 0);
        let (shares, kind, shown) = (false, SocketKind::MaybeTcp, Shown::Absent);
        RareFact { pid, stamp, spent, part, name, fd, shares, kind, returned, shown, length }
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
        let RareFact { fd, shares, kind, returned, shown, .. } = *self;
        Call { fd, shares, kind, returned, shown, ..Call::new(self.name) }
    }
}

/// Whether the address argument is here, and no internet address.
#[inline(always)]
pub(super) fn has_no_address(w: &Window<'_>) -> bool {
    match w.peek() {
        Some(b'{') => w.bytes.get(w.at + b"{sa_family=AF_".len()) == Some(&b'U'),
        Some(b'N' | b'0') => true,
        _ => false,
    }
}

/// Reads an accept from its second argument on, which is no internet address:
/// `NULL, NULL, SOCK_CLOEXEC) = -1 EAGAIN (Resource temporarily unavailable)`, `NULL, NULL) = 7`,
/// `{sa_family=AF_UNIX}, [110 => 2]) = 7`. `fact` has what is known of it; `is_bare`: the listener has no annotation.
#[inline(never)]
pub(super) fn without_address(
    mut w: Window<'_>,
    fact: RareFact,
    is_bare: bool,
) -> Option<RareFact> {
    let shown = match w.eat(b"{sa_family=AF_UNIX}") {
        Some(()) => Shown::Foreign,
        None => pointer(&mut w).map(|()| Shown::Hidden)?,
    };
    w.eat(b", ")?;
    if w.eat(b"[").is_some() {
        w.mark::<16>()?;
        w.number()?;
        if w.eat(b" => ").is_some() || w.eat(b"->").is_some() {
            w.number()?;
        }
        w.eat(b"]")?;
    } else {
        pointer(&mut w)?;
    }
    flags(&mut w);
    w.eat(b")")?;
    w.spaces()?;
    w.eat(b"= ")?;
    if matches!(w.peek()?, b'-' | b'?') {
        error(&mut w)?;
        spent(&mut w)?;
        w.end()?;
        return Some(RareFact { returned: Returned::Failed, shown, length: w.at, ..fact });
    }
    // The general path reads annotations.
    if !is_bare {
        return None;
    }
    w.mark::<16>()?;
    let returned = Returned::Value(w.number()?.0 as i32);
    let spent = spent(&mut w)?;
    w.end()?;
    Some(RareFact { returned, shown, spent, length: w.at, ..fact })
}

/// `-1 EAGAIN (Resource temporarily unavailable)`, `? ERESTARTSYS (To be restarted if SA_RESTART is set)`.
fn error(w: &mut Window<'_>) -> Option<()> {
    // Nearly all are one of these.
    if w.eat(b"-1 EAGAIN (Resource temporarily unavailable)").is_some()
        || w.eat(b"-1 EMFILE (Too many open files)").is_some()
    {
        return Some(());
    }
    w.eat(b"-1 E").or_else(|| w.eat(b"? E"))?;
    let here = w.bytes.get(w.at..)?;
    let name = here.iter().position(|b| !b.is_ascii_uppercase())?;
    w.at += name;
    w.eat(b" (")?;
    let here = w.bytes.get(w.at..)?;
    let words = here.iter().position(|b| !b.is_ascii_alphabetic() && !b" _,/'".contains(b))?;
    w.at += words;
    w.eat(b")")?;
    // What the general path looks for behind an error.
    (name >= 2 && ACCEPT.find(&here[..words]).is_none()).then_some(())
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

/// Whether an fcntl, from its first argument on, makes no other descriptor: `7, F_SETFL, O_RDWR|O_NONBLOCK`.
#[inline(never)]
pub(super) fn duplicates_nothing(mut w: Window<'_>) -> bool {
    let is_other = |w: &mut Window<'_>| {
        w.mark::<16>()?;
        w.number()?;
        w.any_annotation()?;
        w.eat(b", F_")?;
        w.bytes.get(w.at..).map(|command| !command.starts_with(b"DUPFD"))
    };
    is_other(&mut w).unwrap_or(false)
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
    let (returned, shown) = (Returned::Value(0), Shown::Inet(End { ip: ip.ip(), port }));
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
    number_returned(w, RareFact { part: LinePart::Whole, ..fact })
}

/// Reads a call of socket from its first argument on: `AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_TCP) = 12`.
#[inline(never)]
pub(super) fn socket(mut w: Window<'_>, pid: u32, stamp: Stamp) -> Option<RareFact> {
    let kind = socket_kind(&mut Cursor(w.bytes.get(w.at..)?));
    plain_arguments(&mut w)?;
    let fact = RareFact::new(pid, stamp, LinePart::Whole, Name::Socket);
    number_returned(w, RareFact { kind, ..fact })
}

/// Reads a call of dup2 or dup3 from its first argument on: `12, 0) = 0`.
#[inline(never)]
pub(super) fn dup(mut w: Window<'_>, pid: u32, stamp: Stamp) -> Option<RareFact> {
    w.mark::<16>()?;
    let fd = w.number()?.0 as i32;
    w.eat(b", ")?;
    w.number()?;
    w.eat(b", O_CLOEXEC");
    let fact = RareFact::new(pid, stamp, LinePart::Whole, Name::Dup);
    number_returned(w, RareFact { fd, ..fact })
}

/// Reads `, child_tidptr=0x7f2b2c0a1a10) = 2084` behind `<... clone resumed>`.
#[inline(never)]
pub(super) fn resumed_clone(mut w: Window<'_>, pid: u32, stamp: Stamp) -> Option<RareFact> {
    plain_arguments(&mut w)?;
    number_returned(w, RareFact::new(pid, stamp, LinePart::Resumed, Name::Clone))
}

/// Reads what a call returned, `) = 2084`.
fn number_returned(mut w: Window<'_>, fact: RareFact) -> Option<RareFact> {
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
