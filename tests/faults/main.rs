//! Faults of every kind, in tcptally, in the server and around them: the server is as healthy, or as
//! dead, as it would have been, nothing is left stopped, and the report is right or says what it lacks.
//!
//! `make test` tries each fault a few times. `TCPTALLY_ROUNDS=N` tries N times, as `make soak` does.
//! docs/reliability.md has the results, and names the tests of tests/trace for the faults that are
//! tried there.

// Each test program uses its part of what they share.
#[allow(dead_code, unused_imports, unused_macros)]
#[path = "../trace/harness/mod.rs"]
mod harness;
mod support;

mod arguments;
mod cgroups;
mod environment;
mod limits;
mod server;
mod soak;
mod tracer;
