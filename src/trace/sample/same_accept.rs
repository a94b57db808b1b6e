//! [`SampledAccept`]: recognises several samples of one accept. A thread may have several events, its own and
//! inherited ones, or old and new ones, and each of them samples the accept.

use super::counters::{Counters, Place};
use super::record::Accept;

/// An accept, and the events that have sampled it.
#[derive(Debug)]
pub(super) struct SampledAccept {
    time: u64,
    accept: Accept,
    place: Place,
    /// The event that sampled it first, and those that sampled it later.
    event: u64,
    others: Vec<u64>,
}

impl SampledAccept {
    /// Creates it from the first sample, with its time and event.
    pub(super) fn new(accept: &Accept, (time, event): (u64, u64), place: Place) -> SampledAccept {
        SampledAccept { time, accept: *accept, place, event, others: Vec::new() }
    }

    /// Whether a later sample of another event is of this accept, too. If so, records the event.
    ///
    /// An event that was open when an accept was sampled samples that accept, too, before any later
    /// one on the same CPU, or its sample is known to be lost. So its first sample after the one that
    /// counted is of the same accept, however long the CPU was taken away between the two, and of a
    /// later one if it was not open yet. While it was being opened, the order decides: of several
    /// events the kernel samples the newest first, so that its sample does not follow another of the
    /// same accept.
    pub(super) fn add_sample(&mut self, accept: &Accept, event: u64, counters: &Counters) -> bool {
        let is_same = self.event != event
            && !self.others.contains(&event)
            && self.accept.is_alike(accept)
            && counters.place_of(event).is_some_and(|(_, place)| place == self.place)
            && counters.was_open(event, self.time) == Some(true);
        if is_same {
            self.others.push(event);
        }
        is_same
    }
}

#[cfg(test)]
mod tests {
    use super::super::counters::FamilyId;
    use super::super::record::{Buffer, Site, Thread};
    use super::*;
    use crate::trace::sockaddr::PeerAddr;

    fn accept(buffer: Buffer, sampled_peer: PeerAddr) -> Accept {
        let site = Site::new(5_000, 6_000, 4_000);
        let thread = Thread { pid: 1, tid: 1 };
        Accept { thread, fd: Some(7), listener: Some(3), site, buffer, sampled_peer }
    }

    #[test]
    fn samples_of_one_accept_by_two_open_events_count_once() {
        let smaller = accept(Buffer::Elsewhere(1_000), PeerAddr::Unclear);
        let larger = accept(Buffer::Sampled, PeerAddr::Peer(([127, 0, 0, 5], 1).into()));
        let other_descriptor = Accept { fd: Some(8), ..larger };
        let other_cpu = Place { cpu: 1, ..Place::default() };
        let [former, new] = [FamilyId::default(), FamilyId::default().next()];
        let takes = |place, opened, accept: &Accept| {
            let mut counters = Counters::default();
            counters.add(100, (former, (1, 2)), Place::default());
            counters.add(101, (new, opened), place);
            let mut sampled = SampledAccept::new(&smaller, (1_000, 100), Place::default());
            assert!(!sampled.add_sample(&larger, 100, &counters), "the same event again");
            [sampled.add_sample(accept, 101, &counters), sampled.add_sample(accept, 101, &counters)]
        };
        let here = Place::default();
        assert_eq!(takes(here, (10, 20), &larger), [true, false], "it has sampled it before");
        assert_eq!(takes(here, (1_001, 1_002), &larger), [false; 2], "it was opened since");
        assert_eq!(takes(here, (999, 1_001), &larger), [false; 2], "the newest is first");
        assert_eq!(takes(here, (10, 20), &other_descriptor), [false; 2]);
        assert_eq!(takes(other_cpu, (10, 20), &larger), [false; 2]);
    }
}
