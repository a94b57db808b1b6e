//! Opens the events of a program anew, since its samples are to hold more of the stack or less.
//!
//! The size of samples is fixed when an event is opened. The former events stay open until it is
//! certain, as at the attach, that each thread has new ones and passes them on. Until then both write
//! samples of the same accepts, and `threads` counts each of them once. So nothing is missed, and
//! nothing counts twice, nor is anything lost twice if the rings overflow within that time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::evidence::Program;
use super::record::Accept;
use super::renewals::Renewal;
use super::sampler::{Phase, Sampler};

/// How long to wait for threads that may be creating others without new events.
const SETTLE_INTERVAL: Duration = Duration::from_millis(10);

impl Sampler {
    /// Opens events anew where that is asked for, and closes the former ones once they are not
    /// needed.
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

    /// Whether larger samples will tell the peer that this one does not.
    pub(super) fn will_reach(&self, program: Program, accept: &Accept) -> bool {
        self.learning.will_reach(program, accept) && !self.renewals.are_stuck()
    }

    fn begin_renewal(&mut self) {
        // Nobody must lack the events that are there.
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
        // Processes that are refused have no former events, or tell so at their exec.
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
