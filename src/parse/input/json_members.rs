//! The members of JSON objects that wrap lines: the text, the time, and the source of the text.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::parse::cursor::Cursor;
use crate::parse::timestamp::Stamp;

/// Maximum number of objects around a text.
const MAX_DEPTH: usize = 3;

/// Members that hold the text, the surest first.
pub(super) const TEXT: &[&str] = &[
    "MESSAGE",
    "log",
    "message",
    "msg",
    "line",
    "_raw",
    "textPayload",
    "original",
    // GELF.
    "full_message",
    "short_message",
    // OpenTelemetry.
    "body",
    "stringValue",
    // Humio, CloudWatch Insights, Sentinel, Splunk's HTTP collector, and pagers of other collectors.
    "@rawstring",
    "@message",
    "SyslogMessage",
    "event",
    "text",
    "content",
    // Loki, see [`timed_lines`], and Ansible, see [`output`].
    VALUES,
    STDOUT,
    STDERR,
];
const VALUES: &str = "values";
const STDOUT: &str = "stdout";
const STDERR: &str = "stderr";
/// Members that hold the time.
const TIME: &[&str] = &[
    "__REALTIME_TIMESTAMP",
    "time",
    "timestamp",
    "@timestamp",
    "timereported",
    "timegenerated",
    "_time",
    "date",
    "ts",
];
const HOST: &[&str] = &["_HOSTNAME", "host", "hostname", "fromhost"];
const TAG: &[&str] = &[
    "SYSLOG_IDENTIFIER",
    "syslog-tag",
    "syslogtag",
    "programname",
    "app-name",
    "appname",
    // Graylog.
    "application_name",
    "ident",
];
const PID: &[&str] = &["SYSLOG_PID", "_PID", "procid", "pid"];

/// The text of an object, and the name of its member.
pub(super) fn find_text(object: &Map<String, Value>) -> Option<(&'static str, String)> {
    find_text_in(object, 0)
}

fn find_text_in(object: &Map<String, Value>, depth: usize) -> Option<(&'static str, String)> {
    if let Some(output) = output(object) {
        return Some(output);
    }
    for key in TEXT {
        let text = match object.get(*key) {
            Some(Value::String(text)) => text.clone(),
            // journald writes bytes where the text is not UTF-8, others lists of texts.
            Some(Value::Array(values)) => match bytes(values).or_else(|| lines(values)) {
                Some(text) => text,
                None => continue,
            },
            _ => continue,
        };
        if depth < MAX_DEPTH
            && text.trim_start().starts_with('{')
            && let Ok(Value::Object(inner)) = serde_json::from_slice(text.as_bytes())
            && let Some((_, text)) = find_text_in(&inner, depth + 1)
        {
            return Some((key, text));
        }
        return Some((key, text));
    }
    if depth == MAX_DEPTH {
        return None;
    }
    object.values().filter_map(Value::as_object).find_map(|inner| find_text_in(inner, depth + 1))
}

/// What a program wrote, in the result of a task of Ansible. Its message is about the task.
fn output(object: &Map<String, Value>) -> Option<(&'static str, String)> {
    if !object.contains_key("rc") && !object.contains_key("changed") {
        return None;
    }
    let text = |key| object.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    match (text(STDOUT), text(STDERR)) {
        (None, None) => None,
        (Some(one), None) => Some((STDOUT, one.to_owned())),
        (None, Some(one)) => Some((STDERR, one.to_owned())),
        (Some(out), Some(err)) => Some((STDOUT, format!("{out}\n{err}"))),
    }
}

/// The lines of a stream of Loki, `"values": [["1795345122500000000", "line"], …]`, each with its time; `None`: the
/// object has no such list. The member that holds them is returned, too.
pub(super) fn timed_lines(
    object: &Map<String, Value>,
) -> Option<(&'static str, Vec<(String, &str)>)> {
    let values = object.get(VALUES)?.as_array().filter(|values| !values.is_empty())?;
    let lines = values.iter().map(|value| match value.as_array().map(Vec::as_slice) {
        Some([at, Value::String(text), ..]) => Some((time(at)? + " ", text.as_str())),
        _ => None,
    });
    Some((VALUES, lines.collect::<Option<Vec<_>>>()?))
}

fn bytes(values: &[Value]) -> Option<String> {
    let byte = |value: &Value| value.as_u64().and_then(|b| u8::try_from(b).ok());
    let bytes = values.iter().map(byte).collect::<Option<Vec<u8>>>()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn lines(values: &[Value]) -> Option<String> {
    let lines: Option<Vec<&str>> = values.iter().map(Value::as_str).collect();
    lines.map(|lines| lines.join("\n"))
}

/// `TIME HOST TAG: `, from the members of the object.
pub(super) fn prefix(object: &Map<String, Value>) -> String {
    let word = |keys: &[&str]| {
        let text = keys.iter().find_map(|key| match object.get(*key)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        })?;
        (!text.is_empty() && !text.contains(char::is_whitespace)).then_some(text)
    };
    let Some(time) = TIME.iter().find_map(|key| time(object.get(*key)?)) else {
        return String::new();
    };
    let Some(tag) = word(TAG) else { return time + " " };
    let host = word(HOST).unwrap_or_else(|| "-".into());
    let tag = tag.trim_end_matches(':');
    match word(PID).filter(|_| !tag.contains('[') && tag != "kernel") {
        Some(pid) => format!("{time} {host} {tag}[{pid}]: "),
        None => format!("{time} {host} {tag}: "),
    }
}

/// [`prefix`] of an object whose only member that it is made of is a time in a text.
pub(super) fn text_prefix(time: &str) -> String {
    match time_of_text(time) {
        Some(time) => [&*time, " "].concat(),
        None => String::new(),
    }
}

/// A time as a log has it: in RFC 3339, or as it is, or seconds since the boot in brackets.
fn time(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => time_of_text(text).map(Cow::into_owned),
        Value::Number(number) => time_of_number(number.as_f64()?),
        _ => None,
    }
}

fn time_of_text(text: &str) -> Option<Cow<'_, str>> {
    let text = text.trim();
    let mut cursor = Cursor(text.as_bytes());
    match cursor.iso() {
        // Without a zone, it is a local time.
        Some(Stamp::Civil(..)) => Some(text.replacen(' ', "T", 1).into()),
        Some(_) => Some(text.into()),
        None if cursor.month_and_day().is_some() => Some(text.into()),
        None => time_of_number(text.parse().ok()?).map(Cow::Owned),
    }
}

/// Seconds, or some thousandth of them.
fn time_of_number(number: f64) -> Option<String> {
    let seconds = match number {
        n if n < 1e9 => return Some(format!("[{n:.6}]")),
        n if n < 1e11 => n,
        n if n < 1e14 => n / 1e3,
        n if n < 1e17 => n / 1e6,
        n => n / 1e9,
    };
    let us = (seconds * 1e6).round();
    Some(Timestamp::from_microsecond(us as i64).ok()?.to_string())
}
