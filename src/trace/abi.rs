//! System call numbers, by architecture. No other table has any.

/// The architecture of a system call: `AUDIT_ARCH_*` of linux/audit.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// 64-bit x86; x32 calls have bit 30 set in their number.
    X86_64,
    /// 32-bit x86.
    I386,
}

impl Arch {
    /// All architectures that programs on this machine can use.
    pub const ALL: [Arch; 2] = [Arch::X86_64, Arch::I386];

    /// Returns the value of `AUDIT_ARCH_*`.
    pub const fn audit(self) -> u32 {
        match self {
            Arch::X86_64 => 0xc000_003e,
            Arch::I386 => 0x4000_0003,
        }
    }

    /// Returns the architecture of an `AUDIT_ARCH_*`.
    pub fn from_audit(value: u32) -> Option<Arch> {
        Arch::ALL.into_iter().find(|a| a.audit() == value)
    }
}

/// A system call that the tracer decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// accept(2) or accept4: descriptor, address, length.
    Accept,
    /// i386 socketcall(2): the operation, and a pointer to its arguments. [`SOCKETCALL_ACCEPTS`]
    /// are two of the operations.
    Socketcall,
    /// io_uring_setup(2): connections accepted through a ring do not use accept(2).
    IoUringSetup,
    /// clone(2): the flags are the first argument on all these architectures.
    Clone,
    /// clone3(2): a pointer to `struct clone_args`, whose first 64 bits are the flags.
    Clone3,
}

/// SYS_ACCEPT and SYS_ACCEPT4 (linux/net.h).
pub(super) const SOCKETCALL_ACCEPTS: [u32; 2] = [5, 18];

/// The bit that the numbers of x32 calls have.
pub(super) const X32: u32 = 0x4000_0000;

/// Architecture, number, call.
pub(super) const CALLS: &[(Arch, u32, Call)] = &[
    (Arch::X86_64, 43, Call::Accept),
    (Arch::X86_64, 288, Call::Accept),
    (Arch::X86_64, 425, Call::IoUringSetup),
    (Arch::X86_64, 56, Call::Clone),
    (Arch::X86_64, 435, Call::Clone3),
    (Arch::X86_64, X32 + 43, Call::Accept),
    (Arch::X86_64, X32 + 288, Call::Accept),
    (Arch::X86_64, X32 + 425, Call::IoUringSetup),
    (Arch::X86_64, X32 + 56, Call::Clone),
    (Arch::X86_64, X32 + 435, Call::Clone3),
    (Arch::I386, 102, Call::Socketcall),
    (Arch::I386, 364, Call::Accept),
    (Arch::I386, 425, Call::IoUringSetup),
    (Arch::I386, 120, Call::Clone),
    (Arch::I386, 435, Call::Clone3),
];

/// Returns the calls that have this number on any architecture.
pub(super) fn candidates(number: u64) -> impl Iterator<Item = (Arch, Call)> {
    CALLS.iter().filter(move |c| u64::from(c.1) == number).map(|c| (c.0, c.2))
}
