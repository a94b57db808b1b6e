//! Errors of tracing, with remedies.

use std::fs::File;
use std::io;

use super::perf::Refused;

/// Why a process could not be traced.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command does not exist.
    #[error("cannot run '{command}': {cause}")]
    NotFound {
        /// The command as given.
        command: String,
        /// The error, or where it was searched.
        cause: String,
    },
    /// The command cannot be executed by this user.
    #[error("cannot run '{command}': {cause}")]
    NotExecutable {
        /// The command as given.
        command: String,
        /// The error, and a remedy.
        cause: String,
    },
    /// ptrace(2) is forbidden.
    #[error("the command cannot be traced: {cause}")]
    Refused {
        /// The cause, as far as it can be determined, and a remedy.
        cause: String,
    },
    /// None of the processes could be attached.
    #[error("{}", causes.join("; "))]
    NothingAttached {
        /// For each process, the cause and a remedy.
        causes: Vec<String>,
    },
    /// No listening process was found.
    #[error("{cause}")]
    NoListener {
        /// What was found instead, and a remedy.
        cause: String,
    },
    /// The requested engine is unavailable.
    #[error("engine '{engine}' cannot be used: {cause}")]
    Engine {
        /// The name of the engine.
        engine: &'static str,
        /// The cause, and a remedy.
        cause: String,
    },
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
    pub(crate) fn nothing_attached(causes: Vec<String>) -> Error {
        match File::open("/proc/self/stat") {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                Error::NothingAttached { causes: vec![FILES.into()] }
            }
            Err(error) if causes.is_empty() => {
                Error::NothingAttached { causes: vec![format!("/proc cannot be read: {error}")] }
            }
            _ => Error::NothingAttached { causes },
        }
    }

    /// The error if the requested engine `perf` is unavailable.
    pub(crate) fn perf(refused: Refused) -> Error {
        Error::Engine { engine: "perf", cause: refused.to_string() }
    }

    /// The exit status by convention of shells, env(1) and timeout(1): 127 not found, 126 not
    /// executable, 1 nothing to attach to. `None` for any other failure of the tracer.
    pub(crate) fn exit_status(&self) -> Option<i32> {
        match self {
            Error::NotFound { .. } => Some(127),
            Error::NotExecutable { .. } => Some(126),
            Error::NothingAttached { .. } | Error::NoListener { .. } => Some(1),
            _ => None,
        }
    }
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
