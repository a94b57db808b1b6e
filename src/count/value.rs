//! [`Value`]: what stands in a row for one key.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Serialize, Serializer};

/// The value of one key in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// An address.
    Ip(IpAddr),
    /// A network.
    Net(IpNet),
    /// A port or a process.
    Number(u32),
    /// A local address and port, of which one at least is known.
    Local(Option<IpAddr>, Option<u16>),
    /// A name.
    Text(String),
    /// The source could not tell.
    Unknown,
}

/// As reports for people show it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Ip(ip) => write!(f, "{ip}"),
            Value::Net(net) => write!(f, "{net}"),
            Value::Number(n) => write!(f, "{n}"),
            Value::Local(ip, port) => {
                match ip {
                    Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:")?,
                    Some(ip) => write!(f, "{ip}:")?,
                    None => f.write_str("*:")?,
                }
                match port {
                    Some(port) => write!(f, "{port}"),
                    None => f.write_str("*"),
                }
            }
            Value::Text(text) => f.write_str(text),
            Value::Unknown => f.write_str("unknown"),
        }
    }
}

/// Numbers as numbers, what is unknown as null, all else as text.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Number(n) => serializer.serialize_u32(*n),
            Value::Unknown => serializer.serialize_none(),
            Value::Text(text) => serializer.serialize_str(text),
            value => serializer.collect_str(value),
        }
    }
}
