//! Logs of servers that write a line for each connection that they accept.
//!
//! The forms are those of the sources: `ngx_event_accept.c` and `ngx_stream_handler.c` of nginx, `sshd.c` and
//! `sshd-session.c` of OpenSSH, `svr-main.c` of Dropbear, `postmaster.c` of PostgreSQL, `listen.cpp` of
//! MongoDB, `networking.c` of Redis, `client.c` of stunnel, `net.c` of Mosquitto, `NIOServerCnxnFactory.java` of
//! ZooKeeper.

mod nginx;
mod peer;

use memchr::memmem;

use self::peer::{NONE, Peer, address, client};
use super::calls::unknown_ends;
use super::cursor::Cursor;
use super::digits::number;
use super::host::{Ends, Host};
use super::input::{Input, common_name};
use super::line_log::{self, Event, LineLog, ParsedLine};
use super::netfilter::frame;
use super::paired::Half;
use super::reader::{Context, RecordFormat};
use super::requests::WrittenFor;
use super::timestamp::Stamp;

/// Logs of servers.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "server-log",
    about: "log of nginx, sshd, PostgreSQL, Redis or others with each connection",
    connection: "a connection that a server logged when it accepted it",
    is_text: true,
    is_json: false,
    is_snapshot: false,
    recognise: line_log::recognise::<ServerLog>,
    run: |_| Some(String::new()),
    read,
};

/// How a server writes a connection.
struct Form {
    /// The text between what stands before the message and the address of the client. A line that was wrapped may end
    /// behind it.
    mark: &'static str,
    /// Whether the text before the mark is that of the server, and not of another program that quotes it.
    fits: fn(&[u8]) -> bool,
    ends: fn(&[u8]) -> Option<Peer>,
    kind: Kind,
}

/// When a line counts.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Always,
    /// nginx at the level debug logs the connection of a stream server twice, with [`NGINX_DEBUG`] and with
    /// [`NGINX_STREAM`].
    Half(Half),
    /// sshd logs it at the default level too, at which it does not log other connections.
    IfVerbose,
}

/// nginx's accept at the level debug.
const NGINX_DEBUG: &str = " accept:";
/// nginx's line of a stream or mail server. Those of requests have the same mark.
const NGINX_STREAM: &str = " client ";
/// sshd's line at the level VERBOSE.
const SSHD_VERBOSE: &str = "Connection from";

const FORMS: [Form; 11] = [
    Form {
        mark: NGINX_DEBUG,
        fits: nginx::is_message,
        ends: nginx::debug,
        kind: Kind::Half(Half::First),
    },
    Form {
        mark: NGINX_STREAM,
        fits: nginx::is_message,
        ends: nginx::stream,
        kind: Kind::Half(Half::Second),
    },
    Form { mark: SSHD_VERBOSE, fits: is_sshd, ends: sshd, kind: Kind::Always },
    Form { mark: "drop connection #", fits: is_sshd, ends: sshd_drop, kind: Kind::IfVerbose },
    Form { mark: "Child connection from", fits: is_dropbear, ends: plain, kind: Kind::Always },
    Form { mark: "connection received:", fits: is_postgres, ends: postgres, kind: Kind::Always },
    Form { mark: "connection accepted from", fits: is_mongod, ends: plain, kind: Kind::Always },
    Form { mark: " - Accepted", fits: is_redis, ends: plain, kind: Kind::Always },
    Form { mark: " accepted connection from", fits: is_stunnel, ends: plain, kind: Kind::Always },
    Form { mark: "New connection from", fits: is_mosquitto, ends: mosquitto, kind: Kind::Always },
    Form {
        mark: "Accepted socket connection from",
        fits: is_zookeeper,
        ends: plain,
        kind: Kind::Always,
    },
];

struct ServerLog {
    is_verbose: bool,
}

impl LineLog for ServerLog {
    fn of(lines: &[&[u8]]) -> ServerLog {
        let has = |mark: &str| {
            lines.iter().any(|line| form(line).is_some_and(|(form, _)| form.mark == mark))
        };
        ServerLog { is_verbose: has(SSHD_VERBOSE) }
    }

    fn parse_line(&self, line: &[u8]) -> ParsedLine {
        let Some((form, at)) = form(line) else { return ParsedLine::Foreign };
        if form.kind == Kind::IfVerbose && !self.is_verbose {
            return ParsedLine::Broken;
        }
        let rest = line[at + form.mark.len()..].trim_ascii();
        match (form.ends)(rest) {
            Some(peer) => match (parsed(stamp(&line[..at]), peer), form.kind) {
                (ParsedLine::Ends(stamp, ends, established), Kind::Half(half)) => {
                    let mut event = Event::new(stamp, ends, established);
                    event.written_for = WrittenFor::Half(half, nginx::number(&line[..at]));
                    event.parsed()
                }
                (parsed, _) => parsed,
            },
            None if form.mark == NGINX_STREAM && !nginx::is_cut_stream(rest) => ParsedLine::Foreign,
            None => ParsedLine::Broken,
        }
    }

    fn may_be_cut(&self, line: &[u8]) -> bool {
        // Behind a colon, a bracket or a blank, the server's end may be missing.
        line.last().is_some_and(|last| last.is_ascii_digit() || b":[] ".contains(last))
    }
}

/// The form of a line, and where its mark begins. Lines that continue a message begin with a tab.
fn form(line: &[u8]) -> Option<(&'static Form, usize)> {
    if line.first() == Some(&b'\t') {
        return None;
    }
    FORMS.iter().find_map(|form| {
        let at = memmem::find(line, form.mark.as_bytes())?;
        (form.fits)(&line[..at]).then_some((form, at))
    })
}

/// The parsed line of a connection.
pub(super) fn parsed(stamp: Stamp, peer: Peer) -> ParsedLine {
    let Some((client, client_port)) = peer.client else { return ParsedLine::Evidence };
    let (server, server_port) = match peer.server {
        Some((server, port)) => (server, Some(port)),
        None => (unknown_ends().server, peer.server_port),
    };
    ParsedLine::Ends(stamp, Ends { client, client_port, server, server_port }, Some(true))
}

/// The time before a message.
fn stamp(before: &[u8]) -> Stamp {
    let begin = before.iter().take_while(|b| b"[<".contains(b)).count();
    let own = Cursor(&before[begin..]).iso_with_zone();
    // Redis writes its process before the time: `912:M 22 Nov 2026 10:58:42.123`, `[912] 22 Nov 10:58:42`.
    let behind_process = || {
        let blank = memchr::memchr(b' ', before)?;
        Cursor(&before[blank + 1..]).day_first()
    };
    // Mosquitto: `1795345122: `.
    let seconds = || {
        let mut cursor = Cursor(before);
        cursor.seconds().filter(|_| cursor.0 == b": ").map(Stamp::Epoch)
    };
    own.or_else(behind_process).or_else(seconds).unwrap_or_else(|| frame::split(before).0)
}

/// Whether `before` ends with `NAME[123]: `, or is empty, as where sshd writes to its standard error.
fn has_tag(before: &[u8], names: &[&str]) -> bool {
    let Some(tag) = before.strip_suffix(b": ") else { return before.is_empty() };
    let tag = match tag.strip_suffix(b"]") {
        Some(tag) => {
            let digits = tag.iter().rev().take_while(|b| b.is_ascii_digit()).count();
            tag[..tag.len() - digits].strip_suffix(b"[").unwrap_or_default()
        }
        None => tag,
    };
    let word = tag.rsplit(|b| *b == b' ').next().unwrap_or_default();
    names.iter().any(|name| name.as_bytes() == word)
}

fn is_sshd(before: &[u8]) -> bool {
    has_tag(before, &["sshd", "sshd-session"])
}

fn is_dropbear(before: &[u8]) -> bool {
    // To its standard error it writes `[912] Nov 22 10:58:42 `.
    has_tag(before, &["dropbear"])
        || before.starts_with(b"[") && before.ends_with(b" ") && before.len() < 40
}

/// The message follows its severity, and nothing else of the line is a message.
fn is_postgres(before: &[u8]) -> bool {
    let severity = b"LOG:  ";
    let of_csv = before.ends_with(b",LOG,00000,\"");
    of_csv || memmem::find(before, severity).is_some_and(|at| at + severity.len() == before.len())
}

/// `2019-11-22T10:58:42.123+0000 I NETWORK  [listener] `.
fn is_mongod(before: &[u8]) -> bool {
    let thread = memchr::memrchr(b'[', before).filter(|_| before.ends_with(b"] "));
    thread.is_some_and(|at| {
        let name = &before[at + 1..before.len() - 2];
        ["listener", "initandlisten", "thread", "mongosMain", "conn"]
            .iter()
            .any(|thread| name.starts_with(thread.as_bytes()))
    })
}

/// `912:M 22 Nov 2026 10:58:42.123`, or `[912] 22 Nov 10:58:42`.
fn is_redis(before: &[u8]) -> bool {
    let blank = memchr::memchr(b' ', before).unwrap_or(0);
    let mut cursor = Cursor(before.get(blank + 1..).unwrap_or_default());
    cursor.day_first().is_some() && cursor.0.is_empty()
}

/// `2026.11.22 10:58:42 LOG5[0]: Service [https]`.
fn is_stunnel(before: &[u8]) -> bool {
    before.ends_with(b"]") && memmem::find(before, b"]: Service [").is_some()
}

/// `1795345122: `, a time of a form of the user's own, or the tag of syslog.
fn is_mosquitto(before: &[u8]) -> bool {
    let time = before.strip_suffix(b": ").unwrap_or_default();
    let mut cursor = Cursor(time);
    let is_time = cursor.iso().is_some() || cursor.seconds().is_some();
    is_time && cursor.0.is_empty() || has_tag(before, &["mosquitto"])
}

/// `2026-11-22 10:58:42,123 [myid:] - INFO  [NIOServerCxn.Factory:0.0.0.0/0.0.0.0:2181:NIOServerCnxnFactory@215] - `.
fn is_zookeeper(before: &[u8]) -> bool {
    before.ends_with(b"] - ") && memmem::find(before, b"CnxnFactory").is_some()
}

/// The address of a client, with its port.
pub(super) fn plain(text: &[u8]) -> Option<Peer> {
    // MongoDB and Redis.
    if text.starts_with(b"anonymous unix socket") || text.starts_with(b"connection to /") {
        return Some(NONE);
    }
    // Java writes a name that may be empty before the address.
    let ((host, port), _) = address(text.strip_prefix(b"/").unwrap_or(text))?;
    Some(client(host, Some(port)))
}

/// `198.51.100.7 port 40755 on 192.0.2.77 port 22`, before OpenSSH 6.7 without the server.
fn sshd(text: &[u8]) -> Option<Peer> {
    let end = |cursor: &mut Cursor<'_>| {
        let host = cursor.word();
        if host == b"UNKNOWN" {
            return Some(None);
        }
        cursor.require(b" port ")?;
        Some(Some((Host::address(host)?, number::<u16>(cursor.word())?)))
    };
    let mut cursor = Cursor(text);
    let Some((host, port)) = end(&mut cursor)? else { return Some(NONE) };
    let server = if cursor.0.is_empty() {
        None
    } else {
        cursor.require(b" on ").and_then(|()| end(&mut cursor))?
    };
    Some(Peer { server, ..client(host, Some(port)) })
}

/// `10 from [198.51.100.7]:40755 on [192.0.2.77]:22 past MaxStartups`, of a connection that sshd closes at once.
fn sshd_drop(text: &[u8]) -> Option<Peer> {
    let from = &text[memmem::find(text, b" from ")? + 6..];
    let ((host, port), rest) = address(from)?;
    let server = rest.strip_prefix(b" on ").and_then(address).map(|(server, _)| server);
    Some(Peer { server, ..client(host, Some(port)) })
}

/// `host=198.51.100.7 port=40755`, or `host=[local]`.
fn postgres(text: &[u8]) -> Option<Peer> {
    if text.starts_with(b"host=[local]") {
        return Some(NONE);
    }
    let mut cursor = Cursor(text.strip_prefix(b"host=")?);
    let host = cursor.word();
    cursor.require(b" port=")?;
    let digits = cursor.0.iter().take_while(|b| b.is_ascii_digit()).count();
    // log_hostname puts names in place of addresses.
    Some(client(Host::address_or_name(host)?, Some(number(&cursor.0[..digits])?)))
}

/// `198.51.100.7:40755 on port 1883.`; before 2.0 the client has no port.
fn mosquitto(text: &[u8]) -> Option<Peer> {
    let word = Cursor(text).word();
    let mut rest = Cursor(&text[word.len()..]);
    rest.require(b" on port ")?;
    let server_port = Some(u16::try_from(rest.number_up_to(5)?).ok()?);
    let ends = address(word).map(|((host, port), _)| (host, Some(port)));
    let (host, port) = match Host::address(word) {
        Some(host) => (host, None),
        None => ends?,
    };
    Some(Peer { server_port, ..client(host, port) })
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let name = common_name(inputs.iter());
    line_log::read::<ServerLog>(inputs, cx);
    warn_of_levels(&name, cx);
}

/// Says what such logs cannot know.
pub(super) fn warn_of_levels(name: &str, cx: &mut Context<'_>) {
    cx.status.warn(format!(
        "{name}: only servers that log each connection are counted; what the kernel accepted and the server did not \
         take, and what other servers or levels of logging leave out, is not in it"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        let log = ServerLog::of(&[line.as_bytes()]);
        let (stamp, ends, established) = match log.parse_line(line.as_bytes()) {
            ParsedLine::Ends(stamp, ends, established) => (stamp, ends, established),
            ParsedLine::Connection(event) => (event.stamp, event.ends, event.established),
            other => return format!("{other:?}"),
        };
        assert_eq!(established, Some(true));
        let has_time = stamp != Stamp::None;
        let port = ends.server_port.map(|port| format!(" to {port}")).unwrap_or_default();
        let client_port = ends.client_port.unwrap_or(0);
        format!("{:?}:{client_port}{port} {has_time}", ends.client.ip().unwrap())
    }

    /// Lines of servers and what is read of them.
    const LINES: &[(&str, &str)] = &[
        (
            "2026/11/22 10:58:42 [debug] 912#912: *1 accept: 198.51.100.7:40755 fd:3",
            "198.51.100.7:40755 true",
        ),
        (
            "2026/11/22 10:58:42 [debug] 912#0: *77 accept: [2001:db8::7]:40755 fd:30",
            "2001:db8::7:40755 true",
        ),
        ("2026/11/22 10:58:42 [debug] 912#0: *77 accept: unix: fd:30", "Evidence"),
        ("2026/11/22 10:58:42 [debug] 912#0: *77 accept: 198.51.100.7:40755", "Broken"),
        ("2026/11/22 10:58:42 [debug] 912#0: accept on 0.0.0.0:80, ready: 0", "Foreign"),
        (
            "2026/11/22 10:58:42 [info] 912#0: *1 client 198.51.100.7:40755 connected to 0.0.0.0:5432",
            "198.51.100.7:40755 to 5432 true",
        ),
        ("2026/11/22 10:58:42 [info] 912#0: *1 client 198.51.100.7:40755 conn", "Broken"),
        ("2026/11/22 10:58:42 [info] 912#0: *1 client 198.51.100.7:4", "Broken"),
        ("2026/11/22 10:58:42 [info] 912#0: *1 client 198.51.", "Broken"),
        (
            "2026/11/22 10:58:42 [info] 912#0: *1 client 198.51.100.7 closed keepalive connection",
            "Foreign",
        ),
        (
            "2026/11/22 10:58:42 [info] 912#0: *1 client prematurely closed connection, client: 198.51.100.7",
            "Foreign",
        ),
        (
            "Nov 22 10:58:42 web1 sshd[912]: Connection from 198.51.100.7 port 40755 on 192.0.2.77 port 22 rdomain \"\"",
            "198.51.100.7:40755 to 22 true",
        ),
        (
            "Nov 22 10:58:42 web1 sshd[912]: Connection from 198.51.100.7 port 40755",
            "198.51.100.7:40755 true",
        ),
        (
            "Connection from 198.51.100.7 port 40755 on 192.0.2.77 port 22",
            "198.51.100.7:40755 to 22 false",
        ),
        (
            "Nov 22 10:58:42 web1 app[912]: sshd said: Connection from 198.51.100.7 port 40755",
            "Foreign",
        ),
        (
            "Nov 22 10:58:42 web1 sshd[912]: drop connection #10 from [198.51.100.7]:40755 on [192.0.2.77]:22 past MaxStartups",
            "Broken",
        ),
        (
            "Nov 22 10:58:42 r1 dropbear[912]: Child connection from 198.51.100.7:40755",
            "198.51.100.7:40755 true",
        ),
        (
            "2026-11-22 10:58:42.123 UTC [912] LOG:  connection received: host=198.51.100.7 port=40755",
            "198.51.100.7:40755 true",
        ),
        ("2026-11-22 10:58:42.123 UTC [912] LOG:  connection received: host=[local]", "Evidence"),
        (
            "2026-11-22 10:58:42.123 UTC [912] LOG:  statement: select 'LOG:  connection received: host=1.2.3.4 port=5'",
            "Foreign",
        ),
        (
            "2019-11-22T10:58:42.123+0000 I NETWORK  [listener] connection accepted from 198.51.100.7:40755 #1 (1 connection now open)",
            "198.51.100.7:40755 true",
        ),
        ("912:M 22 Nov 2026 10:58:42.123 - Accepted 198.51.100.7:40755", "198.51.100.7:40755 true"),
        ("[912] 22 Nov 10:58:42 - Accepted 198.51.100.7:40755", "198.51.100.7:40755 true"),
        (
            "2026.11.22 10:58:42 LOG5[0]: Service [https] accepted connection from 198.51.100.7:40755",
            "198.51.100.7:40755 true",
        ),
        (
            "1795345122: New connection from 198.51.100.7:40755 on port 1883.",
            "198.51.100.7:40755 to 1883 true",
        ),
        (
            "1795345122: New connection from 198.51.100.7 on port 1883.",
            "198.51.100.7:0 to 1883 true",
        ),
        (
            "2026-11-22 10:58:42,123 [myid:] - INFO  [NIOServerCxn.Factory:0.0.0.0/0.0.0.0:2181:NIOServerCnxnFactory@215] - Accepted socket connection from /198.51.100.7:40755",
            "198.51.100.7:40755 true",
        ),
    ];

    #[test]
    fn each_server_has_its_form() {
        for (line, want) in LINES {
            assert_eq!(shown(line), *want, "{line}");
        }
    }

    #[test]
    fn both_lines_of_a_connection_have_one_number() {
        let accept = "2026/11/22 10:58:42 [debug] 912#912: *1 accept: 198.51.100.7:40755 fd:3";
        let stream = "2026/11/22 10:58:42 [info] 912#912: *1 client 198.51.100.7:40755 connected to 0.0.0.0:53";
        let log = ServerLog::of(&[]);
        let number = |line: &str| match log.parse_line(line.as_bytes()) {
            ParsedLine::Connection(event) => match event.written_for {
                WrittenFor::Half(half, number) => (half, number),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        let (first, number_of_accept) = number(accept);
        assert_eq!((first, number(stream)), (Half::First, (Half::Second, number_of_accept)));
        for other in [stream.replace("*1", "*2"), stream.replace("912#912", "913#913")] {
            assert_ne!(number(&other).1, number_of_accept, "{other}");
        }
    }

    #[test]
    fn connections_that_sshd_drops_count_at_level_verbose() {
        let from = "Nov 22 10:58:42 web1 sshd[9]: Connection from 198.51.100.7 port 40755 on 192.0.2.77 port 22";
        let drop = "Nov 22 10:58:42 web1 sshd[9]: drop connection #10 from [198.51.100.7]:40757 on [192.0.2.77]:22 past MaxStartups";
        let log = ServerLog::of(&[from.as_bytes(), drop.as_bytes()]);
        assert!(matches!(log.parse_line(drop.as_bytes()), ParsedLine::Ends(..)));
    }
}
