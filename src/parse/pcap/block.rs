//! Reads the frames of a part of a capture, each independently of the others.

use smallvec::SmallVec;

use super::frames::{Format, Frame, Stop};
use super::layer::Unread;
use super::packet::{self, Packet, Selection, Tcp};
use crate::parse::deduplicate::{PacketKind, PacketObservation};

/// Maximum number of kinds of undecoded packets that are counted separately.
const MAX_UNREAD: usize = 32;

/// Where those of all further kinds are counted.
const OTHER_KINDS: Unread = Unread::Named("other kinds");

/// The packets of a part, and its position in the file.
#[derive(Default)]
pub(super) struct Block {
    /// Packets of inbound connections, and the SYNs of outbound ones, which are marked.
    pub sightings: Vec<PacketObservation>,
    /// Where the first record begins, if one does.
    pub from: Option<u64>,
    /// Where the next record begins, and why it was not read.
    pub to: u64,
    pub stop: Option<Stop>,
    /// What the part was read with, and what those that follow are to be read with.
    pub before: Option<Format>,
    pub after: Option<Format>,
    pub sums: Sums,
}

/// How many packets there were of each sort.
#[derive(Clone, Default)]
pub(super) struct Sums {
    pub seen: u64,
    /// They have SYN or no data, so that the capture is not one of data alone.
    pub without_data: u64,
    /// Not enough was captured of them.
    pub short: u64,
    /// They may contain TCP, and are not decoded.
    pub unread: SmallVec<[(Unread, u64); 2]>,
    /// SYNs in tunnels that were left out as the user asked.
    pub tunnelled: u64,
    /// The capture says that it lost them.
    pub dropped: u64,
}

impl Sums {
    /// Adds those of another part.
    pub(super) fn add(&mut self, other: &Sums) {
        let Sums { seen, without_data, short, unread, tunnelled, dropped } = other;
        self.seen += seen;
        self.without_data += without_data;
        self.short += short;
        self.tunnelled += tunnelled;
        self.dropped = self.dropped.saturating_add(*dropped);
        unread.iter().for_each(|(what, n)| self.add_unread(*what, *n));
    }

    fn add_unread(&mut self, what: Unread, n: u64) {
        match self.unread.iter().position(|(known, _)| *known == what) {
            Some(at) => self.unread[at].1 += n,
            None if self.unread.len() < MAX_UNREAD || what == OTHER_KINDS => {
                self.unread.push((what, n));
            }
            // Bounds memory against a sender that uses every number.
            None => self.add_unread(OTHER_KINDS, n),
        }
    }

    fn take(
        &mut self,
        frame: &Frame<'_>,
        selection: Selection,
        sightings: &mut Vec<PacketObservation>,
    ) {
        self.seen += 1;
        let Some(link) = frame.link else {
            return self.add_unread(Unread::Named("of an interface that is not described"), 1);
        };
        match packet::read(link, frame.data, frame.cut, selection) {
            Packet::Tcp(Tcp { ends, kind, isn, server_isn, id, inward, point }) => {
                self.without_data += u64::from(kind != PacketKind::Rst);
                let inward = inward.or(frame.inward);
                let outgoing = inward == Some(kind.is_of_server()) && !ends.on_one_machine();
                if outgoing && kind != PacketKind::Syn {
                    return;
                }
                let (time, point) = (frame.time, point.or(frame.point));
                sightings.push(PacketObservation {
                    ends,
                    time,
                    kind,
                    isn,
                    server_isn,
                    outgoing,
                    id,
                    point,
                });
            }
            Packet::Short => self.short += 1,
            Packet::Acknowledgement => self.without_data += 1,
            Packet::Tunnelled => self.tunnelled += 1,
            Packet::Unread(what) => self.add_unread(what, 1),
            Packet::Other => {}
        }
    }
}

impl Block {
    /// Reads the records that begin between `from` and `limit`, places of the file. `buffer` has
    /// its bytes from `start` on, and gets those that the last record lacks from `more`, which is
    /// told how many.
    pub(super) fn read(
        &mut self,
        format: &Format,
        (buffer, start): (&mut Vec<u8>, u64),
        (from, limit): (u64, u64),
        selection: Selection,
        mut more: impl FnMut(&mut Vec<u8>, usize) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        self.sightings.clear();
        self.sums = Sums::default();
        let mut after = format.clone();
        let mut at = (from - start) as usize;
        let limit = (limit - start) as usize;
        loop {
            let Block { sightings, sums, .. } = self;
            let mut dropped = 0;
            let bytes = buffer.get(at..).unwrap_or_default();
            let (read, stop) =
                after.each(bytes, limit.saturating_sub(at), &mut dropped, &mut |f| {
                    sums.take(&f, selection, sightings);
                });
            self.sums.dropped = self.sums.dropped.saturating_add(dropped);
            at += read;
            if let Stop::Needs(n) = stop {
                let had = buffer.len();
                more(buffer, n)?;
                if buffer.len() >= had + n {
                    continue;
                }
            }
            self.from = Some(from);
            self.to = start + at as u64;
            self.stop = Some(stop);
            self.before = Some(format.clone());
            self.after = Some(after);
            return Ok(());
        }
    }
}
