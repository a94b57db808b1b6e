//! Starts a command under the tracer.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::sys::fork::{self, Preparation, Released, Said, StoppedChild};
use crate::sys::ptrace::{self, Tid};
use crate::sys::wait;

use super::attach_error;
use super::engine::PtraceEngine;
use super::error::{Doing, Error, ExecError};
use super::seccomp::Program;

/// How a command is started.
#[derive(Clone, Debug)]
pub struct Start {
    /// The command and its arguments.
    pub argv: Vec<OsString>,
    /// io_uring_setup fails with ENOSYS in the command.
    pub deny_io_uring: bool,
}

/// A traced command that was released and has not executed its program yet.
#[derive(Debug)]
pub(crate) struct Starting {
    /// Its process.
    pub pid: Tid,
    start: Start,
    engine: Option<PtraceEngine>,
    released: Released,
}

/// The result of a start.
#[derive(Debug)]
pub(crate) struct Started {
    /// The engine that stops the command.
    pub engine: PtraceEngine,
    /// Warnings for the report.
    pub warnings: Vec<String>,
}

/// The ptrace options of every spawned tracee. Not PTRACE_O_TRACESECCOMP: calls for which a filter of the server's own
/// returns RET_TRACE must fail with ENOSYS, as they do without a tracer.
pub(super) const OPTIONS: i32 = ptrace::PTRACE_O_TRACESYSGOOD
    | ptrace::PTRACE_O_TRACECLONE
    | ptrace::PTRACE_O_TRACEFORK
    | ptrace::PTRACE_O_TRACEVFORK
    | ptrace::PTRACE_O_TRACEEXEC;

/// Those of a tracee with the filter of tcptally. Without a tracer, each of its accepts would fail with ENOSYS.
const FILTERED: i32 = OPTIONS | ptrace::PTRACE_O_TRACESECCOMP | ptrace::PTRACE_O_EXITKILL;

fn needs_filter(engine: Option<PtraceEngine>) -> bool {
    matches!(engine, None | Some(PtraceEngine::Seccomp))
}

impl Start {
    fn command(&self) -> String {
        self.argv.first().map(|a| a.to_string_lossy().into_owned()).unwrap_or_default()
    }

    fn program(&self, trace: bool) -> Option<Program> {
        let program = Program { trace, deny_io_uring: self.deny_io_uring };
        (program.trace || program.deny_io_uring).then_some(program)
    }

    /// Forks the command, which waits to be released. The filter stops it at accept if `traces`.
    fn hold(&self, traces: bool) -> Result<StoppedChild, Error> {
        let argv = self.argv.iter().map(|a| CString::new(a.as_bytes())).collect::<Result<_, _>>();
        let argv: Vec<CString> = argv.map_err(|_| Error::Nul)?;
        let filter = self.program(traces).map(Program::instructions);
        fork::hold(&argv, &Preparation { filter }).doing("starting a process")
    }

    /// Forks a command that is not to be traced. It waits to be released.
    pub(crate) fn begin_untraced(self) -> Result<Untraced, Error> {
        Ok(Untraced { child: self.hold(false)?, start: self })
    }

    /// Forks and seizes the command, and releases it for its exec. Without an `engine` it gets the
    /// cheapest one that is safe and exact.
    pub(crate) fn begin(self, engine: Option<PtraceEngine>) -> Result<Starting, Error> {
        let held = self.hold(needs_filter(engine))?;
        let options = if needs_filter(engine) { FILTERED } else { OPTIONS };
        match ptrace::seize(held.pid, options) {
            Ok(()) => {}
            Err(e) if e.raw_os_error() == Some(libc::EPERM) => {
                return Err(Error::NotTraceable(attach_error::of_own_child()));
            }
            Err(source) => return Err(Error::System { doing: "seizing the command", source }),
        }
        let pid = held.pid;
        let released = held.release().doing("releasing the command")?;
        Ok(Starting { pid, start: self, engine, released })
    }
}

/// A command that waits to be released, and is not to be traced.
#[derive(Debug)]
pub(crate) struct Untraced {
    child: StoppedChild,
    start: Start,
}

impl Untraced {
    /// Its process.
    pub(crate) fn pid(&self) -> Tid {
        self.child.pid
    }

    /// Lets it go, and returns when it has executed the command: what the report must tell.
    ///
    /// # Errors
    /// Why it could not be executed; the process is collected then.
    pub(crate) fn release(self) -> Result<Vec<String>, Error> {
        let pid = self.child.pid;
        let released = self.child.release().doing("releasing the command")?;
        let said = released.said().doing("reading the start result of the command")?;
        if let Some(errno) = said.exec {
            // It ends at once.
            let _ = wait::one(pid);
            return Err(exec_error(self.start.command(), errno));
        }
        let refused = said.filter.and_then(Result::err).filter(|_| self.start.deny_io_uring);
        Ok(refused.map(io_uring_not_denied).into_iter().collect())
    }
}

fn io_uring_not_denied(errno: i32) -> String {
    let error = std::io::Error::from_raw_os_error(errno);
    format!("io_uring could not be denied, because no seccomp filter could be installed ({error})")
}

impl Starting {
    /// Returns which engine stops the command. Call it when the command has executed or has ended.
    pub(crate) fn finish(self) -> Result<Started, Error> {
        let said = self.released.said().doing("reading the start result of the command")?;
        if let Some(errno) = said.exec {
            return Err(exec_error(self.start.command(), errno));
        }
        let errno = match said {
            Said { filter: None, .. } => {
                let engine = self.engine.unwrap_or(PtraceEngine::Syscall);
                return Ok(Started { engine, warnings: Vec::new() });
            }
            Said { filter: Some(Ok(_)), .. } => {
                let engine = self.engine.unwrap_or(PtraceEngine::Seccomp);
                return Ok(Started { engine, warnings: Vec::new() });
            }
            Said { filter: Some(Err(errno)), .. } => errno,
        };
        let error = std::io::Error::from_raw_os_error(errno);
        let mut warnings = Vec::new();
        match self.engine {
            Some(PtraceEngine::Seccomp) => {
                return Err(Error::Seccomp(error));
            }
            None => warnings.push(format!(
                "no seccomp filter could be installed ({error}): engine syscall is used, which stops \
                 the server at every system call"
            )),
            Some(_) => {}
        }
        if self.start.deny_io_uring {
            warnings.push(io_uring_not_denied(errno));
        }
        Ok(Started { engine: PtraceEngine::Syscall, warnings })
    }
}

fn is_in_path(command: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(command).exists())
}

fn exec_error(command: String, errno: i32) -> Error {
    let source = std::io::Error::from_raw_os_error(errno);
    match errno {
        // execvp(3) also returns EACCES if a directory in PATH could not be searched.
        libc::ENOENT | libc::EACCES if !command.contains('/') && !is_in_path(&command) => {
            Error::NotFound { cause: ExecError::NotInPath, command }
        }
        libc::ENOENT => Error::NotFound { cause: ExecError::NoFile, command },
        libc::EACCES => Error::NotExecutable { cause: ExecError::Permission, command },
        libc::ENOEXEC => Error::NotExecutable { cause: ExecError::Format, command },
        _ => Error::NotExecutable { cause: ExecError::Other(source), command },
    }
}
