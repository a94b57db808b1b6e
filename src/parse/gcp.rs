//! Flow logs of Google Cloud's VPC, and its firewall logs, as Cloud Logging exports them: an object for each
//! flow, or in an array.
//!
//! The fields are those of Google's manual ("About VPC Flow Logs records", "VPC firewall rules log format").
//! A flow is the sampled packets of one direction in some seconds, without TCP flags. So all flows between
//! the same ports are one connection, unless they are further apart than [`IDLE`]. Which end is the server
//! follows from the ports. A firewall log has one entry for each connection, with its direction.

use std::collections::HashMap;
use std::io;

use serde_json::{Map, Value};

use super::cursor::Cursor;
use super::gaps::{self, Gaps};
use super::host::{Ends, Host};
use super::input::{Input, common_name};
use super::lines;
use super::port_uses::{Direction, PortUses};
use super::reader::{Context, RecordFormat, Setting};
use super::timestamp::{SECOND, Stamp};
use crate::model::plural;
use crate::{Connection, RecordTime, ShortfallKind};

/// Google's logs.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "gcp-flow",
    about: "flow log or firewall log of Google Cloud's VPC",
    connection: "a TCP flow that a client opened",
    is_text: true,
    is_json: true,
    is_snapshot: false,
    recognise,
    run: |_| Some(String::new()),
    read,
};

/// Google Cloud forgets a connection without packets after ten minutes, in nanoseconds.
const IDLE: i64 = 600 * SECOND;

/// Maximum number of pairs of ends that are remembered.
const MAX_PAIRS: usize = 1 << 20;

/// The meaning of a line.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// A flow between the reporting end and another, and the times of its first and last packet.
    Flow(Pair, Option<(i64, i64)>),
    /// A connection that the firewall allowed to come in.
    Allowed(Ends, Option<i64>),
    /// One that it blocked.
    Denied,
    /// Another entry of these logs.
    Other,
    /// One of TCP that cannot be read.
    Broken,
    /// No such entry.
    Foreign,
}

/// The ends of a flow: the one that reports it first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Pair {
    here: Host,
    here_port: u16,
    there: Host,
    there_port: u16,
}

/// What a line is that is no whole entry of a connection; `None`: it is one.
fn no_entry(text: &[u8]) -> Option<Line> {
    let has = |name: &[u8]| memchr::memmem::find(text, name).is_some();
    match (text.first() == Some(&b'{'), has(b"\"connection\":"), has(b"\"src_ip\":")) {
        (true, true, true) => None,
        // A part of an entry, or one behind other text.
        (false, _, true) => Some(Line::Broken),
        _ => Some(Line::Foreign),
    }
}

fn line(text: &[u8]) -> Line {
    if let Some(line) = no_entry(text) {
        return line;
    }
    let Ok(object) = serde_json::from_slice::<Map<String, Value>>(text) else {
        return Line::Broken;
    };
    // Tables of BigQuery and some collectors leave out the outer object.
    let payload = object.get("jsonPayload").and_then(Value::as_object).unwrap_or(&object);
    let Some(connection) = payload.get("connection").and_then(Value::as_object) else {
        return Line::Foreign;
    };
    let number = |name: &str| match connection.get(name)? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    match number("protocol") {
        Some(6) => {}
        Some(_) => return Line::Other,
        None => return Line::Broken,
    }
    let end = |ip: &str, port: &str| {
        let host = Host::address(connection.get(ip)?.as_str()?.as_bytes())?;
        Some((host, u16::try_from(number(port)?).ok()?))
    };
    let (Some(from), Some(to)) = (end("src_ip", "src_port"), end("dest_ip", "dest_port")) else {
        return Line::Broken;
    };
    let time = |name: &str| {
        let text = payload.get(name).or_else(|| object.get(name))?.as_str()?;
        match Cursor(text.as_bytes()).iso()? {
            Stamp::Epoch(ns) => Some(ns),
            _ => None,
        }
    };
    if let Some(disposition) = payload.get("disposition").and_then(Value::as_str) {
        let rule = payload.get("rule_details").and_then(|rule| rule.get("direction"));
        let direction = rule.and_then(Value::as_str);
        return firewall(disposition, direction, (from, to), time("timestamp"));
    }
    let (here, there) = match payload.get("reporter").and_then(Value::as_str) {
        Some("DEST" | "DEST_GATEWAY") => (to, from),
        Some("SRC" | "SRC_GATEWAY") => (from, to),
        _ => return Line::Broken,
    };
    let pair = Pair { here: here.0, here_port: here.1, there: there.0, there_port: there.1 };
    let start = time("start_time").or_else(|| time("timestamp"));
    Line::Flow(pair, start.map(|start| (start, time("end_time").unwrap_or(start).max(start))))
}

/// Reads a line of the firewall's log.
fn firewall(
    disposition: &str,
    direction: Option<&str>,
    (client, server): ((Host, u16), (Host, u16)),
    time: Option<i64>,
) -> Line {
    let ends = Ends {
        client: client.0,
        client_port: Some(client.1),
        server: server.0,
        server_port: Some(server.1),
    };
    match (disposition, direction) {
        (_, Some("EGRESS")) => Line::Other,
        ("DENIED", _) => Line::Denied,
        (_, Some("INGRESS")) => Line::Allowed(ends, time),
        _ => Line::Broken,
    }
}

fn recognise(head: &[u8]) -> bool {
    let mut found = false;
    lines::each(head, |text, _| {
        found = found || !matches!(line(text), Line::Foreign | Line::Broken);
    });
    found
}

/// The flows and counts of all inputs.
#[derive(Default)]
struct Flows {
    /// The times of the flows of each pair, in order and apart from each other.
    pairs: HashMap<Pair, Vec<(i64, i64)>>,
    allowed: Vec<Connection>,
    has_flows: bool,
    denied: u64,
    too_many: u64,
}

impl Flows {
    fn add(&mut self, pair: Pair, times: Option<(i64, i64)>) {
        self.has_flows = true;
        if self.pairs.len() >= MAX_PAIRS && !self.pairs.contains_key(&pair) {
            self.too_many += 1;
            return;
        }
        let known = self.pairs.entry(pair).or_default();
        let Some((mut start, mut end)) = times else { return };
        // Logs are not in order: gcloud prints the newest first.
        known.retain(|(s, e)| {
            let is_near = s.saturating_sub(end) <= IDLE && start.saturating_sub(*e) <= IDLE;
            if is_near {
                (start, end) = (start.min(*s), end.max(*e));
            }
            !is_near
        });
        let at = known.partition_point(|(s, _)| *s < start);
        known.insert(at, (start, end));
    }
}

/// Reads the entries of an input; returns how many could not be read.
fn entries(
    input: &mut Input,
    local: &[Host],
    flows: &mut Flows,
    gaps: &mut Gaps,
) -> (u64, io::Result<()>) {
    let mut broken = 0;
    let end = gaps::blocks(input, gaps, |block, _| {
        lines::each(block, |text, _| match line(text) {
            Line::Flow(pair, times) => flows.add(pair, times),
            Line::Allowed(ends, time) if ends.inbound(local) => {
                let time = time.map(RecordTime::Clock);
                flows.allowed.push(Connection { time, ..ends.connection() });
            }
            Line::Denied => flows.denied += 1,
            Line::Broken => broken += 1,
            Line::Allowed(..) | Line::Other | Line::Foreign => {}
        });
    });
    (broken, end)
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let name = common_name(inputs.iter());
    let local = cx.options.local.clone();
    let mut flows = Flows::default();
    for mut input in inputs {
        let mut gaps = Gaps::default();
        let (broken, end) = entries(&mut input, &local, &mut flows, &mut gaps);
        flows.allowed.drain(..).for_each(|connection| cx.sink.take(connection));
        cx.status.record_unreadable_lines(input.name(), broken);
        gaps.report(input.name(), cx.status);
        if let Err(e) = end {
            cx.record_read_error(&input, e);
        }
    }
    let (has_flows, denied, too_many) = (flows.has_flows, flows.denied, flows.too_many);
    let unknown = give(flows, cx);
    cx.status.record_shortfall(
        ShortfallKind::UnreadableLines,
        unknown,
        format!(
            "{name}: {} left out because it is not known which end is the server; {} decides it",
            plural(unknown, "connection is", "connections are"),
            cx.options.name(Setting::Port)
        ),
    );
    cx.status.record_shortfall(
        ShortfallKind::UnreadInput,
        too_many,
        format!(
            "{name}: {} of more ends than are remembered; give the days apart",
            plural(too_many, "flow is", "flows are")
        ),
    );
    if denied > 0 {
        let what = "connection that the firewall blocked is";
        let many = "connections that the firewall blocked are";
        cx.status.warn(format!("{name}: {} left out", plural(denied, what, many)));
    }
    if has_flows {
        cx.status.warn(format!(
            "{name}: Google samples packets, so short connections may be missing; a flow does not show whether a \
             connection began in it, so those count too that began before the log, and those from the same port \
             within ten minutes count as one. A log of firewall rules has each connection"
        ));
    } else {
        cx.status.warn(format!("{name}: what the server refused counts too"));
    }
}

/// Gives the connections that came in. Returns of how many the direction is not known.
fn give(flows: Flows, cx: &mut Context<'_>) -> u64 {
    let mut uses = PortUses::new(cx.options.port);
    for pair in flows.pairs.keys() {
        uses.add(pair.here_port, pair.there_port);
    }
    let mut found: Vec<(Option<i64>, Ends)> = Vec::new();
    let mut unknown = 0;
    for (pair, times) in flows.pairs {
        let Pair { here, here_port, there, there_port } = pair;
        let ends = Ends {
            client: there,
            client_port: Some(there_port),
            server: here,
            server_port: Some(here_port),
        };
        if !ends.inbound(&cx.options.local) {
            continue;
        }
        let count = times.len().max(1) as u64;
        match uses.direction(here_port, there_port) {
            Direction::Outbound => {}
            Direction::Unknown => unknown += count,
            Direction::Inbound if times.is_empty() => found.push((None, ends)),
            Direction::Inbound => {
                found.extend(times.iter().map(|(start, _)| (Some(*start), ends.clone())));
            }
        }
    }
    found.sort_by_key(|(time, ends)| (*time, ends.client.ip(), ends.client_port, ends.server_port));
    for (time, ends) in found {
        cx.sink.take(Connection { time: time.map(RecordTime::Clock), ..ends.connection() });
    }
    unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOW: &str = r#"{"insertId":"a1","jsonPayload":{"bytes_sent":"900","connection":{"dest_ip":"192.0.2.77","dest_port":443,"protocol":6,"src_ip":"198.51.100.7","src_port":40755},"end_time":"2026-11-22T10:58:44.2Z","packets_sent":"9","reporter":"DEST","start_time":"2026-11-22T10:58:42.200113Z"},"logName":"projects/p/logs/compute.googleapis.com%2Fvpc_flows","timestamp":"2026-11-22T10:58:50Z"}"#;

    fn shown(text: &str) -> String {
        match line(text.as_bytes()) {
            Line::Flow(pair, times) => {
                let Pair { here, here_port, there, there_port } = pair;
                let (here, there) = (here.ip().unwrap(), there.ip().unwrap());
                format!("{here} {here_port} {there} {there_port} {}", times.unwrap().0)
            }
            Line::Allowed(ends, time) => {
                format!("{} {:?} {}", ends.client.ip().unwrap(), ends.server_port, time.unwrap())
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn entries_of_both_logs() {
        assert_eq!(shown(FLOW), "192.0.2.77 443 198.51.100.7 40755 1795345122200113000");
        assert_eq!(
            shown(&FLOW.replace("\"DEST\"", "\"SRC\"")),
            "198.51.100.7 40755 192.0.2.77 443 1795345122200113000"
        );
        for (from, to, want) in [
            (":6,", ":17,", "Other"),
            ("198.51.100.7", "x", "Broken"),
            ("reporter", "x", "Broken"),
            ("\"connection\"", "\"x\"", "Foreign"),
        ] {
            assert_eq!(shown(&FLOW.replace(from, to)), want, "{to}");
        }
        let rule = |disposition: &str, direction: &str| {
            FLOW.replace(
                "\"reporter\":\"DEST\"",
                &format!(
                    r#""disposition":"{disposition}","rule_details":{{"direction":"{direction}"}}"#
                ),
            )
        };
        assert_eq!(
            shown(&rule("ALLOWED", "INGRESS")),
            "198.51.100.7 Some(443) 1795345130000000000"
        );
        assert_eq!(shown(&rule("DENIED", "INGRESS")), "Denied");
        assert_eq!(shown(&rule("ALLOWED", "EGRESS")), "Other");
    }

    #[test]
    fn flows_of_the_same_ends_are_one_connection_unless_they_are_far_apart() {
        let Line::Flow(pair, _) = line(FLOW.as_bytes()) else { panic!() };
        let count = |times: &[i64]| {
            let mut flows = Flows::default();
            for at in times {
                flows.add(pair.clone(), Some((*at * SECOND, (*at + 5) * SECOND)));
            }
            flows.pairs[&pair].len()
        };
        assert_eq!(count(&[0, 60, 500]), 1);
        assert_eq!(count(&[500, 60, 0]), 1);
        assert_eq!(count(&[0, 606]), 2);
        assert_eq!(count(&[1200, 0, 600]), 1);
    }
}
