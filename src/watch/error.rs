//! [`Error`]: why a port cannot be watched, with the remedy.

use std::io;
use std::path::PathBuf;

use super::tracepoint::error::TracepointError;

/// Why a port cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No port was given.
    #[error("watch needs the ports to watch, for example --port 443")]
    NoPort,
    /// The netlink socket could not be opened.
    #[error(
        "the kernel refuses socket diagnostics: {0}; a container or a security policy \
         (seccomp, SELinux, AppArmor) may forbid netlink sockets: run tcptally outside of it, \
         or count with `tcptally trace`"
    )]
    NotPermitted(io::Error),
    /// The kernel lacks sock_diag for TCP.
    #[error(
        "this kernel has no socket diagnostics for TCP ({0}): it needs CONFIG_INET_DIAG and \
         CONFIG_INET_TCP_DIAG; where they are modules, `modprobe tcp_diag` as root loads them. \
         `tcptally trace` does not need them"
    )]
    NoDiag(io::Error),
    /// The namespace does not exist.
    #[error(
        "no network namespace at {} (give a process id, or a file such as /run/netns/NAME)",
        path.display()
    )]
    NoNamespace {
        /// Its path.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
    /// Entering the namespace is not permitted.
    #[error(
        "not permitted to enter the network namespace {}; root may, and so may the creator of the \
         user namespace that owns it, who must give a process in it instead: --netns PID",
        path.display()
    )]
    NamespaceNotPermitted {
        /// Its path.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
    /// The tracepoint cannot be used.
    #[error("engine tracepoint unavailable: {0}; --engine sockdiag works for every user")]
    Tracepoint(TracepointError),
    /// A system call failed unexpectedly.
    #[error("{doing}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// The error of the system call.
        source: io::Error,
    },
}

// Not a `#[from]`: the message contains the cause, so it must not be the source, too.
impl From<TracepointError> for Error {
    fn from(why: TracepointError) -> Error {
        Error::Tracepoint(why)
    }
}

/// Adds to an error what was being done.
pub(super) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, doing: &'static str) -> Result<T, Error> {
        self.map_err(|source| Error::System { doing, source: source.into() })
    }
}
