//! [`ListeningSockets`]: which sockets of this network namespace listen on a port.

use std::collections::BTreeSet;
use std::io;
use std::ops::RangeInclusive;

use crate::sys::ptrace::Tid;
use crate::sys::sock_diag::{Requester, state};

use super::error::{Doing, Error};
use super::procfs;

/// Asks the kernel by sock_diag(7), which looks at listening sockets only. Where that is refused, reads
/// /proc/net/tcp, for which the kernel goes through the table of all connections: milliseconds.
pub(super) struct ListeningSockets {
    ports: Vec<RangeInclusive<u16>>,
    requester: Option<Requester>,
}

impl ListeningSockets {
    /// Opens it in the network namespace of this process.
    pub(super) fn open(ports: Vec<RangeInclusive<u16>>) -> ListeningSockets {
        ListeningSockets { ports, requester: Requester::open().ok() }
    }

    /// The inodes of the sockets that listen now, whoever owns them.
    pub(super) fn inodes(&mut self) -> Result<BTreeSet<u64>, Error> {
        if let Ok(inodes) = self.ask() {
            return Ok(inodes);
        }
        self.requester = None;
        let all = procfs::listeners(std::process::id() as Tid).doing("reading /proc/net/tcp")?;
        let requested = all.iter().filter(|l| contains(&self.ports, l.local.port()));
        Ok(requested.map(|l| l.inode).collect())
    }

    fn ask(&mut self) -> io::Result<BTreeSet<u64>> {
        let requester = self.requester.as_mut().ok_or(io::ErrorKind::Unsupported)?;
        let mut inodes = BTreeSet::new();
        requester.dump(None, 1 << state::LISTEN, false, |s| {
            if contains(&self.ports, s.local.1) {
                inodes.insert(s.inode.into());
            }
        })?;
        Ok(inodes)
    }
}

fn contains(ports: &[RangeInclusive<u16>], port: u16) -> bool {
    ports.iter().any(|range| range.contains(&port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_find_the_same_sockets() {
        let listeners = ["127.0.0.1:0", "[::1]:0"].map(std::net::TcpListener::bind);
        let ports: Vec<u16> =
            listeners.iter().flatten().map(|l| l.local_addr().unwrap().port()).collect();
        assert!(!ports.is_empty());
        let mut sockets = ListeningSockets::open(ports.iter().map(|port| *port..=*port).collect());
        let asked = sockets.ask().unwrap();
        assert!(asked.len() >= ports.len() && !asked.contains(&0), "{asked:?}");
        sockets.requester = None;
        assert_eq!(sockets.inodes().unwrap(), asked);
    }
}
