//! Detects the format of an input, and converts the input if that makes it a record.

use super::bcc::tcpaccept;
use super::conversions;
use super::input::Input;
use super::json_lines;
use super::reader::RecordFormat;
use super::registry::{FORMATS, recognise};
use super::{vpc_flow, vpc_json};

/// Detection gives up after this many bytes.
const MAX_DETECTION_BYTES: usize = 1024 * 1024;

/// Enough bytes to detect most formats even if the first line has not ended.
pub(super) const FIRST_LINE_BYTES: usize = 4096;

/// Whether a regular file looks like `format`. Of a stream only what was read already is looked at,
/// and nothing is said of it, because its lines must not wait.
pub(super) fn looks_like(input: &mut Input, format: &RecordFormat) -> bool {
    loop {
        if input.modified().is_none() || (format.recognise)(input.head()) {
            return true;
        }
        // Only the user can tell its lines without a heading from those of tcpconnect.
        if format.name == tcpaccept::FORMAT.name && tcpaccept::may_be_rows(input.head()) {
            return true;
        }
        if input.head().len() > MAX_DETECTION_BYTES || !input.grow().unwrap_or(false) {
            return (format.recognise)(input.head());
        }
    }
}

/// Detects the format of `input`. Returns an error only if nothing could be read; a later error
/// occurs again when the record is read.
pub(super) fn detect(
    input: &mut Input,
    forced: Option<&'static RecordFormat>,
) -> std::io::Result<Option<&'static RecordFormat>> {
    loop {
        input.skip_hole()?;
        let head = input.head();
        // Readers check the first line themselves.
        let enough = head.len() >= FIRST_LINE_BYTES || head.contains(&b'\n');
        if enough && convert_objects(input, forced) {
            continue;
        }
        let head = input.head();
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
        if enough && conversions::convert(input, format) {
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
    if convert_objects(input, forced) {
        return detect(input, forced);
    }
    if !is_json_record(input.head(), forced)
        && (divide_json_if_record(input, forced) || input.unwrap_json_if_wrapped())
    {
        return detect(input, forced);
    }
    let format = forced.or_else(|| recognise(input.head()));
    if conversions::convert(input, format) {
        return detect(input, forced);
    }
    Ok(format)
}

/// Converts objects whose members are columns of a record. Returns whether it did.
fn convert_objects(input: &mut Input, forced: Option<&'static RecordFormat>) -> bool {
    let may_be = forced.is_none_or(|format| format.name == vpc_flow::FORMAT.name);
    may_be && vpc_json::has_flows(input.head()) && input.convert(vpc_json::convert)
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
