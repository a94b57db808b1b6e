//! Messages of Juniper's SRX firewalls about sessions: `RT_FLOW_SESSION_CREATE`, or `RT_FLOW_SESSION_CLOSE` in logs without
//! those.
//!
//! The messages are those of Junos' "System Log Explorer", as text and as structured data (`sd-syslog`). The source opened
//! the session. Behind a translation of addresses, the server is the machine itself.

use memchr::memmem;

use super::digits::number;
use super::host::{Ends, Host};
use super::input::{Input, common_name};
use super::line_log::{self, Event, LineLog, ParsedLine};
use super::netfilter::frame;
use super::reader::{Context, RecordFormat};
use super::requests::WrittenFor;
use super::timestamp::SECOND;
use crate::{ShortfallKind, Transport};

/// Messages of Juniper's firewalls.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "juniper",
    about: "syslog of Juniper SRX",
    connection: "message RT_FLOW_SESSION_CREATE of a TCP session, or RT_FLOW_SESSION_CLOSE",
    is_text: true,
    is_json: false,
    is_snapshot: false,
    recognise: line_log::recognise::<Juniper>,
    run: |_| Some(String::new()),
    read,
};

struct Juniper {
    /// Whether sessions are logged at their end only, so that they count then.
    has_ends_only: bool,
}

impl LineLog for Juniper {
    fn of(lines: &[&[u8]]) -> Juniper {
        let has =
            |name: &[u8]| lines.iter().any(|line| message(line).is_some_and(|m| m.name == name));
        Juniper { has_ends_only: has(b"CLOSE") && !has(b"CREATE") }
    }

    fn parse_line(&self, line: &[u8]) -> ParsedLine {
        let Some(message) = message(line) else { return ParsedLine::Foreign };
        let is_end = match message.name {
            b"CREATE" => false,
            b"CLOSE" => true,
            b"DENY" => return denied(&message),
            _ if message.text.is_empty() => return ParsedLine::Broken,
            _ => return ParsedLine::Other,
        };
        let session = session(&message);
        if session.as_ref().is_some_and(|session| session.protocol != TCP) {
            return ParsedLine::Other;
        }
        match (is_end, self.has_ends_only) {
            // Its end may not be in the log.
            (false, true) => ParsedLine::Broken,
            (_, has_ends_only) => session
                .and_then(|session| connection(&message, &session, has_ends_only))
                .unwrap_or(ParsedLine::Broken),
        }
    }
}

/// The number of TCP.
const TCP: u8 = 6;

/// A message about a session.
struct Message<'a> {
    /// The time, the host and the program.
    before: &'a [u8],
    /// `CREATE`, `CLOSE` or `DENY`.
    name: &'a [u8],
    text: &'a [u8],
}

/// Finds the message in a line. What stands before it ends with the name of the program.
fn message(line: &[u8]) -> Option<Message<'_>> {
    const NAME: &[u8] = b"RT_FLOW_SESSION_";
    let at = memmem::find(line, NAME)?;
    let before = line[..at].trim_ascii_end();
    let program = before.strip_suffix(b":").or_else(|| before.strip_suffix(b"-")).unwrap_or(before);
    let program = program.trim_ascii_end();
    // `RT_FLOW[1234]:`
    let program = match program.strip_suffix(b"]") {
        Some(id) => &id[..memchr::memrchr(b'[', id)?],
        None => program,
    };
    if !before.is_empty() && !program.ends_with(b"RT_FLOW") && !program.ends_with(b"%") {
        return None;
    }
    let rest = &line[at + NAME.len()..];
    let n = rest.iter().take_while(|b| b.is_ascii_uppercase()).count();
    let (name, text) = rest.split_at(n);
    // In a logical system.
    let text = text.strip_prefix(b"_LS").unwrap_or(text);
    Some(Message { before, name, text })
}

/// A session, as far as all its messages have it.
struct Session {
    protocol: u8,
    ends: Ends,
    /// The seconds that it lasted, and the bytes from the client and the server, at its end.
    end: Option<(u32, u64, u64)>,
}

fn session(message: &Message<'_>) -> Option<Session> {
    if memmem::find(message.text, b" source-address=").is_some() {
        structured(message.text)
    } else {
        plain(message.text)
    }
}

/// The value of `key` in structured data.
fn value<'a>(text: &'a [u8], key: &str) -> Option<&'a [u8]> {
    let is_key = |at: usize| at > 0 && text[at - 1] == b' ';
    let mut places = memmem::find_iter(text, key).filter(|at| is_key(*at));
    let value = places.find_map(|at| text[at + key.len()..].strip_prefix(b"=\""))?;
    Some(&value[..memchr::memchr(b'"', value)?])
}

/// `[junos@2636.1.1.1.2.36 source-address="198.51.100.7" source-port="40755" … protocol-id="6" …]`.
fn structured(text: &[u8]) -> Option<Session> {
    let get = |key: &str| value(text, key);
    let end = |address: &str, port: &str| {
        Some((get(address).and_then(Host::address)?, number(get(port)?)?))
    };
    let (client, client_port) = end("source-address", "source-port")?;
    let (server, server_port) = end("nat-destination-address", "nat-destination-port")
        .or_else(|| end("destination-address", "destination-port"))?;
    let bytes = |key: &str| get(key).and_then(number);
    Some(Session {
        protocol: number(get("protocol-id")?)?,
        ends: Ends {
            client,
            client_port: Some(client_port),
            server,
            server_port: Some(server_port),
        },
        end: get("elapsed-time").and_then(number).and_then(|seconds| {
            Some((seconds, bytes("bytes-from-client")?, bytes("bytes-from-server")?))
        }),
    })
}

/// `: session created 198.51.100.7/40755->192.0.2.77/443 0x0 junos-https 198.51.100.7/40755->10.0.0.77/8443 0x0 N/A N/A
/// destination rule web 6 policy untrust trust 4242 …`; older messages have no tags (`0x0`), and only the names of the rules.
fn plain(text: &[u8]) -> Option<Session> {
    let mut words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).peekable();
    let original = words.by_ref().find_map(flow)?;
    let has_tags = words.next_if(|word| word.starts_with(b"0x")).is_some();
    // The service.
    words.next()?;
    let translated = words.next_if(|word| flow(word).is_some()).and_then(flow);
    let protocol = if translated.is_none() {
        words.by_ref().take(3).find_map(protocol)?
    } else if has_tags {
        words.next_if(|word| word.starts_with(b"0x"));
        for _ in 0..2 {
            // The type of a rule, which may be two words, and its name.
            words.next()?;
            words.next_if(|word| *word == b"rule");
            words.next()?;
        }
        protocol(words.next()?)?
    } else {
        protocol(words.nth(2)?)?
    };
    let ((client, client_port), destination) = original;
    let (server, server_port) = translated.map_or(destination, |(_, destination)| destination);
    let ends =
        Ends { client, client_port: Some(client_port), server, server_port: Some(server_port) };
    Some(Session { protocol, ends, end: ended(words) })
}

type End = (Host, u16);

/// `198.51.100.7/40755->192.0.2.77/443`.
fn flow(word: &[u8]) -> Option<(End, End)> {
    let arrow = memmem::find(word, b"->")?;
    let end = |text: &[u8]| {
        let slash = memchr::memchr(b'/', text)?;
        Some((Host::address(&text[..slash])?, number(&text[slash + 1..])?))
    };
    Some((end(&word[..arrow])?, end(&word[arrow + 2..])?))
}

/// `6`, or `1(8)` with the type of an ICMP message.
fn protocol(word: &[u8]) -> Option<u8> {
    number(word.split(|b| *b == b'(').next()?)
}

/// The packets and bytes of both directions, and the seconds: `78(6657) 122(13305) 45`.
fn ended<'a>(words: impl Iterator<Item = &'a [u8]>) -> Option<(u32, u64, u64)> {
    let bytes = |word: &[u8]| {
        let open = memchr::memchr(b'(', word)?;
        number::<u64>(&word[..open])?;
        number(word[open + 1..].strip_suffix(b")")?)
    };
    let mut counts = words.skip_while(|word| bytes(word).is_none());
    let (client, server) = (bytes(counts.next()?)?, bytes(counts.next()?)?);
    Some((number(counts.next()?)?, client, server))
}

/// The connection of a message. `has_ends_only`: no start of it can be in the log.
fn connection(message: &Message<'_>, session: &Session, has_ends_only: bool) -> Option<ParsedLine> {
    // Of a session that ended in this way both ends had answered.
    let is_finished = memmem::find(message.text, b"TCP FIN").is_some();
    let (stamp, _) = frame::split(message.before);
    let mut event = Event::new(stamp, session.ends.clone(), is_finished.then_some(true));
    // Junos has a number for each session, but old messages do not tell where in the line it is.
    event.written_for = WrittenFor::Start(None);
    if message.name == b"CLOSE" {
        event.written_for =
            if has_ends_only { WrittenFor::Connection } else { WrittenFor::End(None) };
        let (seconds, bytes_in, bytes_out) = session.end?;
        event.before = i64::from(seconds) * SECOND;
        event.more.transport = Some(Box::new(Transport {
            duration: Some(std::time::Duration::from_secs(seconds.into())),
            duration_uncertainty: std::time::Duration::from_secs(1),
            bytes_in: Some(bytes_in),
            bytes_out: Some(bytes_out),
            ..Transport::default()
        }));
    }
    Some(event.parsed())
}

/// A session that a policy denied: `session denied 198.51.100.7/40755->192.0.2.77/22 0x0 junos-ssh 6(0) deny-all …`.
fn denied(message: &Message<'_>) -> ParsedLine {
    let text = message.text;
    let structured = || number::<u8>(value(text, "protocol-id")?);
    let plain = || {
        let mut words = text.split(u8::is_ascii_whitespace);
        words.find_map(|word| memchr::memchr(b'(', word).and_then(|_| protocol(word)))
    };
    match structured().or_else(plain) {
        Some(TCP) | None => ParsedLine::Blocked,
        Some(_) => ParsedLine::Other,
    }
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let name = common_name(inputs.iter());
    let seen = line_log::read::<Juniper>(inputs, cx);
    cx.status.record_shortfall(
        ShortfallKind::UnreadInput,
        u64::from(seen.connections + seen.blocked == 0),
        format!(
            "{name}: it has no TCP session at all, so nothing shows that sessions are logged; \
             'then log session-init' in the policies does"
        ),
    );
    cx.status.warn(format!(
        "{name}: the firewall creates a session at its SYN, so attempts that the server refused count too; sessions of \
         policies that log nothing are not in it, nor those of policies that log only session-close and that were still open"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREATE: &str = "Dec 17 08:04:45 fw1 RT_FLOW: RT_FLOW_SESSION_CREATE: session created \
        198.51.100.7/40755->192.0.2.77/443 junos-https 198.51.100.7/40755->10.0.0.77/8443 None web 6 permit untrust trust \
        5 N/A(N/A) ge-0/0/1.0";
    const CREATE_TAGS: &str = "<14>Dec 17 08:04:45 fw1 RT_FLOW: RT_FLOW_SESSION_CREATE: session created \
        198.51.100.7/40755->192.0.2.77/443 0x0 junos-https 198.51.100.7/40755->10.0.0.77/8443 0x0 N/A N/A \
        destination rule web 6 permit untrust trust 5 N/A(N/A) ge-0/0/1.0 UNKNOWN UNKNOWN UNKNOWN N/A N/A -1";
    const STRUCTURED: &str = "<14>1 2026-12-17T08:04:45.120+01:00 fw1 RT_FLOW - RT_FLOW_SESSION_CREATE \
        [junos@2636.1.1.1.2.36 source-address=\"198.51.100.7\" source-port=\"40755\" destination-address=\"192.0.2.77\" \
        destination-port=\"443\" service-name=\"junos-https\" nat-source-address=\"198.51.100.7\" \
        nat-source-port=\"40755\" nat-destination-address=\"10.0.0.77\" nat-destination-port=\"8443\" \
        protocol-id=\"6\" policy-name=\"permit\" session-id-32=\"5\"]";
    const CLOSE: &str = "Dec 17 08:05:30 fw1 RT_FLOW: RT_FLOW_SESSION_CLOSE: session closed TCP FIN: \
        198.51.100.7/40755->192.0.2.77/443 junos-https 198.51.100.7/40755->10.0.0.77/8443 None web 6 permit untrust trust \
        5 78(6657) 122(13305) 45 UNKNOWN UNKNOWN N/A(N/A) ge-0/0/1.0 No ";

    fn shown(line: &str, has_ends_only: bool) -> String {
        match (Juniper { has_ends_only }).parse_line(line.as_bytes()) {
            ParsedLine::Connection(e) => format!(
                "{:?} {}:{} {}:{} {} {:?}",
                e.written_for,
                e.ends.client.ip().unwrap(),
                e.ends.client_port.unwrap(),
                e.ends.server.ip().unwrap(),
                e.ends.server_port.unwrap(),
                e.before / SECOND,
                e.established
            ),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn sessions_count_when_they_are_created() {
        let want = "Start(None) 198.51.100.7:40755 10.0.0.77:8443 0 None";
        for line in [CREATE, CREATE_TAGS, STRUCTURED] {
            assert_eq!(shown(line, false), want, "{line}");
        }
        let tag = CREATE.replace("RT_FLOW: ", "RT_FLOW[1234]: ");
        assert_eq!(shown(&tag, false), want);
        assert_eq!(shown(&CREATE.replace("RT_FLOW: ", "%-"), false), want);
        assert_eq!(shown(&STRUCTURED.replace("_CREATE", "_CREATE_LS"), false), want);
        let untranslated = CREATE.replace(" 198.51.100.7/40755->10.0.0.77/8443", "");
        assert_eq!(
            shown(&untranslated, false),
            "Start(None) 198.51.100.7:40755 192.0.2.77:443 0 None"
        );
        for (line, from, to, want) in [
            (CREATE, "web 6", "web 17", "Other"),
            (CREATE, "web 6 permit", "6 17 permit", "Other"),
            (CREATE_TAGS, "web 6", "web 17", "Other"),
            (STRUCTURED, "=\"6\"", "=\"17\"", "Other"),
            (CREATE, "10.0.0.77/8443 None web 6", "10.0.0.77/84", "Broken"),
            (STRUCTURED, "protocol-id=\"6\"", "prot", "Broken"),
            (CREATE, &CREATE[CREATE.find("ATE: ").unwrap()..], "", "Broken"),
            (CREATE, "RT_FLOW: ", "app: it said RT_FLOW_SESSION ", "Foreign"),
        ] {
            assert_eq!(shown(&line.replace(from, to), false), want, "{to}");
        }
        let end = "End(None) 198.51.100.7:40755 10.0.0.77:8443 45 Some(true)";
        assert_eq!(shown(CLOSE, false), end);
    }

    #[test]
    fn sessions_count_when_they_are_closed_if_nothing_else_is_logged() {
        let log = Juniper::of(&[CLOSE.as_bytes()]);
        assert!(log.has_ends_only);
        assert!(!Juniper::of(&[CLOSE.as_bytes(), CREATE.as_bytes()]).has_ends_only);
        assert_eq!(
            shown(CLOSE, true),
            "Connection 198.51.100.7:40755 10.0.0.77:8443 45 Some(true)"
        );
        let reset = CLOSE.replace("TCP FIN", "TCP CLIENT RST");
        assert!(shown(&reset, true).ends_with("45 None"));
        assert_eq!(shown(&CLOSE.replace("122(13305) 45", "122(13"), true), "Broken");
        assert_eq!(shown(CREATE, true), "Broken");
    }

    #[test]
    fn denied_sessions_of_tcp_are_blocked() {
        let deny = "Sep 29 23:49:20 fw1 RT_FLOW: RT_FLOW_SESSION_DENY: session denied 198.51.100.7/40755->192.0.2.77/22 \
            junos-ssh 6(0) default-deny(global) untrust trust UNKNOWN UNKNOWN N/A(N/A) ge-0/0/0.0";
        assert_eq!(shown(deny, false), "Blocked");
        assert_eq!(shown(&deny.replace("6(0)", "17(0)"), false), "Other");
        let structured = STRUCTURED.replace("_CREATE", "_DENY");
        assert_eq!(shown(&structured, false), "Blocked");
        assert_eq!(shown(&structured.replace("=\"6\"", "=\"1\""), false), "Other");
    }
}
