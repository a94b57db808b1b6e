//! Output of tcpaccept, of bcc and of bpftrace. Each line is one accept.

use std::sync::Arc;

use super::context::Context;
use super::digits::number;
use super::host::{Ends, Host};
use super::input::Input;
use super::lines;
use super::recognise::RecordFormat;
use super::timestamp::{Calendar, Scan, Stamp};
use crate::ShortfallKind;

/// tcpaccept's text.
pub const KIND: RecordFormat = RecordFormat {
    name: "tcpaccept",
    about: "text of bcc's or bpftrace's tcpaccept",
    connection: "an accepted connection",
    recognise,
    run: |_| None,
    read,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Time,
    Pid,
    Comm,
    Raddr,
    Rport,
    Laddr,
    Lport,
    Other,
}

/// The columns of the header line, if this is one.
fn columns(line: &[u8]) -> Option<Vec<Column>> {
    let columns: Vec<Column> = words(line)
        .map(|word| match word {
            b"TIME" | b"TIME(s)" => Column::Time,
            b"PID" => Column::Pid,
            b"COMM" => Column::Comm,
            b"RADDR" => Column::Raddr,
            b"RPORT" => Column::Rport,
            b"LADDR" => Column::Laddr,
            b"LPORT" => Column::Lport,
            _ => Column::Other,
        })
        .collect();
    let needed = [Column::Comm, Column::Raddr, Column::Laddr, Column::Lport];
    needed.iter().all(|c| columns.contains(c)).then_some(columns)
}

fn words(line: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty())
}

fn recognise(head: &[u8]) -> bool {
    let mut found = false;
    lines::each(head, |line, _| found = found || columns(line).is_some());
    found
}

fn stamp(line: &[u8]) -> Stamp {
    let first = words(line).next().unwrap_or_default();
    let mut scan = Scan(first);
    if let Some(ns) = scan.clock() {
        return Stamp::Clock(ns);
    }
    match scan.seconds() {
        Some(ns) if first.contains(&b'.') => Stamp::Elapsed(ns),
        _ => Stamp::None,
    }
}

struct Accept {
    ends: Ends,
    pid: Option<u32>,
    comm: Option<Arc<str>>,
}

/// Reads a line from both ends, since the name in the middle may hold blanks.
fn accept(line: &[u8], columns: &[Column]) -> Option<Accept> {
    let words: Vec<&[u8]> = words(line).collect();
    let comm = columns.iter().position(|c| *c == Column::Comm)?;
    let behind = columns.len() - comm - 1;
    if words.len() < columns.len() {
        return None;
    }
    let word = |column: Column| {
        let at = columns.iter().position(|c| *c == column)?;
        Some(words[if at < comm { at } else { words.len() - (columns.len() - at) }])
    };
    let client_port = match word(Column::Rport) {
        Some(port) => Some(number(port)?),
        None => None,
    };
    let name = words[comm..words.len() - behind].join(&b' ');
    Some(Accept {
        ends: Ends {
            client: Host::address(word(Column::Raddr)?)?,
            client_port,
            server: Host::address(word(Column::Laddr)?)?,
            server_port: Some(number(word(Column::Lport)?)?),
        },
        pid: word(Column::Pid).and_then(number),
        comm: Some(String::from_utf8_lossy(&name).into()),
    })
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    for mut input in inputs {
        let mut calendar = Calendar::new(&mut input, cx, &stamp);
        let mut header: Option<Vec<Column>> = None;
        let (mut unreadable, mut lost) = (0, 0);
        let end = lines::blocks(&mut input, |text, _| {
            let whole = text.ends_with(b"\n");
            lines::each(text, |line, at| {
                if let Some(columns) = columns(line) {
                    header = Some(columns);
                    return;
                }
                let Some(columns) = &header else { return };
                let stamp = stamp(line);
                let timed = columns.first() == Some(&Column::Time);
                let time = if timed { calendar.record_time(stamp) } else { None };
                // Without its end, a port may be cut.
                let cut = !whole && at + line.len() == text.len();
                match accept(line, columns).filter(|_| !cut) {
                    Some(accept) => {
                        if accept.ends.inbound(&cx.options.local) {
                            let mut connection = accept.ends.connection();
                            connection.time = time;
                            connection.pid = accept.pid;
                            connection.comm = accept.comm;
                            cx.sink.take(connection);
                        }
                    }
                    None => match lost_events(line) {
                        Some(n) => lost += n,
                        None => {
                            unreadable +=
                                u64::from(!line.trim_ascii().is_empty() && !is_notice(line));
                        }
                    },
                }
            });
        });
        cx.status.record_unreadable_lines(input.name(), unreadable);
        cx.status.record_shortfall(
            ShortfallKind::LostConnections,
            lost,
            format!("{}: tcpaccept says that {lost} of its events were lost", input.name()),
        );
        if let Err(e) = end {
            cx.broken(&input, &e);
        }
    }
}

/// `Possibly lost 12 samples`, `Lost 12 events`.
fn lost_events(line: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(line).ok()?;
    let mut words = text.split_whitespace().skip_while(|w| !w.eq_ignore_ascii_case("lost"));
    words.next()?;
    words.next()?.parse().ok()
}

fn is_notice(line: &[u8]) -> bool {
    [&b"^C"[..], b"Attaching", b"Tracing", b"Attached"].iter().any(|n| line.starts_with(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(header: &str, line: &str) -> String {
        let columns = columns(header.as_bytes()).unwrap();
        accept(line.as_bytes(), &columns).map_or("-".into(), |a| {
            format!(
                "{} {:?} {} {:?} {}",
                a.ends.client.ip().unwrap(),
                a.ends.client_port,
                a.ends.server.ip().unwrap(),
                a.ends.server_port.unwrap(),
                a.comm.unwrap()
            )
        })
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
        assert_eq!(lost_events(b"Possibly lost 12 samples"), Some(12));
    }
}
