//! What the tests, benchmarks and fuzz targets use of the modules below the public interface.

pub use crate::cli::panics::install as install_panic_hook;
pub use crate::format::{Format, OutputFormat, RenderOptions, Report, ReportSection};
pub use crate::parse::strace::block::Block;
pub use crate::parse::strace::block_reader::read as read_block;
pub use crate::trace::abi::is_at_accept_exit;
pub use crate::trace::perf::accept_signal::AcceptSignal;
pub use crate::trace::perf::events::Events;
pub use crate::trace::perf::tracepoint::Tracepoints;
pub use crate::trace::procfs::status_field;
pub use crate::trace::stop::{Stop, Until};

/// Decoders of what the kernel writes, on any bytes.
pub mod decoders {
    pub use crate::sys::perf_ring::SimulatedRing;
    pub use crate::sys::sockaddr::decode as sockaddr;
    pub use crate::trace::{decode_peer, decode_samples};
    pub use crate::watch::{decode_state_change, track_messages};
}

/// The names of all record formats.
pub fn record_formats() -> Vec<&'static str> {
    crate::parse::registry::FORMATS.iter().map(|format| format.name).collect()
}

/// Masks of threads.
pub mod mask {
    pub use crate::trace::perf::mask::{block_again, unblock};
}

/// System calls of a tracer.
pub mod sys {
    pub use crate::sys::kill;
    pub use crate::sys::ptrace::{Tid, interrupt, seize};
    pub use crate::sys::tracee::{pending_descriptor, signal_descriptor};
    pub use crate::sys::wait;
}
