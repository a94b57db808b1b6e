//! The pieces of the engine `perf`, each against a real tracee.

mod events;
mod support;
