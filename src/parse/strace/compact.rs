//! [`Briefs`]: connections whose requested fields are all in one line.

use super::accepted::Accepted;
use super::call::{Call, Returned};
use super::descriptors::Descriptors;
use super::number_map::NumberMap;
use super::recent::{RECENT_LOCALS, Recent};
use super::sockaddr::End;
use crate::parse::coalesce::Local;
use crate::parse::host::Address;
use crate::parse::timestamp::Stamp;

/// A connection with the requested fields only, in as little memory as possible: millions of them pass
/// through the cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CompactAccept<Ip> {
    /// Its address.
    pub ip: Ip,
    /// Its local end: an index into [`Briefs::locals`].
    pub local: u16,
    /// The kind of its time: an index into the kinds of the block.
    kind: u8,
    /// The nanoseconds of its time.
    ns: i64,
}

/// Maximum number of kinds of time, such as the dates of a wrapper.
const MAX_KINDS: usize = 255;

/// The source of the local address of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
const MAX_SOURCES: usize = 4096;

/// The threads and descriptors whose source is found without searching.
const NEAR: usize = 256;

/// The source of the last line of a thread and descriptor.
#[derive(Clone, Copy, Debug, Default)]
struct NearSource {
    pid: u32,
    fd: i32,
    /// Whether the listener has the annotation that is in [`Recent`].
    is_annotated: bool,
    /// Its place, from 1; 0: none.
    source: u16,
}

impl NearSource {
    /// The place of the source of `accepted`, from 1; 0: not known.
    #[inline(always)]
    fn of(&self, accepted: &Accepted) -> u16 {
        let is_same = (self.pid, self.fd, self.is_annotated)
            == (accepted.pid, accepted.listener, accepted.has_annotation());
        if is_same { self.source } else { 0 }
    }
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
    v4: Vec<CompactAccept<u32>>,
    v6: Vec<CompactAccept<[u64; 2]>>,
    /// The kinds of their times, each without nanoseconds.
    kinds: Vec<Stamp>,
    /// The kind of the last one.
    kind: u8,
    /// The new descriptors.
    fds: Descriptors,
    /// The descriptors that were closed.
    closed: Descriptors,
    /// Descriptors that were known when the block before was taken: their end must be a fact.
    pub(super) known: Descriptors,
    /// The sources, and how many connections each has.
    sources: Vec<(LocalSource, u32)>,
    /// The places of the sources.
    places: NumberMap<LocalSource, u16>,
    near: Vec<NearSource>,
    /// By the annotations in [`Recent`].
    annotated: [u16; RECENT_LOCALS],
    /// Texts of the lines before.
    pub recent: Recent,
}

impl Briefs {
    /// Takes one; false: it must become a fact. `line` is where it was read.
    #[inline(always)]
    pub fn take(&mut self, accepted: Accepted, stamp: Stamp, line: &[u8]) -> bool {
        if !self.requested {
            return false;
        }
        let mut local = 0;
        if self.want_local {
            let known = match accepted.known_local {
                Some(n) => self.annotated[usize::from(n)],
                None if accepted.has_new_annotation() => 0,
                None => self.near.get(near(&accepted)).map_or(0, |near| near.of(&accepted)),
            };
            local = match known {
                0 => match self.find_source(accepted, line) {
                    Some(source) => source,
                    None => return false,
                },
                n => n - 1,
            };
        }
        self.add(accepted.fd as i32, accepted.ip, local, stamp)
    }

    /// Takes a call of accept that gave a connection from `peer`; false: it must stay a fact.
    pub(super) fn take_call(&mut self, pid: u32, call: &Call, peer: End, stamp: Stamp) -> bool {
        let Returned::Value(fd) = call.returned else { return false };
        if !self.requested || !Descriptors::can_hold(fd) {
            return false;
        }
        let local = if self.want_local { self.source(pid, call) } else { Some(0) };
        let Some(local) = local else { return false };
        self.add(fd, Address::from(peer.ip), local, stamp)
    }

    /// Adds one; false: its time is of one kind too many, or its descriptor is no usual number.
    #[inline(always)]
    fn add(&mut self, fd: i32, ip: Address, local: u16, stamp: Stamp) -> bool {
        let (kind, ns) = stamp.split();
        if self.kinds.get(usize::from(self.kind)) != Some(&kind) && !self.find_kind(kind) {
            return false;
        }
        if !self.fds.add(fd) {
            return false;
        }
        if self.want_local {
            self.sources[usize::from(local)].1 += 1;
        }
        let kind = self.kind;
        match ip {
            Address::V4(ip) => self.v4.push(CompactAccept { ip, local, kind, ns }),
            Address::V6(ip) => self.v6.push(CompactAccept { ip, local, kind, ns }),
        }
        true
    }

    /// Makes `kind` the one that the last connection had; false: there are too many.
    #[inline(never)]
    fn find_kind(&mut self, kind: Stamp) -> bool {
        let known = self.kinds.iter().position(|known| *known == kind);
        let place = known.unwrap_or(self.kinds.len());
        if place >= MAX_KINDS {
            return false;
        }
        if known.is_none() {
            self.kinds.push(kind);
        }
        self.kind = place as u8;
        true
    }

    #[inline(never)]
    fn find_source(&mut self, accepted: Accepted, line: &[u8]) -> Option<u16> {
        let source = self.source(accepted.pid, &accepted.call(line))?;
        match accepted.known_local {
            Some(n) => self.annotated[usize::from(n)] = source + 1,
            None if accepted.has_new_annotation() => {}
            None => {
                let (pid, fd) = (accepted.pid, accepted.listener);
                let is_annotated = accepted.has_annotation();
                self.near.resize(NEAR, NearSource::default());
                self.near[near(&accepted)] =
                    NearSource { pid, fd, is_annotated, source: source + 1 };
            }
        }
        Some(source)
    }

    /// The place of the source of a call's local end. `None`: it cannot be one.
    fn source(&mut self, pid: u32, call: &Call) -> Option<u16> {
        let source = match call.local {
            Some(local) => LocalSource::Known(local),
            None if !Descriptors::can_hold(call.fd) => return None,
            None => LocalSource::Listener { pid, fd: call.fd, inode: call.inode },
        };
        if let Some(place) = self.places.get(&source) {
            return Some(*place);
        }
        let place =
            u16::try_from(self.sources.len()).ok().filter(|_| self.sources.len() < MAX_SOURCES)?;
        self.sources.push((source, 0));
        self.places.insert(source, place);
        Some(place)
    }

    /// Remembers the texts of a line that are not known from those before.
    #[inline(never)]
    pub fn learn(&mut self, accepted: Accepted, line: &[u8]) {
        if let Some((family, ending)) = accepted.new_ending {
            self.recent.learn_ending(family, ending.of(line));
        }
        if accepted.has_new_annotation() {
            let [listener, result] = accepted.annotations.map(|text| text.of(line));
            if self.recent.learn_listener(listener) {
                self.near.clear();
            }
            if let Some(n) = self.recent.learn_local(result) {
                self.annotated[n] = 0;
            }
        }
    }

    /// Takes the end of a descriptor; false: it must become a fact.
    #[inline]
    pub fn close(&mut self, fd: i32) -> bool {
        self.requested && !self.known.may_contain(fd) && self.closed.add(fd)
    }

    /// Whether any of these descriptors is new.
    pub(super) fn any_new(&self, descriptors: &Descriptors) -> bool {
        self.fds.meets(descriptors)
    }

    /// Whether any of these descriptors was closed.
    pub(super) fn any_closed(&self, descriptors: &Descriptors) -> bool {
        self.closed.meets(descriptors)
    }

    /// Whether no line of the block came here.
    pub fn is_empty(&self) -> bool {
        !self.has_accepts() && self.closed.is_empty()
    }

    /// Whether a connection came here.
    pub fn has_accepts(&self) -> bool {
        !(self.v4.is_empty() && self.v6.is_empty())
    }

    /// Those of IPv4 clients, in the order of the lines.
    pub(crate) fn v4(&self) -> &[CompactAccept<u32>] {
        &self.v4
    }

    /// Those of IPv6 clients, in the order of the lines.
    pub(crate) fn v6(&self) -> &[CompactAccept<[u64; 2]>] {
        &self.v6
    }

    /// When accept returned, as in a [fact](super::block::Fact).
    #[inline(always)]
    pub(crate) fn stamp<Ip>(&self, accept: &CompactAccept<Ip>) -> Stamp {
        self.kinds.get(usize::from(accept.kind)).map_or(Stamp::None, |kind| kind.plus(accept.ns))
    }

    /// The sources of local ends, and how many connections each has.
    pub fn sources(&self) -> &[(LocalSource, u32)] {
        &self.sources
    }

    /// Removes everything but the recent texts.
    pub fn clear(&mut self) {
        self.v4.clear();
        self.v6.clear();
        self.kinds.clear();
        self.locals.clear();
        self.sources.clear();
        self.places.clear();
        if !self.want_local {
            self.sources.push((LocalSource::Unwanted, 0));
        }
        self.fds.clear();
        self.closed.clear();
        self.near.clear();
        self.annotated = [0; RECENT_LOCALS];
    }
}

/// Where the source of such a connection is kept.
#[inline]
fn near(accepted: &Accepted) -> usize {
    (accepted.pid ^ (accepted.listener as u32) << 2) as usize % NEAR
}
