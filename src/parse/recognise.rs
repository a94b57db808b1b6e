//! Which types of record there are, and which one an input is.

use std::path::PathBuf;
use std::sync::Arc;

pub use super::context::RecordFormat;
use super::events;
use super::input::Input;
use super::progress::Progress;
use super::{bcc, conntrack, netfilter, netflow, pcap, report, strace, systemtap, tcpdump};

/// All types, the most particular first: the first that recognises a record reads it.
pub const KINDS: &[&RecordFormat] = &[
    &pcap::KIND,
    &report::KIND,
    &events::KIND,
    &strace::KIND,
    &conntrack::KIND,
    &netfilter::KIND,
    &netflow::KIND,
    &bcc::tcpaccept::KIND,
    &bcc::tcplife::KIND,
    &bcc::tcptracer::KIND,
    &systemtap::KIND,
    &tcpdump::KIND,
];

/// More than this is not looked at to find out what a record is.
const DETECTION_BYTES: usize = 1024 * 1024;

/// First lines are no longer than this, as a rule.
const LINE: usize = 4096;

/// Inputs that are read together.
pub(super) struct Run {
    pub kind: &'static RecordFormat,
    pub inputs: Vec<Input>,
    key: Option<String>,
}

/// Opens `files` and sorts them into runs, in the order of their first files. Those that are
/// empty come in `empty`.
pub(super) fn runs(
    files: &[PathBuf],
    name: Option<&str>,
    progress: &Arc<Progress>,
    empty: &mut Vec<Input>,
    failures: &mut Vec<String>,
) -> Vec<Run> {
    let forced = match name.map(|n| (n, KINDS.iter().find(|k| k.name == n))) {
        Some((n, None)) => {
            failures.push(format!("there is no record type {n:?}; known are: {}", known()));
            return Vec::new();
        }
        Some((_, kind)) => kind.copied(),
        None => None,
    };
    let mut runs: Vec<Run> = Vec::new();
    for path in files {
        let mut input = match Input::open(path, progress) {
            Ok(input) => input,
            Err(message) => {
                failures.push(message);
                continue;
            }
        };
        let kind = match kind_of(&mut input, forced) {
            Ok(_) if input.head().is_empty() => {
                empty.push(input);
                continue;
            }
            Ok(Some(kind)) => kind,
            Ok(None) => {
                let name = input.name();
                failures.push(format!(
                    "{name} is no record of a known type; known are: {} (--type forces one, --help \
                     explains them)",
                    known()
                ));
                continue;
            }
            Err(e) => {
                failures.push(format!("cannot read {}: {e}", input.name()));
                continue;
            }
        };
        let key = input.path().and_then(|p| (kind.run)(p));
        let same = |r: &&mut Run| r.key.is_some() && r.key == key && r.kind.name == kind.name;
        match runs.iter_mut().find(same) {
            Some(run) => run.inputs.push(input),
            None => runs.push(Run { kind, inputs: vec![input], key }),
        }
    }
    runs
}

/// What `input` is. An error only if nothing at all could be read: else it comes again later.
fn kind_of(
    input: &mut Input,
    forced: Option<&'static RecordFormat>,
) -> std::io::Result<Option<&'static RecordFormat>> {
    loop {
        input.skip_hole()?;
        let head = input.head();
        // Readers look at the first line themselves.
        let enough = head.len() >= LINE || head.contains(&b'\n');
        if let Some(kind) = forced.filter(|_| enough).or_else(|| recognised(head)) {
            return Ok(Some(kind));
        }
        if input.head().len() > DETECTION_BYTES {
            return Ok(None);
        }
        match input.grow() {
            Ok(true) => {}
            Ok(false) => return Ok(forced),
            Err(_) if !input.head().is_empty() => {
                return Ok(forced.or_else(|| recognised(input.head())));
            }
            Err(e) => return Err(e),
        }
    }
}

fn recognised(head: &[u8]) -> Option<&'static RecordFormat> {
    KINDS.iter().copied().find(|kind| (kind.recognise)(head))
}

/// The types, for messages.
pub fn known() -> String {
    let names: Vec<&str> = KINDS.iter().map(|format| format.name).collect();
    names.join(", ")
}
