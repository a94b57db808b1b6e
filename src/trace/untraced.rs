//! Clears CLONE_UNTRACED in clone(2) and clone3. A process created with it has the seccomp filter
//! but no tracer, so its accept calls fail with ENOSYS.

use std::io;

use crate::sys::arch::{self, Arch, Call, Registers, set_registers};
use crate::sys::ptrace::{self, Tid};
use crate::sys::tracee;

/// `CLONE_UNTRACED` of linux/sched.h. Nothing but tracing depends on it.
pub(super) const CLONE_UNTRACED: u32 = 0x0080_0000;

/// Maximum number of changes that wait for their new process. A process that is killed early never
/// stops.
const MAX_WAITING: usize = 64;

/// Calls whose flags were changed, until both processes have the former value again. The kernel
/// preserves arguments, and the code after the call may rely on that.
#[derive(Debug, Default)]
pub(super) struct UntracedClones(Vec<Change>);

/// A changed argument, in the calling thread and in its child's copy.
#[derive(Clone, Copy, Debug)]
struct Change {
    caller: Tid,
    is_caller_done: bool,
    is_child_done: bool,
    arch: Arch,
    /// The registers at the entry of the call.
    registers: Registers,
    flags: Flags,
}

/// Where the flags are.
#[derive(Clone, Copy, Debug)]
enum Flags {
    /// In the first argument.
    Argument { former: u64 },
    /// In memory that the first argument points to: the first member of `struct clone_args`.
    Memory { address: u64, former: u64 },
}

impl UntracedClones {
    /// Whether nothing has to be restored.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether something has to be restored in a thread at the exit from its call.
    pub(super) fn awaits_exit(&self, tid: Tid) -> bool {
        self.0.iter().any(|c| c.caller == tid && !c.is_caller_done)
    }

    /// Clears the flag in a clone or clone3 call; the thread is at the entry of the call. Returns
    /// whether it was set. Then the thread must stop at the exit from the call.
    pub(super) fn enter(
        &mut self,
        tid: Tid,
        registers: &Registers,
        arch: Arch,
        call: Call,
    ) -> io::Result<bool> {
        let argument = registers.argument(0, arch);
        let flags = match call {
            Call::Clone => Flags::Argument { former: argument },
            Call::Clone3 => {
                let mut bytes = [0; 8];
                // The kernel will refuse the call for the same reason.
                if tracee::read_memory(tid, argument, &mut bytes).is_err() {
                    return Ok(false);
                }
                Flags::Memory { address: argument, former: u64::from_ne_bytes(bytes) }
            }
            _ => return Ok(false),
        };
        let (Flags::Argument { former } | Flags::Memory { former, .. }) = flags;
        if former & u64::from(CLONE_UNTRACED) == 0 {
            return Ok(false);
        }
        write(tid, registers, arch, flags, without(former))?;
        if self.0.len() >= MAX_WAITING {
            self.0.remove(0);
        }
        self.0.retain(|c| c.caller != tid || c.is_caller_done);
        self.0.push(Change {
            caller: tid,
            is_caller_done: false,
            is_child_done: false,
            arch,
            registers: *registers,
            flags,
        });
        Ok(true)
    }

    /// Restores what was changed for a thread that is at the exit from a system call. Returns
    /// whether something was changed.
    pub(super) fn exit(&mut self, tid: Tid, registers: &Registers) -> io::Result<bool> {
        let Some(at) = self.0.iter().position(|c| c.caller == tid && !c.is_caller_done) else {
            return Ok(false);
        };
        let change = self.0[at];
        change.put_back(tid, registers)?;
        // If the call failed, there is no new process to wait for.
        if change.is_child_done || registers.success().is_none() {
            self.0.remove(at);
        } else {
            self.0[at].is_caller_done = true;
        }
        Ok(true)
    }

    /// Restores what a new thread or process has copied. It is at its first stop.
    pub(super) fn appear(&mut self, tid: Tid) -> io::Result<()> {
        let registers = arch::registers(tid)?;
        let is_copy = |c: &Change| !c.is_child_done && c.is_copied_in(&registers);
        let Some(at) = self.0.iter().position(is_copy) else { return Ok(()) };
        let change = self.0[at];
        change.put_back(tid, &registers)?;
        if change.is_caller_done {
            self.0.remove(at);
        } else {
            self.0[at].is_child_done = true;
        }
        Ok(())
    }
}

impl Change {
    fn put_back(&self, tid: Tid, registers: &Registers) -> io::Result<()> {
        match self.flags {
            Flags::Argument { former } => match registers.kept_first_argument(self.arch) {
                Some(_) => write(tid, registers, self.arch, self.flags, former),
                None => Ok(()),
            },
            Flags::Memory { address, former } => {
                let mut bytes = [0; 8];
                tracee::read_memory(tid, address, &mut bytes)?;
                // Shared memory may be restored already, or have other contents.
                if u64::from_ne_bytes(bytes) == without(former) {
                    ptrace::poke(tid, address, former)?;
                }
                Ok(())
            }
        }
    }

    /// Whether these are the registers of a process created by this call: all but the result and
    /// the stack pointer are copies.
    fn is_copied_in(&self, child: &Registers) -> bool {
        let argument = |registers: &Registers, n| registers.argument(n, self.arch);
        let first = match self.flags {
            Flags::Argument { former } => without(former),
            Flags::Memory { address, .. } => address,
        };
        child.instruction() == self.registers.instruction()
            && child.kept_first_argument(self.arch).is_none_or(|argument| argument == first)
            && (1..4).all(|n| argument(child, n) == argument(&self.registers, n))
    }
}

fn without(flags: u64) -> u64 {
    flags & !u64::from(CLONE_UNTRACED)
}

fn write(tid: Tid, registers: &Registers, arch: Arch, flags: Flags, value: u64) -> io::Result<()> {
    match flags {
        Flags::Argument { .. } => set_registers(tid, &registers.with_first_argument(value, arch)),
        // Unlike process_vm_writev(2) it also writes to read-only memory.
        Flags::Memory { address, .. } => ptrace::poke(tid, address, value),
    }
}
