//! Looks up host names in /etc/hosts and names of services in /etc/services.
//!
//! getaddrinfo(3) and getservbyname(3) are not used: a statically linked program cannot load the modules of
//! nsswitch.conf(5) for them, nor the C library that they were made for.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::str::SplitWhitespace;

const HOSTS: &str = "/etc/hosts";
const SERVICES: &str = "/etc/services";

/// Well-known services, for machines without /etc/services, such as most containers.
const USUAL: &[(&str, u16)] = &[
    ("ssh", 22),
    ("smtp", 25),
    ("domain", 53),
    ("http", 80),
    ("imap2", 143),
    ("ldap", 389),
    ("https", 443),
    ("imaps", 993),
    ("mysql", 3306),
    ("postgresql", 5432),
    ("amqp", 5672),
    ("redis", 6379),
    ("http-alt", 8080),
];

/// The port of a TCP service.
pub(super) fn port_of(name: &str) -> Option<u16> {
    let file = fs::read_to_string(SERVICES).unwrap_or_default();
    let usual = || USUAL.iter().find(|(usual, _)| *usual == name).map(|(_, port)| *port);
    port_in(&file, name).or_else(usual).filter(|port| *port > 0)
}

/// The port of `name` in a file as services(5) describes it.
fn port_in(file: &str, name: &str) -> Option<u16> {
    file.lines().find_map(|line| {
        let line = line.split_once('#').map_or(line, |(line, _)| line);
        let mut words = line.split_whitespace();
        let (service, port) = (words.next()?, words.next()?.strip_suffix("/tcp")?);
        let is_named = service == name || words.any(|alias| alias == name);
        is_named.then(|| port.parse().ok())?
    })
}

/// The contents of /etc/hosts.
pub(super) fn hosts() -> String {
    fs::read_to_string(HOSTS).unwrap_or_default()
}

/// The address of a host that is named in /etc/hosts, IPv4 first. `localhost` needs no file.
pub(super) fn address_of(name: &str) -> Option<IpAddr> {
    let local = || name.eq_ignore_ascii_case("localhost").then_some(Ipv4Addr::LOCALHOST.into());
    address_in(&hosts(), name).or_else(local)
}

/// The address of `name` in a file as hosts(5) describes it.
fn address_in(file: &str, name: &str) -> Option<IpAddr> {
    let addresses = entries(file).filter_map(|(address, mut names)| {
        names.any(|host| host.eq_ignore_ascii_case(name)).then_some(address)
    });
    addresses.min_by_key(|address| !address.is_ipv4())
}

/// The first name of an address in a file as hosts(5) describes it.
pub(super) fn name_in(file: &str, ip: IpAddr) -> Option<String> {
    let mut entries = entries(file).filter(|(address, _)| *address == ip);
    entries.find_map(|(_, mut names)| names.next()).map(str::to_owned)
}

/// The addresses in a file as hosts(5) describes it, each with its names.
fn entries(file: &str) -> impl Iterator<Item = (IpAddr, SplitWhitespace<'_>)> {
    file.lines().filter_map(|line| {
        let line = line.split_once('#').map_or(line, |(line, _)| line);
        let mut words = line.split_whitespace();
        Some((words.next()?.parse().ok()?, words))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_names_and_aliases_and_the_first_ipv4_address_counts() {
        let file =
            "::1 localhost web\n192.0.2.1\tweb.example.com web # other\n192.0.2.2 web\nbad web2\n";
        let ip = |text: &str| text.parse().ok();
        assert_eq!(address_in(file, "web"), ip("192.0.2.1"));
        assert_eq!(address_in(file, "WEB.example.com"), ip("192.0.2.1"));
        assert_eq!(address_in(file, "localhost"), ip("::1"));
        for name in ["other", "#", "web2", "192.0.2.1", ""] {
            assert_eq!(address_in(file, name), None, "{name}");
        }
        assert_eq!(address_in("", "localhost"), None);
        assert_eq!(name_in(file, "192.0.2.1".parse().unwrap()).as_deref(), Some("web.example.com"));
        assert_eq!(name_in(file, "192.0.2.3".parse().unwrap()), None);
        assert!(address_of("localhost").is_some_and(|address| address.is_loopback()));
    }

    #[test]
    fn services_have_names_and_aliases() {
        let file = "# comment\n\nhttp\t80/tcp\twww # WorldWideWeb\ndomain 53/udp\ndomain 53/tcp\n";
        for (name, port) in [("http", Some(80)), ("www", Some(80)), ("domain", Some(53))] {
            assert_eq!(port_in(file, name), port, "{name}");
        }
        for name in ["WorldWideWeb", "htt", "#"] {
            assert_eq!(port_in(file, name), None, "{name}");
        }
    }
}
