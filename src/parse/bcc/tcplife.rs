//! Output of tcplife, which has a line for each session when it closes, whoever opened it.
//!
//! The local end comes first, and nothing shows the direction. It is inferred from the ports, see
//! `PortUses::direction`.

use std::time::Duration;

use jiff::SignedDuration;

use super::table::{self, Columns, Row};
use crate::model::connection::Transport;
use crate::model::plural;
use crate::parse::digits::number;
use crate::parse::host::{Ends, Host};
use crate::parse::input::Input;
use crate::parse::port_uses::{Direction, PortUses};
use crate::parse::reader::{Context, RecordFormat, Setting};
use crate::{Connection, RecordTime, ShortfallKind};

/// tcplife's text.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "tcplife",
    about: "text of bcc's or bpftrace's tcplife",
    connection: "a session that a client opened",
    is_text: true,
    is_json: false,
    is_snapshot: false,
    recognise: |head| table::has_header(head, header) || columns_of_rows(head).is_some(),
    run: |_| None,
    read,
};

fn header(line: &[u8]) -> Option<Columns> {
    Columns::of(line, &["LADDR", "LPORT", "RADDR", "RPORT", "MS"])
}

/// The columns of the versions, for a text without a header: with `-w` and `-s` with the version of IP, with `-t` and `-T`
/// with a time.
const HEADERS: &[&str] = &[
    "PID COMM IP LADDR LPORT RADDR RPORT TX_KB RX_KB MS",
    "TIME PID COMM IP LADDR LPORT RADDR RPORT TX_KB RX_KB MS",
    "PID COMM LADDR LPORT RADDR RPORT TX_KB RX_KB MS",
    "TIME PID COMM LADDR LPORT RADDR RPORT TX_KB RX_KB MS",
    "PID,COMM,IP,LADDR,LPORT,RADDR,RPORT,TX_KB,RX_KB,MS",
    "TIME,PID,COMM,IP,LADDR,LPORT,RADDR,RPORT,TX_KB,RX_KB,MS",
];

fn columns_of_rows(head: &[u8]) -> Option<Columns> {
    let is_row = |columns: &Columns, row: &Row<'_>| {
        let is_size = |name| row.get(columns.find(name)).and_then(number::<u64>).is_some();
        session(columns, row).is_some() && is_size("TX_KB") && is_size("RX_KB")
    };
    table::columns_of_rows(head, HEADERS, is_row)
}

/// Maximum number of sessions whose direction is decided only at the end of the record.
const MAX_UNDECIDED: usize = 1 << 20;

/// The connection, as if it were inbound, and both ports.
fn session(columns: &Columns, row: &Row<'_>) -> Option<(Ends, Duration, u16, u16)> {
    let port = |name| number::<u16>(row.at(columns.find(name)?));
    let (local, remote) = (port("LPORT")?, port("RPORT")?);
    let ms: f64 = std::str::from_utf8(row.at(columns.find("MS")?)).ok()?.parse().ok()?;
    let ends = Ends {
        client: Host::address(row.at(columns.find("RADDR")?))?,
        client_port: Some(remote),
        server: Host::address(row.at(columns.find("LADDR")?))?,
        server_port: Some(local),
    };
    Some((ends, Duration::try_from_secs_f64(ms / 1000.0).ok()?, local, remote))
}

/// When a session began. One that began before the record counts from its beginning.
fn opened_at(closed: RecordTime, duration: SignedDuration) -> RecordTime {
    match closed.shifted(-duration) {
        RecordTime::Elapsed(ns) => RecordTime::Elapsed(ns.max(0)),
        clock @ RecordTime::Clock(_) => clock,
    }
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let name = crate::parse::input::common_name(inputs.iter());
    let local = cx.options.local.clone();
    let mut uses = PortUses::new(cx.options.port);
    let mut undecided: Vec<(Connection, u16, u16)> = Vec::new();
    let mut unknown = 0;
    for mut input in inputs {
        table::read(&mut input, cx, header, Some(columns_of_rows), |columns, row, closed, sink| {
            let Some((ends, duration, local_port, remote_port)) = session(columns, row) else {
                return false;
            };
            uses.add(local_port, remote_port);
            let direction = uses.by_number(local_port, remote_port);
            if direction == Direction::Outbound || !ends.inbound(&local) {
                return true;
            }
            let opened = SignedDuration::try_from(duration).ok();
            let connection = Connection {
                time: closed.zip(opened).map(|(closed, duration)| opened_at(closed, duration)),
                pid: row.get(columns.find("PID")).and_then(number),
                comm: Some(row.comm()),
                transport: Some(Box::new(Transport {
                    duration: Some(duration),
                    ..Transport::default()
                })),
                ..ends.connection()
            };
            match direction {
                Direction::Inbound => sink.take(connection),
                _ if undecided.len() < MAX_UNDECIDED => {
                    undecided.push((connection, local_port, remote_port));
                }
                _ => unknown += 1,
            }
            true
        });
    }
    for (connection, local_port, remote_port) in undecided {
        match uses.direction(local_port, remote_port) {
            Direction::Inbound => cx.sink.take(connection),
            Direction::Outbound => {}
            Direction::Unknown => unknown += 1,
        }
    }
    cx.status.record_shortfall(
        ShortfallKind::UnreadableLines,
        unknown,
        format!(
            "{name}: {} left out because it is not known which end is the server; {} selects the server's port",
            plural(unknown, "session is", "sessions are"),
            cx.options.name(Setting::Port)
        ),
    );
    cx.status.warn(format!(
        "{name}: tcplife does not show who opened a session, so it is inferred from the ports; \
         sessions that were still open are not in it"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_without_a_header_are_known_by_their_values() {
        let of = |text: &str| columns_of_rows(text.as_bytes());
        let row = "22597 recordProg 192.0.2.77 46644 198.51.100.7 28527     0     0 0.23\n";
        assert_eq!(of(row), header(HEADERS[2].as_bytes()));
        assert_eq!(of(&format!("8527     0     0 0.23\n{row}")), header(HEADERS[2].as_bytes()));
        assert_eq!(of(&format!("07:43:19  {row}")), header(HEADERS[3].as_bytes()));
        assert_eq!(of(&format!("0.000000  {row}")), header(HEADERS[3].as_bytes()));
        let wide = "22597 record Prog 4 192.0.2.77 46644 198.51.100.7 28527     0     0 0.23\n";
        assert_eq!(of(wide), header(HEADERS[0].as_bytes()));
        let csv = "22597,recordProg,4,192.0.2.77,46644,198.51.100.7,28527,0,0,0.23\n";
        assert_eq!(of(csv), header(HEADERS[4].as_bytes()));
        for other in [
            "x 22597 a 192.0.2.77 46644 198.51.100.7 28527 0 0.23\n",
            "7 a 192.0.2.77 1 198.51.100.7 2 b 0 0.23\n",
            "",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
