//! HAProxy's logs of TCP connections: `option tcplog`, the default form, and errors of a handshake.
//!
//! The forms are those of HAProxy's configuration manual, chapter 8.2. Lines of `option httplog` are
//! requests. One connection may carry many requests, so a log of requests only is refused. In `mode http`
//! the other forms have a line for each request, too (seen with HAProxy 2.6): what follows on the line before of the same
//! client's port is not counted again.

use memchr::memmem;

use super::cursor::Cursor;
use super::digits::number;
use super::host::{Ends, Host};
use super::input::{Input, common_name};
use super::line_log::{self, Event, LineLog, ParsedLine};
use super::netfilter::frame;
use super::reader::{Context, RecordFormat, Setting};
use super::requests::WrittenFor;
use super::timestamp::Stamp;
use crate::ShortfallKind;

/// HAProxy's text.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "haproxy",
    about: "log of HAProxy with option tcplog",
    connection: "a connection to a frontend",
    is_text: true,
    is_json: false,
    is_snapshot: false,
    recognise: line_log::recognise::<Haproxy>,
    run: |_| Some(String::new()),
    read,
};

struct Haproxy;

impl LineLog for Haproxy {
    fn of(_: &[&[u8]]) -> Haproxy {
        Haproxy
    }

    fn parse_line(&self, line: &[u8]) -> ParsedLine {
        if memmem::find(line, b"haproxy").is_none() {
            return untagged(line);
        }
        let (stamp, rest) = frame::split(line);
        let mut cursor = Cursor(rest);
        cursor.blanks();
        let mut tag = cursor.word();
        if !tag.starts_with(b"haproxy") {
            cursor.blanks();
            tag = cursor.word();
        }
        // A line of /etc/passwd may begin with `haproxy:x:113:`.
        let behind = tag.strip_prefix(b"haproxy").unwrap_or_default();
        if behind != b":" && !(behind.starts_with(b"[") && behind.ends_with(b"]:")) {
            return untagged(line);
        }
        cursor.blanks();
        text(stamp, cursor.0)
    }

    fn may_be_cut(&self, line: &[u8]) -> bool {
        // The frontend follows the server's end, in parentheses.
        memmem::find(line, b"Connect from ").is_some()
            && line.last().is_some_and(u8::is_ascii_digit)
    }
}

/// Reads a line of a container, whose standard output has no tag: the time of the accept tells what it is.
fn untagged(line: &[u8]) -> ParsedLine {
    let is_session = line.first().is_some_and(u8::is_ascii_hexdigit)
        && memmem::find(&line[..line.len().min(64)], b" [").is_some();
    match text(Stamp::None, if is_session { line } else { b"" }) {
        ParsedLine::Other => ParsedLine::Foreign,
        parsed => parsed,
    }
}

/// Reads what follows the tag.
fn text(stamp: Stamp, text: &[u8]) -> ParsedLine {
    if let Some(ends) = text.strip_prefix(b"Connect from ") {
        // `198.51.100.7:40755 to 192.0.2.77:80 (www/HTTP)`
        let mut cursor = Cursor(ends);
        let from = cursor.word();
        let to = if cursor.eat(b" to ") { end(cursor.word()) } else { None };
        return match (end(from), to) {
            (Some((client, client_port)), Some((server, server_port))) => {
                let ends = Ends { client, client_port, server, server_port };
                let mut event = Event::new(stamp, ends, Some(true));
                if memmem::find(cursor.0, b"/HTTP)").is_some() {
                    event.written_for = WrittenFor::Request;
                }
                event.parsed()
            }
            _ => ParsedLine::Broken,
        };
    }
    let mut cursor = Cursor(text);
    let word = cursor.word();
    // The time of the accept: `[22/Nov/2026:10:58:42.200]`.
    let Some(accepted) = cursor.0.strip_prefix(b" [").and_then(accept_time) else {
        // With a log format of one's own, something else may come first.
        let mut times = memmem::find_iter(text, b" [");
        let has_time = times.any(|at| accept_time(&text[at + 2..]).is_some());
        return if has_time { ParsedLine::Broken } else { ParsedLine::Other };
    };
    let Some((client, client_port)) = end(word) else {
        // `unix:1`, or an address that was made unreadable.
        return if word.starts_with(b"unix:") { ParsedLine::Other } else { ParsedLine::Broken };
    };
    if memchr::memchr(b'"', cursor.0).is_some() || memmem::find(cursor.0, b"<BADREQ>").is_some() {
        // A request.
        return ParsedLine::Broken;
    }
    let ends = Ends { client, client_port, server: Host::Name("".into()), server_port: None };
    let mut event = Event::new(accepted, ends, Some(true));
    if let Some(lasted) = lasted(cursor.0) {
        event.written_for = WrittenFor::Either(lasted);
    }
    event.parsed()
}

/// How long a session of tcplog lasted, in nanoseconds: the last of the times behind the frontend and the server,
/// `[22/Nov/2026:10:58:42.200] fnt bck/srv1 0/0/5007`.
fn lasted(text: &[u8]) -> Option<i64> {
    let times = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).nth(3)?;
    let total = times.rsplit(|b| *b == b'/').next()?;
    // `+`: the session had not ended.
    let ms: i64 = number(total.strip_prefix(b"+").unwrap_or(total))?;
    ms.checked_mul(1_000_000)
}

fn end(word: &[u8]) -> Option<(Host, Option<u16>)> {
    let colon = memchr::memrchr(b':', word)?;
    Some((Host::address(&word[..colon])?, Some(number(&word[colon + 1..])?)))
}

/// `22/Nov/2026:10:58:42.200]`.
fn accept_time(text: &[u8]) -> Option<Stamp> {
    let mut cursor = Cursor(text);
    // Access logs have a zone.
    let is_own = |stamp: &Stamp| matches!(stamp, Stamp::Civil(..));
    cursor.common_log_time().filter(is_own).filter(|_| cursor.eat(b"]"))
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let name = common_name(inputs.iter());
    let seen = line_log::read::<Haproxy>(inputs, cx);
    let requests = seen.requests;
    cx.status.record_shortfall(
        ShortfallKind::UnreadInput,
        u64::from(seen.connections == 0),
        format!(
            "{name}: it has no line of a connection that can be read, so nothing shows that connections are logged; \
             'option tcplog' does (a log format of one's own is not read)"
        ),
    );
    let lines = if requests == 1 { "line is" } else { "lines are" };
    cx.status.record_shortfall(
        ShortfallKind::UnreadableLines,
        requests,
        format!(
            "{name}: HAProxy writes a line for each request in mode http; {requests} {lines} left out as further \
             requests of connections that count; connections with pauses may count several times ('tcptally watch' \
             counts connections)"
        ),
    );
    if cx.options.port.is_some() {
        cx.status.warn(format!(
            "{name}: lines of tcplog name the frontend and not its port, so {} cannot be decided for \
             them; put each frontend into a file of its own",
            cx.options.name(Setting::Port)
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let line = format!("Nov 22 10:58:42 lb haproxy[14387]: {text}");
        match Haproxy.parse_line(line.as_bytes()) {
            ParsedLine::Connection(e) => {
                format!("{} {:?}", e.ends.client.ip().unwrap(), e.ends.server_port)
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn an_account_of_the_name_is_no_message_of_it() {
        for line in ["haproxy:x:113:119::/var/lib/haproxy:/usr/sbin/nologin", "haproxy:x:119:"] {
            let parsed = Haproxy.parse_line(line.as_bytes());
            assert!(matches!(parsed, ParsedLine::Foreign), "{parsed:?}");
        }
    }

    #[test]
    fn connections_count_and_requests_do_not() {
        let at = "198.51.100.7:40755 [22/Nov/2026:10:58:42.200]";
        assert_eq!(
            shown(&format!("{at} fnt bck/srv1 0/0/5007 212 -- 0/0/0/0/3 0/0")),
            "198.51.100.7 None"
        );
        assert_eq!(shown(&format!("{at} fnt/1: SSL handshake failure")), "198.51.100.7 None");
        let ipv6 = "2001:db8::7:40755 [22/Nov/2026:10:58:42.200] fnt bck/<NOSRV> -1/-1/0 0 SC 0/0/0/0/0 0/0";
        assert_eq!(shown(ipv6), "2001:db8::7 None");
        let connect = "Connect from 198.51.100.7:40755 to 192.0.2.77:80 (www/TCP)";
        assert_eq!(shown(connect), "198.51.100.7 Some(80)");
        let http = "fnt~ bck/s 0/0/0/69/69 200 2750 - - ---- 1/1/1/1/0 0/0 \"GET / HTTP/1.1\"";
        assert_eq!(shown(&format!("{at} {http}")), "Broken");
        assert_eq!(shown("Proxy fnt started."), "Other");
        assert_eq!(
            shown(&format!("Failed at lb {at} fnt~ 81/81 SSL handshake failure -")),
            "Broken"
        );
        // The address was anonymised.
        let rest = "[22/Nov/2026:10:58:42.200] fnt bck/srv1 0/0/5007 212 -- 0/0/0/0/3 0/0";
        assert_eq!(shown(&format!("xxx.51.100.xxx:40755 {rest}")), "Broken");
        assert_eq!(shown(&format!("unix:1 {rest}")), "Other");
    }

    #[test]
    fn lines_of_a_container_have_no_tag() {
        let session = b"198.51.100.7:40755 [22/Nov/2026:10:58:42.200] fnt bck/srv1 0/0/7 212 -- 0/0/0/0/3 0/0";
        assert!(matches!(Haproxy.parse_line(session), ParsedLine::Connection(_)));
        for other in ["192.0.2.9 - - [22/Nov/2026:10:58:42 +0000] \"GET / HTTP/1.1\" 200 612", "x"]
        {
            assert!(matches!(Haproxy.parse_line(other.as_bytes()), ParsedLine::Foreign), "{other}");
        }
    }
}
