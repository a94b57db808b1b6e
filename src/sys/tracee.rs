//! More ptrace(2) requests on a stopped tracee, for the engine `perf`: its signals, all of its
//! registers, its memory.
#![allow(unsafe_code)]

use std::io;

use super::ptrace::{Registers, Tid};

/// `PTRACE_GETSIGMASK` and its neighbours in linux/ptrace.h, which libc lacks for some targets.
const GETSIGMASK: libc::c_uint = 0x420a;
const SETSIGMASK: libc::c_uint = 0x420b;
const PEEKSIGINFO: libc::c_uint = 0x4209;
const GET_RSEQ_CONFIGURATION: libc::c_uint = 0x420f;
const GET_SYSCALL_USER_DISPATCH_CONFIG: libc::c_uint = 0x4211;
/// Size of the kernel's sigset_t in bytes.
const SIGSET: usize = 8;
/// `NT_X86_XSTATE` of elf.h.
const NT_X86_XSTATE: usize = 0x202;

fn request(op: libc::c_uint, tid: Tid, addr: usize, data: usize) -> io::Result<usize> {
    // SAFETY: the callers pass the address of a live object of the type and size that `op` reads
    // or fills; ptrace touches no other memory of this process.
    let r = unsafe { libc::ptrace(op, tid, addr, data) };
    if r == -1 { Err(io::Error::last_os_error()) } else { Ok(r as usize) }
}

/// A set of signals as the kernel has it: signal N is bit N - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SignalSet(pub u64);

impl SignalSet {
    /// All that can be blocked: the kernel leaves out SIGKILL and SIGSTOP.
    pub const ALL: SignalSet = SignalSet(u64::MAX);

    const fn bit(signal: i32) -> u64 {
        1 << (signal - 1)
    }

    /// Whether it has `signal` in it.
    pub fn contains(self, signal: i32) -> bool {
        self.0 & SignalSet::bit(signal) != 0
    }

    /// The same with `signal` in it.
    pub fn with(self, signal: i32) -> SignalSet {
        SignalSet(self.0 | SignalSet::bit(signal))
    }

    /// The same without `signal`.
    pub fn without(self, signal: i32) -> SignalSet {
        SignalSet(self.0 & !SignalSet::bit(signal))
    }
}

/// The signals that a stopped thread blocks (Linux 3.11). Of a thread in sigsuspend(2), ppoll(2)
/// and the like, the mask that it will have afterwards (since Linux 5.1).
pub fn blocked(tid: Tid) -> io::Result<SignalSet> {
    let mut set = 0u64;
    request(GETSIGMASK, tid, SIGSET, (&raw mut set) as usize)?;
    Ok(SignalSet(set))
}

/// Sets the mask of a stopped thread. A call such as sigsuspend(2), which this interrupts, puts
/// its own mask in place again as it is restarted, and returns to this one.
pub fn set_blocked(tid: Tid, set: SignalSet) -> io::Result<()> {
    request(SETSIGMASK, tid, SIGSET, (&raw const set.0) as usize).map(drop)
}

/// A SIGTRAP that a perf event sent: sigaction(2), `TRAP_PERF`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerfSignal {
    /// `si_perf_data`: the number that the event was opened with.
    pub data: u64,
    /// The thread blocked the signal when it was sent, so it has run on since (Linux 5.18).
    pub was_blocked: bool,
}

const TRAP_PERF: i32 = 6;
const TRAP_PERF_FLAG_ASYNC: u32 = 1;

/// The kernel's siginfo_t with the member of its union that `TRAP_PERF` fills.
#[repr(C)]
#[derive(Clone, Copy)]
struct PerfInfo {
    signo: i32,
    errno: i32,
    code: i32,
    address: u64,
    data: u64,
    kind: u32,
    flags: u32,
    rest: [u64; 11],
}

const _: () = assert!(size_of::<PerfInfo>() == size_of::<libc::siginfo_t>());

impl PerfInfo {
    const EMPTY: PerfInfo = PerfInfo {
        signo: 0,
        errno: 0,
        code: 0,
        address: 0,
        data: 0,
        kind: 0,
        flags: 0,
        rest: [0; 11],
    };

    fn decode(&self) -> Option<PerfSignal> {
        (self.signo == libc::SIGTRAP && self.code == TRAP_PERF).then_some(PerfSignal {
            data: self.data,
            was_blocked: self.flags & TRAP_PERF_FLAG_ASYNC != 0,
        })
    }
}

/// What a perf event said to a thread in signal-delivery-stop; `None`: the signal is not its.
pub fn perf_signal(tid: Tid) -> io::Result<Option<PerfSignal>> {
    let mut info = PerfInfo::EMPTY;
    request(libc::PTRACE_GETSIGINFO, tid, 0, (&raw mut info) as usize)?;
    Ok(info.decode())
}

/// The signal of a perf event that waits to be delivered to a stopped thread (Linux 3.10).
pub fn pending_perf_signal(tid: Tid) -> io::Result<Option<PerfSignal>> {
    /// `struct ptrace_peeksiginfo_args`
    #[repr(C)]
    struct From {
        offset: u64,
        flags: u32,
        count: i32,
    }
    const AT_ONCE: usize = 16;
    let mut infos = [PerfInfo::EMPTY; AT_ONCE];
    let mut from = From { offset: 0, flags: 0, count: AT_ONCE as i32 };
    loop {
        let got =
            request(PEEKSIGINFO, tid, (&raw const from) as usize, infos.as_mut_ptr() as usize)?;
        if let Some(signal) = infos[..got.min(AT_ONCE)].iter().find_map(PerfInfo::decode) {
            return Ok(Some(signal));
        }
        if got < AT_ONCE {
            return Ok(None);
        }
        from.offset += got as u64;
    }
}

/// Sets the general registers of a stopped tracee.
pub fn set_registers(tid: Tid, registers: &Registers) -> io::Result<()> {
    request(libc::PTRACE_SETREGS, tid, 0, std::ptr::from_ref(registers) as usize).map(drop)
}

/// The floating point and vector registers of a stopped thread, as XSAVE lays them out.
pub fn extended_registers(tid: Tid) -> io::Result<Vec<u8>> {
    // AMX tiles make it 11 KiB.
    let mut bytes = vec![0u8; 32 << 10];
    let mut area = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    request(libc::PTRACE_GETREGSET, tid, NT_X86_XSTATE, (&raw mut area) as usize)?;
    bytes.truncate(area.iov_len);
    Ok(bytes)
}

/// How many bytes XSAVE needs for `features`, which are bits of XCR0.
pub fn extended_size(features: u64) -> usize {
    // The legacy area and the header, which describe features 0 and 1.
    const LEAST: usize = 512 + 64;
    let end = |feature: u32| {
        // SAFETY: every x86-64 machine that has XSAVE, and so a register set of this kind, has
        // this leaf of cpuid.
        #[allow(unused_unsafe)]
        let leaf = unsafe { std::arch::x86_64::__cpuid_count(0xd, feature) };
        leaf.eax as usize + leaf.ebx as usize
    };
    (2..63).filter(|f| features & (1 << f) != 0).map(end).fold(LEAST, usize::max)
}

/// Whether a thread lets user space handle its system calls: prctl(2), PR_SET_SYSCALL_USER_DISPATCH.
/// Before Linux 6.4 the kernel does not tell.
pub fn has_syscall_dispatch(tid: Tid) -> bool {
    /// `struct ptrace_sud_config`
    #[repr(C)]
    #[derive(Default)]
    struct Configuration {
        mode: u64,
        rest: [u64; 3],
    }
    let mut c = Configuration::default();
    let size = size_of_val(&c);
    request(GET_SYSCALL_USER_DISPATCH_CONFIG, tid, size, (&raw mut c) as usize).is_ok()
        && c.mode != 0
}

/// The address of a thread's `struct rseq`, if it registered one: rseq(2) (Linux 5.13).
pub fn rseq_area(tid: Tid) -> io::Result<Option<u64>> {
    /// `struct ptrace_rseq_configuration`
    #[repr(C)]
    #[derive(Default)]
    struct Configuration {
        pointer: u64,
        size: u32,
        signature: u32,
        flags: u32,
        pad: u32,
    }
    let mut c = Configuration::default();
    let size = size_of_val(&c);
    request(GET_RSEQ_CONFIGURATION, tid, size, (&raw mut c) as usize)?;
    Ok((c.pointer != 0).then_some(c.pointer))
}

/// Reads memory of a tracee: process_vm_readv(2).
pub fn read_memory(tid: Tid, address: u64, into: &mut [u8]) -> io::Result<()> {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: into.len() };
    // SAFETY: the local vector is `into`, which the kernel fills; the remote one is checked there.
    whole(
        unsafe { libc::process_vm_readv(tid, &raw const local, 1, &raw const remote, 1, 0) },
        into,
    )
}

/// Writes memory of a tracee: process_vm_writev(2).
pub fn write_memory(tid: Tid, address: u64, from: &[u8]) -> io::Result<()> {
    let local = libc::iovec { iov_base: from.as_ptr().cast_mut().cast(), iov_len: from.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: from.len() };
    // SAFETY: the local vector is `from`, which the kernel only reads.
    whole(
        unsafe { libc::process_vm_writev(tid, &raw const local, 1, &raw const remote, 1, 0) },
        from,
    )
}

fn whole(moved: libc::ssize_t, of: &[u8]) -> io::Result<()> {
    match usize::try_from(moved) {
        Err(_) => Err(io::Error::last_os_error()),
        Ok(n) if n == of.len() => Ok(()),
        Ok(_) => Err(io::Error::from_raw_os_error(libc::EFAULT)),
    }
}
