//! The registers of a system call. No other module depends on their layout.

use nix::unistd::Pid;

use crate::sys::ptrace::{Registers, Tid};

use super::abi::{self, Arch, Call};

#[cfg(not(target_arch = "x86_64"))]
compile_error!(
    "tcptally can trace only on x86-64: other architectures need a table here and in abi.rs"
);

const ENOSYS: i64 = 38;

/// A system call as the registers of a stopped tracee show it.
#[derive(Clone, Copy, Debug)]
pub struct CallRegisters(pub Registers);

impl CallRegisters {
    /// Returns the number of the call.
    pub fn number(&self) -> u64 {
        self.0.orig_rax
    }

    /// Whether this is an x32 call, which no tracepoint of a single system call sees.
    pub fn is_x32(&self) -> bool {
        self.number() & u64::from(abi::X32) != 0
    }

    /// Returns the result of a successful call; `None` for an error, and at the entry of a call,
    /// where the register holds -ENOSYS.
    pub fn success(&self) -> Option<i32> {
        let result = self.0.rax as i64;
        // A 32-bit call's negative results are sign-extended by the kernel.
        i32::try_from(result).ok().filter(|r| *r >= 0)
    }

    /// Whether the tracee is at the entry of a call, or at the exit of one that the kernel does not
    /// implement.
    pub fn is_entry(&self) -> bool {
        self.0.rax as i64 == -ENOSYS
    }

    /// Whether the tracee is at the exit from a successful 64-bit accept. A signal handler that
    /// starts there still has the number of the call in its register, but rcx holds the address of
    /// the next instruction only directly after `syscall`.
    pub fn is_at_accept_exit(&self) -> bool {
        let mut calls = abi::candidates(self.number());
        self.success().is_some()
            && self.0.rcx == self.0.rip
            && calls.any(|c| c == (Arch::X86_64, Call::Accept))
    }

    /// Returns an argument of the call. The arguments are unchanged at its exit.
    pub fn argument(&self, index: usize, arch: Arch) -> u64 {
        let r = &self.0;
        match arch {
            Arch::X86_64 => [r.rdi, r.rsi, r.rdx, r.r10][index],
            Arch::I386 => [r.rbx, r.rcx, r.rdx, r.rsi][index] & 0xffff_ffff,
        }
    }

    /// Returns a copy with another first argument.
    pub fn with_first_argument(mut self, value: u64, arch: Arch) -> CallRegisters {
        match arch {
            Arch::X86_64 => self.0.rdi = value,
            Arch::I386 => self.0.rbx = value,
        }
        self
    }

    /// Returns the architecture of the call by the instruction that made it, for kernels and filters
    /// without PTRACE_GET_SYSCALL_INFO. The tracee is in a stop of the call.
    pub fn arch_by_instruction(&self, tid: Tid) -> Option<Arch> {
        /// `__USER32_CS` of asm/segment.h.
        const CODE_SEGMENT_32: u64 = 0x23;
        const INT_80: [u8; 2] = [0xcd, 0x80];
        if self.0.cs == CODE_SEGMENT_32 {
            return Some(Arch::I386);
        }
        let address = self.0.rip.checked_sub(INT_80.len() as u64)?;
        let word = nix::sys::ptrace::read(Pid::from_raw(tid), address as *mut _).ok()?;
        let is_int_80 = word.to_ne_bytes().starts_with(&INT_80);
        Some(if is_int_80 { Arch::I386 } else { Arch::X86_64 })
    }

    /// The stack pointer.
    pub fn stack_pointer(&self) -> u64 {
        self.0.rsp
    }

    /// The address of the next instruction.
    pub fn instruction(&self) -> u64 {
        self.0.rip
    }
}
