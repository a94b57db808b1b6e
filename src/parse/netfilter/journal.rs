//! Entries of the journal, in the forms that have fields: export, verbose and json.

use serde::Deserialize;

/// The fields of an entry that matter.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// `MESSAGE`.
    pub message: Vec<u8>,
    /// `__REALTIME_TIMESTAMP`, microseconds since 1970.
    pub realtime: Option<i64>,
    /// A program said it, and not the kernel.
    pub programs: bool,
}

impl Entry {
    /// Takes a line `KEY=value`; false if it is none.
    pub fn field(&mut self, line: &[u8]) -> bool {
        let Some(equals) = memchr::memchr(b'=', line) else { return false };
        let (key, value) = (&line[..equals], &line[equals + 1..]);
        let fits = |b: &u8| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_';
        if key.is_empty() || !key.iter().all(fits) {
            return false;
        }
        match key {
            b"MESSAGE" => self.message = value.to_vec(),
            b"__REALTIME_TIMESTAMP" => {
                self.realtime = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok());
            }
            b"SYSLOG_IDENTIFIER" => self.programs |= !matches!(value, b"kernel" | b"ulogd"),
            b"_TRANSPORT" => self.programs |= value == b"stdout",
            _ => {}
        }
        true
    }

    /// Reads a JSON object; `None` if it is none of the journal's.
    pub fn json(text: &[u8]) -> Option<Entry> {
        let object: Object<'_> = serde_json::from_slice(text).ok()?;
        let message = match object.message {
            Some(Text::Utf8(text)) => text.into_owned().into_bytes(),
            Some(Text::Bytes(bytes)) => bytes,
            Some(Text::Other(_)) | None => Vec::new(),
        };
        Some(Entry {
            message,
            realtime: object.realtime.and_then(|t| t.parse().ok()),
            programs: object.identifier.is_some_and(|i| !matches!(&*i, "kernel" | "ulogd")),
        })
    }
}

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(rename = "MESSAGE", borrow)]
    message: Option<Text<'a>>,
    #[serde(rename = "__REALTIME_TIMESTAMP", borrow)]
    realtime: Option<std::borrow::Cow<'a, str>>,
    #[serde(rename = "SYSLOG_IDENTIFIER", borrow)]
    identifier: Option<std::borrow::Cow<'a, str>>,
}

/// Text that is not UTF-8 is an array of bytes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text<'a> {
    Utf8(std::borrow::Cow<'a, str>),
    Bytes(Vec<u8>),
    Other(serde::de::IgnoredAny),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_in_its_forms() {
        let line = br#"{"MESSAGE":"a \"b\" IN=","__REALTIME_TIMESTAMP":"17","_PID":1}"#;
        let entry = Entry::json(line).unwrap();
        assert_eq!((&entry.message[..], entry.realtime), (&b"a \"b\" IN="[..], Some(17)));
        let bytes = br#"{ "MESSAGE" : [73,78,61], "SYSLOG_IDENTIFIER" : "sshd" }"#;
        let entry = Entry::json(bytes).unwrap();
        assert_eq!((&entry.message[..], entry.programs), (&b"IN="[..], true));
        assert_eq!(Entry::json(br#"{"MESSAGE":null}"#), Some(Entry::default()));
        assert_eq!(Entry::json(b"{"), None);
    }
}
