//! Flush probes: sockets of this process whose destroy events show that all earlier destroy events have
//! arrived.
//!
//! The kernel sends destroy events from one work queue per CPU, in order, each to all subscribed sockets.
//! When the destroy event of a probe that was closed on a CPU has arrived at one socket, the destroy events of
//! sockets closed earlier on that CPU have arrived at all.

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

use crate::sys::sock_diag::{self, Message};
use crate::watch::ports::PortSet;

/// How long to wait for the probes. The kernel usually needs less than a millisecond. But its
/// thread competes for a CPU, and yields after each destroy event for which a receive buffer is half full.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);

/// Waits until the kernel has sent the destroy events of all sockets closed so far. Returns whether that
/// is certain.
pub(super) fn wait() -> io::Result<bool> {
    let events = netlink::open(true)?;
    // Probes have no port.
    netlink::filter(events.as_fd(), &[0..=0].into_iter().collect::<PortSet>().filter(0, 1))?;
    let mut awaited: HashSet<u64> = leave().into_iter().collect();
    let until = Instant::now() + FLUSH_TIMEOUT;
    let mut batch = Batch::default();
    while !awaited.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let mut polled = [PollFd::new(events.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        match batch.receive(events.as_fd()) {
            Ok(_) => {}
            Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => continue,
            // Destroy events were lost, perhaps those of probes.
            Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => break,
            Err(e) => return Err(e),
        }
        for message in batch.messages().flat_map(sock_diag::messages) {
            if let (_, Message::Socket(socket)) = message {
                awaited.remove(&socket.cookie);
            }
        }
    }
    Ok(awaited.is_empty())
}

/// Opens and closes a socket on every CPU that this process may use. Returns the cookies, without
/// those that could not be opened.
fn leave() -> Vec<u64> {
    let this = Pid::from_raw(0);
    // In a separate thread, because this changes its CPU affinity.
    thread::scope(|scope| {
        let all = thread::Builder::new().spawn_scoped(scope, || {
            (0..CpuSet::count())
                .filter_map(|n| {
                    // Fails immediately for CPUs that do not exist.
                    let mut one = CpuSet::new();
                    one.set(n).ok()?;
                    sched_setaffinity(this, &one).ok()?;
                    let (stream, flags) = (SockType::Stream, SockFlag::SOCK_CLOEXEC);
                    let marker = socket(AddressFamily::Inet, stream, flags, None).ok()?;
                    netlink::cookie(marker.as_fd()).ok()
                })
                .collect()
        });
        all.ok().and_then(|all| all.join().ok()).unwrap_or_default()
    })
}
