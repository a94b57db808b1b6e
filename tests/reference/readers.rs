//! The two readers and the writer of logs; the fuzz target `strace_reference` includes this file, too.

pub mod compare;
pub mod log;
pub mod parser;
