//! What `tshark -T json` and `-T ek` print: an object for each packet, with all fields or with those of `-e`.
//!
//! The names are those of tshark's fields: `ip.src` in the layer `ip` with json, `ip_ip_src` with ek, which writes
//! a line for the index of Elasticsearch before each packet. With `-e` the fields are arrays in `layers` itself:
//! `ip.src`, or `ip_src` with ek.

use std::borrow::Cow;

use memchr::memmem;
use serde_json::{Map, Value};

use super::packet::{self, ACK, Packet, RST, SYN};
use crate::ShortfallKind;
use crate::parse::deduplicate::WITHOUT_SYN;
use crate::parse::input::{Input, common_name};
use crate::parse::line_log::{self, LineLog, ParsedLine};
use crate::parse::reader::{Context, RecordFormat};

/// tshark's objects.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "tshark-json",
    about: "packets that tshark printed as JSON (-T json or -T ek)",
    connection: "a TCP packet that opens a connection",
    is_text: true,
    is_json: true,
    is_snapshot: false,
    recognise: line_log::recognise::<Json>,
    run: |_| Some(String::new()),
    read,
};

struct Json;

impl LineLog for Json {
    fn of(_: &[&[u8]]) -> Json {
        Json
    }

    fn needs_order(&self) -> bool {
        true
    }

    fn parse_line(&self, line: &[u8]) -> ParsedLine {
        if line.first() != Some(&b'{') {
            return ParsedLine::Foreign;
        }
        if line.starts_with(b"{\"index\":{\"_index\":\"packets-") {
            return ParsedLine::Other;
        }
        let has = |name: &[u8]| memmem::find(line, name).is_some();
        if !has(b"\"layers\":") || !has(b"\"_source\":") && !has(b"\"timestamp\":") {
            return ParsedLine::Foreign;
        }
        let Ok(object) = serde_json::from_slice::<Map<String, Value>>(line) else {
            return ParsedLine::Broken;
        };
        let layers = object.get("_source").unwrap_or(&Value::Null).get("layers");
        match layers.or_else(|| object.get("layers")).and_then(Value::as_object) {
            Some(layers) => of_layers(layers, object.get("timestamp")),
            None => ParsedLine::Foreign,
        }
    }
}

/// Reads the layers of a packet.
fn of_layers(layers: &Map<String, Value>, timestamp: Option<&Value>) -> ParsedLine {
    let mut is_nested = false;
    let mut first = |names: &[&str]| {
        let mut found = names.iter().filter_map(|name| field(layers, name));
        let (text, is_several) = found.next().unwrap_or_default();
        is_nested |= is_several;
        text
    };
    let source = first(&["ip.src", "ipv6.src"]);
    let destination = first(&["ip.dst", "ipv6.dst"]);
    let (source_port, destination_port) = (first(&["tcp.srcport"]), first(&["tcp.dstport"]));
    let flags = first(&["tcp.flags", "tcp.flags.str"]);
    let single = [("tcp.flags.syn", SYN), ("tcp.flags.ack", ACK), ("tcp.flags.reset", RST)];
    let single = single.map(|(name, flag)| Some((packet::flag(first(&[name]).as_bytes())?, flag)));
    let flags = packet::flags(flags.as_bytes()).or_else(|| {
        // One without the other does not tell a client from a server.
        let known = single[0].is_some() && single[1].is_some();
        known
            .then(|| single.iter().flatten().filter(|(set, _)| *set).fold(0, |all, (_, f)| all | f))
    });
    if flags.is_none() && !source_port.is_empty() {
        return ParsedLine::Broken;
    }
    let (sequence, acknowledged) =
        (first(&["tcp.seq_raw", "tcp.seq"]), first(&["tcp.ack_raw", "tcp.ack"]));
    let (stream, id) = (first(&["tcp.stream"]), first(&["ip.id"]));
    let time = first(&["frame.time_epoch", "frame.time", "frame.time_relative"]);
    let timestamp = timestamp.map(text).unwrap_or_default();
    let time = match packet::stamp(time.as_bytes()) {
        crate::parse::timestamp::Stamp::None => packet::milliseconds(timestamp.as_bytes()),
        stamp => stamp,
    };
    Packet {
        time,
        source: source.as_bytes(),
        destination: destination.as_bytes(),
        source_port: source_port.as_bytes(),
        destination_port: destination_port.as_bytes(),
        flags,
        sequence: sequence.as_bytes(),
        acknowledged: acknowledged.as_bytes(),
        stream: stream.as_bytes(),
        id: id.as_bytes(),
        is_nested,
    }
    .parsed()
}

/// The text of a field, and whether it has several values. `name` is that of `-T fields`.
fn field<'a>(layers: &'a Map<String, Value>, name: &str) -> Option<(Cow<'a, str>, bool)> {
    let underscored = name.replace('.', "_");
    if let Some(value) = layers.get(name).or_else(|| layers.get(&underscored))
        && !value.is_object()
    {
        let is_several = value.as_array().is_some_and(|values| values.len() > 1);
        return Some((text(value), is_several));
    }
    let layer_name = name.split('.').next()?;
    let layer = match layers.get(layer_name)? {
        // The same layer twice: the last one is the innermost.
        Value::Array(layers) => layers.last()?,
        layer => layer,
    };
    let mut own = layer.get(name).or_else(|| layer.get(format!("{layer_name}_{underscored}")));
    if own.is_none() && name.starts_with("tcp.flags.") {
        let tree = layer.get("tcp.flags_tree");
        own = tree.and_then(|tree| tree.get(name));
        own = own.or_else(|| layer.get(format!("tcp_flags_{underscored}")));
    }
    own.map(|value| (text(value), false))
}

/// A value as text; of several the last.
fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => text.as_str().into(),
        Value::Bool(true) => "1".into(),
        Value::Bool(false) => "0".into(),
        Value::Number(number) => number.to_string().into(),
        Value::Array(values) => values.last().map(text).unwrap_or_default(),
        Value::Null | Value::Object(_) => "".into(),
    }
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let name = common_name(inputs.iter());
    let seen = line_log::read::<Json>(inputs, cx);
    let is_shown = seen.packets == 0 || seen.attempts > 0 || cx.status.unreadable_lines() > 0;
    cx.require_evidence(is_shown, &name, WITHOUT_SYN);
    cx.status.record_shortfall(
        ShortfallKind::UnreadInput,
        u64::from(seen.packets == 0 && cx.status.unreadable_lines() == 0),
        format!(
            "{name}: no packet in it has the flags of TCP, so it does not show connections; with -e, \
             tshark must be given frame.time_epoch, ip.src, ip.dst, ipv6.src, ipv6.dst, tcp.srcport, tcp.dstport, \
             tcp.flags and tcp.seq_raw"
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        match Json.parse_line(line.as_bytes()) {
            ParsedLine::Packet(stamp, p) => format!(
                "{stamp:?} {:?} {} {:?} {:?}",
                p.kind,
                p.ends.client.ip().unwrap(),
                p.ends.server_port.unwrap(),
                p.isn
            ),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn objects_of_every_form() {
        let layers = r#""frame":{"frame.time_epoch":"1795345122.200113000"},"ip":{"ip.src":"198.51.100.7","ip.dst":"192.0.2.77"},"tcp":{"tcp.srcport":"40755","tcp.dstport":"443","tcp.flags":"0x0002","tcp.seq":"0","tcp.seq_raw":"777"}"#;
        let json = format!(
            r#"{{"_index":"packets-2026-11-22","_type":"doc","_source":{{"layers":{{{layers}}}}}}}"#
        );
        let want = "Epoch(1795345122200113000) Syn 198.51.100.7 443 Some(777)";
        assert_eq!(shown(&json), want);
        let ek = r#"{"timestamp":"1795345122200","layers":{"ip":{"ip_ip_src":"198.51.100.7","ip_ip_dst":"192.0.2.77"},"tcp":{"tcp_tcp_srcport":"40755","tcp_tcp_dstport":"443","tcp_tcp_flags":"0x0002","tcp_flags_tcp_flags_syn":true,"tcp_tcp_seq_raw":"777"}}}"#;
        let ek_want = want.replace("113000)", "000000)");
        assert_eq!(shown(ek), ek_want);
        let chosen = r#"{"timestamp":"1795345122200","layers":{"ip_src":["198.51.100.7"],"ip_dst":["192.0.2.77"],"tcp_srcport":["40755"],"tcp_dstport":["443"],"tcp_flags_syn":["1"],"tcp_flags_ack":["0"],"tcp_seq_raw":["777"]}}"#;
        assert_eq!(shown(chosen), ek_want);
        assert_eq!(
            shown(&chosen.replace(r#""192.0.2.77""#, r#""192.0.2.77","192.0.2.78""#)),
            "Broken"
        );
        assert_eq!(shown(&chosen.replace("flags_ack", "flags_x")), "Broken");
        let answer = json
            .replace("0x0002", "0x0012")
            .replace("\"tcp.seq\"", "\"tcp.ack_raw\":\"778\",\"tcp.seq\"");
        assert_eq!(shown(&answer), "Epoch(1795345122200113000) SynAck 192.0.2.77 40755 Some(777)");
        for (line, want) in [
            (r#"{"index":{"_index":"packets-2026-11-22","_type":"doc"}}"#, "Other"),
            (r#"{"timestamp":"1","layers":{"udp":{"udp_udp_srcport":"53"}}}"#, "Other"),
            (&json.replace("0x0002", "0x0004"), "Other"),
            (&json[..100], "Broken"),
            (r#"{"timestamp":"1","message":"layers"}"#, "Foreign"),
        ] {
            assert_eq!(shown(line), want, "{line}");
        }
    }
}
