//! Text for HTML and SVG: escaped, with the totals and the period in words.

use jiff::tz::TimeZone;

use super::{Clock, Report};
use crate::model::plural;
use crate::model::text::printable;

/// Escapes text so that it is no markup, in elements and in attributes, and controls nothing.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A number with its digits in groups: 1,234,567.
pub(super) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How many connections, from how many addresses.
pub(super) fn caption(report: &Report<'_>) -> String {
    let noun = if report.sums.total == 1 { "connection" } else { "connections" };
    let mut text = format!("{} {noun}", grouped(report.sums.total));
    if let Some(n) = report.addresses().filter(|n| *n > 0) {
        let noun = if n == 1 { "address" } else { "addresses" };
        text += &format!(" from {} {noun}", grouped(n as u64));
    }
    text
}

/// The time that was observed, or that of the connections.
pub(super) fn period(report: &Report<'_>, zone: &TimeZone) -> String {
    let watched = report.status.started.zip(report.status.ended);
    let all = report.whole.all();
    let span = watched.or(all.first.zip(all.last));
    span.map_or("no times".into(), |(from, to)| Clock::span(zone, from, to))
}

/// Whether connections may be missing, in a sentence.
pub(super) fn completeness(report: &Report<'_>) -> String {
    match (report.is_complete(), report.status.lost) {
        (true, _) => "Complete: no connection is known to be missing.".into(),
        (false, 0) => "Incomplete: connections may be missing. The notes say which.".into(),
        (false, n) => format!(
            "Incomplete: {} lost, and more may be missing. The notes say why.",
            plural(n, "connection was", "connections were")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_becomes_markup() {
        assert_eq!(
            escape("</script><b x='1' y=\"&\">\u{202e}\x1b"),
            "&lt;/script&gt;&lt;b x=&#39;1&#39; y=&quot;&amp;&quot;&gt;\\u{202e}\\u{1b}"
        );
    }

    #[test]
    fn digits_are_in_groups_of_three() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
