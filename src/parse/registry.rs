//! The registry of record formats: the list of all, and the detection of the format of an input.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::decoration::{csv_fields, escaped, one_line, pasted, quoted_printable};
use super::error::{ArchiveError, InputError, unknown_members};
use super::input::{Input, Members};
use super::lines;
use super::progress::Progress;
use super::reader::{Options, RecordFormat, Setting};
use super::{
    asa, audit, azure, bcc, conntrack, events, filterlog, fortigate, gcp, gvisor, haproxy,
    json_lines, mikrotik, mongodb, netfilter, netflow, parquet, pcap, perf_trace, report,
    server_log, socket_list, strace, suricata, sysdig, systemtap, tcpdump, truss, tshark, vpc_csv,
    vpc_flow, windows_firewall, zeek,
};
use crate::InputResult;

/// All record formats. The first that recognises a record reads it, so a specific format stands
/// before a general one.
pub(crate) const FORMATS: &[&RecordFormat] = &[
    &parquet::FORMAT,
    &pcap::FORMAT,
    &report::FORMAT,
    &events::FORMAT,
    &gvisor::FORMAT,
    &perf_trace::FORMAT,
    &truss::FORMAT,
    &audit::FORMAT,
    &strace::FORMAT,
    &conntrack::FORMAT,
    &filterlog::FORMAT,
    &asa::FORMAT,
    &fortigate::FORMAT,
    &haproxy::FORMAT,
    &sysdig::FORMAT,
    &zeek::FORMAT,
    &suricata::FORMAT,
    &windows_firewall::FORMAT,
    &mikrotik::FORMAT,
    &vpc_flow::FORMAT,
    &gcp::FORMAT,
    &azure::FORMAT,
    &mongodb::FORMAT,
    &netfilter::FORMAT,
    &netflow::FORMAT,
    &bcc::tcpaccept::FORMAT,
    &bcc::tcplife::FORMAT,
    &bcc::tcptracer::FORMAT,
    &systemtap::FORMAT,
    &server_log::FORMAT,
    &socket_list::FORMAT,
    &tshark::list::FORMAT,
    &tshark::json::FORMAT,
    &tshark::fields::FORMAT,
    &tcpdump::FORMAT,
];

/// Detection gives up after this many bytes.
const MAX_DETECTION_BYTES: usize = 1024 * 1024;

/// Enough bytes to detect most formats even if the first line has not ended.
const FIRST_LINE_BYTES: usize = 4096;

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
    /// Sizes and beginnings of the files, each with its name.
    known: HashMap<(u64, Vec<u8>), String>,
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
            let format = FORMATS.iter().find(|format| format.name == name).copied();
            if format.is_none() {
                let given = name.to_owned();
                sorted.failures.push(InputError::NoSuchFormat { given, known: known() });
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
                format!("{a} is given twice, and may count twice")
            } else {
                format!("{a} and {b} are the same file, which may count twice")
            });
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
                hint: other_kind(&sample),
                known: known(),
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
        if is_unlike {
            let option = self.options.name(Setting::Format);
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
    /// Adds a message if another file has the same size and begins with the same bytes.
    fn note_content(&mut self, input: &Input) {
        let path = input.path().and_then(|path| std::fs::metadata(path).ok());
        let Some(file) = path.filter(std::fs::Metadata::is_file) else { return };
        let begin = input.head().iter().take(FIRST_LINE_BYTES).copied().collect();
        if let Some(other) = self.known.insert((file.len(), begin), input.name().to_owned())
            && other != input.name()
            && !is_same_file(&other, &file)
        {
            self.twice.push(format!(
                "{other} and {} have the same size and begin alike; if they are copies, \
                 connections count twice",
                input.name()
            ));
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

/// Whether a regular file looks like `format`. Of a stream only what was read already is looked at,
/// and nothing is said of it, because its lines must not wait.
fn looks_like(input: &mut Input, format: &RecordFormat) -> bool {
    loop {
        if input.modified().is_none() || (format.recognise)(input.head()) {
            return true;
        }
        if input.head().len() > MAX_DETECTION_BYTES || !input.grow().unwrap_or(false) {
            return (format.recognise)(input.head());
        }
    }
}

/// Detects the format of `input`. Returns an error only if nothing could be read; a later error
/// occurs again when the record is read.
fn detect(
    input: &mut Input,
    forced: Option<&'static RecordFormat>,
) -> std::io::Result<Option<&'static RecordFormat>> {
    loop {
        input.skip_hole()?;
        let head = input.head();
        // Readers check the first line themselves.
        let enough = head.len() >= FIRST_LINE_BYTES || head.contains(&b'\n');
        let may_be_wrapper = enough && !is_json_record(head, forced);
        if may_be_wrapper
            && (divide_json_if_record(input, forced) || input.unwrap_json_if_wrapped())
        {
            continue;
        }
        let head = input.head();
        // Whether an object or a string holds a log is known only at its end, or that of the line.
        let is_open =
            may_be_wrapper && head.len() <= MAX_DETECTION_BYTES && input.has_open_object();
        let enough = enough && !is_open;
        let decided = |format: &&RecordFormat| {
            enough || !format.is_text && !matches!(head.first(), Some(b'{' | b'['))
        };
        let format = forced.filter(|_| enough).or_else(|| recognise(head)).filter(decided);
        let head_len = head.len();
        if enough && clean_if_copied(input, format) {
            continue;
        }
        if format.is_some() {
            return Ok(format);
        }
        if head_len > MAX_DETECTION_BYTES {
            return Ok(None);
        }
        match input.grow() {
            Ok(true) => {}
            Ok(false) => return detect_at_end(input, forced),
            Err(_) if !input.head().is_empty() => return detect_at_end(input, forced),
            Err(e) => return Err(e),
        }
    }
}

/// Detects the format of an input whose whole content is in its head.
fn detect_at_end(
    input: &mut Input,
    forced: Option<&'static RecordFormat>,
) -> std::io::Result<Option<&'static RecordFormat>> {
    if !is_json_record(input.head(), forced)
        && (divide_json_if_record(input, forced) || input.unwrap_json_if_wrapped())
    {
        return detect(input, forced);
    }
    let format = forced.or_else(|| recognise(input.head()));
    if clean_if_copied(input, format) {
        return detect(input, forced);
    }
    Ok(format)
}

/// Restores a text that was copied from a web page or a terminal, if it needs that to be read.
/// Returns whether it did.
fn clean_if_copied(input: &mut Input, format: Option<&'static RecordFormat>) -> bool {
    if format.is_none_or(|format| format.is_text) && quoted_printable::is_encoded(input.head()) {
        return input.convert(quoted_printable::decode);
    }
    if format.is_none_or(|format| format.is_text && !format.is_json)
        && let Some(divide) = one_line::divider(input.head(), |line| is_line_of(line, format))
    {
        return input.convert(divide);
    }
    if is_escaped(input.head(), format) {
        return !input.has_unread_result() && input.convert(escaped::unescape);
    }
    if format.is_some_and(|format| format.name == strace::FORMAT.name)
        && csv_fields::has_calls(input.head())
    {
        return input.convert(csv_fields::convert);
    }
    if format.is_none() && azure::has_tuples(input.head()) {
        return input.convert(azure::convert);
    }
    if format.is_none() && audit::events::has_records(input.head()) {
        return input.convert(audit::events::convert);
    }
    if format.is_none() && vpc_csv::is_csv(input.head()) {
        return input.convert(vpc_csv::convert);
    }
    let is_copied = match format {
        // strace's reader does that itself, and binary records are no text.
        Some(format) => {
            format.is_text
                && format.name != strace::FORMAT.name
                && (pasted::has_entities(input.head()) || pasted::has_blanks(input.head()))
        }
        None => pasted::is_dirty(input.head()) && memchr::memchr(0, input.head()).is_none(),
    };
    is_copied && input.convert(pasted::clean)
}

/// Whether what stands behind a mark within a line is another line of a log in `format`, or in any if that is not
/// known. Marks in strings of strace are text of the traced program.
fn is_line_of(text: &[u8], format: Option<&RecordFormat>) -> bool {
    match format {
        Some(format) if format.name == strace::FORMAT.name => (format.recognise)(text),
        Some(_) => !text.trim_ascii().is_empty(),
        None => recognise(text).is_some_and(|format| format.is_text),
    }
}

/// Whether the lines of a log in `format` are in strings, so that several look like one.
fn is_escaped(head: &[u8], format: Option<&'static RecordFormat>) -> bool {
    match format {
        Some(format) if format.name == strace::FORMAT.name => escaped::has_calls(head),
        Some(format) => {
            format.is_text && !format.is_json && escaped::has_lines(head, format.recognise)
        }
        None => false,
    }
}

/// Whether JSON objects in `head` are the record itself, not a wrapper around the lines of a log.
fn is_json_record(head: &[u8], forced: Option<&'static RecordFormat>) -> bool {
    match forced {
        Some(format) => format.is_json,
        None => FORMATS.iter().any(|format| format.is_json && (format.recognise)(head)),
    }
}

/// Makes a line of each JSON object, if that makes the text a record. Returns whether it did.
fn divide_json_if_record(input: &mut Input, forced: Option<&'static RecordFormat>) -> bool {
    let lines = json_lines::of_head(input.head());
    lines.is_some_and(|lines| is_json_record(&lines, forced) && input.convert(json_lines::convert))
}

/// Finds the format of a record that begins with `head`.
fn recognise(head: &[u8]) -> Option<&'static RecordFormat> {
    let head = lines::without_terminal_sequences(head);
    FORMATS.iter().copied().find(|format| (format.recognise)(&head))
}

/// Says what else a text is that users take for a record of connections.
fn other_kind(head: &[u8]) -> &'static str {
    let has = |text: &str| memchr::memmem::find(head, text.as_bytes()).is_some();
    // A version of the protocol, or a request without one, as of clients that speak something else.
    const REQUESTS: [&str; 6] =
        [" HTTP/1.", " HTTP/2", " HTTP/3", " \"GET /", " \"POST /", "] \"-\" 400 "];
    if REQUESTS.iter().any(|request| has(request)) {
        " (an access log has requests, not connections: one connection may carry many, or none; 'tcptally \
         watch' counts the connections to the server's port, and a log of HAProxy with 'option tcplog' \
         has them)"
    } else if has("srcaddr dstaddr") || vpc_csv::is_csv(head) || has(" ACCEPT OK") && has(" eni-") {
        " (a VPC flow log without the field tcp-flags and the header line does not show which flows begin a \
         connection; add the field to the format of the flow log)"
    } else if tshark::fields::is_not_enough(head) {
        " (columns of addresses alone do not show connections; let tshark print these fields with their names: \
         -T fields -E header=y -e frame.time_epoch -e ip.src -e ip.dst -e ipv6.src -e ipv6.dst -e tcp.srcport \
         -e tcp.dstport -e tcp.flags -e tcp.seq_raw -e tcp.ack_raw)"
    } else if pcap::is_sysdig(head) {
        " (a capture of sysdig or Falco has system calls, no packets; print them: sysdig -r FILE 'evt.type in \
         (accept,accept4)' | tcptally parse -)"
    } else if has("sshd[") || has("sshd-session[") {
        " (a log of sshd has logins, not all connections; with 'LogLevel VERBOSE' in sshd_config it has all)"
    } else {
        ""
    }
}

/// Lists the names of all formats, for messages.
fn known() -> String {
    let names: Vec<&str> = FORMATS.iter().map(|format| format.name).collect();
    names.join(", ")
}
