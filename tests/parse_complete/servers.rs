//! Logs of servers.

use crate::records::*;
use crate::row::*;

pub fn rows() -> Vec<Row> {
    vec![
        row(
            "server.broken",
            format!("{SERVER}{}", SERVER.replace("198.51.100.7:40755", "198.51.100.7")),
            1,
            &["server.broken: 1 line could not be read"],
        ),
        row(
            "server.wrapped",
            format!(
                "{SERVER}2026-11-22 10:58:42.2 UTC [9] LOG:  connection received:\nhost=198.51.100.7 port=40755\n"
            ),
            1,
            &["server.wrapped: 1 line could not be read"],
        ),
        row(
            "server.cut",
            format!("{SERVER}{}", cut(SERVER, 2)),
            1,
            &["server.cut: 1 line could not be read"],
        ),
        row(
            "server.stream",
            "2026/11/22 10:59:12 [info] 9#9: *1 client [2001:db8::7]:40755 connected to [::]:",
            0,
            &["server.stream: 1 line could not be read"],
        ),
        row(
            "haproxy.port",
            format!(
                "{HAPROXY}Nov 22 10:58:42 lb haproxy[7]: Connect from 198.51.100.7:40756 to 192.0.2.77:4"
            ),
            1,
            &["haproxy.port: 1 line could not be read"],
        ),
        row(
            "haproxy.events",
            "Nov 22 10:58:42 lb haproxy[7]: client_ip=198.51.100.7 client_port=40755\n",
            0,
            &["haproxy.events: it has no line of a connection", "option tcplog"],
        ),
        row(
            "haproxy.http",
            format!("{HAPROXY}{}", HAPROXY.replace("--", "\"GET / HTTP/1.1\"")),
            1,
            &["haproxy.http: 1 line could not be read"],
        ),
        row(
            "haproxy.custom",
            format!("{HAPROXY}{}", HAPROXY.replace("198.51", "Failed 198.51")),
            1,
            &["haproxy.custom: 1 line could not be read"],
        ),
        // In mode http, two requests of one connection.
        row(
            "haproxy.requests",
            format!("{HAPROXY}{}", HAPROXY.replace(".200]", ".201]")),
            1,
            &["haproxy.requests: HAProxy writes a line for each request in mode http; 1 line is"],
        ),
    ]
}
