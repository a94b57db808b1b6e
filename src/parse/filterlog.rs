//! The firewall log of pfSense and OPNsense, as filterlog(8) writes it to syslog: a line of values
//! with commas for each packet that a rule logs.
//!
//! The fields are those of the grammar in pfSense's manual ("Raw Filter Log Format") and of
//! description.txt of OPNsense's port of filterlog. pf passes the packets of a known state without
//! looking at the rules, so a `pass` rule logs the SYN of a connection alone.
//!
//! Collectors that take the header of syslog apart export the values alone.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::cursor::Cursor;
use super::deduplicate::{PacketKind, PacketObservation, point};
use super::digits::number;
use super::host::{Ends, Host};
use super::input::Input;
use super::line_log::{self, LineLog, ParsedLine};
use super::netfilter::frame;
use super::reader::{Context, RecordFormat};
use super::timestamp::Stamp;

/// filterlog's lines.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "filterlog",
    about: "firewall log of pfSense or OPNsense",
    connection: "a logged SYN that came in",
    is_text: true,
    is_json: false,
    is_snapshot: false,
    recognise: line_log::recognise::<Filterlog>,
    run: |_| Some(String::new()),
    read,
};

struct Filterlog {
    /// Whether there are lines of values without a tag.
    has_bare_lines: bool,
}

impl LineLog for Filterlog {
    fn of(lines: &[&[u8]]) -> Filterlog {
        Filterlog { has_bare_lines: lines.iter().any(|line| is_bare(line)) }
    }

    fn without_evidence(&self) -> Option<&'static str> {
        Some(
            "no SYN that a rule passed in is in it, so nothing shows that such rules log; switch on 'Log packets' in \
             the rule that passes the connections",
        )
    }

    fn parse_line(&self, line: &[u8]) -> ParsedLine {
        // Every line with a header has it, in its tag.
        static TAG: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("filterlog"));
        let (stamp, values) = if is_bare(line) || self.has_bare_lines && begins(line) {
            (Stamp::None, line)
        } else if TAG.find(line).is_some() {
            let (stamp, rest) = frame::split(line);
            let Some(values) = values(rest) else { return ParsedLine::Foreign };
            (stamp, values)
        } else {
            return ParsedLine::Foreign;
        };
        packet(values).map_or(ParsedLine::Broken, |packet| match packet {
            Packet::Passed(packet) => ParsedLine::Packet(stamp, packet),
            Packet::Blocked => ParsedLine::Blocked,
            Packet::Other => ParsedLine::Other,
        })
    }
}

/// What follows filterlog's tag. The name of the host may stand before it, and in RFC 5424
/// the process id and two more fields behind it.
fn values(rest: &[u8]) -> Option<&[u8]> {
    let mut cursor = Cursor(rest);
    cursor.blanks();
    let mut tag = cursor.word();
    if !tag.starts_with(b"filterlog") {
        cursor.blanks();
        tag = cursor.word();
    }
    let behind = tag.strip_prefix(b"filterlog")?;
    if !matches!(behind.first(), None | Some(b':' | b'[')) {
        return None;
    }
    let blanks = memchr::memchr_iter(b' ', cursor.0).take(8);
    let mut places = blanks.map(|at| &cursor.0[at + 1..]);
    places.find(|text| begins(text))
}

/// Whether a text may be values: the number of the rule is the first.
fn begins(text: &[u8]) -> bool {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    digits > 0 && text.get(digits) == Some(&b',')
}

/// Whether a line is values alone, of a packet of IP whose direction is known.
fn is_bare(line: &[u8]) -> bool {
    let is_word = |word: &[u8]| !word.is_empty() && word.iter().all(u8::is_ascii_lowercase);
    let mut values = line.splitn(10, |b| *b == b',').skip(4);
    let mut next = || values.next().unwrap_or_default();
    let (interface, reason, action, direction, version) = (next(), next(), next(), next(), next());
    begins(line)
        && !interface.is_empty()
        // `bad-offset` and the like.
        && is_word(reason.split(|b| *b == b'-').next().unwrap_or_default())
        && is_word(action)
        && matches!(direction, b"in" | b"out")
        && matches!(version, b"4" | b"6")
}

/// The meaning of the values.
enum Packet {
    /// A SYN that came in, or the answer to one.
    Passed(PacketObservation),
    /// A SYN that came in and was blocked.
    Blocked,
    /// Another packet.
    Other,
}

/// Reads the values; `None`: they cannot be read.
fn packet(values: &[u8]) -> Option<Packet> {
    let mut fields = values.split(|b| *b == b',');
    let mut skip = |n: usize| fields.nth(n);
    let (rule, interface, action) = (skip(0)?, skip(3)?, skip(1)?);
    let (direction, version) = (skip(0)?, skip(0)?);
    let (protocol, id) = match version {
        // tos, ecn, ttl, id, offset, flags, number and name of the protocol.
        b"4" => {
            let (_, _, _, id) = (skip(0)?, skip(0)?, skip(0)?, skip(0)?);
            let (_, _, protocol, _) = (skip(0)?, skip(0)?, skip(0)?, skip(0)?);
            (protocol, number::<u16>(id))
        }
        // class, flow label, hop limit, name and number of the protocol.
        b"6" => {
            let (_, _, _, _) = (skip(0)?, skip(0)?, skip(0)?, skip(0)?);
            (skip(0)?, None)
        }
        _ => return None,
    };
    if protocol != b"6" {
        return Some(Packet::Other);
    }
    let (_length, from, to) = (skip(0)?, Host::address(skip(0)?)?, Host::address(skip(0)?)?);
    let (from_port, to_port) = (number(skip(0)?)?, number(skip(0)?)?);
    let (_, flags, seq, acked) = (skip(0)?, skip(0)?, skip(0)?, skip(0)?);
    let has = |flag: u8| flags.contains(&flag);
    if !has(b'S') || has(b'F') || has(b'R') {
        return Some(Packet::Other);
    }
    if action == b"block" {
        return Some(if direction == b"in" { Packet::Blocked } else { Packet::Other });
    }
    let answer = has(b'A');
    // A client's SYN comes in, and the server's answer goes out.
    if direction != if answer { &b"out"[..] } else { b"in" } {
        return Some(Packet::Other);
    }
    // filterlog writes `seq:seq` where there are data.
    let seq = seq.split(|b| *b == b':').next().and_then(number::<u32>);
    let ends =
        Ends { client: from, client_port: Some(from_port), server: to, server_port: Some(to_port) };
    let acked = number::<u32>(acked).map(|n| n.wrapping_sub(1));
    Some(Packet::Passed(PacketObservation {
        isn: if answer { acked } else { seq },
        server_isn: seq.filter(|_| answer),
        id: id.filter(|id| *id != 0 && !answer),
        // A rule that translates addresses logs the packet, and a rule that passes it once more.
        point: Some(point((rule, interface, action))),
        ..PacketObservation::of_packet(ends, PacketKind::of_syn(answer))
    }))
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let name = super::input::common_name(inputs.iter());
    line_log::read::<Filterlog>(inputs, cx);
    cx.status.warn(format!(
        "{name}: only packets of rules that log are in it; a rule that passes packets logs none by default"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    const IPV4: &str = "5,,,1000000103,em0,match,pass,in,4,0x0,,64,27356,0,DF,6,tcp,60,\
        198.51.100.10,192.0.2.77,40755,443,0,S,2711463241,,64240,,mss;sackOK;TS;nop;wscale";

    const TAGGED: Filterlog = Filterlog { has_bare_lines: false };

    #[test]
    fn values_without_a_header_are_packets() {
        let log = Filterlog::of(&[IPV4.as_bytes()]);
        assert!(line_log::recognise::<Filterlog>(IPV4.as_bytes()));
        let ParsedLine::Packet(Stamp::None, packet) = log.parse_line(IPV4.as_bytes()) else {
            panic!("{IPV4}")
        };
        assert_eq!(packet.ends.server_port, Some(443));
        // Of a log whose first lines have a header, too.
        assert!(matches!(TAGGED.parse_line(IPV4.as_bytes()), ParsedLine::Packet(..)));
        let blocked = IPV4.replace("pass", "block");
        assert!(matches!(log.parse_line(blocked.as_bytes()), ParsedLine::Blocked));
        for cut in [&IPV4[..20], &IPV4[..70]] {
            assert!(matches!(log.parse_line(cut.as_bytes()), ParsedLine::Broken), "{cut}");
        }
        for other in
            ["1,2026-11-22,TRAFFIC,start,x,pass,match,4", "5,,,1,em0,match,pass,up,4,0x0", ""]
        {
            assert!(!is_bare(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn packets_behind_every_form_of_the_tag() {
        for tag in [
            "Nov 22 10:58:42 fw filterlog[71234]: ",
            "Nov 22 10:58:42 filterlog: ",
            "<134>Nov 22 10:58:42 filterlog[7]: ",
            "<134>1 2026-11-22T10:58:42.123456+00:00 fw.example filterlog 7 - - ",
            "<134>1 2026-11-22T10:58:42+00:00 fw filterlog 7 - [meta sequenceId=\"1\"] ",
            "2026-11-22T10:58:42 fw filterlog[7] ",
        ] {
            let ParsedLine::Packet(stamp, packet) =
                TAGGED.parse_line(format!("{tag}{IPV4}").as_bytes())
            else {
                panic!("{tag}")
            };
            assert_ne!(stamp, Stamp::None, "{tag}");
            assert_eq!((packet.isn, packet.id), (Some(2_711_463_241), Some(27356)), "{tag}");
            assert_eq!(packet.ends.server_port, Some(443), "{tag}");
        }
        let ipv6 = "7,,,02f4bab031b57d1e30553ce08e0ec131,igb1,match,pass,in,6,0x00,0x00000,64,tcp,6,40,\
            2001:db8::7,2001:db8:77::1,40755,443,0,S,7,,64240,,mss";
        let line = format!("Nov 22 10:58:42 fw filterlog: {ipv6}");
        assert!(matches!(TAGGED.parse_line(line.as_bytes()), ParsedLine::Packet(..)));
    }

    #[test]
    fn other_packets_and_programs_do_not_count() {
        let parse = |values: &str| {
            TAGGED.parse_line(format!("Nov 22 10:58:42 fw filterlog[7]: {values}").as_bytes())
        };
        for (from, to) in
            [(",in,4", ",out,4"), (",S,", ",SA,"), (",S,", ",A,"), (",6,tcp", ",17,udp")]
        {
            assert!(matches!(parse(&IPV4.replace(from, to)), ParsedLine::Other), "{to}");
        }
        assert!(matches!(parse(&IPV4.replace("pass", "block")), ParsedLine::Blocked));
        for cut in [&IPV4[..100], &IPV4.replace("198.51.100.10", "x")] {
            assert!(matches!(parse(cut), ParsedLine::Broken), "{cut}");
        }
        let quoted = format!("Nov 22 10:58:42 fw sshd[7]: filterlog {IPV4}");
        assert!(matches!(TAGGED.parse_line(quoted.as_bytes()), ParsedLine::Foreign));
    }
}
