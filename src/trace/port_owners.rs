//! [`port_owners`]: finds the processes that listen on a port.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use crate::sys::ptrace::Tid;

use super::attach_error::{self, ListenerError};
use super::error::{Doing, Error};
use super::procfs::{self, TcpSocket};

/// A process that holds a listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortOwner {
    /// The process.
    pub pid: Tid,
    /// Its name.
    pub comm: String,
    /// The requested addresses that it listens on.
    pub listens: Vec<SocketAddr>,
    /// Its network namespace, if it is another one than that of this process.
    pub namespace: Option<String>,
}

/// Returns the processes that hold a listening TCP socket on one of `ports`: in this network
/// namespace, or in another one if this one has no such socket.
///
/// # Errors
/// [`Error::NoListener`] names the ports that do have listeners, or says that the owner is not
/// visible.
pub fn port_owners(ports: &[RangeInclusive<u16>]) -> Result<Vec<PortOwner>, Error> {
    if !procfs::is_mounted() {
        return Err(Error::NoListener(ListenerError::NoProc));
    }
    let all = procfs::listeners(std::process::id() as Tid).doing("reading /proc/net/tcp")?;
    let sockets = requested(&all, ports);
    if sockets.is_empty() {
        return elsewhere(ports).unwrap_or_else(|| {
            let mut others: Vec<u16> = all.iter().map(|l| l.local.port()).collect();
            others.sort_unstable();
            others.dedup();
            Err(Error::NoListener(ListenerError::Nobody { others }))
        });
    }
    let owners = owners_of(&sockets, None);
    if owners.is_empty() {
        return Err(Error::NoListener(no_owner(&sockets)));
    }
    Ok(owners)
}

/// Listening sockets by the links of descriptors in /proc.
type Sockets = BTreeMap<String, SocketAddr>;

fn requested(listeners: &[TcpSocket], ports: &[RangeInclusive<u16>]) -> Sockets {
    let is_requested = |l: &&TcpSocket| ports.iter().any(|r| r.contains(&l.local.port()));
    let listeners = listeners.iter().filter(is_requested);
    listeners.map(|l| (format!("socket:[{}]", l.inode), l.local)).collect()
}

fn owners_of(sockets: &Sockets, namespace: Option<&str>) -> Vec<PortOwner> {
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
            owners.push(PortOwner { pid, comm, listens, namespace: namespace.map(Into::into) });
        }
    }
    owners
}

/// Returns the owners in another network namespace; `None` if no visible one has a listener.
fn elsewhere(ports: &[RangeInclusive<u16>]) -> Option<Result<Vec<PortOwner>, Error>> {
    let here = procfs::network_namespace(std::process::id() as Tid)?;
    let mut namespaces: BTreeMap<String, Tid> = BTreeMap::new();
    for pid in procfs::processes() {
        if let Some(namespace) = procfs::network_namespace(pid).filter(|n| *n != here) {
            namespaces.entry(namespace).or_insert(pid);
        }
    }
    let mut found: Vec<Vec<PortOwner>> = Vec::new();
    let mut unseen = Sockets::new();
    for (namespace, pid) in namespaces {
        // The process may have ended.
        let sockets = requested(&procfs::listeners(pid).unwrap_or_default(), ports);
        let owners = owners_of(&sockets, Some(&namespace));
        if owners.is_empty() {
            unseen.extend(sockets);
        } else {
            found.push(owners);
        }
    }
    match found.len() {
        0 if unseen.is_empty() => None,
        0 => Some(Err(Error::NoListener(no_owner(&unseen)))),
        1 => found.pop().map(Ok),
        _ => {
            let one = |owner: &PortOwner| {
                let namespace = owner.namespace.as_deref().unwrap_or_default();
                format!("-p {} ({}, {namespace})", owner.pid, owner.comm)
            };
            let owners = found.iter().flatten().map(one).collect();
            Some(Err(Error::NoListener(ListenerError::Several { owners })))
        }
    }
}

/// Returns the processes that have created these by fork(2), and listen on none of their ports. They may create
/// more: each worker may have a listening socket of its own (SO_REUSEPORT).
pub(crate) fn creators(owners: &[PortOwner]) -> BTreeSet<Tid> {
    let me = std::process::id() as Tid;
    // Not all children of a script that starts tcptally belong to its server.
    let has_created_me = |pid| procfs::with_descendants(&BTreeSet::from([pid])).contains(&me);
    let mut found = BTreeSet::new();
    for owner in owners {
        let mut pid = owner.pid;
        while let Some(parent) = procfs::forking_parent(pid) {
            if found.contains(&parent) || has_created_me(parent) {
                break;
            }
            found.insert(parent);
            pid = parent;
        }
    }
    found.retain(|pid| owners.iter().all(|owner| owner.pid != *pid));
    found
}

fn no_owner(sockets: &Sockets) -> ListenerError {
    let remedy = if attach_error::is_root_without_ptrace() {
        attach_error::GIVE_PTRACE
    } else {
        "run tcptally as that user or as root"
    };
    ListenerError::Invisible { addresses: sockets.values().copied().collect(), remedy }
}

/// Who listens where, a line for all processes that have the name and the sockets in common.
pub(crate) fn describe(owners: &[PortOwner]) -> Vec<String> {
    let mut groups: Vec<(&PortOwner, usize)> = Vec::new();
    for owner in owners {
        let is_alike = |other: &PortOwner| {
            (&other.comm, &other.listens, &other.namespace)
                == (&owner.comm, &owner.listens, &owner.namespace)
        };
        match groups.iter_mut().find(|(other, _)| is_alike(other)) {
            Some((_, n)) => *n += 1,
            None => groups.push((owner, 1)),
        }
    }
    let line = |(owner, n): (&PortOwner, usize)| {
        let listens: Vec<String> = owner.listens.iter().map(ToString::to_string).collect();
        let place = if owner.namespace.is_some() { ", in another network namespace" } else { "" };
        let listens = listens.join(", ");
        match n {
            1 => format!("process {} ({}) listens on {listens}{place}", owner.pid, owner.comm),
            _ => format!("{}: {n} processes listen on {listens}{place}", owner.comm),
        }
    };
    groups.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_owner_of_a_port() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let port = address.port();
        let found = port_owners(&[port..=port]).unwrap();
        let me = std::process::id() as Tid;
        assert!(found.iter().any(|o| o.pid == me && o.listens == [address]), "{found:?}");
        drop(listener);
    }

    #[test]
    fn processes_that_listen_alike_are_one_line() {
        let owner = |pid, comm: &str, port: u16| PortOwner {
            pid,
            comm: comm.into(),
            listens: vec![([0, 0, 0, 0], port).into()],
            namespace: None,
        };
        let owners = [
            owner(1, "nginx", 80),
            owner(2, "nginx", 80),
            owner(3, "nginx", 80),
            owner(4, "x", 80),
        ];
        assert_eq!(
            describe(&owners),
            ["nginx: 3 processes listen on 0.0.0.0:80", "process 4 (x) listens on 0.0.0.0:80"]
        );
    }
}
