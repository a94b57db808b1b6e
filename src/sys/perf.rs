//! perf_event_open(2) for tracepoints that count, and stop, a thread.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};

use perf_event_open_sys::bindings::{
    PERF_FLAG_FD_CLOEXEC, PERF_SAMPLE_RAW, PERF_TYPE_TRACEPOINT, perf_event_attr,
};
use perf_event_open_sys::{ioctls, perf_event_open};

use super::ptrace::Tid;

/// To whom an event is handed down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inherit {
    /// To nobody.
    No,
    /// To the threads that the thread creates.
    Threads,
    /// To threads and child processes, but for children of clone3(2) with CLONE_CLEAR_SIGHAND.
    All,
}

/// What to open: every occurrence in one thread, on whatever CPU it runs.
#[derive(Clone, Copy, Debug)]
pub struct Tracepoint<'a> {
    /// The tracepoint's id, as its `id` file in tracefs has it.
    pub id: u16,
    /// Ask for the raw record too: without privilege that is allowed for system calls alone.
    pub raw: bool,
    /// Send the thread SIGTRAP, with this number as its `si_perf_data` (Linux 5.13). The event
    /// ends at exec.
    pub sigtrap: Option<u64>,
    /// Who inherits it.
    pub inherit: Inherit,
    /// Only what passes this filter counts, from the first moment on.
    pub filter: Option<&'a CStr>,
}

/// An open event; it ends when dropped, which takes tens of milliseconds if it is the last one of
/// its tracepoint on the machine, and microseconds otherwise.
#[derive(Debug)]
pub struct Event(File);

impl Event {
    /// Opens `tracepoint` on a thread, 0 being the caller. It counts from now on.
    ///
    /// # Errors
    /// Those of perf_event_open(2) and of [`Event::set_filter`].
    pub fn open(tracepoint: &Tracepoint<'_>, tid: Tid) -> io::Result<Event> {
        let mut attr = perf_event_attr {
            type_: PERF_TYPE_TRACEPOINT,
            size: size_of::<perf_event_attr>() as u32,
            config: tracepoint.id.into(),
            sig_data: tracepoint.sigtrap.unwrap_or(0),
            ..Default::default()
        };
        attr.__bindgen_anon_1.sample_period = 1;
        attr.set_exclude_kernel(1);
        attr.set_exclude_hv(1);
        if tracepoint.raw {
            attr.sample_type = PERF_SAMPLE_RAW.into();
        }
        if tracepoint.sigtrap.is_some() {
            attr.set_sigtrap(1);
            attr.set_remove_on_exec(1);
        }
        attr.set_inherit((tracepoint.inherit != Inherit::No).into());
        attr.set_inherit_thread((tracepoint.inherit == Inherit::Threads).into());
        attr.set_disabled(tracepoint.filter.is_some().into());
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
            event.enable()?;
        }
        Ok(event)
    }

    /// Occurrences, those of its heirs included, the living and the dead.
    pub fn count(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        (&self.0).read_exact(&mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    /// Counts only what passes the filter, in the language of the kernel's
    /// Documentation/trace/events.rst; EINVAL where the tracepoint lacks a field that it names.
    pub fn set_filter(&self, filter: &CStr) -> io::Result<()> {
        // SAFETY: the descriptor is a perf event; the kernel copies the string.
        check(unsafe { ioctls::SET_FILTER(self.0.as_raw_fd(), filter.as_ptr().cast_mut()) })
    }

    /// Stops counting, for its heirs as well.
    pub fn disable(&self) -> io::Result<()> {
        // SAFETY: the descriptor is a perf event; the argument is a number.
        check(unsafe { ioctls::DISABLE(self.0.as_raw_fd(), 0) })
    }

    /// Counts again, for its heirs as well.
    pub fn enable(&self) -> io::Result<()> {
        // SAFETY: as in `disable`.
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

/// The system calls that make a connection a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// accept(2)
    Accept,
    /// accept4(2)
    Accept4,
}

/// Makes the call on a descriptor that does not exist, for a tracepoint to see.
pub fn accept_nothing(which: Accept) {
    call_on_nothing(match which {
        Accept::Accept => libc::SYS_accept,
        Accept::Accept4 => libc::SYS_accept4,
    });
}

/// Makes each system call of the kernel's net/socket.c on a descriptor that does not exist.
pub fn call_all_of_sockets() {
    for call in [
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
    ] {
        call_on_nothing(call);
    }
}

fn call_on_nothing(call: libc::c_long) {
    // SAFETY: descriptor -1 is never open and address family -1 never there, so that the kernel
    // fails these calls before it looks at any pointer, all of which are null.
    unsafe { libc::syscall(call, -1, 0, 0, 0, 0, 0) };
}
