//! [`Packets`]: finds packets in lines. `-v` writes two lines for a packet, `-x` more. A packet in a tunnel has
//! lines of its own.

use memchr::memmem;

use super::line::{self, Line};
use crate::parse::timestamp::Stamp;

/// A line, as the lines before it tell to read it.
#[derive(Debug)]
pub(super) struct ReadLine {
    /// The stamp of the packet.
    pub stamp: Stamp,
    /// What the line is.
    pub line: Line,
    /// The IP ID of its packet, from the line before.
    pub id: Option<u16>,
    /// Whether it belongs to a packet whose first line came before.
    pub is_continued: bool,
}

/// What may follow on further lines of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Inner {
    /// Nothing but dumps (`-x`, `-X`).
    #[default]
    Dump,
    /// The packet in a tunnel, behind a tab.
    Tunnel,
    /// The frame in a tunnel, as if it were one of its own, but without a stamp: VXLAN, OTV, NSH.
    Frame,
    /// The packet that an ICMP error is about, behind a tab.
    Quoted,
}

impl Inner {
    /// What follows a line of a packet that is not TCP.
    fn of(text: &[u8]) -> Inner {
        let has = |word: &str| memmem::find(text, word.as_bytes()).is_some();
        match text {
            _ if has(": ICMP") => Inner::Quoted,
            _ if ["VXLAN", "OTV, ", "NSH, "].iter().any(|name| has(name)) => Inner::Frame,
            _ => Inner::Tunnel,
        }
    }
}

/// The lines of one text, in their order.
#[derive(Debug, Default)]
pub(super) struct Packets {
    /// The kind of stamp that the packets have. What has none among them is a payload (`-A`). The first may have lost
    /// its stamp: text was put before it. From a packet with a stamp of another kind on, the text is of another run.
    style: Option<std::mem::Discriminant<Stamp>>,
    /// Whether the beginning of the text has packets with stamps.
    is_stamped: bool,
    /// The IP header of the next line's packet: the stamp of the frame and the IP ID.
    header: Option<(Stamp, Option<u16>)>,
    /// The stamp of the frame of the last line.
    stamp: Stamp,
    inner: Inner,
    /// Whether second lines count only as tcpdump indents them.
    is_exact: bool,
}

impl Packets {
    /// Reads lines as tcpdump writes them, to compare forms of a text.
    pub(super) fn exact() -> Packets {
        Packets { is_exact: true, ..Packets::default() }
    }

    /// Reads a text. `is_stamped`: whether its beginning has packets with stamps.
    pub(super) fn of_text(is_stamped: bool) -> Packets {
        Packets { is_stamped, ..Packets::default() }
    }

    /// Reads the next line, which `split` divides into its stamp and the rest.
    pub(super) fn next(
        &mut self,
        text: &[u8],
        split: impl Fn(&[u8]) -> (Stamp, &[u8]),
    ) -> ReadLine {
        let inner = std::mem::take(&mut self.inner);
        match text {
            [] => return self.continued(Line::Other, None),
            [b'\t', rest @ ..] => return self.behind_tab(rest, inner),
            _ => {}
        }
        if let (Some((_, id)), Some(text)) = (self.header, text.strip_prefix(b"    "))
            && !text.starts_with(b" ")
        {
            self.header = None;
            if inner == Inner::Quoted {
                return self.continued(Line::Other, None);
            }
            return self.inner_line(text, id);
        }
        if let Some(line) = self.without_indentation(text, inner, &split) {
            return line;
        }
        let (stamp, rest) = split(text);
        let style = std::mem::discriminant(&stamp);
        let without = std::mem::discriminant(&Stamp::None);
        let fits = self.style.is_none_or(|known| known == style || known == without);
        if !fits && stamp == Stamp::None && inner == Inner::Frame {
            return self.inner_line(text.trim_ascii_start(), None);
        }
        let line = match stamp {
            // No need to look closer at what cannot be a packet.
            Stamp::None if !fits && self.is_exact => Line::Other,
            Stamp::None if !fits => without_stamp(text, inner),
            Stamp::None if self.is_stamped && self.style.is_none() && begins_in_address(text) => {
                Line::Cut
            }
            _ => line::read(rest),
        };
        let fits = fits || stamp != Stamp::None && line != Line::Other;
        self.header = None;
        if fits {
            self.stamp = stamp;
            self.expect(&line, rest);
        }
        if fits && line != Line::Other {
            self.style = Some(style);
        }
        ReadLine {
            stamp: if fits { stamp } else { Stamp::None },
            line,
            id: None,
            is_continued: false,
        }
    }

    /// Reads the second line of a packet (`-v`) that has lost its blanks, as copied text does, or the rest of a first
    /// line that was wrapped. `None`: it is another line. Only where packets have stamps is that certain.
    fn without_indentation(
        &mut self,
        text: &[u8],
        inner: Inner,
        split: impl Fn(&[u8]) -> (Stamp, &[u8]),
    ) -> Option<ReadLine> {
        let (stamp, id) = self.header?;
        let text = text.trim_ascii_start();
        let is_certain = stamp != Stamp::None && inner != Inner::Quoted && !self.is_exact;
        if !is_certain || split(text).0 != Stamp::None {
            return None;
        }
        match line::read(text) {
            Line::Other => {
                // A packet of another protocol; otherwise it is still to come.
                if memmem::find(text, b" > ").is_some() {
                    self.header = None;
                }
                Some(self.continued(Line::Other, None))
            }
            _ => {
                self.header = None;
                Some(self.inner_line(text, id))
            }
        }
    }

    /// Reads a line that begins with a tab: a dump, or a packet in another.
    fn behind_tab(&mut self, text: &[u8], inner: Inner) -> ReadLine {
        self.header = None;
        let text = text.trim_ascii_start();
        if inner == Inner::Dump || text.starts_with(b"0x") {
            return self.continued(Line::Other, None);
        }
        let line = line::read(text);
        match (inner, &line) {
            (Inner::Quoted, _) => {
                if let Line::Header(id) = line {
                    self.header = Some((self.stamp, id));
                }
                self.inner = inner;
                return self.continued(Line::Other, None);
            }
            // Another layer of the tunnel.
            (_, Line::Other) => self.inner = Inner::of(text),
            _ => self.expect(&line, text),
        }
        self.continued(line, None)
    }

    /// Reads a further line of the packet that has begun.
    fn inner_line(&mut self, text: &[u8], id: Option<u16>) -> ReadLine {
        let line = line::read(text);
        self.expect(&line, text);
        self.continued(line, id)
    }

    /// Notes what may follow `line`, whose text is `text`.
    fn expect(&mut self, line: &Line, text: &[u8]) {
        match line {
            Line::Header(id) => self.header = Some((self.stamp, *id)),
            Line::Other => self.inner = Inner::of(text),
            _ => {}
        }
    }

    /// A line of the packet that has begun.
    fn continued(&mut self, line: Line, id: Option<u16>) -> ReadLine {
        if line != Line::Other {
            self.style.get_or_insert(std::mem::discriminant(&self.stamp));
        }
        ReadLine { stamp: self.stamp, line, id, is_continued: true }
    }

    /// Whether the line of a packet is missing whose header came before.
    pub(super) fn awaits_packet(&self) -> bool {
        self.header.is_some()
    }
}

/// Reads a line without a stamp among packets with stamps. It is a payload, or the first packet of another run
/// of tcpdump (`-t`), which nothing distinguishes from a payload.
fn without_stamp(text: &[u8], inner: Inner) -> Line {
    let opens = inner != Inner::Quoted && memmem::find(text, b": Flags [S").is_some();
    if opens && matches!(line::read(text), Line::Packet(_)) { Line::Cut } else { Line::Other }
}

/// Whether a line begins with the ends of a packet, with no blanks before them: its beginning was cut off, perhaps within
/// the address, if the other packets have stamps.
fn begins_in_address(text: &[u8]) -> bool {
    let mut words = text.split(|b| *b == b' ');
    !text.starts_with(b" ")
        && words.nth(1) == Some(b">")
        && words.next().is_some_and(|end| end.ends_with(b":"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::tcpdump::line::Line;

    /// The client ports of the TCP packets in `text`.
    fn packets(text: &str) -> Vec<u16> {
        let mut packets = Packets::default();
        let lines = text.lines().map(|text| packets.next(text.as_bytes(), line::stamp).line);
        let tcp = lines.filter_map(|line| match line {
            Line::Packet(packet) => packet.ends.client_port,
            _ => None,
        });
        tcp.collect()
    }

    const PLAIN: &str = "10:58:42.1 IP 198.51.100.7.1 > 192.0.2.77.443: Flags [S], seq 1, win 1\n";
    const INNER: &str =
        "    198.51.100.7.2 > 192.0.2.77.443: Flags [S], cksum 0x845f (correct), seq 1, win 1\n";

    #[test]
    fn packets_in_tunnels_are_read_with_v() {
        let head = "IP (tos 0x0, ttl 64, id 7, offset 0, flags [DF], proto TCP (6), length 40)";
        let outer = |protocol: &str, text: &str| {
            format!(
                "10:58:42.2 IP (tos 0x0, ttl 64, id 8, proto {protocol}, length 64)\n    203.0.113.1{text}\n"
            )
        };
        for tunnel in [
            outer("GRE (47)", " > 203.0.113.2: GREv0, Flags [none], length 44") + "\t" + head,
            outer("UDP (17)", ".4 > 203.0.113.2.6081: [no cksum] Geneve, Flags [none], vni 0xa")
                + "\t"
                + head,
            outer("UDP (17)", ".4 > 203.0.113.2.4789: VXLAN, flags [I] (0x08), vni 100") + head,
            outer("UDP (17)", ".4 > 203.0.113.2.8472: [no cksum] OTV, flags [I] (0x08), overlay 0")
                + head,
            outer("GRE (47)", " > 203.0.113.2: GREv0, length 48")
                + "\tMPLS (label 17, tc 0, [S], ttl 64)\n\t"
                + head,
            outer("IPIP (4)", &format!(" > 203.0.113.2: {head}")).trim_end().to_owned(),
            format!("10:58:42.2 MPLS (label 100, tc 0, [S], ttl 64)\n\t{head}"),
        ] {
            assert_eq!(packets(&format!("{PLAIN}{tunnel}\n{INNER}{PLAIN}")), [1, 2, 1], "{tunnel}");
        }
        let vxlan =
            "10:58:42.2 IP 203.0.113.1.4 > 203.0.113.2.4789: VXLAN, flags [I] (0x08), vni 100\n";
        let inner = "IP 198.51.100.7.2 > 192.0.2.77.443: Flags [S], seq 1, win 1\n";
        assert_eq!(packets(&format!("{PLAIN}{vxlan}{inner}")), [1, 2]);
        // Without the tunnel it is a payload (-A).
        assert_eq!(packets(&format!("{PLAIN}{inner}")), [1]);
    }

    #[test]
    fn second_lines_are_read_without_their_blanks() {
        let header = "10:58:42.2 IP (tos 0x0, ttl 64, id 7, offset 0, flags [DF], proto TCP (6), length 40)\n";
        let second = INNER.trim_start();
        for text in [
            format!("{header}{second}"),
            format!("{header}  {second}"),
            format!("{header}\n{second}"),
            format!("{}\n{}{second}", &header[..80], &header[80..]),
        ] {
            assert_eq!(packets(&format!("{text}{PLAIN}{text}")), [2, 1, 2], "{text}");
        }
    }

    #[test]
    fn the_first_stamp_may_be_behind_other_text() {
        let text = format!("{{code}}{PLAIN}{PLAIN}{PLAIN}");
        assert_eq!(packets(&text), [1, 1, 1]);
    }

    #[test]
    fn packets_of_another_run_have_stamps_of_another_kind() {
        let date = format!("2026-11-22 {PLAIN}");
        let epoch = PLAIN.replace("10:58:42.1", "1795345122.1");
        let texts = [PLAIN, &date, &epoch];
        for (first, second) in texts.iter().flat_map(|a| texts.iter().map(move |b| (a, b))) {
            assert_eq!(
                packets(&format!("{first}{first}{second}{second}")),
                [1; 4],
                "{first}{second}"
            );
        }
    }

    #[test]
    fn packets_without_a_stamp_among_others_are_unreadable() {
        let without = PLAIN.trim_start_matches("10:58:42.1 ");
        let mut packets = Packets::default();
        packets.next(PLAIN.as_bytes(), line::stamp);
        assert_eq!(packets.next(without.as_bytes(), line::stamp).line, Line::Cut);
    }

    #[test]
    fn a_first_line_that_begins_in_an_address_is_unreadable() {
        let at = PLAIN.find("8.51").unwrap();
        let first = |text: &str, is_stamped| {
            Packets::of_text(is_stamped).next(text.as_bytes(), line::stamp).line
        };
        assert_eq!(first(&PLAIN[at..], true), Line::Cut);
        for (text, is_stamped) in [(&PLAIN[at..], false), (&PLAIN[at - 3..], true), (INNER, true)] {
            assert!(matches!(first(text, is_stamped), Line::Packet(_)), "{text}");
        }
    }

    #[test]
    fn packets_that_icmp_is_about_do_not_count() {
        let icmp =
            "    192.0.2.77 > 198.51.100.7: ICMP 192.0.2.77 tcp port 443 unreachable, length 48\n";
        let quoted = "(tos 0x0, ttl 64, id 7, offset 0, flags [DF], proto TCP (6), length 40)\n";
        let mac = "02:00:00:00:00:02 > 02:00:00:00:00:01, ethertype IPv4 (0x0800), length 82: ";
        for (stamp, link, ip) in
            [("10:58:42.2 ", "IP ", "IP "), ("", "IP ", "IP "), ("10:58:42.2 ", mac, "")]
        {
            let head = "(tos 0x0, ttl 64, id 7, offset 0, flags [DF], proto ICMP (1), length 68)\n";
            let text = format!("{stamp}{link}{head}{icmp}\t{ip}{quoted}{INNER}");
            assert_eq!(packets(&text), [0; 0], "{text}");
        }
    }
}
