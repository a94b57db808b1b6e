//! x86-64, with 32-bit (i386) and x32 programs.
#![allow(unsafe_code)]

use std::io;

use nix::errno::Errno;
use nix::unistd::Pid;

use super::call::{Arch, Call, SampledCall};
use crate::sys::ptrace::{Tid, request};

/// `AUDIT_ARCH_*` of linux/audit.h.
pub(crate) const AUDIT_ARCHES: [(Arch, u32); 2] =
    [(Arch::Native, 0xc000_003e), (Arch::Compat, 0x4000_0003)];

/// The bit that the numbers of x32 calls have.
const X32: u32 = 0x4000_0000;

/// Architecture, number, call.
pub(crate) const CALLS: &[(Arch, u32, Call)] = &[
    (Arch::Native, 43, Call::Accept),
    (Arch::Native, 288, Call::Accept),
    (Arch::Native, 425, Call::IoUringSetup),
    (Arch::Native, 56, Call::Clone),
    (Arch::Native, 435, Call::Clone3),
    (Arch::Native, X32 + 43, Call::Accept),
    (Arch::Native, X32 + 288, Call::Accept),
    (Arch::Native, X32 + 425, Call::IoUringSetup),
    (Arch::Native, X32 + 56, Call::Clone),
    (Arch::Native, X32 + 435, Call::Clone3),
    (Arch::Compat, 102, Call::Socketcall),
    (Arch::Compat, 364, Call::Accept),
    (Arch::Compat, 425, Call::IoUringSetup),
    (Arch::Compat, 120, Call::Clone),
    (Arch::Compat, 435, Call::Clone3),
];

/// Whether 64-bit code can make 32-bit calls, as by `int 0x80`.
pub(crate) const HAS_MIXED_CALLS: bool = true;

/// The area below the stack pointer that a function may use, by the ABI.
pub(crate) const RED_ZONE_BYTES: u64 = 128;

const ENOSYS: i64 = libc::ENOSYS as i64;
const EINTR: i64 = libc::EINTR as i64;
/// The result for which the kernel makes a call again, but lets it fail with EINTR if a handler runs: include/linux/errno.h.
const ERESTARTNOHAND: i64 = 514;

/// `__USER32_CS` of asm/segment.h.
const CODE_SEGMENT_32: u64 = 0x23;

/// Calls that a stop of their thread makes fail with EINTR although it handles no signal (signal(7), "Interruption of
/// system calls and library functions by stop signals", and sockets with a timeout). When they do, they have done nothing
/// else. Not close(2) or connect(2), which must not be made twice.
const WAITING_CALLS: [libc::c_long; 11] = [
    libc::SYS_read,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
];

/// The same calls of 32-bit programs: read, rt_sigtimedwait and its successor, epoll_wait, epoll_pwait and its successor,
/// accept4, recvfrom, recvmsg and semtimedop, by arch/x86/entry/syscalls/syscall_32.tbl.
const WAITING_CALLS_32: [u64; 10] = [3, 177, 421, 256, 319, 441, 364, 371, 372, 420];
/// socketcall(2), and those of its calls that wait: accept, recv, recvfrom, recvmsg and accept4.
const SOCKETCALL_32: u64 = 102;
const WAITING_SOCKETCALLS: [u64; 5] = [5, 10, 12, 17, 18];
/// ipc(2), and those of its calls that wait: semop and semtimedop.
const IPC_32: u64 = 117;
const WAITING_IPC: [u64; 2] = [1, 4];

/// The general registers of a stopped tracee, in the 64-bit layout for 32-bit tracees too.
#[derive(Clone, Copy, Debug)]
pub struct Registers(libc::user_regs_struct);

/// Reads the general registers of a stopped tracee.
pub(crate) fn registers(tid: Tid) -> io::Result<Registers> {
    let mut registers = std::mem::MaybeUninit::<libc::user_regs_struct>::uninit();
    request(libc::PTRACE_GETREGS, tid, 0, registers.as_mut_ptr() as usize)?;
    // SAFETY: PTRACE_GETREGS succeeded, so it filled the whole structure.
    Ok(Registers(unsafe { registers.assume_init() }))
}

/// Sets the general registers of a stopped tracee.
pub(crate) fn set_registers(tid: Tid, registers: &Registers) -> io::Result<()> {
    request(libc::PTRACE_SETREGS, tid, 0, (&raw const registers.0) as usize).map(drop)
}

/// Makes the call of a tracee that is at its entry fail with ENOSYS.
pub(crate) fn fail_call(tid: Tid) -> io::Result<()> {
    let mut registers = registers(tid)?;
    registers.0.orig_rax = u64::MAX;
    registers.0.rax = (-ENOSYS).cast_unsigned();
    set_registers(tid, &registers)
}

/// In a stop that is no stop of a call: makes a call wait again that would fail with EINTR for nothing but this stop. If
/// a handler runs first, the kernel lets it fail all the same.
pub(crate) fn wait_again(tid: Tid) -> io::Result<()> {
    let mut registers = registers(tid)?;
    if registers.is_interrupted_wait(tid)? {
        registers.0.rax = (-ERESTARTNOHAND).cast_unsigned();
        set_registers(tid, &registers)?;
    }
    Ok(())
}

impl Registers {
    /// Returns the number of the call.
    pub(crate) fn number(&self) -> u64 {
        self.0.orig_rax
    }

    /// Whether a call of [`WAITING_CALLS`] has ended with EINTR, and nothing has run since. A handler that starts there
    /// has another result: its argument.
    fn is_interrupted_wait(&self, tid: Tid) -> io::Result<bool> {
        let number = self.number();
        if self.0.cs != CODE_SEGMENT_32 {
            return Ok(self.0.rax as i64 == -EINTR
                && WAITING_CALLS.iter().any(|call| *call as u64 == number)
                && self.is_directly_after_call(tid)?);
        }
        let kind = self.argument(0, Arch::Compat);
        let waits = match number {
            SOCKETCALL_32 => WAITING_SOCKETCALLS.contains(&kind),
            IPC_32 => WAITING_IPC.contains(&kind),
            _ => WAITING_CALLS_32.contains(&number),
        };
        Ok(waits && i64::from(self.0.rax as i32) == -EINTR)
    }

    /// Returns the result of a successful call; `None` for an error. At the entry of a call the
    /// result means nothing.
    pub(crate) fn success(&self) -> Option<i32> {
        let result = self.0.rax as i64;
        // A 32-bit call's negative results are sign-extended by the kernel.
        i32::try_from(result).ok().filter(|r| *r >= 0)
    }

    /// Whether a tracee in a syscall-stop is at the entry of a call, or at the exit of one that the
    /// kernel does not implement.
    pub(crate) fn is_entry(&self) -> bool {
        self.0.rax as i64 == -ENOSYS
    }

    /// Whether the latest instruction was a 64-bit call, which has returned. A signal handler that
    /// starts there still has the number of the call in its register, but rcx holds the address of
    /// the next instruction only directly after `syscall`.
    pub(crate) fn is_directly_after_call(&self, _: Tid) -> io::Result<bool> {
        Ok(self.0.rcx == self.0.rip)
    }

    /// Whether a tracepoint of a single system call sees this one: neither 32-bit nor x32 calls.
    pub(crate) fn has_tracepoint(&self, arch: Arch) -> bool {
        arch == Arch::Native && self.number() & u64::from(X32) == 0
    }

    /// Returns an argument of the call. The arguments are unchanged at its exit.
    pub(crate) fn argument(&self, index: usize, arch: Arch) -> u64 {
        let r = &self.0;
        match arch {
            Arch::Native => [r.rdi, r.rsi, r.rdx, r.r10][index],
            Arch::Compat => [r.rbx, r.rcx, r.rdx, r.rsi][index] & 0xffff_ffff,
        }
    }

    /// Returns the first argument at the exit of the call, unless the result has replaced it.
    pub(crate) fn kept_first_argument(&self, arch: Arch) -> Option<u64> {
        Some(self.argument(0, arch))
    }

    /// Returns a copy with another first argument.
    pub(crate) fn with_first_argument(mut self, value: u64, arch: Arch) -> Registers {
        match arch {
            Arch::Native => self.0.rdi = value,
            Arch::Compat => self.0.rbx = value,
        }
        self
    }

    /// Returns the architecture of the call by the instruction that made it, for kernels and filters
    /// without PTRACE_GET_SYSCALL_INFO. The tracee is in a stop of the call. `None` if its memory may
    /// not be read, and registers do not tell either.
    ///
    /// # Errors
    /// ESRCH if the tracee was killed in its stop.
    pub(crate) fn arch_by_instruction(&self, tid: Tid) -> io::Result<Option<Arch>> {
        const INT_80: [u8; 2] = [0xcd, 0x80];
        if self.0.cs == CODE_SEGMENT_32 {
            return Ok(Some(Arch::Compat));
        }
        let address = self.0.rip.wrapping_sub(INT_80.len() as u64);
        match nix::sys::ptrace::read(Pid::from_raw(tid), address as *mut _) {
            Ok(word) if word.to_ne_bytes().starts_with(&INT_80) => Ok(Some(Arch::Compat)),
            Ok(_) => Ok(Some(Arch::Native)),
            Err(Errno::ESRCH) => Err(Errno::ESRCH.into()),
            // The memory of a process that is not dumpable. `int 0x80` leaves rcx as it was; so does
            // `syscall` on CPUs with FRED.
            Err(_) => Ok(self.is_directly_after_call(tid)?.then_some(Arch::Native)),
        }
    }

    /// The stack pointer.
    pub(crate) fn stack_pointer(&self) -> u64 {
        self.0.rsp
    }

    /// The address of the next instruction.
    pub(crate) fn instruction(&self) -> u64 {
        self.0.rip
    }
}

/// The user registers in each sample, by number in the kernel's asm/perf_regs.h. The kernel writes
/// them in order of these numbers: AX, DX, SI, DI, SP.
pub(crate) const SAMPLED_REGISTERS: [u32; 5] = [0, 3, 4, 5, 7];

/// Whether they hold the listening descriptor after the call.
pub(crate) const SAMPLES_TELL_LISTENER: bool = true;

/// Returns what the values of [`SAMPLED_REGISTERS`] tell.
pub(crate) fn sampled_call(
    [result, length, address, listener, stack_pointer]: [u64; SAMPLED_REGISTERS.len()],
) -> SampledCall {
    let (listener, is_entry) = (Some(listener as i32), Some(result == -ENOSYS as u64));
    SampledCall { result, listener, address, length, stack_pointer, is_entry }
}

/// The values of [`SAMPLED_REGISTERS`] in such a call.
#[cfg(test)]
pub(crate) fn sampled_values(call: &SampledCall) -> [u64; SAMPLED_REGISTERS.len()] {
    let result = if call.is_entry == Some(true) { -ENOSYS as u64 } else { call.result };
    let listener = call.listener.unwrap_or(-1) as u64;
    [result, call.length, call.address, listener, call.stack_pointer]
}

/// Returns which of at most 64 bytes are ASCII digits; the first byte is the lowest bit. `N` is a
/// multiple of 16.
#[inline(always)]
pub(crate) fn digits<const N: usize>(bytes: &[u8; N]) -> u64 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpgt_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8, _mm_sub_epi8,
    };
    const { assert!(N <= 64 && N.is_multiple_of(16)) };
    let mut digits = 0;
    for (n, sixteen) in bytes.as_chunks::<16>().0.iter().enumerate() {
        // SAFETY: every x86-64 has SSE2, and the load reads these 16 bytes, aligned or not.
        let mask = unsafe {
            let bytes = _mm_loadu_si128(sixteen.as_ptr().cast::<__m128i>());
            // Maps '0' to '9' to the ten smallest signed bytes.
            let moved = _mm_sub_epi8(bytes, _mm_set1_epi8((b'0' ^ 0x80) as i8));
            _mm_movemask_epi8(_mm_cmpgt_epi8(_mm_set1_epi8(i8::MIN + 10), moved))
        };
        digits |= u64::from(mask as u16) << (16 * n);
    }
    digits
}

/// Returns which of at most 64 bytes are hexadecimal digits, and which are `byte`; the first byte is the lowest bit. `N`
/// is a multiple of 16.
#[inline(always)]
pub(crate) fn hex_digits_and<const N: usize>(bytes: &[u8; N], byte: u8) -> (u64, u64) {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_cmpgt_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128,
        _mm_set1_epi8, _mm_sub_epi8,
    };
    const { assert!(N <= 64 && N.is_multiple_of(16)) };
    let (mut digits, mut same) = (0, 0);
    for (n, sixteen) in bytes.as_chunks::<16>().0.iter().enumerate() {
        // SAFETY: every x86-64 has SSE2, and the load reads these 16 bytes, aligned or not.
        let (digit, is_byte) = unsafe {
            let bytes = _mm_loadu_si128(sixteen.as_ptr().cast::<__m128i>());
            // Maps '0' to '9', and 'a' to 'f' of either case, to the smallest signed bytes.
            let numbers = _mm_sub_epi8(bytes, _mm_set1_epi8((b'0' ^ 0x80) as i8));
            let lower = _mm_or_si128(bytes, _mm_set1_epi8(0x20));
            let letters = _mm_sub_epi8(lower, _mm_set1_epi8((b'a' ^ 0x80) as i8));
            let digit = _mm_or_si128(
                _mm_cmpgt_epi8(_mm_set1_epi8(i8::MIN + 10), numbers),
                _mm_cmpgt_epi8(_mm_set1_epi8(i8::MIN + 6), letters),
            );
            let is_byte = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte as i8));
            (_mm_movemask_epi8(digit), _mm_movemask_epi8(is_byte))
        };
        digits |= u64::from(digit as u16) << (16 * n);
        same |= u64::from(is_byte as u16) << (16 * n);
    }
    (digits, same)
}

/// Returns how many bytes `a` and `b` begin with that are the same.
#[inline(always)]
pub(crate) fn shared<const N: usize>(a: &[u8; N], b: &[u8; N]) -> usize {
    use std::arch::x86_64::{__m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8};
    const { assert!(N <= 64 && N.is_multiple_of(16)) };
    let mut mask = 0;
    let both = a.as_chunks::<16>().0.iter().zip(b.as_chunks::<16>().0);
    for (n, (a, b)) in both.enumerate() {
        // SAFETY: every x86-64 has SSE2, and the loads read these 16 bytes, aligned or not.
        let bits = unsafe {
            let a = _mm_loadu_si128(a.as_ptr().cast::<__m128i>());
            _mm_movemask_epi8(_mm_cmpeq_epi8(a, _mm_loadu_si128(b.as_ptr().cast::<__m128i>())))
        };
        mask |= u64::from(bits as u16) << (16 * n);
    }
    (!mask).trailing_zeros() as usize
}

/// Returns which of the bytes end a line, which LF and NUL do; the first byte is the lowest bit.
#[inline(always)]
pub(crate) fn line_ends(bytes: &[u8; 64]) -> u64 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
        _mm_setzero_si128,
    };
    let mut ends = 0;
    for (n, sixteen) in bytes.as_chunks::<16>().0.iter().enumerate() {
        // SAFETY: every x86-64 has SSE2, and the load reads these 16 bytes, aligned or not.
        let mask = unsafe {
            let bytes = _mm_loadu_si128(sixteen.as_ptr().cast::<__m128i>());
            let feeds = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\n' as i8));
            let zeros = _mm_cmpeq_epi8(bytes, _mm_setzero_si128());
            _mm_movemask_epi8(_mm_or_si128(feeds, zeros))
        };
        ends |= u64::from(mask as u16) << (16 * n);
    }
    ends
}

/// Returns which of the bytes are at most `limit`; the first byte is the lowest bit.
#[inline(always)]
pub(crate) fn at_most(bytes: &[u8; 64], limit: u8) -> u64 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_set1_epi8,
    };
    let mut found = 0;
    for (n, sixteen) in bytes.as_chunks::<16>().0.iter().enumerate() {
        // SAFETY: every x86-64 has SSE2, and the load reads these 16 bytes, aligned or not.
        let mask = unsafe {
            let bytes = _mm_loadu_si128(sixteen.as_ptr().cast::<__m128i>());
            let smaller = _mm_min_epu8(bytes, _mm_set1_epi8(limit as i8));
            _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, smaller))
        };
        found |= u64::from(mask as u16) << (16 * n);
    }
    found
}
