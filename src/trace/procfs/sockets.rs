//! TCP sockets of processes: /proc/PID/net/tcp and tcp6, and links of descriptors.

use std::fs;
use std::io::{self, BufRead};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::sys::ptrace::Tid;

/// A socket in `/proc/PID/net/tcp` or `tcp6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TcpSocket {
    /// The local address.
    pub local: SocketAddr,
    /// The remote address; unspecified for a listener.
    pub peer: SocketAddr,
    /// Whether it listens.
    pub is_listener: bool,
    /// Its inode, which links of descriptors contain.
    pub inode: u64,
}

/// Reads the TCP sockets of the network namespace of a process: for each family the listeners, then
/// the connections. Takes milliseconds if there are many.
fn tcp_sockets(pid: Tid, table: &str) -> io::Result<impl Iterator<Item = io::Result<TcpSocket>>> {
    let lines: Box<dyn BufRead> = match fs::File::open(format!("/proc/{pid}/net/{table}")) {
        Ok(file) => Box::new(io::BufReader::new(file)),
        // A kernel without IPv6 has no tcp6.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Box::new(io::empty()),
        Err(e) => return Err(e),
    };
    Ok(lines.lines().skip(1).filter_map(|line| line.map(|l| decode_tcp_socket(&l)).transpose()))
}

fn decode_tcp_socket(line: &str) -> Option<TcpSocket> {
    const LISTEN: &str = "0A";
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1).and_then(address)?;
    let peer = fields.next().and_then(address)?;
    let is_listener = fields.next()? == LISTEN;
    let inode = fields.nth(5)?.parse().ok()?;
    Some(TcpSocket { local, peer, is_listener, inode })
}

/// Returns the listening TCP sockets of the network namespace of a process.
pub(crate) fn listeners(pid: Tid) -> io::Result<Vec<TcpSocket>> {
    let mut found = Vec::new();
    for table in ["tcp", "tcp6"] {
        for socket in tcp_sockets(pid, table)? {
            let socket = socket?;
            // The listeners come first, and reading the rest takes long if there are many
            // connections.
            if !socket.is_listener {
                break;
            }
            found.push(socket);
        }
    }
    Ok(found)
}

/// The inode of the socket behind a thread's descriptor.
pub(crate) fn socket_inode(tid: Tid, fd: i32) -> Option<u64> {
    let link = fs::read_link(format!("/proc/{tid}/fd/{fd}")).ok()?;
    inode_of_link(link.to_str()?)
}

/// The sockets of a process: each descriptor with its inode.
pub(crate) fn socket_descriptors(pid: Tid) -> impl Iterator<Item = (i32, u64)> {
    super::descriptors(pid).into_iter().filter_map(|(fd, link)| Some((fd, inode_of_link(&link)?)))
}

/// `socket:[4711]`
fn inode_of_link(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// A socket as the tables of its network namespace describe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketEntry {
    /// A TCP socket.
    Tcp {
        /// The local address.
        local: SocketAddr,
        /// The remote address.
        peer: SocketAddr,
    },
    /// Not a TCP socket.
    NotTcp,
}

/// Looks up a thread's descriptor in the socket tables of its network namespace. Takes milliseconds
/// if there are many sockets. Returns `None` if no table contains it, as for a TCP socket that was
/// closed.
pub(crate) fn socket(tid: Tid, fd: i32) -> Option<SocketEntry> {
    let inode = socket_inode(tid, fd)?;
    for table in ["tcp", "tcp6"] {
        let Ok(mut sockets) = tcp_sockets(tid, table) else { continue };
        let is_it = |s: &io::Result<TcpSocket>| s.as_ref().is_ok_and(|s| s.inode == inode);
        if let Some(Ok(TcpSocket { local, peer, .. })) = sockets.find(is_it) {
            return Some(SocketEntry::Tcp { local, peer });
        }
    }
    let unix = fs::read_to_string(format!("/proc/{tid}/net/unix")).ok()?;
    let inode = inode.to_string();
    let is_unix =
        unix.lines().skip(1).any(|l| l.split_ascii_whitespace().nth(6) == Some(inode.as_str()));
    is_unix.then_some(SocketEntry::NotTcp)
}

/// `0100007F:1F90`, or an IPv6 address of four such words, each in the machine's byte order.
fn address(field: &str) -> Option<SocketAddr> {
    let (ip, port) = field.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |i: usize| {
        let hex = ip.get(i * 8..i * 8 + 8)?;
        Some(u32::from_str_radix(hex, 16).ok()?.to_ne_bytes())
    };
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for i in 0..4 {
                bytes[i * 4..i * 4 + 4].copy_from_slice(&word(i)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_own_connection_by_its_descriptor() {
        use std::os::fd::AsRawFd;
        let listener = std::net::TcpListener::bind("[::1]:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, peer) = listener.accept().unwrap();
        let me = std::process::id() as Tid;
        let entry = SocketEntry::Tcp { local: listener.local_addr().unwrap(), peer };
        assert_eq!(socket(me, accepted.as_raw_fd()), Some(entry));
        assert_eq!(client.local_addr().unwrap(), peer);
        let (unix, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(socket(me, unix.as_raw_fd()), Some(SocketEntry::NotTcp));
    }
}
