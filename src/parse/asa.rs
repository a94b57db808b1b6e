//! Syslog messages of Cisco ASA, FTD, FWSM and PIX: 302013 is logged for each TCP connection that was built.
//!
//! The messages are those of Cisco's "ASA Series Syslog Messages". The address in parentheses is the
//! mapped one; the first of each end is that of the machine itself.

use memchr::memmem;

use super::cursor::Cursor;
use super::digits::number;
use super::host::{Ends, Host};
use super::input::{Input, common_name};
use super::line_log::{self, Event, LineLog, ParsedLine};
use super::netfilter::frame;
use super::reader::{Context, RecordFormat};
use super::requests::WrittenFor;
use super::timestamp::Stamp;
use crate::ShortfallKind;
use crate::model::plural;

/// Messages of Cisco's firewalls.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "asa",
    about: "syslog of Cisco ASA, FTD or PIX",
    connection: "message 302013, Built inbound TCP connection",
    is_text: true,
    is_json: false,
    is_snapshot: false,
    recognise: line_log::recognise::<Asa>,
    run: |_| Some(String::new()),
    read,
};

struct Asa;

impl LineLog for Asa {
    fn of(_: &[&[u8]]) -> Asa {
        Asa
    }

    fn parse_line(&self, line: &[u8]) -> ParsedLine {
        let Some(at) = memchr::memchr_iter(b'%', line).find(|at| {
            [&b"%ASA-"[..], b"%FTD-", b"%PIX-", b"%FWSM-"]
                .iter()
                .any(|tag| line[*at..].starts_with(tag))
        }) else {
            return ParsedLine::Foreign;
        };
        let Some(stamp) = stamp(line, at) else { return ParsedLine::Foreign };
        let message = &line[at..];
        let colon = message.iter().position(|b| *b == b':').unwrap_or(message.len());
        let (tag, text) = message.split_at(colon);
        let text = text.strip_prefix(b":").unwrap_or(text).trim_ascii();
        if tag.ends_with(b"-302303") {
            // A connection in state-bypass: the message does not tell its direction.
            return ParsedLine::Broken;
        }
        if tag.ends_with(b"-430002") || tag.ends_with(b"-430003") {
            return connection_event(text);
        }
        if !tag.ends_with(b"-302013") {
            return ParsedLine::Other;
        }
        let (way, connection) = text
            .strip_prefix(b"Built ")
            .and_then(|rest| rest.split_at_checked(Cursor(rest).word().len()))
            .unwrap_or_default();
        let connection = connection.strip_prefix(b" Probe").unwrap_or(connection);
        let Some(connection) = connection.strip_prefix(b" TCP connection ") else {
            return ParsedLine::Broken;
        };
        if way.eq_ignore_ascii_case(b"outbound") {
            return ParsedLine::Outbound;
        }
        if way != b"inbound" {
            return ParsedLine::Broken;
        }
        let Some(ends) = ends(connection) else { return ParsedLine::Broken };
        let mut event = Event::new(stamp, ends, None);
        // A log that the firewall sent to two hosts, and that was joined, has a connection twice.
        if let Some(id) = number(Cursor(connection).word()) {
            event.written_for = WrittenFor::Start(Some(id));
        }
        event.parsed()
    }

    fn may_be_cut(&self, line: &[u8]) -> bool {
        // The mapped address of the server follows, in parentheses.
        line.last().is_some_and(u8::is_ascii_digit)
    }
}

/// The time of a line whose message begins at `at`. `None` if something else stands before the message: another program
/// may quote one. A genuine one follows the time and the host directly.
fn stamp(line: &[u8], at: usize) -> Option<Stamp> {
    let (stamp, rest) = frame::split(without_emblem(line));
    let between = line.get(line.len() - rest.len()..at)?;
    if has_one_word(between) {
        return Some(stamp);
    }
    // A collector has put its time and the host before the firewall's own (`logging timestamp`).
    let between = between.trim_ascii_start();
    let host = Cursor(between).word();
    let inner = between[host.len()..].trim_ascii_start();
    let (own, between) = frame::split(inner.strip_prefix(b":").unwrap_or(inner));
    if own == Stamp::None || !has_one_word(between) {
        return None;
    }
    let has_no_year = matches!(stamp, Stamp::None | Stamp::Yearless(..));
    Some(if has_no_year && !matches!(own, Stamp::Yearless(..)) { own } else { stamp })
}

/// Whether a text has no more than the name of a host, beside the short name of a time zone.
fn has_one_word(text: &[u8]) -> bool {
    let is_zone = |word: &[u8]| word.len() <= 5 && word.iter().all(u8::is_ascii_uppercase);
    let words = text.split(|b| b.is_ascii_whitespace() || *b == b':');
    words.filter(|word| !word.is_empty() && !is_zone(word)).count() <= 1
}

/// A connection event of FTD, `AccessControlRuleAction: Allow, SrcIP: …, Protocol: tcp, …`: 430002 at the beginning of a
/// connection, 430003 at its end. Which rules log which is configured, and nothing tells the direction, so such a
/// connection counts only by its message 302013.
fn connection_event(text: &[u8]) -> ParsedLine {
    let value = |name: &[u8]| {
        let fields = text.split(|b| *b == b',').map(<[u8]>::trim_ascii);
        fields.into_iter().find_map(|field| field.strip_prefix(name))
    };
    let is_blocked = value(b"AccessControlRuleAction: ").is_some_and(|a| a.starts_with(b"Block"));
    match value(b"Protocol: ") {
        Some(protocol) if !protocol.eq_ignore_ascii_case(b"tcp") => ParsedLine::Other,
        _ if is_blocked => ParsedLine::Other,
        _ => ParsedLine::Evidence,
    }
}

/// A line without the colon that `logging device-id` in the format EMBLEM puts behind the priority.
fn without_emblem(line: &[u8]) -> &[u8] {
    let near = &line[..line.len().min(6)];
    match memchr::memchr(b'>', near) {
        Some(end) if line.first() == Some(&b'<') && line.get(end + 1) == Some(&b':') => {
            &line[end + 2..]
        }
        _ => line,
    }
}

/// `76118 for outside:198.51.100.7/40755 (198.51.100.7/40755) to inside:192.0.2.77/443 (…/443)`; a
/// name of a user may follow an end.
fn ends(text: &[u8]) -> Option<Ends> {
    let end = |text: &[u8]| {
        // Names of interfaces have no colon, and may have blanks: `NP Identity Ifc`. Addresses of IPv6
        // have colons.
        let begin =
            memchr::memrchr(b' ', &text[..memchr::memchr(b':', text)?]).map_or(0, |n| n + 1);
        let word = Cursor(&text[begin..]).word();
        let colon = memchr::memchr(b':', word)?;
        let slash = memchr::memrchr(b'/', word)?;
        let port = word[slash + 1..].split(|b| *b == b'(').next()?;
        Some((Host::address_or_name(word.get(colon + 1..slash)?)?, number(port)?))
    };
    let from = &text[memmem::find(text, b" for ")? + 5..];
    let to = &from[memmem::find(from, b" to ")? + 4..];
    let ((client, client_port), (server, server_port)) = (end(from)?, end(to)?);
    Some(Ends { client, client_port: Some(client_port), server, server_port: Some(server_port) })
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let name = common_name(inputs.iter());
    let seen = line_log::read::<Asa>(inputs, cx);
    cx.status.record_shortfall(
        ShortfallKind::UnreadInput,
        u64::from(seen.connections + seen.outbound == 0),
        format!(
            "{name}: it has no message 302013 at all, so nothing shows that the device logs connections; \
             'logging trap informational' does (messages 430002 and 430003 of FTD are not read)"
        ),
    );
    cx.status.record_shortfall(
        ShortfallKind::UnreadableLines,
        seen.evidence,
        format!(
            "{name}: {} not read (messages 430002 and 430003), and may be of connections without a message \
             302013; leave such lines out (grep -v) if the device logs 302013 for all",
            plural(seen.evidence, "connection event of FTD is", "connection events of FTD are")
        ),
    );
    cx.status.warn(format!(
        "{name}: the firewall builds a connection at its SYN, so attempts that the server refused count \
         too"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILT: &str = "Built inbound TCP connection 76118 for outside:198.51.100.7/40755 \
        (198.51.100.7/40755) to inside:192.0.2.77/443 (203.0.113.5/443)";

    fn shown(line: &str) -> String {
        match Asa.parse_line(line.as_bytes()) {
            ParsedLine::Connection(e) => format!(
                "{}:{} {}:{}",
                e.ends.client.ip().unwrap(),
                e.ends.client_port.unwrap(),
                e.ends.server.ip().unwrap(),
                e.ends.server_port.unwrap()
            ),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn built_inbound_connections_count() {
        for before in [
            "Nov 22 2026 10:58:42: %ASA-6-302013: ",
            "Nov 22 2026 10:58:42 asa1 : %ASA-6-302013: ",
            "<166>Nov 22 2026 10:58:42: %ASA-6-302013: ",
            "Nov 22 10:58:42 192.0.2.1 %FTD-6-302013: ",
            "2026-11-22T10:58:42Z asa1 %ASA-session-6-302013: ",
            "%PIX-6-302013: ",
            "Nov 22 2026 10:58:42 fwsm1 : %FWSM-6-302013: ",
            "<166>:Nov 22 10:58:42.123 UTC: %ASA-session-6-302013: ",
            "<166>:Nov 22 10:58:42 CEST: asa1 : %ASA-session-6-302013: ",
            "Nov 22 10:58:42 192.0.2.1 Nov 22 2026 10:58:42: %ASA-6-302013: ",
            "Nov 22 10:58:42 192.0.2.1 Nov 22 2026 10:58:42 asa1 : %ASA-6-302013: ",
            "Nov 22 10:58:42 192.0.2.1 :Nov 22 10:58:42 UTC: %ASA-6-302013: ",
            "2026-11-22T10:58:42.123+01:00 gw1 <166>Nov 22 2026 10:58:42: %ASA-6-302013: ",
        ] {
            assert_eq!(
                shown(&format!("{before}{BUILT}")),
                "198.51.100.7:40755 192.0.2.77:443",
                "{before}"
            );
        }
        let user = BUILT.replace("192.0.2.77/443 ", "192.0.2.77/443(LOCAL\\\\a) ");
        let line = format!("Nov 22 2026 10:58:42: %ASA-6-302013: {user}");
        assert_eq!(shown(&line), "198.51.100.7:40755 192.0.2.77:443");
        let ipv6 = "Nov 22 2026 10:58:42: %ASA-6-302013: Built inbound TCP connection 7 for \
            outside:2001:db8::7/40755 (2001:db8::7/40755) to dmz:2001:db8:77::1/80 (2001:db8:77::1/80)";
        assert_eq!(shown(ipv6), "2001:db8::7:40755 2001:db8:77::1:80");
    }

    #[test]
    fn the_firewalls_own_time_counts_if_the_collectors_has_no_year() {
        let stamp_of =
            |before: &str| Asa.stamp(format!("{before}: %ASA-6-302013: {BUILT}").as_bytes());
        let own = stamp_of("Nov 22 2026 10:58:42");
        assert!(matches!(own, Stamp::Civil(..)));
        assert_eq!(stamp_of("Nov 22 11:00:00 192.0.2.1 Nov 22 2026 10:58:42"), own);
        let exact = stamp_of("2026-11-22T11:00:00Z 192.0.2.1");
        assert_eq!(stamp_of("2026-11-22T11:00:00Z 192.0.2.1 Nov 22 2026 10:58:42"), exact);
    }

    #[test]
    fn an_end_may_have_a_name() {
        let named = format!("Nov 22 2026 10:58:42: %ASA-6-302013: {BUILT}")
            .replace("198.51.100.7", "web-1");
        let ParsedLine::Connection(event) = Asa.parse_line(named.as_bytes()) else {
            panic!("{named}")
        };
        assert_eq!(event.ends.client, Host::Name("web-1".into()));
        assert!(matches!(event.written_for, WrittenFor::Start(Some(76118))));
        assert_eq!(event.ends.server_port, Some(443));
    }

    #[test]
    fn connections_to_the_device_itself_count() {
        let text = "Sep  7 06:25:28 fw %PIX-6-302013: Built inbound TCP connection 9 for db:198.51.100.7/60749 \
            (198.51.100.7/60749) to NP Identity Ifc:192.0.2.77/22 (192.0.2.77/22)";
        assert_eq!(shown(text), "198.51.100.7:60749 192.0.2.77:22");
    }

    #[test]
    fn other_messages_do_not_count() {
        let line =
            |number: &str, text: &str| format!("Nov 22 2026 10:58:42: %ASA-6-{number}: {text}");
        assert_eq!(shown(&line("302013", &BUILT.replace("inbound", "outbound"))), "Outbound");
        assert_eq!(
            shown(&line("302303", "Built TCP state-bypass connection 7 from outside:x")),
            "Broken"
        );
        let probe = BUILT.replace("inbound", "inbound Probe");
        assert_eq!(shown(&line("302013", &probe)), "198.51.100.7:40755 192.0.2.77:443");
        assert_eq!(shown(&line("302014", "Teardown TCP connection 76118 for outside:x")), "Other");
        assert_eq!(shown(&line("302013", &BUILT[..80])), "Broken");
        let event = "EventPriority: Low, AccessControlRuleAction: Allow, SrcIP: 198.51.100.7, Protocol: tcp, X: y";
        assert_eq!(shown(&line("430002", event)), "Evidence");
        assert_eq!(shown(&line("430003", &event.replace("tcp", "udp"))), "Other");
        assert_eq!(shown(&line("430003", &event.replace("Allow", "Block with reset"))), "Other");
        let quoted = format!("Nov 22 10:58:42 gw1 app[7]: saw %ASA-6-302013: {BUILT}");
        assert_eq!(shown(&quoted), "Foreign");
    }
}
