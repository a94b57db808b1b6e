//! Replaces the events of a program by events that sample more or less of the stack.
//!
//! The size of samples is fixed when an event is opened. The old events stay open until each thread
//! certainly has new ones that its children inherit, as at the attach. Until then both sample the same
//! accepts, and `threads` counts each accept once. So no accept is missed or counted twice, and if the
//! rings overflow in that time, none is reported lost twice.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::evidence::Program;
use super::record::Accept;
use super::renewals::Renewal;
use super::sampler::{Phase, Sampler};

/// How long to wait for threads that may be creating others without new events.
const SETTLE_INTERVAL: Duration = Duration::from_millis(10);

impl Sampler {
    /// Opens the requested new events, and closes the old ones once they are not needed.
    pub(super) fn renew(&mut self) {
        if self.phase != Phase::Counting {
            return;
        }
        match &self.renewals.current {
            Some(current) if current.is_stuck || Instant::now() < current.next_look => {}
            Some(_) => self.go_on_renewing(),
            None => self.begin_renewal(),
        }
    }

    /// Whether larger samples will contain the peer that this one lacks.
    pub(super) fn will_reach(&self, program: Program, accept: &Accept) -> bool {
        self.learning.will_reach(program, accept) && !self.renewals.are_stuck()
    }

    fn begin_renewal(&mut self) {
        // No thread must lack the present events.
        if self.renewals.asked.is_empty() || !self.threads.unsettled().is_empty() {
            return;
        }
        let Some(program) = self.renewals.asked.pop_front() else { return };
        let mode = self.learning.mode(program);
        let processes: Vec<_> = self.threads.processes().collect();
        let pids =
            processes.into_iter().filter(|pid| self.programs.program(*pid) == program).collect();
        let mut former = self.threads.families(&pids);
        former.retain(|id| self.families.get(*id).is_some_and(|family| family.mode != mode));
        let threads = self.threads.of_families(&former);
        if former.is_empty() || !self.families.has_room_for(threads, &self.rings) {
            return;
        }
        self.families.begin_replacement(&former);
        self.threads.renew(&former);
        let next_look = Instant::now();
        self.renewals.current = Some(Renewal { former, is_stuck: false, next_look });
        self.go_on_renewing();
    }

    fn go_on_renewing(&mut self) {
        // Processes that are refused have no old events, or are reported at their exec.
        let missing = self.open_missing(&mut BTreeMap::new());
        let is_settled = missing.is_whole && !missing.has_some && self.settle();
        let Some(current) = &mut self.renewals.current else { return };
        if missing.failed.is_some() {
            current.is_stuck = true;
        } else if is_settled && self.threads.of_families(&current.former) == 0 {
            let former = std::mem::take(&mut current.former);
            self.renewals.current = None;
            self.families.end_replacement(former);
        } else {
            // Those that were opened just now may be settled at once.
            let pause = if missing.has_some { Duration::ZERO } else { SETTLE_INTERVAL };
            current.next_look = Instant::now() + pause;
        }
    }
}
