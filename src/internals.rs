//! What the tests, benchmarks and fuzz targets use of the modules below the public interface.

pub use crate::format::{Format, OutputFormat, RenderOptions, Report, ReportSection};
pub use crate::parse::strace::block::Block;
pub use crate::parse::strace::block_reader::read as read_block;
pub use crate::trace::perf::accept_signal::AcceptSignal;
pub use crate::trace::perf::events::Events;
pub use crate::trace::perf::tracepoint::Tracepoints;
pub use crate::trace::procfs::status_field;
pub use crate::trace::registers::CallRegisters;
pub use crate::trace::stop::{Stop, Until};

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
