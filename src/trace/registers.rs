//! The one module that knows which register holds what.

use crate::sys::ptrace::Registers;

use super::abi::{self, Arch, Call};

#[cfg(not(target_arch = "x86_64"))]
compile_error!("tcptally traces x86-64 so far: other machines need a table here and in abi.rs");

const ENOSYS: i64 = 38;

/// A system call as the registers of a stopped tracee show it.
#[derive(Clone, Copy, Debug)]
pub struct CallRegisters(pub Registers);

impl CallRegisters {
    /// The number of the call.
    pub fn number(&self) -> u64 {
        self.0.orig_rax
    }

    /// Whether the number is one of x32, whose calls pass no tracepoint of a single call.
    pub fn is_x32(&self) -> bool {
        self.number() & u64::from(abi::X32) != 0
    }

    /// What the call returned, where that is a success; `None` for an error, and at the entry,
    /// where the kernel puts -ENOSYS in its place.
    pub fn success(&self) -> Option<i32> {
        let result = self.0.rax as i64;
        // A 32-bit call's negative results are sign-extended by the kernel.
        i32::try_from(result).ok().filter(|r| *r >= 0)
    }

    /// Whether the tracee stands at the entry of a call, or at the exit of one that the kernel
    /// does not have.
    pub fn is_entry(&self) -> bool {
        self.0.rax as i64 == -ENOSYS
    }

    /// Whether the tracee stands at the exit from a 64-bit accept that gave a descriptor. In a
    /// signal handler that began there, the number of the call is still the same; but only
    /// `syscall` leaves the address of the next instruction in rcx.
    pub fn stands_at_accept_exit(&self) -> bool {
        let mut calls = abi::candidates(self.number());
        self.success().is_some()
            && self.0.rcx == self.0.rip
            && calls.any(|c| c == (Arch::X86_64, Call::Accept))
    }

    /// Arguments of the call; they are still in place at its exit.
    pub fn argument(&self, index: usize, arch: Arch) -> u64 {
        let r = &self.0;
        match arch {
            Arch::X86_64 => [r.rdi, r.rsi, r.rdx, r.r10][index],
            Arch::I386 => [r.rbx, r.rcx, r.rdx, r.rsi][index] & 0xffff_ffff,
        }
    }

    /// The same with another first argument.
    pub fn with_first_argument(mut self, value: u64, arch: Arch) -> CallRegisters {
        match arch {
            Arch::X86_64 => self.0.rdi = value,
            Arch::I386 => self.0.rbx = value,
        }
        self
    }

    /// The stack pointer.
    pub fn stack_pointer(&self) -> u64 {
        self.0.rsp
    }

    /// The address of the instruction that comes next.
    pub fn instruction(&self) -> u64 {
        self.0.rip
    }
}
