//! [`Learning`]: determines how much of the stack the samples of a program must contain, and how soon they must
//! be read.
//!
//! The first accepts of the program show that. Until then samples are large, and each wakes up the reader,
//! so that sockets can be queried before the server closes them. From then on samples are as small as the
//! program's buffers allow, so that the rings hold many.

use foldhash::HashMap;

use crate::trace::procfs::AcceptCall;

use super::evidence::Program;
use super::record::{Accept, Buffer, MAX_STACK_BYTES, Site};

/// How much of the stack samples hold as long as nothing is known: nginx, redis, memcached and Python
/// need less than 400 bytes, socat 630. If it closes connections at once, the peers of those accepted
/// before its samples grow are unknown.
const UNKNOWN_STACK_BYTES: u32 = 1024;
/// Samples hold this much of the stack at least, and a multiple of that.
const MIN_STACK_BYTES: u32 = 128;
const STACK_STEP_BYTES: u32 = 8;
/// Number of accepts whose samples hold the peer, after which the size of a program's samples is chosen.
const ACCEPTS_TO_LEARN: u32 = 4;
/// Maximum number of times that the events of a program are replaced.
const MAX_CHANGES: u32 = 8;

/// The size of samples, and when they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mode {
    /// Bytes of the stack in each.
    pub stack_bytes: u32,
    /// Whether each wakes up the reader. Otherwise it looks from time to time, and when a part of
    /// a ring is full.
    pub wakes_at_once: bool,
}

impl Default for Mode {
    fn default() -> Mode {
        Mode { stack_bytes: UNKNOWN_STACK_BYTES, wakes_at_once: true }
    }
}

/// Whether samples can hold the buffer of a call of accept.
pub(crate) fn can_reach(call: &AcceptCall) -> bool {
    Site::new(call.address, call.length, call.stack_pointer).is_in_reach()
}

/// The modes of all programs.
#[derive(Debug, Default)]
pub(super) struct Learning(HashMap<Program, Learnt>);

#[derive(Debug, Default)]
struct Learnt {
    /// Number of samples that contained the peer since the last that did not.
    with_peer: u32,
    /// How far above the stack pointer its buffers reach, as far as samples can.
    reach: u32,
    mode: Mode,
    changes: u32,
}

impl Learning {
    /// The mode for the samples of a program.
    pub(super) fn mode(&self, program: Program) -> Mode {
        self.0.get(&program).map_or_else(Mode::default, |learnt| learnt.mode)
    }

    /// Notes the buffers of calls of accept that are in progress, before events are opened.
    pub(super) fn begin(&mut self, program: Program, calls: impl Iterator<Item = AcceptCall>) {
        let learnt = self.0.entry(program).or_default();
        for call in calls {
            learnt.note(Site::new(call.address, call.length, call.stack_pointer));
        }
        learnt.mode.stack_bytes = learnt.large();
    }

    /// Whether a program is known.
    pub(super) fn knows(&self, program: Program) -> bool {
        self.0.contains_key(&program)
    }

    /// Records an accept, and whether its sample contained the peer. Returns the new mode if it changes.
    pub(super) fn see(
        &mut self,
        program: Program,
        accept: &Accept,
        has_peer: bool,
    ) -> Option<Mode> {
        let learnt = self.0.entry(program).or_default();
        if accept.buffer != Buffer::Unknown {
            learnt.note(accept.site);
        }
        learnt.with_peer = if has_peer { ACCEPTS_TO_LEARN.min(learnt.with_peer + 1) } else { 0 };
        let mode = match learnt.with_peer >= ACCEPTS_TO_LEARN {
            true => Mode { stack_bytes: learnt.small(), wakes_at_once: false },
            false if learnt.with_peer == 0 => {
                Mode { stack_bytes: learnt.large(), wakes_at_once: true }
            }
            false => learnt.mode,
        };
        if mode == learnt.mode || learnt.changes >= MAX_CHANGES {
            return None;
        }
        learnt.mode = mode;
        learnt.changes += 1;
        Some(mode)
    }

    /// Whether larger samples of a program will contain the peer that this one lacks.
    pub(super) fn will_reach(&self, program: Program, accept: &Accept) -> bool {
        let reach = accept.site.reach().filter(|_| matches!(accept.buffer, Buffer::Elsewhere(_)));
        reach.is_some_and(|reach| reach <= self.mode(program).stack_bytes)
    }
}

impl Learnt {
    fn note(&mut self, site: Site) {
        let reach = site.reach().filter(|reach| *reach <= MAX_STACK_BYTES);
        self.reach = self.reach.max(reach.unwrap_or(0));
    }

    fn small(&self) -> u32 {
        self.reach.next_multiple_of(STACK_STEP_BYTES).clamp(MIN_STACK_BYTES, MAX_STACK_BYTES)
    }

    fn large(&self) -> u32 {
        self.small().max(UNKNOWN_STACK_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Thread;
    use super::*;
    use crate::trace::sockaddr::PeerAddr;

    const PROGRAM: Program = (1, 2);

    fn accept(offset: u64, buffer: Buffer) -> Accept {
        const SP: u64 = 0x7fff_0000;
        Accept {
            thread: Thread { pid: 1, tid: 1 },
            fd: Some(7),
            listener: Some(3),
            site: Site::new(SP + offset, SP + 8, SP),
            buffer,
            sampled_peer: PeerAddr::Unclear,
        }
    }

    #[test]
    fn samples_become_as_small_as_the_buffers_allow() {
        for (offset, expected) in
            [(16, 128), (100, 128), (101, 136), (300, 328), (480, 512), (600, 632)]
        {
            let mut learning = Learning::default();
            let mut modes = Vec::new();
            for _ in 0..10 {
                modes.extend(learning.see(PROGRAM, &accept(offset, Buffer::Sampled), true));
            }
            assert_eq!(modes, [Mode { stack_bytes: expected, wakes_at_once: false }], "{offset}");
        }
    }

    /// socat's lies 600 bytes above the stack pointer.
    #[test]
    fn the_first_samples_hold_the_buffers_of_common_servers() {
        let mut learning = Learning::default();
        let first = learning.mode(PROGRAM);
        let call = AcceptCall { listener: 3, address: 1_600, length: 1_596, stack_pointer: 1_000 };
        learning.begin(PROGRAM, [call].into_iter());
        assert_eq!(learning.mode(PROGRAM), first, "they need not grow");
    }

    #[test]
    fn samples_grow_where_a_buffer_lies_beyond() {
        let mut learning = Learning::default();
        let far = accept(2000, Buffer::Elsewhere(2000));
        let mode = learning.see(PROGRAM, &far, false);
        assert_eq!(mode, Some(Mode { stack_bytes: 2032, wakes_at_once: true }));
        assert!(learning.will_reach(PROGRAM, &far));
        for (offset, buffer) in [(5000, Buffer::Elsewhere(5000)), (0, Buffer::Null)] {
            let accept = accept(offset, buffer);
            assert_eq!(learning.see(PROGRAM, &accept, false), None);
            assert!(!learning.will_reach(PROGRAM, &accept));
        }
    }

    #[test]
    fn events_are_opened_anew_a_few_times_only() {
        let mut learning = Learning::default();
        let mut changes = 0;
        for round in 0..1000 {
            let has_peer = round % 10 != 0;
            let accept = accept(16, Buffer::Sampled);
            changes += u32::from(learning.see(PROGRAM, &accept, has_peer).is_some());
        }
        assert_eq!(changes, MAX_CHANGES);
    }
}
