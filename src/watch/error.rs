//! Why the kernel could not be asked, with the remedy.

use std::io;
use std::path::PathBuf;

use super::tracepoint::unavailable::Unavailable;

/// Why a port could not be watched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No port was given.
    #[error("watch needs the ports to watch, for example --port 443")]
    NoPort,
    /// The socket to the kernel could not be had.
    #[error(
        "the kernel's socket diagnostics are refused: {0}; a container or a security policy \
         (seccomp, SELinux, AppArmor) may forbid netlink sockets: run tcptally outside of it, \
         or count with `tcptally trace`"
    )]
    Refused(io::Error),
    /// The kernel has none of it.
    #[error(
        "this kernel has no socket diagnostics for TCP ({0}): it needs CONFIG_INET_DIAG and \
         CONFIG_INET_TCP_DIAG; where they are modules, `modprobe tcp_diag` as root loads them. \
         `tcptally trace` does without"
    )]
    NoDiag(io::Error),
    /// The namespace does not exist.
    #[error("no network namespace at {}", path.display())]
    NoNamespace {
        /// Where it was looked for.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The namespace may not be entered.
    #[error(
        "the network namespace {} may not be entered; only root may, and who made the user \
         namespace that owns it (then name it by a process in it: --netns PID)",
        path.display()
    )]
    NamespaceRefused {
        /// Which one.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The tracepoint cannot be used.
    #[error("engine tracepoint unavailable: {0}; --engine sockdiag works for every user")]
    Tracepoint(Unavailable),
    /// A system call failed that should not.
    #[error("{doing}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

// Its message contains the cause.
impl From<Unavailable> for Error {
    fn from(why: Unavailable) -> Error {
        Error::Tracepoint(why)
    }
}

/// Puts what was being done before what went wrong.
pub(super) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, doing: &'static str) -> Result<T, Error> {
        self.map_err(|source| Error::System { doing, source: source.into() })
    }
}
