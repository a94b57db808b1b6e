//! Text of the tracing tools tcpaccept, tcplife, tcpstates and tcptracer, of bcc, libbpf-tools and bpftrace.

mod table;
pub(super) mod tcpaccept;
pub(super) mod tcplife;
pub(super) mod tcpstates;
pub(super) mod tcptracer;
