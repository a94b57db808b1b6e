//! Finds the tracepoints at the exit from accept, and verifies them.
//!
//! A tracepoint is opened by its id, which differs between kernel builds. Root reads it from
//! tracefs. Other users find it by trial, and the result is stored in the user's cache directory.
//! In any case the id is used only after the tracepoint has counted test calls of accept by this
//! process.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsRawFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::sys::perf::{
    Accept, Event, Notify, Tracepoint, accept_nothing, accept_nothing_notified,
    call_all_of_sockets, set_up_no_io_uring,
};
use crate::sys::{capability, detached_process, files};

use super::realtime;
use super::refused::{NoTracepoints, Refused};
use super::tracepoint_ids::{Cache, Ids};

/// The enabled tracepoints. While this exists, opening and closing further events of them takes
/// microseconds. Closing the last one takes tens of milliseconds.
#[derive(Debug)]
pub struct Tracepoints {
    ids: Ids,
    _switched_on: [Event; 2],
    _io_uring_setup: Option<Event>,
}

impl Tracepoints {
    /// Finds and verifies them, and verifies that their signals arrive before the call returns.
    ///
    /// # Errors
    /// [`Refused`], in which the remedy stands.
    pub fn find() -> Result<Tracepoints, Refused> {
        if realtime::is_harmed_by_signals() {
            return Err(Refused::Realtime);
        }
        Tracepoints::find_counting()?.which_notify()
    }

    /// Finds and verifies them for events that only count or write samples.
    ///
    /// # Errors
    /// [`Refused`], in which the remedy stands.
    pub fn find_counting() -> Result<Tracepoints, Refused> {
        let mut refused = None;
        let cache = Cache::of_this_user();
        let known = [tracefs(), cache.as_ref().and_then(Cache::read)];
        for ids in known.into_iter().flatten() {
            match prove(ids) {
                Ok(Some(proven)) => return Ok(proven),
                Ok(None) => {}
                Err(error) => refused = Some(Refused::own(error)),
            }
        }
        may_open()?;
        let Some(ids) = trial()? else {
            return Err(refused.unwrap_or_else(|| Refused::Tracepoints(NoTracepoints::reason())));
        };
        match prove(ids) {
            Ok(Some(proven)) => {
                if let Some(cache) = cache {
                    // Without a cache the next start takes a tenth of a second longer.
                    let _ = cache.write(ids);
                }
                Ok(proven)
            }
            Ok(None) => Err(Refused::Tracepoints(NoTracepoints::reason())),
            Err(error) => Err(Refused::own(error)),
        }
    }

    /// Checks whether a signal arrives before the call returns.
    fn which_notify(self) -> Result<Tracepoints, Refused> {
        let notify =
            Some(Notify { tid: rustix::thread::gettid().as_raw_pid(), signal: libc::SIGURG });
        let tracepoint = Tracepoint {
            id: self.ids.accept,
            raw: false,
            notify,
            filter: Some(OWN_CALL),
            inherit: None,
        };
        let told = || {
            let _raised = capability::raised();
            let event = Event::open(&tracepoint, 0)?;
            let told = accept_nothing_notified(Accept::Accept, libc::SIGURG)?;
            Ok(told == Some(event.as_raw_fd()))
        };
        match told() {
            Ok(true) => Ok(self),
            Ok(false) => Err(Refused::NotAtOnce),
            Err(error) => Err(Refused::own(error)),
        }
    }

    /// Finds the tracepoints at which accept and accept4 are entered: their ids, and events that keep
    /// them switched on. The kernel gives each call's two tracepoints successive ids.
    pub(crate) fn find_entries(&self) -> Option<([u16; 2], [Event; 2])> {
        let find = |exit: u16, call, other| {
            [exit.checked_sub(1)?, exit.checked_add(1)?].into_iter().find_map(|id| {
                let event = open_here(id, false).ok()?;
                sees_entry(&event, call, other).then_some((id, event))
            })
        };
        let accept = find(self.ids.accept, Accept::Accept, Accept::Accept4)?;
        let accept4 = find(self.ids.accept4, Accept::Accept4, Accept::Accept)?;
        Some(([accept.0, accept4.0], [accept.1, accept4.1]))
    }

    /// Their ids.
    pub fn ids(&self) -> Ids {
        self.ids
    }
}

/// Opens an event of a tracepoint on the calling thread, with all privileges of this process.
fn open_here(id: u16, raw: bool) -> io::Result<Event> {
    let _raised = capability::raised();
    Event::open(&Tracepoint { id, raw, notify: None, filter: None, inherit: None }, 0)
}

/// No tracepoint has id 0. The kernel looks up the id after it has checked permissions.
fn may_open() -> Result<(), Refused> {
    match open_here(0, true) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) => Ok(()),
        Err(e) => Err(Refused::own(e)),
        Ok(_) => Ok(()),
    }
}

/// Only tracepoints of exits have a field `ret`, and only calls with an invalid descriptor pass.
const OWN_CALL: &CStr = c"ret == -9";

/// Opens both and checks that each counts exactly its own test call of this thread.
fn prove(ids: Ids) -> io::Result<Option<Tracepoints>> {
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
    Ok(Some(Tracepoints { ids, _switched_on: events, _io_uring_setup: io_uring }))
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

fn sees_io_uring_setup(event: &Event) -> bool {
    // The call fails, and only tracepoints of exits have a field `ret`.
    let count = || event.count().ok();
    event.set_filter(c"ret < 0").is_ok() && {
        let before = count();
        set_up_no_io_uring();
        let after = count();
        accept_nothing(Accept::Accept);
        before.map(|n| n + 1) == after && after == count()
    }
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

/// Time limit of the search by trial. It takes a tenth of a second, but each of its hundred events
/// may have to wait while another process closes one.
const PATIENCE_MS: u16 = 30_000;

/// Searches in a separate process and does not wait for its end: the kernel takes tens of
/// milliseconds to close each event.
fn trial() -> Result<Option<Ids>, Refused> {
    match detached_process::run(|| to_bytes(with_least_privilege())) {
        Ok(mut found) => receive(&mut found).map_err(Refused::own),
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Err(Refused::Processes(error)),
        Err(error) => Err(Refused::own(error)),
    }
}

/// The ids, or two zeros; after one zero the errno.
fn to_bytes(ids: io::Result<Option<Ids>>) -> [u8; 6] {
    let ids = match ids {
        Ok(Some(ids)) => [ids.accept, ids.accept4, ids.io_uring_setup.unwrap_or(0)],
        Ok(None) => [0; 3],
        Err(error) => [0, error.raw_os_error().unwrap_or(libc::EIO) as u16, 0],
    };
    let [a, b, c] = ids.map(u16::to_ne_bytes);
    [a[0], a[1], b[0], b[1], c[0], c[1]]
}

fn receive(found: &mut File) -> io::Result<Option<Ids>> {
    use std::os::fd::AsFd;
    loop {
        let mut fds = [PollFd::new(found.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(PATIENCE_MS)) {
            Err(nix::errno::Errno::EINTR) => {}
            Ok(1..) => break,
            Ok(_) => {
                let text = format!("no tracepoint of accept was found in {PATIENCE_MS} ms");
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    let mut b = [0; 6];
    found.read_exact(&mut b)?;
    let number = |i: usize| u16::from_ne_bytes([b[i], b[i + 1]]);
    let io_uring_setup = Some(number(4)).filter(|id| *id != 0);
    let ids = Ids { accept: number(0), accept4: number(2), io_uring_setup };
    match (ids.accept, ids.accept4) {
        (0, 0) => Ok(None),
        (0, errno) => Err(io::Error::from_raw_os_error(errno.into())),
        (_, 0) => Ok(None),
        _ => Ok(Some(ids)),
    }
}

/// Without privilege the kernel opens raw tracepoints of system calls only and refuses others at
/// once, so a privileged process drops its privilege for the search. If it cannot, every tracepoint
/// can be opened, which is slower but gives the same result.
fn with_least_privilege() -> io::Result<Option<Ids>> {
    // Each event that was tried stays open.
    files::raise_limit();
    capability::renounce()?;
    if open_here_as_is(0).is_err_and(|e| e.raw_os_error() == Some(libc::EACCES)) {
        capability::resume()?;
    }
    search()
}

/// Tries ids from the highest one down, in steps that cannot miss the system calls of net/socket.c:
/// 18 calls with two tracepoints each, with adjacent ids not far below the highest. Then tries
/// every id around the one that saw such a call.
fn search() -> io::Result<Option<Ids>> {
    const STEP: u16 = 16;
    const AROUND: u16 = 40;
    let Some(top) = highest() else { return Ok(None) };
    let mut hit = None;
    for id in (0..=top).rev().step_by(STEP.into()) {
        if sees_sockets(id)? {
            hit = Some(id);
            break;
        }
    }
    let Some(hit) = hit else { return Ok(None) };
    let mut ids = Ids { accept: 0, accept4: 0, io_uring_setup: None };
    for id in hit.saturating_sub(AROUND)..=hit.saturating_add(AROUND) {
        match seen_call(id)? {
            Some(Accept::Accept) => ids.accept = id,
            Some(Accept::Accept4) => ids.accept4 = id,
            None => {}
        }
    }
    ids.io_uring_setup = search_io_uring_setup(ids.accept.min(ids.accept4));
    Ok(Some(ids))
}

/// Tries each id below those of net/socket.c: the kernel links io_uring (before Linux 6.0 in fs/)
/// before it.
fn search_io_uring_setup(below: u16) -> Option<u16> {
    const MAX_ID_DISTANCE: u16 = 1200;
    if !set_up_no_io_uring() {
        return None;
    }
    (below.saturating_sub(MAX_ID_DISTANCE)..below).rev().find(|id| {
        let Ok(event) = open_here_as_is(*id) else { return false };
        let is_seen = sees_io_uring_setup(&event);
        std::mem::forget(event);
        is_seen
    })
}

fn open_here_as_is(id: u16) -> io::Result<Event> {
    Event::open(&Tracepoint { id, raw: true, notify: None, filter: None, inherit: None }, 0)
}

/// `None`: there is no such tracepoint, or it is none of a system call. Fails if no more files may be
/// open.
fn try_open(id: u16) -> io::Result<Option<Event>> {
    match open_here_as_is(id) {
        Ok(event) => Ok(Some(event)),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)) => {
            Err(e)
        }
        Err(_) => Ok(None),
    }
}

/// Returns an id above the highest one in use. The kernel assigns the lowest free id.
fn highest() -> Option<u16> {
    const STRIDE: u16 = 128;
    // Unloaded modules leave gaps.
    const LOOKED_AT: u16 = 4;
    let is_taken = |id: u16| match open_here_as_is(id) {
        Ok(event) => {
            std::mem::forget(event);
            true
        }
        Err(e) => !matches!(e.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)),
    };
    let from = (0..u16::MAX - STRIDE).step_by(STRIDE.into()).collect::<Vec<_>>();
    let last = from.into_iter().rev().find(|&id| (id..id + LOOKED_AT).any(is_taken))?;
    Some(last.saturating_add(STRIDE))
}

fn sees_sockets(id: u16) -> io::Result<bool> {
    let Some(event) = try_open(id)? else { return Ok(false) };
    call_all_of_sockets();
    let seen = event.count().is_ok_and(|n| n > 0);
    std::mem::forget(event);
    Ok(seen)
}

/// Returns at the exit from which of the two calls this tracepoint fires.
fn seen_call(id: u16) -> io::Result<Option<Accept>> {
    let Some(event) = try_open(id)? else { return Ok(None) };
    let mut seen = None;
    if event.set_filter(OWN_CALL).is_ok() {
        for which in [Accept::Accept, Accept::Accept4] {
            let before = event.count()?;
            accept_nothing(which);
            if event.count()? > before {
                seen = Some(which);
            }
        }
    }
    std::mem::forget(event);
    Ok(seen)
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
        let ids = trial().unwrap().expect("the kernel has the tracepoints");
        assert!(prove(ids).unwrap().is_some());
        let unrestrained = detached_process::run(|| to_bytes(search())).unwrap();
        assert_eq!(receive(&mut { unrestrained }).unwrap(), Some(ids));
        let swapped = Ids { accept: ids.accept4, accept4: ids.accept, ..ids };
        assert!(prove(swapped).unwrap().is_none());
        if let Some(told) = tracefs() {
            assert_eq!(ids, told);
        }
    }
}
