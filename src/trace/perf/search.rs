//! Finds the tracepoints at the exit from accept by trial, for users who may not read tracefs.
//!
//! The kernel takes tens of milliseconds to close the last event of a tracepoint. Until then nobody
//! can open or close events of tracepoints (`event_mutex` in kernel/trace/trace_event_perf.c), so a
//! process with inherited ones can create and end no thread. Therefore the search opens few
//! tracepoints, and ends before a server gets events.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::CStr;
use std::io;

use crate::sys::detached_process::{self, Detached};
use crate::sys::perf::{
    Accept, Event, SOCKET_CALLS, Tracepoint, accept_nothing, call_of_sockets, set_up_no_io_uring,
};
use crate::sys::{capability, files};

use super::error::PerfError;
use super::tracepoint_ids::Ids;

/// Only tracepoints of exits have a field `ret`, and only calls with an invalid descriptor pass.
pub(super) const OWN_CALL: &CStr = c"ret == -9";

/// Time limit of the search, and of closing its events. Together they take less than half a second,
/// but each event may have to wait while another process closes one.
const TIMEOUT_MS: u16 = 30_000;

/// A search that has found the tracepoints or not, in a process of its own that still has events.
#[derive(Debug)]
pub(super) struct Search(Detached<RESULT_BYTES>);

impl Search {
    /// Searches.
    ///
    /// # Errors
    /// [`PerfError`], with the remedy.
    pub(super) fn run() -> Result<(Option<Ids>, Search), PerfError> {
        Search::begin(with_least_privilege)
    }

    fn begin(
        work: fn() -> ([u8; RESULT_BYTES], Vec<Event>),
    ) -> Result<(Option<Ids>, Search), PerfError> {
        let mut search = detached_process::run(work).map_err(|e| match e.raw_os_error() {
            Some(libc::EAGAIN) => PerfError::Processes(e),
            _ => PerfError::own(e),
        })?;
        let result = search.result(TIMEOUT_MS).map_err(|e| {
            let text = format!("no tracepoint of accept was found in {TIMEOUT_MS} ms");
            let is_late = e.kind() == io::ErrorKind::TimedOut;
            PerfError::own(if is_late { io::Error::new(e.kind(), text) } else { e })
        })?;
        Ok((from_bytes(result).map_err(PerfError::own)?, Search(search)))
    }

    /// Waits until the kernel has closed the events of the search.
    pub(super) fn wait_for_end(self) {
        // Events that are still open delay others and change no count.
        let _ = self.0.wait_for_end(TIMEOUT_MS);
    }
}

const RESULT_BYTES: usize = 6;

/// The ids, or two zeros; after one zero the errno.
fn to_bytes(ids: io::Result<Option<Ids>>) -> [u8; RESULT_BYTES] {
    let ids = match ids {
        Ok(Some(ids)) => [ids.accept, ids.accept4, ids.io_uring_setup.unwrap_or(0)],
        Ok(None) => [0; 3],
        Err(error) => [0, error.raw_os_error().unwrap_or(libc::EIO) as u16, 0],
    };
    let [a, b, c] = ids.map(u16::to_ne_bytes);
    [a[0], a[1], b[0], b[1], c[0], c[1]]
}

fn from_bytes(bytes: [u8; RESULT_BYTES]) -> io::Result<Option<Ids>> {
    let number = |i: usize| u16::from_ne_bytes([bytes[i], bytes[i + 1]]);
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
fn with_least_privilege() -> ([u8; RESULT_BYTES], Vec<Event>) {
    // Each event that was tried stays open.
    files::raise_limit();
    let renounced = capability::renounce().and_then(|()| {
        match open(0).is_err_and(|e| e.raw_os_error() == Some(libc::EACCES)) {
            true => capability::resume(),
            false => Ok(()),
        }
    });
    match renounced {
        Ok(()) => search(),
        Err(error) => (to_bytes(Err(error)), Vec::new()),
    }
}

/// The result, and the events in the order in which they are to be closed: those that the caller
/// opens as well, which are closed at once then, come last.
fn search() -> ([u8; RESULT_BYTES], Vec<Event>) {
    let mut tried = Tried::default();
    let ids = tried.find();
    let mut last = Vec::new();
    if let Ok(Some(ids)) = &ids {
        let ids = [Some(ids.accept), Some(ids.accept4), ids.io_uring_setup];
        last.extend(ids.into_iter().flatten().filter_map(|id| tried.0.remove(&id)));
    }
    (to_bytes(ids), tried.0.into_values().chain(last).collect())
}

/// An event of the calling thread, with the privileges that it has.
fn open(id: u16) -> io::Result<Event> {
    Event::open(&Tracepoint { id, raw: true, notify: None, filter: None, inherit: None }, 0)
}

/// A tracepoint of one of [`SOCKET_CALLS`].
#[derive(Clone, Copy, Debug)]
struct Hit {
    id: u16,
    /// Its place in [`SOCKET_CALLS`].
    call: usize,
    /// Whether it is where the call returns.
    is_exit: bool,
}

/// Whether ids rise with the order in the source, or fall as those of gcc do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Falling,
    Rising,
}

impl Hit {
    /// The id at the exit from another of the calls. Each call has two ids, of which the exit's
    /// comes second in the source.
    fn exit(self, call: usize, order: Order) -> Option<u16> {
        let places = i32::try_from(call).ok()? - i32::try_from(self.call).ok()?;
        let along = 2 * places + i32::from(!self.is_exit);
        let by = if order == Order::Rising { along } else { -along };
        u16::try_from(i32::from(self.id) + by).ok()
    }

    /// The lowest id of all of the calls.
    fn lowest(self, order: Order) -> u16 {
        let lowest = match order {
            Order::Falling => self.exit(SOCKET_CALLS.len() - 1, order),
            Order::Rising => self.exit(0, order).and_then(|id| id.checked_sub(1)),
        };
        lowest.unwrap_or(0)
    }
}

/// The events that were opened, by the ids of their tracepoints. They stay open: closing takes longer.
#[derive(Debug, Default)]
struct Tried(BTreeMap<u16, Event>);

impl Tried {
    fn find(&mut self) -> io::Result<Option<Ids>> {
        let Some(hit) = self.find_socket_call()? else { return Ok(None) };
        let mut found = None;
        for order in [Order::Falling, Order::Rising] {
            if let Some(accepts) = self.accepts_in_order(hit, order)? {
                found = Some((accepts, hit.lowest(order)));
                break;
            }
        }
        if found.is_none() {
            let accepts = self.accepts_around(hit.id)?;
            found = accepts.map(|accepts| (accepts, accepts[0].min(accepts[1])));
        }
        let Some(([accept, accept4], lowest)) = found else { return Ok(None) };
        let io_uring_setup = self.find_io_uring_setup(lowest)?;
        Ok(Some(Ids { accept, accept4, io_uring_setup }))
    }

    /// `None`: there is no such tracepoint, or it is none of a system call. Fails if no more files
    /// may be open.
    fn open(&mut self, id: u16) -> io::Result<Option<&Event>> {
        Ok(match self.0.entry(id) {
            Entry::Occupied(event) => Some(event.into_mut()),
            Entry::Vacant(place) => match open(id) {
                Ok(event) => Some(place.insert(event)),
                Err(e) => match e.raw_os_error() {
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => return Err(e),
                    _ => None,
                },
            },
        })
    }

    /// Tries ids from the highest one down, in steps that cannot miss the system calls of
    /// net/socket.c: 18 calls with two tracepoints each, with adjacent ids not far below the highest.
    fn find_socket_call(&mut self) -> io::Result<Option<Hit>> {
        const STEP: u16 = 16;
        let Some(top) = self.highest() else { return Ok(None) };
        for id in (0..=top).rev().step_by(STEP.into()) {
            let Some(event) = self.open(id)? else { continue };
            let fired = |call: usize| -> io::Result<u64> {
                let before = event.count()?;
                call_of_sockets(call);
                Ok(event.count()? - before)
            };
            let counts: Vec<u64> = (0..SOCKET_CALLS.len()).map(fired).collect::<io::Result<_>>()?;
            // Others may fire at each call, or at any time.
            if let Some(call) = counts.iter().position(|n| *n == 1)
                && counts.iter().sum::<u64>() == 1
            {
                let is_exit = event.set_filter(OWN_CALL).is_ok();
                return Ok(Some(Hit { id, call, is_exit }));
            }
        }
        Ok(None)
    }

    /// Returns an id above the highest one in use. The kernel assigns the lowest free id.
    fn highest(&mut self) -> Option<u16> {
        const STRIDE: u16 = 128;
        // Unloaded modules leave gaps.
        const LOOKED_AT: u16 = 4;
        let mut is_taken = |id: u16| match open(id) {
            Ok(event) => {
                self.0.insert(id, event);
                true
            }
            Err(e) => !matches!(e.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)),
        };
        let from = (0..u16::MAX - STRIDE).step_by(STRIDE.into()).collect::<Vec<_>>();
        let last = from.into_iter().rev().find(|&id| (id..id + LOOKED_AT).any(&mut is_taken))?;
        Some(last.saturating_add(STRIDE))
    }

    fn accepts_in_order(&mut self, hit: Hit, order: Order) -> io::Result<Option<[u16; 2]>> {
        let mut exit = |which: Accept, number| -> io::Result<Option<u16>> {
            let call = SOCKET_CALLS.iter().position(|call| *call == number);
            let Some(id) = call.and_then(|call| hit.exit(call, order)) else { return Ok(None) };
            Ok((self.seen_call(id)? == Some(which)).then_some(id))
        };
        let Some(accept) = exit(Accept::Accept, libc::SYS_accept)? else { return Ok(None) };
        Ok(exit(Accept::Accept4, libc::SYS_accept4)?.map(|accept4| [accept, accept4]))
    }

    /// Tries every id near one of the calls.
    fn accepts_around(&mut self, hit: u16) -> io::Result<Option<[u16; 2]>> {
        const DISTANCE: u16 = 40;
        let (mut accept, mut accept4) = (None, None);
        for id in hit.saturating_sub(DISTANCE)..=hit.saturating_add(DISTANCE) {
            match self.seen_call(id)? {
                Some(Accept::Accept) => accept = Some(id),
                Some(Accept::Accept4) => accept4 = Some(id),
                None => {}
            }
        }
        Ok(accept.zip(accept4).map(|(accept, accept4)| [accept, accept4]))
    }

    /// Returns at the exit from which of the two calls this tracepoint fires.
    fn seen_call(&mut self, id: u16) -> io::Result<Option<Accept>> {
        let Some(event) = self.open(id)? else { return Ok(None) };
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
        Ok(seen)
    }

    /// Tries ids below those of net/socket.c: the kernel links io_uring (before Linux 6.0 in fs/)
    /// before it. Of two adjacent ids, which a system call has, one is enough.
    fn find_io_uring_setup(&mut self, below: u16) -> io::Result<Option<u16>> {
        const MAX_ID_DISTANCE: u16 = 1200;
        if !set_up_no_io_uring() {
            return Ok(None);
        }
        let mut last = None;
        for id in (below.saturating_sub(MAX_ID_DISTANCE)..below).rev() {
            if last == Some(id + 1) {
                continue;
            }
            let Some(event) = self.open(id)? else { continue };
            last = Some(id);
            let before = event.count()?;
            set_up_no_io_uring();
            if event.count()? != before + 1 {
                continue;
            }
            for id in [Some(id), id.checked_sub(1), id.checked_add(1)].into_iter().flatten() {
                if self.open(id)?.is_some_and(sees_io_uring_setup) {
                    return Ok(Some(id));
                }
            }
        }
        Ok(None)
    }
}

/// Whether this event counts exactly the exit from an own call of io_uring_setup.
pub(super) fn sees_io_uring_setup(event: &Event) -> bool {
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

#[cfg(test)]
mod tests {
    use super::super::tracepoint::may_open;
    use super::*;

    #[test]
    fn ids_of_other_calls_follow_from_one() {
        // As on x86-64 with gcc: accept has 2231 and 2232, accept4 2233 and 2234.
        let [accept4, accept] = [4, 5];
        for (id, is_exit) in [(2231, true), (2232, false)] {
            let hit = Hit { id, call: accept, is_exit };
            assert_eq!(hit.exit(accept, Order::Falling), Some(2231));
            assert_eq!(hit.exit(accept4, Order::Falling), Some(2233));
            assert_eq!(hit.lowest(Order::Falling), 2207);
        }
        for (id, is_exit) in [(20, false), (21, true)] {
            let hit = Hit { id, call: accept4, is_exit };
            assert_eq!(hit.exit(accept, Order::Rising), Some(23));
            assert_eq!(hit.lowest(Order::Rising), 12);
        }
        assert_eq!(Hit { id: 2, call: 0, is_exit: true }.exit(17, Order::Falling), None);
    }

    #[test]
    fn a_search_opens_few_tracepoints() {
        if let Err(refused) = may_open() {
            eprintln!("skipped: {refused}");
            return;
        }
        let counting = || {
            let _ = capability::renounce();
            let mut tried = Tried::default();
            let is_found = tried.find().is_ok_and(|ids| ids.is_some());
            ([u8::from(is_found), tried.0.len().try_into().unwrap_or(u8::MAX)], ())
        };
        let [is_found, opened] = detached_process::run(counting)
            .and_then(|mut search| search.result(TIMEOUT_MS))
            .unwrap();
        assert_eq!(is_found, 1, "the kernel has the tracepoints");
        assert!(opened <= 20, "{opened} tracepoints");
    }

    #[test]
    fn a_search_with_privileges_finds_the_same() {
        if let Err(refused) = may_open() {
            eprintln!("skipped: {refused}");
            return;
        }
        let (ids, _) = Search::run().unwrap();
        let (unrestrained, _) = Search::begin(search).unwrap();
        assert!(ids.is_some());
        assert_eq!(unrestrained, ids);
    }
}
