//! Addresses of host names. getaddrinfo(3) is not used: a statically linked program would load the modules of
//! nsswitch.conf(5) and the C library that they were made for.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

const HOSTS: &str = "/etc/hosts";

/// The address of a host that is named in /etc/hosts, IPv4 first. `localhost` needs no file.
pub(super) fn address_of(name: &str) -> Option<IpAddr> {
    let file = fs::read_to_string(HOSTS).unwrap_or_default();
    let local = || name.eq_ignore_ascii_case("localhost").then_some(Ipv4Addr::LOCALHOST.into());
    address_in(&file, name).or_else(local)
}

/// The address of `name` in a file as hosts(5) describes it.
fn address_in(file: &str, name: &str) -> Option<IpAddr> {
    let addresses = file.lines().filter_map(|line| {
        let line = line.split_once('#').map_or(line, |(line, _)| line);
        let mut words = line.split_whitespace();
        let address: IpAddr = words.next()?.parse().ok()?;
        words.any(|host| host.eq_ignore_ascii_case(name)).then_some(address)
    });
    addresses.min_by_key(|address| !address.is_ipv4())
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
        assert!(address_of("localhost").is_some_and(|address| address.is_loopback()));
    }
}
