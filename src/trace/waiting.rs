//! [`Waiting`]: waits for processes that listen on a port, and attaches to them.
//!
//! # The time between listen and attach
//!
//! A server may accept connections before tcptally is attached to it. Their number is bounded by the kernel's own
//! count of inbound connections (`PassiveOpens`): it is read while nobody listens, and once more when the server is
//! attached to. If both are equal, nothing has been missed. Otherwise the report is not complete.

use std::collections::{BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::model::connection::Connection;
use crate::model::event_source::{Ending, Event, EventSource};
use crate::model::plural;
use crate::sys::ptrace::Tid;
use crate::sys::snmp::PassiveOpens;
use crate::sys::wake;
use crate::{RecordTime, ShortfallKind, SourceStatus};

use super::attach::Targets;
use super::attach_engine::Attach;
use super::attach_error::ListenerError;
use super::engine::PtraceEngine;
use super::error::{Doing, Error};
use super::listening::ListeningSockets;
use super::other_listeners::{Newcomer, WatchedPort};
use super::perf::tracepoint::Tracepoints;
use super::port_owners::{self, PortOwner};
use super::procfs;
use super::signals::{ENDS, handled_for_attached};
use super::tracer::{Options, Remark};

/// Time between two searches for a listening process in this network namespace.
const SEARCH_INTERVAL: Duration = Duration::from_millis(20);
/// The same for other network namespaces.
const SEARCH_ELSEWHERE_INTERVAL: Duration = Duration::from_secs(1);
/// Time after which a listener without a visible owner is reported as another user's. Before, the owner may have
/// just ended.
const INVISIBLE_TIME: Duration = Duration::from_millis(500);
/// Maximum number of separate shortfalls of ended servers.
const MAX_SHORTFALLS: usize = 100;

/// What to wait for.
pub(crate) struct WaitFor {
    /// The ports.
    pub ports: Vec<RangeInclusive<u16>>,
    /// The ports as the user wrote them.
    pub list: String,
    /// Whether to attach to the descendants of a server, too.
    pub children: bool,
    /// Set as soon as a server has been attached to.
    pub has_attached: Arc<AtomicBool>,
}

/// Prints remarks.
pub(crate) type Say = Box<dyn Fn(&[Remark]) + Send + Sync>;

/// Attaches to the processes that listen on a port, and to others when those have ended.
pub(crate) struct Waiting<L> {
    ports: Vec<RangeInclusive<u16>>,
    sockets: ListeningSockets,
    list: String,
    children: bool,
    options: Options,
    say: Say,
    attached: Option<WatchedPort<L>>,
    opens: Option<PassiveOpens>,
    /// The last time without a listener, and the kernel's count of inbound connections before that.
    nobody: Option<(Instant, Option<u64>)>,
    invisible_since: Option<Instant>,
    next_search_elsewhere: Instant,
    /// Shortfalls of the servers before.
    past: SourceStatus,
    gaps: Gaps,
    has_attached: Arc<AtomicBool>,
    is_over: bool,
    ready: VecDeque<Event>,
}

/// Times between listen and attach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Gaps {
    /// Number of gaps in which connections were made.
    number: u64,
    duration: Duration,
    /// Maximum number of connections that were made in gaps.
    most: u64,
    /// Number of gaps for which the kernel's count is unavailable.
    unknown: u64,
}

impl Gaps {
    /// Records what may be missing.
    fn record(&self, status: &mut SourceStatus) {
        if self.number > 0 {
            let text = format!(
                "at most {} not counted: accepted after a server began to listen and before tcptally was attached \
                 to it ({}, {} s in all)",
                plural(self.most, "connection is", "connections are"),
                plural(self.number, "time", "times"),
                self.duration.as_millis() as f64 / 1000.0,
            );
            status.record_shortfall(ShortfallKind::Unobservable, self.most, text);
        }
        if self.unknown > 0 {
            let text = "connections that a server accepted before tcptally was attached to it \
                        are not counted: it already listened when the previous server ended, or is in \
                        another network namespace";
            status.record_shortfall(ShortfallKind::Unobservable, self.unknown, text);
        }
    }
}

impl<L: Attach> Waiting<L> {
    /// Attaches to the processes that listen on one of the `ports`, or waits for some.
    ///
    /// # Errors
    /// Those of attaching to processes that listen already.
    pub(crate) fn start(what: WaitFor, options: Options, say: Say) -> Result<Waiting<L>, Error> {
        wake::install(&handled_for_attached()).doing("installing signal handlers")?;
        let mut past = SourceStatus::new("trace");
        past.started = Some(RecordTime::now());
        let mut waiting = Waiting {
            sockets: ListeningSockets::open(what.ports.clone()),
            ports: what.ports,
            list: what.list,
            children: what.children,
            options,
            say,
            attached: None,
            opens: PassiveOpens::open(),
            nobody: None,
            invisible_since: None,
            next_search_elsewhere: Instant::now(),
            past,
            gaps: Gaps::default(),
            has_attached: what.has_attached,
            is_over: false,
            ready: VecDeque::new(),
        };
        waiting.attach_if_listening()?;
        if waiting.attached.is_some() {
            // Counting begins now, as without waiting.
            waiting.gaps = Gaps::default();
        } else {
            if waiting.options.engine != Some(PtraceEngine::Syscall) {
                // A search takes a moment, in which a new server may accept. The attach reports errors.
                let _ = Tracepoints::find_counting();
            }
            waiting
                .tell(format!("no process listens on port {} yet; waiting for one", waiting.list));
        }
        Ok(waiting)
    }

    fn tell(&self, text: String) {
        (self.say)(&[Remark { is_detail: false, text }]);
    }

    /// Notes the kernel's count of inbound connections if nobody listens when a server has ended.
    fn note_nobody(&mut self) {
        let opens = self.opens.as_mut().and_then(PassiveOpens::read);
        let is_empty = self.sockets.inodes().is_ok_and(|sockets| sockets.is_empty());
        self.nobody = is_empty.then(|| (Instant::now(), opens));
    }

    /// Attaches to the processes that listen, if there are some.
    fn attach_if_listening(&mut self) -> Result<(), Error> {
        let opens = self.opens.as_mut().and_then(PassiveOpens::read);
        let sockets = self.sockets.inodes()?;
        if sockets.is_empty() {
            self.invisible_since = None;
            if self.next_search_elsewhere > Instant::now() {
                self.nobody = Some((Instant::now(), opens));
                return Ok(());
            }
            self.next_search_elsewhere = Instant::now() + SEARCH_ELSEWHERE_INTERVAL;
        }
        match port_owners::port_owners(&self.ports) {
            Ok(owners) => self.attach(&owners.visible),
            Err(Error::NoListener(ListenerError::Nobody { .. })) => {
                if sockets.is_empty() {
                    self.nobody = Some((Instant::now(), opens));
                }
                Ok(())
            }
            Err(
                error @ Error::NoListener(
                    ListenerError::Invisible { .. } | ListenerError::Init { .. },
                ),
            ) => {
                let since = *self.invisible_since.get_or_insert_with(Instant::now);
                if since.elapsed() < INVISIBLE_TIME { Ok(()) } else { Err(error) }
            }
            Err(error) => Err(error),
        }
    }

    fn attach(&mut self, owners: &[PortOwner]) -> Result<(), Error> {
        let pids: BTreeSet<Tid> = owners.iter().map(|owner| owner.pid).collect();
        let targets = Targets { pids: pids.clone(), children: self.children };
        let live = match L::attach(targets.clone(), self.options) {
            Ok(live) => live,
            // Such as the parent of a daemon, which listens as well.
            Err(_) if pids.iter().all(|pid| procfs::process_has_ended(*pid)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let is_elsewhere = owners.iter().any(|owner| owner.namespace.is_some());
        let before = self.nobody.take().filter(|_| !is_elsewhere);
        let opens = self.opens.as_mut().and_then(PassiveOpens::read);
        self.note_gap(before, opens);
        let who = port_owners::describe(owners).into_iter();
        let mut remarks: Vec<Remark> = who.map(|text| Remark { is_detail: false, text }).collect();
        remarks.extend_from_slice(live.remarks());
        (self.say)(&remarks);
        let newcomer = Newcomer::AttachedToNext;
        self.attached = Some(WatchedPort::new(live, targets, Some(&self.ports), newcomer));
        self.has_attached.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Records connections that may have been accepted since there was no listener.
    fn note_gap(&mut self, before: Option<(Instant, Option<u64>)>, opens: Option<u64>) {
        let Some((since, Some(before))) = before else {
            self.gaps.unknown += 1;
            return;
        };
        match opens {
            Some(opens) if opens == before => {}
            Some(opens) => {
                self.gaps.number += 1;
                self.gaps.duration += since.elapsed();
                self.gaps.most += opens.saturating_sub(before);
            }
            None => self.gaps.unknown += 1,
        }
    }

    /// Records a shortfall of a server that is not attached to any more.
    fn note_past(&mut self, kind: ShortfallKind, count: u64, text: String) {
        let text = match self.past.shortfalls().len() {
            n if n < MAX_SHORTFALLS => text,
            _ => "further servers could not be observed completely".into(),
        };
        self.past.record_shortfall(kind, count, text);
    }

    /// Adds the shortfalls of the server that has ended.
    fn detach(&mut self) {
        let Some(mut live) = self.attached.take() else { return };
        let status = live.status();
        let reported: u64 = of_lost(&status).map(|s| s.count).sum();
        self.past.lost += status.lost.saturating_sub(reported);
        for shortfall in status.shortfalls() {
            self.note_past(shortfall.kind, shortfall.count, shortfall.text.clone());
        }
        status.warnings.iter().for_each(|warning| self.past.warn(warning.clone()));
        self.past.stops = sum(self.past.stops, status.stops);
        self.past.engine = engines(self.past.engine.take(), status.engine);
        self.past.tracees = status.tracees.map(|_| 0);
    }

    /// Handles signals, and looks for a server.
    fn wait(&mut self, deadline: Option<Instant>) -> Result<Option<Event>, Error> {
        if wake::is_due() {
            let signals = wake::take();
            wake::at(None);
            self.is_over |= ENDS.into_iter().chain([libc::SIGXCPU]).any(|s| signals.has(s));
            if signals.asks_to_reopen() {
                self.ready.push_back(Event::Reopen);
            }
            if signals.has(libc::SIGUSR1) {
                self.ready.push_back(Event::Asked);
            }
            return Ok(None);
        }
        let now = Instant::now();
        if deadline.is_some_and(|d| d <= now) {
            return Ok(Some(Event::Deadline));
        }
        self.attach_if_listening()?;
        if self.attached.is_none() {
            let left = deadline.map_or(SEARCH_INTERVAL, |d| d.saturating_duration_since(now));
            std::thread::sleep(left.min(SEARCH_INTERVAL));
        }
        Ok(None)
    }
}

fn of_lost(status: &SourceStatus) -> impl Iterator<Item = &crate::Shortfall> {
    status.shortfalls().iter().filter(|s| s.kind == ShortfallKind::LostConnections)
}

fn sum(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (a, b) => a.or(b),
    }
}

/// The names of all engines, each once.
fn engines(a: Option<String>, b: Option<String>) -> Option<String> {
    let Some(mut all) = a else { return b };
    for name in b.iter().flat_map(|b| b.split('+')) {
        if !all.split('+').any(|known| known == name) {
            all.push('+');
            all.push_str(name);
        }
    }
    Some(all)
}

impl<L: Attach> EventSource for Waiting<L> {
    type Error = Error;

    fn next(&mut self, deadline: Option<Instant>) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            let Some(live) = &mut self.attached else {
                if self.is_over {
                    return Ok(Event::Ended(Ending::Detached));
                }
                match self.wait(deadline)? {
                    Some(event) => return Ok(event),
                    None => continue,
                }
            };
            match live.next(deadline)? {
                Event::Ended(_) if !self.is_over && !live.is_leaving() => {
                    self.detach();
                    // Who reads that it waits may start the next server at once.
                    self.note_nobody();
                    self.tell(format!(
                        "the server on port {} has ended; waiting for the next one",
                        self.list
                    ));
                }
                event => return Ok(event),
            }
        }
    }

    fn stop_counting(&mut self) -> Result<Vec<Connection>, Error> {
        self.is_over = true;
        self.attached.as_mut().map_or(Ok(Vec::new()), EventSource::stop_counting)
    }

    fn status(&mut self) -> SourceStatus {
        let mut status = self.past.clone();
        if let Some(live) = &mut self.attached {
            let now = live.status();
            status.stops = sum(status.stops, now.stops);
            status.engine = engines(status.engine.take(), now.engine.clone());
            status.tracees = now.tracees;
            status.add(now);
        }
        if !self.has_attached.load(Ordering::Relaxed) {
            status.warn(format!("no process listened on port {} so far", self.list));
        }
        status.ended = Some(RecordTime::now());
        self.gaps.record(&mut status);
        status
    }

    fn lateness(&self) -> Duration {
        self.attached.as_ref().map_or(Duration::ZERO, EventSource::lateness)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_without_connections_leave_the_report_complete() {
        let shortfalls = |gaps: Gaps| {
            let mut status = SourceStatus::new("trace");
            gaps.record(&mut status);
            status.shortfalls().iter().map(|s| (s.count, s.text.clone())).collect::<Vec<_>>()
        };
        assert_eq!(shortfalls(Gaps::default()), []);
        let duration = Duration::from_millis(250);
        let some = shortfalls(Gaps { number: 2, duration, most: 17, unknown: 0 });
        assert_eq!(some.len(), 1);
        assert_eq!(some[0].0, 17);
        assert!(some[0].1.starts_with("at most 17 connections are not counted"), "{some:?}");
        assert!(some[0].1.ends_with("(2 times, 0.25 s in all)"), "{some:?}");
        assert_eq!(shortfalls(Gaps { unknown: 1, ..Gaps::default() }).len(), 1);
    }

    #[test]
    fn each_engine_is_named_once() {
        let name = |text: &str| Some(text.to_owned());
        assert_eq!(engines(None, name("sample")), name("sample"));
        assert_eq!(engines(name("sample"), name("sample+perf")), name("sample+perf"));
        assert_eq!(engines(name("perf"), None), name("perf"));
    }
}
