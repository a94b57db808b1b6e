//! [`Receiver`]: a thread that empties the receive buffers of destroy events.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::sys::netlink::{self, Batch};

use super::dump::Nanos;
use super::dumper::now;
use crate::sys::sock_diag::{self, Message, Socket};
use crate::watch::error::{Doing, Error};
use crate::watch::ports::PortSet;

/// The requested buffer size, which only privileged users get. The kernel allocates memory on
/// demand.
const BUFFER: usize = 64 << 20;

/// If a buffer is smaller than this, several sockets share the destroy events.
const RECEIVE_BUFFER_BYTES: usize = 8 << 20;

/// Maximum number of sockets, a power of two: the kernel filters every destroy event for each.
const MAX_BATCHES: usize = 8;

/// Maximum size of a destroy event in a receive buffer.
const MAX_EVENT_BYTES: usize = 2304;

/// How long destroy events are collected before they are read together. Waking up for each one would cost
/// several times as much, and take CPU time from the server.
const GATHER: Duration = Duration::from_millis(2);

/// Pause after a failed poll(2).
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// A destroy event of a closed socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct DestroyEvent {
    /// The last time at which the receive buffer was empty: the kernel sent the destroy event later.
    pub since: Nanos,
    /// When it was received.
    pub at: Nanos,
    /// The socket as the kernel described it.
    pub socket: Socket,
}

#[derive(Debug)]
struct Inbox {
    events: Mutex<Vec<DestroyEvent>>,
    filled: EventFd,
    /// Wakes the thread to stop or to flush.
    poke: EventFd,
    stop: AtomicBool,
    overrun: AtomicBool,
    /// The number of requested flushes and of finished flushes.
    flush: AtomicU64,
    flushed: AtomicU64,
}

/// Receives destroy events until it is dropped.
#[derive(Debug)]
pub(super) struct Receiver {
    sockets: Arc<[OwnedFd]>,
    inbox: Arc<Inbox>,
    buffers: usize,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    /// Subscribes to destroy events of closed TCP sockets on `ports` in the network namespace of the
    /// calling thread. Receive buffers have `buffer` bytes if given, otherwise as many as allowed.
    /// Without destroy events they are checked every `check`, so that [`DestroyEvent::since`] is not older.
    pub(super) fn start(
        ports: &PortSet,
        buffer: Option<usize>,
        check: Duration,
    ) -> Result<Receiver, Error> {
        let open = || -> Result<(OwnedFd, usize), Error> {
            let socket = netlink::open(true).map_err(Error::NotPermitted)?;
            let size = netlink::enlarge(socket.as_fd(), buffer.unwrap_or(BUFFER))
                .doing("setting the receive buffer's size")?;
            Ok((socket, size))
        };
        let (first, size) = open()?;
        let mut sockets = vec![first];
        let shares = match buffer {
            Some(_) => 1,
            None => {
                RECEIVE_BUFFER_BYTES.div_ceil(size.max(1)).next_power_of_two().clamp(1, MAX_BATCHES)
            }
        };
        while sockets.len() < shares {
            sockets.push(open()?.0);
        }
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = || EventFd::from_value_and_flags(0, flags).doing("making an eventfd");
        let inbox = Inbox {
            events: Mutex::default(),
            filled: event()?,
            poke: event()?,
            stop: AtomicBool::new(false),
            overrun: AtomicBool::new(false),
            flush: AtomicU64::new(0),
            flushed: AtomicU64::new(0),
        };
        let mut receiver = Receiver {
            sockets: sockets.into(),
            inbox: Arc::new(inbox),
            buffers: size * shares,
            thread: None,
        };
        for (socket, share) in receiver.sockets.iter().zip(0..) {
            netlink::filter(socket.as_fd(), &ports.filter(share, shares as u8))
                .doing("setting the filter of ports")?;
        }
        let (sockets, inbox) = (receiver.sockets.clone(), receiver.inbox.clone());
        let ports = ports.clone();
        let room = receiver.buffers / MAX_EVENT_BYTES;
        let thread = thread::Builder::new()
            .name("receiver".into())
            .spawn(move || run(&sockets, &ports, &inbox, room, check))
            .doing("starting a thread")?;
        receiver.thread = Some(thread);
        Ok(receiver)
    }

    /// Starts to empty the receive buffers. When that is [done](Receiver::flushed), all destroy events
    /// that have arrived by now can be taken.
    pub(super) fn flush(&self) {
        self.inbox.flush.fetch_add(1, Ordering::AcqRel);
        let _ = self.inbox.poke.write(1);
    }

    /// Whether the last flush is done.
    pub(super) fn flushed(&self) -> bool {
        self.inbox.flushed.load(Ordering::Acquire) == self.inbox.flush.load(Ordering::Acquire)
    }

    /// Returns a descriptor that becomes readable when there are destroy events.
    pub(super) fn filled(&self) -> &EventFd {
        &self.inbox.filled
    }

    /// Swaps the destroy events that have arrived into `into`.
    pub(super) fn take(&self, into: &mut Vec<DestroyEvent>) {
        into.clear();
        // The counter value does not matter; the read resets it.
        let _ = self.inbox.filled.read();
        let mut events = self.inbox.events.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *events, into);
    }

    /// Whether destroy events were lost since the last call.
    pub(super) fn overrun(&self) -> bool {
        self.inbox.overrun.swap(false, Ordering::AcqRel)
    }

    /// How many destroy events were lost since the start.
    pub(super) fn drops(&self) -> u64 {
        self.sockets.iter().map(|s| u64::from(netlink::drops(s.as_fd()).unwrap_or_default())).sum()
    }

    /// The total size of the receive buffers in bytes, as the kernel counts them.
    pub(super) fn buffers(&self) -> usize {
        self.buffers
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.inbox.stop.store(true, Ordering::Release);
        let _ = self.inbox.poke.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(sockets: &[OwnedFd], ports: &PortSet, inbox: &Inbox, room: usize, check: Duration) {
    let check = PollTimeout::try_from(check).unwrap_or(PollTimeout::NONE);
    let mut batch = Batch::default();
    let mut fresh = Vec::new();
    let mut emptied = now();
    loop {
        let all = sockets.iter().map(AsFd::as_fd).chain([inbox.poke.as_fd()]);
        let mut polled: Vec<_> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut polled, check) {
            Ok(_) | Err(Errno::EINTR) => {}
            // EINVAL if fewer files may be open now, for example. The buffers are emptied all the same.
            Err(_) => thread::sleep(RETRY_INTERVAL),
        }
        if inbox.stop.load(Ordering::Acquire) {
            return;
        }
        let _ = inbox.poke.read();
        let flush = inbox.flush.load(Ordering::Acquire);
        let since = std::mem::replace(&mut emptied, now());
        for socket in sockets {
            if drain(socket, ports, since, &mut batch, &mut fresh) {
                inbox.overrun.store(true, Ordering::Release);
                let _ = inbox.filled.write(1);
            }
        }
        let calm = fresh.len() < room / 8;
        if !fresh.is_empty() {
            let mut events = inbox.events.lock().unwrap_or_else(PoisonError::into_inner);
            let was_empty = events.is_empty();
            events.append(&mut fresh);
            drop(events);
            if was_empty {
                let _ = inbox.filled.write(1);
            }
        }
        if inbox.flushed.swap(flush, Ordering::AcqRel) != flush {
            let _ = inbox.filled.write(1);
        }
        if calm {
            thread::sleep(GATHER);
        }
    }
}

/// Reads all destroy events of one socket. Returns whether it has lost some.
fn drain(
    socket: &OwnedFd,
    ports: &PortSet,
    since: Nanos,
    batch: &mut Batch,
    into: &mut Vec<DestroyEvent>,
) -> bool {
    let mut lost = false;
    loop {
        let more = batch.receive(socket.as_fd());
        match &more {
            Ok(_) => {}
            Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {
                lost = true;
                continue;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return lost,
        }
        let at = now();
        for message in batch.messages().flat_map(sock_diag::messages) {
            if let (_, Message::Socket(socket)) = message
                && ports.contains(socket.local.1)
            {
                into.push(DestroyEvent { since, at, socket });
            }
        }
        if !matches!(more, Ok(true)) {
            return lost;
        }
    }
}
