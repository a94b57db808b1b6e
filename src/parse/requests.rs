//! [`Requests`]: recognises the further requests of a connection, in logs that have a line for each request.

use std::collections::HashMap;

use super::host::{Ends, Host};
use super::paired::Half;
use super::timestamp::SECOND;
use crate::RecordTime;

/// Servers close a connection on which no request comes for about this time, and a client's port is not used again
/// for as long (TIME_WAIT of Linux), in nanoseconds.
const IDLE: i64 = 60 * SECOND;

/// The time between the end of a request and the beginning of the next, if the log rounds both to milliseconds.
const ROUNDING: i64 = 2_000_000;

/// Maximum number of pairs of ends that are remembered: twice this.
const MAX_PAIRS: usize = 1 << 19;

/// What causes a log to contain a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum WrittenFor {
    /// A connection.
    #[default]
    Connection,
    /// A request, when it begins.
    Request,
    /// A connection or one of its requests, which the line does not show. It lasted for so many nanoseconds.
    Either(i64),
    /// The start of a session, or a call. With a number, which no other one between the same ends has, the log may have
    /// several lines of it.
    Start(Option<u64>),
    /// The end of a session, of which the log may have the start, too.
    End(Option<u64>),
    /// A connection with this number, of which the log may have another line, too.
    Half(Half, u64),
}

/// The client's end and the server's.
type Key = (Host, u16, Host, Option<u16>);

/// See the module.
#[derive(Default)]
pub(crate) struct Requests {
    /// When the last request between two ends ended. They are in one of the two: in `young` if they were seen lately.
    young: HashMap<Key, i64>,
    old: HashMap<Key, i64>,
    begun: i64,
}

impl Requests {
    /// Whether a line is of a connection that has had a line before.
    pub(crate) fn is_further(
        &mut self,
        line: WrittenFor,
        ends: &Ends,
        time: Option<RecordTime>,
    ) -> bool {
        let (pause, lasted) = match line {
            WrittenFor::Connection
            | WrittenFor::Start(_)
            | WrittenFor::End(_)
            | WrittenFor::Half(..) => return false,
            WrittenFor::Request => (IDLE, 0),
            WrittenFor::Either(lasted) => (ROUNDING, lasted),
        };
        let (Some(port), Some(time)) = (ends.client_port, time) else { return false };
        let now = time.nanoseconds();
        if self.young.len() >= MAX_PAIRS || now.abs_diff(self.begun) > IDLE.unsigned_abs() {
            self.begun = now;
            self.old = std::mem::take(&mut self.young);
        }
        let key = (ends.client.clone(), port, ends.server.clone(), ends.server_port);
        let end = now.saturating_add(lasted);
        let before = self.young.get(&key).copied().or_else(|| self.old.remove(&key));
        self.young.insert(key, before.map_or(end, |before| end.max(before)));
        before.is_some_and(|before| now <= before.saturating_add(pause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_from_one_port_to_several_servers_are_of_several_connections() {
        let mut requests = Requests::default();
        for server in [b"192.0.2.1", b"192.0.2.2"] {
            let ends = Ends {
                client: Host::address(b"198.51.100.7").unwrap(),
                client_port: Some(1),
                server: Host::address(server).unwrap(),
                server_port: Some(80),
            };
            for is_further in [false, true] {
                let time = Some(RecordTime::Clock(0));
                let got = requests.is_further(WrittenFor::Request, &ends, time);
                assert_eq!(got, is_further);
            }
        }
    }

    #[test]
    fn only_what_follows_at_once_is_a_further_request() {
        let ends = |port| Ends {
            client: Host::address(b"198.51.100.7").unwrap(),
            client_port: Some(port),
            server: Host::Name("".into()),
            server_port: None,
        };
        let mut requests = Requests::default();
        let mut is_further = |line, port, ms: i64| {
            let time = Some(RecordTime::Clock(ms * 1_000_000));
            requests.is_further(line, &ends(port), time)
        };
        for (line, port, ms, want) in [
            (WrittenFor::Connection, 1, 0, false),
            (WrittenFor::Request, 1, 0, false),
            (WrittenFor::Request, 2, 10, false),
            (WrittenFor::Request, 1, 30_000, true),
            (WrittenFor::Request, 1, 90_000, true),
            (WrittenFor::Request, 1, 150_001, false),
            (WrittenFor::Either(200_000_000), 3, 150_100, false),
            (WrittenFor::Either(500_000_000), 3, 150_301, true),
            // A stream of HTTP/2 that began and ended within another one.
            (WrittenFor::Either(0), 3, 150_400, true),
            (WrittenFor::Either(0), 3, 150_801, true),
            (WrittenFor::Either(0), 3, 150_900, false),
        ] {
            assert_eq!(is_further(line, port, ms), want, "{line:?} {port} {ms}");
        }
    }
}
