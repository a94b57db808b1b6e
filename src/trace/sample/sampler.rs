//! [`Sampler`]: the source of connections.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::SourceStatus;
use crate::model::connection::Connection;
use crate::model::live::{Ending, Event, Live};
use crate::model::record_time::RecordTime;
use crate::model::status::ShortfallKind;
use crate::sys::perf_ring::monotonic_now;
use crate::sys::ptrace::Tid;
use crate::sys::wake;
use crate::trace::Options;
use crate::trace::attach::Targets;
use crate::trace::error::{Doing, Error};
use crate::trace::procfs;
use crate::trace::signals::{self, ENDS, STOPS};
use crate::trace::socket::Sockets;
use crate::trace::tracer::Remark;

use super::answers::Answers;
use super::events::{Experience, Families, FamilyId};
use super::evidence::Evidence;
use super::listeners::Listeners;
use super::record::Thread;
use super::rings::Rings;
use super::threads::Threads;

/// How often the rings are read at least.
const LOOK_MS: u16 = 50;
/// The same while answers of sockets wait for what else happened at their time.
const LOOK_SOON_MS: u16 = 2;
/// How often what was seen is compared with what the kernel counted.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// To compare may cost this part of the time at most.
const CHECK_SHARE: u32 = 50;
/// How long to look for a sample that the kernel has counted already.
const PATIENCE: Duration = Duration::from_millis(20);
const PAUSE: Duration = Duration::from_millis(1);
/// A connection is given this long after its time, at the latest, as a rule.
const LATENESS: Duration = Duration::from_millis(250);

const LOST: &str = "connections were accepted while the kernel's ring buffer was full: tcptally was \
                    stopped, or got no CPU time; 'nice -n -5 tcptally' gets more of it";

/// Watches running processes without stopping them.
#[derive(Debug)]
pub struct Sampler {
    pub(super) options: Options,
    pub(super) targets: Targets,
    pub(super) families: Families,
    pub(super) rings: Rings,
    pub(super) threads: Threads,
    pub(super) listeners: Listeners,
    pub(super) sockets: Sockets,
    pub(super) answers: Answers,
    /// What is known of the buffers of each process.
    pub(super) evidence: HashMap<Tid, Evidence>,
    /// Addresses that were believed without proof in processes that have ended.
    pub(super) unproven: u64,
    pub(super) experience: HashMap<FamilyId, Experience>,
    /// Processes whose samples do not tell all, and why.
    pub(super) unfit: HashMap<Tid, &'static str>,
    /// From when on accepts count: CLOCK_MONOTONIC.
    pub(super) started: Option<u64>,
    /// Until when.
    pub(super) ended: Option<u64>,
    /// What to add to CLOCK_MONOTONIC to get CLOCK_REALTIME.
    pub(super) clock_offset: i64,
    /// Records of any kind that found no room in a ring.
    pub(super) records_lost: u64,
    /// Accepts that brought no sample.
    pub(super) lost: u64,
    pub(super) next_check: Instant,
    pub(super) phase: Phase,
    pub(super) asked: bool,
    /// Signals that were ignored, and whether that is still to be said.
    pub(super) notices: BTreeMap<i32, bool>,
    pub(super) ready: VecDeque<Connection>,
    pub(super) status: SourceStatus,
    pub(super) remarks: Vec<Remark>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Counting,
    Ended,
}

impl Sampler {
    /// What was chosen and why, and what was attached to.
    pub fn remarks(&self) -> &[Remark] {
        &self.remarks
    }

    /// Processes whose samples do not tell all, and why.
    pub(crate) fn unfit(&self) -> &HashMap<Tid, &'static str> {
        &self.unfit
    }

    pub(super) fn remark(&mut self, text: impl Into<String>) {
        self.remarks.push(Remark { is_detail: false, text: text.into() });
    }

    pub(super) fn detail(&mut self, text: impl Into<String>) {
        self.remarks.push(Remark { is_detail: true, text: text.into() });
    }

    pub(super) fn incomplete(&mut self, why: impl ToString) {
        self.status.record_shortfall(ShortfallKind::Unobservable, 1, why.to_string());
    }

    pub(super) fn warn_of_io_uring(&mut self) {
        self.incomplete(crate::trace::IO_URING_SEEN);
    }

    /// Deals with the signals that have come.
    fn on_signals(&mut self) -> Result<(), Error> {
        let signals = wake::take();
        wake::at(None);
        self.asked |= signals.has(libc::SIGUSR1);
        // At the hard limit of CPU time the kernel kills: what is known by then is told.
        if ENDS.into_iter().chain([libc::SIGXCPU]).any(|s| signals.has(s)) {
            self.finish()?;
        }
        let means = [&ENDS[..], &STOPS, &[libc::SIGUSR1, libc::SIGXCPU]].concat();
        for signal in signals.numbers().filter(|s| !means.contains(s)) {
            self.notices.entry(signal).or_insert(true);
        }
        Ok(())
    }

    /// What is done once a second: compares, closes events that nobody has any more, looks whether
    /// the processes have ended.
    fn check(&mut self) -> Result<(), Error> {
        let begin = Instant::now();
        self.families.close_unused();
        self.compare()?;
        if self.rings.have_cpus_changed() {
            self.incomplete(
                "CPUs were switched on or off, and connections accepted on new ones are not seen; \
                 start again",
            );
        }
        if self.records_lost > 0 {
            self.forget_ended();
        }
        self.next_check = Instant::now() + CHECK_EVERY.max(begin.elapsed() * CHECK_SHARE);
        Ok(())
    }

    /// Compares what was seen with what the kernel counted.
    fn compare(&mut self) -> Result<(), Error> {
        let begin = Instant::now();
        let counts = self.families.counts().doing("reading the kernel's count of accepts")?;
        loop {
            self.round(false);
            self.lost = self.families.missing(&counts);
            if self.lost == 0 || begin.elapsed() >= PATIENCE {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Forgets threads whose end was not told, since the record was lost.
    fn forget_ended(&mut self) {
        let processes: Vec<Tid> = self.threads.processes().collect();
        for pid in processes {
            let ended: Vec<Tid> =
                self.threads.of_process(pid).filter(|tid| procfs::has_ended(*tid)).collect();
            for tid in ended {
                self.threads.ended(Thread { pid, tid }, &mut self.families);
            }
        }
    }

    /// Counts no more.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        if self.phase == Phase::Ended {
            return Ok(());
        }
        self.ended = Some(monotonic_now());
        self.compare()?;
        // The answers of sockets wait for what else happened at their time.
        let end = Instant::now() + PATIENCE;
        while !self.answers.is_empty() && Instant::now() < end {
            std::thread::sleep(PAUSE);
            self.round(false);
        }
        self.round(true);
        let processes: Vec<Tid> = self.threads.processes().collect();
        if processes.into_iter().any(procfs::has_io_uring) {
            self.warn_of_io_uring();
        }
        self.phase = Phase::Ended;
        Ok(())
    }

    /// Gives an event, or waits a little for one.
    pub(in crate::trace) fn step(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Option<Event>, Error> {
        if wake::is_due() {
            self.on_signals()?;
        }
        if std::mem::take(&mut self.asked) {
            return Ok(Some(Event::Asked));
        }
        if let Some((signal, is_new)) = self.notices.iter_mut().find(|(_, is_new)| **is_new) {
            *is_new = false;
            return Ok(Some(Event::Notice(signals::describe_ignored(*signal, None))));
        }
        if let Some(connection) = self.ready.pop_front() {
            return Ok(Some(Event::Connection(connection)));
        }
        if self.phase == Phase::Ended {
            return Ok(Some(Event::Ended(Ending::Detached)));
        }
        if deadline.is_some_and(|d| d <= Instant::now()) {
            return Ok(Some(Event::Deadline));
        }
        self.wait(deadline);
        self.look()?;
        Ok(None)
    }

    /// Reads the rings, and does what is due.
    pub(in crate::trace) fn look(&mut self) -> Result<(), Error> {
        self.round(false);
        if self.next_check <= Instant::now() {
            self.check()?;
        }
        if self.threads.count() == 0 {
            self.finish()?;
        }
        Ok(())
    }

    /// The processes that are watched.
    pub(in crate::trace) fn processes(&self) -> impl Iterator<Item = Tid> {
        self.threads.processes()
    }

    /// The connections that are complete.
    pub(in crate::trace) fn take_ready(&mut self) -> Vec<Connection> {
        self.ready.drain(..).collect()
    }

    /// Waits for records for two milliseconds at most.
    pub(in crate::trace) fn wait_shortly(&self) {
        self.rings.wait(LOOK_SOON_MS);
    }

    /// Whether some connections have addresses that the samples do not tell.
    pub(in crate::trace) fn asks_for_wildcard(&self) -> bool {
        self.options.requested.local_ip && self.listeners.has_wildcard()
    }

    /// Whether a part of what was to be watched cannot be.
    pub(in crate::trace) fn has_refused(&self) -> bool {
        self.status.shortfalls().iter().any(|s| s.text != crate::trace::IO_URING_SEEN)
    }

    fn wait(&self, deadline: Option<Instant>) {
        let most = if self.answers.is_empty() { LOOK_MS } else { LOOK_SOON_MS };
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        let left = left.map_or(most, |left| left.as_millis().min(most.into()) as u16);
        self.rings.wait(left);
    }
}

impl Live for Sampler {
    type Error = Error;

    fn next(&mut self, deadline: Option<Instant>) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.step(deadline)? {
                return Ok(event);
            }
        }
    }

    fn stop_counting(&mut self) -> Result<Vec<Connection>, Error> {
        self.finish()?;
        Ok(self.ready.drain(..).collect())
    }

    fn status(&mut self) -> SourceStatus {
        if self.phase == Phase::Counting && self.compare().is_err() {
            self.incomplete("the kernel's count of accepts could not be read");
        }
        let mut status = self.status.clone();
        status.engine = Some("sample".into());
        status.ended = Some(RecordTime::now());
        let unproven: u64 = self.evidence.values().map(Evidence::unproven).sum();
        if unproven + self.unproven > 0 {
            status.warn(format!(
                "the addresses of {} connections are as the server's memory shows them; its \
                 sockets were closed too soon to compare any with what the kernel says",
                unproven + self.unproven
            ));
        }
        status.tracees = Some(self.threads.count() as u64);
        status.record_shortfall(ShortfallKind::LostConnections, self.lost, LOST);
        status
    }

    fn lateness(&self) -> Duration {
        LATENESS
    }
}
