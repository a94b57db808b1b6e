//! Markers: sockets of our own whose ends tell that all earlier ends have been told.
//!
//! The kernel sends notices from a work queue, one per processor and in order there. When the
//! notice of a socket that was closed on a processor has come, so have those before it.

use std::os::fd::AsFd;
use std::thread;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::unistd::Pid;

use crate::sys::netlink;

/// Makes a socket on every processor that this process may use, closes it, and returns the
/// cookies. Those that could not be made are left out.
pub fn leave() -> Vec<u64> {
    let this = Pid::from_raw(0);
    // In a thread of its own, whose affinity nobody will miss.
    thread::scope(|scope| {
        let all = scope.spawn(|| {
            let Ok(allowed) = sched_getaffinity(this) else { return Vec::new() };
            let processors = (0..CpuSet::count()).filter(|n| allowed.is_set(*n) == Ok(true));
            processors
                .filter_map(|n| {
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
