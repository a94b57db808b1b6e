//! All that depends on the architecture of the machine: one file for each, with the same names.
//!
//! A file has the numbers of system calls, the registers of a tracee, the registers in a perf sample,
//! and vector instructions. No other module mentions an architecture; `tests/imports` checks this.
//!
//! | | x86-64 | AArch64 |
//! |---|---|---|
//! | [`Arch::Native`] | x86-64, with x32 | AArch64 |
//! | [`Arch::Compat`] | i386 | 32-bit Arm (EABI) |
//! | 64-bit code can make 32-bit calls | yes, by `int 0x80` | no |
//! | at the exit from a call, the first argument is | kept | replaced by the result |
//! | at the entry to a call, the result is | -ENOSYS | the first argument |
//! | a call that was interrupted by a stop alone can wait again | yes | no |
//! | entry and exit differ by | the result | x7 (32-bit: r12), which the kernel sets to 0 or 1 |

mod call;
pub(crate) use call::{Arch, Call, SOCKETCALL_ACCEPTS, SampledCall};

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "aarch64")]
use aarch64 as this;

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
use x86_64 as this;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!(
    "tcptally runs on x86-64 and AArch64; another architecture needs a file in src/sys/arch"
);

#[cfg(test)]
pub(crate) use this::sampled_values;
pub(crate) use this::{
    AUDIT_ARCHES, CALLS, HAS_MIXED_CALLS, RED_ZONE_BYTES, Registers, SAMPLED_REGISTERS,
    SAMPLES_TELL_LISTENER, at_most, digits, fail_call, hex_digits_and, line_ends, registers,
    sampled_call, set_registers, shared, wait_again,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_c_library() {
        let number = |call: libc::c_long| call as u32;
        let expected = [
            (number(libc::SYS_accept), Call::Accept),
            (number(libc::SYS_accept4), Call::Accept),
            (number(libc::SYS_io_uring_setup), Call::IoUringSetup),
            (number(libc::SYS_clone), Call::Clone),
            (number(libc::SYS_clone3), Call::Clone3),
        ];
        // The C library has no numbers of x32, which have this bit.
        let native = CALLS.iter().filter(|c| c.0 == Arch::Native && c.1 & 0x4000_0000 == 0);
        assert_eq!(native.map(|c| (c.1, c.2)).collect::<Vec<_>>(), expected);
    }
}
