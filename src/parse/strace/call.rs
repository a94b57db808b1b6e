//! Reads the calls that matter: accept, and those that change or show the address of a descriptor.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::argument::{argument, comma};
use super::fd_annotation::{FdAnnotation, fd_annotation};
pub(crate) use super::result::Returned;
use super::result::{has_second_result, result};
use super::sockaddr::{End, Shown, sockaddr};
use super::socket_kind::{SocketKind, socket_kind};
pub(crate) use super::syscalls::{Name, named};
use crate::parse::cursor::Cursor;

/// What one line shows of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Which call.
    pub name: Name,
    /// clone: the child shares the descriptors.
    pub shares: bool,
    /// The kind of the socket, by annotations or the arguments of socket(2).
    pub kind: SocketKind,
    /// The first argument, where that is a descriptor; -1 if this part of the line has none.
    pub fd: i32,
    /// What it returned.
    pub returned: Returned,
    /// The inode of the descriptor (for socket: of the result); 0 if unknown.
    pub inode: u64,
    /// The address argument; for accept also the peer in the annotation of the result.
    pub shown: Shown,
    /// The local address and port, from annotations.
    pub local: Option<End>,
}

impl Call {
    /// A call whose arguments and result are unknown.
    pub fn new(name: Name) -> Call {
        Call {
            name,
            shares: false,
            kind: SocketKind::MaybeTcp,
            fd: -1,
            returned: Returned::Pending,
            inode: 0,
            shown: Shown::Absent,
            local: None,
        }
    }

    /// Joins this second half of a call with its first half.
    pub fn after(mut self, entry: &Call) -> Call {
        self.name = entry.name;
        self.shares |= entry.shares;
        self.kind = self.kind.max(entry.kind);
        self.local = self.local.or(entry.local);
        if self.fd < 0 {
            self.fd = entry.fd;
        }
        if self.inode == 0 {
            self.inode = entry.inode;
        }
        if self.shown == Shown::Absent {
            self.shown = entry.shown;
        }
        self
    }

    /// Takes what the annotation of its descriptor tells.
    pub(super) fn note(&mut self, fd_annotation: FdAnnotation) {
        match fd_annotation {
            FdAnnotation::None => {}
            FdAnnotation::Inode(inode) | FdAnnotation::Tcp(inode) => self.inode = inode,
            FdAnnotation::Ends(local, _) => self.local = Some(local),
            FdAnnotation::Foreign | FdAnnotation::File => {
                self.kind = self.kind.max(SocketKind::Other);
            }
        }
    }
}

/// How far a call could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed<'a> {
    /// To its result, with the nanoseconds that it took (0: unknown), and the text behind it.
    Whole(Call, i64, &'a [u8]),
    /// To `<unfinished ...>`, with the text behind it.
    Entry(Call, &'a [u8]),
    /// To text of another program, or the first line of another run of strace.
    Torn(Call, &'a [u8]),
    /// It has no result: the process ended, or strace was detached.
    Nothing,
    /// It should have had a result that counts, and has none that can be read.
    Unreadable,
}

/// Reads a call from behind its opening parenthesis.
#[inline]
pub(crate) fn call<'a>(name: Name, mut c: Cursor<'a>) -> Parsed<'a> {
    let mut call = Call::new(name);
    match name {
        Name::Accept | Name::Bind | Name::GetSockName | Name::GetPeerName => {
            if !descriptor(&mut c, &mut call) {
                return if name == Name::Accept {
                    without_descriptor(call, c)
                } else {
                    Parsed::Nothing
                };
            }
            if !comma(&mut c) && !marked(c) {
                return Parsed::Torn(call, c.0);
            }
            match from_address(call, c) {
                Parsed::Whole(call, ..) if lacks_address(&call) => Parsed::Unreadable,
                parsed => parsed,
            }
        }
        Name::Listen | Name::Close => {
            if !descriptor(&mut c, &mut call) {
                return Parsed::Nothing;
            }
            to_result(call, c)
        }
        Name::Dup => {
            if !descriptor(&mut c, &mut call) {
                return Parsed::Nothing;
            }
            // dup2 and dup3 have a number here, and so may fcntl: of its command.
            if comma(&mut c) {
                argument(&mut c);
                if c.peek() == b'F' && !c.0.starts_with(b"F_DUPFD") {
                    return Parsed::Nothing;
                }
            }
            to_result(call, c)
        }
        Name::Clone => {
            call.shares = shares(c.0);
            to_result(call, c)
        }
        Name::Socket => {
            call.kind = socket_kind(&mut c);
            to_result(call, c)
        }
        Name::Uring => Parsed::Nothing,
        Name::SocketCall => {
            let n = c.0.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
            if !matches!(
                &c.0[..n],
                b"5" | b"18" | b"0x5" | b"0x12" | b"SYS_ACCEPT" | b"SYS_ACCEPT4"
            ) {
                return Parsed::Nothing;
            }
            through_pointer(call, c)
        }
    }
}

/// Reads a socketcall that accepts. Its arguments are behind a pointer.
fn through_pointer(call: Call, c: Cursor<'_>) -> Parsed<'_> {
    let accept = |call| Call { name: Name::Accept, ..call };
    match to_result(Call { shown: Shown::Hidden, ..call }, c) {
        Parsed::Whole(call, spent, rest) => Parsed::Whole(accept(call), spent, rest),
        Parsed::Entry(call, rest) => Parsed::Entry(accept(call), rest),
        Parsed::Torn(call, rest) => Parsed::Torn(accept(call), rest),
        other => other,
    }
}

/// Whether a successful accept shows neither an address nor that it has none.
#[inline]
fn lacks_address(call: &Call) -> bool {
    call.name == Name::Accept
        && call.shown == Shown::Absent
        && matches!(call.returned, Returned::Value(_))
}

/// Reads the second half of a call from behind `resumed>`.
pub(crate) fn resumed<'a>(name: Name, mut c: Cursor<'a>) -> Parsed<'a> {
    let call = Call::new(name);
    let finished = |parsed| match parsed {
        // The process is gone, or the call goes on: not a connection either way.
        Parsed::Entry(_, rest) => {
            Parsed::Whole(Call { returned: Returned::Failed, ..call }, 0, rest)
        }
        Parsed::Nothing => Parsed::Whole(Call { returned: Returned::Failed, ..call }, 0, b""),
        other => other,
    };
    if marked(c) {
        return finished(Parsed::Nothing);
    }
    // 5.0 to 6.15 go on without anything, older ones with a space, newer ones with a comma.
    if !comma(&mut c) {
        c.eat(b" ");
    }
    finished(match name {
        Name::Accept | Name::GetSockName | Name::GetPeerName => from_address(call, c),
        _ => to_result(call, c),
    })
}

/// Reads the rest of an accept, getsockname or getpeername that another program's text cut.
pub(crate) fn continued<'a>(name: Name, mut c: Cursor<'a>) -> Parsed<'a> {
    comma(&mut c);
    from_address(Call::new(name), c)
}

/// `accept4(...) = 6`: somebody left the arguments out. Anything else that begins so cannot be read.
#[cold]
fn without_descriptor<'a>(mut call: Call, mut c: Cursor<'a>) -> Parsed<'a> {
    if !c.eat(b"...") {
        return Parsed::Unreadable;
    }
    call.shown = Shown::Hidden;
    to_result(call, c)
}

/// The descriptor that a call begins with.
#[inline]
fn descriptor(c: &mut Cursor<'_>, call: &mut Call) -> bool {
    argument(c);
    let Some(fd) = c.integer().and_then(|fd| i32::try_from(fd).ok()) else { return false };
    call.fd = fd;
    match fd_annotation(c) {
        // Such a call does not succeed on a file.
        FdAnnotation::File if !matches!(call.name, Name::Dup | Name::Close) => {}
        // What is closed is known by its number.
        _ if call.name == Name::Close => {}
        annotation => call.note(annotation),
    }
    true
}

/// Whether strace's own mark stands here: `<unfinished ...>`, `<detached ...>`.
#[inline]
fn marked(c: Cursor<'_>) -> bool {
    c.0.first() == Some(&b' ')
        && (c.0.starts_with(b" <unfinished ...>") || c.0.starts_with(b" <detached ...>"))
}

/// Reads from the address argument to the result.
#[inline]
fn from_address<'a>(mut call: Call, mut c: Cursor<'a>) -> Parsed<'a> {
    let start = c;
    argument(&mut c);
    match c.peek() {
        b'{' => match sockaddr(&mut c) {
            // Another address follows: one of them is not strace's.
            Some(Shown::Foreign) if has_port(c.0) => return Parsed::Unreadable,
            Some(shown) => call.shown = shown,
            None if is_address(c.0) => return Parsed::Unreadable,
            None => return Parsed::Torn(call, start.0),
        },
        b'N' if c.eat(b"NULL") => call.shown = Shown::Hidden,
        b'.' if c.eat(b"...") => {
            call.shown = Shown::Hidden;
            return to_result(call, c);
        }
        b'0' => {
            if c.integer().is_none() {
                return Parsed::Torn(call, start.0);
            }
            c.eat(b"...");
            call.shown = Shown::Hidden;
        }
        b')' => {}
        b' ' if marked(c) => {}
        _ => return Parsed::Torn(call, start.0),
    }
    match c.peek() {
        // Somebody left out the rest, or there is none.
        b')' if call.name == Name::Accept && call.shown != Shown::Absent => Parsed::Unreadable,
        b',' | b')' => to_result(call, c),
        b' ' if marked(c) => to_result(call, c),
        // NULL or a pointer, and then text that is not strace's.
        _ if call.shown == Shown::Hidden => Parsed::Torn(call, start.0),
        _ => Parsed::Unreadable,
    }
}

/// Whether an internet address is in `text`.
fn has_port(text: &[u8]) -> bool {
    memchr::memmem::find(text, b"_port=").is_some()
}

/// Whether what begins with a brace is an address, and not what another program writes.
fn is_address(text: &[u8]) -> bool {
    let near = &text[..text.len().min(16)];
    near.starts_with(b"{ AF_") || memchr::memmem::find(near, b"_family=").is_some()
}

/// Reads what is left of the arguments, and the result.
#[inline]
fn to_result<'a>(mut call: Call, mut c: Cursor<'a>) -> Parsed<'a> {
    let start = c;
    match closed(&mut c) {
        Closed::Yes if is_accept(&call) && !lengths(start) => return Parsed::Unreadable,
        Closed::Yes => {}
        Closed::Unfinished => {
            // `<unfinished ...>) = ?`: the process ended in the call.
            return if c.peek() == b')' { Parsed::Nothing } else { Parsed::Entry(call, c.0) };
        }
        Closed::Detached => return Parsed::Nothing,
        Closed::No => {
            return match call.shown {
                Shown::Absent | Shown::Hidden => Parsed::Torn(call, start.0),
                Shown::Foreign => Parsed::Nothing,
                Shown::Inet(_) | Shown::Unread => Parsed::Unreadable,
            };
        }
    }
    let result = result(&mut c).filter(|_| !has_second_result(c.0));
    let Some((returned, result, spent)) = result else {
        return match call.shown {
            Shown::Foreign => Parsed::Nothing,
            _ => Parsed::Unreadable,
        };
    };
    call.returned = returned;
    // Text right behind the number: where no address is shown, the number may be another's.
    let is_glued =
        call.shown == Shown::Hidden && !c.0.first().is_none_or(|b| b" \t\r<".contains(b));
    if call.name == Name::Accept && (is_glued || contradicts(&call, result, start.0)) {
        return Parsed::Unreadable;
    }
    match (call.name, result) {
        (Name::Accept, FdAnnotation::Foreign) => call.kind = SocketKind::Other,
        (Name::Accept, FdAnnotation::Ends(local, peer)) => {
            call.local = Some(local);
            if let (Some(peer), Shown::Absent | Shown::Hidden | Shown::Unread) = (peer, call.shown)
            {
                call.shown = Shown::Inet(peer);
            }
        }
        (Name::Socket, fd_annotation) if fd_annotation != FdAnnotation::File => {
            call.note(fd_annotation);
        }
        _ => {}
    }
    Parsed::Whole(call, spent, c.0)
}

/// Whether this is an accept whose arguments are decoded.
fn is_accept(call: &Call) -> bool {
    call.name == Name::Accept && call.shown != Shown::Absent
}

/// Whether what follows the address of an accept is the length and, perhaps, flags.
#[inline]
fn lengths(mut c: Cursor<'_>) -> bool {
    if comma(&mut c) {
        argument(&mut c);
        if c.eat(b"[") {
            let Some(end) = memchr::memchr(b']', c.0) else { return false };
            let inside = &c.0[..end];
            let is_length = |b: &u8| b.is_ascii_hexdigit() || b" =->x.".contains(b);
            if !inside.iter().all(is_length) {
                return false;
            }
            c.skip(end + 1);
        } else {
            value(&mut c);
        }
        if comma(&mut c) {
            argument(&mut c);
            value(&mut c);
            c.comment();
        }
    }
    c.peek() == b')'
}

/// Steps over a number, a name, `FLAG|FLAG` or `...`.
fn value(c: &mut Cursor<'_>) {
    let is_value = |b: &&u8| b.is_ascii_alphanumeric() || b"_|.".contains(b);
    let n = c.0.iter().take_while(is_value).count();
    c.skip(n);
}

enum Closed {
    Yes,
    No,
    Unfinished,
    Detached,
}

/// Steps behind the parenthesis that closes the arguments.
#[inline]
fn closed(c: &mut Cursor<'_>) -> Closed {
    if let Some(n) = memchr::memchr(b')', c.0)
        && memchr::memchr3(b'(', b'"', b'<', &c.0[..n]).is_none()
    {
        c.skip(n + 1);
        return Closed::Yes;
    }
    let mut depth = 0;
    let mut notes = true;
    loop {
        match c.peek() {
            0 if c.0.is_empty() => return Closed::No,
            b'"' => {
                if c.quoted().is_none() {
                    return Closed::No;
                }
                continue;
            }
            b'<' if notes => {
                let before = c.0.len();
                fd_annotation(c);
                // One that has no end is no note, and then no other has.
                notes = c.0.len() < before;
                continue;
            }
            b' ' if marked(*c) => {
                let unfinished = c.eat(b" <unfinished ...>");
                return if unfinished { Closed::Unfinished } else { Closed::Detached };
            }
            b'(' => depth += 1,
            b')' if depth == 0 => {
                c.skip(1);
                return Closed::Yes;
            }
            b')' => depth -= 1,
            _ => {}
        }
        let passed = c.0.iter().skip(1).take_while(|b| !matters_in_arguments(**b)).count();
        c.skip(1 + passed);
    }
}

/// Whether [`closed`] looks at this byte.
#[inline(always)]
fn matters_in_arguments(byte: u8) -> bool {
    const MATTERS: [bool; 256] = {
        let mut table = [false; 256];
        let bytes = b"\"<() ";
        let mut n = 0;
        while n < bytes.len() {
            table[bytes[n] as usize] = true;
            n += 1;
        }
        table
    };
    MATTERS[usize::from(byte)]
}

/// Whether an accept has an annotation that it cannot have: of a file, or of a socket that has no
/// internet addresses beside one.
fn contradicts(call: &Call, result: FdAnnotation, text: &[u8]) -> bool {
    if result == FdAnnotation::File {
        return true;
    }
    let is_tcp = call.kind == SocketKind::MaybeTcp && result != FdAnnotation::Foreign;
    !is_tcp && matches!(call.shown, Shown::Inet(_)) && !is_transport(text)
}

/// Whether an annotation tells of another transport with internet addresses.
fn is_transport(text: &[u8]) -> bool {
    [&b"<SCTP"[..], b"<DCCP"].iter().any(|name| memchr::memmem::find(text, name).is_some())
}

/// Whether the flags of a clone have CLONE_FILES.
pub(super) fn shares(arguments: &[u8]) -> bool {
    static NAME: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"CLONE_FILES"));
    static NUMBER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"flags=0x"));
    let has_flag = |at: usize| {
        let flags = Cursor(&arguments[at + 6..]).integer();
        flags.is_some_and(|flags| flags & 0x400 != 0)
    };
    NAME.find(arguments).is_some() || NUMBER.find(arguments).is_some_and(has_flag)
}
