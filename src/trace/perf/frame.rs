//! The stack frame of a signal handler, as the kernel of x86-64 builds it: rt_sigreturn(2) makes
//! the registers in it the thread's own (arch/x86/include/asm/sigframe.h, sigcontext.h).

use crate::sys::ptrace::Registers;
use crate::sys::tracee::{SignalSet, extended_size};

/// Offsets in `struct rt_sigframe`.
const FLAGS: usize = 8;
const STACK_FLAGS: usize = FLAGS + 24;
const GENERAL: usize = FLAGS + 40;
const SEGMENTS: usize = GENERAL + 18 * 8;
const OLD_MASK: usize = SEGMENTS + 8 + 16;
const EXTENDED: usize = GENERAL + 184;
const MASK: usize = GENERAL + 256;
const SIZE: usize = MASK + 8 + 128;

/// UC_FP_XSTATE, UC_SIGCONTEXT_SS and UC_STRICT_RESTORE_SS.
const ALL_FLAGS: u64 = 7;
/// No valid flags of sigaltstack(2), so that the thread keeps the alternate stack it has.
const NO_STACK_FLAGS: u32 = 0x7fff_ffff;

/// `struct _fpx_sw_bytes` in the legacy area, and what must stand behind the whole.
const SOFTWARE: usize = 464;
const MAGIC1: u32 = 0x4650_5853;
const MAGIC2: u32 = 0x4650_5845;
/// The features in use, at the start of XSAVE's header.
const IN_USE: usize = 512;
/// TILECFG and TILEDATA: a process has them in its frames only once it has asked for them.
const TILES: u64 = 3 << 17;

/// The extended registers must be aligned to this, and so must the frame.
pub const ALIGNMENT: u64 = 64;

/// What the kernel gives a call that it means to restart, in place of a result (linux/errno.h).
const ERESTARTSYS: i64 = -512;
const ERESTARTNOINTR: i64 = -513;
const ERESTARTNOHAND: i64 = -514;
const ERESTART_RESTARTBLOCK: i64 = -516;
/// Both `syscall` and `int 0x80` are this long.
const CALL_LENGTH: u64 = 2;

/// The registers with which a thread goes on, where those of its interrupted system call tell the
/// kernel to restart it: the kernel does this for a thread that it resumes itself.
pub fn resumed(registers: &Registers) -> Registers {
    let mut r = *registers;
    if (r.orig_rax as i64) < 0 {
        return r;
    }
    match r.rax as i64 {
        ERESTARTSYS | ERESTARTNOINTR | ERESTARTNOHAND => r.rax = r.orig_rax,
        ERESTART_RESTARTBLOCK => r.rax = libc::SYS_restart_syscall as u64,
        _ => return r,
    }
    r.rip -= CALL_LENGTH;
    r
}

/// A frame to be put at `address`, from which rt_sigreturn makes a thread go on with these
/// registers and this mask. `extended` is what PTRACE_GETREGSET gives; `restorer` is code that
/// calls rt_sigreturn, to which the handler returns.
pub fn build(
    address: u64,
    restorer: u64,
    registers: &Registers,
    extended: &[u8],
    mask: SignalSet,
) -> Vec<u8> {
    let r = resumed(registers);
    let start = SIZE.next_multiple_of(ALIGNMENT as usize);
    let mut frame = vec![0; start];
    put(&mut frame, 0, &restorer.to_ne_bytes());
    put(&mut frame, FLAGS, &ALL_FLAGS.to_ne_bytes());
    put(&mut frame, STACK_FLAGS, &NO_STACK_FLAGS.to_ne_bytes());
    let general = [
        r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15, r.rdi, r.rsi, r.rbp, r.rbx, r.rdx,
        r.rax, r.rcx, r.rsp, r.rip, r.eflags,
    ];
    for (i, value) in general.iter().enumerate() {
        put(&mut frame, GENERAL + i * 8, &value.to_ne_bytes());
    }
    for (i, value) in [r.cs, r.gs, r.fs, r.ss].iter().enumerate() {
        put(&mut frame, SEGMENTS + i * 2, &(*value as u16).to_ne_bytes());
    }
    put(&mut frame, OLD_MASK, &mask.0.to_ne_bytes());
    put(&mut frame, MASK, &mask.0.to_ne_bytes());
    put(&mut frame, EXTENDED, &(address + start as u64).to_ne_bytes());
    frame.extend(as_in_frame(extended));
    frame
}

/// The kernel writes the supported features where a frame has `struct _fpx_sw_bytes`.
fn as_in_frame(extended: &[u8]) -> Vec<u8> {
    let word = |at: usize| {
        extended.get(at..at + 8).map_or(0, |b| u64::from_ne_bytes(b.try_into().unwrap_or_default()))
    };
    let features = word(SOFTWARE) & !TILES | word(IN_USE) & TILES;
    let size = extended_size(features);
    let mut area = extended.to_vec();
    area.resize(size, 0);
    put(&mut area, SOFTWARE, &MAGIC1.to_ne_bytes());
    put(&mut area, SOFTWARE + 4, &(size as u32 + 4).to_ne_bytes());
    put(&mut area, SOFTWARE + 8, &features.to_ne_bytes());
    put(&mut area, SOFTWARE + 16, &(size as u32).to_ne_bytes());
    area.extend(MAGIC2.to_ne_bytes());
    area
}

fn put(into: &mut [u8], at: usize, bytes: &[u8]) {
    into[at..at + bytes.len()].copy_from_slice(bytes);
}
