//! Finds the tracepoints at the exit from accept, and verifies them.
//!
//! A tracepoint is opened by its id, which differs between kernel builds. Root reads it from
//! tracefs. Other users find it by trial, and the result is stored in the user's cache directory.
//! In any case the id is used only after the tracepoint has counted test calls of accept by this
//! process.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;

use crate::sys::perf::{
    Accept, Event, Notify, Tracepoint, accept_nothing, accept_nothing_notified,
};
use crate::sys::{capability, realtime};

use super::error::{PerfError, TracepointsError};
use super::search::{OWN_CALL, Search, sees_io_uring_setup};
use super::tracepoint_ids::{Cache, Ids};

/// The tracepoints at the exit from accept: found, verified and switched on.
#[derive(Debug)]
pub struct Tracepoints {
    ids: Ids,
}

/// Events that keep tracepoints switched on until this process ends. While they exist, opening and
/// closing further events of these tracepoints takes microseconds. The kernel takes tens of
/// milliseconds to close the last one, and a server with events waits meanwhile (`search`).
#[derive(Debug)]
struct SwitchedOn {
    ids: Ids,
    _accepts: [Event; 2],
    _io_uring_setup: Option<Event>,
}

static EXITS: OnceLock<SwitchedOn> = OnceLock::new();
/// Those of the calls of accept and accept4, if there are any.
static ENTRIES: OnceLock<Option<([u16; 2], [Event; 2])>> = OnceLock::new();

impl Tracepoints {
    /// Finds and verifies them, and verifies that their signals arrive before the call returns.
    ///
    /// # Errors
    /// [`PerfError`], in which the remedy stands.
    pub fn find() -> Result<Tracepoints, PerfError> {
        Tracepoints::find_counting()?.which_notify()
    }

    /// Finds and verifies them for events that only count or write samples.
    ///
    /// # Errors
    /// [`PerfError`], in which the remedy stands.
    pub fn find_counting() -> Result<Tracepoints, PerfError> {
        if realtime::loses_perf_events() {
            return Err(PerfError::Realtime);
        }
        let exits = match EXITS.get() {
            Some(exits) => exits,
            None => EXITS.get_or_init({
                let found = find_exits()?;
                || found
            }),
        };
        Ok(Tracepoints { ids: exits.ids })
    }

    /// Checks whether a signal arrives before the call returns.
    fn which_notify(self) -> Result<Tracepoints, PerfError> {
        let notify =
            Some(Notify { tid: rustix::thread::gettid().as_raw_pid(), signal: libc::SIGURG });
        let tracepoint = Tracepoint {
            id: self.ids.accept,
            raw: false,
            notify,
            filter: Some(OWN_CALL),
            inherit: None,
        };
        let is_notified = || {
            let _raised = capability::raised();
            let event = Event::open(&tracepoint, 0)?;
            let descriptor = accept_nothing_notified(Accept::Accept, libc::SIGURG)?;
            Ok(descriptor == Some(event.as_raw_fd()))
        };
        match is_notified() {
            Ok(true) => Ok(self),
            Ok(false) => Err(PerfError::NotAtOnce),
            Err(error) => Err(PerfError::own(error)),
        }
    }

    /// The ids of the tracepoints at which accept and accept4 are entered. The kernel gives each
    /// call's two tracepoints successive ids.
    pub(crate) fn entries(&self) -> Option<[u16; 2]> {
        let find = |exit: u16, call, other| {
            [exit.checked_add(1)?, exit.checked_sub(1)?].into_iter().find_map(|id| {
                let event = open_here(id, false).ok()?;
                sees_entry(&event, call, other).then_some((id, event))
            })
        };
        let both = || {
            let accept = find(self.ids.accept, Accept::Accept, Accept::Accept4)?;
            let accept4 = find(self.ids.accept4, Accept::Accept4, Accept::Accept)?;
            Some(([accept.0, accept4.0], [accept.1, accept4.1]))
        };
        ENTRIES.get_or_init(both).as_ref().map(|(ids, _)| *ids)
    }

    /// Their ids.
    pub fn ids(&self) -> Ids {
        self.ids
    }
}

fn find_exits() -> Result<SwitchedOn, PerfError> {
    let mut refused = None;
    let cache = Cache::of_this_user();
    let known = [tracefs(), cache.as_ref().and_then(Cache::read)];
    for ids in known.into_iter().flatten() {
        match prove(ids) {
            Ok(Some(proven)) => return Ok(proven),
            Ok(None) => {}
            Err(error) => refused = Some(PerfError::own(error)),
        }
    }
    may_open()?;
    let (ids, search) = Search::run()?;
    let Some(ids) = ids else {
        return Err(refused.unwrap_or_else(|| PerfError::Tracepoints(TracepointsError::reason())));
    };
    let proven = prove(ids);
    search.wait_for_end();
    match proven {
        Ok(Some(proven)) => {
            if let Some(cache) = cache {
                // Without a cache the next start takes half a second longer.
                let _ = cache.write(ids);
            }
            Ok(proven)
        }
        Ok(None) => Err(PerfError::Tracepoints(TracepointsError::reason())),
        Err(error) => Err(PerfError::own(error)),
    }
}

/// Opens an event of a tracepoint on the calling thread, with all privileges of this process.
fn open_here(id: u16, raw: bool) -> io::Result<Event> {
    let _raised = capability::raised();
    Event::open(&Tracepoint { id, raw, notify: None, filter: None, inherit: None }, 0)
}

/// No tracepoint has id 0. The kernel looks up the id after it has checked permissions.
pub(super) fn may_open() -> Result<(), PerfError> {
    match open_here(0, true) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) => Ok(()),
        Err(e) => Err(PerfError::own(e)),
        Ok(_) => Ok(()),
    }
}

/// Opens both and checks that each counts exactly its own test call of this thread.
fn prove(ids: Ids) -> io::Result<Option<SwitchedOn>> {
    let events = [open_here(ids.accept, false)?, open_here(ids.accept4, false)?];
    for event in &events {
        match event.set_filter(OWN_CALL) {
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => return Ok(None),
            result => result?,
        }
    }
    let counts = || -> io::Result<_> { Ok([events[0].count()?, events[1].count()?]) };
    accept_nothing(Accept::Accept);
    let after_accept = counts()?;
    accept_nothing(Accept::Accept4);
    let after_both = counts()?;
    if after_accept != [1, 0] || after_both != [1, 1] {
        return Ok(None);
    }
    let io_uring = ids.io_uring_setup.and_then(seen_io_uring_setup);
    let ids = Ids { io_uring_setup: ids.io_uring_setup.filter(|_| io_uring.is_some()), ..ids };
    Ok(Some(SwitchedOn { ids, _accepts: events, _io_uring_setup: io_uring }))
}

/// Whether an event on the calling thread sees where this call is entered, and not the other one.
fn sees_entry(event: &Event, call: Accept, other: Accept) -> bool {
    // Only the tracepoints of these entries have this field; the calls made here pass NULL.
    let count = || event.count().ok();
    event.set_filter(c"upeer_addrlen == 0").is_ok() && {
        let before = count();
        accept_nothing(call);
        let after = count();
        accept_nothing(other);
        before.map(|n| n + 1) == after && after == count()
    }
}

/// Returns an event on the calling thread if this tracepoint sees the exit from io_uring_setup.
fn seen_io_uring_setup(id: u16) -> Option<Event> {
    let event = open_here(id, false).ok()?;
    sees_io_uring_setup(&event).then_some(event)
}

/// Reads the ids from tracefs; only root may.
fn tracefs() -> Option<Ids> {
    ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"].iter().find_map(|root| {
        let id = |name: &str| {
            let text = fs::read_to_string(format!("{root}/events/syscalls/{name}/id")).ok()?;
            text.trim().parse().ok()
        };
        Some(Ids {
            accept: id("sys_exit_accept")?,
            accept4: id("sys_exit_accept4")?,
            io_uring_setup: id("sys_exit_io_uring_setup"),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the user who runs the tests: by trial, and from tracefs if it is readable.
    #[test]
    fn trial_finds_what_is_proven() {
        if let Err(refused) = may_open() {
            eprintln!("skipped: {refused}");
            return;
        }
        let (ids, search) = Search::run().unwrap();
        let ids = ids.expect("the kernel has the tracepoints");
        assert!(prove(ids).unwrap().is_some());
        search.wait_for_end();
        let swapped = Ids { accept: ids.accept4, accept4: ids.accept, ..ids };
        assert!(prove(swapped).unwrap().is_none());
        if let Some(from_tracefs) = tracefs() {
            assert_eq!(ids, from_tracefs);
        }
    }
}
