//! Joins the records of an audit event into one line: that of the system call, and that of the address, which the
//! kernel writes into a record of its own.
//!
//! Records of several events may be mixed. ausearch writes those of an event in the reverse order.

use std::collections::VecDeque;
use std::io::Read;

use memchr::memmem;

use crate::parse::input::source::{Convert, Converted};
use crate::parse::lines::LONGEST;

/// How a line of an event begins; its identifier follows.
pub(super) const EVENT: &[u8] = b"audit event ";

/// The line for a message of the kernel that it lost events.
pub(super) const LOSS: &[u8] = b"audit events lost";

/// The kernel's messages of `kernel/audit.c` about events that it lost, or is about to lose.
const LOSSES: [&[u8]; 4] =
    [b"audit_lost=", b"audit_backlog=", b"backlog limit exceeded", b"rate limit exceeded"];

/// Stands behind [`EVENT`] for a system call whose beginning was cut off, and cannot be read.
const CUT: &[u8] = b"cut arch= syscall=accept\n";

/// Maximum number of bytes of lines of other records before the first event is written.
const MAX_OTHERS: usize = 256 * 1024;

/// Maximum number of events whose records are not complete.
const MAX_OPEN: usize = 64;

/// Maximum distance between the type of a record and its identifier.
const MAX_TYPE: usize = 40;

/// Whether a text that begins with `head` has records of system calls.
pub(crate) fn has_records(head: &[u8]) -> bool {
    head.split(|b| *b == b'\n').any(|line| records(line).any(|record| record.kind == Kind::Call))
}

/// The events in the text of `raw`, one a line.
pub(crate) fn convert(raw: Box<dyn Read + Send>) -> Box<dyn Read + Send> {
    Box::new(Converted::new(raw, Events::default()))
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// SYSCALL, in the kernel's log 1300.
    Call,
    /// SOCKADDR, in the kernel's log 1306.
    Address,
}

/// A record: `type=SYSCALL msg=audit(1795345122.200:4711): arch=c000003e …`.
struct Record<'a> {
    kind: Kind,
    /// The time and the number of its event.
    id: &'a [u8],
    fields: &'a [u8],
}

/// The records of system calls and addresses in `line`, which may be several lines of one that was quoted.
fn records(line: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let starts = memmem::find_iter(line, b"type=");
    starts.filter_map(|at| {
        let rest = &line[at + 5..];
        let kind = [
            (&b"SYSCALL "[..], Kind::Call),
            (b"1300 ", Kind::Call),
            (b"SOCKADDR ", Kind::Address),
            (b"1306 ", Kind::Address),
        ];
        let kind = kind.iter().find(|(name, _)| rest.starts_with(name))?.1;
        let open = memmem::find(&rest[..rest.len().min(MAX_TYPE)], b"audit(")? + 6;
        let close = open + memchr::memchr(b')', &rest[open..])?;
        let id = &rest[open..close];
        let end = memmem::find(rest, b"type=").unwrap_or(rest.len());
        Some(Record { kind, id, fields: rest.get(close + 1..end)? })
    })
}

/// Whether `line` is one of the kernel's messages about lost events: `audit: audit_lost=120 audit_rate_limit=0 …`.
fn is_loss(line: &[u8]) -> bool {
    let mut messages = memmem::find_iter(line, b"audit: ").map(|at| &line[at + 7..]);
    messages.any(|message| LOSSES.iter().any(|loss| message.starts_with(loss)))
}

#[derive(Default)]
struct Event {
    id: Vec<u8>,
    call: Vec<u8>,
    address: Vec<u8>,
}

/// Joins records.
#[derive(Default)]
struct Events {
    /// A line that has not ended.
    line: Vec<u8>,
    open: VecDeque<Event>,
    has_begun: bool,
    /// An event was written, so that the format can be recognised whatever follows.
    has_written: bool,
    /// Lines of other records that came before that.
    others: Vec<u8>,
}

impl Events {
    fn end_line(&mut self, text: &mut Vec<u8>) {
        let line = std::mem::take(&mut self.line);
        if is_loss(&line) {
            text.extend_from_slice(LOSS);
            text.push(b'\n');
            return;
        }
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        let has = |text: &[u8]| memmem::find(&line, text).is_some();
        if !has(b"type=") || !has(b"audit(") {
            return self.other(&line, is_first, text);
        }
        for record in records(&line) {
            let known = self.open.iter().position(|event| event.id == record.id);
            let at = known.unwrap_or_else(|| {
                self.open.push_back(Event { id: record.id.to_vec(), ..Event::default() });
                self.open.len() - 1
            });
            let fields = record.fields.trim_ascii_start();
            let fields = fields.strip_prefix(b":").unwrap_or(fields).trim_ascii().to_vec();
            match record.kind {
                Kind::Call => self.open[at].call = fields,
                Kind::Address => self.open[at].address = fields,
            }
            if self.open.len() > MAX_OPEN {
                self.close(text);
            }
        }
    }

    /// Takes a line without a record.
    fn other(&mut self, line: &[u8], is_first: bool, text: &mut Vec<u8>) {
        let has = |field: &[u8]| memmem::find(line, field).is_some();
        if is_first && (has(b" key=") || has(b" SYSCALL=")) {
            text.extend_from_slice(EVENT);
            text.extend_from_slice(CUT);
        } else if self.has_written {
            text.extend_from_slice(line);
        } else if self.others.len() < MAX_OTHERS {
            self.others.extend_from_slice(line);
        }
    }

    /// Writes the oldest event.
    fn close(&mut self, text: &mut Vec<u8>) {
        if let Some(Event { id, call, address }) = self.open.pop_front() {
            text.extend_from_slice(EVENT);
            text.extend([&id[..], &call, &address].join(&b' '));
            text.push(b'\n');
            self.has_written = true;
            text.append(&mut self.others);
        }
    }
}

impl Convert for Events {
    fn convert(&mut self, raw: &[u8], text: &mut Vec<u8>) {
        for part in raw.split_inclusive(|b| *b == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") || self.line.len() > LONGEST {
                self.end_line(text);
            }
        }
        if raw.is_empty() {
            self.end_line(text);
            while !self.open.is_empty() {
                self.close(text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(log: &str) -> String {
        let mut text = String::new();
        convert(Box::new(std::io::Cursor::new(log.to_owned()))).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn the_records_of_an_event_are_joined_in_any_order() {
        let (call, address, other) = (
            "type=SYSCALL msg=audit(1.2:3): arch=c000003e syscall=43\n",
            "type=SOCKADDR msg=audit(1.2:3): saddr=0200\n",
            "type=SYSCALL msg=audit(1.2:4): syscall=0\ntype=PROCTITLE msg=audit(1.2:3): proctitle=00\n",
        );
        let event = "audit event 1.2:3 arch=c000003e syscall=43 saddr=0200\n";
        let two = format!("{event}audit event 1.2:4 syscall=0 \n");
        assert_eq!(joined(&format!("{call}{address}{other}")), two);
        assert_eq!(joined(&format!("{call}{other}{address}")), two);
        assert_eq!(joined(&format!("{address}{call}{other}")), two);
        let quoted = format!("{call}{address}{other}").replace('\n', "\\n");
        assert!(
            joined(&quoted)
                .starts_with("audit event 1.2:3 arch=c000003e syscall=43\\n saddr=0200\\n")
        );
        let other = "web1 falco[7]: {\"output\":\"Notice (type=accept4)\"}\n";
        assert_eq!(joined(&format!("{call}{address}{other}")), format!("{event}{other}"));
        let kernel = "[ 12.3] audit: type=1300 audit(1.2:3): arch=c000003e syscall=43\n[ 12.3] audit: type=1306 \
            audit(1.2:3): saddr=0200";
        assert_eq!(joined(kernel), event);
        assert!(has_records(call.as_bytes()) && !has_records(address.as_bytes()));
    }

    #[test]
    fn the_kernels_messages_of_lost_events_are_kept() {
        for message in [
            "audit: audit_lost=120 audit_rate_limit=0 audit_backlog_limit=64",
            "audit: audit_backlog=65 > audit_backlog_limit=64",
            "audit: backlog limit exceeded",
            "audit: rate limit exceeded",
        ] {
            let line = format!("Nov 22 10:58:42 web1 kernel: [  12.3] {message}\n");
            assert_eq!(joined(&line), "audit events lost\n", "{message}");
        }
        assert_eq!(joined("[ 12.3] audit: audit_rate_limit=0 old=0 auid=1 ses=1 res=1\n"), "");
    }

    #[test]
    fn lines_of_other_records_and_a_line_without_its_beginning_are_kept() {
        let call = "type=SYSCALL msg=audit(1.2:3): arch=c000003e syscall=43 key=\"a\"\n";
        let event = "audit event 1.2:3 arch=c000003e syscall=43 key=\"a\" \n";
        assert_eq!(
            joined(&format!("a line\n{call}another\n")),
            format!("{event}a line\nanother\n")
        );
        assert_eq!(
            joined(&format!("{}{call}", &call[40..])),
            format!("audit event cut arch= syscall=accept\n{event}")
        );
        assert_eq!(joined(&format!("{call}{}", &call[40..])), format!("{event}{}", &call[40..]));
    }
}
