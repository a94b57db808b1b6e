//! The engine `tracepoint`: reads new connections from the tracepoint `sock:inet_sock_set_state`.
//!
//! The kernel writes a record whenever a TCP socket changes its state. A connection to a listener
//! begins with the change from SYN_RECV to ESTABLISHED, whichever way the handshake went (SYN
//! cookies, MPTCP and TCP Fast Open included); an outbound one goes from SYN_SENT to ESTABLISHED.
//! So every record that passes the [`filter`] is one connection, with its exact time and both ends.
//! The server does nothing, and no message is sent per connection: the kernel copies some 100 bytes
//! into a ring buffer.
//!
//! The tracepoint covers the whole machine. Records do not name a network namespace, so this
//! engine is used only while no other namespace has a listener on a watched port
//! ([`namespaces`]).

#[cfg(feature = "internals")]
pub use layout::decode_state_change;

mod capture;
pub(super) mod error;
mod filter;
mod layout;
mod namespaces;
mod proof;
pub(super) mod source;
