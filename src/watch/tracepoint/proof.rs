//! Verifies the meaning of the tracepoint's fields with a connection of this process to itself.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, getsockname, listen, socket,
};

use crate::sys::sock_diag::state;
use crate::watch::ports::PortSet;

use super::capture::{Capture, Closed, Purpose};
use super::error::TracepointError;
use super::filter;

/// Connects to itself on 127.0.0.1 and compares the records with this connection. Returns the
/// events, which close faster while other events of the tracepoint are open.
pub(super) fn prove(capture: &mut Capture, id: u16) -> Result<Closed, TracepointError> {
    let unproven = |e: io::Error| TracepointError::Unproven(e.to_string());
    let listener = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
        .map_err(|e| unproven(e.into()))?;
    let any = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
    let bound = bind(listener.as_raw_fd(), &any).and_then(|()| getsockname(listener.as_raw_fd()));
    let server: SockaddrIn = bound.map_err(|e| unproven(e.into()))?;
    let server = SocketAddr::from((server.ip(), server.port()));
    let ports: PortSet = std::iter::once(server.port()..=server.port()).collect();
    let (connections, others) = (filter::connections(&ports), filter::others(&ports));
    let filters = [(Purpose::Connections, &*connections), (Purpose::Others, &*others)];
    capture.open(id, &filters).map_err(TracepointError::PerfEvents)?;
    let backlog = Backlog::new(1).map_err(|e| unproven(e.into()))?;
    listen(&listener, backlog).map_err(|e| unproven(e.into()))?;
    let client = TcpStream::connect(server).map_err(unproven)?;
    let client = client.local_addr().map_err(unproven)?;
    capture.drain();
    let (mut connected, mut listened) = (0, 0);
    while let Some(record) = capture.next_until(u64::MAX) {
        let change = record.change;
        if change.local.1 != server.port() {
            continue;
        }
        let is_client = change.local.0 == server.ip()
            && change.peer == (client.ip(), client.port())
            && change.new_state == i32::from(state::ESTABLISHED);
        let is_listener = change.new_state == i32::from(state::LISTEN);
        match record.purpose {
            Purpose::Connections if is_client => connected += 1,
            Purpose::Others if is_listener => listened += 1,
            _ => return Err(TracepointError::Unproven(format!("{change:?}"))),
        }
    }
    if (connected, listened) != (1, 1) {
        let found =
            format!("{listened} listeners and {connected} connections instead of 1 of each");
        return Err(TracepointError::Unproven(found));
    }
    Ok(capture.take_events())
}
