//! CAP_PERFMON (Linux 5.8, capabilities(7)), held ready and raised only where it is needed.
//!
//! A binary that carries it as a file capability (`setcap cap_perfmon+ep`) starts with it
//! effective. What such a process executes gains nothing from it: neither the inheritable nor
//! the ambient set is touched, and both are empty unless whoever started it arranged otherwise.
#![allow(unsafe_code)]

use std::io;

const PERFMON: u32 = 38;
const SYS_ADMIN: u32 = 21;
/// `_LINUX_CAPABILITY_VERSION_3` of linux/capability.h: 64 bits, as two structures.
const VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const WORD: usize = (PERFMON / 32) as usize;
const BIT: u32 = 1 << (PERFMON % 32);

fn get() -> io::Result<[Sets; 2]> {
    let mut header = Header { version: VERSION, pid: 0 };
    let mut sets = [Sets::default(); 2];
    // SAFETY: both structures live, and version 3 fills two of the second kind.
    let r = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) };
    if r == -1 { Err(io::Error::last_os_error()) } else { Ok(sets) }
}

fn set(sets: &[Sets; 2]) -> io::Result<()> {
    let mut header = Header { version: VERSION, pid: 0 };
    // SAFETY: as in `get`; the kernel only reads them.
    let r = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr()) };
    if r == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Takes CAP_PERFMON out of the calling thread's effective set, keeping it for [`raised`]. To be
/// called first thing, before there are other threads. Root keeps what it has.
pub fn lower() -> io::Result<()> {
    // SAFETY: takes and touches nothing.
    if unsafe { libc::geteuid() } == 0 || !is_permitted() {
        return Ok(());
    }
    // A process that got capabilities of its file is not "dumpable", nor are its children until
    // they execute something: they could not be traced. Whoever would trace or read this process
    // still needs the capability himself: ptrace(2), "Ptrace access mode checking".
    // SAFETY: takes numbers only.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) };
    lower_here()
}

fn lower_here() -> io::Result<()> {
    let mut sets = get()?;
    if sets[WORD].effective & BIT == 0 {
        return Ok(());
    }
    sets[WORD].effective &= !BIT;
    set(&sets)
}

/// Takes out of the calling thread's effective set what makes every tracepoint readable.
pub fn renounce() -> io::Result<()> {
    let mut sets = get()?;
    sets[WORD].effective &= !BIT;
    sets[0].effective &= !(1 << SYS_ADMIN);
    set(&sets)
}

/// Makes effective what [`renounce`] took, where it is permitted.
pub fn resume() -> io::Result<()> {
    let mut sets = get()?;
    sets[WORD].effective |= sets[WORD].permitted & BIT;
    sets[0].effective |= sets[0].permitted & (1 << SYS_ADMIN);
    set(&sets)
}

/// Whether the calling thread may raise CAP_PERFMON.
pub fn is_permitted() -> bool {
    get().is_ok_and(|sets| sets[WORD].permitted & BIT != 0)
}

/// CAP_PERFMON is effective in this thread while this lives.
#[derive(Debug)]
#[must_use = "it is lowered again when this is dropped"]
pub struct Raised {
    /// A guard belongs to the thread that made it, as capabilities do.
    was_lowered: bool,
    not_send: std::marker::PhantomData<*const ()>,
}

/// Raises CAP_PERFMON where the thread has it in its permitted set; does nothing elsewhere.
pub fn raised() -> Raised {
    let was_lowered = get().is_ok_and(|mut sets| {
        let has = sets[WORD];
        sets[WORD].effective |= BIT;
        has.permitted & BIT != 0 && has.effective & BIT == 0 && set(&sets).is_ok()
    });
    Raised { was_lowered, not_send: std::marker::PhantomData }
}

impl Drop for Raised {
    fn drop(&mut self) {
        if self.was_lowered {
            // Taking a bit out of one's own effective set cannot be refused.
            let _ = lower_here();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_effective() -> bool {
        get().unwrap()[WORD].effective & BIT != 0
    }

    /// In a thread of its own: capabilities are a thread's.
    #[test]
    fn is_effective_only_while_raised() {
        std::thread::spawn(|| {
            if !is_permitted() {
                drop(raised());
                assert!(!is_effective());
                return;
            }
            lower_here().unwrap();
            assert!(!is_effective());
            let guard = raised();
            assert!(is_effective());
            drop(guard);
            assert!(!is_effective());
            assert!(is_permitted());
        })
        .join()
        .unwrap();
    }
}
