//! Output of tcpstates, which has a line for each change of a TCP state. Passive opens count.
//!
//! The process of a line is the one that the CPU ran when the packet came, and mostly not the server.

use super::table::{self, Columns, Row};
use crate::parse::digits::number;
use crate::parse::host::{Ends, Host};
use crate::parse::input::Input;
use crate::parse::reader::{Context, RecordFormat};
use crate::{Connection, ShortfallKind};

/// tcpstates' text.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "tcpstates",
    about: "text of bcc's tcpstates",
    connection: "a passive open (SYN_RECV -> ESTABLISHED)",
    is_text: true,
    is_json: false,
    is_snapshot: false,
    recognise: |head| table::has_header(head, header) || columns_of_rows(head).is_some(),
    run: |_| None,
    read,
};

fn header(line: &[u8]) -> Option<Columns> {
    Columns::of(line, &["LADDR", "LPORT", "RADDR", "RPORT", "OLDSTATE", "NEWSTATE"])
}

/// The columns of the versions, for a text without a header: of bcc (also with `-s`, CSV) and of libbpf-tools (the process is
/// `PID COMM`), with times and with the version of IP.
const HEADERS: &[&str] = &[
    "SKADDR PID COMM IP LADDR LPORT RADDR RPORT OLDSTATE -> NEWSTATE MS",
    "TIME SKADDR PID COMM IP LADDR LPORT RADDR RPORT OLDSTATE -> NEWSTATE MS",
    "TIME TIME(s) SKADDR PID COMM IP LADDR LPORT RADDR RPORT OLDSTATE -> NEWSTATE MS",
    "SKADDR PID COMM LADDR LPORT RADDR RPORT OLDSTATE -> NEWSTATE MS",
    "TIME SKADDR PID COMM LADDR LPORT RADDR RPORT OLDSTATE -> NEWSTATE MS",
    "TIME TIME(s) SKADDR PID COMM LADDR LPORT RADDR RPORT OLDSTATE -> NEWSTATE MS",
    "SKADDR,PID,COMM,IP,LADDR,LPORT,RADDR,RPORT,OLDSTATE,NEWSTATE,MS",
    "TIME,SKADDR,PID,COMM,IP,LADDR,LPORT,RADDR,RPORT,OLDSTATE,NEWSTATE,MS",
    "TIME,TIME(s),SKADDR,PID,COMM,IP,LADDR,LPORT,RADDR,RPORT,OLDSTATE,NEWSTATE,MS",
];

/// The states of TCP, as the tools name them.
const STATES: [&[u8]; 12] = [
    b"ESTABLISHED",
    b"SYN_SENT",
    b"SYN_RECV",
    b"FIN_WAIT1",
    b"FIN_WAIT2",
    b"TIME_WAIT",
    b"CLOSE",
    b"CLOSE_WAIT",
    b"LAST_ACK",
    b"LISTEN",
    b"CLOSING",
    b"NEW_SYN_RECV",
];

fn columns_of_rows(head: &[u8]) -> Option<Columns> {
    let is_row = |columns: &Columns, row: &Row<'_>| {
        let is = |name: &str, valid: &dyn Fn(&[u8]) -> bool| {
            row.get(columns.find(name)).is_some_and(valid)
        };
        change(columns, row).is_some()
            && ["OLDSTATE", "NEWSTATE"]
                .iter()
                .all(|name| is(name, &|state| STATES.contains(&state)))
            && is("SKADDR", &|address| address.iter().all(u8::is_ascii_hexdigit))
    };
    table::columns_of_rows(head, HEADERS, is_row)
}

/// What a line says.
#[derive(Debug)]
enum Change {
    PassiveOpen(Ends),
    /// A passive open begins, which shows that they are recorded.
    Syn,
    Other,
}

/// Reads a line; `None`: it is damaged.
fn change(columns: &Columns, row: &Row<'_>) -> Option<Change> {
    let at = |name| columns.find(name).map(|column| row.at(column));
    let (old, new) = (at("OLDSTATE")?, at("NEWSTATE")?);
    let ends = Ends {
        client: Host::address(at("RADDR")?)?,
        client_port: Some(number(at("RPORT")?)?),
        server: Host::address(at("LADDR")?)?,
        server_port: Some(number(at("LPORT")?)?),
    };
    let is_state = |word: &[u8]| word.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
    match (old, new) {
        (b"SYN_RECV", b"ESTABLISHED") if !ends.is_one_socket() => Some(Change::PassiveOpen(ends)),
        (b"LISTEN", b"SYN_RECV") => Some(Change::Syn),
        _ => (is_state(old) && is_state(new)).then_some(Change::Other),
    }
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let local = cx.options.local.clone();
    for mut input in inputs {
        let (mut rows, mut has_opens) = (0_u64, false);
        table::read(&mut input, cx, header, Some(columns_of_rows), |columns, row, time, sink| {
            rows += 1;
            match change(columns, row) {
                Some(Change::PassiveOpen(ends)) => {
                    has_opens = true;
                    if ends.inbound(&local) {
                        sink.take(Connection { time, ..ends.connection() });
                    }
                    true
                }
                Some(Change::Syn) => {
                    has_opens = true;
                    true
                }
                read => read.is_some(),
            }
        });
        cx.status.record_shortfall(
            ShortfallKind::UnreadInput,
            u64::from(rows > 0 && !has_opens),
            format!(
                "{}: no connection becomes ESTABLISHED from SYN_RECV in it, so nothing shows that passive opens are \
                 recorded; run tcpstates without -D",
                input.name()
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(head: &str, line: &str) -> String {
        let columns = header(head.as_bytes()).unwrap();
        let read = columns.row(line.as_bytes()).and_then(|row| change(&columns, &row));
        match read {
            Some(Change::PassiveOpen(ends)) => format!(
                "{}:{} to {}:{}",
                ends.client.ip().unwrap(),
                ends.client_port.unwrap(),
                ends.server.ip().unwrap(),
                ends.server_port.unwrap()
            ),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn rows_without_a_header_are_known_by_their_values() {
        let of = |text: &str| columns_of_rows(text.as_bytes());
        let row = "ffff9f74a152d7c0 0     swapper/9  192.0.2.77 8888  198.51.100.7 12345 SYN_RECV    -> ESTABLISHED 0.016\n";
        let wide = row.replace("192.0.2.77", "4 192.0.2.77");
        assert_eq!(of(row), header(HEADERS[3].as_bytes()));
        assert_eq!(of(&wide), header(HEADERS[0].as_bytes()));
        assert_eq!(of(&format!("10:58:42 {row}")), header(HEADERS[4].as_bytes()));
        assert_eq!(of(&format!("0.000000 {wide}")), header(HEADERS[1].as_bytes()));
        assert_eq!(of(&format!("10:58:42 0.000000 {wide}")), header(HEADERS[2].as_bytes()));
        let csv = "0.1,ffff9f74a152d7c0,0,swapper/9,4,192.0.2.77,8888,198.51.100.7,12345,SYN_RECV,ESTABLISHED,0.016\n";
        assert_eq!(of(csv), header(HEADERS[7].as_bytes()));
        for other in
            [row.replace("SYN_RECV ", "x "), row.replace("ffff9", "10:58:42"), String::new()]
        {
            assert_eq!(of(&other), None, "{other}");
        }
    }

    #[test]
    fn passive_opens_count_and_other_changes_do_not() {
        let text = "SKADDR           C-PID C-COMM     LADDR           LPORT RADDR           RPORT OLDSTATE    -> NEWSTATE    MS";
        let line = "ffff9f74a152d7c0 0     swapper/9  192.0.2.77      8888  198.51.100.7    12345 SYN_RECV    -> ESTABLISHED 0.016";
        let want = "198.51.100.7:12345 to 192.0.2.77:8888";
        assert_eq!(shown(text, line), want);
        assert_eq!(shown(text, &line.replace("swapper/9", "my app")), want);
        for (from, to, want) in [
            ("SYN_RECV ", "SYN_SENT ", "Some(Other)"),
            ("ESTABLISHED", "FIN_WAIT1", "Some(Other)"),
            ("SYN_RECV    -> ESTABLISHED", "LISTEN      -> SYN_RECV", "Some(Syn)"),
            (" -> ESTABLISHED 0.016", "", "None"),
            ("198.51.100.7 ", "198.51.100 ", "None"),
            // A socket that connects to itself.
            ("198.51.100.7    12345", "192.0.2.77 8888", "Some(Other)"),
        ] {
            assert_eq!(shown(text, &line.replace(from, to)), want, "{to}");
        }
        let csv =
            "TIME,TIME(s),SKADDR,C-PID,C-COMM,IP,LADDR,LPORT,RADDR,RPORT,OLDSTATE,NEWSTATE,MS";
        assert_eq!(
            shown(
                csv,
                "10:58:42,0.016,ffff9f74a152d7c0,0,swapper/9,6,2001:db8:77::1,443,2001:db8::7,40755,SYN_RECV,ESTABLISHED,0.016"
            ),
            "2001:db8::7:40755 to 2001:db8:77::1:443"
        );
        let libbpf = "TIME(s)  SKADDR           PID     COMM             IP LADDR LPORT RADDR RPORT OLDSTATE    -> NEWSTATE    MS";
        assert_eq!(
            shown(
                libbpf,
                "10:58:42 ffff9f74a152d7c0 0 swapper/9 4 192.0.2.77 443 198.51.100.7 40755 SYN_RECV -> ESTABLISHED 0.016"
            ),
            "198.51.100.7:40755 to 192.0.2.77:443"
        );
    }
}
