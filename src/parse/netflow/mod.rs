//! NetFlow and IPFIX, as nfdump prints them, and its own files through an installed nfdump.

pub mod form;
mod pairs;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use memchr::memmem;

use self::form::{Columns, Line, Printed};
use self::pairs::{Flow, Pairs};
use super::context::Context;
use super::input::Input;
use super::lines;
use super::recognise::RecordFormat;
use super::timestamp::{Calendar, Stamp};
use crate::ShortfallKind;

/// nfdump's text and files.
pub const KIND: RecordFormat = RecordFormat {
    name: "netflow",
    about: "flows that nfdump printed, or its nfcapd files",
    connection: "a TCP flow that begins with a SYN",
    recognise,
    run: |_| Some(String::new()),
    read,
};

/// What nfcapd files begin with.
const NFCAPD: &[&[u8]] = &[&[0x0c, 0xa5], &[0xa5, 0x0c]];
/// No flow of nfdump's JSON is longer.
const OBJECT: usize = 64 * 1024;

/// What nfdump is asked to print of its files, and the header of that.
const FORMAT: &str = "fmt:%ts,%td,%pr,%sa,%sp,%da,%dp,%flg";
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
            || Columns::of(line).is_some()
            || form::bars(line) != Line::Other
            || form::people(line) != Line::Other
            || memmem::find(line, b"\"src4_addr\"").is_some()
            || memmem::find(line, b"\"src6_addr\"").is_some();
    });
    found
}

fn read(mut inputs: Vec<Input>, cx: &mut Context<'_>) {
    // nfcapd's files and those of a cron job have the time in their names.
    inputs.sort_by_cached_key(|input| input.path().map(Path::to_path_buf));
    let name = super::common_name(inputs.iter());
    let mut pairs = Pairs::new(&cx.options.local, cx.options.established);
    let mut shortened = 0;
    for mut input in inputs {
        let binary = is_nfcapd(input.head());
        let calendar = Calendar::new(&mut input, cx, &|_| Stamp::None);
        let mut text = Text {
            calendar,
            columns: None,
            object: None,
            pairs: &mut pairs,
            shortened: 0,
            give: &mut |connection| cx.sink.take(connection),
        };
        let end = if binary {
            match through_nfdump(&mut input, &mut text) {
                Ok(()) => Ok(()),
                Err(message) => {
                    cx.failures.push(message);
                    continue;
                }
            }
        } else {
            lines::blocks(&mut input, |block, _| {
                lines::each(block, |line, _| text.line(line));
            })
        };
        shortened += text.shortened;
        if let Err(e) = end {
            cx.broken(&input, &e);
        }
    }
    pairs.finish(&mut |connection| cx.sink.take(connection));
    cx.status.record_shortfall(
        ShortfallKind::UnreadableLines,
        shortened,
        format!(
            "{name}: {shortened} flows have addresses that nfdump shortened, and are left out; \
             print them with nfdump -6"
        ),
    );
    if pairs.flagless {
        cx.status.warn(format!(
            "{name}: without TCP flags, attempts that were refused count too, and a pause of more \
             than a minute counts as a new connection; nfdump -o long shows the flags{}",
            if cx.options.established { "; --established counts every attempt" } else { "" }
        ));
    }
}

/// The lines of one record.
struct Text<'a> {
    calendar: Calendar,
    columns: Option<Columns>,
    /// The part of a JSON object that was read.
    object: Option<Vec<u8>>,
    pairs: &'a mut Pairs,
    shortened: u64,
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
            self.columns = Some(columns);
            return;
        }
        if trimmed == b"Summary" {
            self.columns = None;
            return;
        }
        let read = match &self.columns {
            Some(columns) => columns.read(line),
            None => match form::people(line) {
                Line::Other => form::bars(trimmed),
                line => line,
            },
        };
        self.take(read);
    }

    fn json(&mut self, object: &[u8]) {
        // What follows the object is a comma or the end of the array.
        let end = memchr::memrchr(b'}', object).map_or(object.len(), |n| n + 1);
        let read = form::json(&object[..end]);
        self.take(read);
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Tcp(Printed { first, length, from, to, flags }) => {
                let first = self.calendar.record_time(first);
                self.pairs.take(Flow { from, to, first, length, flags }, self.give);
            }
            Line::Shortened => self.shortened += 1,
            Line::OtherFlow | Line::Other => {}
        }
    }
}

/// Has nfdump print the flows of `input`.
fn through_nfdump(input: &mut Input, text: &mut Text<'_>) -> Result<(), String> {
    let name = input.name().to_owned();
    let say = |e: io::Error| format!("{name}: {e}");
    // nfdump reads files only, and not compressed ones.
    let mut copy = None;
    let path = match input.path().filter(|_| !input.is_compressed()) {
        Some(path) => path.to_owned(),
        None => {
            let mut file = tempfile::NamedTempFile::new().map_err(say)?;
            io::copy(&mut input.by_ref(), &mut file).map_err(say)?;
            file.flush().map_err(say)?;
            copy.insert(file).path().to_owned()
        }
    };
    let nfdump = Command::new("nfdump")
        .arg("-q")
        .arg("-6")
        .arg("-r")
        .arg(&path)
        .args(["-o", FORMAT])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut nfdump = nfdump.map_err(|e| {
        format!("{name} is an nfcapd file, which is read through nfdump, and that cannot be run ({e}); install nfdump")
    })?;
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
                    read = Err(say(e));
                    break;
                }
            }
        }
    }
    let status = nfdump.wait().map_err(say)?;
    if !status.success() {
        return Err(format!("{name}: nfdump could not read it ({status}); what it printed counts"));
    }
    read
}
