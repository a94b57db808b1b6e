//! Opens the inputs, and groups them into runs by their formats.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::detection::{FIRST_LINE_BYTES, detect, looks_like};
use super::error::{ArchiveError, InputError, unknown_members};
use super::input::{Input, Members};
use super::progress::Progress;
use super::reader::{Options, RecordFormat, Setting};
use super::{events, other_kind, parquet, pcap, registry, report};
use crate::InputResult;

/// Archives inside archives are opened to this depth.
const MAX_ARCHIVE_DEPTH: usize = 4;

/// Inputs of one format that are read together.
pub(super) struct Run {
    pub format: &'static RecordFormat,
    pub inputs: Vec<Input>,
    /// The machine that they are of, if their paths tell.
    pub host: Option<Arc<str>>,
    /// Whether an input does not look like the given format.
    pub is_unlike: bool,
    /// See [`RecordFormat::run`].
    key: Option<String>,
}

/// All inputs, grouped into runs.
pub(super) struct Sorted<'a> {
    /// Runs in the order of their first files.
    pub runs: Vec<Run>,
    /// Inputs without content.
    pub empty: Vec<Input>,
    /// Why inputs cannot be read or recognised.
    pub failures: Vec<InputError>,
    /// The same inputs, and the members that are left out of archives.
    pub failed: Vec<InputResult>,
    /// Archives in which some members are not records: the number of those members, and a message
    /// for the user.
    pub left_out: Vec<(u64, String)>,
    /// Inputs that do not look like the given format: one message for the user each.
    pub unlike: Vec<String>,
    /// Inputs with the same content: one message for the user each.
    pub twice: Vec<String>,
    /// Inputs whose path does not tell the machine, although it is to.
    pub unnamed: Vec<String>,
    options: &'a Options,
    /// The files by their first bytes.
    known: HashMap<Vec<u8>, Vec<KnownFile>>,
}

/// Opens `files` and groups them into runs.
pub(super) fn sort<'a>(
    files: &[PathBuf],
    options: &'a Options,
    progress: &Arc<Progress>,
) -> Sorted<'a> {
    let mut sorted = Sorted::new(options);
    let mut opened: HashMap<(u64, u64), &PathBuf> = HashMap::new();
    let forced = match options.format.as_deref() {
        Some(name) => {
            let format = registry::named(name);
            if format.is_none() {
                let given = name.to_owned();
                sorted.failures.push(InputError::NoSuchFormat { given, known: registry::known() });
                return sorted;
            }
            format
        }
        None => None,
    };
    for path in files {
        let file = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file);
        if let Some(other) = file.and_then(|m| opened.insert((m.dev(), m.ino()), path)) {
            let (a, b) = (other.display(), path.display());
            sorted.twice.push(if other == path {
                format!("{a} is given twice, and read once")
            } else {
                format!("{a} and {b} are the same file, which is read once")
            });
            continue;
        }
        let mut input = match Input::open(path, progress) {
            Ok(input) => input,
            Err(error) => {
                sorted.fail(path.display().to_string(), Some(path), error);
                continue;
            }
        };
        if input.is_tar() {
            sorted.add_archive(input, forced, 1);
            continue;
        }
        let sample: Vec<u8> = input.head().iter().take(FIRST_LINE_BYTES).copied().collect();
        if let Some(name) = sorted.add(input, forced) {
            let error = InputError::NotRecognised {
                name: name.clone(),
                hint: other_kind::hint(&sample),
                known: registry::known(),
                option: options.name(Setting::Format),
            };
            sorted.fail(name, Some(path), error);
        }
    }
    sorted
}

impl<'a> Sorted<'a> {
    fn new(options: &'a Options) -> Sorted<'a> {
        Sorted {
            runs: Vec::new(),
            empty: Vec::new(),
            failures: Vec::new(),
            failed: Vec::new(),
            left_out: Vec::new(),
            unlike: Vec::new(),
            twice: Vec::new(),
            unnamed: Vec::new(),
            options,
            known: HashMap::new(),
        }
    }

    /// Adds an input that is not read, and why.
    fn fail(&mut self, name: String, path: Option<&Path>, error: InputError) {
        self.failures.push(error);
        self.leave_out(name, path);
    }

    fn leave_out(&mut self, name: String, path: Option<&Path>) {
        self.failed.push(InputResult {
            name,
            files: 1,
            host: self.options.host_of(path).as_deref().map(Into::into),
            hosts: Vec::new(),
            format: None,
            complete: false,
            total: 0,
            started: None,
            ended: None,
        });
    }

    /// Adds each member of an archive by its own format.
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
        for name in &unknown {
            self.leave_out(name.clone(), None);
        }
        let Some(first) = unknown.first() else {
            if all == 0 {
                let error = ArchiveError::NoFiles { name: archive_name.clone() };
                self.fail(archive_name, None, error.into());
            }
            return;
        };
        if unknown.len() == all {
            let (name, first) = (archive_name, first.clone());
            self.failures.push(ArchiveError::NotRecognised { name, files: all, first }.into());
        } else {
            let text = unknown_members(&archive_name, unknown.len(), all, first);
            self.left_out.push((unknown.len() as u64, text));
        }
    }

    /// Adds one input. Returns its name if its format is unknown.
    fn add(&mut self, mut input: Input, forced: Option<&'static RecordFormat>) -> Option<String> {
        let format = match detect(&mut input, forced) {
            Ok(_) if input.is_hole() => {
                let name = input.name().to_owned();
                self.fail(name.clone(), input.path(), InputError::Zeros { name });
                return None;
            }
            Ok(_) if input.head().is_empty() => {
                self.empty.push(input);
                return None;
            }
            Ok(Some(format)) => format,
            Ok(None) => return Some(input.name().to_owned()),
            Err(error) => {
                let name = input.name().to_owned();
                let failure = InputError::Read { name: name.clone(), error };
                self.fail(name, input.path(), failure);
                return None;
            }
        };
        let is_unlike = forced.is_some() && !looks_like(&mut input, format);
        let option = self.options.name(Setting::Format);
        if is_unlike && format.name == pcap::FORMAT.name {
            let name = input.name().to_owned();
            let (format, about) = (format.name, format.about);
            let error = InputError::OtherFormat { name: name.clone(), format, about, option };
            self.fail(name, input.path(), error);
            return None;
        }
        if is_unlike {
            self.unlike.push(format!(
                "{}: no line looks like {} ({}), the format given with {option}; without {option} \
                 the format is detected",
                input.name(),
                format.name,
                format.about
            ));
        }
        let key = input.path().and_then(|p| (format.run)(p));
        if format.name != report::FORMAT.name && (key.is_none() || format.name != "strace") {
            self.note_content(&input);
        }
        let host = self.options.host_of(input.path());
        if host.is_none() && self.options.host_from.is_some() && !names_hosts(format) {
            self.unnamed.push(input.name().to_owned());
        }
        let same = |r: &&mut Run| {
            r.key.is_some() && r.key == key && r.format.name == format.name && r.host == host
        };
        match self.runs.iter_mut().find(same) {
            Some(run) => {
                run.inputs.push(input);
                run.is_unlike |= is_unlike;
            }
            None => self.runs.push(Run { format, inputs: vec![input], host, is_unlike, key }),
        }
        None
    }
}

impl Sorted<'_> {
    /// Adds a message if another file may be a copy: both begin with the same bytes, and they have the same size or
    /// only one is compressed.
    fn note_content(&mut self, input: &Input) {
        let path = input.path().and_then(|path| std::fs::metadata(path).ok());
        let Some(file) = path.filter(std::fs::Metadata::is_file) else { return };
        let begin = input.head().iter().take(FIRST_LINE_BYTES).copied().collect();
        let this = KnownFile {
            name: input.name().to_owned(),
            size: file.len(),
            is_compressed: input.is_compressed(),
        };
        let alike = self.known.entry(begin).or_default();
        let alike_in = alike.iter().rev().find_map(|other| Some((other, this.shares_with(other)?)));
        if let Some((other, what)) = alike_in
            && other.name != this.name
            && !is_same_file(&other.name, &file)
        {
            self.twice.push(format!(
                "{} and {} {what}; if they are copies, connections count twice",
                other.name, this.name
            ));
        }
        alike.push(this);
    }
}

/// A file that was given.
struct KnownFile {
    name: String,
    size: u64,
    is_compressed: bool,
}

impl KnownFile {
    /// What this file and one that begins with the same bytes have in common, if one may be a copy of the other.
    fn shares_with(&self, other: &KnownFile) -> Option<&'static str> {
        if self.size == other.size {
            Some("have the same size and begin alike")
        } else if self.is_compressed != other.is_compressed {
            Some("begin alike, and one of them is compressed")
        } else {
            None
        }
    }
}

/// Whether `name` is another name of `file`.
fn is_same_file(name: &str, file: &std::fs::Metadata) -> bool {
    std::fs::metadata(name).is_ok_and(|m| (m.dev(), m.ino()) == (file.dev(), file.ino()))
}

/// Whether records of this format name the machine themselves.
fn names_hosts(format: &RecordFormat) -> bool {
    [report::FORMAT.name, events::FORMAT.name, parquet::FORMAT.name].contains(&format.name)
}
