//! Logs of MongoDB in JSON, as mongod and mongos write them since 4.4: message 22943 for each connection that was
//! accepted.
//!
//! The members are those of MongoDB's manual ("Log Messages", structured logging).

use memchr::memmem;
use serde_json::Value;

use super::cursor::Cursor;
use super::input::{Input, common_name};
use super::line_log::{self, LineLog, ParsedLine};
use super::reader::{Context, RecordFormat};
use super::server_log;

/// MongoDB's log.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "mongodb",
    about: "log of MongoDB in JSON",
    connection: "a connection that MongoDB logged when it accepted it",
    is_text: true,
    is_json: true,
    is_snapshot: false,
    recognise: line_log::recognise::<MongoDb>,
    run: |_| Some(String::new()),
    read,
};

struct MongoDb;

impl LineLog for MongoDb {
    fn of(_: &[&[u8]]) -> MongoDb {
        MongoDb
    }

    fn parse_line(&self, line: &[u8]) -> ParsedLine {
        let has = |text: &str| memmem::find(line, text.as_bytes()).is_some();
        if line.first() != Some(&b'{') || !has("\"$date\"") || !has("\"ctx\"") {
            return ParsedLine::Foreign;
        }
        if !has("\"Connection accepted\"") {
            return ParsedLine::Other;
        }
        let Ok(object) = serde_json::from_slice::<Value>(line) else { return ParsedLine::Broken };
        let text =
            |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        if text("/c") != "NETWORK" || text("/msg") != "Connection accepted" {
            return ParsedLine::Other;
        }
        match server_log::plain(text("/attr/remote").as_bytes()) {
            Some(peer) => {
                let stamp = Cursor(text("/t/$date").as_bytes()).iso().unwrap_or_default();
                server_log::parsed(stamp, peer)
            }
            None => ParsedLine::Broken,
        }
    }

    fn without_evidence(&self) -> Option<&'static str> {
        Some(
            "it has no message 'Connection accepted', so nothing shows that connections are logged; mongod logs them \
             unless it runs with --quiet",
        )
    }
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let name = common_name(inputs.iter());
    line_log::read::<MongoDb>(inputs, cx);
    server_log::warn_of_levels(&name, cx);
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEPTED: &str = r#"{"t":{"$date":"2026-11-22T10:58:42.123+00:00"},"s":"I",  "c":"NETWORK",  "id":22943,   "ctx":"listener","msg":"Connection accepted","attr":{"remote":"198.51.100.7:40755","connectionId":1}}"#;

    fn shown(line: &str) -> String {
        match MongoDb.parse_line(line.as_bytes()) {
            ParsedLine::Ends(stamp, ends, _) => {
                format!("{stamp:?} {:?} {:?}", ends.client.ip().unwrap(), ends.client_port)
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn each_accepted_connection_is_a_message() {
        assert_eq!(shown(ACCEPTED), "Epoch(1795345122123000000) 198.51.100.7 Some(40755)");
        assert!(shown(&ACCEPTED.replace("198.51.100.7", "[2001:db8::7]")).contains("2001:db8::7"));
        let unix = ACCEPTED.replace("198.51.100.7:40755", "anonymous unix socket");
        assert_eq!(shown(&unix), "Evidence");
        assert_eq!(shown(&ACCEPTED.replace("198.51.100.7", "x")), "Broken");
        assert_eq!(shown(&ACCEPTED[..ACCEPTED.len() - 1]), "Broken");
        assert_eq!(shown(&ACCEPTED.replace("accepted", "ended")), "Other");
        let quoted = ACCEPTED.replace("\"NETWORK\"", "\"COMMAND\"");
        assert_eq!(shown(&quoted), "Other");
        assert_eq!(shown("{\"a\":1}"), "Foreign");
    }
}
