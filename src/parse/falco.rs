//! Alerts of Falco in JSON (`json_output: true`): those of accept and accept4.
//!
//! The members are those of Falco's documentation ("Formatting Alerts", "Supported Fields for Conditions and Outputs"). Which
//! fields an alert has depends on its rule.

use memchr::memmem;
use serde_json::Value;

use super::calls::unknown_ends;
use super::cursor::Cursor;
use super::digits::number;
use super::host::{Ends, Host};
use super::input::{Input, common_name};
use super::line_log::{self, Event, LineLog, ParsedLine};
use super::reader::{Context, RecordFormat};
use super::requests::WrittenFor;
use super::timestamp::Stamp;

/// Falco's alerts.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "falco",
    about: "alerts of Falco in JSON",
    connection: "an alert of an accept call (evt.type)",
    is_text: true,
    is_json: true,
    is_snapshot: false,
    recognise: line_log::recognise::<Falco>,
    run: |_| Some(String::new()),
    read,
};

struct Falco {
    has_alerts: bool,
}

impl LineLog for Falco {
    fn of(lines: &[&[u8]]) -> Falco {
        Falco { has_alerts: lines.iter().any(|line| is_alert(line)) }
    }

    fn parse_line(&self, line: &[u8]) -> ParsedLine {
        let has = |text: &str| memmem::find(line, text.as_bytes()).is_some();
        if self.has_alerts && line.first() == Some(&b'{') && !line.trim_ascii_end().ends_with(b"}")
        {
            return ParsedLine::Broken;
        }
        if !is_alert(line) {
            return ParsedLine::Foreign;
        }
        if has("Falco internal: syscall event drop") {
            return ParsedLine::Lost;
        }
        if !has(r#""accept"#) {
            return ParsedLine::Other;
        }
        let Ok(alert) = serde_json::from_slice::<Value>(line) else { return ParsedLine::Broken };
        let fields = &alert["output_fields"];
        let is_accept = matches!(fields["evt.type"].as_str(), Some("accept" | "accept4"));
        if !is_accept || is_other_socket(fields) {
            return ParsedLine::Other;
        }
        ends(fields).map_or(ParsedLine::Broken, |ends| {
            let mut event = Event::new(stamp(&alert), ends, Some(true));
            // Each rule that fits reports the call.
            event.written_for = WrittenFor::Start(call_number(&event));
            event.more.pid = fields["proc.pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
            event.more.comm = fields["proc.name"].as_str().map(Into::into);
            event.parsed()
        })
    }

    fn without_evidence(&self) -> Option<&'static str> {
        Some(
            "it has no alert of accept, so nothing shows that a rule reports accepted connections; one with the condition \
             'evt.type in (accept, accept4)' and the output fields %evt.type and %fd.name does",
        )
    }
}

/// Whether a line is a whole alert.
fn is_alert(line: &[u8]) -> bool {
    let has = |member: &str| memmem::find(line, member.as_bytes()).is_some();
    line.first() == Some(&b'{')
        && [r#""output""#, r#""priority""#, r#""rule""#].into_iter().all(has)
}

/// Whether a socket is none of TCP.
fn is_other_socket(fields: &Value) -> bool {
    let is = |field: &str, names: &[&str]| {
        fields[field].as_str().is_some_and(|name| names.contains(&name))
    };
    is("fd.type", &["unix", "file"]) || is("fd.l4proto", &["udp", "icmp", "raw"])
}

/// Reads `fd.name`, or the fields of the ends. In both the client comes first, whoever is local.
fn ends(fields: &Value) -> Option<Ends> {
    if let Some((from, to)) = fields["fd.name"].as_str().and_then(|name| name.split_once("->")) {
        let ((client, client_port), (server, server_port)) = (end(from)?, end(to)?);
        return Some(Ends { client, client_port, server, server_port });
    }
    let host = |names: [&str; 2]| {
        names.iter().find_map(|name| Host::address(fields[*name].as_str()?.as_bytes()))
    };
    let port = |names: [&str; 2]| {
        names.iter().find_map(|name| match &fields[*name] {
            Value::String(text) => number(text.as_bytes()),
            value => value.as_u64().and_then(|port| u16::try_from(port).ok()),
        })
    };
    Some(Ends {
        client: host(["fd.cip", "fd.rip"])?,
        client_port: port(["fd.cport", "fd.rport"]),
        server: host(["fd.sip", "fd.lip"]).unwrap_or(unknown_ends().server),
        server_port: port(["fd.sport", "fd.lport"]),
    })
}

/// `198.51.100.7:40755`; the port may be the name of a service.
fn end(text: &str) -> Option<(Host, Option<u16>)> {
    let (host, port) = Host::before_colon(text.as_bytes())?;
    Some((host, number(port)))
}

/// The time of a call, which the alerts of other rules about the same call have, too. A time in whole milliseconds may be
/// rounded, and without its port a client may have made several connections then.
fn call_number(event: &Event) -> Option<u64> {
    let Stamp::Epoch(ns) = event.stamp else { return None };
    let is_exact = ns % 1_000_000 != 0 || event.ends.client_port.is_some();
    is_exact.then_some(ns.cast_unsigned())
}

fn stamp(alert: &Value) -> Stamp {
    let time = alert["time"].as_str().and_then(|time| Cursor(time.as_bytes()).iso());
    let ns = || alert["output_fields"]["evt.time"].as_i64().map(Stamp::Epoch);
    time.or_else(ns).unwrap_or(Stamp::None)
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let name = common_name(inputs.iter());
    line_log::read::<Falco>(inputs, cx);
    cx.status.warn(format!(
        "{name}: Falco reports the calls that its rules select and its rate limits allow, so accepted connections may be \
         missing"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALERT: &str = r#"{"hostname":"web1","output":"10:58:42.382570987: Notice Inbound SSH Connection (command=sshd pid=1298 connection=198.51.100.7:40755->192.0.2.77:22 type=accept)","output_fields":{"evt.time":1795345122382570987,"evt.type":"accept","fd.name":"198.51.100.7:40755->192.0.2.77:22","proc.name":"sshd","proc.pid":1298},"priority":"Notice","rule":"Inbound SSH Connection","source":"syscall","tags":[],"time":"2026-11-22T10:58:42.382570987Z"}"#;

    fn shown(line: &str) -> String {
        match (Falco { has_alerts: true }).parse_line(line.as_bytes()) {
            ParsedLine::Connection(event) => {
                let Event { stamp, ends, more, .. } = *event;
                let host = |host: &Host| host.ip().map_or("-".into(), |ip| ip.to_string());
                format!(
                    "{stamp:?} {} {:?} {} {:?} {:?}",
                    host(&ends.client),
                    ends.client_port,
                    host(&ends.server),
                    ends.server_port,
                    more.pid
                )
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn alerts_of_accept_count() {
        let want =
            "Epoch(1795345122382570987) 198.51.100.7 Some(40755) 192.0.2.77 Some(22) Some(1298)";
        assert_eq!(shown(ALERT), want);
        let name = r#""fd.name":"198.51.100.7:40755->192.0.2.77:22""#;
        let fields =
            r#""fd.cip":"198.51.100.7","fd.cport":40755,"fd.sip":"192.0.2.77","fd.sport":"22""#;
        assert_eq!(shown(&ALERT.replace(name, fields)), want);
        let client = shown(&ALERT.replace(name, r#""fd.cip":"198.51.100.7""#));
        assert!(client.contains("198.51.100.7 None - None"), "{client}");
        let ipv6 = ALERT.replace(name, r#""fd.name":"2001:db8::7:40755->2001:db8:77::1:22""#);
        assert!(shown(&ipv6).contains("2001:db8::7 Some(40755) 2001:db8:77::1 Some(22)"));
        for (from, to, want) in [
            (r#""evt.type":"accept""#, r#""evt.type":"connect""#, "Other"),
            (name, r#""fd.name":"/run/x","fd.type":"unix""#, "Other"),
            (name, r#""fd.num":5"#, "Broken"),
            ("Inbound SSH Connection\",", "Falco internal: syscall event drop\",", "Lost"),
            (r#""priority":"Notice","#, "", "Foreign"),
            ("Z\"}", "", "Broken"),
            (&ALERT[ALERT.find("fd.name").unwrap()..], "", "Broken"),
        ] {
            assert_eq!(shown(&ALERT.replace(from, to)), want, "{to}");
        }
    }
}
