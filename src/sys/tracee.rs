//! More ptrace(2) requests on a stopped tracee, for the engine `perf`: its signals and its memory.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::RawFd;

use nix::sys::ptrace;
use nix::unistd::Pid;

use super::ptrace::{Tid, request};

/// `PTRACE_GETSIGMASK` and its neighbours in linux/ptrace.h, which libc lacks for some targets.
const GETSIGMASK: libc::c_uint = 0x420a;
const SETSIGMASK: libc::c_uint = 0x420b;
const PEEKSIGINFO: libc::c_uint = 0x4209;
/// Size of the kernel's sigset_t in bytes.
const SIGSET: usize = 8;

/// A set of signals in the kernel's format: signal N is bit N - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SignalSet(pub u64);

impl SignalSet {
    const fn bit(signal: i32) -> u64 {
        1 << (signal - 1)
    }

    /// Whether it contains `signal`.
    pub fn contains(self, signal: i32) -> bool {
        self.0 & SignalSet::bit(signal) != 0
    }

    /// The same without `signal`.
    pub fn without(self, signal: i32) -> SignalSet {
        SignalSet(self.0 & !SignalSet::bit(signal))
    }
}

/// Returns the signals that a stopped thread blocks (Linux 3.11). For a thread in sigsuspend(2),
/// ppoll(2) and similar calls, returns the mask that it will have after the call (since Linux 5.1).
pub(crate) fn blocked(tid: Tid) -> io::Result<SignalSet> {
    let mut set = 0u64;
    request(GETSIGMASK, tid, SIGSET, (&raw mut set) as usize)?;
    Ok(SignalSet(set))
}

/// Sets the mask of a stopped thread. A call such as sigsuspend(2), which this interrupts, sets its
/// own mask again when it is restarted, and restores this one when it returns.
pub(crate) fn set_blocked(tid: Tid, set: SignalSet) -> io::Result<()> {
    request(SETSIGMASK, tid, SIGSET, (&raw const set.0) as usize).map(drop)
}

/// The kernel's siginfo_t with the members that a signal of `F_SETSIG` fills: sigaction(2).
#[repr(C)]
#[derive(Clone, Copy)]
struct PollInfo {
    signo: i32,
    errno: i32,
    code: i32,
    band: i64,
    fd: i32,
    rest: [u64; 12],
}

const _: () = assert!(size_of::<PollInfo>() == size_of::<libc::siginfo_t>());

impl PollInfo {
    const EMPTY: PollInfo =
        PollInfo { signo: 0, errno: 0, code: 0, band: 0, fd: -1, rest: [0; 12] };

    /// No other process can send a signal with this code: rt_sigqueueinfo(2).
    fn descriptor(&self) -> Option<RawFd> {
        const POLL_IN: i32 = 1;
        (self.code == POLL_IN).then_some(self.fd)
    }
}

/// Returns the descriptor in a signal that the kernel sent because of `F_SETSIG`.
pub(crate) fn poll_descriptor(info: &libc::siginfo_t) -> Option<RawFd> {
    // SAFETY: both are plain numbers of the same size, and an aligned pointer is not needed.
    let info: PollInfo = unsafe { std::ptr::read_unaligned((&raw const *info).cast()) };
    info.descriptor()
}

/// Returns the descriptor in the signal of a thread in signal-delivery-stop. If a perf event of the
/// tracer sent the signal, it is a descriptor of the tracer. `None`: another kind of signal.
pub fn signal_descriptor(tid: Tid) -> io::Result<Option<RawFd>> {
    let mut info = PollInfo::EMPTY;
    request(libc::PTRACE_GETSIGINFO, tid, 0, (&raw mut info) as usize)?;
    Ok(info.descriptor())
}

/// Returns the descriptor in a pending signal of a stopped thread (Linux 3.10).
pub fn pending_descriptor(tid: Tid, signal: i32) -> io::Result<Option<RawFd>> {
    /// `struct ptrace_peeksiginfo_args`
    #[repr(C)]
    struct From {
        offset: u64,
        flags: u32,
        count: i32,
    }
    const AT_ONCE: usize = 16;
    let mut infos = [PollInfo::EMPTY; AT_ONCE];
    let mut from = From { offset: 0, flags: 0, count: AT_ONCE as i32 };
    loop {
        let got =
            request(PEEKSIGINFO, tid, (&raw const from) as usize, infos.as_mut_ptr() as usize)?
                as usize;
        let found = infos[..got.min(AT_ONCE)].iter().find(|i| i.signo == signal);
        if let Some(fd) = found.and_then(PollInfo::descriptor) {
            return Ok(Some(fd));
        }
        if got < AT_ONCE {
            return Ok(None);
        }
        from.offset += got as u64;
    }
}

/// Reads memory of a tracee by process_vm_readv(2). Where that is refused (a kernel without
/// CONFIG_CROSS_MEMORY_ATTACH, a seccomp filter), the tracee must be stopped: ptrace(2) reads words.
pub(crate) fn read_memory(tid: Tid, address: u64, into: &mut [u8]) -> io::Result<()> {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: into.len() };
    // SAFETY: the local vector is `into`, which the kernel fills; the remote one is checked there.
    let moved =
        unsafe { libc::process_vm_readv(tid, &raw const local, 1, &raw const remote, 1, 0) };
    match whole(moved, into) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
            peek_words(tid, address, into)
        }
        read => read,
    }
}

/// Reads memory of a stopped tracee by PTRACE_PEEKDATA. Aligned words never extend into a page that
/// `into` does not need.
fn peek_words(tid: Tid, address: u64, into: &mut [u8]) -> io::Result<()> {
    const WORD: u64 = size_of::<libc::c_long>() as u64;
    let mut at = address;
    let mut rest = into;
    while !rest.is_empty() {
        let offset = (at % WORD) as usize;
        let word = ptrace::read(Pid::from_raw(tid), (at - at % WORD) as *mut _)?.to_ne_bytes();
        let length = rest.len().min(word.len() - offset);
        let (now, later) = rest.split_at_mut(length);
        now.copy_from_slice(&word[offset..offset + length]);
        at = at.wrapping_add(length as u64);
        rest = later;
    }
    Ok(())
}

fn whole(moved: libc::ssize_t, of: &[u8]) -> io::Result<()> {
    match usize::try_from(moved) {
        Err(_) => Err(io::Error::last_os_error()),
        Ok(n) if n == of.len() => Ok(()),
        Ok(_) => Err(io::Error::from_raw_os_error(libc::EFAULT)),
    }
}
