//! Text of the tracing tools tcpaccept, tcplife and tcptracer, of bcc, libbpf-tools and bpftrace.

mod table;
pub mod tcpaccept;
pub mod tcplife;
pub mod tcptracer;
