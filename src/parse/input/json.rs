//! Logs whose lines are wrapped in JSON objects: by Docker, rsyslog, journald, `dmesg -J`, and
//! those that collect logs. [`Unwrap`] gives the lines as a syslog file would have them. Lines in
//! [`logfmt`] are unwrapped too.
//!
//! Objects may come one a line, one after another over many lines, or in arrays. Lines that are no
//! JSON are passed on as they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::json_members::TEXT;
use super::logfmt;
use super::objects::{Objects, RESULT};
use crate::parse::cursor::Cursor;
use crate::parse::input::source::Convert;

/// The times of lines that are taken out of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineTimes {
    /// The lines have times of their own.
    Own,
    /// Each line gets the time of its object.
    OfObject,
}

/// Whether a text that begins with `head` is wrapped in JSON, and if so, which times its lines get.
pub(super) fn wrapped_times(head: &[u8]) -> Option<LineTimes> {
    if !may_have_objects(head) && !begins_with_logfmt(begin(head)) {
        return None;
    }
    let mut objects = Objects::new(false);
    objects.feed(head);
    let own_stamp = || objects.text.split(|b| *b == b'\n').any(has_stamp);
    let times = || if own_stamp() { LineTimes::Own } else { LineTimes::OfObject };
    (objects.unwrapped > 0).then(times)
}

/// Whether `head` ends within an object or an array that may hold a log, and has no whole one.
pub(super) fn is_open(head: &[u8]) -> bool {
    may_have_objects(head) && {
        let mut objects = Objects::new(false);
        objects.feed(head);
        // strace writes braces, too, but no quotes behind them.
        let is_bracket = |b: &u8| b.is_ascii_whitespace() || b"{[".contains(b);
        let first = objects.pending.iter().find(|b| !is_bracket(b));
        objects.unwrapped == 0 && !objects.open.is_empty() && first.is_none_or(|b| *b == b'"')
    }
}

/// Whether `head` has the result of a task of Ansible that is too large to be unwrapped. It has what a program wrote
/// twice: as a text, and as a list of lines.
pub(super) fn has_unread_result(head: &[u8]) -> bool {
    let has = |member: &[u8]| memchr::memmem::find(head, member).is_some();
    (has(b"\"stdout\":") || has(b"\"stderr\":")) && may_have_objects(head)
}

fn may_have_objects(head: &[u8]) -> bool {
    matches!(begin(head).first(), Some(b'{' | b'[')) || has_result(head)
}

/// Where the text of `head` begins.
fn begin(head: &[u8]) -> &[u8] {
    let begin = head.trim_ascii_start();
    let begin = begin.strip_prefix(b"\x1e").unwrap_or(begin);
    begin.strip_prefix(b"data:").unwrap_or(begin).trim_ascii_start()
}

/// Whether a line has the result of a task of Ansible.
fn has_result(text: &[u8]) -> bool {
    memchr::memmem::find_iter(text, RESULT).any(|at| text.get(at + RESULT.len()) == Some(&b'{'))
}

/// Whether the first line is in logfmt.
fn begins_with_logfmt(text: &[u8]) -> bool {
    let first = text.split(|b| *b == b'\n').next().unwrap_or_default();
    logfmt::read(first, |key| TEXT.contains(&key)).is_some()
}

/// Whether a line begins with a time of a clock, perhaps behind a process id of strace.
fn has_stamp(line: &[u8]) -> bool {
    let mut cursor = Cursor(line);
    let mut pid = cursor;
    if pid.eat(b"[pid ") {
        pid.blanks();
        if pid.number_up_to(10).is_some() && pid.eat(b"] ") {
            cursor = pid;
        }
    } else if pid.number_up_to(7).is_some() && pid.eat(b" ") {
        pid.blanks();
        cursor = pid;
    }
    let mut month = cursor;
    cursor.iso().is_some()
        || cursor.clock().is_some()
        || month.month_and_day().is_some()
        || cursor.seconds().is_some_and(|ns| ns >= 100_000_000_000_000_000)
}

/// What was seen of the objects, for the report.
#[derive(Debug, Default)]
pub(crate) struct UnwrapStatus {
    /// Objects that could not be read.
    broken: AtomicU64,
    /// Of each member of [`TEXT`] a bit, if texts came from it.
    members: AtomicU64,
}

impl UnwrapStatus {
    /// How many objects could not be read.
    pub(crate) fn broken(&self) -> u64 {
        self.broken.load(Ordering::Relaxed)
    }

    /// The members that texts came from.
    pub(crate) fn members(&self) -> Vec<&'static str> {
        let bits = self.members.load(Ordering::Relaxed);
        TEXT.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1).map(|(_, key)| *key).collect()
    }
}

/// Takes the lines out of JSON objects.
pub(super) struct Unwrap {
    objects: Objects,
    status: Arc<UnwrapStatus>,
}

impl Unwrap {
    /// What was seen is added to `status`.
    pub(super) fn new(times: LineTimes, status: Arc<UnwrapStatus>) -> Unwrap {
        Unwrap { objects: Objects::new(times == LineTimes::OfObject), status }
    }
}

impl Convert for Unwrap {
    fn convert(&mut self, raw: &[u8], text: &mut Vec<u8>) {
        if raw.is_empty() {
            self.objects.end();
        } else {
            self.objects.feed(raw);
        }
        text.append(&mut self.objects.text);
        let broken = std::mem::take(&mut self.objects.broken);
        self.status.broken.fetch_add(broken, Ordering::Relaxed);
        self.status.members.fetch_or(self.objects.members, Ordering::Relaxed);
    }
}

/// Returns the lines in one JSON object, each with the time of the object; `None` if the object
/// cannot be read or contains no text.
pub(crate) fn unwrap_object(object: &[u8]) -> Option<Vec<u8>> {
    let mut objects = Objects::new(true);
    objects.feed(object);
    objects.end();
    (objects.unwrapped > 0 && objects.broken == 0).then_some(objects.text)
}

/// Returns the lines in a line of logfmt or of JSON, as [`unwrap_object`] does.
pub(crate) fn unwrap_line(line: &[u8]) -> Option<Vec<u8>> {
    let line = line.trim_ascii();
    if may_be_wrapped(line) { unwrap_object(line) } else { None }
}

/// Whether a line, without blanks around it, may be what [`unwrap_line`] unwraps.
#[inline]
pub(crate) fn may_be_wrapped(line: &[u8]) -> bool {
    // What begins with a letter or digit is an object behind `data:`, or logfmt.
    let begins = || {
        !line.first().is_some_and(u8::is_ascii_alphanumeric)
            || line.starts_with(b"data:")
            || logfmt::begins(line)
    };
    line.starts_with(b"{\"") || begins() && memchr::memmem::find(line, b"=\"").is_some()
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};

    use super::*;
    use crate::parse::input::objects::DOCKER_LINE;
    use crate::parse::input::source::Converted;

    fn unwrapped(text: &str) -> String {
        let Some(times) = wrapped_times(text.as_bytes()) else { return format!("plain: {text}") };
        let status = Arc::new(UnwrapStatus::default());
        let raw = Box::new(io::Cursor::new(text.as_bytes().to_vec()));
        let mut out = String::new();
        Converted::new(raw, Unwrap::new(times, Arc::clone(&status)))
            .read_to_string(&mut out)
            .unwrap();
        match status.broken() {
            0 => out,
            n => format!("{out}broken: {n}"),
        }
    }

    #[test]
    fn lines_of_many_tools_are_unwrapped() {
        let at = "2026-11-22T10:58:42.5Z";
        for (text, want) in [
            // Docker's json-file.
            (
                r#"{"log":"a \"b\"\n","stream":"stderr","time":"2026-11-22T10:58:42.5Z"}"#,
                format!("{at} a \"b\"\n"),
            ),
            // journalctl -o json, json-seq, json-sse, json-pretty.
            (
                r#"{"MESSAGE":"a","__REALTIME_TIMESTAMP":"1795345122500000","_HOSTNAME":"h","SYSLOG_IDENTIFIER":"sshd","_PID":"7"}"#,
                format!("{at} h sshd[7]: a\n"),
            ),
            (
                "\u{1e}{\"MESSAGE\":[97,98],\"__REALTIME_TIMESTAMP\":\"1795345122500000\"}",
                format!("{at} ab\n"),
            ),
            ("data: {\"MESSAGE\":\"a\"}\n\ndata: {\"MESSAGE\":\"b\"}\n\n", "a\nb\n".into()),
            (
                "{\n\t\"MESSAGE\" : \"a {\",\n\t\"x\" : null\n}\n{\n\t\"MESSAGE\" : \"b\"\n}\n",
                "a {\nb\n".into(),
            ),
            // rsyslog.
            (
                r#"{"timestamp":"2026-11-22T10:58:42.5Z","message":" a","host":"gw","syslog-tag":"kernel:"}"#,
                format!("{at} gw kernel:  a\n"),
            ),
            // dmesg -J.
            (
                "{\n   \"dmesg\": [\n      {\n         \"pri\": 4,\n         \"time\":  1485.291490,\n         \"msg\": \"a\"\n      },{\n         \"msg\": \"b\"\n      }\n   ]\n}\n",
                "[1485.291490] a\nb\n".into(),
            ),
            // An array, and what collectors of logs make of it.
            (
                r#"[{"@timestamp":1795345122500,"message":"a"},{"x":[{"y":1}],"message":"b"}]"#,
                format!("{at} a\nb\n"),
            ),
            (r#"{"preview":false,"result":{"_raw":"a\nb"}}"#, "a\nb\n".into()),
            (r#"{"log":"{\"message\":\"a\"}"}"#, "a\n".into()),
            (
                r#"{"log":"{\"event_type\":\"flow\"}\n","time":"2026-11-22T10:58:42.5Z"}"#,
                "{\"event_type\":\"flow\"}\n".into(),
            ),
            // Lines that have their time keep it; what is no JSON stays.
            (
                r#"{"log":"10:58:42.1 IP a","time":"2026-11-22T10:58:42.5Z"}"#,
                "10:58:42.1 IP a\n".into(),
            ),
            (
                r#"{"log":"[pid 7] 10:58:42 a","time":"2026-11-22T10:58:42.5Z"}"#,
                "[pid 7] 10:58:42 a\n".into(),
            ),
            ("{\"log\":\"a\"}\nplain { text\n{\"log\":\"b\"}\n", "a\nplain { text\nb\n".into()),
            ("{\"log\":\"a\"}\n{\"log\":\"b\n{\"log\":\"c\"}\n", "a\nc\nbroken: 1".into()),
            ("{\"log\":\"a\"}\n{\"log\":\"b\",\"x\n", "a\nbroken: 1".into()),
            ("{\"log\":\"a\"}\n{\"log\":\n{\"log\":\"c\"}\n", "a\nc\nbroken: 1".into()),
            // logfmt.
            (
                "time=\"2026-11-22T10:58:42.5Z\" level=info msg=\"a \\\"b\\\"\"\nplain\nlevel=info msg=\"c\"\n",
                format!("{at} a \"b\"\nplain\nc\n"),
            ),
            ("level=info msg=\"a\"\nlevel=info msg=\"b", "a\nbroken: 1".into()),
            ("{\"a\":1}\n", "plain: {\"a\":1}\n".into()),
            ("accept(3, {x}) = 4\n", "plain: accept(3, {x}) = 4\n".into()),
        ] {
            assert_eq!(unwrapped(text), want, "{text}");
        }
    }

    #[test]
    fn objects_of_another_record_stay() {
        let text = "{\"log\":\"a\"}\n{\"x\":\n[\"198.51.100.7,192.0.2.77\"]}\n{\"x\":1}\n{\"log\":\"b\"}\n";
        assert_eq!(unwrapped(text), "a\n{\"x\": [\"198.51.100.7,192.0.2.77\"]}\nb\n");
    }

    #[test]
    fn parts_of_a_long_line_of_docker_are_joined() {
        let part = "x".repeat(DOCKER_LINE);
        let text = format!("{{\"log\":\"{part}\"}}\n{{\"log\":\"y\\n\"}}\n{{\"log\":\"z\"}}\n");
        assert_eq!(unwrapped(&text), format!("{part}y\nz\n"));
    }
}
