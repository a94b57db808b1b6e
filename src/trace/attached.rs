//! [`Attached`]: watches running processes with the engine `sample` as long as that tells all, and
//! with `perf` or `syscall` from then on.
//!
//! # No gap, no double count
//!
//! Both engines watch for a while, and the samples are what counts. The tracer reads a connection
//! while its thread stands where accept has returned, so that until then the thread has not
//! accepted again: the last sample of that thread is of the same accept, and gets the peer that
//! the tracer has read. Sampling ends some time later, and by then only the last sample of a
//! thread may lack its stop: the next stop of the thread belongs to it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::SignedDuration;

use crate::SourceStatus;
use crate::model::connection::Connection;
use crate::model::live::{Ending, Event, Live};
use crate::model::record_time::RecordTime;

use super::attach::Targets;
use super::error::Error;
use super::procfs;
use super::sample::{self, Sampler};
use super::tracer::{Options, Remark, Tracer};

/// How long a thread may take to stop after its accept has returned.
const IN_FLIGHT: Duration = Duration::from_millis(300);
/// How long stopped threads wait at most while both engines watch.
const PAUSE: Duration = Duration::from_micros(100);

/// Watches running processes with the engine that does the least to them and tells all.
#[derive(Debug)]
pub struct Attached {
    targets: Targets,
    options: Options,
    state: State,
    remarks: Vec<Remark>,
    /// Connections and notices to be given next.
    ready: VecDeque<Event>,
}

#[derive(Debug)]
enum State {
    /// `is_final`: there is no other engine.
    Sampling {
        sampler: Box<Sampler>,
        is_final: bool,
    },
    Tracing(Box<Traced>),
}

/// What is traced, after it was sampled perhaps.
#[derive(Debug)]
struct Traced {
    tracer: Tracer,
    /// What the samples told of themselves.
    sampled: Option<SourceStatus>,
    /// Sampled connections whose threads the tracer has not seen stop yet: at most one each.
    open: HashMap<u32, Connection>,
}

impl Attached {
    /// Attaches to processes. When this returns, what they accept counts.
    ///
    /// # Errors
    /// Those of [`Tracer::attach`].
    pub fn attach(targets: Targets, options: Options) -> Result<Attached, Error> {
        let sampler = Sampler::attach(targets.clone(), options);
        let unfit = sampler.as_ref().ok().and_then(known_unfit);
        let why = match sampler {
            Ok(_) if unfit.is_some() => unfit.unwrap_or_default(),
            Ok(sampler) if sampler.has_refused() => "it cannot watch all of them".to_string(),
            Ok(sampler) if sampler.asks_for_wildcard() => {
                "the local address is wanted, and the server listens on all".into()
            }
            Ok(sampler) => {
                let remarks = sampler.remarks().to_vec();
                let state = State::Sampling { sampler: Box::new(sampler), is_final: false };
                return Ok(Attached { targets, options, state, remarks, ready: VecDeque::new() });
            }
            Err(error) => error.to_string(),
        };
        let tracer = Tracer::attach(targets.clone(), options)?;
        let mut remarks =
            vec![Remark { is_detail: true, text: format!("not the engine sample: {why}") }];
        remarks.extend_from_slice(tracer.remarks());
        let traced = Traced { tracer, sampled: None, open: HashMap::new() };
        let state = State::Tracing(Box::new(traced));
        Ok(Attached { targets, options, state, remarks, ready: VecDeque::new() })
    }

    /// What was chosen and why, and what was attached to.
    pub fn remarks(&self) -> &[Remark] {
        &self.remarks
    }

    /// Goes over to another engine, where the samples do not tell all.
    fn hand_over(&mut self) -> Result<(), Error> {
        let State::Sampling { sampler, is_final: false } = &mut self.state else { return Ok(()) };
        let Some((pid, why)) = sampler.unfit().iter().next() else { return Ok(()) };
        let (pid, why) = (*pid, *why);
        // Accepted before anybody is traced.
        let before = sampler.take_ready();
        self.ready.extend(before.into_iter().map(Event::Connection));
        let (targets, options) = (self.targets.clone(), self.options);
        let tracer = while_sampling(sampler, move || Tracer::attach(targets, options))?;
        let mut tracer = match tracer {
            Ok(tracer) => tracer,
            Err(error) => {
                let State::Sampling { is_final, .. } = &mut self.state else { return Ok(()) };
                *is_final = true;
                self.ready.push_back(Event::Notice(format!(
                    "process {pid}: {why}, so that some clients' addresses may be unknown; no \
                     other engine is possible: {error}"
                )));
                return Ok(());
            }
        };
        let mut stops = Vec::new();
        let end = Instant::now() + IN_FLIGHT;
        while Instant::now() < end {
            stops.extend(tracer.take_stopped()?);
            sampler.look()?;
            std::thread::sleep(PAUSE);
        }
        let in_flight = SignedDuration::try_from(IN_FLIGHT).unwrap_or_default();
        let settled = RecordTime::now().shifted(-in_flight);
        stops.extend(tracer.take_stopped()?);
        let mut sampled = sampler.stop_counting()?;
        let open = merge(&mut sampled, stops, settled);
        let status = sampler.status();
        self.ready.extend(sampled.into_iter().map(Event::Connection));
        self.ready.push_back(Event::Notice(format!(
            "process {pid}: {why}; from now on it is stopped at its accepts"
        )));
        let traced = Traced { tracer, sampled: Some(status), open };
        self.state = State::Tracing(Box::new(traced));
        Ok(())
    }
}

/// Programs whose buffer for addresses is known to be elsewhere than on the stack.
const OFF_STACK: [&str; 2] = ["haproxy", "node"];
/// So many threads are looked at, at most.
const LOOKED_AT: usize = 64;

/// Why the samples will not tell all, as far as that shows before the first accept.
fn known_unfit(sampler: &Sampler) -> Option<String> {
    let mut left = LOOKED_AT;
    for pid in sampler.processes() {
        let program = procfs::program(pid).unwrap_or_default();
        if OFF_STACK.contains(&program.as_str()) {
            return Some(format!("{program} has its buffers for addresses elsewhere"));
        }
        for tid in procfs::threads(pid) {
            if left == 0 {
                return None;
            }
            left -= 1;
            if let Some((address, sp)) = procfs::accept_under_way(tid)
                && !sample::reaches(address, sp)
            {
                return Some(format!("process {pid} has its buffer for addresses elsewhere"));
            }
        }
    }
    None
}

/// Runs `f`, and reads the rings meanwhile, so that sockets are asked before they are closed.
fn while_sampling<T>(sampler: &mut Sampler, f: impl FnOnce() -> T) -> Result<T, Error> {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sampling = scope.spawn(|| -> Result<(), Error> {
            while !is_done.load(Ordering::Acquire) {
                sampler.wait_shortly();
                sampler.look()?;
            }
            Ok(())
        });
        let result = f();
        is_done.store(true, Ordering::Release);
        match sampling.join() {
            Ok(outcome) => outcome.map(|()| result),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Puts what the tracer has read into the sampled connections, and takes out those that it may
/// still tell of: the last one of each thread, if it came after `settled` and has no stop yet.
fn merge(
    sampled: &mut Vec<Connection>,
    stops: Vec<Connection>,
    settled: RecordTime,
) -> HashMap<u32, Connection> {
    let mut has_stop = vec![false; sampled.len()];
    for stop in stops {
        let last = sampled.iter().rposition(|s| s.tid == stop.tid && s.time <= stop.time);
        // Without a sample it was lost, which the kernel's count tells.
        if let Some(at) = last.filter(|at| !has_stop[*at] && sampled[*at].fd == stop.fd) {
            has_stop[at] = true;
            complete(&mut sampled[at], &stop);
        }
    }
    let mut open = HashMap::new();
    let mut at = sampled.len();
    let mut seen = HashSet::new();
    while at > 0 {
        at -= 1;
        let Some(tid) = sampled[at].tid else { continue };
        let is_last = seen.insert(tid);
        if is_last && !has_stop[at] && sampled[at].time > Some(settled) {
            open.insert(tid, sampled.remove(at));
            has_stop.remove(at);
        }
    }
    open
}

/// What the tracer knows is better: it asked while the thread stood still.
fn complete(sampled: &mut Connection, stop: &Connection) {
    if stop.ip.is_some() {
        (sampled.ip, sampled.port) = (stop.ip, stop.port);
    }
    if stop.local_port.is_some() {
        (sampled.local_ip, sampled.local_port) = (stop.local_ip, stop.local_port);
    }
}

impl Traced {
    /// What a connection that the tracer has read is: another one, or one that was sampled.
    fn take(&mut self, stop: Connection) -> Connection {
        let open = stop.tid.and_then(|tid| self.open.remove(&tid));
        match open {
            Some(mut sampled) if sampled.fd == stop.fd => {
                complete(&mut sampled, &stop);
                sampled
            }
            // Its stop was missed, which the tracer's own count tells.
            _ => stop,
        }
    }

    /// Connections whose threads have not stopped: their end came first.
    fn rest(&mut self) -> Vec<Connection> {
        self.open.drain().map(|(_, connection)| connection).collect()
    }

    fn status(&mut self) -> SourceStatus {
        let mut status = self.tracer.status();
        if let Some(sampled) = &self.sampled {
            status.started = sampled.started;
            let engine = status.engine.take().unwrap_or_default();
            status.engine = Some(format!("sample+{engine}"));
            for shortfall in sampled.shortfalls() {
                let (kind, count) = (shortfall.kind, shortfall.count);
                status.record_shortfall(kind, count, shortfall.text.clone());
            }
            sampled.warnings.iter().for_each(|warning| status.warn(warning.clone()));
        }
        status
    }
}

impl Live for Attached {
    type Error = Error;

    fn next(&mut self, deadline: Option<Instant>) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            match &mut self.state {
                State::Sampling { sampler, .. } => {
                    if let Some(event) = sampler.step(deadline)? {
                        return Ok(event);
                    }
                }
                State::Tracing(traced) => match traced.tracer.next(deadline)? {
                    Event::Connection(stop) => return Ok(Event::Connection(traced.take(stop))),
                    Event::Ended(ending) => {
                        let rest = traced.rest();
                        if rest.is_empty() {
                            return Ok(Event::Ended(ending));
                        }
                        self.ready.extend(rest.into_iter().map(Event::Connection));
                        self.ready.push_back(Event::Ended(Ending::Detached));
                    }
                    event => return Ok(event),
                },
            }
            self.hand_over()?;
        }
    }

    fn stop_counting(&mut self) -> Result<Vec<Connection>, Error> {
        let mut connections = Vec::new();
        // Notices of a hand-over that has just been made stay for later.
        self.ready.retain(|event| match event {
            Event::Connection(connection) => {
                connections.push(connection.clone());
                false
            }
            _ => true,
        });
        match &mut self.state {
            State::Sampling { sampler, .. } => connections.extend(sampler.stop_counting()?),
            State::Tracing(traced) => {
                for stop in traced.tracer.stop_counting()? {
                    connections.push(traced.take(stop));
                }
                connections.extend(traced.rest());
            }
        }
        Ok(connections)
    }

    fn status(&mut self) -> SourceStatus {
        match &mut self.state {
            State::Sampling { sampler, .. } => sampler.status(),
            State::Tracing(traced) => traced.status(),
        }
    }

    fn can_wait(&self) -> bool {
        match &self.state {
            State::Sampling { sampler, .. } => sampler.can_wait(),
            State::Tracing(traced) => traced.tracer.can_wait(),
        }
    }

    fn lateness(&self) -> Duration {
        match &self.state {
            State::Sampling { sampler, .. } => sampler.lateness(),
            State::Tracing(traced) => traced.tracer.lateness(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(tid: u32, fd: i32, time: i64, known: bool) -> Connection {
        let ip = known.then(|| [127, 0, 0, fd as u8].into());
        let time = Some(RecordTime::Clock(time));
        Connection { tid: Some(tid), fd: Some(fd), time, ip, ..Connection::default() }
    }

    #[test]
    fn a_stop_completes_the_last_sample_of_its_thread_and_counts_once() {
        let mut sampled = vec![
            connection(1, 5, 10, false),
            connection(1, 6, 20, false),
            connection(2, 5, 25, false),
        ];
        let stops = vec![connection(1, 6, 22, true)];
        let open = merge(&mut sampled, stops, RecordTime::Clock(0));
        assert_eq!(open.keys().collect::<Vec<_>>(), [&2], "its stop is still to come");
        assert_eq!(sampled.len(), 2);
        assert_eq!(sampled[0].ip, None, "nobody traced the thread then");
        assert!(sampled[1].ip.is_some());
    }

    #[test]
    fn samples_of_long_ago_have_no_stop_to_come() {
        let mut sampled = vec![connection(1, 5, 10, false)];
        let open = merge(&mut sampled, Vec::new(), RecordTime::Clock(15));
        assert!(open.is_empty());
        assert_eq!(sampled.len(), 1);
    }

    #[test]
    fn the_same_descriptor_again_is_another_accept() {
        let mut sampled = vec![connection(1, 5, 10, false), connection(1, 5, 20, false)];
        let stops = vec![connection(1, 5, 12, true), connection(1, 5, 21, true)];
        let open = merge(&mut sampled, stops, RecordTime::Clock(0));
        assert!(open.is_empty());
        assert!(sampled.iter().all(|s| s.ip.is_some()));
    }
}
