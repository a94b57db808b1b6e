//! Reads the lines of lists of sockets.

use super::socket::{End, Line, STATES, end, ends_of};
use super::table;
use crate::parse::decoration::wrapper::{self, Stripped};
use crate::parse::host::{Ends, Host, has_two_addresses};
use crate::parse::timestamp::Stamp;

/// Maximum number of words before a socket.
const MAX_WORDS: usize = 12;

/// Whether a line is the header of a list. netstat translates the names of the addresses.
pub(super) fn is_header(line: &[u8]) -> bool {
    let has = |text: &str| memchr::memmem::find(line, text.as_bytes()).is_some();
    has("Recv-Q") && has("Send-Q") && (has("Local Address") || has("Proto "))
        || is_weak_header(line)
        || table::is_kernel_header(line)
}

/// Whether a line is a header that other lists may have, too.
pub(super) fn is_weak_header(line: &[u8]) -> bool {
    is_windows_header(line) || table::is_lsof_header(line)
}

/// Whether a line is the header of netstat on Windows, whose other words are translated.
fn is_windows_header(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    let words = || line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count();
    line.starts_with(b"Proto  ") && (4..=9).contains(&words())
}

/// Reads a line, which may have prefixes, and the time in these.
pub(super) fn line(text: &[u8]) -> (Stamp, Line) {
    if is_header(text) {
        return (Stamp::None, Line::Header);
    }
    let whole = Stripped { stamp: Stamp::None, rest: text };
    let all = std::iter::once(whole).chain(wrapper::without_prefixes(text));
    let mut read =
        all.take(wrapper::MAX_LAYERS).map(|stripped| (stripped.stamp, bare(stripped.rest)));
    let found = read.find(|(_, line)| *line != Line::Other);
    found.unwrap_or_else(|| match behind_words(text) {
        Line::Other if names_state(text) && has_two_addresses(text) => (Stamp::None, Line::Broken),
        line => (Stamp::None, line),
    })
}

/// Whether the state of a connection stands anywhere in a line, be it next to quotes or other signs.
fn names_state(text: &[u8]) -> bool {
    let is_part = |b: &u8| b.is_ascii_alphanumeric() || b"-_".contains(b);
    let is_state = |word: &[u8]| STATES.iter().any(|(name, rank)| *name == word && rank.is_some());
    text.split(|b| !is_part(b)).any(is_state)
}

/// Reads a line behind any words, if one of these is the state of a connection.
fn behind_words(text: &[u8]) -> Line {
    let is_state = |word: &[u8]| STATES.iter().any(|(name, _)| *name == word);
    if !text.split(u8::is_ascii_whitespace).any(is_state) {
        return Line::Other;
    }
    let starts = (1..text.len())
        .filter(|at| text[at - 1].is_ascii_whitespace() && !text[*at].is_ascii_whitespace());
    let mut read = starts.take(MAX_WORDS).map(|at| (at, bare(&text[at..])));
    match read.find(|(_, line)| *line != Line::Other) {
        Some((at, Line::Socket(..))) if is_shortened(&text[at..]) => Line::Broken,
        Some((_, line)) => line,
        None => Line::Other,
    }
}

/// Whether an end may lack its last digits. netstat of macOS and the BSDs gives it 18 characters if the addresses of
/// control blocks stand before it (-A).
fn is_shortened(text: &[u8]) -> bool {
    const WIDTH: usize = 18;
    let has_point = |word: &[u8]| !word.iter().rev().take(6).any(|b| *b == b':');
    text.starts_with(b"tcp")
        && text
            .split(u8::is_ascii_whitespace)
            .filter(|word| word.len() == WIDTH && has_point(word))
            .any(|word| end(word).is_some())
}

fn bare(text: &[u8]) -> Line {
    if let Some(line) = table::lsof(text).or_else(|| table::kernel(text)) {
        return line;
    }
    let mut words = text.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty()).peekable();
    let Some(first) = words.peek().copied() else { return Line::Other };
    let is_tcp = matches!(first, b"tcp" | b"tcp4" | b"tcp6" | b"tcp46");
    let is_netstat = is_tcp;
    if is_tcp {
        words.next();
    } else if matches!(first, b"udp" | b"udp4" | b"udp6" | b"udp46" | b"u_str" | b"u_dgr" | b"raw")
    {
        return Line::OtherSocket;
    }
    let words: Vec<&[u8]> = words.take(8).collect();
    if let [b"TCP", local, peer, state, ..] = words[..] {
        return windows(local, peer, state);
    }
    let state = words.iter().find_map(|word| STATES.iter().find(|(name, _)| name == word));
    let queues = words.windows(2).position(|pair| {
        pair.iter().all(|word| word.iter().all(u8::is_ascii_digit)) && pair[0].len() < 11
    });
    let Some(queues) = queues.filter(|at| *at <= 1) else { return Line::Other };
    let (Some(local), Some(peer)) = (words.get(queues + 2), words.get(queues + 3)) else {
        return if state.is_some() { Line::Broken } else { Line::Other };
    };
    // `ss state established` has no column for it.
    let is_socket = state.is_some() || local.contains(&b':') && peer.contains(&b':') && queues == 0;
    if !is_socket {
        return Line::Other;
    }
    // net-tools shortens long addresses of IPv6.
    // BusyBox calls them tcp.
    let is_ipv6 = |end: &[u8]| end.iter().filter(|b| **b == b':').count() > 1;
    let is_short = |end: &[u8]| is_netstat && is_ipv6(end) && (22..=23).contains(&end.len());
    let is_unconnected = state.is_some_and(|(name, _)| *name == b"UNCONN");
    let state = state.map_or(Some(2), |(_, rank)| *rank);
    match (end(local), end(peer), state) {
        (Some(local), Some(peer), None) if is_unconnected => destroyed(local, peer, is_tcp),
        (Some(End { port: Some(port), .. }), _, None)
            if words.iter().any(|word| *word == b"LISTEN") =>
        {
            Line::Listening(port)
        }
        (_, _, None) => Line::OtherSocket,
        _ if is_short(local) || is_short(peer) => Line::Broken,
        (Some(local), Some(peer), Some(rank)) => {
            ends_of(local, peer).map_or(Line::OtherSocket, |ends| Line::Socket(ends, rank))
        }
        _ => Line::Broken,
    }
}

/// A socket as netstat of Windows prints it, without queues. The states are translated: where something listens, the
/// peer has the port 0.
fn windows(local: &[u8], peer: &[u8], state: &[u8]) -> Line {
    let is_end = |word: &[u8]| word.contains(&b':');
    if !is_end(local) || !is_end(peer) {
        return Line::Other;
    }
    let (Some(local), Some(peer)) = (end(local), end(peer)) else { return Line::Broken };
    let rank = STATES.iter().find(|(name, _)| *name == state).map_or(Some(2), |(_, rank)| *rank);
    match (local, peer, rank) {
        (End { port: Some(port), .. }, End { port: Some(0), .. }, _) => Line::Listening(port),
        (
            End { host: Some(server), port: Some(server_port) },
            End { host: Some(client), port: Some(client_port) },
            Some(rank),
        ) if !state.starts_with(b"SYN_S") => {
            let (client_port, server_port) = (Some(client_port), Some(server_port));
            Line::Socket(Ends { client, client_port, server, server_port }, rank)
        }
        _ => Line::OtherSocket,
    }
}

/// A socket in the state UNCONN.
fn destroyed(local: End, peer: End, has_protocol: bool) -> Line {
    let is_known = |host: &Host| host.ip().is_none_or(|ip| !ip.is_unspecified());
    match (local, peer) {
        (End { host: Some(server), port: Some(port) }, End { host: Some(client), port: to })
            if is_known(&server) && is_known(&client) =>
        {
            Line::Destroyed(Ends { client, client_port: to, server, server_port: Some(port) })
        }
        (_, End { port: None, .. }) if !has_protocol => Line::Unconnected,
        _ => Line::OtherSocket,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        line(text.as_bytes()).1.shown()
    }

    #[test]
    fn rows_of_many_tools() {
        let want = "198.51.100.7 40755 192.0.2.77 443 2";
        for text in [
            "ESTAB      0      0      192.0.2.77:443       198.51.100.7:40755",
            "ESTAB 0 0 192.0.2.77%eth0:443 198.51.100.7:40755 users:((\"nginx\",pid=9,fd=7))",
            "ESTAB 0 0 [::ffff:192.0.2.77]:443 [::ffff:198.51.100.7]:40755 uid:33 ino:7 sk:1 <->",
            "tcp   ESTAB 0 0 192.0.2.77:443 198.51.100.7:40755",
            "0      0      192.0.2.77:443       198.51.100.7:40755",
            "tcp        0      0 192.0.2.77:443     198.51.100.7:40755   ESTABLISHED 9/nginx",
            "tcp4       0      0 192.0.2.77.443     198.51.100.7.40755   ESTABLISHED",
            "web-1 nginx {x} ESTAB 0 0 192.0.2.77:443 198.51.100.7:40755",
            "gw1: ESTAB 0 0 192.0.2.77:443 198.51.100.7:40755",
            "tcp 0 0 192.0.2.77:443 198.51.100.7:40755 VERBUNDEN 9/nginx",
            "  TCP    192.0.2.77:443         198.51.100.7:40755     ESTABLISHED     1234",
            "  TCP    192.0.2.77:443         198.51.100.7:40755     HERGESTELLT     1234",
        ] {
            assert_eq!(shown(text), want, "{text}");
        }
        assert_eq!(
            shown("tcp6 0 0 2001:db8::1:443 2001:db8::7:40755 TIME_WAIT"),
            "2001:db8::7 40755 2001:db8::1 443 5"
        );
    }

    #[test]
    fn interfaces_of_local_addresses_are_no_part_of_them() {
        let want = "fe80::7 40755 fe80::1 22 2";
        for text in [
            "ESTAB 0 0 [fe80::1]%eth0:22 [fe80::7]:40755",
            "ESTAB 0 0 [fe80::1%eth0]:22 [fe80::7%eth0]:40755",
            "  TCP    [fe80::1%12]:22    [fe80::7%12]:40755    ESTABLISHED",
        ] {
            assert_eq!(shown(text), want, "{text}");
        }
    }

    #[test]
    fn destroyed_sockets_have_both_ends() {
        let read = |text: &str| match line(text.as_bytes()) {
            (stamp, Line::Destroyed(e)) => {
                format!("{stamp:?} {:?} {:?}", e.client_port, e.server_port)
            }
            (_, other) => format!("{other:?}"),
        };
        for text in [
            "UNCONN 1      0      [::ffff:192.0.2.77]:8080  [::ffff:198.51.100.7]:60143       ",
            "tcp   UNCONN 1      0      192.0.2.77:8080  198.51.100.7:60143 ino:0 sk:815083 ts sack",
        ] {
            assert_eq!(read(text), "None Some(60143) Some(8080)", "{text}");
        }
        assert_eq!(read("UNCONN 0 9 192.0.2.77:8080 198.51.100.7:*"), "None None Some(8080)");
        let stamped = read("2026-11-22T10:58:42Z UNCONN 0 9 192.0.2.77:8080 198.51.100.7:6");
        assert_eq!(stamped, "Epoch(1795345122000000000) Some(6) Some(8080)");
    }

    #[test]
    fn other_rows_are_no_connections() {
        for (text, want) in [
            ("LISTEN 0 511 0.0.0.0:443 0.0.0.0:*", "Listening(443)"),
            ("LISTEN 0 511 *:443 *:*", "Listening(443)"),
            ("tcp6 0 0 :::443 :::* LISTEN", "Listening(443)"),
            ("tcp4 0 0 *.443 *.* LISTEN", "Listening(443)"),
            ("  TCP    0.0.0.0:443   0.0.0.0:0   LISTENING   1234", "Listening(443)"),
            ("  TCP    [::]:443      [::]:0      ESCUCHA", "Listening(443)"),
            ("  TCP    192.0.2.77:50123   203.0.113.9:443   SYN_SENT", "OtherSocket"),
            ("  TCP    192.0.2.77:443   client:40755   ESTABLISHED", "Broken"),
            ("  Proto  Lokale Adresse         Remoteadresse          Status", "Header"),
            ("Proto Recv-Q Send-Q Adresse locale  Adresse distante  Etat", "Header"),
            ("UNCONN 0 0 0.0.0.0:68 0.0.0.0:*", "Unconnected"),
            ("UNCONN 0 0 *:8080 *:*", "Unconnected"),
            ("tcp UNCONN 0 0 *:8080 *:*", "OtherSocket"),
            ("tcp UNCONN 0 3 0.0.0.0:47874 192.0.2.77:*", "OtherSocket"),
            ("SYN-SENT 0 1 192.0.2.77:40001 198.51.100.7:80", "OtherSocket"),
            ("udp 0 0 192.0.2.77:68 192.0.2.1:67 ESTABLISHED", "OtherSocket"),
            ("ESTAB 0 0 192.0.2.77:https client.example:40755", "Broken"),
            ("tcp6 0 0 2001:db8:77:1:2:3:4:443 2001:db8::7:40755 ESTABLISHED", "Broken"),
            ("tcp 0 0 ::ffff:192.0.2.77:22 ::ffff:198.51.100.8:407 ESTABLISHED", "Broken"),
            (
                "7fb03cb94d505aed cedd0cbf tcp4 0 0 192.0.2.77.22 198.51.100.10.4075 ESTABLISHED",
                "Broken",
            ),
            ("ESTAB 0 0 [::ffff:192.0.2.77]:22 [::ffff:1", "Broken"),
            ("['ESTAB 0 0 192.0.2.77:443 198.51.100.7:40755'", "Broken"),
            ("\t cubic wscale:10,10 rto:204 rtt:0.5/0.25", "Other"),
            ("State Recv-Q Send-Q Local Address:Port Peer Address:Port", "Header"),
            ("Active Internet connections (servers and established)", "Other"),
        ] {
            assert_eq!(shown(text), want, "{text}");
        }
    }
}
