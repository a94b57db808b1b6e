//! Markers: sockets of our own whose ends tell that all earlier ends have been told.
//!
//! The kernel sends notices from a work queue, one per processor and in order there, each to all
//! sockets that want it. When the notice of a marker that was closed on a processor has come to
//! one socket, those of earlier ends on that processor have come to all.

use std::collections::HashSet;
use std::io;
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::unistd::Pid;

use crate::sys::netlink::{self, Batch};

use super::ports::Ports;
use super::wire::{self, Message};

/// How long the markers are waited for. The kernel needs less than a millisecond as a rule; but
/// its thread is one among all that want a processor, and gives way after each notice for which
/// somebody's receive buffer is half full.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);

/// Waits until the ends that the kernel has to tell of by now have been told, and returns whether
/// that is certain.
pub(super) fn wait() -> io::Result<bool> {
    let notices = netlink::open(true)?;
    // Markers have no port.
    netlink::filter(notices.as_fd(), &[0..=0].into_iter().collect::<Ports>().filter(0, 1))?;
    let mut awaited: HashSet<u64> = leave().into_iter().collect();
    let until = Instant::now() + FLUSH_TIMEOUT;
    let mut batch = Batch::default();
    while !awaited.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let mut polled = [PollFd::new(notices.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        match batch.receive(notices.as_fd()) {
            Ok(_) => {}
            Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => continue,
            // Lost, perhaps with a marker among them.
            Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => break,
            Err(e) => return Err(e),
        }
        for message in batch.messages().flat_map(wire::messages) {
            if let (_, Message::Socket(socket)) = message {
                awaited.remove(&socket.cookie);
            }
        }
    }
    Ok(awaited.is_empty())
}

/// Makes a socket on every processor that this process may use, closes it, and returns the
/// cookies. Those that could not be made are left out.
fn leave() -> Vec<u64> {
    let this = Pid::from_raw(0);
    // In a thread of its own, whose affinity nobody will miss.
    thread::scope(|scope| {
        let all = scope.spawn(|| {
            (0..CpuSet::count())
                .filter_map(|n| {
                    // Fails at once for those that do not exist.
                    let mut one = CpuSet::new();
                    one.set(n).ok()?;
                    sched_setaffinity(this, &one).ok()?;
                    let (stream, flags) = (SockType::Stream, SockFlag::SOCK_CLOEXEC);
                    let marker = socket(AddressFamily::Inet, stream, flags, None).ok()?;
                    netlink::cookie(marker.as_fd()).ok()
                })
                .collect()
        });
        all.join().unwrap_or_default()
    })
}
