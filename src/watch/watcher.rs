//! [`Watcher`]: chooses the engine, and replaces it if it can no longer be used.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::model::connection::Connection;
use crate::model::event_source::{Event, EventSource};
use crate::{RecordTime, ShortfallKind, SourceStatus};

use super::error::Error;
use super::options::{Options, WatchEngine};
use super::sockdiag::source::SockDiagWatcher;
use super::tracepoint::source::{Step, StopReason, TracepointWatcher};

#[derive(Debug)]
enum Source {
    SockDiag(Box<SockDiagWatcher>),
    Tracepoint(Box<TracepointWatcher>),
}

/// Watches ports and reports new connections.
#[derive(Debug)]
pub struct Watcher {
    options: Options,
    source: Source,
    reason: String,
    /// Events that are returned before those of the source.
    queue: VecDeque<Event>,
    /// The last status of the engine that was replaced.
    former: Option<SourceStatus>,
    /// The last status of the tracepoint that could be read.
    last: SourceStatus,
}

impl Watcher {
    /// Starts to watch, in the network namespace of the calling thread. Connections that are open
    /// when this returns do not count; later ones do.
    pub fn start(options: Options) -> Result<Watcher, Error> {
        if options.ports.iter().all(std::ops::RangeInclusive::is_empty) {
            return Err(Error::NoPort);
        }
        let (source, reason) = choose(&options)?;
        Ok(Watcher {
            options,
            source,
            reason,
            queue: VecDeque::new(),
            former: None,
            last: SourceStatus::new("watch"),
        })
    }

    /// The engine, and why it was chosen.
    pub fn engine(&self) -> (WatchEngine, &str) {
        let engine = match &self.source {
            Source::SockDiag(_) => WatchEngine::SockDiag,
            Source::Tracepoint(_) => WatchEngine::Tracepoint,
        };
        (engine, &self.reason)
    }

    /// The number of connections that were open at the start. They do not count.
    pub fn opened_before(&self) -> u64 {
        match &self.source {
            Source::SockDiag(watcher) => watcher.opened_before(),
            Source::Tracepoint(watcher) => watcher.opened_before(),
        }
    }

    /// The watched ports without a listener, as ranges.
    pub fn unused(&self) -> Vec<(u16, u16)> {
        match &self.source {
            Source::SockDiag(watcher) => watcher.unused(),
            Source::Tracepoint(watcher) => watcher.unused(),
        }
    }

    /// The total size in bytes of the buffers between the kernel and this process.
    pub fn buffers(&self) -> usize {
        match &self.source {
            Source::SockDiag(watcher) => watcher.buffers(),
            Source::Tracepoint(watcher) => watcher.buffers(),
        }
    }

    /// Continues with sock_diag when the tracepoint can no longer be used.
    fn replace(&mut self, reason: &StopReason) -> Result<(), Error> {
        let Source::Tracepoint(former) = &mut self.source else { return Ok(()) };
        let next = SockDiagWatcher::start(self.options.clone())?;
        let ready = former.give_up(reason, next.handover())?;
        self.former = Some(former.status()?);
        self.queue.extend(ready.into_iter().map(Event::Connection));
        self.queue.push_back(Event::Notice(format!("{reason}: continuing with engine sockdiag")));
        self.source = Source::SockDiag(Box::new(next));
        Ok(())
    }
}

/// Starts the better engine. Returns the reason, too.
fn choose(options: &Options) -> Result<(Source, String), Error> {
    let sockdiag = || {
        SockDiagWatcher::start(options.clone()).map(|watcher| Source::SockDiag(Box::new(watcher)))
    };
    let tracepoint =
        || TracepointWatcher::start(options).map(|watcher| Source::Tracepoint(Box::new(watcher)));
    match options.engine {
        WatchEngine::SockDiag => Ok((sockdiag()?, "as requested".into())),
        WatchEngine::Tracepoint => Ok((tracepoint()?, "as requested".into())),
        WatchEngine::Auto if options.transport => {
            Ok((sockdiag()?, "only sock_diag has bytes, duration and round-trip time".into()))
        }
        WatchEngine::Auto => match tracepoint() {
            Ok(source) => Ok((source, "exact times, least overhead".into())),
            Err(Error::Tracepoint(why)) => Ok((sockdiag()?, why.to_string())),
            Err(error) => Err(error),
        },
    }
}

/// Returns the status, which becomes the last one. If it could not be read, returns the last one with a
/// shortfall.
fn or_last(read: Result<SourceStatus, Error>, last: &mut SourceStatus) -> SourceStatus {
    match read {
        Ok(status) => {
            *last = status.clone();
            status
        }
        Err(error) => {
            let mut status = last.clone();
            let text = format!("{error} failed, so lost connections may not be counted");
            status.record_shortfall(ShortfallKind::Unobservable, 1, text);
            status
        }
    }
}

impl EventSource for Watcher {
    type Error = Error;

    fn next(&mut self, deadline: Option<Instant>) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Ok(event);
            }
            let step = match &mut self.source {
                Source::SockDiag(watcher) => return watcher.next(deadline),
                Source::Tracepoint(watcher) => watcher.next(deadline)?,
            };
            match step {
                Step::Event(event) => return Ok(event),
                Step::Stopped(reason) => self.replace(&reason)?,
            }
        }
    }

    fn next_known(&mut self) -> Option<Connection> {
        match &mut self.source {
            Source::Tracepoint(watcher) if self.queue.is_empty() => watcher.next_ready(),
            _ => None,
        }
    }

    fn stop_counting(&mut self) -> Result<Vec<Connection>, Error> {
        let mut connections: Vec<Connection> = Vec::new();
        self.queue.retain(|event| match event {
            Event::Connection(connection) => {
                connections.push(connection.clone());
                false
            }
            _ => true,
        });
        connections.extend(match &mut self.source {
            Source::SockDiag(watcher) => watcher.stop_counting()?,
            Source::Tracepoint(watcher) => {
                watcher.stop()?;
                watcher.take_ready()
            }
        });
        Ok(connections)
    }

    fn can_wait(&self) -> bool {
        true
    }

    fn lateness(&self) -> Duration {
        match &self.source {
            Source::SockDiag(watcher) => watcher.lateness(),
            Source::Tracepoint(watcher) => watcher.lateness(),
        }
    }

    fn status(&mut self) -> SourceStatus {
        let mut status = match &mut self.source {
            Source::SockDiag(watcher) => watcher.status(),
            Source::Tracepoint(watcher) => {
                let mut status = or_last(watcher.status(), &mut self.last);
                status.engine = Some("tracepoint".into());
                status
            }
        };
        if let Some(former) = &self.former {
            status.engine = Some("tracepoint, sock_diag".into());
            status.started = former.started;
            status.lost += former.lost;
            former.warnings.iter().for_each(|warning| status.warn(warning));
            for s in former.shortfalls() {
                status.record_shortfall(s.kind, s.count, &s.text);
            }
        }
        status.ended.get_or_insert_with(RecordTime::now);
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_cannot_be_read_is_not_complete() {
        let mut last = SourceStatus::new("watch");
        let mut read = SourceStatus::new("watch");
        read.started = Some(RecordTime::Clock(1));
        assert_eq!(or_last(Ok(read.clone()), &mut last), read);
        let failure = || {
            let source = std::io::ErrorKind::Other.into();
            Err(Error::System { doing: "reading the tracepoint's counts", source })
        };
        let status = or_last(failure(), &mut last);
        assert_eq!(status.started, read.started);
        assert!(!status.is_complete());
        assert_eq!(status, or_last(failure(), &mut last), "the shortfall is not added again");
        assert!(or_last(Ok(read), &mut last).is_complete());
    }
}
