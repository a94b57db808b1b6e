//! AArch64, with 32-bit Arm programs.
//!
//! The result of a call replaces its first argument in x0, so at the exit the first argument is
//! unknown. At a syscall-stop the kernel shows in x7 (32-bit: r12) whether the tracee is at the entry
//! (0) or at the exit (1), and restores the register afterwards: arch/arm64/kernel/ptrace.c.
#![allow(unsafe_code)]

use std::io;

use nix::errno::Errno;
use nix::unistd::Pid;

use super::call::{Arch, Call, SampledCall};
use crate::sys::ptrace::{Tid, request};

/// `AUDIT_ARCH_*` of linux/audit.h.
pub(crate) const AUDIT_ARCHES: [(Arch, u32); 2] =
    [(Arch::Native, 0xc000_00b7), (Arch::Compat, 0x4000_0028)];

/// Architecture, number, call.
pub(crate) const CALLS: &[(Arch, u32, Call)] = &[
    (Arch::Native, 202, Call::Accept),
    (Arch::Native, 242, Call::Accept),
    (Arch::Native, 425, Call::IoUringSetup),
    (Arch::Native, 220, Call::Clone),
    (Arch::Native, 435, Call::Clone3),
    (Arch::Compat, 285, Call::Accept),
    (Arch::Compat, 366, Call::Accept),
    (Arch::Compat, 425, Call::IoUringSetup),
    (Arch::Compat, 120, Call::Clone),
    (Arch::Compat, 435, Call::Clone3),
];

/// Whether 64-bit code can make 32-bit calls.
pub(crate) const HAS_MIXED_CALLS: bool = false;

/// The area below the stack pointer that a function may use, by the ABI (AAPCS64).
pub(crate) const RED_ZONE_BYTES: u64 = 0;

/// `struct user_pt_regs` of asm/ptrace.h: x0 to x30, sp, pc, pstate.
const WORDS: usize = 34;
const SP: usize = 31;
const PC: usize = 32;
/// The registers of a 32-bit tracee: r0 to r15, cpsr, orig_r0.
const WORDS_32: usize = 18;
const SP_32: usize = 13;
const PC_32: usize = 15;

/// The general registers of a stopped tracee.
#[derive(Clone, Copy, Debug)]
pub struct Registers {
    /// As PTRACE_GETREGSET orders them; those of a 32-bit tracee are extended with zeroes.
    words: [u64; WORDS],
    is_32_bit: bool,
}

/// Reads the general registers of a stopped tracee.
pub(crate) fn registers(tid: Tid) -> io::Result<Registers> {
    let mut words = [0u64; WORDS];
    let mut vector =
        libc::iovec { iov_base: words.as_mut_ptr().cast(), iov_len: size_of_val(&words) };
    get_or_set(libc::PTRACE_GETREGSET, tid, &mut vector)?;
    // The kernel tells how much it has written.
    let is_32_bit = vector.iov_len == WORDS_32 * size_of::<u32>();
    if is_32_bit {
        let mut narrow = [0u32; 2 * WORDS];
        for (pair, word) in narrow.as_chunks_mut::<2>().0.iter_mut().zip(words) {
            *pair = [word as u32, (word >> 32) as u32];
        }
        words = [0; WORDS];
        for (word, narrow) in words.iter_mut().zip(&narrow[..WORDS_32]) {
            *word = u64::from(*narrow);
        }
    }
    Ok(Registers { words, is_32_bit })
}

/// Sets the general registers of a stopped tracee.
pub(crate) fn set_registers(tid: Tid, registers: &Registers) -> io::Result<()> {
    let mut words = registers.words;
    let mut narrow = [0u32; WORDS_32];
    let mut vector = if registers.is_32_bit {
        for (narrow, word) in narrow.iter_mut().zip(words) {
            *narrow = word as u32;
        }
        libc::iovec { iov_base: narrow.as_mut_ptr().cast(), iov_len: size_of_val(&narrow) }
    } else {
        libc::iovec { iov_base: words.as_mut_ptr().cast(), iov_len: size_of_val(&words) }
    };
    get_or_set(libc::PTRACE_SETREGSET, tid, &mut vector)
}

/// Makes the call of a tracee that is at its entry fail with ENOSYS.
pub(crate) fn fail_call(tid: Tid) -> io::Result<()> {
    /// Of linux/elf.h.
    const NT_ARM_SYSTEM_CALL: usize = 0x404;
    let mut registers = registers(tid)?;
    registers.words[0] = (-i64::from(libc::ENOSYS)).cast_unsigned();
    set_registers(tid, &registers)?;
    let mut number = -1i32;
    let mut vector =
        libc::iovec { iov_base: (&raw mut number).cast(), iov_len: size_of_val(&number) };
    let address = std::ptr::from_mut(&mut vector) as usize;
    request(libc::PTRACE_SETREGSET, tid, NT_ARM_SYSTEM_CALL, address).map(drop)
}

/// Does nothing: this kernel decides before the stop whether a call is made again.
pub(crate) fn wait_again(_: Tid) -> io::Result<()> {
    Ok(())
}

/// `vector` is of a live buffer.
fn get_or_set(op: libc::c_uint, tid: Tid, vector: &mut libc::iovec) -> io::Result<()> {
    request(op, tid, libc::NT_PRSTATUS as usize, std::ptr::from_mut(vector) as usize).map(drop)
}

impl Registers {
    /// Returns the number of the call. After sigreturn(2) it is that of an earlier call.
    pub(crate) fn number(&self) -> u64 {
        self.words[if self.is_32_bit { 7 } else { 8 }]
    }

    /// Returns the result of a successful call; `None` for an error. At the entry of a call the
    /// result means nothing.
    pub(crate) fn success(&self) -> Option<i32> {
        let result = self.words[0];
        let result = if self.is_32_bit { i64::from(result as i32) } else { result as i64 };
        i32::try_from(result).ok().filter(|r| *r >= 0)
    }

    /// Whether a tracee in a syscall-stop is at the entry of a call.
    pub(crate) fn is_entry(&self) -> bool {
        self.words[if self.is_32_bit { 12 } else { 7 }] == 0
    }

    /// Whether the latest instruction was a 64-bit call, which has returned. A signal handler that
    /// starts there still has the number of the call in its register, but does not follow `svc`. A
    /// call that will be restarted lies ahead.
    pub(crate) fn is_directly_after_call(&self, tid: Tid) -> io::Result<bool> {
        /// `svc #IMMEDIATE`; Linux ignores the immediate.
        const SVC: u32 = 0xd400_0001;
        const IMMEDIATE: u32 = 0x001f_ffe0;
        let Some(address) = self.words[PC].checked_sub(4).filter(|_| !self.is_32_bit) else {
            return Ok(false);
        };
        // An aligned word, which cannot reach into another page. Unlike process_vm_readv(2), ptrace
        // also reads code that is mapped for execution only.
        match nix::sys::ptrace::read(Pid::from_raw(tid), (address & !7) as *mut _) {
            Ok(word) => {
                let instruction = (word as u64 >> (8 * (address & 4))) as u32;
                Ok(instruction & !IMMEDIATE == SVC)
            }
            // Nothing is mapped there any more.
            Err(Errno::EIO | Errno::EFAULT) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Whether a tracepoint of a single system call sees this one: no 32-bit calls.
    pub(crate) fn has_tracepoint(&self, arch: Arch) -> bool {
        arch == Arch::Native
    }

    /// Returns an argument of the call: any at its entry, all but the first at its exit.
    pub(crate) fn argument(&self, index: usize, _: Arch) -> u64 {
        self.words[index]
    }

    /// Returns the first argument at the exit of the call, unless the result has replaced it.
    pub(crate) fn kept_first_argument(&self, _: Arch) -> Option<u64> {
        None
    }

    /// Returns a copy with another first argument, for the entry of a call.
    pub(crate) fn with_first_argument(mut self, value: u64, _: Arch) -> Registers {
        self.words[0] = value;
        self
    }

    /// Returns the architecture of the call.
    pub(crate) fn arch_by_instruction(&self, _: Tid) -> io::Result<Option<Arch>> {
        Ok(Some(if self.is_32_bit { Arch::Compat } else { Arch::Native }))
    }

    /// The stack pointer.
    pub(crate) fn stack_pointer(&self) -> u64 {
        self.words[if self.is_32_bit { SP_32 } else { SP }]
    }

    /// The address of the next instruction.
    pub(crate) fn instruction(&self) -> u64 {
        self.words[if self.is_32_bit { PC_32 } else { PC }]
    }
}

/// The user registers in each sample, by number in the kernel's asm/perf_regs.h. The kernel writes
/// them in order of these numbers: x0, x1, x2, sp.
pub(crate) const SAMPLED_REGISTERS: [u32; 4] = [0, 1, 2, 31];

/// Whether they hold the listening descriptor after the call.
pub(crate) const SAMPLES_TELL_LISTENER: bool = false;

/// Returns what the values of [`SAMPLED_REGISTERS`] tell.
pub(crate) fn sampled_call(
    [result, address, length, stack_pointer]: [u64; SAMPLED_REGISTERS.len()],
) -> SampledCall {
    SampledCall { result, listener: None, address, length, stack_pointer, is_entry: None }
}

/// The values of [`SAMPLED_REGISTERS`] in such a call.
#[cfg(test)]
pub(crate) fn sampled_values(call: &SampledCall) -> [u64; SAMPLED_REGISTERS.len()] {
    [call.result, call.address, call.length, call.stack_pointer]
}

/// Returns a bit for each byte of at most four masks, of which each byte is 0 or 255; the first byte
/// is the lowest bit.
#[inline(always)]
fn bits(masks: [std::arch::aarch64::uint8x16_t; 4]) -> u64 {
    use std::arch::aarch64::{vandq_u8, vgetq_lane_u64, vld1q_u8, vpaddq_u8, vreinterpretq_u64_u8};
    const WEIGHTS: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
    // SAFETY: every AArch64 that runs Linux has NEON, and the load reads these 16 bytes.
    unsafe {
        let weights = vld1q_u8(WEIGHTS.as_ptr());
        let [a, b, c, d] = masks.map(|mask| vandq_u8(mask, weights));
        let sums = vpaddq_u8(vpaddq_u8(a, b), vpaddq_u8(c, d));
        vgetq_lane_u64::<0>(vreinterpretq_u64_u8(vpaddq_u8(sums, sums)))
    }
}

/// Returns which of at most 64 bytes are ASCII digits; the first byte is the lowest bit. `N` is a
/// multiple of 16.
#[inline(always)]
pub(crate) fn digits<const N: usize>(bytes: &[u8; N]) -> u64 {
    use std::arch::aarch64::{vcltq_u8, vdupq_n_u8, vld1q_u8, vsubq_u8};
    const { assert!(N <= 64 && N.is_multiple_of(16)) };
    // SAFETY: every AArch64 that runs Linux has NEON, and each load reads 16 bytes of `bytes`.
    let masks = unsafe {
        let mut masks = [vdupq_n_u8(0); 4];
        for (mask, sixteen) in masks.iter_mut().zip(bytes.as_chunks::<16>().0) {
            let moved = vsubq_u8(vld1q_u8(sixteen.as_ptr()), vdupq_n_u8(b'0'));
            *mask = vcltq_u8(moved, vdupq_n_u8(10));
        }
        masks
    };
    bits(masks)
}

/// Returns which of at most 64 bytes are hexadecimal digits, and which are `byte`; the first byte is the lowest bit. `N`
/// is a multiple of 16.
#[inline(always)]
pub(crate) fn hex_digits_and<const N: usize>(bytes: &[u8; N], byte: u8) -> (u64, u64) {
    use std::arch::aarch64::{vceqq_u8, vcltq_u8, vdupq_n_u8, vld1q_u8, vorrq_u8, vsubq_u8};
    const { assert!(N <= 64 && N.is_multiple_of(16)) };
    // SAFETY: every AArch64 that runs Linux has NEON, and each load reads 16 bytes of `bytes`.
    let (digits, same) = unsafe {
        let (mut digits, mut same) = ([vdupq_n_u8(0); 4], [vdupq_n_u8(0); 4]);
        for (n, sixteen) in bytes.as_chunks::<16>().0.iter().enumerate() {
            let bytes = vld1q_u8(sixteen.as_ptr());
            let numbers = vsubq_u8(bytes, vdupq_n_u8(b'0'));
            let letters = vsubq_u8(vorrq_u8(bytes, vdupq_n_u8(0x20)), vdupq_n_u8(b'a'));
            digits[n] =
                vorrq_u8(vcltq_u8(numbers, vdupq_n_u8(10)), vcltq_u8(letters, vdupq_n_u8(6)));
            same[n] = vceqq_u8(bytes, vdupq_n_u8(byte));
        }
        (digits, same)
    };
    (bits(digits), bits(same))
}

/// Returns how many bytes `a` and `b` begin with that are the same.
#[inline(always)]
pub(crate) fn shared<const N: usize>(a: &[u8; N], b: &[u8; N]) -> usize {
    use std::arch::aarch64::{vceqq_u8, vdupq_n_u8, vld1q_u8};
    const { assert!(N <= 64 && N.is_multiple_of(16)) };
    // SAFETY: every AArch64 that runs Linux has NEON, and each load reads 16 bytes of `a` or `b`.
    let masks = unsafe {
        let mut masks = [vdupq_n_u8(0); 4];
        let both = a.as_chunks::<16>().0.iter().zip(b.as_chunks::<16>().0);
        for (mask, (a, b)) in masks.iter_mut().zip(both) {
            *mask = vceqq_u8(vld1q_u8(a.as_ptr()), vld1q_u8(b.as_ptr()));
        }
        masks
    };
    (!bits(masks)).trailing_zeros() as usize
}

/// Returns which of the bytes end a line, which LF and NUL do; the first byte is the lowest bit.
#[inline(always)]
pub(crate) fn line_ends(bytes: &[u8; 64]) -> u64 {
    use std::arch::aarch64::{vceqq_u8, vceqzq_u8, vdupq_n_u8, vld1q_u8, vorrq_u8};
    // SAFETY: every AArch64 that runs Linux has NEON, and each load reads 16 bytes of `bytes`.
    let masks = unsafe {
        let mut masks = [vdupq_n_u8(0); 4];
        for (mask, sixteen) in masks.iter_mut().zip(bytes.as_chunks::<16>().0) {
            let bytes = vld1q_u8(sixteen.as_ptr());
            *mask = vorrq_u8(vceqq_u8(bytes, vdupq_n_u8(b'\n')), vceqzq_u8(bytes));
        }
        masks
    };
    bits(masks)
}

/// Returns which of the bytes are at most `limit`; the first byte is the lowest bit.
#[inline(always)]
pub(crate) fn at_most(bytes: &[u8; 64], limit: u8) -> u64 {
    use std::arch::aarch64::{vcleq_u8, vdupq_n_u8, vld1q_u8};
    // SAFETY: every AArch64 that runs Linux has NEON, and each load reads 16 bytes of `bytes`.
    let masks = unsafe {
        let mut masks = [vdupq_n_u8(0); 4];
        for (mask, sixteen) in masks.iter_mut().zip(bytes.as_chunks::<16>().0) {
            *mask = vcleq_u8(vld1q_u8(sixteen.as_ptr()), vdupq_n_u8(limit));
        }
        masks
    };
    bits(masks)
}
