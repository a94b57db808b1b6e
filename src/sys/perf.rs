//! perf_event_open(2) for tracepoints that count in a thread and send it a signal.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};

use perf_event_open_sys::bindings::{
    PERF_FLAG_FD_CLOEXEC, PERF_SAMPLE_RAW, PERF_TYPE_TRACEPOINT, perf_event_attr,
};
use perf_event_open_sys::{ioctls, perf_event_open};

use super::perf_ring::Inherit;
use super::ptrace::Tid;

/// The thread that gets a signal for each occurrence: fcntl(2), `F_SETOWN_EX` and `F_SETSIG`. The
/// signal has `si_code` `POLL_IN` and the event's descriptor as `si_fd`. It is pending before the
/// thread returns from the system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Notify {
    /// The thread.
    pub tid: Tid,
    /// The signal. The process may handle it like any other signal.
    pub signal: i32,
}

/// What to open: every occurrence in one thread, on any CPU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tracepoint<'a> {
    /// The tracepoint's id, as in its `id` file in tracefs.
    pub id: u16,
    /// Also request the raw record. Without privilege that is allowed for system calls only.
    pub raw: bool,
    /// Who gets a signal for each occurrence.
    pub notify: Option<Notify>,
    /// Only occurrences that pass this filter count, from the start.
    pub filter: Option<&'a CStr>,
    /// Which new threads and processes also count.
    pub inherit: Option<Inherit>,
}

/// An open event, closed when dropped. Closing the last event of a tracepoint on the machine takes
/// tens of milliseconds, otherwise microseconds.
#[derive(Debug)]
pub(crate) struct Event(File);

impl Event {
    /// Opens `tracepoint` on a thread (0: the caller). It counts from then on.
    ///
    /// # Errors
    /// Those of perf_event_open(2) and of [`Event::set_filter`].
    pub(crate) fn open(tracepoint: &Tracepoint<'_>, tid: Tid) -> io::Result<Event> {
        let mut attr = perf_event_attr {
            type_: PERF_TYPE_TRACEPOINT,
            size: size_of::<perf_event_attr>() as u32,
            config: tracepoint.id.into(),
            ..Default::default()
        };
        attr.__bindgen_anon_1.sample_period = 1;
        attr.set_exclude_kernel(1);
        attr.set_exclude_hv(1);
        attr.set_inherit(tracepoint.inherit.is_some().into());
        attr.set_inherit_thread((tracepoint.inherit == Some(Inherit::Threads)).into());
        if tracepoint.raw {
            attr.sample_type = PERF_SAMPLE_RAW.into();
        }
        attr.set_disabled((tracepoint.filter.is_some() || tracepoint.notify.is_some()).into());
        // SAFETY: `attr` lives, and its size is stated; the kernel writes to it only the size
        // that it knows. The descriptor, if there is one, is new and nobody else's.
        let event = unsafe {
            let flags = PERF_FLAG_FD_CLOEXEC.into();
            let fd = perf_event_open(&raw mut attr, tid, -1, -1, flags);
            if fd == -1 {
                return Err(io::Error::last_os_error());
            }
            Event(File::from_raw_fd(fd))
        };
        if let Some(filter) = tracepoint.filter {
            event.set_filter(filter)?;
        }
        if let Some(notify) = tracepoint.notify {
            event.set_notify(notify)?;
        }
        if attr.disabled() != 0 {
            event.enable()?;
        }
        Ok(event)
    }

    fn set_notify(&self, notify: Notify) -> io::Result<()> {
        let owner = Owner { kind: F_OWNER_TID, pid: notify.tid };
        // SAFETY: `owner` has the layout of struct f_owner_ex and lives; the kernel only reads it.
        check(unsafe { libc::fcntl(self.0.as_raw_fd(), F_SETOWN_EX, &raw const owner) })?;
        self.set_signal(notify.signal)?;
        // SAFETY: takes numbers only.
        check(unsafe { libc::fcntl(self.0.as_raw_fd(), libc::F_SETFL, libc::O_ASYNC) })
    }

    /// Changes the signal.
    pub(crate) fn set_signal(&self, signal: i32) -> io::Result<()> {
        // SAFETY: takes numbers only.
        check(unsafe { libc::fcntl(self.0.as_raw_fd(), F_SETSIG, signal) })
    }

    /// Returns the number of occurrences, including those in threads that inherited the event. The
    /// counts of ended threads are kept.
    pub(crate) fn count(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        (&self.0).read_exact(&mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    /// Sets the filter, in the syntax of the kernel's Documentation/trace/events.rst. EINVAL if the
    /// tracepoint lacks a field in it.
    pub(crate) fn set_filter(&self, filter: &CStr) -> io::Result<()> {
        // SAFETY: the descriptor is a perf event; the kernel copies the string.
        check(unsafe { ioctls::SET_FILTER(self.0.as_raw_fd(), filter.as_ptr().cast_mut()) })
    }

    fn enable(&self) -> io::Result<()> {
        // SAFETY: the descriptor is a perf event; the argument is a number.
        check(unsafe { ioctls::ENABLE(self.0.as_raw_fd(), 0) })
    }
}

impl AsRawFd for Event {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// linux/fcntl.h and asm-generic/fcntl.h, which libc lacks.
const F_SETSIG: libc::c_int = 10;
const F_SETOWN_EX: libc::c_int = 15;
const F_OWNER_TID: libc::c_int = 0;

/// `struct f_owner_ex`
#[repr(C)]
struct Owner {
    kind: libc::c_int,
    pid: libc::pid_t,
}

/// The system calls that accept a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accept {
    /// accept(2)
    Accept,
    /// accept4(2)
    Accept4,
}

/// Makes the call with an invalid descriptor, for a tracepoint to count.
pub(crate) fn accept_nothing(which: Accept) {
    call_on_nothing(match which {
        Accept::Accept => libc::SYS_accept,
        Accept::Accept4 => libc::SYS_accept4,
    });
}

/// Calls io_uring_setup(2) without parameters, for a tracepoint to count. Returns whether this
/// kernel has the call.
pub(crate) fn set_up_no_io_uring() -> bool {
    // SAFETY: the kernel fails the call, at the latest when it finds that the pointer is null.
    let result = unsafe { libc::syscall(libc::SYS_io_uring_setup, 0, std::ptr::null::<u8>()) };
    result != -1 || io::Error::last_os_error().raw_os_error() != Some(libc::ENOSYS)
}

/// Makes the call as [`accept_nothing`] does. Returns the descriptor in the signal that an event
/// has sent to this thread when the call returns. `None`: no signal has arrived.
pub(crate) fn accept_nothing_notified(which: Accept, signal: i32) -> io::Result<Option<RawFd>> {
    // SAFETY: the sets are initialised by sigemptyset and pthread_sigmask before they are read,
    // and all-zero is a valid siginfo_t and timespec.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        let mut former: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        let errno = libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut former);
        if errno != 0 {
            return Err(io::Error::from_raw_os_error(errno));
        }
        accept_nothing(which);
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let at_once: libc::timespec = std::mem::zeroed();
        let taken = libc::sigtimedwait(&raw const set, &raw mut info, &raw const at_once);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const former, std::ptr::null_mut());
        Ok(super::tracee::poll_descriptor(&info).filter(|_| taken == signal))
    }
}

/// The system calls of the kernel's net/socket.c, in the order in which they stand there.
pub(crate) const SOCKET_CALLS: [libc::c_long; 18] = [
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept4,
    libc::SYS_accept,
    libc::SYS_connect,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    libc::SYS_shutdown,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
];

/// Makes one of [`SOCKET_CALLS`] with an invalid descriptor, for a tracepoint to count.
pub(crate) fn call_of_sockets(index: usize) {
    call_on_nothing(SOCKET_CALLS[index]);
}

fn call_on_nothing(call: libc::c_long) {
    // SAFETY: descriptor -1 is never open and address family -1 never there, so that the kernel
    // fails these calls before it looks at any pointer, all of which are null.
    unsafe { libc::syscall(call, -1, 0, 0, 0, 0, 0) };
}
