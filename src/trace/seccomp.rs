//! The seccomp filter of a spawned server: RET_TRACE for accept, ALLOW for all else.

use crate::sys::fork::Instruction;

use super::abi::{Arch, CALLS, Call, SOCKETCALL_ACCEPTS};

/// What the filter does besides letting calls pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// Stop the tracee at accept and io_uring_setup.
    pub trace: bool,
    /// io_uring_setup fails with ENOSYS.
    pub deny_io_uring: bool,
}

// Offsets in struct seccomp_data (linux/seccomp.h); this machine is little-endian.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

const fn statement(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

/// Goes on with the next instruction if equal, else skips `skip`.
const fn unless_equal_skip(k: u32, skip: u8) -> Instruction {
    Instruction { code: JUMP_IF_EQUAL, jt: 0, jf: skip, k }
}

impl Program {
    fn action(self, call: Call) -> Option<u32> {
        match call {
            Call::IoUringSetup if self.deny_io_uring => {
                Some(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32)
            }
            _ if self.trace => Some(libc::SECCOMP_RET_TRACE),
            _ => None,
        }
    }

    /// The instructions, for each architecture a block: a number of the wrong architecture is
    /// another call, so the architecture is compared first.
    pub fn instructions(self) -> Vec<Instruction> {
        let mut program = Vec::new();
        for arch in Arch::ALL {
            let mut block = vec![statement(LOAD, NUMBER)];
            for &(_, number, call) in CALLS.iter().filter(|c| c.0 == arch) {
                let Some(action) = self.action(call) else { continue };
                if call == Call::Socketcall {
                    let mut inner = vec![statement(LOAD, FIRST_ARGUMENT)];
                    for operation in SOCKETCALL_ACCEPTS {
                        inner.push(unless_equal_skip(operation, 1));
                        inner.push(statement(RETURN, action));
                    }
                    // The accumulator holds the operation now.
                    inner.push(statement(LOAD, NUMBER));
                    block.push(unless_equal_skip(number, inner.len() as u8));
                    block.extend(inner);
                } else {
                    block.push(unless_equal_skip(number, 1));
                    block.push(statement(RETURN, action));
                }
            }
            block.push(statement(RETURN, libc::SECCOMP_RET_ALLOW));
            program.push(statement(LOAD, ARCH));
            program.push(unless_equal_skip(arch.audit(), block.len() as u8));
            program.extend(block);
        }
        program.push(statement(RETURN, libc::SECCOMP_RET_ALLOW));
        program
    }
}
