//! What a user of `tcptally watch` sees: counts by the kernel's word alone, against what clients
//! know. The watcher runs as an unprivileged user if the tests may choose, the servers as the user
//! of the tests, so they belong to another user.

// Each test program uses its part of what they share.
#[allow(dead_code, unused_imports, unused_macros)]
#[path = "../trace/harness/mod.rs"]
mod harness;
mod watching;

mod families;
mod held;
mod listeners;
mod lives;
mod lost;
mod messages;
mod metrics;
mod namespaces;
mod ports;
mod servers;
mod tcp_stats;
mod times;
mod tracepoint;
