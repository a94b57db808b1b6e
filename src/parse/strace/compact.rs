//! [`Briefs`]: connections of which a line tells all that is wanted, without the lines around it.

use std::net::IpAddr;

use super::prefix::Stamp;

/// Descriptors up to here are remembered.
const FDS: usize = 1024;

/// A connection of which only this is wanted.
#[derive(Clone, Copy, Debug)]
pub struct CompactAccept {
    /// Its address.
    pub ip: IpAddr,
    /// When accept returned, as in a [fact](super::line::Fact).
    pub stamp: Stamp,
}

/// Connections of a block that are kept apart from its facts, which are more work. Whether that
/// was right is known when its turn has come: see [`Log::takes_brief`](super::log::Log::takes_brief).
#[derive(Debug, Default)]
pub struct Briefs {
    /// Whether connections may come here.
    pub requested: bool,
    list: Vec<CompactAccept>,
    /// The new descriptors, a bit each.
    fds: [u64; FDS / 64],
}

impl Briefs {
    /// Takes one with its new descriptor; false: it must become a fact.
    #[inline]
    pub fn take(&mut self, ip: IpAddr, stamp: Stamp, fd: u32) -> bool {
        let Some(word) = self.fds.get_mut(fd as usize / 64).filter(|_| self.requested) else {
            return false;
        };
        *word |= 1 << (fd % 64);
        self.list.push(CompactAccept { ip, stamp });
        true
    }

    /// Whether any of the new descriptors is one that `may_be_known`.
    pub fn any_fd(&self, mut may_be_known: impl FnMut(i32) -> bool) -> bool {
        (0..FDS).any(|fd| self.fds[fd / 64] >> (fd % 64) & 1 == 1 && may_be_known(fd as i32))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// In the order of the lines.
    pub fn list(&self) -> &[CompactAccept] {
        &self.list
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.list.clear();
        self.fds = [0; FDS / 64];
    }
}
