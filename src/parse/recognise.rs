//! Which types of record there are, and which one an input is.

use std::path::PathBuf;
use std::sync::Arc;

pub use super::context::RecordFormat;
use super::events;
use super::input::{Input, Members};
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

/// Archives in archives are opened so deep.
const MAX_ARCHIVE_DEPTH: usize = 4;

/// Inputs that are read together.
pub(super) struct Run {
    pub kind: &'static RecordFormat,
    pub inputs: Vec<Input>,
    key: Option<String>,
}

/// The inputs, sorted.
#[derive(Default)]
pub(super) struct Sorted {
    /// What is read together, in the order of the first files.
    pub runs: Vec<Run>,
    /// Inputs without content.
    pub empty: Vec<Input>,
    /// Inputs that cannot be read or recognised, each a message for the user.
    pub failures: Vec<String>,
    /// Archives with members that are no records, beside others that are: how many there are, and
    /// a message for the user.
    pub left_out: Vec<(u64, String)>,
}

/// Opens `files` and sorts them.
pub(super) fn sort(files: &[PathBuf], name: Option<&str>, progress: &Arc<Progress>) -> Sorted {
    let mut sorted = Sorted::default();
    let forced = match name.map(|n| (n, KINDS.iter().find(|k| k.name == n))) {
        Some((n, None)) => {
            let text = format!("there is no record type {n:?}; known are: {}", known());
            sorted.failures.push(text);
            return sorted;
        }
        Some((_, kind)) => kind.copied(),
        None => None,
    };
    for path in files {
        let mut input = match Input::open(path, progress) {
            Ok(input) => input,
            Err(message) => {
                sorted.failures.push(message);
                continue;
            }
        };
        if input.is_tar() {
            sorted.add_archive(input, forced, 1);
        } else if let Some(name) = sorted.add(input, forced) {
            sorted.failures.push(format!(
                "{name} is no record of a known type; known are: {} (--type forces one, --help \
                 explains them)",
                known()
            ));
        }
    }
    sorted
}

impl Sorted {
    /// Adds the members of an archive, each as what it is.
    fn add_archive(&mut self, archive: Input, forced: Option<&'static RecordFormat>, depth: usize) {
        let archive_name = archive.name().to_owned();
        let Members { inputs, failures } = archive.members();
        self.failures.extend(failures);
        let all = inputs.len();
        let mut unknown = Vec::new();
        for mut input in inputs {
            if depth < MAX_ARCHIVE_DEPTH && input.is_tar() {
                self.add_archive(input, forced, depth + 1);
            } else {
                unknown.extend(self.add(input, forced));
            }
        }
        let Some(first) = unknown.first() else {
            if all == 0 {
                self.failures.push(format!("{archive_name}: there is no file in this archive"));
            }
            return;
        };
        let text = format!(
            "{} of {all} files in {archive_name} are no record of a known type and are left out, \
             such as {first}",
            unknown.len()
        );
        if unknown.len() == all {
            self.failures.push(text);
        } else {
            self.left_out.push((unknown.len() as u64, text));
        }
    }

    /// Adds one input. Gives its name if it is of no known type.
    fn add(&mut self, mut input: Input, forced: Option<&'static RecordFormat>) -> Option<String> {
        let kind = match kind_of(&mut input, forced) {
            Ok(_) if input.head().is_empty() => {
                self.empty.push(input);
                return None;
            }
            Ok(Some(kind)) => kind,
            Ok(None) => return Some(input.name().to_owned()),
            Err(e) => {
                self.failures.push(format!("cannot read {}: {e}", input.name()));
                return None;
            }
        };
        let key = input.path().and_then(|p| (kind.run)(p));
        let same = |r: &&mut Run| r.key.is_some() && r.key == key && r.kind.name == kind.name;
        match self.runs.iter_mut().find(same) {
            Some(run) => run.inputs.push(input),
            None => self.runs.push(Run { kind, inputs: vec![input], key }),
        }
        None
    }
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
        if enough && !is_json_record(head, forced) && input.unwrap_json_if_wrapped() {
            continue;
        }
        let head = input.head();
        // What is wrapped shows when the object has ended.
        let decided = enough || !matches!(head.first(), Some(b'{' | b'['));
        let kind = forced.filter(|_| enough).or_else(|| recognised(head)).filter(|_| decided);
        if kind.is_some() {
            return Ok(kind);
        }
        if head.len() > DETECTION_BYTES {
            return Ok(None);
        }
        match input.grow() {
            Ok(true) => {}
            Ok(false) => return at_end(input, forced),
            Err(_) if !input.head().is_empty() => return at_end(input, forced),
            Err(e) => return Err(e),
        }
    }
}

/// What an input is of which nothing more comes.
fn at_end(
    input: &mut Input,
    forced: Option<&'static RecordFormat>,
) -> std::io::Result<Option<&'static RecordFormat>> {
    if !is_json_record(input.head(), forced) && input.unwrap_json_if_wrapped() {
        return kind_of(input, forced);
    }
    Ok(forced.or_else(|| recognised(input.head())))
}

/// Whether the objects of a JSON text are the record, and not wrapped around the lines of one.
fn is_json_record(head: &[u8], forced: Option<&'static RecordFormat>) -> bool {
    let formats = [&report::KIND, &events::KIND, &netflow::KIND];
    match forced {
        Some(forced) => formats.iter().any(|format| format.name == forced.name),
        None => formats.iter().any(|format| (format.recognise)(head)),
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
