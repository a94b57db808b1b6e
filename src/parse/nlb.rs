//! Access logs of Amazon's Network Load Balancer: a line for each connection to a listener of TLS, when it has ended.
//!
//! The fields are those of Amazon's manual ("Access logs for your Network Load Balancer"), with blanks between them. New
//! ones come last.

use std::time::Duration;

use super::columns::words;
use super::cursor::Cursor;
use super::digits::number;
use super::host::{Ends, Host};
use super::input::{Input, common_name};
use super::line_log::{self, Event, LineLog, ParsedLine};
use super::reader::{Context, RecordFormat};
use super::timestamp::Stamp;
use crate::Transport;

/// Network Load Balancer's log.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "nlb",
    about: "access log of Amazon's Network Load Balancer (TLS)",
    connection: "a connection to a listener of TLS",
    is_text: true,
    is_json: false,
    is_snapshot: false,
    recognise: line_log::recognise::<Nlb>,
    run: |_| Some(String::new()),
    read,
};

struct Nlb;

/// Where `tls_connection_creation_time` is, which is newer than the other fields.
const CREATION_TIME: usize = 21;

impl LineLog for Nlb {
    fn of(_: &[&[u8]]) -> Nlb {
        Nlb
    }

    fn parse_line(&self, line: &[u8]) -> ParsedLine {
        // The type, the version of the log, the time, the name of the load balancer.
        let is_version = |word: &[u8]| word.first().is_some_and(u8::is_ascii_digit);
        match line.strip_prefix(b"tls ") {
            Some(rest) if is_version(rest) => connection(line).unwrap_or(ParsedLine::Broken),
            _ => ParsedLine::Foreign,
        }
    }
}

/// Reads a line; `None`: its fields cannot be read.
fn connection(line: &[u8]) -> Option<ParsedLine> {
    let words = words(line);
    let [_, _, ended, balancer, _, client, listener, milliseconds, _, received, sent, ..] =
        words[..]
    else {
        return None;
    };
    if !balancer.starts_with(b"net/") {
        return None;
    }
    let end = |word: &[u8]| {
        let (host, port) = Host::before_colon(word)?;
        Some((host, Some(number::<u16>(port)?)))
    };
    let ((client, client_port), (server, server_port)) = (end(client)?, end(listener)?);
    let ends = Ends { client, client_port, server, server_port };
    let duration = number::<u32>(milliseconds).map(|ms| Duration::from_millis(ms.into()));
    let ended = time(ended)?;
    let (stamp, before) = match words.get(CREATION_TIME).and_then(|word| time(word)) {
        Some(created) => (created, None),
        None => (ended, duration),
    };
    let mut event = Event::new(stamp, ends, Some(true));
    event.before = before.and_then(|before| i64::try_from(before.as_nanos()).ok()).unwrap_or(0);
    event.more.transport = Some(Box::new(Transport {
        duration,
        bytes_in: number(received),
        bytes_out: number(sent),
        ..Transport::default()
    }));
    Some(event.parsed())
}

/// A time in UTC, which the log writes without a zone.
fn time(word: &[u8]) -> Option<Stamp> {
    let mut cursor = Cursor(word);
    match cursor.iso()? {
        Stamp::Civil(date, ns) => Some(Stamp::utc(date, ns)),
        stamp => Some(stamp),
    }
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let name = common_name(inputs.iter());
    line_log::read::<Nlb>(inputs, cx);
    cx.status.warn(format!(
        "{name}: only connections to listeners of TLS are in it, when they have ended; Amazon writes such logs on a \
         best-effort basis, so some may be missing"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::timestamp::SECOND;

    const LINE: &str = "tls 2.0 2026-11-22T10:58:42 net/lb1/c6e77e28c25b2234 g3d4b5e8bb8464cd 198.51.100.7:40755 \
        192.0.2.77:443 5000 2 98 246 - arn:aws:acm:us-east-2:123456789012:certificate/2a108f19 - \
        ECDHE-RSA-AES128-SHA tlsv12 - lb1.example.org - - -";

    fn shown(line: &str) -> String {
        match Nlb.parse_line(line.as_bytes()) {
            ParsedLine::Connection(e) => format!(
                "{:?} {} {:?} {:?}",
                e.stamp,
                e.before / SECOND,
                e.ends.client_port.unwrap(),
                e.ends.server_port.unwrap()
            ),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_connection_counts_at_its_beginning() {
        let ended = "Epoch(1795345122000000000) 5 40755 443";
        let created = "Epoch(1795345117000000000) 0 40755 443";
        assert_eq!(shown(LINE), ended);
        let newer = format!("{LINE} 2026-11-22T10:58:37");
        assert_eq!(shown(&newer), created);
        let ipv6 = LINE
            .replace("198.51.100.7:", "2001:db8::7:")
            .replace("192.0.2.77:", "[2001:db8:77::1]:");
        assert_eq!(shown(&ipv6), ended);
        // The handshake failed.
        assert_eq!(shown(&LINE.replace(" 5000 2 ", " - - ")), ended.replace(" 5 ", " 0 "));
        for (line, want) in [
            (LINE.replace("40755", "x"), "Broken"),
            (LINE[..90].to_owned(), "Broken"),
            (LINE.replace(" net/", " app/"), "Broken"),
            (LINE.replace("tls 2.0", "tls handshake"), "Foreign"),
            (LINE.replace("tls", "https"), "Foreign"),
        ] {
            assert_eq!(shown(&line), want, "{line}");
        }
    }
}
