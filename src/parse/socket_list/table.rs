//! Lines of lsof and of the kernel's tables /proc/net/tcp and /proc/net/tcp6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::socket::{End, Line, end, ends_of, rank_of};
use crate::parse::host::Host;

/// Whether a line is the header of lsof.
pub(super) fn is_lsof_header(line: &[u8]) -> bool {
    let mut words = words(line);
    words.next() == Some(b"COMMAND") && words.next() == Some(b"PID") && words.any(|w| w == b"NAME")
}

/// Whether a line is the header of a table of the kernel.
pub(super) fn is_kernel_header(line: &[u8]) -> bool {
    let mut words = words(line);
    words.next() == Some(b"sl") && words.next() == Some(b"local_address")
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// Reads `nginx 9 www 3u IPv4 70 0t0 TCP 192.0.2.77:443->198.51.100.7:40755 (ESTABLISHED)`; `None`: it is no such
/// line.
pub(super) fn lsof(text: &[u8]) -> Option<Line> {
    let mut words = words(text).skip_while(|word| !matches!(*word, b"IPv4" | b"IPv6"));
    words.next()?;
    // The device and the size, of which the latter may be missing.
    let protocol = words.by_ref().take(3).find(|word| matches!(*word, b"TCP" | b"UDP"))?;
    if protocol == b"UDP" {
        return Some(Line::OtherSocket);
    }
    let name = words.next()?;
    let state = words.next().unwrap_or_default();
    let state = state.strip_prefix(b"(").and_then(|s| s.strip_suffix(b")")).unwrap_or_default();
    let Some(arrow) = memchr::memmem::find(name, b"->") else {
        return Some(match end(name) {
            Some(End { port: Some(port), .. }) if state == b"LISTEN" => Line::Listening(port),
            None if state == b"LISTEN" => Line::Broken,
            _ => Line::OtherSocket,
        });
    };
    let (local, peer) = (end(&name[..arrow]), end(&name[arrow + 2..]));
    Some(match (local, peer, rank_of(state)) {
        (_, _, Some(None)) => Line::OtherSocket,
        (Some(local), Some(peer), rank) => ends_of(local, peer)
            .map_or(Line::Broken, |ends| Line::Socket(ends, rank.flatten().unwrap_or(ESTABLISHED))),
        _ => Line::Broken,
    })
}

/// The rank of an established connection.
const ESTABLISHED: u8 = 2;

/// Reads `1: 0100007F:1F90 0100007F:9C40 01 …`; `None`: it is no such line.
pub(super) fn kernel(text: &[u8]) -> Option<Line> {
    let all: Vec<&[u8]> = words(text).take(18).collect();
    let [number, local, ..] = *all.as_slice() else { return None };
    let number = number.strip_suffix(b":")?;
    if !number.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let local = hexadecimal_end(local)?;
    let rest =
        || Some((hexadecimal_end(all.get(2)?)?, *all.get(3).filter(|state| state.len() == 2)?));
    // A line that was cut or wrapped.
    let Some((peer, state)) = rest() else { return Some(Line::Broken) };
    // A row of UDP ends with the number of dropped packets.
    const WORDS_OF_UDP: usize = 13;
    if all.len() == WORDS_OF_UDP && all[WORDS_OF_UDP - 1].iter().all(u8::is_ascii_digit) {
        return Some(Line::OtherSocket);
    }
    let rank = match state {
        b"01" => ESTABLISHED,
        b"03" | b"0C" => 1,
        b"04" | b"05" | b"08" | b"0B" => 3,
        b"09" => 4,
        b"06" => 5,
        b"0A" => return Some(local.port.map_or(Line::OtherSocket, Line::Listening)),
        _ => return Some(Line::OtherSocket),
    };
    Some(ends_of(local, peer).map_or(Line::OtherSocket, |ends| Line::Socket(ends, rank)))
}

/// Reads an address and a port in hexadecimal. The words of the address are in the order of little-endian machines.
fn hexadecimal_end(word: &[u8]) -> Option<End> {
    let text = std::str::from_utf8(word).ok()?;
    let (host, port) = text.split_once(':')?;
    if port.len() != 4 || !host.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let port = u16::from_str_radix(port, 16).ok()?;
    let words = |text: &str| -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        for at in (0..text.len()).step_by(8) {
            let word = u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?;
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        Some(bytes)
    };
    let ip = match host.len() {
        8 => IpAddr::from(Ipv4Addr::from(words(host)?.first_chunk::<4>().copied()?)),
        32 => IpAddr::from(Ipv6Addr::from(words(host)?.first_chunk::<16>().copied()?)),
        _ => return None,
    };
    Some(End { host: Some(Host::from(ip)), port: Some(port) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: Option<Line>) -> String {
        line.map_or("None".into(), |line| line.shown())
    }

    #[test]
    fn rows_of_lsof_are_read() {
        for (text, want) in [
            (
                "nginx 9 www 3u IPv4 70 0t0 TCP 192.0.2.77:443->198.51.100.7:40755 (ESTABLISHED)",
                "198.51.100.7 40755 192.0.2.77 443 2",
            ),
            (
                "my app 9 www 3u IPv6 0x5 0t0 TCP [2001:db8::1]:22->[2001:db8::7]:9 (CLOSE_WAIT)",
                "2001:db8::7 9 2001:db8::1 22 3",
            ),
            ("nginx 9 root 6u IPv4 70 0t0 TCP *:443 (LISTEN)", "Listening(443)"),
            ("nginx 9 root 6u IPv4 70 0t0 TCP *:https (LISTEN)", "Listening(443)"),
            ("nginx 9 root 6u IPv4 70 0t0 TCP *:no-such-service (LISTEN)", "Broken"),
            ("nginx 9 root 6u IPv4 70 0t0 TCP web:https->client:40755 (ESTABLISHED)", "Broken"),
            ("curl 9 a 5u IPv4 7 0t0 TCP 192.0.2.77:9->203.0.113.9:443 (SYN_SENT)", "OtherSocket"),
            ("dhcpd 9 root 6u IPv4 70 0t0 UDP *:67", "OtherSocket"),
            ("nginx 9 root cwd DIR 8,1 4096 2 /", "None"),
        ] {
            assert_eq!(shown(lsof(text.as_bytes())), want, "{text}");
        }
        assert!(is_lsof_header(b"COMMAND   PID USER   FD   TYPE DEVICE SIZE/OFF NODE NAME"));
    }

    #[test]
    fn rows_of_the_kernel() {
        let row = |ends: &str, more: &str| {
            let text = format!(
                "   1: {ends} 00000000:00000000 00:00000000 00000000  0  0 631034 1 0000000000000000{more}"
            );
            shown(kernel(text.as_bytes()))
        };
        let tcp = " 20 4 30 10 -1";
        assert_eq!(
            row("4D0200C0:01BB 076433C6:9F33 01", tcp),
            "198.51.100.7 40755 192.0.2.77 443 2"
        );
        assert_eq!(
            row(
                "B80D0120000000000000000001000000:0016 B80D0120000000000000000007000000:9F33 06",
                ""
            ),
            "2001:db8::7 40755 2001:db8::1 22 5"
        );
        assert_eq!(row("00000000:01BB 00000000:0000 0A", tcp), "Listening(443)");
        assert_eq!(row("4D0200C0:9F33 076433C6:01BB 02", tcp), "OtherSocket");
        // UDP.
        assert_eq!(row("4D0200C0:9F33 076433C6:01BB 01", " 0"), "OtherSocket");
        // Text put behind the row.
        assert_eq!(
            row("4D0200C0:01BB 076433C6:9F33 06", " |"),
            "198.51.100.7 40755 192.0.2.77 443 5"
        );
        assert_eq!(shown(kernel(b"1: 4D0200C0:01BB 076433C6:9F")), "Broken");
        assert_eq!(shown(kernel(b"1: 4D0200C0:01BB 076433C6:9F33 0")), "Broken");
        assert_eq!(shown(kernel(b"1: x y 01")), "None");
        assert!(is_kernel_header(b"  sl  local_address rem_address   st tx_queue"));
    }
}
