//! What a user of `tcptally trace` sees, on real servers and against what their clients know.
//!
//! One module per behaviour. They are one test program since the tests need all of the two cores
//! that they may have, and linking a program per module would take longer than running it.

mod harness;
#[macro_use]
mod shapes;

mod accepting;
mod architectures;
mod attach_counts;
mod attach_errors;
mod attach_harmless;
mod attach_port;
mod beside_strace;
mod children;
mod containers;
mod daemon;
mod events;
mod exit_status;
mod filters;
mod forking;
mod interrupted_waits;
mod io_uring;
mod job_control;
mod other_privileges;
mod output;
mod peer_buffers;
mod peers;
mod perf_harmless;
mod perf_refused;
mod periods;
mod ports;
mod privileges;
mod readme;
mod reopen;
mod sample;
mod servers;
mod signals;
mod spawn_perf;
mod spawn_signals;
mod under_load;
mod unseen;
mod untraced;
mod waiting;
mod without;
