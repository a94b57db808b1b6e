//! [`TracepointError`]: why the tracepoint cannot be used.

use std::io;
use std::path::PathBuf;

use crate::sys::perf_access::{PerfAccessError, Scope};

/// A listener in another network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignListener {
    /// Its port.
    pub port: u16,
    /// A file of its namespace.
    pub namespace: PathBuf,
}

/// Why a listener in another network namespace may exist and not be seen.
#[derive(Debug, thiserror::Error)]
pub enum NamespacesError {
    /// Processes of other PID namespaces are not visible.
    #[error("this PID namespace shows only some of the machine's processes")]
    PidNamespace,
    /// A file in /proc cannot be read.
    #[error("{}: {cause}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// The error.
        cause: io::Error,
    },
    /// The listeners of a namespace cannot be read.
    #[error("the listeners of the network namespace {}: {}", path.display(), with_causes(&**cause))]
    Listeners {
        /// A file of the namespace.
        path: PathBuf,
        /// The error.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// An error with its causes.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Why the tracepoint cannot be used, with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum TracepointError {
    /// tracefs is not readable.
    #[error(
        "the tracepoint's description in tracefs cannot be read ({0}); root may read it, in the \
         initial namespaces"
    )]
    Tracefs(io::Error),
    /// The kernel lacks the tracepoint.
    #[error(
        "this kernel has no tracepoint sock:inet_sock_set_state; it needs Linux 4.16 with \
         CONFIG_FTRACE and CONFIG_PERF_EVENTS"
    )]
    NotInKernel,
    /// Events get lost uncounted.
    #[error(
        "this kernel is PREEMPT_RT and older than Linux 6.12, where perf events of tracepoints get lost \
         uncounted"
    )]
    Realtime,
    /// The tracepoint has other fields.
    #[error("the tracepoint sock:inet_sock_set_state of this kernel has unknown fields")]
    Fields,
    /// perf_event_open(2) or mmap(2) failed.
    #[error("{}", describe_perf_error(.0))]
    PerfEvents(io::Error),
    /// A connection to itself did not appear as expected.
    #[error("a test connection on 127.0.0.1 was not recorded as expected: {0}")]
    Unproven(String),
    /// Not all network namespaces are visible.
    #[error(
        "the tracepoint does not name network namespaces, and it is not known whether \
         another one has a listener on the port ({0})"
    )]
    Unseen(NamespacesError),
    /// Another network namespace has a listener, too.
    #[error(
        "the tracepoint does not name network namespaces, and the one of {} has a listener \
         on port {}, too",
        .0.namespace.display(), .0.port
    )]
    Foreign(ForeignListener),
}

fn describe_perf_error(error: &io::Error) -> String {
    match PerfAccessError::of(error, Scope::AllProcesses) {
        Some(denied) => denied.to_string(),
        None => format!("perf_event_open(2) failed: {error}"),
    }
}
