//! Errors of tracing, with remedies.

use std::fs::File;
use std::io;

use super::attach_error::{AttachError, AttachErrorKind, ListenerError};
use super::perf::PerfError;

/// Why a process could not be traced.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command does not exist.
    #[error("cannot run '{command}': {cause}")]
    NotFound {
        /// The command as given.
        command: String,
        /// Why execve(2) failed.
        cause: ExecError,
    },
    /// The command cannot be executed by this user.
    #[error("cannot run '{command}': {cause}")]
    NotExecutable {
        /// The command as given.
        command: String,
        /// Why execve(2) failed.
        cause: ExecError,
    },
    /// ptrace(2) is forbidden.
    #[error("the command cannot be traced: {0}")]
    NotTraceable(AttachError),
    /// None of the processes could be attached: the cause for each.
    #[error("{}", join(.0))]
    NothingAttached(Vec<AttachError>),
    /// No listening process was found.
    #[error("{0}")]
    NoListener(ListenerError),
    /// The requested engine needs perf events, and they are unavailable.
    #[error("engine '{engine}' cannot be used: {cause}")]
    PerfEvents {
        /// The name of the engine.
        engine: &'static str,
        /// The cause, and a remedy.
        cause: PerfError,
    },
    /// The requested engine `seccomp` cannot be used.
    #[error("engine 'seccomp' cannot be used: {0}; without --engine, 'syscall' is used instead")]
    Seccomp(io::Error),
    /// The command or an argument contains a NUL byte.
    #[error("the command contains a NUL byte, which arguments of programs cannot contain")]
    Nul,
    /// A system call failed unexpectedly.
    #[error("{doing}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// The error of the system call.
        source: io::Error,
    },
}

impl Error {
    /// The error if no process could be attached. Without a free descriptor /proc cannot be read, so
    /// that any other cause may be wrong.
    pub(crate) fn nothing_attached(errors: Vec<AttachError>) -> Error {
        match File::open("/proc/self/stat") {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                Error::NothingAttached(vec![AttachError::other(FILES)])
            }
            Err(error) if errors.is_empty() => {
                let text = format!("/proc cannot be read: {error}");
                Error::NothingAttached(vec![AttachError::other(text)])
            }
            _ => Error::NothingAttached(errors),
        }
    }

    /// Whether a permission is missing, so that what needs less of them can help.
    pub(crate) fn is_permission(&self) -> bool {
        match self {
            Error::NotTraceable(error) => error.kind != AttachErrorKind::Other,
            Error::NothingAttached(all) => all.iter().any(|r| r.kind != AttachErrorKind::Other),
            Error::NoListener(cause) => matches!(cause, ListenerError::Invisible { .. }),
            Error::PerfEvents { cause, .. } => cause.is_permission(),
            _ => false,
        }
    }

    /// Whether Yama forbids ptrace(2), which does not concern the engine `sample`.
    pub(crate) fn is_yama(&self) -> bool {
        match self {
            Error::NotTraceable(error) => error.kind == AttachErrorKind::Yama,
            Error::NothingAttached(all) => all.iter().any(|r| r.kind == AttachErrorKind::Yama),
            _ => false,
        }
    }

    /// The exit status by convention of shells, env(1) and timeout(1): 127 not found, 126 not
    /// executable, 1 nothing to attach to. `None` for any other failure of the tracer.
    pub(crate) fn exit_status(&self) -> Option<i32> {
        match self {
            Error::NotFound { .. } => Some(127),
            Error::NotExecutable { .. } => Some(126),
            Error::NothingAttached(_) | Error::NoListener(_) => Some(1),
            _ => None,
        }
    }
}

/// Why execve(2) failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// ENOENT, and the command is a name without a slash.
    #[error("no such program in PATH")]
    NotInPath,
    /// ENOENT.
    #[error("no such file, or its interpreter (#!, dynamic loader) is missing")]
    NoFile,
    /// EACCES.
    #[error(
        "permission denied: it is a directory, is not executable for this user, or is on a \
         filesystem mounted noexec"
    )]
    Permission,
    /// ENOEXEC.
    #[error("not a program for this machine (a script needs a #! line)")]
    Format,
    /// Any other error.
    #[error("{0}")]
    Other(io::Error),
}

fn join(errors: &[AttachError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The cause and the remedy if no descriptor is free.
const FILES: &str = "too many open files: tcptally needs some descriptors to read /proc, and the engines \
                     perf and sample two for each thread; raise 'ulimit -n'";

/// Adds to an error what was being done.
pub(super) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, Error>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: &'static str) -> Result<T, Error> {
        self.map_err(|source| Error::System { doing, source })
    }
}
