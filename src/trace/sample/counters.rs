//! Compares the number of samples of each event with the kernel's count.

use std::collections::BTreeSet;

use foldhash::HashMap;

/// The id of a family: the events that were opened on one thread, and that others have inherited from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FamilyId(u32);

impl FamilyId {
    /// The next id.
    pub(super) fn next(self) -> FamilyId {
        FamilyId(self.0 + 1)
    }
}

/// What an event samples: one call on one CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub cpu: u32,
    pub is_accept4: bool,
}

/// The samples and the count of an event.
#[derive(Debug)]
struct Counter {
    family: FamilyId,
    place: Place,
    /// When it was about to be opened, and when all events of its family were open: CLOCK_MONOTONIC.
    opened: (u64, u64),
    seen: u64,
    /// The kernel's count when the event was closed, and the time.
    closed: Option<(u64, u64)>,
    overlap: Option<Overlap>,
}

/// Part of a replacement of events, in which the old and the new ones count the same accepts.
#[derive(Clone, Copy, Debug)]
enum Overlap {
    Former(u32),
    New {
        overlap: u32,
        /// The kernel's count when the old ones were closed, and the time.
        end: Option<(u64, u64)>,
        /// How many of its samples are older than the end.
        seen: u64,
    },
}

/// The counters of all events.
#[derive(Debug, Default)]
pub(super) struct Counters {
    counters: HashMap<u64, Counter>,
    /// The number of replacements that were started.
    overlaps: u32,
    /// Whether the last one has not ended yet.
    is_overlapping: bool,
}

impl Counters {
    /// Adds an event.
    pub(super) fn add(
        &mut self,
        event: u64,
        (family, opened): (FamilyId, (u64, u64)),
        place: Place,
    ) {
        let new = Overlap::New { overlap: self.overlaps, end: None, seen: 0 };
        let overlap = self.is_overlapping.then_some(new);
        self.counters
            .insert(event, Counter { family, place, opened, seen: 0, closed: None, overlap });
    }

    /// Counts a sample.
    pub(super) fn see(&mut self, event: u64, time: u64) {
        let Some(counter) = self.counters.get_mut(&event) else { return };
        counter.seen += 1;
        if let Some(Overlap::New { end, seen, .. }) = &mut counter.overlap
            && end.is_none_or(|(_, end)| time <= end)
        {
            *seen += 1;
        }
    }

    /// The family of an event, and what it samples.
    pub(super) fn place_of(&self, event: u64) -> Option<(FamilyId, Place)> {
        self.counters.get(&event).map(|counter| (counter.family, counter.place))
    }

    /// Whether an event was open at this time, on the threads that it was opened on; `None`: it was just being opened.
    pub(super) fn was_open(&self, event: u64, time: u64) -> Option<bool> {
        let (begun, end) = self.counters.get(&event)?.opened;
        if time < begun { Some(false) } else { Some(true).filter(|_| time >= end) }
    }

    /// From now on, events that are added count the same accepts as these.
    pub(super) fn begin_overlap(&mut self, former: &BTreeSet<FamilyId>) {
        self.overlaps += 1;
        self.is_overlapping = true;
        for counter in self.counters.values_mut().filter(|c| former.contains(&c.family)) {
            counter.overlap = Some(Overlap::Former(self.overlaps));
        }
    }

    /// Records that the old events are about to be closed. `count` is the kernel's count now.
    pub(super) fn end_overlap(&mut self, count: impl Fn(u64) -> Option<u64>, now: u64) {
        self.is_overlapping = false;
        for (event, counter) in &mut self.counters {
            if let Some(Overlap::New { overlap, end, .. }) = &mut counter.overlap
                && *overlap == self.overlaps
            {
                let closed = counter.closed.map(|(count, _)| count);
                *end = count(*event).or(closed).map(|count| (count, now));
            }
        }
    }

    /// Records that an event was closed. `count` is the kernel's count, if it could be read.
    pub(super) fn close(&mut self, event: u64, count: Option<u64>, now: u64) {
        if let Some(counter) = self.counters.get_mut(&event) {
            counter.closed = Some((count.unwrap_or(counter.seen), now));
        }
    }

    /// The kernel's count of the closed events.
    pub(super) fn closed(&self) -> impl Iterator<Item = (u64, u64)> {
        self.counters.iter().filter_map(|(event, counter)| Some((*event, counter.closed?.0)))
    }

    /// Removes closed events whose samples have all been processed: all records before
    /// `processed_until`.
    pub(super) fn forget_closed(&mut self, processed_until: u64) {
        self.counters.retain(|_, counter| {
            counter
                .closed
                .is_none_or(|(count, time)| count > counter.seen || time > processed_until)
        });
    }

    /// How many of the counted accepts have no sample. An accept that old and new events both missed
    /// counts once.
    pub(super) fn missing(&self, counts: &[(u64, u64)]) -> u64 {
        let mut total = 0;
        // Of each replacement: what the former and the new events missed until its end.
        let mut twice: HashMap<u32, (u64, u64)> = HashMap::default();
        for (event, count) in counts {
            let Some(counter) = self.counters.get(event) else {
                total += count;
                continue;
            };
            let missing = count.saturating_sub(counter.seen);
            total += missing;
            match counter.overlap {
                Some(Overlap::Former(overlap)) => twice.entry(overlap).or_default().0 += missing,
                Some(Overlap::New { overlap, end, seen }) => {
                    let count = end.map_or(*count, |(count, _)| count);
                    twice.entry(overlap).or_default().1 += count.saturating_sub(seen).min(missing);
                }
                None => {}
            }
        }
        total - twice.into_values().map(|(former, new)| former.min(new)).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMER: u64 = 1;
    const NEW: u64 = 2;

    /// An event whose accepts new ones count, too, from now on.
    fn overlapping() -> Counters {
        let mut counters = Counters::default();
        let [former, new] = [FamilyId::default(), FamilyId::default().next()];
        counters.add(FORMER, (former, (1, 2)), Place::default());
        counters.begin_overlap(&BTreeSet::from([former]));
        counters.add(NEW, (new, (5, 6)), Place::default());
        counters
    }

    #[test]
    fn whether_an_event_was_open_is_unknown_while_it_is_opened() {
        let counters = overlapping();
        let was_open = |time| counters.was_open(NEW, time);
        assert_eq!([4, 5, 6].map(was_open), [Some(false), None, Some(true)]);
        assert_eq!(counters.was_open(NEW + 1, 6), None);
    }

    #[test]
    fn accepts_that_old_and_new_events_miss_count_once() {
        let mut counters = overlapping();
        counters.see(FORMER, 10);
        counters.see(NEW, 10);
        assert_eq!(counters.missing(&[(FORMER, 101), (NEW, 101)]), 100);
        counters.end_overlap(|event| (event == NEW).then_some(101), 20);
        counters.close(FORMER, Some(101), 20);
        assert_eq!(counters.missing(&[(FORMER, 101), (NEW, 101)]), 100);
        // A sample from before arrives late.
        counters.see(FORMER, 15);
        counters.see(NEW, 15);
        assert_eq!(counters.missing(&[(FORMER, 101), (NEW, 101)]), 99);
    }

    #[test]
    fn accepts_missed_after_the_replacement_count() {
        let mut counters = overlapping();
        counters.end_overlap(|event| (event == NEW).then_some(100), 20);
        counters.close(FORMER, Some(100), 20);
        assert_eq!(counters.missing(&[(FORMER, 100), (NEW, 150)]), 150);
        (0..30).for_each(|_| counters.see(NEW, 21));
        assert_eq!(counters.missing(&[(FORMER, 100), (NEW, 150)]), 120);
    }

    #[test]
    fn accepts_that_only_one_set_of_events_misses_do_not_hide_others() {
        let mut counters = overlapping();
        (0..100).for_each(|_| counters.see(NEW, 10));
        assert_eq!(counters.missing(&[(FORMER, 100), (NEW, 100)]), 100);
        counters.end_overlap(|event| (event == NEW).then_some(100), 20);
        counters.close(FORMER, Some(100), 20);
        assert_eq!(counters.missing(&[(FORMER, 100), (NEW, 101)]), 101);
    }
}
