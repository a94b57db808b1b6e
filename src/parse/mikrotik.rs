//! The firewall log of MikroTik's RouterOS: a line for each packet that a rule with `log=yes` sees.
//!
//! The form is that of RouterOS's manual ("Log", topic firewall): the prefix of the rule and its chain, the
//! interfaces, `proto TCP (SYN)`, and both ends. What follows `NAT` is the translation.

use memchr::memmem;

use super::cursor::Cursor;
use super::deduplicate::{PacketKind, PacketObservation, point};
use super::digits::number;
use super::host::{Ends, Host};
use super::input::Input;
use super::line_log::{self, LineLog, ParsedLine};
use super::netfilter::frame;
use super::reader::{Context, RecordFormat};
use super::timestamp::Stamp;

/// RouterOS's lines.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "mikrotik",
    about: "firewall log of MikroTik RouterOS",
    connection: "a logged SYN that came in",
    is_text: true,
    is_json: false,
    is_snapshot: false,
    recognise: line_log::recognise::<Mikrotik>,
    run: |_| Some(String::new()),
    read: |inputs: Vec<Input>, cx: &mut Context<'_>| {
        line_log::read::<Mikrotik>(inputs, cx);
    },
};

struct Mikrotik;

impl LineLog for Mikrotik {
    fn of(_: &[&[u8]]) -> Mikrotik {
        Mikrotik
    }

    fn without_evidence(&self) -> Option<&'static str> {
        Some(
            "no SYN that came in is in it, so nothing shows that a rule logs them; a rule with \
             tcp-flags=syn and action=log does",
        )
    }

    fn may_be_cut(&self, line: &[u8]) -> bool {
        // It follows the ports.
        memmem::find(line, b", len").is_none()
    }

    fn parse_line(&self, line: &[u8]) -> ParsedLine {
        let (Some(inward), Some(proto)) =
            (memmem::find(line, b" in:"), memmem::find(line, b" proto "))
        else {
            return ParsedLine::Foreign;
        };
        if inward > proto || memmem::find(&line[inward..proto], b" out:").is_none() {
            return ParsedLine::Foreign;
        }
        let (mut stamp, mut rest) = frame::split(line);
        // The stamp of the router is the last one.
        while let (inner, behind) = frame::split(rest)
            && inner != Stamp::None
        {
            (stamp, rest) = (inner, behind);
        }
        // The router has no process ids. A program that has one only quotes the line.
        if frame::writer(rest) != frame::Writer::Kernel {
            return ParsedLine::Foreign;
        }
        let stamp = memory_stamp(line).unwrap_or(stamp);
        let Some(flags) = line[proto + 7..].strip_prefix(b"TCP (") else {
            return ParsedLine::Other;
        };
        match packet(&line[..inward], &line[inward + 1..proto], flags) {
            Some(Some(packet)) => ParsedLine::Packet(stamp, packet),
            Some(None) => ParsedLine::Other,
            None => ParsedLine::Broken,
        }
    }
}

/// `nov/22 10:58:42` of the log in memory, since RouterOS 6.
fn memory_stamp(line: &[u8]) -> Option<Stamp> {
    let (date, rest) = line.split_first_chunk::<6>()?;
    let mut date = *date;
    date[0].make_ascii_uppercase();
    if std::mem::replace(&mut date[3], b' ') != b'/' {
        return None;
    }
    let (month, day) = Cursor(&date).month_and_day()?;
    Some(Stamp::Yearless(month, day, Cursor(rest.strip_prefix(b" ")?).clock()?))
}

/// Reads a TCP packet; `Some(None)`: no SYN that came in. `None`: its ends cannot be read.
fn packet(prefix: &[u8], interfaces: &[u8], text: &[u8]) -> Option<Option<PacketObservation>> {
    let close = memchr::memchr(b')', text)?;
    let flags: Vec<&[u8]> = text[..close].split(|b| *b == b',').collect();
    let has = |flag: &str| flags.contains(&flag.as_bytes());
    // A packet of the router itself came from no interface.
    let own = interfaces.starts_with(b"in:(");
    if !has("SYN") || has("RST") || has("FIN") || own {
        return Some(None);
    }
    let tuple = text[close + 1..].strip_prefix(b", ")?;
    let tuple = &tuple[..memchr::memchr(b',', tuple).unwrap_or(tuple.len())];
    let arrow = memmem::find(tuple, b"->")?;
    let end = |text: &[u8]| {
        let (host, port) = Host::before_colon(text)?;
        Some((host, number(port)?))
    };
    let ((client, client_port), (server, server_port)) =
        (end(&tuple[..arrow])?, end(tuple[arrow + 2..].trim_ascii())?);
    let ends =
        Ends { client, client_port: Some(client_port), server, server_port: Some(server_port) };
    let answer = has("ACK");
    // The name of the rule and of its chain: several rules may log one packet.
    let rule = prefix.rsplit(|b| *b == b' ').next().unwrap_or_default();
    Some(Some(PacketObservation {
        point: Some(point((rule, interfaces))),
        ..PacketObservation::of_packet(ends, PacketKind::of_syn(answer))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        match Mikrotik.parse_line(line.as_bytes()) {
            ParsedLine::Packet(_, p) => format!(
                "{:?} {}:{} {}:{}",
                p.kind,
                p.ends.client.ip().unwrap(),
                p.ends.client_port.unwrap(),
                p.ends.server.ip().unwrap(),
                p.ends.server_port.unwrap()
            ),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn stamps_of_the_log_in_memory() {
        let at = Stamp::Yearless(11, 22, 39_522_000_000_000);
        assert_eq!(memory_stamp(b"nov/22 10:58:42 firewall,info web"), Some(at));
        assert_eq!(memory_stamp(b"Nov 22 10:58:42 gw1 firewall,info web"), None);
    }

    #[test]
    fn packets_of_several_versions() {
        let syn = "Syn 198.51.100.7:40755 192.0.2.77:443";
        for line in [
            "nov/22 10:58:42 firewall,info web input: in:ether1 out:(unknown 0), connection-state:new \
             src-mac 02:00:5e:00:00:01, proto TCP (SYN), 198.51.100.7:40755->192.0.2.77:443, len 60",
            "Nov 22 10:58:42 gw1 firewall,info forward: in:ether1 out:bridge, src-mac 02:00:5e:00:00:01, \
             proto TCP (SYN), 198.51.100.7:40755->192.0.2.77:443, NAT 198.51.100.7:40755->(203.0.113.5:443->\
             192.0.2.77:443), len 52",
            "input: in:ether1 out:(none), proto TCP (SYN,ECE,CWR), 198.51.100.7:40755->192.0.2.77:443, len 60",
        ] {
            assert_eq!(shown(line), syn, "{line}");
        }
        let ipv6 = "input: in:ether1 out:(unknown 0), proto TCP (SYN), \
            [2001:db8::7]:40755->[2001:db8:77::1]:443, len 40";
        assert_eq!(shown(ipv6), "Syn 2001:db8::7:40755 2001:db8:77::1:443");
        let line = |what: &str| format!("input: in:ether1 out:(unknown 0), proto {what}, len 60");
        let answer = line("TCP (SYN,ACK), 192.0.2.77:443->198.51.100.7:40755");
        assert_eq!(shown(&answer), "SynAck 198.51.100.7:40755 192.0.2.77:443");
        for (what, want) in [
            ("TCP (ACK,FIN), 198.51.100.7:40755->192.0.2.77:443", "Other"),
            ("UDP, 198.51.100.7:5353->192.0.2.77:53", "Other"),
            ("TCP (SYN), 198.51.100.7:40755->", "Broken"),
        ] {
            assert_eq!(shown(&line(what)), want, "{what}");
        }
        let own = "output: in:(unknown 0) out:ether1, proto TCP (SYN), 192.0.2.77:50001->198.51.100.7:80, len 60";
        assert_eq!(shown(own), "Other");
        let quoted = format!("Nov 22 10:58:42 gw1 app[7]: {ipv6}");
        assert_eq!(shown(&quoted), "Foreign");
    }
}
