//! [`Dumper`]: requests dumps of the sockets on the watched ports.

use std::io;
use std::ops::RangeInclusive;

use crate::RecordTime;

use super::dump::{Dump, Nanos};
use crate::sys::sock_diag::{self, Requester, Socket, state};
use crate::watch::error::Error;
use crate::watch::ports::PortSet;

/// A socket for requests, with buffers for the answers.
#[derive(Debug)]
pub(in crate::watch) struct Dumper {
    requester: Requester,
    ports: PortSet,
    dump: Dump,
}

impl Dumper {
    /// Opens it in the network namespace of the calling thread.
    pub(in crate::watch) fn open(ports: PortSet) -> Result<Dumper, Error> {
        let requester = Requester::open().map_err(Error::NotPermitted)?;
        Ok(Dumper { requester, ports, dump: Dump::default() })
    }

    /// Requests all sockets; with `info` also their tcp_info, which takes longer.
    pub(in crate::watch) fn dump(&mut self, info: bool) -> Result<&Dump, Error> {
        let states = state::CONNECTED | 1 << state::LISTEN;
        let mut sockets = std::mem::take(&mut self.dump.sockets);
        sockets.clear();
        self.dump.start = now();
        self.ask(Some(self.ports.clone()), states, info, |s| sockets.push(s))?;
        self.dump.end = now();
        sockets.retain(|s| self.ports.contains(s.local.1));
        self.dump.sockets = sockets;
        Ok(&self.dump)
    }

    /// Whether there is a listener on any other port.
    pub(in crate::watch) fn listens_elsewhere(&mut self) -> Result<bool, Error> {
        let mut others = Vec::new();
        self.ask(None, 1 << state::LISTEN, false, |s| others.push(s.local.1))?;
        Ok(others.iter().any(|port| !self.ports.contains(*port)))
    }

    fn ask(
        &mut self,
        ports: Option<PortSet>,
        states: u32,
        info: bool,
        each: impl FnMut(Socket),
    ) -> Result<(), Error> {
        let bytecode = ports.as_ref().map(PortSet::bytecode);
        self.requester.dump(bytecode.as_deref(), states, info, each).map_err(dump_error)
    }
}

/// Number of connections to the watched ports that are open now, in the calling thread's network
/// namespace: those in the states ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK and CLOSING.
///
/// # Errors
/// Those of sock_diag(7).
pub fn open_connections(ports: &[RangeInclusive<u16>]) -> Result<u64, Error> {
    let mut dumper = Dumper::open(ports.iter().cloned().collect())?;
    let sockets = &dumper.dump(false)?.sockets;
    Ok(sockets.iter().filter(|s| s.state != state::LISTEN).count() as u64)
}

fn dump_error(error: io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => Error::NotPermitted(error),
        _ if sock_diag::is_missing(&error) => Error::NoDiag(error),
        _ => {
            Error::System { doing: "requesting the list of sockets from the kernel", source: error }
        }
    }
}

/// The current time.
pub(in crate::watch) fn now() -> Nanos {
    RecordTime::now().nanoseconds()
}
