//! [`Key`]: the fields that connections are counted by, and how the values of a row are encoded.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::encoded_key::{EncodedKey, Writer};
use super::networks::Networks;
use super::value::{Value, duration_bucket, duration_bucket_name, size_bucket, size_bucket_name};
use crate::Connection;
use crate::model::connection::{RequestedFields, Transport};

/// A field that connections are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// The client's address
    Ip,
    /// The client's network, by the lengths of a [`Mask`]
    Net,
    /// The server's port
    Port,
    /// The server's address and port
    Local,
    /// The process that accepted
    Pid,
    /// The name of the thread that accepted
    Comm,
    /// The machine that accepted
    Host,
    /// The container of the process that accepted
    Container,
    /// The autonomous system of the client's address, by [`Networks`]
    Asn,
    /// The country of the client's address, by [`Networks`]
    Country,
    /// The name of the client's address, in a report that has looked it up; it follows [`Key::Ip`]
    Name,
    /// The time that the connection was open, in buckets by powers of ten
    Duration,
    /// Its smoothed round-trip time, in buckets by powers of ten
    Rtt,
    /// Its bytes in both directions, in buckets by powers of ten
    Bytes,
}

impl Key {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Key::Ip => "ip",
            Key::Net => "net",
            Key::Port => "port",
            Key::Local => "local",
            Key::Pid => "pid",
            Key::Comm => "comm",
            Key::Host => "host",
            Key::Container => "container",
            Key::Asn => "asn",
            Key::Country => "country",
            Key::Name => "name",
            Key::Duration => "duration",
            Key::Rtt => "rtt",
            Key::Bytes => "bytes",
        }
    }
}

/// The prefix lengths for [`Key::Net`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mask {
    /// For IPv4, at most 32.
    pub v4: u8,
    /// For IPv6, at most 128.
    pub v6: u8,
}

impl Default for Mask {
    fn default() -> Mask {
        Mask { v4: 24, v6: 64 }
    }
}

/// A text is not a pair of prefix lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("give the prefix lengths for IPv4 (0 to 32) and IPv6 (0 to 128), as in 24,64")]
pub struct MaskError;

/// `24`, `24,64`, `/24,/64`.
impl FromStr for Mask {
    type Err = MaskError;

    fn from_str(s: &str) -> Result<Mask, MaskError> {
        let length = |s: &str, max: u8| {
            let s = s.trim();
            s.strip_prefix('/').unwrap_or(s).parse().ok().filter(|n| *n <= max)
        };
        let (v4, v6) = match s.split_once(',') {
            Some((v4, v6)) => (length(v4, 32), length(v6, 128)),
            None => (length(s, 32), Some(Mask::default().v6)),
        };
        v4.zip(v6).map(|(v4, v6)| Mask { v4, v6 }).ok_or(MaskError)
    }
}

/// The keys of a tally, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    keys: Vec<Key>,
    mask: Mask,
    host: Option<Arc<str>>,
    /// The machine of the record that is read, if that is not `host`.
    record_host: Option<Arc<str>>,
    networks: Option<Arc<Networks>>,
    names: Option<Arc<Names>>,
}

/// The names of addresses.
pub(crate) type Names = HashMap<IpAddr, String>;

impl Default for Keys {
    fn default() -> Keys {
        Keys::new(&[Key::Ip], Mask::default())
    }
}

const V4: u8 = 0;
const V6: u8 = 1;
const KNOWN: u8 = 1;
/// A host name where an address is expected.
const NAME: u8 = 2;
const UNKNOWN: u8 = 3;

impl Keys {
    /// Makes a list of keys in this order, without repetitions.
    pub fn new(keys: &[Key], mask: Mask) -> Keys {
        let mut once = Vec::new();
        for key in keys {
            if !once.contains(key) {
                once.push(*key);
            }
        }
        Keys { keys: once, mask, host: None, record_host: None, networks: None, names: None }
    }

    /// Sets the machine of connections that do not name theirs.
    pub(crate) fn at(self, host: Arc<str>) -> Keys {
        Keys { host: Some(host), ..self }
    }

    /// Sets the databases for [`Key::Asn`] and [`Key::Country`].
    pub fn with_networks(self, networks: Arc<Networks>) -> Keys {
        Keys { networks: Some(networks), ..self }
    }

    /// Returns a copy with other keys.
    pub(crate) fn replaced(&self, keys: &[Key]) -> Keys {
        Keys { keys: Keys::new(keys, self.mask).keys, ..self.clone() }
    }

    /// The databases for [`Key::Asn`] and [`Key::Country`].
    pub(crate) fn networks(&self) -> Option<&Networks> {
        self.networks.as_deref()
    }

    /// Shows the name of each address after it. Rows are counted as before.
    pub(crate) fn show_names(&mut self, names: Arc<Names>) {
        if let (Some(at), None) = (self.keys.iter().position(|key| *key == Key::Ip), &self.names) {
            self.keys.insert(at + 1, Key::Name);
        }
        self.names = Some(names);
    }

    /// Sets the machine of the record that is read; `None`: that of [`Keys::at`].
    pub(crate) fn set_record_host(&mut self, host: Option<Arc<str>>) {
        self.record_host = host;
    }

    /// The machine of connections that do not name theirs.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// The keys, in order.
    pub fn list(&self) -> &[Key] {
        &self.keys
    }

    /// The costly fields of connections that counting needs.
    pub fn requested(&self) -> RequestedFields {
        RequestedFields {
            local: self.keys.iter().any(|k| matches!(k, Key::Port | Key::Local)),
            local_ip: self.keys.contains(&Key::Local),
            comm: self.keys.contains(&Key::Comm),
            pid: self.keys.contains(&Key::Pid),
            container: self.keys.contains(&Key::Container),
        }
    }

    /// Whether a key needs TCP statistics.
    pub fn has_stats(&self) -> bool {
        self.keys.iter().any(|k| matches!(k, Key::Duration | Key::Rtt | Key::Bytes))
    }

    /// Encodes the values of a connection. Equal values have equal bytes, and bytes sort as the
    /// values do: IPv4 before IPv6, numbers by size, unknown values last.
    #[inline]
    pub(crate) fn code(&self, c: &Connection) -> EncodedKey {
        let mut code = Writer::default();
        for key in &self.keys {
            match key {
                Key::Ip => match (c.ip, c.host.as_deref()) {
                    (None, Some(host)) => {
                        code.put(&[NAME]);
                        put_text(Some(host), &mut code);
                    }
                    (ip, _) => put_ip(ip, &mut code),
                },
                Key::Net => put_ip(c.ip.map(|ip| self.network(ip).addr()), &mut code),
                Key::Port => put(c.local_port.map(u16::to_be_bytes), &mut code),
                Key::Local => {
                    put_ip(c.local_ip, &mut code);
                    put(c.local_port.map(u16::to_be_bytes), &mut code);
                }
                Key::Pid => put(c.pid.map(u32::to_be_bytes), &mut code),
                Key::Comm => put_text(c.comm.as_deref(), &mut code),
                Key::Host => {
                    let own = self.record_host.as_deref().or(self.host.as_deref());
                    put_text(c.machine.as_deref().or(own), &mut code);
                }
                Key::Container => put_text(c.container.as_deref(), &mut code),
                Key::Asn | Key::Country => {
                    put_text(self.network_name(*key, c).as_deref(), &mut code);
                }
                // Derived from the address.
                Key::Name => {}
                Key::Duration | Key::Rtt | Key::Bytes => {
                    put(
                        c.transport.as_deref().and_then(|t| bucket(*key, t)).map(|n| [n]),
                        &mut code,
                    );
                }
            }
        }
        code.code()
    }

    /// Decodes the key of a row into its values.
    pub fn decode<'a>(&'a self, code: &'a [u8]) -> impl Iterator<Item = Value> + 'a {
        let mut rest = code;
        let mut address = None;
        self.keys.iter().map(move |key| match key {
            Key::Ip if rest.first() == Some(&NAME) => {
                rest = &rest[1..];
                get_text(&mut rest).map_or(Value::Unknown, Value::Text)
            }
            Key::Ip => {
                address = get_ip(&mut rest);
                address.map_or(Value::Unknown, Value::Ip)
            }
            Key::Name => {
                let name = self.names.as_ref().and_then(|names| names.get(&address?));
                name.map_or(Value::Unknown, |name| Value::Text(name.clone()))
            }
            Key::Net => get_ip(&mut rest).map_or(Value::Unknown, |ip| Value::Net(self.network(ip))),
            Key::Port => get(&mut rest)
                .map_or(Value::Unknown, |b| Value::Number(u16::from_be_bytes(b).into())),
            Key::Local => match (get_ip(&mut rest), get(&mut rest).map(u16::from_be_bytes)) {
                (None, None) => Value::Unknown,
                (ip, port) => Value::Local(ip, port),
            },
            Key::Pid => {
                get(&mut rest).map_or(Value::Unknown, |b| Value::Number(u32::from_be_bytes(b)))
            }
            Key::Comm | Key::Host | Key::Container | Key::Asn | Key::Country => {
                get_text(&mut rest).map_or(Value::Unknown, Value::Text)
            }
            Key::Duration | Key::Rtt => named(get(&mut rest), duration_bucket_name),
            Key::Bytes => named(get(&mut rest), size_bucket_name),
        })
    }

    fn network_name(&self, key: Key, c: &Connection) -> Option<String> {
        let (networks, ip) = (self.networks.as_ref()?, c.ip?.to_canonical());
        if key == Key::Asn { networks.asn(ip) } else { networks.country(ip) }
    }

    fn network(&self, ip: IpAddr) -> IpNet {
        // A mask is never longer than the address, so neither constructor fails.
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                Ipv4Net::new(ip, self.mask.v4).unwrap_or_else(|_| ip.into()).trunc().into()
            }
            IpAddr::V6(ip) => {
                Ipv6Net::new(ip, self.mask.v6).unwrap_or_else(|_| ip.into()).trunc().into()
            }
        }
    }
}

/// The bucket of a statistic, if it is known.
fn bucket(key: Key, t: &Transport) -> Option<u8> {
    match key {
        // The two bounds of a duration may be in different buckets.
        Key::Duration => t.duration_bounds().and_then(|(least, most)| {
            let bucket = duration_bucket(least);
            (bucket == duration_bucket(most)).then_some(bucket)
        }),
        Key::Rtt => t.rtt.map(duration_bucket),
        Key::Bytes => t.bytes_in.zip(t.bytes_out).map(|(a, b)| size_bucket(a.saturating_add(b))),
        _ => None,
    }
}

fn named(bucket: Option<[u8; 1]>, name: fn(u8) -> Option<&'static str>) -> Value {
    bucket.and_then(|[bucket]| name(bucket)).map_or(Value::Unknown, |name| Value::Text(name.into()))
}

#[inline]
fn put_ip(ip: Option<IpAddr>, code: &mut Writer) {
    match ip.map(|ip| ip.to_canonical()) {
        Some(IpAddr::V4(ip)) => {
            let [a, b, c, d] = ip.octets();
            code.put(&[V4, a, b, c, d]);
        }
        Some(IpAddr::V6(ip)) => {
            code.put(&[V6]);
            code.put(&ip.octets());
        }
        None => code.put(&[UNKNOWN]),
    }
}

fn put<const N: usize>(number: Option<[u8; N]>, code: &mut Writer) {
    match number {
        Some(number) => {
            code.put(&[KNOWN]);
            code.put(&number);
        }
        None => code.put(&[UNKNOWN]),
    }
}

/// Appends a text with a zero byte at its end, so that no text is a prefix of another.
fn put_text(text: Option<&str>, code: &mut Writer) {
    match text {
        Some(text) => {
            code.put(&[KNOWN]);
            text.as_bytes().split(|b| *b == 0).for_each(|part| code.put(part));
            code.put(&[0]);
        }
        None => code.put(&[UNKNOWN]),
    }
}

fn get<const N: usize>(code: &mut &[u8]) -> Option<[u8; N]> {
    let (tag, rest) = code.split_first()?;
    *code = rest;
    if *tag == UNKNOWN {
        return None;
    }
    let (number, rest) = code.split_first_chunk()?;
    *code = rest;
    Some(*number)
}

fn get_ip(code: &mut &[u8]) -> Option<IpAddr> {
    match *code.first()? {
        V4 => get::<4>(code).map(|b| Ipv4Addr::from(b).into()),
        V6 => get::<16>(code).map(|b| Ipv6Addr::from(b).into()),
        _ => get::<0>(code).and(None),
    }
}

fn get_text(code: &mut &[u8]) -> Option<String> {
    get::<0>(code)?;
    let end = code.iter().position(|b| *b == 0)?;
    let (text, rest) = code.split_at(end);
    *code = &rest[1..];
    Some(String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(ip: &str) -> Connection {
        Connection { ip: ip.parse().ok(), ..Connection::default() }
    }

    #[test]
    fn every_value_survives_encoding() {
        use Key::*;
        let keys = Keys::new(&[Comm, Ip, Net, Port, Local, Pid, Ip], Mask { v4: 8, v6: 32 });
        let c = Connection {
            local_ip: "2001:db8::7".parse().ok(),
            local_port: Some(443),
            pid: Some(70_000),
            comm: Some("nginx: worker".into()),
            ..connection("::ffff:10.1.2.3")
        };
        let shown = |c| {
            let code = keys.code(c);
            keys.decode(code.bytes()).map(|v| v.to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown(&c), "nginx: worker 10.1.2.3 10.0.0.0/8 443 [2001:db8::7]:443 70000");
        assert_eq!(shown(&Connection::default()), "unknown ".repeat(6).trim());
    }

    #[test]
    fn names_are_shown_for_rows_that_were_counted_without() {
        let mut keys = Keys::new(&[Key::Port, Key::Ip], Mask::default());
        let codes: Vec<_> =
            ["192.0.2.7", "192.0.2.8", "?"].iter().map(|ip| keys.code(&connection(ip))).collect();
        let names = HashMap::from([([192, 0, 2, 7].into(), "web.example".to_owned())]);
        keys.show_names(Arc::new(names.clone()));
        keys.show_names(Arc::new(names));
        assert_eq!(keys.list(), [Key::Port, Key::Ip, Key::Name]);
        let shown = codes.iter().map(|code| {
            keys.decode(code.bytes()).map(|v| v.to_string()).collect::<Vec<_>>().join(" ")
        });
        let expected = [
            "unknown 192.0.2.7 web.example",
            "unknown 192.0.2.8 unknown",
            "unknown unknown unknown",
        ];
        assert_eq!(shown.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn codes_sort_as_addresses_do() {
        let keys = Keys::default();
        let order = ["2.0.0.0", "10.0.0.0", "10.0.0.9", "10.0.0.10", "::1", "2001::", "?"];
        let codes: Vec<_> = order.iter().map(|ip| keys.code(&connection(ip))).collect();
        assert!(codes.is_sorted_by_key(|code| code.bytes().to_vec()));
    }

    #[test]
    fn connections_are_counted_by_buckets_of_statistics() {
        let keys = Keys::new(&[Key::Duration, Key::Rtt, Key::Bytes], Mask::default());
        let transport = Transport {
            duration: Some(std::time::Duration::from_secs(7)),
            bytes_in: Some(900),
            bytes_out: Some(100),
            ..Transport::default()
        };
        let shown = |transport: Option<Transport>| {
            let c = Connection { transport: transport.map(Box::new), ..Connection::default() };
            let code = keys.code(&c);
            keys.decode(code.bytes()).map(|v| v.to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown(Some(transport)), "1-10s unknown 1-10kB");
        assert_eq!(shown(None), "unknown unknown unknown");
        assert!(keys.has_stats() && !Keys::default().has_stats());
    }

    #[test]
    fn masks_have_a_length_for_each_version_of_ip() {
        assert_eq!("16".parse(), Ok(Mask { v4: 16, v6: 64 }));
        assert_eq!("/32, /128".parse(), Ok(Mask { v4: 32, v6: 128 }));
        assert!("33".parse::<Mask>().is_err());
        assert!("24,129".parse::<Mask>().is_err());
    }
}
