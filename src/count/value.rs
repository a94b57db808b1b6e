//! [`Value`]: the value of one key in a row, and the buckets of durations and sizes.

use std::fmt;
use std::io::{self, Write};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use crate::model::text::push_decimal;

/// The value of one key in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// An address.
    Ip(IpAddr),
    /// A network.
    Net(IpNet),
    /// A port or a process.
    Number(u32),
    /// The server's address and port, at least one of them known.
    Local(Option<IpAddr>, Option<u16>),
    /// A name.
    Text(String),
    /// Not known.
    Unknown,
}

impl Value {
    /// Appends the value as [`Display`](fmt::Display) shows it. A report may have millions of IPv4
    /// addresses, which are written without the standard library's formatting.
    pub(crate) fn append_to(&self, out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Value::Ip(IpAddr::V4(ip)) => {
                for (n, octet) in ip.octets().into_iter().enumerate() {
                    if n > 0 {
                        out.push(b'.');
                    }
                    push_decimal(out, octet.into());
                }
                Ok(())
            }
            Value::Number(number) => {
                push_decimal(out, (*number).into());
                Ok(())
            }
            other => write!(out, "{other}"),
        }
    }
}

/// As reports for people show the value.
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

/// Numbers as numbers, unknown values as null, everything else as text.
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

/// Names of the buckets of durations: powers of ten, the lower bound included, the upper not.
const DURATIONS: [&str; 9] = [
    "<100us",
    "100us-1ms",
    "1-10ms",
    "10-100ms",
    "100ms-1s",
    "1-10s",
    "10-100s",
    "100-1000s",
    ">=1000s",
];

/// Names of the buckets of sizes.
const SIZES: [&str; 9] =
    ["0", "1-999B", "1-10kB", "10-100kB", "100kB-1MB", "1-10MB", "10-100MB", "100MB-1GB", ">=1GB"];

/// The bucket of a duration. Longer durations have larger numbers.
pub(super) fn duration_bucket(duration: Duration) -> u8 {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    // The first bucket has numbers of up to two digits.
    digits(micros).saturating_sub(2).min(8)
}

/// The bucket of a number of bytes. Larger numbers have larger buckets.
pub(super) fn size_bucket(bytes: u64) -> u8 {
    match digits(bytes) {
        0 => 0,
        n => n.saturating_sub(2).clamp(1, 8),
    }
}

/// The name of a bucket of durations.
pub(super) fn duration_bucket_name(bucket: u8) -> Option<&'static str> {
    DURATIONS.get(usize::from(bucket)).copied()
}

/// The name of a bucket of sizes.
pub(super) fn size_bucket_name(bucket: u8) -> Option<&'static str> {
    SIZES.get(usize::from(bucket)).copied()
}

/// The names of all buckets of durations, or of sizes, in their order.
pub(crate) fn bucket_names(of_sizes: bool) -> &'static [&'static str] {
    if of_sizes { &SIZES } else { &DURATIONS }
}

/// The number of decimal digits; 0 has none.
fn digits(n: u64) -> u8 {
    n.checked_ilog10().map_or(0, |log| log as u8 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_appended_as_they_are_shown() {
        let ip = |text: &str| Value::Ip(text.parse().unwrap());
        for value in [
            ip("0.0.0.0"),
            ip("10.200.3.255"),
            ip("2001:db8::7"),
            Value::Number(0),
            Value::Number(u32::MAX),
            Value::Local(None, Some(80)),
            Value::Text("nginx: worker".into()),
            Value::Unknown,
        ] {
            let mut out = Vec::new();
            value.append_to(&mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }

    #[test]
    fn buckets_of_durations_are_powers_of_ten() {
        let named =
            |micros| duration_bucket_name(duration_bucket(Duration::from_micros(micros))).unwrap();
        let mut from = 100;
        assert_eq!((named(0), named(99)), ("<100us", "<100us"));
        for name in &DURATIONS[1..] {
            let last = if *name == ">=1000s" { u64::MAX } else { 10 * from - 1 };
            assert_eq!((named(from), named(last)), (*name, *name));
            from *= 10;
        }
        assert_eq!(named(2_500_000), "1-10s");
    }

    #[test]
    fn buckets_of_sizes_are_powers_of_ten() {
        let named = |n| size_bucket_name(size_bucket(n)).unwrap();
        assert_eq!((named(0), named(1), named(999)), ("0", "1-999B", "1-999B"));
        let mut from = 1000;
        for name in &SIZES[2..] {
            let last = if *name == ">=1GB" { u64::MAX } else { 10 * from - 1 };
            assert_eq!((named(from), named(last)), (*name, *name));
            from *= 10;
        }
    }
}
