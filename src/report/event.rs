//! [`Event`]: one connection as `--events` shows it.

use std::net::IpAddr;

use serde::Serialize;

use crate::{Connection, Moment};

/// The fields of a connection, flat, in the order of the columns.
#[derive(Serialize)]
pub struct Event<'a> {
    time: Option<Moment>,
    pid: Option<u32>,
    tid: Option<u32>,
    comm: Option<&'a str>,
    fd: Option<i32>,
    local_ip: Option<IpAddr>,
    local_port: Option<u16>,
    ip: Option<IpAddr>,
    port: Option<u16>,
}

impl<'a> From<&'a Connection> for Event<'a> {
    fn from(c: &'a Connection) -> Event<'a> {
        Event {
            time: c.time,
            pid: c.pid,
            tid: c.tid,
            comm: c.comm.as_deref(),
            fd: c.fd,
            local_ip: c.local_ip,
            local_port: c.local_port,
            ip: c.ip,
            port: c.port,
        }
    }
}
