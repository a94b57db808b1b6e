//! System calls that the tracer decodes, and what it finds in registers.

/// Whose numbers and registers a system call uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arch {
    /// That of 64-bit programs.
    Native,
    /// That of 32-bit programs.
    Compat,
}

/// A system call that the tracer decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// accept(2) or accept4: descriptor, address, length.
    Accept,
    /// socketcall(2) of i386: the operation, and a pointer to its arguments. [`SOCKETCALL_ACCEPTS`]
    /// are two of the operations.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only i386 has it"))]
    Socketcall,
    /// io_uring_setup(2): connections accepted through a ring do not use accept(2).
    IoUringSetup,
    /// clone(2): the flags are the first argument on all these architectures.
    Clone,
    /// clone3(2): a pointer to `struct clone_args`, whose first 64 bits are the flags.
    Clone3,
}

/// SYS_ACCEPT and SYS_ACCEPT4 (linux/net.h).
pub(crate) const SOCKETCALL_ACCEPTS: [u32; 2] = [5, 18];

/// What the registers in a sample tell of a call of accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SampledCall {
    /// What the call returned.
    pub result: u64,
    /// The listening descriptor, unless the result has replaced it.
    pub listener: Option<i32>,
    /// Where the caller wants the peer's address.
    pub address: u64,
    /// Where the length of the buffer is.
    pub length: u64,
    /// The stack pointer.
    pub stack_pointer: u64,
    /// Whether the call has not returned yet; `None` if registers do not tell.
    pub is_entry: Option<bool>,
}
