//! Makes sure that processes created by clone become tracees.

use std::io;

use crate::ShortfallKind;
use crate::sys::arch::{Arch, Call, Registers};
use crate::sys::ptrace::Tid;
use crate::trace::abi::{self, CallAt};
use crate::trace::stop::{SeccompStop, SyscallStop};
use crate::trace::untraced::UntracedClones;

use super::stops::unless_killed;
use super::tracees::Tracees;

impl Tracees {
    pub(super) fn enter_clone_of(&mut self, stop: &SeccompStop) -> io::Result<bool> {
        let registers = stop.registers()?;
        match abi::call_at(|| stop.arch(), stop.tid(), &registers)? {
            CallAt::Known(arch, call) => self.enter_clone(stop.tid(), &registers, arch, call),
            CallAt::Ambiguous | CallAt::Other => Ok(false),
        }
    }

    /// Makes sure that a process created by clone becomes a tracee. Returns whether the thread must
    /// stop at the exit from the call.
    pub(super) fn enter_clone(
        &mut self,
        tid: Tid,
        registers: &Registers,
        arch: Arch,
        call: Call,
    ) -> io::Result<bool> {
        match self.untraced_clones.enter(tid, registers, arch, call) {
            Ok(is_changed) => {
                if is_changed {
                    self.status.warn(
                        "the server creates processes with CLONE_UNTRACED; tcptally removes the \
                         flag, so that they are traced and counted",
                    );
                }
                Ok(is_changed)
            }
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Err(e),
            Err(e) => {
                self.status.record_shortfall(
                    ShortfallKind::Unobservable,
                    1,
                    format!(
                        "process {tid} creates a process with CLONE_UNTRACED, and the flag cannot \
                         be removed ({e}): connections that the new process accepts are not \
                         counted, and under the engine seccomp its accept fails with ENOSYS; use \
                         '--engine syscall'"
                    ),
                );
                Ok(false)
            }
        }
    }

    pub(super) fn exit_clone(&mut self, stop: &SyscallStop) -> io::Result<bool> {
        let exit = |clones: &mut UntracedClones| clones.exit(stop.tid(), &stop.registers()?);
        Ok(unless_killed(exit(&mut self.untraced_clones))?.unwrap_or(false))
    }
}
