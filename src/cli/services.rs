//! Names of TCP services. getservbyname(3) is not used: a statically linked program cannot load the modules
//! of nsswitch.conf(5) for it.

use std::fs;

const SERVICES: &str = "/etc/services";

/// Services for machines without /etc/services, such as most containers.
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

#[cfg(test)]
mod tests {
    use super::*;

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
