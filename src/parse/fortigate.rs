//! Traffic logs of FortiGate: `key=value` pairs, a line for each session when it has ended.
//!
//! The fields are those of Fortinet's "FortiOS Log Message Reference" (type traffic; "Traffic log support for CEF" has
//! their names in CEF). `srcip` opened the session. Long sessions have intermediate lines (log id 20), which do not
//! count. A session has its number in `sessionid`, and counts once. Blanks are between the pairs; with `set format csv`
//! commas. With `set format json` a line is an object.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::cursor::Cursor;
use super::digits::number;
use super::host::{Ends, Host};
use super::input::{Input, common_name};
use super::line_log::{self, Event, LineLog, ParsedLine};
use super::netfilter::frame;
use super::reader::{Context, RecordFormat};
use super::requests::WrittenFor;
use super::timestamp::{SECOND, Stamp};
use crate::{ShortfallKind, Transport};

/// FortiGate's log of traffic.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "fortigate",
    about: "traffic log of FortiGate",
    connection: "the end of a TCP session",
    is_text: true,
    is_json: true,
    is_snapshot: false,
    recognise: line_log::recognise::<Fortigate>,
    run: |_| Some(String::new()),
    read,
};

struct Fortigate;

impl LineLog for Fortigate {
    fn of(_: &[&[u8]]) -> Fortigate {
        Fortigate
    }

    fn parse_line(&self, line: &[u8]) -> ParsedLine {
        if let Some(at) = memchr::memmem::find(line, b"|Fortinet|Fortigate|") {
            return cef(&line[..at], &line[at..]);
        }
        if let Some(object) = json(line) {
            return object;
        }
        // A priority may stand before it.
        let line = match line {
            [b'<', ..] => {
                memchr::memchr(b'>', &line[..line.len().min(6)]).map_or(line, |n| &line[n + 1..])
            }
            line => line,
        };
        // So may the name of the device, without the tag of a program.
        // FortiAnalyzer puts its own pairs first.
        let begins = |line: &[u8]| {
            [&b"date="[..], b"logver=", b"itime=", b"id=", b"eventtime=", b"devname="]
                .iter()
                .any(|pair| line.starts_with(pair))
        };
        let word = Cursor(line).word();
        let behind = line.get(word.len() + 1..).unwrap_or_default();
        // Elements of HTML may have an `id=`.
        let is_named = !word.contains(&b'=') && !word.starts_with(b"<") && begins(behind);
        let line = if is_named { behind } else { line };
        let has = |text: &str| memchr::memmem::find(line, text.as_bytes()).is_some();
        if !begins(line) || ![" type=", ",type=", "\ttype="].iter().any(|pair| has(pair)) {
            return ParsedLine::Foreign;
        }
        if !has("type=\"traffic\"") && !has("type=traffic") {
            return ParsedLine::Other;
        }
        session(&pairs(line), Stamp::None).unwrap_or(ParsedLine::Broken)
    }
}

/// Reads a line with `set format json`; `None`: it is none. The values are numbers or texts.
fn json(line: &[u8]) -> Option<ParsedLine> {
    let open = memchr::memchr(b'{', line)?;
    // A priority may stand before it.
    let is_priority = line[..open].trim_ascii().ends_with(b">") && line[0] == b'<';
    if open > 0 && !(is_priority && open < MAX_PRIORITY) {
        return None;
    }
    let object = &line[open..];
    let has = |name: &[u8]| memchr::memmem::find(object, name).is_some();
    if ![&b"\"logid\""[..], b"\"type\"", b"\"subtype\""].iter().all(|name| has(name)) {
        return None;
    }
    let Ok(object) = serde_json::from_slice::<Map<String, Value>>(object.trim_ascii_end()) else {
        return Some(ParsedLine::Broken);
    };
    if object.get("type").and_then(Value::as_str) != Some("traffic") {
        return Some(ParsedLine::Other);
    }
    let texts: Vec<(&str, String)> = object
        .iter()
        .filter_map(|(key, value)| match value {
            Value::String(text) => Some((key.as_str(), text.clone())),
            Value::Number(number) => Some((key.as_str(), number.to_string())),
            _ => None,
        })
        .collect();
    let pairs = texts.iter().map(|(key, text)| (key.as_bytes(), text.as_bytes())).collect();
    Some(session(&pairs, Stamp::None).unwrap_or(ParsedLine::Broken))
}

/// Maximum length of the priority of syslog, with the version and a blank.
const MAX_PRIORITY: usize = 8;

type Pairs<'a> = HashMap<&'a [u8], &'a [u8]>;

/// The pairs of a line; values may be in quotes. What follows the first of them separates all.
fn pairs(line: &[u8]) -> Pairs<'_> {
    let mut pairs = HashMap::new();
    let mut rest = line.trim_ascii();
    let mut separator = None;
    while let Some(equals) = memchr::memchr(b'=', rest) {
        let key = rest[..equals].trim_ascii_start();
        let key = key.strip_prefix(b",").unwrap_or(key);
        let value = &rest[equals + 1..];
        let (value, end) = match value {
            [b'"', quoted @ ..] => {
                let end = memchr::memchr(b'"', quoted).unwrap_or(quoted.len());
                (&quoted[..end], end + 2)
            }
            value => {
                let end = match separator {
                    None => memchr::memchr3(b' ', b',', b'\t', value),
                    Some(separator) => memchr::memchr(separator, value),
                };
                let end = end.unwrap_or(value.len());
                (&value[..end], end)
            }
        };
        pairs.entry(key.trim_ascii()).or_insert(value);
        rest = rest.get(equals + 1 + end..).unwrap_or_default();
        separator = separator.or_else(|| rest.first().copied());
    }
    pairs
}

/// The names of pairs in CEF, and their own. The older of two names of one pair comes last.
const CEF_NAMES: &[(&str, &str)] = &[
    ("FTNTFGTlogid", "logid"),
    ("FTNTFGTeventtime", "eventtime"),
    ("src", "srcip"),
    ("spt", "srcport"),
    ("dst", "dstip"),
    ("dpt", "dstport"),
    ("proto", "proto"),
    ("act", "action"),
    ("externalId", "sessionid"),
    ("out", "sentbyte"),
    ("in", "rcvdbyte"),
    ("FTNTFGTduration", "duration"),
    ("cn1", "duration"),
];

/// Reads a line in the Common Event Format: `CEF:0|Fortinet|Fortigate|VERSION|ID|NAME|SEVERITY|PAIRS`. `before` is what
/// comes before the vendor, with the header of syslog; `=` in a value is `\=`.
fn cef(before: &[u8], text: &[u8]) -> ParsedLine {
    let before = before.trim_ascii_end().strip_suffix(b"0").map(<[u8]>::trim_ascii_end);
    let Some(header) = before.and_then(|before| before.strip_suffix(b"CEF:")) else {
        return ParsedLine::Foreign;
    };
    // An empty field, vendor, product, version, ID, name, severity.
    let Some(extension) = text.splitn(8, |b| *b == b'|').nth(7) else { return ParsedLine::Broken };
    let mut pairs = HashMap::new();
    for word in extension.split(|b| *b == b' ') {
        let Some(equals) = memchr::memchr(b'=', word) else { continue };
        let (key, value) = (&word[..equals], &word[equals + 1..]);
        if key == b"cat" && !value.starts_with(b"traffic:") {
            return ParsedLine::Other;
        }
        if let Some((_, own)) = CEF_NAMES.iter().find(|(name, _)| name.as_bytes() == key) {
            pairs.entry(own.as_bytes()).or_insert(value.trim_ascii_end());
        }
    }
    session(&pairs, frame::split(header).0).unwrap_or(ParsedLine::Broken)
}

/// Reads a session; `None`: its fields cannot be read. `received` is the stamp of a line whose pairs have no time.
fn session(pairs: &Pairs<'_>, received: Stamp) -> Option<ParsedLine> {
    let get = |key: &str| pairs.get(key.as_bytes()).copied();
    if !matches!(get("proto")?, b"6" | b"tcp" | b"TCP") {
        return Some(ParsedLine::Other);
    }
    if get("logid").is_some_and(|id| id.ends_with(b"000020")) {
        return Some(ParsedLine::Other);
    }
    let established = match get("action")? {
        b"start" => return Some(ParsedLine::Other),
        b"deny" | b"blocked" => return Some(ParsedLine::Blocked),
        b"ip-conn" => Some(false),
        b"close" | b"client-rst" => Some(true),
        _ => None,
    };
    let ends = Ends {
        client: Host::address(get("srcip")?)?,
        client_port: Some(number(get("srcport")?)?),
        server: Host::address(get("dstip")?)?,
        server_port: Some(number(get("dstport")?)?),
    };
    let mut event = Event::new(stamp(pairs).unwrap_or(received), ends, established);
    let seconds = get("duration").and_then(number::<u32>);
    // A log that was sent to two places, and joined, has a line twice. Long sessions may have several.
    if let Some(number) = get("sessionid").and_then(number::<u64>) {
        event.written_for = WrittenFor::Start(Some(number));
    }
    event.before = seconds.map_or(0, |seconds| i64::from(seconds) * SECOND);
    event.more.transport = Some(Box::new(Transport {
        duration: seconds.map(|s| std::time::Duration::from_secs(s.into())),
        duration_uncertainty: std::time::Duration::from_secs(1),
        bytes_in: get("sentbyte").and_then(number),
        bytes_out: get("rcvdbyte").and_then(number),
        ..Transport::default()
    }));
    Some(event.parsed())
}

/// `date=2026-11-22 time=10:58:42 tz="+0100"`.
fn stamp(pairs: &Pairs<'_>) -> Option<Stamp> {
    let get = |key: &str| pairs.get(key.as_bytes()).copied();
    let read = || {
        let date = Cursor(get("date")?).date()?;
        let ns = Cursor(get("time")?).clock()?;
        let zone = get("tz").and_then(|zone| {
            let sign = if zone.first()? == &b'-' { -1 } else { 1 };
            let hours: i64 = number(zone.get(1..3)?)?;
            let minutes: i64 = number(zone.get(3..5)?)?;
            Some(sign * (hours * 60 + minutes) * 60 * SECOND)
        });
        Some(zone.map_or(Stamp::Civil(date, ns), |zone| Stamp::utc(date, ns - zone)))
    };
    let received = || {
        let seconds: u32 = get("itime").and_then(number)?;
        Some(Stamp::Epoch(i64::from(seconds) * SECOND))
    };
    // Nanoseconds since FortiOS 6.2, seconds before.
    let event = || {
        let time: i64 = get("eventtime").and_then(number)?;
        let is_seconds = time < 100_000_000_000;
        Some(Stamp::Epoch(if is_seconds { time * SECOND } else { time }))
    };
    read().or_else(event).or_else(received)
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let name = common_name(inputs.iter());
    let seen = line_log::read::<Fortigate>(inputs, cx);
    cx.status.record_shortfall(
        ShortfallKind::UnreadInput,
        u64::from(seen.connections + seen.blocked == 0),
        format!(
            "{name}: it has no TCP session in a traffic log at all, so nothing shows that sessions are logged; \
             'set logtraffic all' in the policies does"
        ),
    );
    cx.status.warn(format!(
        "{name}: a session is in the log when it has ended, so those that were still open are not in \
         it, nor are those of policies that do not log"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSE: &str = "date=2026-11-22 time=10:58:42 devname=\"fw 1\" devid=\"FG1\" tz=\"+0100\" \
        logid=\"0000000013\" type=\"traffic\" subtype=\"forward\" srcip=198.51.100.7 srcport=40755 \
        srcintf=\"wan1\" dstip=192.0.2.77 dstport=443 sessionid=7 proto=6 action=\"close\" policyid=1 \
        duration=2 sentbyte=9 rcvdbyte=8";

    fn shown(line: &str) -> String {
        match Fortigate.parse_line(line.as_bytes()) {
            ParsedLine::Connection(e) => {
                format!(
                    "{:?} {} {} {:?}",
                    e.stamp,
                    e.before / SECOND,
                    e.ends.server_port.unwrap(),
                    e.established
                )
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn elements_of_html_are_no_messages() {
        let line = br#"<input id="q" type="search" placeholder="filter">"#;
        assert!(matches!(Fortigate.parse_line(line), ParsedLine::Foreign));
    }

    #[test]
    fn sessions_count_at_their_end() {
        let want = "Epoch(1795341522000000000) 2 443 Some(true)";
        assert_eq!(shown(CLOSE), want);
        assert_eq!(shown(&format!("<189>{CLOSE}")), want);
        assert_eq!(shown(&CLOSE.replace('"', "").replace("fw 1", "fw1")), want);
        assert!(shown(&CLOSE.replace("\"close\"", "\"timeout\"")).ends_with("None"));
        for (from, to, want) in [
            ("\"close\"", "\"start\"", "Other"),
            ("\"close\"", "\"deny\"", "Blocked"),
            ("proto=6", "proto=17", "Other"),
            ("0013", "0020", "Other"),
            ("\"traffic\"", "\"utm\"", "Other"),
            ("dstport=443 ", "", "Broken"),
        ] {
            assert_eq!(shown(&CLOSE.replace(from, to)), want, "{to}");
        }
        assert_eq!(shown("date=2026-11-22 x"), "Foreign");
        // FortiAnalyzer.
        let received = CLOSE.replace("date=2026-11-22 time=10:58:42", "itime=1795341522 vd=root");
        assert_eq!(shown(&received), want);
    }

    #[test]
    fn commas_or_tabs_may_be_between_the_pairs() {
        for separator in [",", "\t"] {
            let line = CLOSE.replace("fw 1", "fw,1").replace(' ', separator);
            assert_eq!(shown(&line), "Epoch(1795341522000000000) 2 443 Some(true)", "{line}");
            assert_eq!(shown(&format!("<189>{line}")), shown(&line));
            let bare = CLOSE.replace('"', "").replace("fw 1", "fw1").replace(' ', separator);
            assert_eq!(shown(&bare), shown(&line), "{bare}");
            assert_eq!(shown(&line.replace("action=\"close\"", "action=\"deny\"")), "Blocked");
        }
    }

    #[test]
    fn sessions_in_json_count_at_their_end() {
        let json = r#"{"date":"2026-11-22","time":"10:58:42","tz":"+0100","logid":"0000000013","type":"traffic","subtype":"forward","srcip":"198.51.100.7","srcport":40755,"dstip":"192.0.2.77","dstport":"443","sessionid":7,"proto":6,"action":"close","duration":2,"sentbyte":9}"#;
        let want = "Epoch(1795341522000000000) 2 443 Some(true)";
        assert_eq!(shown(json), want);
        assert_eq!(shown(&format!("<189>{json}")), want);
        for (from, to, want) in [
            ("\"close\"", "\"deny\"", "Blocked"),
            ("\"traffic\"", "\"event\"", "Other"),
            ("\"proto\":6", "\"proto\":17", "Other"),
            ("\"443\"", "null", "Broken"),
            ("\"sentbyte\":9}", "\"sentb", "Broken"),
            ("logid", "x", "Foreign"),
        ] {
            assert_eq!(shown(&json.replace(from, to)), want, "{to}");
        }
    }

    #[test]
    fn sessions_in_cef_count_at_their_end() {
        let cef = "Dec 27 11:07:55 FGT-A-LOG CEF: 0|Fortinet|Fortigate|v6.0.3|00013|traffic:forward close|3|\
            deviceExternalId=FGT1 FTNTFGTlogid=0000000013 cat=traffic:forward FTNTFGTsubtype=forward \
            FTNTFGTvd=a src\\=198.51.100.99 FTNTFGTeventtime=1795341522 src=198.51.100.7 spt=40755 dst=192.0.2.77 dpt=443 \
            externalId=402 proto=6 act=close FTNTFGTduration=2 out=9 in=8";
        let want = "Epoch(1795341522000000000) 2 443 Some(true)";
        assert_eq!(shown(cef), want);
        assert_eq!(shown(&cef.replace("=1795341522 ", "=1795341522000000000 ")), want);
        assert_eq!(
            shown(&cef["Dec 27 11:07:55 FGT-A-LOG ".len()..].replace("CEF: 0", "CEF:0")),
            want
        );
        // FortiOS 5.6.
        let old = cef.replace("FTNTFGTduration=2", "cn1=2 cn1Label=Duration");
        let old = old.replace("FTNTFGTeventtime=1795341522 ", "");
        assert_eq!(shown(&old), "Yearless(12, 27, 40075000000000) 2 443 Some(true)");
        for (from, to, want) in [
            ("act=close", "act=deny", "Blocked"),
            ("=0000000013", "=0000000020", "Other"),
            ("cat=traffic:forward", "cat=utm:virus", "Other"),
            ("proto=6", "proto=17", "Other"),
            ("dpt=443 ", "", "Broken"),
            ("CEF: 0", "said 0", "Foreign"),
        ] {
            assert_eq!(shown(&cef.replace(from, to)), want, "{to}");
        }
    }
}
