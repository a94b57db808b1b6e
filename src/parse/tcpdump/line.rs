//! One line of tcpdump's output.

use std::sync::LazyLock;

use memchr::memmem::{self, Finder};

use super::flags::{PacketFlags, new_flags, old_flag_letters, old_flags};
use super::head::{ARROW, ends, head_and_body, inward, pf_rule, point};
use super::tunnel;
use crate::parse::cursor::Cursor;
use crate::parse::deduplicate::PacketKind;
use crate::parse::host::Ends;
use crate::parse::timestamp::Stamp;

/// Minimum length of a line that a terminal of 80 columns may have wrapped, without its time of the day.
const NARROWEST: usize = 63;

/// What a line is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A TCP packet.
    Packet(Packet),
    /// The IP header of a packet whose line comes next (`-v`), and the packet's IP ID.
    Header(Option<u16>),
    /// A TCP packet whose flags are not shown (`-q`).
    Quick,
    /// A TCP packet that was captured too short to see its flags.
    Cut,
    /// A SYN that pf blocked, by its log.
    Blocked,
    /// A packet of a tunnel whose content tcpdump does not show.
    Hidden,
    /// Anything else.
    Other,
}

impl Line {
    /// Whether it tells in which direction the packet went, or that pf blocked it.
    pub(super) fn is_directed(&self) -> bool {
        match self {
            Line::Packet(packet) => packet.inward.is_some(),
            Line::Blocked => true,
            _ => false,
        }
    }
}

/// A TCP packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    /// The source is the client.
    pub ends: Ends,
    /// Its role in the connection, if known; of a SYN+ACK or a RST, the source is the server.
    pub kind: Option<PacketKind>,
    /// The client's initial sequence number.
    pub isn: Option<u32>,
    /// The server's initial sequence number, of a SYN+ACK; the sequence number of a RST.
    pub server_isn: Option<u32>,
    /// Where `-i any` says it: whether the packet came in or went out.
    pub inward: Option<bool>,
    /// A hash of the interface or of the sender's address on the link, where the line has one.
    pub point: Option<u32>,
    /// It does nothing but acknowledge.
    pub is_acknowledgement: bool,
}

/// Removes the packet number (`-#`) and the stamp. A clock time may also be a difference
/// (`-ttt`, `-ttttt`); the line does not show which.
pub(crate) fn stamp(line: &[u8]) -> (Stamp, &[u8]) {
    let mut cursor = Cursor(line);
    cursor.blanks();
    let mut numbered = cursor;
    if numbered.number_up_to(12).is_some() && numbered.eat(b"  ") {
        numbered.blanks();
        cursor = numbered;
    }
    let unstamped = cursor.0;
    let mut stamp = || match cursor.0.first()? {
        b'0'..=b'9' => {
            let stamp =
                cursor.iso().or_else(|| cursor.clock().map(Stamp::Clock)).or_else(|| {
                    // Addresses have no blank behind the first point.
                    let digits = cursor.0.iter().take_while(|b| b.is_ascii_digit()).count();
                    let point = cursor.0.get(digits) == Some(&b'.');
                    let ns = cursor.seconds()?;
                    (point && digits >= 9).then_some(Stamp::Epoch(ns))
                })?;
            cursor.eat(b" ").then_some(stamp)
        }
        // OpenBSD's -ttt.
        b'A'..=b'Z' => {
            let stamp = cursor.syslog_time()?;
            cursor.eat(b" ").then_some(stamp)
        }
        _ => None,
    };
    match stamp() {
        Some(stamp) => (stamp, cursor.0.trim_ascii_start()),
        None => (Stamp::None, unstamped),
    }
}

/// Whether the last line of a text is a packet that ends before its flags.
pub(crate) fn is_cut(line: &[u8]) -> bool {
    let (_, rest) = stamp(line);
    let in_stamp = !line.is_empty() && line.iter().all(|b| b" 0123456789:.-".contains(b));
    if in_stamp || rest.is_empty() {
        return !line.is_empty();
    }
    let word = rest.split(|b| *b == b' ').next().unwrap_or_default();
    let is_host = word.first().is_some_and(u8::is_ascii_hexdigit)
        && word.iter().any(|b| matches!(b, b'.' | b':'));
    if !rest.starts_with(b"IP") && rest != b"I" && !is_host {
        return false;
    }
    let Some(arrow) = ARROW.rfind(rest) else {
        return !matches!(read(rest), Line::Header(_));
    };
    match memmem::find(&rest[arrow..], b": ") {
        Some(colon) => b"Flags [".starts_with(&rest[arrow + colon + 2..]),
        None => true,
    }
}

static FLAGS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b": Flags ["));

/// Reads what is behind the stamp.
pub(crate) fn read(text: &[u8]) -> Line {
    let flags = FLAGS.find(text);
    let (head, body) = match flags {
        Some(at) => (&text[..at], &text[at + 9..]),
        None => {
            let Some((head, body)) = head_and_body(text) else {
                return match text {
                    _ if text.starts_with(b"gre-proto-0x") => Line::Hidden,
                    _ if is_short(text) => Line::Cut,
                    _ if tunnel::is_hidden_frame(text) => Line::Hidden,
                    _ => header(text),
                };
            };
            (head, body.trim_ascii_start())
        }
    };
    let decoded = if flags.is_some() { new_flags(body) } else { old_flags(body) };
    let Some(decoded) = decoded else {
        let has_port = |ports: &[u16]| {
            ends(head).is_some_and(|Ends { client_port, server_port, .. }| {
                [client_port, server_port].iter().flatten().any(|port| ports.contains(port))
            })
        };
        return match body {
            _ if flags.is_none() && is_unreadable_syn(head, body) => Line::Cut,
            b if b.starts_with(b"tcp ") => Line::Quick,
            b if b.starts_with(b"[|tcp]") || b.starts_with(b"truncated-tcp") || is_short(b) => {
                Line::Cut
            }
            _ if tunnel::is_hidden(body, has_port) || tunnel::is_hidden_frame(text) => Line::Hidden,
            _ => header(text),
        };
    };
    if decoded.kind == Some(PacketKind::Syn) && is_cut_syn(text, body, &decoded) {
        return Line::Cut;
    }
    let Some(ends) = ends(head) else {
        // Only what would have counted is missed.
        return if decoded.kind.is_some_and(PacketKind::is_attempt) {
            Line::Cut
        } else {
            Line::Other
        };
    };
    let ends =
        if decoded.kind.is_some_and(PacketKind::is_of_server) { ends.turned() } else { ends };
    let PacketFlags { kind, isn, server_isn, is_acknowledgement } = decoded;
    let point = kind.filter(|kind| kind.is_attempt()).and_then(|_| point(head));
    let (inward, blocked) = match pf_rule(head) {
        Some((inward, blocked)) => (Some(inward), blocked),
        None => (inward(head), false),
    };
    if blocked && kind == Some(PacketKind::Syn) {
        return Line::Blocked;
    }
    Line::Packet(Packet { ends, kind, isn, server_isn, inward, point, is_acknowledgement })
}

/// Whether the line of a SYN was cut or wrapped before or within its sequence number. Without the number, a repeated
/// SYN looks like another connection, or another one like a repeated SYN.
fn is_cut_syn(text: &[u8], body: &[u8], decoded: &PacketFlags) -> bool {
    let line = text.trim_ascii_end();
    let behind_flags = memchr::memchr(b']', body).map(|at| body[at + 1..].trim_ascii());
    if matches!(behind_flags, Some(b"" | b",")) {
        return true;
    }
    let may_be_wrapped = || line.len() >= NARROWEST && memmem::find(body, b", seq").is_some();
    line.ends_with(b", seq") || decoded.isn.is_none() && may_be_wrapped()
}

/// Whether a line ends with the name of a header that was captured too short, `[|ip]`, and TCP may have been behind it.
fn is_short(text: &[u8]) -> bool {
    const LAYERS: [&[u8]; 15] = [
        b"tcp", b"ip", b"ip6", b"ether", b"vlan", b"llc", b"snap", b"mpls", b"ppp", b"pppoe",
        b"gre", b"vxlan", b"geneve", b"l2tp", b"udp",
    ];
    let Some(name) = text.trim_ascii_end().strip_suffix(b"]") else { return false };
    let Some(open) = memmem::rfind(name, b"[|") else { return false };
    LAYERS.iter().any(|layer| name[open + 2..].eq_ignore_ascii_case(layer))
}

/// The IP header of the next line's packet. With `-e` it stands behind the header of the link.
fn header(text: &[u8]) -> Line {
    let Some(open) = memmem::find(text, b"(tos ") else { return Line::Other };
    if !text.starts_with(b"IP") && memmem::find(&text[open..], b", proto ").is_none() {
        return Line::Other;
    }
    let id = memmem::find(&text[open..], b", id ")
        .and_then(|at| Cursor(&text[open + at + 5..]).number_up_to(5));
    Line::Header(id.and_then(|id| u16::try_from(id).ok()).filter(|id| *id != 0))
}

/// Whether this is a SYN in the form before 4.0, but what follows the flags cannot be read.
fn is_unreadable_syn(head: &[u8], body: &[u8]) -> bool {
    old_flag_letters(body).is_some_and(|(flags, _)| flags.contains(&b'S')) && ends(head).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::host::Host;

    fn shown(line: &str) -> String {
        let (_, text) = stamp(line.as_bytes());
        let end = |h: &Host, port: Option<u16>| match h {
            Host::Ip(ip) => format!("{} {}", ip.ip(), port.unwrap_or(0)),
            Host::Name(name) => format!("{name} {}", port.unwrap_or(0)),
        };
        match read(text) {
            Line::Packet(p) => format!(
                "{} > {} {} {} {}",
                end(&p.ends.client, p.ends.client_port),
                end(&p.ends.server, p.ends.server_port),
                p.kind.map_or("-".into(), |p| format!("{p:?}")),
                p.isn.unwrap_or(0),
                p.inward.map_or("-", |inward| if inward { "in" } else { "out" }),
            ),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn the_log_of_pf_shows_the_direction_and_blocked_packets() {
        let a = "198.51.100.10.40755 > 192.0.2.77.4711: Flags [S], seq 7, win 64240, length 0";
        for (rule, want) in [
            ("rule 3/0(match): pass in on em0", "198.51.100.10 40755 > 192.0.2.77 4711 Syn 7 in"),
            (
                "rule 3.web.1/0(match) [uid 0]: pass out on em0",
                "198.51.100.10 40755 > 192.0.2.77 4711 Syn 7 out",
            ),
            ("rule 0/0(match): block in on em0", "Blocked"),
            ("rule 39/(match) pass in on em1", "198.51.100.10 40755 > 192.0.2.77 4711 Syn 7 in"),
            (
                "rule 39/(match) [uid 0, pid 7] pass out on em1",
                "198.51.100.10 40755 > 192.0.2.77 4711 Syn 7 out",
            ),
            ("rule def/(match) block in on em1", "Blocked"),
        ] {
            assert_eq!(shown(&format!("10:58:42.200113 {rule}: {a}")), want, "{rule}");
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    fn packets() {
        let syn = "198.51.100.10 40755 > 192.0.2.77 4711 Syn 7 -";
        let a = "198.51.100.10.40755 > 192.0.2.77.4711:";
        for line in [
            format!("10:58:42.200113 IP {a} Flags [S], seq 7, win 64240, length 0"),
            format!("IP {a} Flags [S], seq 7, win 64240, length 0"),
            format!("    1  IP {a} Flags [S], seq 7, win 64240, length 0"),
            format!("   12  10:58:42.200113 IP {a} Flags [S], seq 7, win 64240, length 0"),
            format!("1795345122.200113 IP {a} Flags [S], seq 7, win 64240, length 0"),
            format!(" 00:00:00.000126 IP {a} Flags [S], seq 7, win 64240, length 0"),
            format!("2026-11-22 10:58:42.200113456 IP {a} Flags [S], seq 7, win 1"),
            format!("    {a} Flags [S], cksum 0xecb9 (incorrect -> 0xfbe9), seq 7, win 64240"),
            format!(
                "10:58:42.2 02:00:5e:77:00:fe > 02:00:5e:77:00:01, ethertype IPv4 (0x0800), length 74: {a} Flags [S], seq 7, win 1"
            ),
            format!(
                "10:58:42.2 02:00:5e:77:00:fe > 02:00:5e:77:00:01, ethertype 802.1Q (0x8100), length 78: vlan 10, p 1, ethertype IPv4 (0x0800), {a} Flags [S], seq 7, win 1"
            ),
            format!("10:58:42.2 IP {a} Flags [SEW], seq 7, win 1"),
            format!("10:58:42.2 IP {a} Flags [SPU], seq 7:20, win 1, length 13"),
            format!("10:58:42.2 IP {a} S 7:7(0) win 64240 <mss 1460,sackOK>"),
            format!("10:58:42.2 {a} S 7:7(0) win 64240 <mss 1460> (DF)"),
            format!("10:58:42.2 IP {a} SWE 7:7(0) win 64240"),
            format!("    {a} S, cksum 0x1234 (correct), 7:7(0) win 64240"),
            format!("{a} S [tcp sum ok] 7:7(0) win 64240 (DF) (ttl 64, id 1, len 60)"),
            format!("IP (tos 0x0, ttl 64, id 1, length: 60) {a} SWE [tcp sum ok] 7:7(0) win 1"),
            format!("{a} S [bad tcp cksum 1234 (->5678)!] 7:7(0) win 64240"),
            format!("{a} S [bad tcp cksum 1234! -> 5678] (src OS: X 1 (or 2)) 7:7(0) win 1"),
            format!("Nov 22 10:58:42.200113 {a} S 7:7(0) win 64240"),
        ] {
            assert_eq!(shown(&line), syn, "{line}");
        }
        for (line, want) in [
            (
                "IP 192.0.2.77.80 > 198.51.100.1.5: Flags [S.], seq 1, ack 8, win 1",
                "198.51.100.1 5 > 192.0.2.77 80 SynAck 7 -",
            ),
            (
                "IP 192.0.2.77.80 > 198.51.100.1.5: Flags [S.E], seq 1, ack 8, win 1",
                "198.51.100.1 5 > 192.0.2.77 80 SynAck 7 -",
            ),
            (
                "IP 192.0.2.77.80 > 198.51.100.1.5: SE 1:1(0) ack 8 win 1",
                "198.51.100.1 5 > 192.0.2.77 80 SynAck 7 -",
            ),
            (
                "IP6 2001:db8:c::10.40041 > 2001:db8:77::1.443: Flags [S], seq 7, win 1",
                "2001:db8:c::10 40041 > 2001:db8:77::1 443 Syn 7 -",
            ),
            (
                "IP6 2001:db8:c::11 > 2001:db8:77::1: HBH DSTOPT 46267 > 443: Flags [S], seq 7, win 1",
                "2001:db8:c::11 46267 > 2001:db8:77::1 443 Syn 7 -",
            ),
            (
                "IP6 2001:db8:c::11 > 2001:db8:77::1: DSTOPT (padn)443 > 46267: S 1:1(0) ack 8",
                "2001:db8:77::1 46267 > 2001:db8:c::11 443 SynAck 7 -",
            ),
            (
                "IP6 2001:db8:c::11 > 2001:db8:77::1: frag (0|40) 46267 > https: Flags [S], seq 7, win 1",
                "2001:db8:c::11 46267 > 2001:db8:77::1 443 Syn 7 -",
            ),
            (
                "IP6 (flowlabel 0x1, hlim 64, next-header TCP (6) payload length: 40) 2001:db8::1.5 > 2001:db8::2.80: Flags [S], cksum 0x1 (incorrect -> 0x2), seq 7, win 1",
                "2001:db8::1 5 > 2001:db8::2 80 Syn 7 -",
            ),
            (
                "IP c-4.example.net.45123 > www.example.org.http: Flags [S], seq 7, win 1",
                "c-4.example.net 45123 > www.example.org 80 Syn 7 -",
            ),
            (
                "ens19 In  IP 198.51.100.1.5 > 192.0.2.77.80: Flags [S], seq 7, win 1",
                "198.51.100.1 5 > 192.0.2.77 80 Syn 7 in",
            ),
            (
                "ens19 Out IP 192.0.2.77.5 > 192.0.2.1.80: Flags [S], seq 7, win 1",
                "192.0.2.77 5 > 192.0.2.1 80 Syn 7 out",
            ),
            (
                " Out 02:00:5e:77:00:01 ethertype IPv4 (0x0800), length 76: 192.0.2.77.5 > 192.0.2.1.80: Flags [S], seq 7, win 1",
                "192.0.2.77 5 > 192.0.2.1 80 Syn 7 out",
            ),
            (
                "IP 198.51.100.1.5 > 192.0.2.77.80: Flags [S] [bad hdr length 40 - too long, > 24]",
                "198.51.100.1 5 > 192.0.2.77 80 Syn 0 -",
            ),
            (
                "IP 198.51.100.1.5 > 192.0.2.77.80: Flags [.], ack 1, win 1",
                "198.51.100.1 5 > 192.0.2.77 80 Onward 0 -",
            ),
            (
                "IP 198.51.100.1.5 > 192.0.2.77.80: P 1:7(6) ack 1 win 64",
                "198.51.100.1 5 > 192.0.2.77 80 Onward 0 -",
            ),
            (
                "IP 198.51.100.1.5 > 192.0.2.77.80: . ack 1 win 64",
                "198.51.100.1 5 > 192.0.2.77 80 Onward 0 -",
            ),
            (
                "IP 198.51.100.1.5 > 192.0.2.77.80: Flags [FS], seq 7",
                "198.51.100.1 5 > 192.0.2.77 80 - 0 -",
            ),
            (
                "IP 198.51.100.1.5 > 192.0.2.77.80: Flags [R], seq 7, win 0, length 0",
                "198.51.100.1 5 > 192.0.2.77 80 - 0 -",
            ),
            (
                "IP 198.51.100.1.5 > 192.0.2.77.80: Flags [SR.], seq 7, ack 8, win 0, length 0",
                "198.51.100.1 5 > 192.0.2.77 80 - 0 -",
            ),
            ("IP 198.51.100.1.5 > 192.0.2.77.80: tcp 0", "Quick"),
            ("IP 198.51.100.1.5 > 192.0.2.77.80: [|tcp]", "Cut"),
            ("IP 198.51.100.1.5 > 192.0.2.77.80: S [|tcp]", "Cut"),
            ("IP 198.51.100.1.5 > 192.0.2.77.80: S [bad hdr length 40 - too long, > 24]", "Cut"),
            ("IP 198.51.100.1.5 > 192.0.2.77.80: SWE", "Cut"),
            ("IP 198.51.100.1.5 > 192.0.2.77.80: Flags [S], seq", "Cut"),
            ("IP 198.51.100.1.5 > 192.0.2.77.80: Flags [S], ", "Cut"),
            ("IP 198.51.100.1.5 > 192.0.2.77.80: P [|tcp]", "Cut"),
            ("IP 198.51.100.1.5 > 192.0.2.77.80:  [|tcp]", "Cut"),
            ("IP 198.51.100.1 > 192.0.2.77: IP  [|ip]", "Cut"),
            ("IP 198.51.100.1.5 > 192.0.2.77.53:  [|domain]", "Other"),
            ("IP 198.51.100.1.5 > 192.0.2.77.2152: UDP, length 48", "Hidden"),
            ("    198.51.100.1.5 > 192.0.2.77.2152: [no cksum] UDP, length 48", "Hidden"),
            ("IP 198.51.100.1 > 192.0.2.77: ESP(spi=0x0000000b,seq=0x1), length 100", "Hidden"),
            ("IP 198.51.100.1 > 192.0.2.77: GREv0, seq 1, length 70: gre-proto-0x88be", "Hidden"),
            (
                "IP 198.51.100.1.4500 > 192.0.2.77.4500: UDP-encap: ESP(spi=0x0000000b,seq=0x1), length 100",
                "Hidden",
            ),
            ("IP 198.51.100.1 > 192.0.2.77:  ip-proto-97 56", "Hidden"),
            (
                "02:00:00:00:00:02 > 02:00:00:00:00:01, ethertype Unknown (0x88e7), length 72: ",
                "Hidden",
            ),
            (
                "02:00:00:00:00:02 > 02:00:00:00:00:01, ethertype Unknown (0x8899), length 60: ",
                "Other",
            ),
            ("IP 198.51.100.1 > 192.0.2.77: ip-proto-6", "Other"),
            ("IP 198.51.100.1.5 > 192.0.2.77.53: 4242+ A? S.example. (27)", "Other"),
            ("IP 198.51.100.1.5 > 192.0.2.77.80: UDP, length 20", "Other"),
            ("ARP, Request who-has 192.0.2.77 tell 192.0.2.1, length 28", "Other"),
            (
                "IP (tos 0x0, ttl 64, id 27356, offset 0, flags [DF], proto TCP (6), length 60)",
                "Header(Some(27356))",
            ),
            (
                "02:00:00:00:00:02 > 02:00:00:00:00:01, ethertype IPv4 (0x0800), length 82: (tos 0x0, ttl 64, id 7, \
                 offset 0, flags [DF], proto ICMP (1), length 68)",
                "Header(Some(7))",
            ),
            ("", "Other"),
        ] {
            assert_eq!(shown(line), want, "{line}");
        }
    }

    #[test]
    fn rsts_of_all_versions_are_of_the_server() {
        let a = "192.0.2.77.80 > 198.51.100.1.5:";
        for (body, isn) in [
            // The numbers are absolute, or relative to those of an earlier RST.
            ("Flags [R.], seq 0, ack 8, win 0, length 0", 0),
            ("Flags [R.], cksum 0x1234 (correct), seq 0, ack 1, win 0, length 0", 0),
            ("Flags [R.], seq 500, ack 8, win 64, length 0", 7),
            ("Flags [R], seq 0, win 0, length 0", 0),
            ("R 0:0(0) ack 8 win 0", 0),
            ("R, cksum 0x1234 (correct), 0:0(0) ack 8 win 0", 0),
            ("R [tcp sum ok] 0:0(0) ack 8 win 0 (DF) (ttl 64, id 1, len 40)", 0),
            ("R 500:500(0) ack 8 win 64", 7),
            ("R 0:0(0) win 0", 0),
        ] {
            let want = format!("198.51.100.1 5 > 192.0.2.77 80 Rst {isn} -");
            assert_eq!(shown(&format!("10:58:42.2 IP {a} {body}")), want, "{body}");
        }
        let plain = "192.0.2.77 80 > 198.51.100.1 5 - 0 -";
        assert_eq!(shown(&format!("{a} R 500:500(0) win 0")), plain);
    }

    #[test]
    fn a_packet_that_ends_before_its_flags_is_cut() {
        let whole = "10:58:42.200113 IP 198.51.100.1.5 > 192.0.2.77.80: Flags [S], seq 7, win 1";
        for n in 1..whole.len() {
            let flags = whole.find("[S").unwrap();
            assert_eq!(is_cut(&whole.as_bytes()[..n]), n <= flags + 1, "{}", &whole[..n]);
        }
        for other in [
            "",
            "10:58:42.200113 IP 198.51.100.1 > 192.0.2.77: ICMP echo request, id 1, seq 1",
            "10:58:42.200113 IP 198.51.100.1.5 > 192.0.2.77.53: 4242+ A? S.example. (27)",
            "10:58:42.200113 ARP, Request who-has 192.0.2.77 tell 192.0.2.1, length 28",
            "10:58:42.200113 IP (tos 0x0, ttl 64, id 7, offset 0, flags [DF], proto TCP (6))",
            "12 packets captured",
            "0 packets dropped by kernel",
        ] {
            assert!(!is_cut(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn stamps_before_a_packet_are_read() {
        let of = |line: &str| stamp(line.as_bytes()).0;
        assert_eq!(of("198.51.100.10.40755 > 192.0.2.77.80: S"), Stamp::None);
        assert_eq!(of("1795345122.200113 IP"), Stamp::Epoch(1_795_345_122_200_113_000));
        assert_eq!(of(" 00:00:00.000126 IP"), Stamp::Clock(126_000));
        assert_eq!(of("\t0x0000:  4500"), Stamp::None);
    }
}
