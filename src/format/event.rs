//! [`Event`]: one connection as `--events` shows it.

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use crate::{Connection, RecordTime};

/// The fields of a connection, flat, in the order of the columns.
#[derive(Serialize)]
pub struct Event<'a> {
    time: Option<RecordTime>,
    pid: Option<u32>,
    tid: Option<u32>,
    comm: Option<&'a str>,
    fd: Option<i32>,
    local_ip: Option<IpAddr>,
    local_port: Option<u16>,
    ip: Option<Peer<'a>>,
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    // Only from a source that knows how connections fared; times in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    time_uncertainty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<Option<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_uncertainty: Option<Option<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_in: Option<Option<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_out: Option<Option<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt: Option<Option<f64>>,
}

/// The client: its address, or its name where the record has nothing else.
#[derive(Serialize)]
#[serde(untagged)]
enum Peer<'a> {
    Ip(IpAddr),
    Name(&'a str),
}

impl<'a> From<&'a Connection> for Event<'a> {
    fn from(c: &'a Connection) -> Event<'a> {
        let transport = c.transport.as_deref();
        Event {
            time: c.time,
            pid: c.pid,
            tid: c.tid,
            comm: c.comm.as_deref(),
            fd: c.fd,
            local_ip: c.local_ip,
            local_port: c.local_port,
            ip: c.ip.map(Peer::Ip).or(c.host.as_deref().map(Peer::Name)),
            port: c.port,
            host: c.machine.as_deref(),
            time_uncertainty: transport.map(|t| seconds(t.time_uncertainty)),
            duration: transport.map(|t| t.duration.map(seconds)),
            duration_uncertainty: transport
                .map(|t| t.duration.map(|_| seconds(t.duration_uncertainty))),
            bytes_in: transport.map(|t| t.bytes_in),
            bytes_out: transport.map(|t| t.bytes_out),
            rtt: transport.map(|t| t.rtt.map(seconds)),
        }
    }
}

/// To the microsecond.
fn seconds(d: Duration) -> f64 {
    d.as_micros() as f64 / 1e6
}
