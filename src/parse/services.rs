//! Names of services, as tcpdump and ss print them in place of ports unless they are given `-n`.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Of what servers listen on most; the same on every system. The rest is in `/etc/services`.
const COMMON: &[(&str, u16)] = &[
    ("ftp-data", 20),
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("domain", 53),
    ("http", 80),
    ("www", 80),
    ("hosts2-ns", 81),
    ("kerberos", 88),
    ("pop3", 110),
    ("sunrpc", 111),
    ("auth", 113),
    ("nntp", 119),
    ("ntp", 123),
    ("epmap", 135),
    ("netbios-ssn", 139),
    ("imap2", 143),
    ("imap", 143),
    ("snmp", 161),
    ("bgp", 179),
    ("ldap", 389),
    ("https", 443),
    ("snpp", 444),
    ("microsoft-ds", 445),
    ("submissions", 465),
    ("urd", 465),
    ("ssmtp", 465),
    ("smtps", 465),
    ("login", 513),
    ("shell", 514),
    ("printer", 515),
    ("rtsp", 554),
    ("submission", 587),
    ("ipp", 631),
    ("ldaps", 636),
    ("domain-s", 853),
    ("rsync", 873),
    ("ftps", 990),
    ("imaps", 993),
    ("pop3s", 995),
    ("socks", 1080),
    ("openvpn", 1194),
    ("ms-sql-s", 1433),
    ("mqtt", 1883),
    ("nfs", 2049),
    ("iscsi-target", 3260),
    ("squid", 3128),
    ("mysql", 3306),
    ("ms-wbt-server", 3389),
    ("svn", 3690),
    ("sip", 5060),
    ("xmpp-client", 5222),
    ("xmpp-server", 5269),
    ("postgresql", 5432),
    ("postgres", 5432),
    ("amqps", 5671),
    ("amqp", 5672),
    ("x11", 6000),
    ("redis", 6379),
    ("ircd", 6667),
    ("afs3-fileserver", 7000),
    ("http-alt", 8080),
    ("webcache", 8080),
    ("tproxy", 8081),
    ("sunproxyadmin", 8081),
    ("mqtt-ssl", 8883),
    ("secure-mqtt", 8883),
    ("pcsync-https", 8443),
    ("cslistener", 9000),
    ("git", 9418),
    ("webmin", 10000),
    ("memcache", 11211),
];

static NAMES: LazyLock<HashMap<String, u16>> = LazyLock::new(|| {
    let mut names = HashMap::new();
    let text = std::fs::read_to_string("/etc/services").unwrap_or_default();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let (Some(name), Some(port)) = (words.next(), words.next()) else { continue };
        let Some(port) = port.strip_suffix("/tcp").and_then(|p| p.parse().ok()) else { continue };
        for name in words.chain([name]) {
            names.entry(name.to_owned()).or_insert(port);
        }
    }
    names.extend(COMMON.iter().map(|(name, port)| ((*name).to_owned(), *port)));
    names
});

/// The port, from its number or its name.
pub(super) fn port(text: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(text).ok()?;
    if text.starts_with(|c: char| c.is_ascii_digit())
        && let Ok(port) = text.parse()
    {
        return Some(port);
    }
    NAMES.get(text).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_numbers_or_known_names() {
        let ports =
            ["80", "http", "imaps", "no-such-service", "65536", ""].map(|p| port(p.as_bytes()));
        assert_eq!(ports, [Some(80), Some(80), Some(993), None, None, None]);
    }
}
