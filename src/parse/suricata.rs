//! eve.json of Suricata: the events of type `flow`, one for each connection when it has ended.
//!
//! The members are those of Suricata's manual ("Eve JSON Format", flow and tcp). Of a flow the source is
//! the end that sent the first packet.

use serde_json::{Map, Value};

use super::cursor::Cursor;
use super::host::{Ends, Host};
use super::input::{Input, common_name};
use super::line_log::{self, Event, LineLog, ParsedLine};
use super::reader::{Context, RecordFormat};
use super::requests::WrittenFor;
use super::timestamp::Stamp;
use crate::{ShortfallKind, Transport};

/// Suricata's events.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "suricata",
    about: "eve.json of Suricata",
    connection: "a TCP event of type flow",
    is_text: true,
    is_json: true,
    is_snapshot: false,
    recognise: line_log::recognise::<Eve>,
    run: |_| Some(String::new()),
    read,
};

/// TCP flags.
const SYN: u64 = 0x02;
const ACK: u64 = 0x10;

struct Eve;

impl LineLog for Eve {
    fn of(_: &[&[u8]]) -> Eve {
        Eve
    }

    fn parse_line(&self, line: &[u8]) -> ParsedLine {
        let has = |text: &str| memchr::memmem::find(line, text.as_bytes()).is_some();
        if line.first() != Some(&b'{') || !has("\"event_type\"") {
            return ParsedLine::Foreign;
        }
        if !has("\"flow\"") {
            return ParsedLine::Other;
        }
        let Ok(object) = serde_json::from_slice::<Map<String, Value>>(line) else {
            return ParsedLine::Broken;
        };
        match object.get("event_type").and_then(Value::as_str) {
            Some("flow") => flow(&object).unwrap_or(ParsedLine::Broken),
            _ => ParsedLine::Other,
        }
    }
}

/// Reads an event of type flow; `None`: its members cannot be read.
fn flow(object: &Map<String, Value>) -> Option<ParsedLine> {
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    if !matches!(text("proto")?, "TCP" | "tcp" | "6") {
        return Some(ParsedLine::Other);
    }
    let port = |name: &str| object.get(name)?.as_u64().and_then(|p| u16::try_from(p).ok());
    let ends = Ends {
        client: Host::address(text("src_ip")?.as_bytes())?,
        client_port: Some(port("src_port")?),
        server: Host::address(text("dest_ip")?.as_bytes())?,
        server_port: Some(port("dest_port")?),
    };
    let flags = |name: &str| u64::from_str_radix(object.get("tcp")?.get(name)?.as_str()?, 16).ok();
    let (client, server) = (flags("tcp_flags_ts"), flags("tcp_flags_tc"));
    if client.is_some_and(|flags| flags & SYN == 0) {
        return Some(ParsedLine::Midstream);
    }
    let established = client
        .zip(server)
        .map(|(client, server)| client & ACK != 0 && server & (SYN | ACK) == SYN | ACK);
    let flow = object.get("flow")?;
    let start = flow.get("start").and_then(Value::as_str).or_else(|| text("timestamp"))?;
    let stamp = Cursor(start.as_bytes()).iso().unwrap_or(Stamp::None);
    let mut event = Event::new(stamp, ends, established);
    // Two outputs of Suricata, or two files that were joined, have the same flow.
    if let Some(number) = object.get("flow_id").and_then(Value::as_u64) {
        event.written_for = WrittenFor::Start(Some(number));
    }
    let age = flow.get("age").and_then(Value::as_u64);
    event.more.transport = Some(Box::new(Transport {
        duration: age.map(std::time::Duration::from_secs),
        duration_uncertainty: std::time::Duration::from_secs(1),
        ..Transport::default()
    }));
    Some(event.parsed())
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let name = common_name(inputs.iter());
    let seen = line_log::read::<Eve>(inputs, cx);
    cx.status.record_shortfall(
        ShortfallKind::UnreadInput,
        u64::from(seen.connections == 0),
        format!(
            "{name}: it has no TCP event of type flow that counts; enable 'flow' in the eve-log section of \
             suricata.yaml, because alerts do not show all connections"
        ),
    );
    cx.status.warn(format!(
        "{name}: Suricata writes a flow when it has ended, so connections that were still open are not \
         in the log; attempts that were refused count too"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOW: &str = r#"{"timestamp":"2026-11-22T10:59:42.202182+0000","flow_id":7,"event_type":"flow","src_ip":"198.51.100.7","src_port":40755,"dest_ip":"192.0.2.77","dest_port":443,"proto":"TCP","flow":{"pkts_toserver":5,"start":"2026-11-22T10:58:42.200113+0000","age":1},"tcp":{"tcp_flags":"1b","tcp_flags_ts":"1b","tcp_flags_tc":"1b","syn":true}}"#;

    fn shown(line: &str) -> String {
        match Eve.parse_line(line.as_bytes()) {
            ParsedLine::Connection(e) => {
                format!("{:?} {:?} {:?}", e.stamp, e.ends.server_port.unwrap(), e.established)
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn only_flows_of_tcp_count() {
        assert_eq!(shown(FLOW), "Epoch(1795345122200113000) 443 Some(true)");
        let refused = FLOW.replace("tc\":\"1b", "tc\":\"14").replace("ts\":\"1b", "ts\":\"02");
        assert!(shown(&refused).ends_with("Some(false)"));
        assert_eq!(shown(&FLOW.replace("ts\":\"1b", "ts\":\"18")), "Midstream");
        assert_eq!(shown(&FLOW.replace("TCP", "UDP")), "Other");
        assert_eq!(shown(&FLOW.replace("type\":\"flow", "type\":\"alert")), "Other");
        assert_eq!(shown(&FLOW[..200]), "Broken");
        assert_eq!(shown(&FLOW.replace("198.51.100.7", "x")), "Broken");
        assert_eq!(shown("{\"a\":1}"), "Foreign");
    }
}
