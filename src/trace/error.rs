//! Why watching failed, with the remedy.

use std::io;

use super::perf::Refused;

/// Why a process could not be watched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such command.
    #[error("cannot run '{command}': {cause}")]
    NotFound {
        /// As it was given.
        command: String,
        /// What the kernel said, or where it was looked for.
        cause: String,
    },
    /// The command is no program that this user may run.
    #[error("cannot run '{command}': {cause}")]
    NotExecutable {
        /// As it was given.
        command: String,
        /// What the kernel said, and what to do.
        cause: String,
    },
    /// The kernel or a policy refused ptrace.
    #[error("the kernel refuses to let this process be traced: {cause}")]
    Refused {
        /// Why, as far as can be found out, and the remedy.
        cause: String,
    },
    /// None of the processes could be attached.
    #[error("{}", causes.join("; "))]
    NothingAttached {
        /// For each, which and why, and the remedy.
        causes: Vec<String>,
    },
    /// No process could be found that listens.
    #[error("{cause}")]
    NoListener {
        /// What was found instead, and the remedy.
        cause: String,
    },
    /// The engine asked for cannot be had.
    #[error("engine '{engine}' cannot be used: {cause}")]
    Engine {
        /// Its name.
        engine: &'static str,
        /// Why, and the remedy.
        cause: String,
    },
    /// The command holds a byte that no argument can.
    #[error("the command has a NUL byte in it, which no program can be given")]
    Nul,
    /// A system call failed that should not.
    #[error("{doing}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Error {
    /// The error if the requested engine `perf` is unavailable.
    pub(crate) fn perf(refused: Refused) -> Error {
        Error::Engine { engine: "perf", cause: refused.to_string() }
    }

    /// The exit status by convention of shells, env(1) and timeout(1): 127 not found, 126 not
    /// executable, 1 nothing to attach to. `None` for any other failure of the tracer.
    pub fn exit_status(&self) -> Option<i32> {
        match self {
            Error::NotFound { .. } => Some(127),
            Error::NotExecutable { .. } => Some(126),
            Error::NothingAttached { .. } | Error::NoListener { .. } => Some(1),
            _ => None,
        }
    }
}

/// Puts what was being done before what went wrong.
pub(super) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, Error>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: &'static str) -> Result<T, Error> {
        self.map_err(|source| Error::System { doing, source })
    }
}
