//! [`OtherListeners`]: finds processes that begin to listen on a port while others are watched. They are not
//! attached to, so the report must say so. [`WatchedPort`] does that for the processes that a port was given for.

use std::collections::{BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::model::connection::Connection;
use crate::model::event_source::{Event, EventSource};
use crate::sys::ptrace::Tid;
use crate::{ShortfallKind, SourceStatus};

use super::attach::Targets;
use super::attach_engine::Attach;
use super::error::Error;
use super::listening::ListeningSockets;
use super::port_owners::{self, PortOwner};
use super::procfs;

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// The listening sockets of a port.
pub(super) struct OtherListeners {
    ports: Vec<RangeInclusive<u16>>,
    sockets: ListeningSockets,
    /// The sockets whose owners were looked at.
    known: BTreeSet<u64>,
    next_look: Instant,
}

impl OtherListeners {
    pub(super) fn new(ports: Vec<RangeInclusive<u16>>) -> OtherListeners {
        OtherListeners {
            sockets: ListeningSockets::open(ports.clone()),
            ports,
            known: BTreeSet::new(),
            next_look: Instant::now(),
        }
    }

    /// The inodes of the sockets that listen now.
    pub(super) fn inodes(&mut self) -> Result<BTreeSet<u64>, Error> {
        self.sockets.inodes()
    }

    /// When the next look is due.
    pub(super) fn next_look(&self) -> Instant {
        self.next_look
    }

    /// Forgets whose sockets were looked at.
    pub(super) fn forget(&mut self) {
        self.known.clear();
        self.next_look = Instant::now() + LOOK;
    }

    /// The processes that are not watched, if sockets have come since the last look.
    pub(super) fn look(
        &mut self,
        mut is_watched: impl FnMut(Tid) -> bool,
    ) -> Result<Vec<PortOwner>, Error> {
        self.next_look = Instant::now() + LOOK;
        let sockets = self.inodes()?;
        if sockets.is_subset(&self.known) {
            return Ok(Vec::new());
        }
        self.known.extend(sockets);
        // Processes of other users are not visible.
        let mut owners = port_owners::port_owners(&self.ports).unwrap_or_default();
        // What is watched no more may have been watched until it ended.
        owners.retain(|owner| !is_watched(owner.pid) && !procfs::process_has_ended(owner.pid));
        Ok(owners)
    }
}

/// The processes that were attached to, because they listened on a port or were given.
pub(crate) struct WatchedPort<L> {
    live: L,
    targets: Targets,
    /// `None`: the processes were given, not a port.
    others: Option<OtherListeners>,
    /// The others that were found.
    found: BTreeSet<String>,
    ready: VecDeque<Event>,
}

impl<L: Attach> WatchedPort<L> {
    /// `ports`: those whose listeners the targets of `live` are; `None` if the processes were given.
    pub(crate) fn new(
        live: L,
        targets: Targets,
        ports: Option<&[RangeInclusive<u16>]>,
    ) -> WatchedPort<L> {
        let others = ports.map(|ports| OtherListeners::new(ports.to_vec()));
        WatchedPort { live, targets, others, found: BTreeSet::new(), ready: VecDeque::new() }
    }

    /// Notes the processes that have begun to listen. `were_watched`: those that are not any more.
    fn look(&mut self, were_watched: &BTreeSet<Tid>) {
        let Some(others) = &mut self.others else { return };
        let live = &mut self.live;
        let is_watched = |pid| were_watched.contains(&pid) || live.watches(pid);
        // What cannot be read now is looked at the next time.
        let owners = others.look(is_watched).unwrap_or_default();
        for text in port_owners::describe(&owners) {
            let text = format!("{text}, too, and is not attached to; start again to count it");
            if self.found.insert(text.clone()) {
                self.ready.push_back(Event::Notice(text));
            }
        }
    }

    /// Looks for the last time, when a tracer has left its processes already.
    fn look_at_end(&mut self) {
        let were_watched = match self.targets.children {
            true => procfs::with_descendants(&self.targets.pids),
            false => self.targets.pids.clone(),
        };
        self.look(&were_watched);
        self.others = None;
    }
}

impl<L: Attach> EventSource for WatchedPort<L> {
    type Error = Error;

    fn next(&mut self, deadline: Option<Instant>) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            let Some(next_look) = self.others.as_ref().map(OtherListeners::next_look) else {
                return self.live.next(deadline);
            };
            if next_look <= Instant::now() {
                self.look(&BTreeSet::new());
                continue;
            }
            let until = deadline.map_or(next_look, |deadline| deadline.min(next_look));
            match self.live.next(Some(until))? {
                Event::Deadline if deadline.is_none_or(|d| Instant::now() < d) => {}
                ended @ Event::Ended(_) => {
                    self.look_at_end();
                    self.ready.push_back(ended);
                }
                event => return Ok(event),
            }
        }
    }

    fn next_known(&mut self) -> Option<Connection> {
        if self.ready.is_empty() { self.live.next_known() } else { None }
    }

    fn stop_counting(&mut self) -> Result<Vec<Connection>, Error> {
        self.look_at_end();
        self.live.stop_counting()
    }

    fn status(&mut self) -> SourceStatus {
        let mut status = self.live.status();
        for text in &self.found {
            status.record_shortfall(ShortfallKind::Unobservable, 1, text);
        }
        status
    }

    fn can_wait(&self) -> bool {
        self.live.can_wait()
    }

    fn lateness(&self) -> Duration {
        self.live.lateness()
    }
}
