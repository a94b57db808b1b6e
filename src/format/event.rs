//! [`Event`]: a connection in the fields of events.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use crate::model::text::escape_cell;
use crate::{Connection, RecordTime};

/// The fields of a connection. They and their order are the same for all sources. Unknown values are
/// null or empty. Durations are in seconds.
#[derive(Serialize)]
pub(super) struct Event<'a> {
    /// The time by the clock.
    time: Option<RecordTime>,
    /// The time since the record began, for records without a clock.
    elapsed: Option<f64>,
    time_uncertainty: Option<f64>,
    host: Option<Cow<'a, str>>,
    pid: Option<u32>,
    tid: Option<u32>,
    comm: Option<Cow<'a, str>>,
    fd: Option<i32>,
    local_ip: Option<IpAddr>,
    local_port: Option<u16>,
    peer_ip: Option<Peer<'a>>,
    peer_port: Option<u16>,
    bytes_in: Option<u64>,
    bytes_out: Option<u64>,
    duration: Option<f64>,
    duration_uncertainty: Option<f64>,
    rtt: Option<f64>,
}

/// The client: its address, or its name if the record has nothing else.
#[derive(Serialize)]
#[serde(untagged)]
enum Peer<'a> {
    Ip(IpAddr),
    Name(Cow<'a, str>),
}

impl<'a> From<&'a Connection> for Event<'a> {
    fn from(c: &'a Connection) -> Event<'a> {
        let transport = c.transport.as_deref();
        let duration = transport.and_then(|t| Some((t.duration?, t.duration_uncertainty)));
        let (time, elapsed) = match c.time {
            Some(RecordTime::Elapsed(ns)) => (None, Some((ns / 1000) as f64 / 1e6)),
            time => (time, None),
        };
        Event {
            time,
            elapsed,
            time_uncertainty: transport.map(|t| seconds(t.time_uncertainty)),
            host: c.machine.as_deref().map(Cow::Borrowed),
            pid: c.pid,
            tid: c.tid,
            comm: c.comm.as_deref().map(Cow::Borrowed),
            fd: c.fd,
            local_ip: c.local_ip,
            local_port: c.local_port,
            peer_ip: c.ip.map(Peer::Ip).or(c.host.as_deref().map(|name| Peer::Name(name.into()))),
            peer_port: c.port,
            bytes_in: transport.and_then(|t| t.bytes_in),
            bytes_out: transport.and_then(|t| t.bytes_out),
            duration: duration.map(|(duration, _)| seconds(duration)),
            duration_uncertainty: duration.map(|(_, uncertainty)| seconds(uncertainty)),
            rtt: transport.and_then(|t| t.rtt).map(seconds),
        }
    }
}

impl Event<'_> {
    /// The same with its texts escaped for csv.
    pub(super) fn in_cells(self) -> Self {
        let cell = |text: Cow<'_, str>| Cow::Owned(escape_cell(&text).into_owned());
        let peer = |peer| match peer {
            Peer::Name(name) => Peer::Name(cell(name)),
            ip @ Peer::Ip(_) => ip,
        };
        Event {
            host: self.host.map(cell),
            comm: self.comm.map(cell),
            peer_ip: self.peer_ip.map(peer),
            ..self
        }
    }
}

/// Seconds, with microseconds.
fn seconds(d: Duration) -> f64 {
    d.as_micros() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::connection::EVENT_FIELDS;

    #[test]
    fn events_have_the_same_fields_whatever_is_known() {
        let record = |c: &Connection| {
            let mut out = csv::Writer::from_writer(Vec::new());
            out.serialize(Event::from(c)).unwrap();
            String::from_utf8(out.into_inner().unwrap()).unwrap()
        };
        let nothing = record(&Connection::default());
        assert_eq!(
            nothing,
            format!("{}\n{}\n", EVENT_FIELDS.join(","), ",".repeat(EVENT_FIELDS.len() - 1))
        );
        let elapsed =
            Connection { time: Some(RecordTime::Elapsed(1_500_000_999)), ..Connection::default() };
        assert!(record(&elapsed).lines().nth(1).unwrap().starts_with(",1.5,,"));
    }
}
