//! What the fast path reads of a line: which part of a call it holds, and a successful accept.

use super::call::{Call, Name, Returned};
use super::fd_annotation::{FdAnnotation, fd_annotation};
use super::recent::Family;
use super::sockaddr::{End, Shown};
use crate::parse::cursor::Cursor;
use crate::parse::host::Address;
use crate::parse::timestamp::Stamp;

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
    /// The first half of one whose second half was taken, too: the thread is in no call.
    Joined,
    /// The second half of a torn one.
    Continued,
    /// ` <unfinished ...>` by itself: a torn one is only unfinished.
    Unfinished,
    /// Not a call: the thread has ended.
    Exit,
    /// Not a call: strace itself was killed, and what follows is another run's.
    NewRun,
}

/// A call of accept that gave a connection.
#[derive(Clone, Copy)]
pub struct Accepted {
    /// The thread; 0 if the line has none.
    pub pid: u32,
    /// What the prefix says.
    pub stamp: Stamp,
    /// The nanoseconds that the whole call took, or 0.
    pub spent: i64,
    /// The descriptor that listens; -1 if this part of the line has none.
    pub listener: i32,
    /// The client's address.
    pub(crate) ip: Address,
    /// Its port.
    pub port: u16,
    /// The new descriptor.
    pub fd: u32,
    /// The bytes of the line with its line feed.
    pub length: usize,
    /// Where the annotations of the listener and of the new descriptor are.
    pub(super) annotations: [Range; 2],
    /// Whether the listener has no annotation, or the one in [`Recent`](super::recent::Recent).
    pub known_listener: bool,
    /// Which of [`Recent::locals`](super::recent::Recent::locals) the annotation of the new descriptor begins with, if the peer
    /// follows.
    pub known_local: Option<u8>,
    /// What is between the address and the new descriptor, if it is not in [`Recent`](super::recent::Recent).
    pub(super) new_ending: Option<(Family, Range)>,
}

/// A part of the beginning of a line; empty if there is none. It is short, so that [`Accepted`] is, which
/// is copied for every line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Range {
    from: u16,
    to: u16,
}

impl Range {
    /// Places in a window of [`LENGTH`](super::window::LENGTH) bytes.
    #[inline(always)]
    pub(super) fn new(from: usize, to: usize) -> Range {
        Range { from: from as u16, to: to as u16 }
    }

    /// The text of this part of `line`.
    #[inline(always)]
    pub(super) fn of(self, line: &[u8]) -> &[u8] {
        line.get(usize::from(self.from)..usize::from(self.to)).unwrap_or_default()
    }

    #[inline(always)]
    pub(super) fn is_empty(self) -> bool {
        self.from == self.to
    }
}

impl Accepted {
    /// Whether a descriptor has an annotation.
    #[inline]
    pub fn has_annotation(&self) -> bool {
        self.annotations.iter().any(|text| !text.is_empty())
    }

    /// Whether an annotation that matters is not in [`Recent`](super::recent::Recent): that of the new
    /// descriptor, or without it that of the listener.
    #[inline]
    pub fn has_new_annotation(&self) -> bool {
        self.known_local.is_none() && (!self.annotations[1].is_empty() || !self.known_listener)
    }

    /// Whether something of the line is not in [`Recent`](super::recent::Recent).
    #[inline]
    pub fn is_new(&self) -> bool {
        self.new_ending.is_some() || self.has_new_annotation()
    }

    /// Address and port of the client.
    #[inline(always)]
    pub(super) fn peer(&self) -> End {
        End { ip: self.ip.ip(), port: self.port }
    }

    /// The call as any other is told; `line` is where it was read.
    #[inline(always)]
    pub fn call(&self, line: &[u8]) -> Call {
        let mut call = Call {
            fd: self.listener,
            returned: Returned::Value(self.fd as i32),
            shown: Shown::Inet(self.peer()),
            ..Call::new(Name::Accept)
        };
        let [listener, result] =
            self.annotations.map(|text| fd_annotation(&mut Cursor(text.of(line))));
        match listener {
            FdAnnotation::Inode(inode) | FdAnnotation::Tcp(inode) => call.inode = inode,
            FdAnnotation::Ends(local, _) => call.local = Some(local),
            FdAnnotation::None | FdAnnotation::Foreign | FdAnnotation::File => {}
        }
        if let FdAnnotation::Ends(local, _) = result {
            call.local = Some(local);
        }
        call
    }
}
