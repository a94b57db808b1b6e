//! Finds the processes to attach to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use crate::sys::ptrace::Tid;

use super::error::{Doing, Error};
use super::procfs;

/// A process that holds a listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The process.
    pub pid: Tid,
    /// Its name.
    pub comm: String,
    /// Where it listens, of what was asked for.
    pub listens: Vec<SocketAddr>,
}

/// `pids` and their living descendants.
pub fn with_descendants(pids: &BTreeSet<Tid>) -> BTreeSet<Tid> {
    let mut children: BTreeMap<Tid, Vec<Tid>> = BTreeMap::new();
    for pid in procfs::processes() {
        if let Some(parent) = procfs::parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = pids.clone();
    let mut left: Vec<Tid> = pids.iter().copied().collect();
    while let Some(pid) = left.pop() {
        for &child in children.get(&pid).into_iter().flatten() {
            if found.insert(child) {
                left.push(child);
            }
        }
    }
    found
}

/// The processes that hold a listening TCP socket on one of `ports`, in this network namespace.
///
/// # Errors
/// [`Error::NoListener`] names what listens instead, or says that the owner cannot be seen.
pub fn owners(ports: &[RangeInclusive<u16>]) -> Result<Vec<Owner>, Error> {
    let all = procfs::listeners().doing("reading /proc/net/tcp")?;
    let requested = |port: u16| ports.iter().any(|r| r.contains(&port));
    let sockets: BTreeMap<String, SocketAddr> = all
        .iter()
        .filter(|l| requested(l.local.port()))
        .map(|l| (format!("socket:[{}]", l.inode), l.local))
        .collect();
    if sockets.is_empty() {
        let mut others: Vec<u16> = all.iter().map(|l| l.local.port()).collect();
        others.sort_unstable();
        others.dedup();
        return Err(Error::NoListener { cause: nobody_listens(&others) });
    }
    let mut owners = Vec::new();
    for pid in procfs::processes() {
        let mut listens: Vec<SocketAddr> = procfs::descriptors(pid)
            .into_iter()
            .filter_map(|(_, link)| sockets.get(&link).copied())
            .collect();
        listens.sort_unstable();
        listens.dedup();
        if !listens.is_empty() {
            let comm = procfs::comm(pid).map(|c| c.to_string()).unwrap_or_default();
            owners.push(Owner { pid, comm, listens });
        }
    }
    if owners.is_empty() {
        let sockets: Vec<String> = sockets.values().map(ToString::to_string).collect();
        return Err(Error::NoListener {
            cause: format!(
                "something listens on {}, but its process cannot be seen: it belongs to another \
                 user (run tcptally as that user or as root) or to another container (give its \
                 PID with -p)",
                sockets.join(", ")
            ),
        });
    }
    Ok(owners)
}

fn nobody_listens(others: &[u16]) -> String {
    if others.is_empty() {
        return "no process listens on any TCP port in this network namespace; start the server \
                first, or let tcptally start it: tcptally trace -- COMMAND"
            .into();
    }
    let list: Vec<String> = others.iter().map(u16::to_string).collect();
    format!(
        "nobody listens there; in this network namespace there are listeners on {}",
        list.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_owner_of_a_port() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let port = address.port();
        let found = owners(&[port..=port]).unwrap();
        let me = std::process::id() as Tid;
        assert!(found.iter().any(|o| o.pid == me && o.listens == [address]), "{found:?}");
        drop(listener);
    }

    #[test]
    fn a_process_descends_from_its_parent() {
        let me = std::process::id() as Tid;
        let parent = procfs::parent(me).unwrap();
        assert!(with_descendants(&BTreeSet::from([parent])).contains(&me));
    }
}
