//! Output of tcptracer, which has a line for each connect, accept and close. Accepts count.

use super::table::{self, Columns, Row};
use crate::Connection;
use crate::parse::digits::number;
use crate::parse::host::{Ends, Host};
use crate::parse::input::Input;
use crate::parse::reader::{Context, RecordFormat};

/// tcptracer's text.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "tcptracer",
    about: "text of bcc's tcptracer",
    connection: "an accepted connection (A)",
    is_text: true,
    is_json: false,
    is_snapshot: false,
    recognise: |head| table::has_header(head, header),
    run: |_| None,
    read,
};

fn header(line: &[u8]) -> Option<Columns> {
    let columns = Columns::of(line, &["SADDR", "DADDR", "SPORT", "DPORT"])?;
    event_column(&columns).map(|_| columns)
}

/// The column of the letter, or with `-v` of the word, that names the event.
fn event_column(columns: &Columns) -> Option<usize> {
    columns.find("T").or_else(|| columns.find("TYPE"))
}

enum Event {
    Accept(Ends, Option<u32>),
    Other,
}

fn event(columns: &Columns, row: &Row<'_>) -> Option<Event> {
    match row.at(event_column(columns)?) {
        b"A" | b"accept" => {}
        b"C" | b"X" | b"U" | b"-" | b"connect" | b"close" | b"unknown" => {
            return Some(Event::Other);
        }
        _ => return None,
    }
    // IPv6 addresses are in brackets.
    let host = |text: &[u8]| {
        let inside = text.strip_prefix(b"[").and_then(|text| text.strip_suffix(b"]"));
        Host::address(inside.unwrap_or(text))
    };
    let port = |name| number(row.at(columns.find(name)?));
    let ends = Ends {
        client: host(row.at(columns.find("DADDR")?))?,
        client_port: Some(port("DPORT")?),
        server: host(row.at(columns.find("SADDR")?))?,
        server_port: Some(port("SPORT")?),
    };
    Some(Event::Accept(ends, row.get(columns.find("PID")).and_then(number)))
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let local = cx.options.local.clone();
    for mut input in inputs {
        table::read(&mut input, cx, header, None, |columns, row, time, sink| {
            match event(columns, row) {
                Some(Event::Accept(ends, pid)) if ends.inbound(&local) => {
                    let comm = Some(row.comm());
                    sink.take(Connection { time, pid, comm, ..ends.connection() });
                    true
                }
                read => read.is_some(),
            }
        });
    }
}
