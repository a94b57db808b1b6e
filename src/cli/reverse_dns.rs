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

use domain::base::iana::Rcode;
use domain::base::{Message, MessageBuilder, Name, Rtype};
use domain::rdata::Ptr;
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

type Query = Message<Vec<u8>>;

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
        let Some(query) = query(RandomState::new().hash_one(ip) as u16, ip) else {
            return Answer::Failed;
        };
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
fn exchange(socket: &UdpSocket, query: &Query) -> io::Result<Option<Answer>> {
    socket.send(query.as_slice())?;
    let mut buffer = [0; MAX_RESPONSE];
    loop {
        let length = socket.recv(&mut buffer)?;
        if let Ok(response) = Message::from_octets(&buffer[..length])
            && response.is_answer(query)
        {
            return Ok(answer_in(response));
        }
    }
}

/// A recursive query for the PTR record of an address: RFC 1035, section 3.5; RFC 3596, section 2.5.
fn query(id: u16, ip: IpAddr) -> Option<Query> {
    let mut message = MessageBuilder::new_vec();
    message.header_mut().set_id(id);
    message.header_mut().set_rd(true);
    let mut question = message.question();
    question.push((Name::<Vec<u8>>::reverse_from_addr(ip).ok()?, Rtype::PTR)).ok()?;
    Some(question.into_message())
}

/// The name in the first PTR record of a response. None: the server failed, or the response is not valid or truncated
/// before the record.
fn answer_in(response: Message<&[u8]>) -> Option<Answer> {
    match response.header().rcode() {
        Rcode::NOERROR => {}
        Rcode::NXDOMAIN => return Some(Answer::NoName),
        _ => return None,
    }
    match response.answer().ok()?.limit_to::<Ptr<_>>().next() {
        Some(record) => Some(Answer::Name(record.ok()?.data().ptrdname().to_string())),
        None => (!response.header().tc()).then_some(Answer::NoName),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn query_for(text: &str) -> Vec<u8> {
        query(0x1234, ip(text)).unwrap().into_octets()
    }

    /// A response to `query` with these records: type and data.
    fn response(query: &[u8], code: Rcode, records: &[(Rtype, &[u8])]) -> Vec<u8> {
        let mut response = query.to_vec();
        response[2..8].copy_from_slice(&[0x81, 0x80 | code.to_int(), 0, 1, 0, records.len() as u8]);
        for (kind, data) in records {
            response.extend(QUESTION);
            response.extend(kind.to_int().to_be_bytes());
            response.extend([0, 1, 0, 0, 0, 60, 0, data.len() as u8]);
            response.extend_from_slice(data);
        }
        response
    }

    /// A pointer to the name in the question.
    const QUESTION: [u8; 2] = [0xc0, 12];

    fn read(response: &[u8]) -> Option<Answer> {
        answer_in(Message::from_octets(response).ok()?)
    }

    fn named(name: &str) -> Option<Answer> {
        Some(Answer::Name(name.to_owned()))
    }

    #[test]
    fn queries_ask_for_the_reverse_name() {
        let expected = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x017\x012\x010\x03192\x07in-addr\x04arpa\0\0\x0c\0\x01";
        assert_eq!(query_for("192.0.2.7"), expected);
        let query = Message::from_octets(query_for("2001:db8::1:2")).unwrap();
        let name = query.first_question().unwrap().into_qname();
        let expected = "2.0.0.0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
        assert_eq!(name.to_string().to_ascii_lowercase(), expected);
    }

    #[test]
    fn the_first_pointer_record_has_the_name() {
        let query = query_for("192.0.2.7");
        let answer = |records: &[_]| read(&response(&query, Rcode::NOERROR, records));
        assert_eq!(answer(&[(Rtype::PTR, b"\x03web\x07example\0")]), named("web.example"));
        // Delegation of a part of a network: RFC 2317.
        let alias = (Rtype::CNAME, &b"\x017\x010\xc0\x0e"[..]);
        let pointer = (Rtype::PTR, &b"\x03web\xc0\x1e"[..]);
        assert_eq!(answer(&[alias, pointer, (Rtype::PTR, b"\0")]), named("web.arpa"));
        assert_eq!(answer(&[alias]), Some(Answer::NoName));
        assert_eq!(answer(&[]), Some(Answer::NoName));
        assert_eq!(answer(&[(Rtype::PTR, b"\x03a.b\x01c\0")]), named("a\\.b.c"));
        assert_eq!(read(&response(&query, Rcode::NXDOMAIN, &[])), Some(Answer::NoName));
        assert_eq!(read(&response(&query, Rcode::SERVFAIL, &[])), None);
    }

    #[test]
    fn damaged_and_truncated_responses_are_no_answers() {
        let query = query_for("192.0.2.7");
        let pointer = (Rtype::PTR, &b"\x03web\x07example\0"[..]);
        let whole = response(&query, Rcode::NOERROR, &[pointer]);
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), None, "{length}");
        }
        let mut truncated = response(&query, Rcode::NOERROR, &[]);
        truncated[2] |= 2;
        assert_eq!(read(&truncated), None);
        for data in [&b"\xc0\x34"[..], b"\x80", b"\x3fweb", b"\xff\xff"] {
            let response = response(&query, Rcode::NOERROR, &[(Rtype::PTR, data)]);
            assert_eq!(read(&response), None, "{data:?}");
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
        for (socket, code) in [(failing, Rcode::REFUSED), (good, Rcode::NOERROR)] {
            std::thread::spawn(move || {
                let mut buffer = [0; MAX_RESPONSE];
                while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    let pointer = (Rtype::PTR, &b"\x03web\x07example\0"[..]);
                    let text = response(&buffer[..length], code, &[pointer]);
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
