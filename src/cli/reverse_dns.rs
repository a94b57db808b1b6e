//! Reverse lookups of addresses: /etc/hosts, then PTR queries to the name servers of resolv.conf(5) (RFC 1035).
//!
//! getnameinfo(3) is not used. A statically linked program cannot load the modules of nsswitch.conf(5): where they are
//! made for another version of the C library, the program ends by SIGFPE or SIGSEGV.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::net::if_::if_nametoindex;

use super::name_files;

const RESOLV_CONF: &str = "/etc/resolv.conf";
const PORT: u16 = 53;
/// Maximum number of name servers: MAXNS of resolv.conf(5).
const MAX_SERVERS: usize = 3;
/// Time until the next name server is asked.
const WAIT: Duration = Duration::from_secs(2);
/// Maximum size of a response: more does not fit into a datagram without EDNS.
const MAX_RESPONSE: usize = 512;
/// Maximum number of labels and pointers in a name.
const MAX_LABELS: usize = 128;
const HEADER: usize = 12;
const TYPE_PTR: u16 = 12;
const CLASS_IN: u16 = 1;
const NAME_ERROR: u8 = 3;

/// Result of a reverse lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The name of the address.
    Name(String),
    /// The address has no name.
    NoName,
    /// No name server answered in time, or all failed.
    Failed,
}

/// The hosts and name servers that this machine is configured with.
#[derive(Clone)]
pub(super) struct Resolver {
    hosts: Arc<str>,
    servers: Vec<SocketAddr>,
    /// Index of the server that answered last, which is asked first.
    answering: Arc<AtomicUsize>,
}

impl Resolver {
    /// Reads the configuration of this machine.
    pub(super) fn new() -> Resolver {
        let configuration = fs::read_to_string(RESOLV_CONF).unwrap_or_default();
        Resolver::of(&name_files::hosts(), servers_in(&configuration))
    }

    fn of(hosts: &str, servers: Vec<SocketAddr>) -> Resolver {
        Resolver { hosts: hosts.into(), servers, answering: Arc::default() }
    }

    /// Looks up the name of an address. Takes `timeout` at most, and [`WAIT`] for each server.
    pub(super) fn name_of(&self, ip: IpAddr, timeout: Duration) -> Answer {
        let ip = ip.to_canonical();
        match name_files::name_in(&self.hosts, ip) {
            Some(name) => Answer::Name(name),
            None => self.ask(ip, Instant::now() + timeout),
        }
    }

    /// Asks the name servers in turn, again and again, because datagrams may be lost.
    fn ask(&self, ip: IpAddr, end: Instant) -> Answer {
        let query = query(RandomState::new().hash_one(ip) as u16, ip);
        let count = self.servers.len();
        let first = self.answering.load(Ordering::Relaxed);
        let servers = (0..count).map(|n| (first + n) % count);
        let sockets: Vec<(usize, UdpSocket)> =
            servers.filter_map(|n| Some((n, connect(self.servers[n]).ok()?))).collect();
        while Instant::now() < end {
            let mut is_silent = false;
            for (server, socket) in &sockets {
                match exchange(socket, &query) {
                    Ok(Some(answer)) => {
                        self.answering.store(*server, Ordering::Relaxed);
                        return answer;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => is_silent = true,
                    Ok(None) | Err(_) => {}
                }
            }
            // All have failed.
            if !is_silent {
                break;
            }
        }
        Answer::Failed
    }
}

/// The addresses of the name servers in a file as resolv.conf(5) describes it.
fn servers_in(configuration: &str) -> Vec<SocketAddr> {
    let servers = configuration.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| *word == "nameserver")?;
        server(words.next()?)
    });
    let servers: Vec<SocketAddr> = servers.take(MAX_SERVERS).collect();
    if servers.is_empty() { vec![(Ipv4Addr::LOCALHOST, PORT).into()] } else { servers }
}

/// `192.0.2.53`, `2001:db8::53`, `fe80::1%eth0`
fn server(text: &str) -> Option<SocketAddr> {
    let Some((ip, zone)) = text.split_once('%') else {
        return Some((text.parse::<IpAddr>().ok()?, PORT).into());
    };
    let index = zone.parse().or_else(|_| if_nametoindex(zone)).ok()?;
    Some(SocketAddrV6::new(ip.parse().ok()?, PORT, 0, index).into())
}

/// A socket that receives datagrams of this server only.
fn connect(server: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(WAIT))?;
    socket.connect(server)?;
    Ok(socket)
}

/// Sends a query and waits for the response. None: the server cannot answer.
fn exchange(socket: &UdpSocket, query: &[u8]) -> io::Result<Option<Answer>> {
    socket.send(query)?;
    let mut buffer = [0; MAX_RESPONSE];
    loop {
        let length = socket.recv(&mut buffer)?;
        let response = &buffer[..length];
        if response.starts_with(&query[..2]) {
            return Ok(answer_in(response));
        }
    }
}

/// A recursive query for the PTR record of an address.
fn query(id: u16, ip: IpAddr) -> Vec<u8> {
    let [id_high, id_low] = id.to_be_bytes();
    let mut query = vec![id_high, id_low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in reverse_name(ip).split('.') {
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.push(0);
    query.extend([TYPE_PTR, CLASS_IN].iter().flat_map(|n| n.to_be_bytes()));
    query
}

/// The domain name that the PTR record of an address has: RFC 1035, section 3.5; RFC 3596, section 2.5.
fn reverse_name(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(ip) => {
            let digits = format!("{:032x}", ip.to_bits());
            let mut name: String = digits.chars().rev().flat_map(|digit| [digit, '.']).collect();
            name.push_str("ip6.arpa");
            name
        }
    }
}

/// The name in the first PTR record of a response. None: the server failed, or the response is not valid or truncated
/// before the record.
fn answer_in(response: &[u8]) -> Option<Answer> {
    let header = response.first_chunk::<HEADER>()?;
    let (is_truncated, code) = (header[2] & 2 != 0, header[3] & 0xf);
    match code {
        0 => {}
        NAME_ERROR => return Some(Answer::NoName),
        _ => return None,
    }
    let mut at = HEADER;
    for _ in 0..u16_at(response, 4)? {
        at = name_at(response, at)?.1 + 4;
    }
    for _ in 0..u16_at(response, 6)? {
        let (_, fields) = name_at(response, at)?;
        let data = fields + 10;
        if u16_at(response, fields)? == TYPE_PTR {
            return name_at(response, data).map(|(name, _)| Answer::Name(name));
        }
        at = data + usize::from(u16_at(response, fields + 8)?);
    }
    (!is_truncated).then_some(Answer::NoName)
}

fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    message.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

/// The domain name at a position, and the position behind it. Dots within labels are escaped.
fn name_at(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut behind = None;
    for _ in 0..MAX_LABELS {
        let length = *message.get(at)?;
        match length {
            0 => return Some((name, behind.unwrap_or(at + 1))),
            1..=63 => {
                let label = message.get(at + 1..=at + usize::from(length))?;
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(&String::from_utf8_lossy(label).replace('.', "\\."));
                at += 1 + usize::from(length);
            }
            // A pointer to the rest of the name.
            0xc0.. => {
                behind.get_or_insert(at + 2);
                at = usize::from(u16_at(message, at)? & 0x3fff);
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// A response to `query` with these records: type and data.
    fn response(query: &[u8], code: u8, records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut response = query.to_vec();
        response[2..8].copy_from_slice(&[0x81, 0x80 | code, 0, 1, 0, records.len() as u8]);
        for (kind, data) in records {
            response.extend([0xc0, HEADER as u8]);
            response.extend(kind.to_be_bytes());
            response.extend([0, 1, 0, 0, 0, 60, 0, data.len() as u8]);
            response.extend_from_slice(data);
        }
        response
    }

    fn named(name: &str) -> Option<Answer> {
        Some(Answer::Name(name.to_owned()))
    }

    #[test]
    fn queries_ask_for_the_reverse_name() {
        assert_eq!(reverse_name(ip("192.0.2.7")), "7.2.0.192.in-addr.arpa");
        assert_eq!(
            reverse_name(ip("2001:db8::1:2")),
            "2.0.0.0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
        );
        let expected = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x017\x012\x010\x03192\x07in-addr\x04arpa\0\0\x0c\0\x01";
        assert_eq!(query(0x1234, ip("192.0.2.7")), expected);
    }

    #[test]
    fn the_first_pointer_record_has_the_name() {
        let query = query(1, ip("192.0.2.7"));
        let answer = |records: &[_]| answer_in(&response(&query, 0, records));
        assert_eq!(answer(&[(12, b"\x03web\x07example\0")]), named("web.example"));
        // Delegation of a part of a network: RFC 2317.
        let alias: &[u8] = b"\x017\x010\xc0\x0e";
        assert_eq!(answer(&[(5, alias), (12, b"\x03web\xc0\x1e"), (12, b"\0")]), named("web.arpa"));
        assert_eq!(answer(&[(5, alias)]), Some(Answer::NoName));
        assert_eq!(answer(&[]), Some(Answer::NoName));
        assert_eq!(answer(&[(12, b"\x03a.b\x01c\0")]), named("a\\.b.c"));
        assert_eq!(answer_in(&response(&query, NAME_ERROR, &[])), Some(Answer::NoName));
        assert_eq!(answer_in(&response(&query, 2, &[])), None, "the server failed");
    }

    #[test]
    fn damaged_and_truncated_responses_are_no_answers() {
        let query = query(1, ip("192.0.2.7"));
        let whole = response(&query, 0, &[(12, b"\x03web\x07example\0")]);
        for length in 0..whole.len() {
            assert_eq!(answer_in(&whole[..length]), None, "{length}");
        }
        let mut truncated = response(&query, 0, &[]);
        truncated[2] |= 2;
        assert_eq!(answer_in(&truncated), None);
        for data in [&b"\xc0\x34"[..], b"\x80", b"\x3fweb", b"\xff\xff"] {
            let response = response(&query, 0, &[(12, data)]);
            assert_eq!(answer_in(&response), None, "{data:?}");
        }
    }

    #[test]
    fn name_servers_are_read_from_resolv_conf() {
        let of = |text: &str| servers_in(text).iter().map(ToString::to_string).collect::<Vec<_>>();
        let text = "# nameserver 192.0.2.1\n;nameserver 192.0.2.2\nsearch example.com\n\
                    nameserver 192.0.2.53 # first\nnameserver\t2001:db8::53\nnameserver x\noptions edns0\n\
                    nameserver fe80::1%1\nnameserver 192.0.2.54\n";
        assert_eq!(of(text), ["192.0.2.53:53", "[2001:db8::53]:53", "[fe80::1%1]:53"]);
        assert_eq!(of("nameserver fe80::1%lo"), ["[fe80::1%1]:53"]);
        assert_eq!(of(""), ["127.0.0.1:53"]);
    }

    #[test]
    fn the_next_server_is_asked_if_one_is_silent_or_fails() {
        let server = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let (silent, failing, good) = (server(), server(), server());
        let servers = [&silent, &failing, &good].map(|s| s.local_addr().unwrap()).to_vec();
        for (socket, code) in [(failing, 5), (good, 0)] {
            std::thread::spawn(move || {
                let mut buffer = [0; MAX_RESPONSE];
                while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    let name: &[u8] = b"\x03web\x07example\0";
                    let text = response(&buffer[..length], code, &[(TYPE_PTR, name)]);
                    let mut other = text.clone();
                    other[0] ^= 1;
                    socket.send_to(&other, from).unwrap();
                    socket.send_to(&text, from).unwrap();
                }
            });
        }
        let resolver = Resolver::of("192.0.2.1 from-hosts alias\n", servers.clone());
        let long = Duration::from_secs(60);
        assert_eq!(Some(resolver.name_of(ip("::ffff:192.0.2.1"), long)), named("from-hosts"));
        assert_eq!(Some(resolver.name_of(ip("2001:db8::1"), long)), named("web.example"));
        assert_eq!(resolver.answering.load(Ordering::Relaxed), 2);
        let only = |n: usize| Resolver::of("", vec![servers[n]]);
        assert_eq!(only(0).name_of(ip("192.0.2.1"), Duration::from_millis(1)), Answer::Failed);
        assert_eq!(only(1).name_of(ip("192.0.2.1"), long), Answer::Failed);
        drop(silent);
    }
}
