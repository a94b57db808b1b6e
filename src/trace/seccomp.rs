//! The seccomp filter of a spawned server: RET_TRACE for accept, ALLOW for all else.

use crate::sys::arch::{AUDIT_ARCHES, Arch, CALLS, Call, SOCKETCALL_ACCEPTS};
use crate::sys::fork::Instruction;

use super::untraced::CLONE_UNTRACED;

/// What the filter does. All other calls are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// Stop the tracee at accept and io_uring_setup, and where it may make a process without a
    /// tracer: at clone with CLONE_UNTRACED and at clone3, whose flags a filter cannot see.
    pub trace: bool,
    /// io_uring_setup fails with ENOSYS.
    pub deny_io_uring: bool,
}

// Offsets in struct seccomp_data (linux/seccomp.h); this machine is little-endian.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;
const SECOND_ARGUMENT: u32 = 24;

/// The data of RET_TRACE for clone and clone3. The other data are those of a filter of the server's own: of two filters
/// that return RET_TRACE, the kernel takes the newer one.
pub(super) const CLONE_DATA: u64 = 0x7c1a;
/// The same for accept and io_uring_setup.
pub(super) const ACCEPT_DATA: u64 = 0x7c1b;
/// The same for seccomp(2) with SECCOMP_FILTER_FLAG_NEW_LISTENER.
pub(super) const LISTENER_DATA: u64 = 0x7c1c;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_IF_SET: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

const fn statement(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

/// Continues with the next instruction if equal, otherwise skips `skip` instructions.
const fn unless_equal_skip(k: u32, skip: u8) -> Instruction {
    Instruction { code: JUMP_IF_EQUAL, jt: 0, jf: skip, k }
}

/// Returns RET_TRACE where a filter is installed that asks another process: its answer outranks RET_TRACE, so that
/// accepts may pass unseen. The accumulator holds the number.
fn stop_at_new_listener() -> [Instruction; 6] {
    let new_listener = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32;
    [
        unless_equal_skip(libc::SYS_seccomp as u32, 5),
        statement(LOAD, FIRST_ARGUMENT),
        unless_equal_skip(libc::SECCOMP_SET_MODE_FILTER, 3),
        statement(LOAD, SECOND_ARGUMENT),
        Instruction { code: JUMP_IF_SET, jt: 0, jf: 1, k: new_listener },
        statement(RETURN, libc::SECCOMP_RET_TRACE | LISTENER_DATA as u32),
    ]
}

impl Program {
    fn action(self, call: Call) -> Option<u32> {
        match call {
            Call::IoUringSetup if self.deny_io_uring => {
                Some(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32)
            }
            Call::Clone | Call::Clone3 if self.trace => {
                Some(libc::SECCOMP_RET_TRACE | CLONE_DATA as u32)
            }
            _ if self.trace => Some(libc::SECCOMP_RET_TRACE | ACCEPT_DATA as u32),
            _ => None,
        }
    }

    /// Returns the instructions, a block for each architecture. The architecture is compared first,
    /// because a number is a different call on each.
    pub(super) fn instructions(self) -> Vec<Instruction> {
        let mut program = Vec::new();
        for (arch, audit) in AUDIT_ARCHES {
            let mut block = vec![statement(LOAD, NUMBER)];
            for &(_, number, call) in CALLS.iter().filter(|c| c.0 == arch) {
                let Some(action) = self.action(call) else { continue };
                let inner = match call {
                    Call::Socketcall => SOCKETCALL_ACCEPTS
                        .iter()
                        .flat_map(|o| [unless_equal_skip(*o, 1), statement(RETURN, action)])
                        .collect(),
                    Call::Clone => {
                        let is_set =
                            Instruction { code: JUMP_IF_SET, jt: 0, jf: 1, k: CLONE_UNTRACED };
                        vec![is_set, statement(RETURN, action)]
                    }
                    _ => Vec::new(),
                };
                if inner.is_empty() {
                    block.push(unless_equal_skip(number, 1));
                    block.push(statement(RETURN, action));
                } else {
                    // The accumulator holds the first argument in between.
                    block.push(unless_equal_skip(number, inner.len() as u8 + 2));
                    block.push(statement(LOAD, FIRST_ARGUMENT));
                    block.extend(inner);
                    block.push(statement(LOAD, NUMBER));
                }
            }
            if self.trace && arch == Arch::Native {
                block.extend(stop_at_new_listener());
            }
            block.push(statement(RETURN, libc::SECCOMP_RET_ALLOW));
            program.push(statement(LOAD, ARCH));
            program.push(unless_equal_skip(audit, block.len() as u8));
            program.extend(block);
        }
        program.push(statement(RETURN, libc::SECCOMP_RET_ALLOW));
        program
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Interprets the few instructions that are used here, as the kernel would.
    fn run(program: &[Instruction], arch: u32, number: u32, first_argument: u32) -> u32 {
        let (mut accumulator, mut at) = (0, 0);
        loop {
            let i = &program[at];
            at += 1;
            match (i.code, i.k) {
                (LOAD, NUMBER) => accumulator = number,
                (LOAD, ARCH) => accumulator = arch,
                (LOAD, FIRST_ARGUMENT) => accumulator = first_argument,
                (JUMP_IF_EQUAL, k) => {
                    at += usize::from(if accumulator == k { i.jt } else { i.jf });
                }
                (JUMP_IF_SET, k) => {
                    at += usize::from(if accumulator & k != 0 { i.jt } else { i.jf });
                }
                (RETURN, k) => return k,
                other => panic!("{other:?}"),
            }
        }
    }

    const TRACE: Program = Program { trace: true, deny_io_uring: false };
    const DENY: Program = Program { trace: false, deny_io_uring: true };
    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const STOP: u32 = libc::SECCOMP_RET_TRACE | ACCEPT_DATA as u32;
    const CLONE: u32 = libc::SECCOMP_RET_TRACE | CLONE_DATA as u32;

    /// Each number that can be a call, on each architecture, with its call if it is in the table.
    fn numbers() -> impl Iterator<Item = (u32, u32, Option<Call>)> {
        let numbers = (0..1024).chain(0x4000_0000..0x4000_0400);
        numbers.flat_map(|number| {
            AUDIT_ARCHES.map(|(arch, audit)| {
                let known = CALLS.iter().find(|c| c.0 == arch && c.1 == number);
                (audit, number, known.map(|c| c.2))
            })
        })
    }

    #[test]
    fn clone_stops_only_where_it_may_make_an_untraced_process() {
        let program = TRACE.instructions();
        for (arch, number, call) in numbers() {
            let act = |flags| run(&program, arch, number, flags);
            let (usual, untraced) = (libc::SIGCHLD as u32, libc::SIGCHLD as u32 | CLONE_UNTRACED);
            match call {
                Some(Call::Clone) => assert_eq!((act(usual), act(untraced)), (ALLOW, CLONE)),
                // The filter cannot see its flags.
                Some(Call::Clone3) => assert_eq!((act(usual), act(untraced)), (CLONE, CLONE)),
                Some(_) => {}
                // Also fork and vfork, which have no flags, and the number of clone elsewhere.
                None => assert_eq!(act(untraced), ALLOW, "{arch:x} {number}"),
            }
        }
    }

    #[test]
    fn stops_at_accept_of_every_architecture_and_nowhere_else() {
        let program = TRACE.instructions();
        let mut stops = 0;
        for (arch, number, call) in numbers() {
            let act = |argument| run(&program, arch, number, argument);
            match call {
                Some(Call::Accept | Call::IoUringSetup) => {
                    assert_eq!(act(5), STOP, "{arch:x} {number}");
                    stops += 1;
                }
                Some(Call::Socketcall) => {
                    for (operation, action) in [(5, STOP), (18, STOP), (3, ALLOW), (425, ALLOW)] {
                        assert_eq!(act(operation), action, "socketcall {operation}");
                    }
                }
                Some(Call::Clone | Call::Clone3) => {}
                None => assert_eq!(act(5), ALLOW, "{arch:x} {number}"),
            }
        }
        assert!(stops >= 5, "two calls of accept and one of io_uring, and those of 32 bits");
        let accept = libc::SYS_accept as u32;
        assert_eq!(run(&program, 1, accept, 0), ALLOW, "an architecture that is not in the table");
    }

    #[test]
    fn denies_io_uring_alone_where_nothing_is_traced() {
        let program = DENY.instructions();
        let denied = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
        for (arch, number, call) in numbers() {
            let is_denied = call == Some(Call::IoUringSetup);
            let expected = if is_denied { denied } else { ALLOW };
            assert_eq!(run(&program, arch, number, 5), expected, "{arch:x} {number}");
        }
    }
}
