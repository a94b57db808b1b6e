//! [`Gaps`]: what a text log shows of records that are missing in it, whatever its format.
//!
//! The programs between a server and its log say how many messages they lost (`losses`) or left out because they
//! were the same as the one before. A hole of NULs in the middle is what a crash or a full disk left of lost lines.

use std::io;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::host::has_two_addresses;
use super::input::Input;
use super::losses::Repeat;
use super::{lines, losses};
use crate::model::plural;
use crate::{ShortfallKind, SourceStatus};

/// Minimum length of a hole in bytes: a single NUL ends a line.
const MIN_HOLE: u64 = 2;

/// What stands before the part of a line that goes on in the next one.
static PARTS: LazyLock<[Finder<'static>; 2]> =
    LazyLock::new(|| [" stdout P ", " stderr P "].map(Finder::new));

/// Bytes of a line that are kept for the next block.
const MAX_KEPT: usize = 4096;

/// What the lines of one block, or of all blocks that were joined, show.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    messages: u64,
    notices: u64,
    repeats: u64,
    /// Lines that a container runtime wrote in parts.
    parts: u64,
    /// Lines before all others that say how often the last line was repeated.
    leading: Vec<Vec<u8>>,
    /// The last line that does not say so.
    last: Vec<u8>,
    /// Runs of NULs at the beginnings of lines: where each begins in the block, and its length.
    runs: Vec<(usize, u64)>,
    /// Length of the block in bytes.
    length: usize,
    holes: Holes,
}

/// The holes of all blocks that were joined.
#[derive(Clone, Copy, Debug, Default)]
struct Holes {
    count: u64,
    bytes: u64,
    /// Length of the run of NULs at the end.
    open: u64,
    /// Whether anything else than NULs was seen.
    begun: bool,
}

impl Holes {
    /// Ends the run at the end, as something else follows.
    fn close(&mut self) {
        let bytes = std::mem::take(&mut self.open);
        // What was truncated while its writer went on begins with NULs, and lacks nothing behind them.
        if self.begun && bytes >= MIN_HOLE {
            self.count += 1;
            self.bytes += bytes;
        }
        self.begun = true;
    }

    /// Adds the runs of a block of `length` bytes.
    fn join(&mut self, runs: &[(usize, u64)], length: usize) {
        let mut end = 0;
        for &(start, bytes) in runs {
            if start > end {
                self.close();
            }
            self.open += bytes;
            end = start + bytes as usize;
        }
        if length > end {
            self.close();
        }
    }
}

impl Gaps {
    /// Forgets everything but the memory it has.
    pub(super) fn clear(&mut self) {
        let mut kept = std::mem::take(self);
        kept.leading.clear();
        kept.last.clear();
        kept.runs.clear();
        let Gaps { leading, last, runs, .. } = kept;
        *self = Gaps { leading, last, runs, ..Gaps::default() };
    }

    /// Looks at all lines of a block. `is_record`: whether a line may be of a connection.
    pub(super) fn scan(&mut self, text: &[u8], is_record: &dyn Fn(&[u8]) -> bool) {
        self.clear();
        let mut at = 0;
        while let Some(n) = losses::next_hint(&text[at..]) {
            let start = memchr::memrchr2(b'\n', 0, &text[..at + n]).map_or(0, |end| end + 1);
            let line = &text[start..];
            let line = &line[..lines::end(line)];
            self.see_line(text, start, line, is_record);
            at = (start + line.len() + 1).min(text.len());
        }
        self.scan_holes(text);
        self.end(text);
    }

    /// Looks for lines that a container runtime (CRI) wrote in parts: `2026-11-28T10:00:03.0Z stdout P a beginning`.
    pub(super) fn scan_parts(&mut self, text: &[u8]) {
        for finder in &*PARTS {
            self.parts += finder.find_iter(text).count() as u64;
        }
    }

    /// Looks for holes in a block.
    pub(super) fn scan_holes(&mut self, text: &[u8]) {
        let mut at = 0;
        while let Some(n) = memchr::memchr(0, &text[at..]).map(|n| at + n) {
            let start = if n == 0 || lines::is_end(text[n - 1]) { n } else { n + 1 };
            let bytes = lines::hole(&text[start..]);
            self.see_hole(text, start, bytes);
            at = (start + bytes).max(n + 1);
        }
    }

    /// Looks at a line that begins at `start` of `text`.
    pub(super) fn see_line(
        &mut self,
        text: &[u8],
        start: usize,
        line: &[u8],
        is_record: &dyn Fn(&[u8]) -> bool,
    ) {
        if let Some((times, message)) = losses::repeated_message(line) {
            if is_record(&message) {
                self.repeats = self.repeats.saturating_add(times);
            }
        } else if let Some(repeat) = losses::repeats_of_last(line) {
            match last_line(&text[..start]) {
                Some(last) => self.see_repeat(&repeat, last, is_record),
                None => self.leading.push(line[..line.len().min(MAX_KEPT)].to_vec()),
            }
        } else if let Some(lost) = losses::lost(line)
            && !is_record(line)
        {
            self.messages = self.messages.saturating_add(lost);
            self.notices += u64::from(lost == 0);
        }
    }

    /// Takes how often the line `last` was repeated.
    fn see_repeat(&mut self, repeat: &Repeat<'_>, last: &[u8], is_record: &dyn Fn(&[u8]) -> bool) {
        if is_record(last) || repeat.is_of_other_host(last) {
            self.repeats = self.repeats.saturating_add(repeat.times);
        }
    }

    /// Takes `bytes` NULs with which the line at `start` of `text` begins.
    pub(super) fn see_hole(&mut self, text: &[u8], start: usize, bytes: usize) {
        let at_edge = start == 0 || start + bytes == text.len();
        if bytes > 0 && (at_edge || bytes as u64 >= MIN_HOLE) {
            self.runs.push((start, bytes as u64));
        }
    }

    /// Ends the block `text`.
    pub(super) fn end(&mut self, text: &[u8]) {
        self.length = text.len();
        if let Some(last) = last_line(text) {
            self.last.extend_from_slice(&last[..last.len().min(MAX_KEPT)]);
        }
    }

    /// Adds what the next block shows.
    pub(crate) fn join(&mut self, next: &Gaps, is_record: &dyn Fn(&[u8]) -> bool) {
        for line in &next.leading {
            let last = std::mem::take(&mut self.last);
            if let Some(repeat) = losses::repeats_of_last(line).filter(|_| !last.is_empty()) {
                self.see_repeat(&repeat, &last, is_record);
            }
            self.last = last;
        }
        self.messages = self.messages.saturating_add(next.messages);
        self.notices += next.notices;
        self.repeats = self.repeats.saturating_add(next.repeats);
        self.parts += next.parts;
        if !next.last.is_empty() {
            self.last.clone_from(&next.last);
        }
        self.holes.join(&next.runs, next.length);
    }

    /// Adds what the next block shows, where a line with two addresses may be a record. `of_block` is memory.
    pub(super) fn add_block(&mut self, text: &[u8], of_block: &mut Gaps) {
        of_block.scan(text, &has_two_addresses);
        of_block.scan_parts(text);
        self.join(of_block, &has_two_addresses);
    }

    /// The input ends; another may follow.
    pub(crate) fn end_input(&mut self) {
        if self.holes.open > 0 {
            self.holes.close();
        }
        self.holes.begun = false;
        self.last.clear();
    }

    /// Reports what is missing in the log `name`.
    pub(super) fn report(&mut self, name: &str, status: &mut SourceStatus) {
        self.end_input();
        let messages = match (self.messages, self.notices) {
            (0, _) => "messages were".into(),
            (n, 0) => plural(n, "message was", "messages were"),
            (n, _) => {
                format!("{}, and more without a number,", plural(n, "message was", "messages were"))
            }
        };
        status.record_shortfall(
            ShortfallKind::LostEvents,
            self.messages.saturating_add(self.notices),
            format!(
                "{name}: the log says that {messages} lost or suppressed on the way into it; connections may be \
                 among them"
            ),
        );
        status.record_shortfall(
            ShortfallKind::UnreadableLines,
            self.repeats,
            format!(
                "{name}: a syslog daemon wrote 'message repeated' in place of {}, not counted here; turn that off \
                 ($RepeatedMsgReduction off in rsyslog)",
                plural(self.repeats, "line that may be a record", "lines that may be records"),
            ),
        );
        status.record_shortfall(
            ShortfallKind::UnreadableLines,
            self.parts,
            format!(
                "{name}: the container runtime wrote {} in parts (flag P), which are not joined; kubectl logs and \
                 crictl logs join them",
                plural(self.parts, "line", "lines"),
            ),
        );
        let Holes { count, bytes, .. } = self.holes;
        status.record_shortfall(
            ShortfallKind::UnreadInput,
            count,
            format!(
                "{name}: {} of zeros, {}, {} in the log, as a crash or a full disk leaves them in place of lines; \
                 connections may be missing",
                plural(count, "block", "blocks"),
                plural(bytes, "byte", "bytes"),
                if count == 1 { "is" } else { "are" },
            ),
        );
    }
}

/// Reads the lines of `input`, as [`lines::blocks`] does, and adds what is missing in them to `gaps`.
pub(super) fn blocks(
    input: &mut Input,
    gaps: &mut Gaps,
    mut block: impl FnMut(&[u8], u64),
) -> io::Result<()> {
    let mut of_block = Gaps::default();
    lines::blocks(input, |text, at| {
        gaps.add_block(text, &mut of_block);
        block(text, at);
    })
}

/// The last line of `text` that is not empty and does not say how often the one before was repeated.
fn last_line(text: &[u8]) -> Option<&[u8]> {
    let lines = text.rsplit(|b| lines::is_end(*b)).filter(|line| !line.trim_ascii().is_empty());
    lines.into_iter().find(|line| losses::repeats_of_last(line).is_none())
}
