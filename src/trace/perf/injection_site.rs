//! What an injected system call borrows of a process: two pieces of its code, and a place on the
//! stack of its first thread.

use std::fs;
use std::io;
use std::ops::Range;

use memchr::memmem;

use crate::sys::ptrace::Tid;
use crate::sys::tracee::read_memory;
use crate::trace::procfs;

/// Why no system call can be injected.
#[derive(Debug, thiserror::Error)]
pub enum InjectError {
    /// The filter may forbid the call, or kill for it.
    #[error("it runs under a seccomp filter")]
    Seccomp,
    /// Or in 32-bit code at the moment.
    #[error("it is a 32-bit program")]
    ThirtyTwoBit,
    /// Returns are checked against a copy of the stack.
    #[error("it runs with a shadow stack")]
    ShadowStack,
    /// prctl(2), PR_SET_SYSCALL_USER_DISPATCH.
    #[error("it handles its own system calls")]
    SyscallDispatch,
    /// No code that calls the kernel and returns.
    #[error("its code has no system call that could be borrowed")]
    Code,
    /// No room on the stack.
    #[error("the stack of its first thread has no room")]
    Stack,
    /// The first thread has ended, others go on.
    #[error("its first thread has ended")]
    Leader,
    /// The kernel refused rt_sigaction.
    #[error("rt_sigaction failed in it: {0}")]
    Call(io::Error),
    /// Its memory, maps or registers cannot be had.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// The borrowed places.
#[derive(Clone, Debug)]
pub struct InjectionSite {
    /// The process, whose first thread has the same number.
    pub pid: Tid,
    /// `syscall; ret`
    pub call: u64,
    /// `mov $15, %eax; syscall`, rt_sigreturn(2): every C library and Go's runtime has it.
    pub restorer: u64,
    /// The stack of the first thread, as far as it is mapped.
    pub stack: Range<u64>,
}

const CALL: &[u8] = b"\x0f\x05\xc3";
const RESTORERS: [&[u8]; 2] =
    [b"\x48\xc7\xc0\x0f\x00\x00\x00\x0f\x05", b"\xb8\x0f\x00\x00\x00\x0f\x05"];

struct Mapping {
    range: Range<u64>,
    is_code: bool,
    name: String,
}

impl InjectionSite {
    /// Looks for them in a process, which may run meanwhile.
    ///
    /// # Errors
    /// [`InjectError`], the reason.
    pub fn find(pid: Tid) -> Result<InjectionSite, InjectError> {
        let field = |name| procfs::status_field(pid, name);
        if field("Seccomp").is_some_and(|mode| mode != "0") {
            return Err(InjectError::Seccomp);
        }
        if field("x86_Thread_features").is_some_and(|f| f.contains("shstk")) {
            return Err(InjectError::ShadowStack);
        }
        if field("State").is_some_and(|state| state.starts_with(['Z', 'X'])) {
            return Err(InjectError::Leader);
        }
        let mut mappings = mappings(pid)?;
        let stack = mappings.iter().find(|m| m.name == "[stack]").ok_or(InjectError::Stack)?;
        let stack = stack.range.clone();
        mappings.retain(|m| m.is_code && m.name != "[vsyscall]" && m.name != "[vdso]");
        // The C library and its loader are small and have both.
        mappings.sort_by_key(|m| !is_library(&m.name));
        let (mut call, mut restorer) = (None, None);
        for mapping in mappings {
            let found =
                |code: &[u8], at| memmem::find(code, at).map(|i| mapping.range.start + i as u64);
            let Ok(code) = code(pid, &mapping.range) else { continue };
            call = call.or_else(|| found(&code, CALL));
            restorer = restorer.or_else(|| RESTORERS.iter().find_map(|r| found(&code, r)));
            if let (Some(call), Some(restorer)) = (call, restorer) {
                return Ok(InjectionSite { pid, call, restorer, stack });
            }
        }
        Err(InjectError::Code)
    }

    /// Whether the code is still there. The thread that is about to run it must stand still.
    pub fn still_holds(&self) -> bool {
        let starts = |at, with: &[u8]| {
            let mut bytes = vec![0; with.len()];
            read_memory(self.pid, at, &mut bytes).is_ok() && bytes == with
        };
        starts(self.call, CALL) && RESTORERS.iter().any(|r| starts(self.restorer, r))
    }
}

fn is_library(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    file.starts_with("libc.") || file.starts_with("libc-") || file.starts_with("ld-")
}

/// Go programs have some tens of megabytes.
const MAX_CODE_BYTES: u64 = 256 << 20;

fn code(pid: Tid, range: &Range<u64>) -> io::Result<Vec<u8>> {
    if range.end - range.start > MAX_CODE_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = vec![0; (range.end - range.start) as usize];
    read_memory(pid, range.start, &mut bytes)?;
    Ok(bytes)
}

fn mappings(pid: Tid) -> io::Result<Vec<Mapping>> {
    let maps = fs::read(format!("/proc/{pid}/maps"))?;
    let maps = String::from_utf8_lossy(&maps);
    Ok(maps.lines().filter_map(mapping).collect())
}

/// `7ffd4f6d1000-7ffd4f6f2000 rw-p 00000000 00:00 0    [stack]`
fn mapping(line: &str) -> Option<Mapping> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let hex = |s| u64::from_str_radix(s, 16).ok();
    let is_code = fields.next()?.starts_with("r-x");
    let name = fields.nth(3).unwrap_or_default().trim().to_owned();
    Some(Mapping { range: hex(start)?..hex(end)?, is_code, name })
}
