//! Output of kdump, the text of a trace that ktrace of FreeBSD or OpenBSD wrote.
//!
//! The forms are those of `usr.bin/kdump/kdump.c` of FreeBSD: the process, with `-H` the thread, the name, with `-T`,
//! `-E` or `-R` seconds, and the kind of the record. A call has up to three records that matter: `CALL` with the
//! descriptor of the listening socket, `STRU` with the address of the client, and `RET` with the new descriptor.

use memchr::memmem;

use super::calls::{Call, Local, Socket, Step, Thread, unknown_ends};
use super::cursor::Cursor;
use super::decoration::layers::numbered;
use super::digits::number;
use super::host::Host;
use super::input::{Input, common_name};
use super::line_log::{self, Event, LineLog, ParsedLine};
use super::reader::{Context, RecordFormat};
use super::timestamp::Stamp;

/// kdump's text.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "kdump",
    about: "output of kdump of FreeBSD or OpenBSD",
    connection: "an accept call that returned a socket",
    is_text: true,
    is_json: false,
    is_snapshot: false,
    recognise: line_log::recognise::<Kdump>,
    run: |_| Some(String::new()),
    read,
};

/// How kdump writes the kinds of records, with the blanks that follow.
const KINDS: [&str; 15] = [
    "CALL  ", "RET   ", "STRU  ", "NAMI  ", "GIO   ", "PSIG  ", "CSW   ", "USER  ", "SCTL  ",
    "CAP   ", "PFLT  ", "PRET  ", "ARGS  ", "PLDG  ", "EXEC  ",
];

/// Maximum size of the name of a process (MAXCOMLEN of FreeBSD; OpenBSD's is 23).
const MAX_COMM_BYTES: usize = 23;

/// Times from here on are since 1970, and others since the trace or the line before.
const FIRST_EPOCH: i64 = 100_000_000_000_000_000;

struct Kdump {
    has_records: bool,
    /// Whether the seconds are since the line before (`-R`).
    is_relative: bool,
}

impl LineLog for Kdump {
    fn of(lines: &[&[u8]]) -> Kdump {
        let times: Vec<i64> = lines
            .iter()
            .filter_map(|line| record(line)?.seconds)
            .filter(|ns| *ns < FIRST_EPOCH)
            .collect();
        Kdump {
            has_records: !are_numbered(lines) && lines.iter().any(|line| record(line).is_some()),
            is_relative: !times.is_sorted(),
        }
    }

    /// The process looks like a number that another program puts before a line.
    fn begin(&self, line: &[u8], at: usize) -> usize {
        let before = line[..at].trim_ascii_end();
        let digits = before.iter().rev().take_while(|b| b.is_ascii_digit()).count();
        let begin = before.len() - digits;
        if digits > 0 && record(&line[at..]).is_none() && record(&line[begin..]).is_some() {
            begin
        } else {
            at
        }
    }

    fn needs_order(&self) -> bool {
        true
    }

    fn parse_line(&self, line: &[u8]) -> ParsedLine {
        if !self.has_records {
            return ParsedLine::Foreign;
        }
        if line.trim_ascii().ends_with(b" Events dropped.") {
            return ParsedLine::Lost;
        }
        let Some(record) = record(line) else { return ParsedLine::Foreign };
        let step = match record.kind {
            "CALL  " => begun(record.rest),
            "STRU  " => address(record.rest),
            "RET   " => ended(&record, self.stamp_of(&record)),
            _ => return ParsedLine::Other,
        };
        match step {
            Read::Step(step) => {
                Call { stamp: self.stamp_of(&record), thread: record.thread, step }.parsed()
            }
            Read::Nothing => ParsedLine::Other,
            Read::Damaged => ParsedLine::Broken,
        }
    }
}

impl Kdump {
    fn stamp_of(&self, record: &Record<'_>) -> Stamp {
        match record.seconds {
            None => Stamp::None,
            Some(ns) if ns >= FIRST_EPOCH => Stamp::Epoch(ns),
            Some(ns) if self.is_relative => Stamp::Since(ns),
            Some(ns) => Stamp::Elapsed(ns),
        }
    }
}

/// Whether another program put numbers before the lines, which look like processes.
fn are_numbered(lines: &[&[u8]]) -> bool {
    let number = |line: &&[u8]| Some(numbered(line)?.0);
    lines.len() > 1
        && lines.windows(2).all(|pair| match (number(&pair[0]), number(&pair[1])) {
            (Some(first), Some(second)) => first + 1 == second,
            _ => false,
        })
}

/// The parts of a line.
struct Record<'a> {
    thread: Thread,
    comm: &'a [u8],
    seconds: Option<i64>,
    kind: &'static str,
    rest: &'a [u8],
}

/// Reads `   912 nginx    1795345122.200113 CALL  accept4(0x6,…`; with `-H` a thread follows the process, OpenBSD's
/// behind a slash.
fn record(line: &[u8]) -> Option<Record<'_>> {
    let mut cursor = Cursor(line);
    cursor.blanks();
    let id = |cursor: &mut Cursor<'_>| u32::try_from(cursor.number_up_to(10)?).ok();
    let pid = id(&mut cursor)?;
    let mut tid = if cursor.eat(b"/") { Some(id(&mut cursor)?) } else { None };
    cursor.require(b" ")?;
    let (kind, at) = kind(cursor.0)?;
    let (before, rest) = (cursor.0[..at].trim_ascii(), &cursor.0[at + kind.len()..]);
    let mut words = before.rsplitn(2, u8::is_ascii_whitespace);
    let (last, others) = (words.next()?, words.next());
    let mut time = Cursor(last);
    let seconds = time.seconds().filter(|_| time.0.is_empty() && last.contains(&b'.'));
    let mut comm = if seconds.is_some() { others?.trim_ascii() } else { before };
    let mut thread = Cursor(comm);
    if let (None, Some(id)) = (tid, id(&mut thread))
        && thread.eat(b" ")
    {
        tid = Some(id);
        comm = thread.0.trim_ascii();
    }
    let thread = Thread { pid, tid: tid.unwrap_or(0) };
    let is_comm = comm.len() <= MAX_COMM_BYTES
        && comm.first().is_some_and(u8::is_ascii_graphic)
        && !comm.iter().any(|b| b"\"(=,".contains(b));
    if !is_comm {
        return None;
    }
    Some(Record { thread, comm, seconds, kind, rest })
}

/// The kind of a record, and where it stands behind a blank. The name and the times before it are short.
fn kind(text: &[u8]) -> Option<(&'static str, usize)> {
    let begin = &text[..text.len().min(80)];
    let find = |kind: &&'static str| {
        let at = memmem::find(begin, kind.as_bytes())?;
        (at > 0 && begin[at - 1] == b' ').then_some((*kind, at))
    };
    KINDS.iter().filter_map(find).min_by_key(|(_, at)| *at)
}

/// What a record says.
enum Read {
    Step(Step),
    Nothing,
    Damaged,
}

/// The name of a call, without the number that `-S` adds, and what follows.
fn call_name(text: &[u8]) -> (&[u8], &[u8]) {
    let n = text.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
    let (name, rest) = text.split_at(n);
    let rest = match rest.first() {
        Some(b'[') => memchr::memchr(b']', rest).map_or(rest, |end| &rest[end + 1..]),
        _ => rest,
    };
    (name.strip_prefix(b"linux_").unwrap_or(name), rest)
}

/// Whether a call has an address among its arguments or results, which is not that of accept.
fn has_address(name: &[u8]) -> bool {
    [
        &b"connect"[..],
        b"sendto",
        b"sendmsg",
        b"recvfrom",
        b"recvmsg",
        b"getpeername",
        b"getsockname",
    ]
    .iter()
    .any(|known| name.starts_with(known))
}

fn begun(text: &[u8]) -> Read {
    let (name, rest) = call_name(text);
    let socket = || {
        let mut cursor = Cursor(rest.strip_prefix(b"(")?);
        cursor.integer().and_then(|fd| u32::try_from(fd).ok()).map(Socket::Descriptor)
    };
    match name {
        b"accept" | b"accept4" => Read::Step(Step::Accepts(socket())),
        b"bind" => socket().map_or(Read::Nothing, |socket| Read::Step(Step::Binds(socket))),
        name if has_address(name) => Read::Step(Step::Other),
        _ => Read::Nothing,
    }
}

/// Reads `struct sockaddr { AF_INET, 198.51.100.7:40755 }`.
fn address(text: &[u8]) -> Read {
    let Some(inside) = text.strip_prefix(b"struct sockaddr { ") else { return Read::Nothing };
    let Some(comma) = memchr::memchr(b',', inside) else { return Read::Damaged };
    if !matches!(&inside[..comma], b"AF_INET" | b"AF_INET6") {
        return Read::Step(Step::Answers(Local::Other));
    }
    let end = || {
        let address = inside[comma..].strip_prefix(b", ")?;
        let address = &address[..memmem::find(address, b" }")?];
        let (host, port) = Host::before_colon(address)?;
        Some((host, number(port)?))
    };
    match end() {
        Some((host, port)) => {
            let host = Some(host).filter(|host| host.ip().is_some_and(|ip| !ip.is_unspecified()));
            Read::Step(Step::Answers(Local::Ip(host, port)))
        }
        None => Read::Damaged,
    }
}

fn ended(record: &Record<'_>, stamp: Stamp) -> Read {
    let (name, rest) = call_name(record.rest);
    // `4`, `10/0xa`, `-1 errno 35 Resource temporarily unavailable`, `RESTART`.
    let result = Cursor(rest.trim_ascii()).word();
    if result.is_empty() {
        return Read::Damaged;
    }
    let returned = || {
        let mut cursor = Cursor(result);
        cursor.integer().and_then(|fd| i32::try_from(fd).ok())
    };
    match name {
        b"accept" | b"accept4" => {}
        b"socket" => {
            let socket = returned().and_then(|fd| u32::try_from(fd).ok()).map(Socket::Descriptor);
            return socket.map_or(Read::Nothing, |socket| Read::Step(Step::Made(socket, None)));
        }
        name if has_address(name) => return Read::Step(Step::Other),
        _ => return Read::Nothing,
    }
    if matches!(result, b"-1" | b"RESTART" | b"JUSTRETURN") {
        return Read::Step(Step::NotAccepted);
    }
    let Some(fd) = returned() else { return Read::Damaged };
    let mut event = Event::new(stamp, unknown_ends(), Some(true));
    event.more.pid = Some(record.thread.pid);
    event.more.tid = (record.thread.tid != 0).then_some(record.thread.tid);
    event.more.comm = Some(String::from_utf8_lossy(record.comm).into());
    event.more.fd = Some(fd);
    Read::Step(Step::Accepted { listener: None, event: Box::new(event), is_address_next: false })
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let name = common_name(inputs.iter());
    let seen = line_log::read::<Kdump>(inputs, cx);
    seen.calls.report(
        &name,
        "run ktrace without -t",
        ", because the server did not ask accept for it, or ktrace ran with -t and did not record structures",
        cx,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        let log = Kdump { has_records: true, is_relative: false };
        match log.parse_line(line.as_bytes()) {
            ParsedLine::Call(call) => match call.step {
                Step::Accepted { event, .. } => {
                    let comm = event.more.comm.as_deref().unwrap();
                    format!("{:?} {:?} {comm} {}", call.stamp, call.thread, event.more.fd.unwrap())
                }
                other => format!("{other:?}"),
            },
            other => format!("{other:?}"),
        }
    }

    /// Lines and what is read of them.
    const LINES: &[(&str, &str)] = &[
        (
            "   912 nginx    CALL  accept4(0x6,0x7fffffffe5a0,0x7fffffffe59c,0x20000000<SOCK_NONBLOCK>)",
            "Accepts(Some(Descriptor(6)))",
        ),
        (
            "   912 nginx    CALL  accept[30](6,0x7fffffffe5a0,0x7fffffffe59c)",
            "Accepts(Some(Descriptor(6)))",
        ),
        (
            "   912 nginx    STRU  struct sockaddr { AF_INET, 198.51.100.7:40755 }",
            "Answers(Ip(Some(Ip(198.51.100.7)), 40755))",
        ),
        (
            "   912 nginx    STRU  struct sockaddr { AF_INET6, [2001:db8::7]:40755 }",
            "Answers(Ip(Some(Ip(2001:db8::7)), 40755))",
        ),
        ("   912 nginx    STRU  struct sockaddr { AF_INET6, [::]:443 }", "Answers(Ip(None, 443))"),
        ("   912 nginx    STRU  struct sockaddr { AF_UNIX, /var/run/x }", "Answers(Other)"),
        ("   912 nginx    STRU  struct sockaddr { AF_INET, 198.51.100.7:40", "Broken"),
        ("   912 nginx    STRU  struct stat {dev=94, ino=3 }", "Other"),
        ("   912 nginx    RET   accept4 4", "None Thread { pid: 912, tid: 0 } nginx 4"),
        (
            "   912 nginx    1795345122.200113 RET   accept 10/0xa",
            "Epoch(1795345122200113000) Thread { pid: 912, tid: 0 } nginx 10",
        ),
        (
            "   912 nginx    0.200113 RET   accept 0xa",
            "Elapsed(200113000) Thread { pid: 912, tid: 0 } nginx 10",
        ),
        ("   912 100133 my app   RET   accept 4", "None Thread { pid: 912, tid: 100133 } my app 4"),
        (" 912/100133 httpd    RET   accept 4", "None Thread { pid: 912, tid: 100133 } httpd 4"),
        (
            "   912 nginx    RET   accept -1 errno 35 Resource temporarily unavailable",
            "NotAccepted",
        ),
        ("   912 nginx    RET   accept", "Broken"),
        ("   912 nginx    RET   socket 6", "Made(Descriptor(6), None)"),
        ("   912 nginx    CALL  bind(0x6,0x801234567,0x10)", "Binds(Descriptor(6))"),
        ("   912 nginx    RET   connect 0", "Other"),
        ("   912 nginx    RET   read 4", "Other"),
        ("   912 nginx    GIO   fd 3 read 12 bytes", "Other"),
        ("       \"912 nginx    RET   accept 4\"", "Foreign"),
        ("   912 nginx    Events dropped.", "Lost"),
        ("   912 nginx    RET   acc", "Broken"),
        // A line of strace.
        ("912 write(1, \"see CALL  accept(3)\", 12) = 12", "Foreign"),
    ];

    #[test]
    fn every_record_of_an_accept_is_read() {
        for (line, want) in LINES {
            assert_eq!(shown(line), *want, "{line}");
        }
    }
}
