//! Output of tcpaccept. Each line is one accept.

use super::table::{self, Columns, Row};
use crate::Connection;
use crate::parse::digits::number;
use crate::parse::host::{Ends, Host};
use crate::parse::input::Input;
use crate::parse::reader::{Context, RecordFormat};

/// tcpaccept's text.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "tcpaccept",
    about: "text of bcc's or bpftrace's tcpaccept",
    connection: "an accepted connection",
    is_text: true,
    is_json: false,
    is_snapshot: false,
    recognise: |head| table::has_header(head, header) || has_backlog(head),
    run: |_| None,
    read,
};

/// The client comes before the server, unlike in tcplife.
fn header(line: &[u8]) -> Option<Columns> {
    let columns = Columns::of(line, &["RADDR", "LADDR", "LPORT"])?;
    (columns.find("RADDR") < columns.find("LADDR") && columns.find("MS").is_none())
        .then_some(columns)
}

/// The columns of the versions, for a text without a header. With `-t` and `-T` the time comes first.
const HEADERS: &[&str] = &[
    "PID COMM IP RADDR RPORT LADDR LPORT",
    "TIME PID COMM IP RADDR RPORT LADDR LPORT",
    "PID COMM IP RADDR LADDR LPORT",
    "TIME PID COMM IP RADDR LADDR LPORT",
    BPFTRACE,
];

/// The columns of bpftrace's. No other tool ends its lines with the backlog, `0/128`.
const BPFTRACE: &str = "TIME PID COMM RADDR RPORT LADDR LPORT BL";

fn is_row(columns: &Columns, row: &Row<'_>) -> bool {
    let is_backlog = |word: &[u8]| {
        let slash = memchr::memchr(b'/', word);
        slash.is_some_and(|at| {
            [&word[..at], &word[at + 1..]].iter().all(|part| number::<u32>(part).is_some())
        })
    };
    accept(columns, row).is_some() && row.get(columns.find("BL")).is_none_or(is_backlog)
}

/// Whether a text without a header is certainly of this tool.
fn has_backlog(head: &[u8]) -> bool {
    table::columns_of_rows(head, &[BPFTRACE], is_row).is_some()
}

/// Whether a text is of tcpaccept or, with the ends the other way round, of tcpconnect: only their headers differ.
pub(in crate::parse) fn may_be_rows(head: &[u8]) -> bool {
    columns_of_rows(head).is_some()
}

fn columns_of_rows(head: &[u8]) -> Option<Columns> {
    table::columns_of_rows(head, HEADERS, is_row)
}

fn accept(columns: &Columns, row: &Row<'_>) -> Option<(Ends, Option<u32>)> {
    let client_port = match row.get(columns.find("RPORT")) {
        Some(port) => Some(number(port)?),
        None => None,
    };
    let ends = Ends {
        client: Host::address(row.at(columns.find("RADDR")?))?,
        client_port,
        server: Host::address(row.at(columns.find("LADDR")?))?,
        server_port: Some(number(row.at(columns.find("LPORT")?))?),
    };
    Some((ends, row.get(columns.find("PID")).and_then(number)))
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let local = cx.options.local.clone();
    for mut input in inputs {
        table::read(&mut input, cx, header, Some(columns_of_rows), |columns, row, time, sink| {
            let Some((ends, pid)) = accept(columns, row) else { return false };
            if ends.inbound(&local) {
                let comm = Some(row.comm());
                sink.take(Connection { time, pid, comm, ..ends.connection() });
            }
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(head: &str, line: &str) -> String {
        let columns = header(head.as_bytes()).unwrap();
        let row = columns.row(line.as_bytes());
        row.and_then(|row| Some((accept(&columns, &row)?.0, row.comm()))).map_or(
            "-".into(),
            |(ends, comm)| {
                format!(
                    "{} {:?} {} {:?} {comm}",
                    ends.client.ip().unwrap(),
                    ends.client_port,
                    ends.server.ip().unwrap(),
                    ends.server_port.unwrap(),
                )
            },
        )
    }

    #[test]
    fn names_with_blanks_and_long_addresses() {
        let bcc = "TIME     PID     COMM         IP RADDR            RPORT LADDR            LPORT";
        assert_eq!(
            shown(bcc, "10:59:22 7  a b/4 c  6  2001:db8:c::1a   46555 2001:db8:77::1   80   "),
            "2001:db8:c::1a Some(46555) 2001:db8:77::1 80 a b/4 c"
        );
        let old = "PID    COMM         IP RADDR            LADDR            LPORT";
        assert_eq!(
            shown(old, "7 x 4 198.51.100.60 192.0.2.77 9000"),
            "198.51.100.60 None 192.0.2.77 9000 x"
        );
        let bpftrace = "TIME PID COMM RADDR RPORT LADDR LPORT BL";
        assert_eq!(
            shown(bpftrace, "11:15:36 7 x ::ffff:198.51.100.1 5 ::ffff:192.0.2.77 80 0/128"),
            "198.51.100.1 Some(5) 192.0.2.77 80 x"
        );
        assert_eq!(shown(bpftrace, "11:15:36 7 x 198.51.100.1 5 192.0.2.77"), "-");
        assert_eq!(header(b"PID COMM LADDR LPORT RADDR RPORT TX_KB RX_KB MS"), None);
    }

    #[test]
    fn rows_without_a_header_are_known_by_their_values() {
        let of = |text: &str| columns_of_rows(text.as_bytes());
        let bcc = "4412    python3      4  198.51.100.10    40755 192.0.2.77       4711 \n";
        assert_eq!(of(bcc), header(HEADERS[0].as_bytes()));
        // tail -c
        assert_eq!(
            of(&format!("0.10    40755 192.0.2.77       4711\n{bcc}")),
            header(HEADERS[0].as_bytes())
        );
        assert_eq!(of(&format!("10:59:22 {bcc}")), header(HEADERS[1].as_bytes()));
        assert_eq!(of("7 a b 4 198.51.100.60 192.0.2.77 9000\n"), header(HEADERS[2].as_bytes()));
        let bpftrace = "11:15:36 7 x 198.51.100.1 5 192.0.2.77 80 0/128\n";
        assert_eq!(of(bpftrace), header(BPFTRACE.as_bytes()));
        assert!((FORMAT.recognise)(bpftrace.as_bytes()) && !(FORMAT.recognise)(bcc.as_bytes()));
        for other in [
            "7 a 5 198.51.100.10 40755 192.0.2.77 4711\n",
            "x\ny\n",
            "",
            "7 a 4 198.51.100.10 4 4 4\n",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
