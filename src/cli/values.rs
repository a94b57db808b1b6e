//! Parsers for the values of options: the names of the library's enums, with their help texts.

use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use crate::count::key::Key;
use crate::count::order::Sort;
use crate::count::tcp_stats::Column;
use crate::filter::{Ports, PortsError};
use crate::format::OutputFormat;
use crate::parse::registry;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use jiff::civil::Date;

use super::name_files;

/// A value, its name on the command line, and its help text.
type Choice<T> = (T, &'static str, &'static str);

const KEYS: &[Choice<Key>] = &[
    (Key::Ip, "ip", "The client's address"),
    (Key::Net, "net", "The client's network (--mask)"),
    (Key::Port, "port", "The server's port"),
    (Key::Local, "local", "The server's address and port"),
    (Key::Pid, "pid", "The process that accepted"),
    (Key::Comm, "comm", "The name of the thread that accepted"),
    (Key::Host, "host", "The machine that accepted (--host)"),
    (Key::Container, "container", "The container of the process that accepted (trace)"),
    (Key::Asn, "asn", "The autonomous system of the client's address (--asn)"),
    (Key::Country, "country", "The country of the client's address (--asn)"),
    (
        Key::Duration,
        "duration",
        "Time that the connection was open, by powers of ten (watch, and parse of its events)",
    ),
    (Key::Rtt, "rtt", "Smoothed round-trip time, by powers of ten (likewise)"),
    (Key::Bytes, "bytes", "Bytes in both directions, by powers of ten (likewise)"),
];

const SORTS: &[Choice<Sort>] = &[
    (Sort::Count, "count", "The largest count first"),
    (Sort::Key, "key", "Addresses and numbers upwards, IPv4 before IPv6"),
    (Sort::First, "first", "The earliest first connection first"),
    (Sort::Last, "last", "The latest last connection first"),
    (
        Sort::Bytes,
        "bytes",
        "The most bytes in both directions first (watch, and parse of its events)",
    ),
];

const COLUMNS: &[Choice<Column>] = &[
    (Column::Bytes, "bytes", "Bytes that clients sent (in) and received (out), summed"),
    (Column::Duration, "duration", "Time that connections were open: mean and maximum"),
    (Column::Rtt, "rtt", "Smoothed round-trip time: mean and maximum"),
];

const FORMATS: &[Choice<OutputFormat>] = &[
    (OutputFormat::Table, "table", "For people"),
    (OutputFormat::Plain, "plain", "\"IP: COUNT\", one per line"),
    (OutputFormat::Csv, "csv", "Comma-separated values"),
    (OutputFormat::Json, "json", "One JSON document"),
    (OutputFormat::Jsonl, "jsonl", "JSON objects, one per line"),
    (OutputFormat::Openmetrics, "openmetrics", "For Prometheus"),
    (
        OutputFormat::Html,
        "html",
        "A page for a browser: a timeline, and a table that sorts and filters",
    ),
    (OutputFormat::Svg, "svg", "The timeline as a picture"),
    (OutputFormat::Parquet, "parquet", "For databases: typed columns (give -o FILE)"),
];

/// Parses the value of `--port`: numbers, ranges, and names of services(5).
pub(super) fn ports(text: &str) -> Result<Ports, NotPorts> {
    let part = |part: &str| -> Result<String, NotPorts> {
        let name = part.trim();
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Ok(name.to_owned());
        }
        let port = name_files::port_of(name).ok_or_else(|| NotPorts::Name(name.to_owned()))?;
        Ok(port.to_string())
    };
    let parts = text.split(',').map(part).collect::<Result<Vec<_>, _>>()?;
    parts.join(",").parse().map_err(NotPorts::Numbers)
}

/// Why the value of `--port` is no list of ports.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum NotPorts {
    #[error("there is no service '{0}' in /etc/services; give the number, as in 80,443,8000-8010")]
    Name(String),
    #[error(transparent)]
    Numbers(PortsError),
}

/// Parses a value of `--by`.
pub(super) fn key() -> impl TypedValueParser<Value = Key> {
    choice(KEYS)
}

/// Parses the value of `--sort`.
pub(super) fn sort() -> impl TypedValueParser<Value = Sort> {
    choice(SORTS)
}

/// Parses a value of `--columns`.
pub(super) fn column() -> impl TypedValueParser<Value = Column> {
    choice(COLUMNS)
}

/// Parses the value of `--format`.
pub(super) fn format() -> impl TypedValueParser<Value = OutputFormat> {
    choice(FORMATS)
}

/// Why a value of an option is invalid.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum ValueError {
    #[error("not a date; give one such as 2026-11-22")]
    Date,
    #[error("not a whole number of at least 1; give digits only, as in 1000")]
    NotAtLeastOne,
    #[error("not a whole number, or too large; give digits only, as in 1000")]
    NotWhole,
}

/// Parses a date.
pub(super) fn date(text: &str) -> Result<Date, ValueError> {
    text.parse().map_err(|_| ValueError::Date)
}

/// Parses a number that must not be 0.
pub(super) fn at_least_one(text: &str) -> Result<u64, ValueError> {
    text.parse().ok().filter(|n| *n > 0).ok_or(ValueError::NotAtLeastOne)
}

/// Parses a number of things or bytes.
pub(super) fn whole_number<T: FromStr>(text: &str) -> Result<T, ValueError> {
    text.parse().map_err(|_| ValueError::NotWhole)
}

/// Parses the value of `--type`: the name of a record format.
pub(super) fn record_format() -> PossibleValuesParser {
    PossibleValuesParser::new(
        registry::FORMATS.iter().map(|f| PossibleValue::new(f.name).help(f.about)),
    )
}

fn choice<T>(choices: &'static [Choice<T>]) -> impl TypedValueParser<Value = T>
where
    T: Copy + Debug + Send + Sync + 'static,
{
    let values = choices.iter().map(|(_, name, help)| PossibleValue::new(*name).help(*help));
    PossibleValuesParser::new(values).try_map(move |given| {
        let choice = choices.iter().find(|(_, name, _)| *name == given);
        choice.map(|(value, ..)| *value).ok_or_else(|| format!("'{given}' is not known"))
    })
}

/// Why the value of `--metrics` is no address.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "'{0}' is not an address to listen on; give a port (9435) or ADDRESS:PORT (127.0.0.1:9435, [::1]:9435, or a name in /etc/hosts)"
)]
pub(super) struct NotAnAddress(String);

/// Parses `ADDRESS:PORT`, `NAME:PORT` (a name in /etc/hosts), `:PORT` or `PORT`; without an address it is 127.0.0.1.
pub(super) fn metrics_address(text: &str) -> Result<SocketAddr, NotAnAddress> {
    let port = text.strip_prefix(':').unwrap_or(text).parse::<u16>();
    let local = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let named = || {
        let (name, port) = text.rsplit_once(':')?;
        Some(SocketAddr::new(name_files::address_of(name)?, port.parse().ok()?))
    };
    let given = || text.parse().ok().or_else(named);
    let address = port.ok().map(local).or_else(given).filter(|a| a.port() != 0);
    address.ok_or_else(|| NotAnAddress(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_named_as_in_reports() {
        for (key, name, _) in KEYS {
            assert_eq!(key.name(), *name);
        }
    }
}
