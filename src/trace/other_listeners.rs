//! [`WatchedPort`]: finds processes that begin to listen on a port while others are watched. They are not attached
//! to, so the report must say so.

use std::collections::{BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::model::connection::Connection;
use crate::model::event_source::{Event, EventSource};
use crate::sys::ptrace::Tid;
use crate::{ShortfallKind, SourceStatus};

use super::attach::Targets;
use super::attach_engine::Attach;
use super::attach_error::ListenerError;
use super::error::Error;
use super::listening::ListeningSockets;
use super::port_owners::{self, PortOwners};
use super::procfs;

/// Time between two searches for new listening sockets.
const SEARCH_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of texts about other processes.
const MAX_FOUND: usize = 100;

/// The listening sockets of a port.
struct OtherListeners {
    ports: Vec<RangeInclusive<u16>>,
    sockets: ListeningSockets,
    /// The sockets whose owners are known.
    known: BTreeSet<u64>,
    next_search: Instant,
}

impl OtherListeners {
    fn new(ports: Vec<RangeInclusive<u16>>) -> OtherListeners {
        OtherListeners {
            sockets: ListeningSockets::open(ports.clone()),
            ports,
            known: BTreeSet::new(),
            next_search: Instant::now(),
        }
    }

    /// The processes that are not watched, if new sockets listen since the last search that succeeded.
    fn search(&mut self, is_watched: impl FnMut(Tid) -> bool) -> Result<PortOwners, Error> {
        self.next_search = Instant::now() + SEARCH_INTERVAL;
        let sockets = self.sockets.inodes()?;
        if sockets.is_subset(&self.known) {
            return Ok(PortOwners::default());
        }
        let owners = self.unwatched(is_watched)?;
        self.known.extend(sockets);
        Ok(owners)
    }

    /// The processes that are not watched. A socket that was known may have been passed on to one.
    fn unwatched(&self, mut is_watched: impl FnMut(Tid) -> bool) -> Result<PortOwners, Error> {
        let mut owners = self.owners()?;
        owners.visible.retain(|owner| !is_watched(owner.pid));
        if !owners.visible.is_empty() {
            // One that was ending is not watched any more, but then it has closed its sockets.
            let still: BTreeSet<Tid> =
                self.owners()?.visible.iter().map(|owner| owner.pid).collect();
            owners.visible.retain(|owner| still.contains(&owner.pid));
        }
        Ok(owners)
    }

    fn owners(&self) -> Result<PortOwners, Error> {
        match port_owners::port_owners(&self.ports) {
            Err(Error::NoListener(ListenerError::Invisible { addresses, .. })) => {
                Ok(PortOwners { visible: Vec::new(), ownerless: addresses })
            }
            Err(Error::NoListener(_)) => Ok(PortOwners::default()),
            owners => owners,
        }
    }
}

/// What becomes of a process that begins to listen while another one is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Newcomer {
    /// It is never attached to.
    Ignored,
    /// It is attached to as soon as the watched one has ended.
    AttachedToNext,
}

impl Newcomer {
    fn fate(self) -> &'static str {
        match self {
            Newcomer::Ignored => "is not attached to; start again to count it",
            Newcomer::AttachedToNext => "will be attached to when the present server has ended",
        }
    }
}

/// The processes that were attached to, because they listened on a port or were given.
pub(crate) struct WatchedPort<L> {
    live: L,
    targets: Targets,
    newcomer: Newcomer,
    /// `None`: the processes were given, not a port; or the last search is over.
    others: Option<OtherListeners>,
    /// What was found, as shortfalls.
    found: BTreeSet<String>,
    ready: VecDeque<Event>,
}

impl<L: Attach> WatchedPort<L> {
    /// `ports`: those whose listeners the targets of `live` are; `None` if the processes were given.
    pub(crate) fn new(
        live: L,
        targets: Targets,
        ports: Option<&[RangeInclusive<u16>]>,
        newcomer: Newcomer,
    ) -> WatchedPort<L> {
        let others = ports.map(|ports| OtherListeners::new(ports.to_vec()));
        let (found, ready) = Default::default();
        WatchedPort { live, targets, newcomer, others, found, ready }
    }

    /// Whether a signal has ended the count.
    pub(super) fn is_leaving(&self) -> bool {
        self.live.is_leaving()
    }

    /// Searches for processes that have begun to listen.
    fn search(&mut self) {
        let Some(others) = &mut self.others else { return };
        // What cannot be read now is searched again the next time.
        let owners = others.search(|pid| self.live.watches(pid)).unwrap_or_default();
        self.note(&owners);
    }

    /// Searches for the last time, among all listeners, when a tracer has left its processes already.
    fn search_at_end(&mut self) {
        let Some(others) = self.others.take() else { return };
        let were_watched = match self.targets.children {
            true => procfs::with_descendants(&self.targets.pids),
            false => self.targets.pids.clone(),
        };
        let is_watched = |pid| were_watched.contains(&pid) || self.live.watches(pid);
        match others.unwatched(is_watched) {
            Ok(owners) => self.note(&owners),
            Err(error) => self.note_text(format!(
                "it is not known whether other processes listen on the port: {error}"
            )),
        }
    }

    /// Notes processes that are not watched.
    fn note(&mut self, owners: &PortOwners) {
        for text in port_owners::describe(&owners.visible) {
            self.note_text(format!("{text}, too, and {}", self.newcomer.fate()));
        }
        if !owners.ownerless.is_empty() {
            self.note_text(port_owners::describe_ownerless(&owners.ownerless));
        }
    }

    fn note_text(&mut self, text: String) {
        let has_room = self.found.len() < MAX_FOUND || self.found.contains(&text);
        let further = "further processes began to listen on the port, and were not attached to";
        let text = if has_room { text } else { further.to_owned() };
        if self.found.insert(text.clone()) {
            self.ready.push_back(Event::Notice(text));
        }
    }
}

impl<L: Attach> EventSource for WatchedPort<L> {
    type Error = Error;

    fn next(&mut self, deadline: Option<Instant>) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            let Some(next_search) = self.others.as_ref().map(|others| others.next_search) else {
                return self.live.next(deadline);
            };
            if next_search <= Instant::now() {
                self.search();
                continue;
            }
            let until = deadline.map_or(next_search, |deadline| deadline.min(next_search));
            match self.live.next(Some(until))? {
                Event::Deadline if deadline.is_none_or(|d| Instant::now() < d) => {}
                // The next one that is attached to notes what listens already.
                ended @ Event::Ended(_)
                    if self.newcomer == Newcomer::AttachedToNext && !self.is_leaving() =>
                {
                    return Ok(ended);
                }
                ended @ Event::Ended(_) => {
                    self.search_at_end();
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
        let rest = self.live.stop_counting();
        self.search_at_end();
        rest
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
