//! [`Observers`]: recognises events of `trace` and `watch` about the same server at the same time.

use std::collections::HashMap;
use std::sync::Arc;

use crate::{Connection, RecordTime, SourceStatus};

/// Maximum number of servers that are compared.
const MAX_SERVERS: usize = 4096;

/// The machine and the port.
type Server = (Option<Arc<str>>, u16);

/// The times of the first and the last event.
type Span = Option<(RecordTime, RecordTime)>;

/// The times of the events of each server, by what observed it.
#[derive(Default)]
pub(super) struct Observers(HashMap<Server, [Span; 2]>);

impl Observers {
    /// Notes an event. Only `trace` knows the descriptor, and only `watch` has statistics.
    pub(super) fn note(&mut self, event: &Connection) {
        let observer = match (event.fd, &event.transport) {
            (Some(_), None) => 0,
            (None, Some(_)) => 1,
            _ => return,
        };
        let (Some(port), Some(time)) = (event.local_port, event.time) else { return };
        let is_full = self.0.len() >= MAX_SERVERS;
        let server = (event.machine.clone(), port);
        if is_full && !self.0.contains_key(&server) {
            return;
        }
        let span = &mut self.0.entry(server).or_default()[observer];
        *span = Some(span.map_or((time, time), |(a, b)| (a.min(time), b.max(time))));
    }

    /// Warns of each server that both have observed at the same time.
    pub(super) fn warn(&self, status: &mut SourceStatus) {
        let overlap = |spans: &[Span; 2]| match spans {
            [Some(a), Some(b)] => a.0 <= b.1 && b.0 <= a.1,
            _ => false,
        };
        let mut both: Vec<&Server> =
            self.0.iter().filter(|(_, spans)| overlap(spans)).map(|(server, _)| server).collect();
        both.sort();
        for (machine, port) in both {
            let machine = machine.as_deref().unwrap_or("an unknown machine");
            status.warn(format!(
                "port {port} of {machine} was observed by trace and by watch at the same time: a \
                 connection that is in the events of both counts twice"
            ));
        }
    }
}
