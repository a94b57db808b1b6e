//! [`Briefs`]: connections whose requested fields are all in one line.

use super::accepted::{Accepted, Range};
use super::recent::{RECENT_LOCALS, Recent};
use super::sockaddr::End;
use crate::parse::coalesce::{Address, Local};
use crate::parse::timestamp::Stamp;

/// Descriptors below this number are remembered.
const FDS: usize = 1024;

/// A connection with the requested fields only.
#[derive(Clone, Copy, Debug)]
pub struct CompactAccept {
    /// Its address.
    pub(crate) ip: Address,
    /// Its local end: an index into [`Briefs::locals`].
    pub local: u8,
    /// When accept returned, as in a [fact](super::block::Fact).
    pub stamp: Stamp,
}

/// The source of the local address of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalSource {
    /// Not requested.
    Unwanted,
    /// An annotation.
    Known(End),
    /// The listening socket, which other lines tell of.
    Listener {
        /// The thread; 0 if the line has none.
        pid: u32,
        /// The descriptor.
        fd: i32,
        /// Its inode; 0 if the log does not tell.
        inode: u64,
    },
}

/// Maximum number of sources. Connections with another source become facts.
const MAX_SOURCES: usize = 255;

/// The source of the last line of a thread and descriptor.
#[derive(Clone, Copy, Debug, Default)]
struct NearSource {
    pid: u32,
    fd: i32,
    /// Its place, from 1; 0: none.
    source: u8,
}

/// Connections of a block that are kept apart from its facts, which are more work. Whether that
/// was right is known when its turn has come: see [`Log::takes_brief`](super::log::Log::takes_brief).
#[derive(Debug, Default)]
pub struct Briefs {
    /// Whether connections may come here.
    pub requested: bool,
    /// Whether their local ends are wanted.
    pub want_local: bool,
    /// The local ends, as [`log`](super::log) found out: one for each source.
    pub locals: Vec<Local>,
    list: Vec<CompactAccept>,
    /// The new descriptors, a bit each.
    fds: [u64; FDS / 64],
    /// The descriptors that were closed, a bit each.
    closed: [u64; FDS / 64],
    /// Descriptors that were known when the block before was taken: their end must be a fact.
    pub known: [u64; FDS / 64],
    /// The sources, and how many connections each has.
    sources: Vec<(LocalSource, u32)>,
    near: [NearSource; 32],
    /// By the annotations in [`Recent`].
    annotated: [u8; RECENT_LOCALS],
    /// Texts of the lines before.
    pub recent: Recent,
}

impl Briefs {
    /// Takes one; false: it must become a fact. `line` is where it was read.
    #[inline(always)]
    pub fn take(&mut self, accepted: Accepted, stamp: Stamp, line: &[u8]) -> bool {
        let fd = accepted.fd as usize;
        if !self.requested || fd >= FDS {
            return false;
        }
        let mut local = 0;
        if self.want_local {
            let known = match accepted.known_local {
                Some(n) => self.annotated[n],
                None if accepted.has_annotation() => 0,
                None => {
                    let NearSource { pid, fd, source } = self.near[near(&accepted)];
                    if (pid, fd) == (accepted.pid, accepted.listener) { source } else { 0 }
                }
            };
            local = match known {
                0 => match self.find_source(accepted, line) {
                    Some(source) => source,
                    None => return false,
                },
                n => n - 1,
            };
            self.sources[usize::from(local)].1 += 1;
        }
        self.fds[fd / 64] |= 1 << (fd % 64);
        self.list.push(CompactAccept { ip: accepted.ip, local, stamp });
        true
    }

    #[inline(never)]
    fn find_source(&mut self, accepted: Accepted, line: &[u8]) -> Option<u8> {
        let call = accepted.call(line);
        let source = match call.local {
            Some(local) => LocalSource::Known(local),
            // The facts of the block may tell of other descriptors.
            None if !(0..FDS as i32).contains(&call.fd) => return None,
            None => LocalSource::Listener { pid: accepted.pid, fd: call.fd, inode: call.inode },
        };
        let known = self.sources.iter().position(|(known, _)| *known == source);
        let place = known.unwrap_or(self.sources.len());
        if place >= MAX_SOURCES {
            return None;
        }
        if known.is_none() {
            self.sources.push((source, 0));
        }
        let place = place as u8;
        match accepted.known_local {
            Some(n) => self.annotated[n] = place + 1,
            None if accepted.has_annotation() => {}
            None => {
                let (pid, fd) = (accepted.pid, accepted.listener);
                self.near[near(&accepted)] = NearSource { pid, fd, source: place + 1 };
            }
        }
        Some(place)
    }

    /// Remembers the texts of a line that are not known from those before.
    #[inline(never)]
    pub fn learn(&mut self, accepted: Accepted, line: &[u8]) {
        let text = |(from, to): Range| line.get(from..to).unwrap_or_default();
        if let Some((family, ending)) = accepted.new_ending {
            self.recent.learn_ending(family, text(ending));
        }
        if accepted.has_new_annotation() {
            let [listener, result] = accepted.annotations.map(text);
            if let Some(n) = self.recent.learn_annotations(listener, result) {
                self.annotated[n] = 0;
            }
        }
    }

    /// Takes the end of a descriptor; false: it must become a fact.
    #[inline]
    pub fn close(&mut self, fd: i32) -> bool {
        let fd = usize::try_from(fd).unwrap_or(FDS);
        if !self.requested || fd >= FDS || self.known[fd / 64] >> (fd % 64) & 1 == 1 {
            return false;
        }
        self.closed[fd / 64] |= 1 << (fd % 64);
        true
    }

    /// Whether any descriptor that is new or was closed is one that `may_be_known`.
    pub fn any_fd(&self, mut may_be_known: impl FnMut(i32) -> bool) -> bool {
        let all = |n: usize| self.fds[n] | self.closed[n];
        (0..FDS).any(|fd| all(fd / 64) >> (fd % 64) & 1 == 1 && may_be_known(fd as i32))
    }

    /// Whether no line of the block came here.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty() && self.closed == [0; FDS / 64]
    }

    /// In the order of the lines.
    pub fn list(&self) -> &[CompactAccept] {
        &self.list
    }

    /// The sources of local ends, and how many connections each has.
    pub fn sources(&self) -> &[(LocalSource, u32)] {
        &self.sources
    }

    /// Removes everything but the recent texts.
    pub fn clear(&mut self) {
        self.list.clear();
        self.locals.clear();
        self.sources.clear();
        if !self.want_local {
            self.sources.push((LocalSource::Unwanted, 0));
        }
        self.fds = [0; FDS / 64];
        self.closed = [0; FDS / 64];
        self.near = [NearSource::default(); 32];
        self.annotated = [0; RECENT_LOCALS];
    }
}

/// Where the source of such a connection is kept.
#[inline]
fn near(accepted: &Accepted) -> usize {
    (accepted.pid ^ (accepted.listener as u32) << 2) as usize % 32
}
