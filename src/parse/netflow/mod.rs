//! NetFlow and IPFIX, as nfdump prints them, and its own files through an installed nfdump.

pub(super) mod form;
mod pairs;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use memchr::memmem;

use self::form::{Columns, Line, Printed, Summary};
use self::pairs::{Flow, Pairs};
use super::error::{InputError, NfdumpError, flow_statistics};
use super::gaps::{self, Gaps};
use super::input::{Input, copy_to_temporary_file};
use super::lines;
use super::reader::{Context, RecordFormat, Setting};
use super::timestamp::{Calendar, Stamp};
use crate::model::plural;
use crate::{ShortfallKind, SourceStatus};

/// nfdump's text and files.
pub(super) const FORMAT: RecordFormat = RecordFormat {
    name: "netflow",
    about: "flows that nfdump printed, or its nfcapd files",
    connection: "a TCP flow that begins with a SYN",
    is_text: true,
    is_json: true,
    is_snapshot: false,
    recognise,
    run: |_| Some(String::new()),
    read,
};

/// The magic number of nfcapd files.
const NFCAPD: &[&[u8]] = &[&[0x0c, 0xa5], &[0xa5, 0x0c]];
/// Maximum length of a flow in nfdump's JSON.
const OBJECT: usize = 64 * 1024;

/// Maximum number of headings that are remembered.
const MAX_HEADINGS: usize = 16;

/// The output format that is requested from nfdump, and its header.
const NFDUMP_FORMAT: &str = "fmt:%ts,%td,%pr,%sa,%sp,%da,%dp,%flg";
/// Members of nfdump's JSON that only flows have.
const SOURCES: [&[u8]; 2] = [b"\"src4_addr\"", b"\"src6_addr\""];

const HEADER: &[u8] = b"ts,td,pr,sa,sp,da,dp,flg";

fn is_nfcapd(head: &[u8]) -> bool {
    NFCAPD.iter().any(|magic| head.starts_with(magic))
        && matches!(head.get(2..4), Some([a, b]) if a | b != 0 && *a < 3 && *b < 3)
}

fn recognise(head: &[u8]) -> bool {
    let mut found = is_nfcapd(head);
    lines::each(head, |line, _| {
        found = found
            || line.starts_with(b"Date first seen ")
            || line.starts_with(b"ts,te,td,pr,val,")
            || Columns::of(line).is_some()
            || form::bars(line) != Line::Other
            || form::people(line) != Line::Other
            || SOURCES.iter().any(|source| memmem::find(line, source).is_some());
    });
    found
}

/// Whether a line is of a JSON object whose beginning was not found, or has a part of a line of numbers.
fn is_part_of_flow(line: &[u8]) -> bool {
    SOURCES.iter().any(|source| memmem::find(line, source).is_some()) || form::is_part_of_bars(line)
}

fn read(mut inputs: Vec<Input>, cx: &mut Context<'_>) {
    // nfcapd's files and those of a cron job have the time in their names.
    inputs.sort_by_cached_key(|input| input.path().map(Path::to_path_buf));
    let name = super::common_name(inputs.iter());
    let mut pairs = Pairs::new(&cx.options.local, cx.options.established);
    let mut seen = Seen::default();
    let mut columns = Vec::new();
    for mut input in inputs {
        let binary = is_nfcapd(input.head());
        let calendar = Calendar::new(&mut input, cx, &|_| Stamp::None);
        let mut text = Text {
            calendar,
            columns: None,
            headings: Vec::new(),
            object: None,
            pairs: &mut pairs,
            last: false,
            summary: None,
            shows_flags: false,
            seen: Seen::default(),
            give: &mut |connection| cx.sink.take(connection),
        };
        let mut gaps = Gaps::default();
        let end = if binary {
            match through_nfdump(&mut input, &mut text) {
                Ok(()) => Ok(()),
                Err(error) => {
                    let name = input.name().to_owned();
                    cx.failures.push(InputError::Nfdump { name, error });
                    continue;
                }
            }
        } else {
            gaps::blocks(&mut input, &mut gaps, |block, _| {
                let whole = block.last().copied().is_some_and(lines::is_end);
                lines::each(block, |line, at| {
                    text.last = !whole && at + line.len() == block.len();
                    text.line(line);
                });
            })
        };
        text.seen.unreadable += u64::from(text.object.is_some());
        let own = std::mem::take(&mut text.seen);
        columns.extend(text.headings);
        own.report_statistics(&input, cx);
        gaps.report(input.name(), cx.status);
        seen.add(&own);
        if let Err(e) = end {
            cx.record_read_error(&input, e);
        }
    }
    cx.is_known_line = Some(Box::new(move |line| form::is_row_of(&columns, line)));
    pairs.finish(&mut |connection| cx.sink.take(connection));
    seen.report(&name, cx.status);
    if pairs.flagless {
        warn_of_missing_flags(&name, cx);
    }
}

fn warn_of_missing_flags(name: &str, cx: &mut Context<'_>) {
    cx.status.warn(format!(
        "{name}: without TCP flags, attempts that were refused count too, and a pause of more \
         than a minute counts as a new connection; nfdump -o long shows the flags{}",
        match cx.options.established {
            true => format!("; {} counts every attempt", cx.options.name(Setting::Established)),
            false => String::new(),
        }
    ));
}

/// Numbers of lines by kind.
#[derive(Debug, Default)]
struct Seen {
    /// Lines that are flows.
    flows: u64,
    /// Those of other protocols than TCP.
    others: u64,
    /// Flows with shortened addresses.
    shortened: u64,
    /// Lines with a time that are no flow in a known form.
    unreadable: u64,
    /// Rows of statistics.
    statistics: u64,
    /// Lists of the largest flows only.
    largest: u64,
    /// Lists in which flows with the same ends were summed up.
    aggregated: u64,
}

impl Seen {
    fn add(&mut self, other: &Seen) {
        let Seen { flows, others, shortened, unreadable, statistics, largest, aggregated } = other;
        self.flows += flows;
        self.others += others;
        self.shortened += shortened;
        self.unreadable += unreadable;
        self.statistics += statistics;
        self.largest += largest;
        self.aggregated += aggregated;
    }

    /// Reports that `input` has statistics. It is refused if it has nothing else.
    fn report_statistics(&self, input: &Input, cx: &mut Context<'_>) {
        let rows = self.statistics;
        let name = input.name();
        if self.flows == 0 && rows > 0 {
            cx.failures.push(InputError::FlowStatistics { name: name.into(), rows });
        } else {
            let text = flow_statistics(name, rows);
            cx.status.record_shortfall(ShortfallKind::UnreadInput, rows, text);
        }
    }

    fn report(&self, name: &str, status: &mut SourceStatus) {
        let Seen { flows, others, shortened, unreadable, largest, aggregated, .. } = *self;
        status.record_shortfall(
            ShortfallKind::UnreadInput,
            u64::from(flows > 0 && flows == others),
            format!(
                "{name}: no flow in it is of TCP, so nothing shows that such flows were asked for"
            ),
        );
        status.record_shortfall(
            ShortfallKind::UnreadableLines,
            shortened,
            format!(
                "{name}: {} left out because nfdump shortened the addresses; print them with nfdump -6",
                plural(shortened, "flow is", "flows are")
            ),
        );
        status.record_unreadable_lines(name, unreadable);
        status.record_shortfall(
            ShortfallKind::UnreadInput,
            largest,
            format!("{name}: nfdump -s printed the largest flows only; the others are not in it"),
        );
        status.record_shortfall(
            ShortfallKind::UnreadInput,
            aggregated,
            format!(
                "{name}: nfdump summed up flows with the same ends (-a, -s), so that connections \
                 from the same port count as one"
            ),
        );
    }
}

/// The lines of one record.
struct Text<'a> {
    calendar: Calendar,
    columns: Option<Columns>,
    /// All headings that differ from the one before.
    headings: Vec<Columns>,
    /// The part of a JSON object that was read.
    object: Option<Vec<u8>>,
    pairs: &'a mut Pairs,
    /// Whether the line is the last one and does not end.
    last: bool,
    /// What the last header has announced.
    summary: Option<Summary>,
    /// Whether it has a column of flags.
    shows_flags: bool,
    seen: Seen,
    give: &'a mut dyn FnMut(crate::Connection),
}

impl Text<'_> {
    fn line(&mut self, line: &[u8]) {
        let trimmed = line.trim_ascii();
        if let Some(object) = &mut self.object {
            if object.len() + line.len() < OBJECT {
                object.extend_from_slice(line);
            }
            if trimmed.starts_with(b"}") {
                let object = self.object.take().unwrap_or_default();
                self.json(&object);
            }
            return;
        }
        let opened = trimmed.strip_prefix(b"[").unwrap_or(trimmed);
        let opened = opened.strip_prefix(b",").unwrap_or(opened).trim_ascii_start();
        if opened.starts_with(b"{") {
            if memchr::memchr(b'}', opened).is_some() {
                self.json(opened);
            } else {
                self.object = Some(opened.to_vec());
            }
            return;
        }
        if let Some(columns) = Columns::of(line) {
            if self.headings.len() < MAX_HEADINGS && self.headings.last() != Some(&columns) {
                self.headings.push(columns.clone());
            }
            self.shows_flags = columns.has_flags();
            self.columns = Some(columns);
            self.summary = None;
            return;
        }
        if let Some(summary) = form::summary(line) {
            self.seen.largest += u64::from(summary == Summary::Largest);
            self.seen.aggregated += u64::from(summary == Summary::Aggregated);
            self.summary = Some(summary);
            return;
        }
        if line.starts_with(b"Date first seen ") {
            self.columns = None;
            self.summary = None;
            self.shows_flags = memmem::find(line, b" Flags ").is_some();
        }
        if trimmed == b"Summary" {
            self.columns = None;
            return;
        }
        self.row(line);
    }

    /// Takes a line of a table.
    fn row(&mut self, line: &[u8]) {
        let read = match &self.columns {
            Some(columns) if memchr::memchr(b',', line).is_some() => columns.read(line),
            _ => match form::people(line) {
                Line::Other => form::bars(line.trim_ascii()),
                line => line,
            },
        };
        if self.shows_flags && matches!(&read, Line::Tcp(flow) if flow.flags.is_none()) {
            // The line was wrapped, or its columns are shifted.
            self.seen.flows += 1;
            self.seen.unreadable += 1;
            return;
        }
        let cut = self.last && read == Line::OtherFlow;
        if (read == Line::Other || cut) && form::begins_with_time(line) {
            match self.summary {
                Some(Summary::Statistics) => self.seen.statistics += 1,
                _ => self.seen.unreadable += 1,
            }
        } else if read == Line::Other && is_part_of_flow(line) {
            self.seen.unreadable += 1;
        }
        self.take(read);
    }

    fn json(&mut self, object: &[u8]) {
        // What follows the object is a comma or the end of the array.
        let end = memchr::memrchr(b'}', object).map_or(object.len(), |n| n + 1);
        let read = form::json(&object[..end]);
        if read == Line::Other && memmem::find(object, b"_addr\"").is_some() {
            self.seen.unreadable += 1;
        }
        self.take(read);
    }

    fn take(&mut self, line: Line) {
        self.seen.flows += u64::from(line != Line::Other);
        self.seen.others += u64::from(line == Line::OtherFlow);
        match line {
            Line::Tcp(Printed { first, length, from, to, flags }) => {
                let first = self.calendar.record_time(first);
                self.pairs.take(Flow { from, to, first, length, flags }, self.give);
            }
            Line::Shortened => self.seen.shortened += 1,
            Line::OtherFlow | Line::Other => {}
        }
    }
}

/// Has nfdump print the flows of `input`.
fn through_nfdump(input: &mut Input, text: &mut Text<'_>) -> Result<(), NfdumpError> {
    // nfdump reads files only, and not compressed ones.
    let mut copy = None;
    let path = match input.file_path() {
        Some(path) => path.to_owned(),
        None => {
            let mut file = tempfile::NamedTempFile::new()?;
            copy_to_temporary_file(&mut input.by_ref(), file.as_file_mut())?;
            file.flush()?;
            copy.insert(file).path().to_owned()
        }
    };
    let nfdump = Command::new("nfdump")
        .arg("-q")
        .arg("-6")
        .arg("-r")
        .arg(&path)
        .args(["-o", NFDUMP_FORMAT])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut nfdump = nfdump.map_err(NfdumpError::NotRun)?;
    text.columns = Columns::of(HEADER);
    let mut read = Ok(());
    if let Some(out) = nfdump.stdout.take() {
        let mut out = BufReader::new(out);
        let mut line = Vec::new();
        loop {
            line.clear();
            match out.by_ref().take(lines::LONGEST as u64).read_until(b'\n', &mut line) {
                Ok(0) => break,
                Ok(_) => text.line(line.trim_ascii_end()),
                Err(e) => {
                    read = Err(e.into());
                    break;
                }
            }
        }
    }
    let status = nfdump.wait()?;
    if !status.success() {
        return Err(NfdumpError::Failed(status));
    }
    read
}
