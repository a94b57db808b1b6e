//! pfirewall.log of Windows: the log of its firewall in the format of W3C, a line for each packet that
//! was dropped and each connection that was allowed.
//!
//! The fields are those of the header line `#Fields:`, as Microsoft describes it ("Interpreting the
//! Windows Firewall log"). `path` contains the direction since Windows Vista. Without the header the columns are those of
//! version 1.5.

use super::columns::words;
use super::cursor::Cursor;
use super::digits::number;
use super::host::{Ends, Host};
use super::input::{Input, common_name};
use super::line_log::{self, Event, LineLog, ParsedLine};
use super::reader::{Context, RecordFormat};

/// The log of Windows' firewall.
pub(crate) const FORMAT: RecordFormat = RecordFormat {
    name: "windows-firewall",
    about: "pfirewall.log of Windows",
    connection: "a TCP connection that was received",
    is_text: true,
    is_json: false,
    is_snapshot: false,
    recognise: line_log::recognise::<Pfirewall>,
    run: |_| Some(String::new()),
    read,
};

/// The columns that are used.
const NAMES: [&str; 9] =
    ["date", "time", "action", "protocol", "src-ip", "dst-ip", "src-port", "dst-port", "path"];

/// Where the columns are, in the order of [`NAMES`].
struct Pfirewall {
    columns: Option<[usize; NAMES.len()]>,
}

fn columns(line: &[u8]) -> Option<[usize; NAMES.len()]> {
    let names: Vec<&[u8]> = words(line.strip_prefix(b"#Fields:")?);
    let mut columns = [0; NAMES.len()];
    for (column, name) in columns.iter_mut().zip(NAMES) {
        *column = names.iter().position(|n| *n == name.as_bytes())?;
    }
    Some(columns)
}

/// The columns of version 1.5, which all Windows since Vista write; a column behind them is new in Windows 11.
const DEFAULT_COLUMNS: [usize; NAMES.len()] = [0, 1, 2, 3, 4, 5, 6, 7, PATH];
const PATH: usize = 16;

/// Whether a line has the default columns: the log may have lost its header, as in the output of `Get-Content -Tail`.
fn has_default_columns(line: &[u8]) -> bool {
    let words = words(line);
    let [_, _, action, protocol, from, to, from_port, to_port, ..] = words[..] else {
        return false;
    };
    let is_protocol = matches!(protocol, b"TCP" | b"UDP") || number::<u8>(protocol).is_some();
    Cursor(line).iso().is_some()
        && matches!(action, b"ALLOW" | b"DROP")
        && is_protocol
        && [from, to].iter().all(|host| Host::address(host).is_some())
        && [from_port, to_port].iter().all(|port| number::<u16>(port).is_some())
        && words.get(PATH).is_some_and(|path| is_path(path))
}

impl LineLog for Pfirewall {
    fn of(lines: &[&[u8]]) -> Pfirewall {
        let by_name = lines.iter().find_map(|line| columns(line));
        let by_content = || lines.iter().any(|line| has_default_columns(line));
        Pfirewall { columns: by_name.or_else(|| by_content().then_some(DEFAULT_COLUMNS)) }
    }

    fn without_evidence(&self) -> Option<&'static str> {
        Some(
            "no allowed connection is in it, so nothing shows that they are logged; Set-NetFirewallProfile \
             -LogAllowed True does that",
        )
    }

    fn parse_line(&self, line: &[u8]) -> ParsedLine {
        let Some(columns) = &self.columns else { return ParsedLine::Foreign };
        if line.first() == Some(&b'#') {
            return ParsedLine::Other;
        }
        let words = words(line);
        let mut cursor = Cursor(line);
        let Some(stamp) = cursor.iso() else { return ParsedLine::Foreign };
        let [_, _, action, protocol, from, to, from_port, to_port, path] =
            columns.map(|at| words.get(at).copied());
        match (action, protocol, path) {
            (Some(b"ALLOW"), Some(b"TCP" | b"6"), Some(b"RECEIVE")) => {}
            // Windows XP and Server 2003 write no path.
            (Some(b"OPEN-INBOUND"), Some(b"TCP" | b"6"), _) => {}
            (Some(b"DROP"), Some(b"TCP" | b"6"), Some(b"RECEIVE")) => return ParsedLine::Blocked,
            (Some(b"INFO-EVENTS-LOST"), ..) => return ParsedLine::Lost,
            (Some(b"ALLOW"), Some(b"TCP" | b"6"), Some(path)) if !is_path(path) => {
                return ParsedLine::Broken;
            }
            (Some(b"ALLOW" | b"OPEN"), Some(b"TCP" | b"6"), Some(_)) => {
                return ParsedLine::Evidence;
            }
            (Some(_), Some(_), Some(_)) => return ParsedLine::Other,
            _ => return ParsedLine::Broken,
        }
        let ends = || {
            Some(Ends {
                client: Host::address(from?)?,
                client_port: Some(number(from_port?)?),
                server: Host::address(to?)?,
                server_port: Some(number(to_port?)?),
            })
        };
        ends().map_or(ParsedLine::Broken, |ends| Event::new(stamp, ends, None).parsed())
    }
}

/// Whether this is a value of the column `path`, and not a part of one.
fn is_path(word: &[u8]) -> bool {
    matches!(word, b"SEND" | b"RECEIVE" | b"FORWARD" | b"UNKNOWN" | b"-")
}

fn read(inputs: Vec<Input>, cx: &mut Context<'_>) {
    let name = common_name(inputs.iter());
    line_log::read::<Pfirewall>(inputs, cx);
    cx.status.warn(format!(
        "{name}: it has the allowed connections only if the firewall logs them (Set-NetFirewallProfile -LogAllowed True)"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn received_connections_count() {
        let head =
            b"#Fields: date time action protocol src-ip dst-ip src-port dst-port size tcpflags \
            tcpsyn tcpack tcpwin icmptype icmpcode info path pid";
        let log = Pfirewall::of(&[b"#Version: 1.5", head]);
        let shown = |line: &str| match log.parse_line(line.as_bytes()) {
            ParsedLine::Connection(e) => {
                format!("{} {:?}", e.ends.server_port.unwrap(), e.established)
            }
            other => format!("{other:?}"),
        };
        let row = |action: &str, protocol: &str, path: &str| {
            shown(&format!(
                "2026-11-22 10:58:42 {action} {protocol} 198.51.100.7 192.0.2.77 40755 3389 0 - 0 0 0 - - - \
                 {path} 904"
            ))
        };
        assert_eq!(row("ALLOW", "TCP", "RECEIVE"), "3389 None");
        assert_eq!(row("OPEN-INBOUND", "TCP", "-"), "3389 None");
        assert_eq!(row("OPEN", "TCP", "-"), "Evidence");
        assert_eq!(row("DROP", "TCP", "RECEIVE"), "Blocked");
        assert_eq!(row("ALLOW", "TCP", "SEND"), "Evidence");
        assert_eq!(row("ALLOW", "TCP", "RECEI"), "Broken");
        assert_eq!(row("ALLOW", "UDP", "RECEIVE"), "Other");
        assert_eq!(row("INFO-EVENTS-LOST", "-", "-"), "Lost");
        assert_eq!(shown("2026-11-22 10:58:42 ALLOW TCP 198.51.100.7 192.0.2.77"), "Broken");
        assert_eq!(shown("#Software: Microsoft Windows Firewall"), "Other");
    }

    #[test]
    fn the_default_columns_are_known_without_their_header() {
        let row = "2026-11-22 10:58:42 ALLOW TCP 198.51.100.7 192.0.2.77 40755 3389 0 - 0 0 0 - - - RECEIVE";
        for line in [row, &format!("{row} 904"), &row.replace("ALLOW TCP", "DROP UDP")] {
            assert!(line_log::recognise::<Pfirewall>(line.as_bytes()), "{line}");
        }
        let log = Pfirewall::of(&[&row.as_bytes()[30..], row.as_bytes()]);
        assert!(matches!(log.parse_line(row.as_bytes()), ParsedLine::Connection(_)));
        assert!(matches!(log.parse_line(&row.as_bytes()[..row.len() - 8]), ParsedLine::Broken));
        for other in
            [row.replace(" RECEIVE", ""), row.replace("ALLOW", "x"), row.replace("40755", "-")]
        {
            assert!(!line_log::recognise::<Pfirewall>(other.as_bytes()), "{other}");
        }
    }
}
