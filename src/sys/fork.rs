//! Starts a command that waits until its tracer has seized it.
#![allow(unsafe_code)]

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use super::ptrace::Tid;

/// One instruction of a seccomp filter (linux/filter.h).
pub(crate) use libc::sock_filter as Instruction;

/// What the child does before exec.
#[derive(Clone, Debug, Default)]
pub(crate) struct Preparation {
    /// A seccomp filter to install, with no_new_privs only if the kernel requires it.
    pub filter: Option<Vec<Instruction>>,
}

/// A child that waits for [`StoppedChild::release`].
#[derive(Debug)]
pub(crate) struct StoppedChild {
    /// Its process id.
    pub pid: Tid,
    go: File,
    said: File,
}

/// A child that was released: before or after its exec.
#[derive(Debug)]
pub(crate) struct Released(File);

/// What a released child reported before its exec, or before it ended because exec failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Said {
    /// The result for the filter: installed (true: under no_new_privs), or the errno.
    pub filter: Option<Result<bool, i32>>,
    /// The errno of a failed exec.
    pub exec: Option<i32>,
}

const FILTER_PLAIN: i32 = -1;
const FILTER_NO_NEW_PRIVS: i32 = -2;
const EXEC: u8 = b'x';
const FILTER: u8 = b'f';

/// Forks a child that will execute `argv`, looked up in PATH as execvp(3) does.
///
/// # Errors
/// Those of fork(2) and pipe(2), or EINVAL for an empty `argv`.
pub(crate) fn hold(argv: &[CString], preparation: &Preparation) -> io::Result<StoppedChild> {
    if argv.is_empty() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let argv = pointers(argv);
    let mut environment = Environment::new();
    let (wait, go) = pipe2(OFlag::O_CLOEXEC)?;
    let (said, tell) = pipe2(OFlag::O_CLOEXEC)?;
    let (wait, go, said, tell) = (wait.into(), go.into(), said.into(), tell.into());
    // SAFETY: between fork and exec the child calls only async-signal-safe functions (execvp of
    // glibc and musl allocates on the stack) and touches only memory made before the fork.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let environment = environment.as_mut().map(Environment::complete);
            // SAFETY: as above.
            unsafe { run_child(&argv, environment, preparation, &wait, &go, &tell) }
        }
        pid => Ok(StoppedChild { pid, go, said }),
    }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Variables that name the process which they are meant for: sd_listen_fds(3),
/// sd_watchdog_enabled(3). That must be the command, not this process.
const PID_VARIABLES: [&[u8]; 2] = [b"LISTEN_PID", b"WATCHDOG_PID"];
/// The same process by the inode of its pidfd. It may be missing.
const PIDFD_VARIABLE: &[u8] = b"LISTEN_PIDFDID=";
/// Maximum number of digits of a process id.
const PID_DIGITS: usize = 10;

/// The environment of the command, if it differs from that of this process.
struct Environment {
    strings: Vec<Vec<u8>>,
    /// The strings that end with the command's process id, and their lengths without it.
    pids: Vec<(usize, usize)>,
    /// A pointer for each string, and a null pointer.
    pointers: Vec<*const libc::c_char>,
}

impl Environment {
    /// Creates all strings before the fork, because nothing may be allocated after it.
    fn new() -> Option<Environment> {
        let original = original_environment();
        let is_changed = original.is_some();
        let strings = original.unwrap_or_else(|| {
            let pair = |(name, value): (OsString, OsString)| {
                [name.as_bytes(), b"=", value.as_bytes()].concat()
            };
            std::env::vars_os().map(pair).collect()
        });
        let me = std::process::id().to_string();
        let mut new = Environment { strings: Vec::new(), pids: Vec::new(), pointers: Vec::new() };
        let listens = |s: &Vec<u8>| *s == [b"LISTEN_PID=", me.as_bytes()].concat();
        let is_activated = strings.iter().any(listens);
        for mut string in strings {
            if is_activated && string.starts_with(PIDFD_VARIABLE) {
                continue;
            }
            let is_mine = |name: &&[u8]| string == [name, &b"="[..], me.as_bytes()].concat();
            if PID_VARIABLES.iter().any(is_mine) {
                let length = string.len() - me.len();
                new.pids.push((new.strings.len(), length));
                string.resize(length + PID_DIGITS, 0);
            }
            string.push(0);
            new.strings.push(string);
        }
        new.pointers = vec![std::ptr::null(); new.strings.len() + 1];
        (is_changed || !new.pids.is_empty()).then_some(new)
    }

    /// Writes the id of the calling process into the strings. Returns the argument for execve(2).
    /// Does not allocate.
    fn complete(&mut self) -> &[*const libc::c_char] {
        // SAFETY: takes and touches nothing.
        let pid = unsafe { libc::getpid() }.unsigned_abs();
        let mut digits = [0u8; PID_DIGITS];
        let (mut rest, mut first) = (pid, PID_DIGITS);
        while rest > 0 && first > 0 {
            first -= 1;
            digits[first] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let digits = &digits[first..];
        for &(string, length) in &self.pids {
            if let Some(to) = self.strings[string].get_mut(length..length + digits.len()) {
                to.copy_from_slice(digits);
            }
        }
        for (pointer, string) in self.pointers.iter_mut().zip(&self.strings) {
            *pointer = string.as_ptr().cast();
        }
        &self.pointers
    }
}

/// Returns the environment as it was before the dynamic loader removed LD_LIBRARY_PATH, TMPDIR and
/// others, as it does for programs with file capabilities. The command has no capabilities and must
/// get the environment that it would get without tcptally.
fn original_environment() -> Option<Vec<Vec<u8>>> {
    // SAFETY: takes a number only.
    if unsafe { libc::getauxval(libc::AT_SECURE) } == 0 {
        return None;
    }
    let bytes = std::fs::read("/proc/self/environ").ok()?;
    let strings = bytes.split(|b| *b == 0).filter(|s| !s.is_empty());
    Some(strings.map(<[u8]>::to_vec).collect())
}

/// # Safety
/// Only in the child of a fork; `argv` and `environment` end with a null pointer.
unsafe fn run_child(
    argv: &[*const libc::c_char],
    environment: Option<&[*const libc::c_char]>,
    preparation: &Preparation,
    wait: &File,
    go: &File,
    tell: &File,
) -> ! {
    // SAFETY: see `hold`.
    unsafe {
        libc::close(go.as_raw_fd());
        let mut byte = 0u8;
        loop {
            match libc::read(wait.as_raw_fd(), (&raw mut byte).cast(), 1) {
                1 => break,
                -1 if *libc::__errno_location() == libc::EINTR => {}
                // The tracer has ended, or could not seize this child.
                _ => libc::_exit(125),
            }
        }
        // The Rust runtime ignores SIGPIPE; the command must not inherit that.
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        if let Some(filter) = &preparation.filter {
            say(tell, FILTER, install(filter));
        }
        match environment {
            Some(environment) => libc::execvpe(argv[0], argv.as_ptr(), environment.as_ptr()),
            None => libc::execvp(argv[0], argv.as_ptr()),
        };
        let errno = *libc::__errno_location();
        say(tell, EXEC, errno);
        libc::_exit(if errno == libc::ENOENT { 127 } else { 126 })
    }
}

/// # Safety
/// Async-signal-safe.
unsafe fn install(filter: &[Instruction]) -> i32 {
    let program = libc::sock_fprog {
        len: filter.len() as libc::c_ushort,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel copies the program, which lives until the call returns.
    unsafe {
        let set = || {
            let mode = libc::SECCOMP_SET_MODE_FILTER;
            libc::syscall(libc::SYS_seccomp, mode, 0, &raw const program)
        };
        if set() == 0 {
            return FILTER_PLAIN;
        }
        if *libc::__errno_location() == libc::EACCES
            && libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && set() == 0
        {
            return FILTER_NO_NEW_PRIVS;
        }
        *libc::__errno_location()
    }
}

/// # Safety
/// Async-signal-safe.
unsafe fn say(tell: &File, what: u8, value: i32) {
    let mut message = [what, 0, 0, 0, 0];
    message[1..].copy_from_slice(&value.to_ne_bytes());
    // SAFETY: the buffer is live; a write of five bytes to a pipe is whole or fails.
    unsafe { libc::write(tell.as_raw_fd(), message.as_ptr().cast(), message.len()) };
}

impl StoppedChild {
    /// Releases the child for its exec.
    pub(crate) fn release(mut self) -> io::Result<Released> {
        self.go.write_all(&[1])?;
        Ok(Released(self.said))
    }
}

impl Released {
    /// Returns what the child reported. Blocks until the child has executed the command or ended.
    pub(crate) fn said(mut self) -> io::Result<Said> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes)?;
        let mut said = Said::default();
        for message in bytes.chunks_exact(5) {
            let value = i32::from_ne_bytes([message[1], message[2], message[3], message[4]]);
            match (message[0], value) {
                (EXEC, errno) => said.exec = Some(errno),
                (FILTER, FILTER_PLAIN) => said.filter = Some(Ok(false)),
                (FILTER, FILTER_NO_NEW_PRIVS) => said.filter = Some(Ok(true)),
                (FILTER, errno) => said.filter = Some(Err(errno)),
                _ => {}
            }
        }
        Ok(said)
    }
}
