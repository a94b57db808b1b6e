//! Traffic logs of Palo Alto Networks' firewalls (PAN-OS) as lines of comma-separated values, by syslog or exported.
//!
//! The fields are those of "Traffic Log Fields" of PAN-OS; newer versions append some. The source opened the session. Behind a
//! translation of addresses, the server is the machine itself.

use memchr::memmem;

use super::cursor::Cursor;
use super::digits::number;
use super::host::{Ends, Host};
use super::input::{Input, common_name};
use super::line_log::{self, Event, LineLog, ParsedLine};
use super::reader::{Context, RecordFormat};
use super::requests::WrittenFor;
use super::timestamp::Stamp;
use crate::{ShortfallKind, Transport};

/// PAN-OS' log of traffic.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "paloalto",
    about: "traffic log of Palo Alto Networks (PAN-OS), comma-separated",
    connection: "the start of a TCP session, or its end",
    is_text: true,
    is_json: false,
    is_snapshot: false,
    recognise: line_log::recognise::<PaloAlto>,
    run: |_| Some(String::new()),
    read,
};

/// Numbers of the fields from the type on.
mod field {
    pub(super) const SUBTYPE: usize = 1;
    pub(super) const GENERATED: usize = 3;
    pub(super) const SOURCE: usize = 4;
    pub(super) const DESTINATION: usize = 5;
    pub(super) const NAT_DESTINATION: usize = 7;
    pub(super) const APPLICATION: usize = 11;
    pub(super) const SESSION: usize = 19;
    pub(super) const REPEAT_COUNT: usize = 20;
    pub(super) const SOURCE_PORT: usize = 21;
    pub(super) const DESTINATION_PORT: usize = 22;
    pub(super) const NAT_DESTINATION_PORT: usize = 24;
    pub(super) const PROTOCOL: usize = 26;
    pub(super) const BYTES_SENT: usize = 29;
    pub(super) const BYTES_RECEIVED: usize = 30;
    pub(super) const STARTED: usize = 32;
    pub(super) const ELAPSED: usize = 33;
    pub(super) const COUNT: usize = 34;
}

struct PaloAlto {
    /// Whether sessions are logged at their end only, so that they count then.
    has_ends_only: bool,
}

impl LineLog for PaloAlto {
    fn of(lines: &[&[u8]]) -> PaloAlto {
        let has = |subtype: &[u8]| {
            lines
                .iter()
                .any(|line| fields(line).is_some_and(|f| f.get(field::SUBTYPE) == Some(&subtype)))
        };
        PaloAlto { has_ends_only: has(b"end") && !has(b"start") }
    }

    fn parse_line(&self, line: &[u8]) -> ParsedLine {
        let Some(fields) = fields(line) else { return ParsedLine::Foreign };
        if fields[0] != b"TRAFFIC" {
            return ParsedLine::Other;
        }
        // If it is the last one, it may be cut.
        let Some(protocol) =
            fields.get(field::PROTOCOL).filter(|_| fields.len() > field::PROTOCOL + 1)
        else {
            return ParsedLine::Broken;
        };
        if *protocol != b"tcp" {
            return ParsedLine::Other;
        }
        match (fields[field::SUBTYPE], self.has_ends_only) {
            // Its end may not be in the log.
            (b"start", true) => ParsedLine::Broken,
            (b"start" | b"end", has_ends_only) => {
                session(&fields, has_ends_only).unwrap_or(ParsedLine::Broken)
            }
            (b"drop" | b"deny", _) => ParsedLine::Blocked,
            _ => ParsedLine::Broken,
        }
    }
}

/// The fields of a line from the type on. Before it are a number or the name of a domain, the time, and the serial
/// number, behind what syslog writes.
fn fields(line: &[u8]) -> Option<Vec<&[u8]>> {
    const TYPES: [&[u8]; 5] = [b",TRAFFIC,", b",THREAT,", b",SYSTEM,", b",CONFIG,", b",USERID,"];
    let begin = &line[..line.len().min(400)];
    let at = TYPES.iter().find_map(|kind| memmem::find(begin, kind))?;
    let (before, serial) = line[..at].split_at(memchr::memrchr(b',', &line[..at])?);
    let is_serial = serial.len() > 1 && serial[1..].iter().all(u8::is_ascii_alphanumeric);
    let time = &before[memchr::memrchr(b',', before)? + 1..];
    let is_time = Cursor(time).date().is_some() || time.contains(&b'/');
    (is_serial && is_time).then(|| split(&line[at + 1..]))
}

/// The values of a line. Those with commas are in quotes.
fn split(mut text: &[u8]) -> Vec<&[u8]> {
    let mut values = Vec::with_capacity(field::COUNT);
    loop {
        let (value, rest) = match text {
            [b'"', quoted @ ..] => {
                let end = memmem::find(quoted, b"\",").unwrap_or(quoted.len());
                (&quoted[..end], quoted.get(end + 1..).unwrap_or_default())
            }
            text => text.split_at(memchr::memchr(b',', text).unwrap_or(text.len())),
        };
        values.push(value);
        match rest {
            [b',', rest @ ..] if values.len() < field::COUNT => text = rest,
            _ => return values,
        }
    }
}

/// Reads a session; `None`: its fields cannot be read. `has_ends_only`: no start of it can be in the log.
fn session(fields: &[&[u8]], has_ends_only: bool) -> Option<ParsedLine> {
    let get = |at: usize| fields.get(at).copied();
    // A line may stand for several sessions, whose ports it does not have.
    if number::<u32>(get(field::REPEAT_COUNT)?)? > 1 {
        return None;
    }
    let port = |at: usize| number::<u16>(get(at)?);
    let translated = || {
        let server = Host::address(get(field::NAT_DESTINATION)?)?;
        let port = port(field::NAT_DESTINATION_PORT)?;
        (port != 0 && server.ip().is_some_and(|ip| !ip.is_unspecified())).then_some((server, port))
    };
    let (server, server_port) = match translated() {
        Some(end) => end,
        None => (Host::address(get(field::DESTINATION)?)?, port(field::DESTINATION_PORT)?),
    };
    let ends = Ends {
        client: Host::address(get(field::SOURCE)?)?,
        client_port: Some(port(field::SOURCE_PORT)?),
        server,
        server_port: Some(server_port),
    };
    // The time is behind all that is needed: a line without it may be cut.
    let stamp =
        Cursor(get(field::STARTED)?).iso().or_else(|| Cursor(fields[field::GENERATED]).iso());
    let mut event =
        Event::new(stamp.unwrap_or(Stamp::None), ends, established(get(field::APPLICATION)?));
    // A session starts again when another application is recognised. Sessions of one client's port have other numbers.
    let id = get(field::SESSION).and_then(number).filter(|id| *id != 0);
    if fields[field::SUBTYPE] == b"end" {
        if !has_ends_only {
            event.written_for = WrittenFor::End(id);
        }
        let seconds = get(field::ELAPSED).and_then(number::<u32>);
        event.more.transport = Some(Box::new(Transport {
            duration: seconds.map(|seconds| std::time::Duration::from_secs(seconds.into())),
            duration_uncertainty: std::time::Duration::from_secs(1),
            bytes_in: get(field::BYTES_SENT).and_then(number),
            bytes_out: get(field::BYTES_RECEIVED).and_then(number),
            ..Transport::default()
        }));
    } else {
        event.written_for = WrittenFor::Start(id);
    }
    Some(event.parsed())
}

/// Whether a session was established, as far as the name of its application tells.
fn established(application: &[u8]) -> Option<bool> {
    match application {
        // The handshake was not completed.
        b"incomplete" => Some(false),
        b"not-applicable" | b"" => None,
        // It was, and perhaps there was not enough data.
        _ => Some(true),
    }
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let name = common_name(inputs.iter());
    let seen = line_log::read::<PaloAlto>(inputs, cx);
    cx.status.record_shortfall(
        ShortfallKind::UnreadInput,
        u64::from(seen.connections + seen.blocked == 0),
        format!(
            "{name}: it has no TCP session in a traffic log at all, so nothing shows that sessions are logged; 'Log at \
             Session Start' or 'Log at Session End' in the rules does"
        ),
    );
    cx.status.warn(format!(
        "{name}: sessions of rules that log nothing are not in it, nor those of rules that log only the end and that were \
         still open"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = "Oct 30 09:46:12 fw1 1,2026/11/22 10:58:44,01606001116,TRAFFIC,start,2049,2026/11/22 10:58:43,\
        198.51.100.7,192.0.2.77,0.0.0.0,0.0.0.0,rule1,,,web-browsing,vsys1,untrust,trust,ethernet1/2,ethernet1/1,forwardAll,\
        2026/11/22 10:58:44,11449,1,40755,443,0,0,0x200000,tcp,allow,78,78,0,1,2026/11/22 10:58:42,0,any,0,0,0x0,\
        192.168.0.0-192.168.255.255,United States,0,1,0";

    fn shown(line: &str, has_ends_only: bool) -> String {
        match (PaloAlto { has_ends_only }).parse_line(line.as_bytes()) {
            ParsedLine::Connection(e) => format!(
                "{:?} {:?} {}:{} {}:{} {:?}",
                e.written_for,
                e.stamp,
                e.ends.client.ip().unwrap(),
                e.ends.client_port.unwrap(),
                e.ends.server.ip().unwrap(),
                e.ends.server_port.unwrap(),
                e.established
            ),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn sessions_count_when_they_start() {
        let want = "Start(Some(11449)) Civil(2026-11-22, 39522000000000) 198.51.100.7:40755 192.0.2.77:443 Some(true)";
        assert_eq!(shown(START, false), want);
        assert_eq!(shown(&START.replace("rule1,,", "\"web, tls\",\"cn=a,ou=b\","), false), want);
        let exported =
            START.replace("Oct 30 09:46:12 fw1 ", "").replace(",start,2049,", ",start,1,");
        assert_eq!(shown(&exported, false), want);
        let nat = START
            .replace("0.0.0.0,0.0.0.0", "198.51.100.7,10.0.0.77")
            .replace("443,0,0", "443,40755,8443");
        assert!(shown(&nat, false).ends_with(" 10.0.0.77:8443 Some(true)"));
        let incomplete = START.replace("web-browsing", "incomplete");
        assert!(shown(&incomplete, false).ends_with("Some(false)"));
        for (from, to, want) in [
            (",tcp,", ",udp,", "Other"),
            (",TRAFFIC,", ",THREAT,", "Other"),
            (",start,", ",deny,", "Blocked"),
            // Two sessions in one line.
            ("11449,1,", "11449,2,", "Broken"),
            ("192.0.2.77,", "192.0.2,", "Broken"),
            (",01606001116,", ",he said \"x\",", "Foreign"),
        ] {
            assert_eq!(shown(&START.replace(from, to), false), want, "{to}");
        }
        let end = START.replace(",start,", ",end,");
        assert_eq!(shown(&end, false), want.replace("Start", "End"));
        let cut = START.find(",tcp").unwrap();
        for end in [cut, cut + 3, cut + 4] {
            assert_eq!(shown(&START[..end], false), "Broken", "{end}");
        }
    }

    #[test]
    fn sessions_count_when_they_end_if_nothing_else_is_logged() {
        let end = START.replace(",start,", ",end,");
        assert!(PaloAlto::of(&[end.as_bytes()]).has_ends_only);
        assert!(!PaloAlto::of(&[end.as_bytes(), START.as_bytes()]).has_ends_only);
        assert!(shown(&end, true).starts_with("Connection Civil("));
        assert_eq!(shown(START, true), "Broken");
    }
}
