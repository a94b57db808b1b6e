//! The report as one HTML file that loads nothing: totals, notes, a timeline, and a table that sorts, filters
//! and pages. It can be read without JavaScript.

mod data;

use std::io::{self, Write};

use self::data::Data;
use super::chart::{Chart, counted_by, name, text};
use super::clock::{Clock, Detail};
use super::markup::{caption, completeness, escape, grouped, period};
use super::svg::{BARS, COLOURS, SERIES, class, plot};
use super::tcp_stats::fields;
use super::{RenderOptions, Report, ReportSection, Row};
use crate::Connection;
use crate::count::order::{Order, Selection, Sort};
use crate::count::table::Entry;

/// Maximum number of rows that are readable without JavaScript.
const STATIC_ROWS: usize = 500;

/// Maximum number of intervals in the list.
const STATIC_INTERVALS: usize = 2000;

/// Addresses that the list of intervals names in each.
const INTERVAL_ROWS: usize = 3;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// SHA-256 of the style sheet and of the script, in Base64, for the Content-Security-Policy: a browser
/// runs nothing else. A test compares them, and prints the new ones.
const STYLE_HASH: &str = "q/a6PIc9lpligrwiyouwQt9+AQPWarhvkEwOtKqAo/M=";
const SCRIPT_HASH: &str = "v80QnjbMcH3PWoBYMdACRu+tOIU90nmOszG5ql1PTFY=";

/// One HTML document.
pub(super) struct Format {
    options: RenderOptions,
}

impl Format {
    /// Creates the format for one output.
    pub(super) fn new(options: RenderOptions) -> Format {
        Format { options }
    }
}

impl super::Format for Format {
    fn tells_notes(&self) -> bool {
        true
    }

    fn report(&mut self, report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
        let chart = Chart::new(report, SERIES, BARS);
        let selection = report.whole.select();
        let page = Page { report, options: &self.options, chart: &chart, selection: &selection };
        page.head(out)?;
        page.summary(out)?;
        page.timeline(out)?;
        page.rows(out)?;
        page.intervals(out)?;
        page.foot(out)
    }

    fn event(&mut self, _: &Connection, _: &mut dyn Write) -> io::Result<()> {
        Err(io::Error::other("events have no form in html"))
    }
}

/// The style sheet, with the colours of the timeline.
fn style() -> String {
    COLOURS.to_owned() + STYLE
}

/// The content of the page.
struct Page<'a> {
    report: &'a Report<'a>,
    options: &'a RenderOptions,
    chart: &'a Chart,
    selection: &'a Selection,
}

impl Page<'_> {
    fn head(&self, out: &mut dyn Write) -> io::Result<()> {
        let (style, title) = (style(), escape(&caption(self.report)));
        write!(
            out,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
             style-src 'sha256-{STYLE_HASH}'; script-src 'sha256-{SCRIPT_HASH}'; base-uri 'none'; \
             form-action 'none'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <meta name=\"referrer\" content=\"no-referrer\">\n\
             <title>{title} – tcptally</title>\n<style>{style}</style>\n</head>\n<body>\n"
        )
    }

    fn summary(&self, out: &mut dyn Write) -> io::Result<()> {
        let (report, status) = (self.report, self.report.status);
        let host = report.whole.keys.host().unwrap_or_default();
        let engine = status.engine.as_deref().unwrap_or("none");
        let (state, mark) =
            if report.is_complete() { ("complete", "✓") } else { ("incomplete", "!") };
        write!(
            out,
            "<header>\n<p class=\"source\">tcptally {} on {} · {}</p>\n<h1>{}</h1>\n\
             <p class=\"period\">{}</p>\n\
             <p class=\"state {state}\"><span aria-hidden=\"true\">{mark}</span> {}</p>\n",
            escape(status.source),
            escape(host),
            escape(engine),
            escape(&caption(report)),
            escape(&period(report, &self.options.zone)),
            completeness(report),
        )?;
        if !report.notes.is_empty() {
            writeln!(out, "<ul class=\"notes\">")?;
            for note in &report.notes {
                writeln!(out, "<li>{}</li>", escape(note))?;
            }
            writeln!(out, "</ul>")?;
        }
        let sums = &report.sums;
        let numbers = [
            ("lost", status.lost),
            ("unknown address", sums.no_peer + sums.undecided_peer),
            ("unknown port", sums.unknown_port),
            ("unknown time", sums.undecided_time),
            ("unreadable lines", status.unreadable_lines()),
            ("excluded by the options", sums.filtered),
        ];
        writeln!(out, "<dl>")?;
        for (what, n) in numbers.into_iter().filter(|(what, n)| *n > 0 || *what == "lost") {
            writeln!(out, "<div><dt>{what}</dt><dd>{}</dd></div>", grouped(n))?;
        }
        writeln!(out, "</dl>\n</header>\n<main>")
    }

    fn timeline(&self, out: &mut dyn Write) -> io::Result<()> {
        let length = self.chart.bar_length().map(|l| format!(", each bar {l}")).unwrap_or_default();
        writeln!(
            out,
            "<section id=\"timeline\" aria-labelledby=\"time-title\">\n<h2 id=\"time-title\">Connections over \
             time<small>{length}</small></h2>\n<ul class=\"legend\">"
        )?;
        let item = |out: &mut dyn Write, class: &str, name: &str, count| {
            writeln!(
                out,
                "<li><i class=\"{class}\"></i>{} <span>{}</span></li>",
                escape(name),
                grouped(count)
            )
        };
        for (i, (name, count)) in self.chart.series.iter().enumerate() {
            item(out, &class(i), name, *count)?;
        }
        if self.chart.others > 0 {
            item(out, "rest", "others", self.chart.others)?;
        }
        write!(
            out,
            "</ul>\n<figure id=\"chart\"><svg width=\"100%\" height=\"{}\" role=\"img\" aria-label=\"Connections \
             over time, stacked by {}\">\n{}</svg></figure>\n\
             <p id=\"range\" class=\"hint\" aria-live=\"polite\" hidden></p>\n</section>\n",
            super::svg::HEIGHT,
            counted_by(self.report.whole.keys.list()),
            plot(self.chart, &self.options.zone),
        )
    }

    /// The headings, with the class of the column.
    fn headings(&self) -> Vec<(String, &'static str)> {
        let keys = self.report.whole.keys.list();
        let mut headings: Vec<(String, &str)> =
            keys.iter().map(|key| (counted_by(&[*key]), "key")).collect();
        headings.push(("connections".into(), "n"));
        headings.push(("share".into(), "n share"));
        headings.extend(["first", "last"].map(|name| (name.into(), "n time")));
        let statistics = fields(self.options.columns);
        headings.extend(statistics.map(|field| (field.heading.to_lowercase(), "n")));
        headings
    }

    fn rows(&self, out: &mut dyn Write) -> io::Result<()> {
        let whole = &self.report.whole;
        let by = counted_by(whole.keys.list());
        writeln!(
            out,
            "<section id=\"rows\">\n<h2>By {by}</h2>\n<div id=\"tools\" hidden><label>Filter \
             <input id=\"filter\" type=\"search\" spellcheck=\"false\" autocomplete=\"off\" placeholder=\"text, or a network: \
             192.0.2.0/24\"></label><span id=\"found\" aria-live=\"polite\"></span></div>\n\
             <div class=\"scroll\"><table>\n<thead><tr>"
        )?;
        for (i, (heading, class)) in self.headings().iter().enumerate() {
            write!(out, "<th scope=\"col\" class=\"{class}\" data-column=\"{i}\">{heading}</th>")?;
        }
        writeln!(out, "</tr></thead>\n<tbody>")?;
        let all = whole.all();
        let clock = Clock::between(&self.options.zone, &all);
        let shown = self.selection.rows.len().min(STATIC_ROWS);
        for row in whole.rows(self.selection).take(shown) {
            let keys: Vec<String> = row.values().map(|value| text(&value)).collect();
            let class = self.series_class(&row);
            self.line(out, class.as_deref(), &keys, &row, &clock)?;
        }
        writeln!(out, "</tbody>")?;
        self.sums(out, &clock)?;
        writeln!(out, "</table></div>")?;
        if shown < self.selection.rows.len() {
            writeln!(
                out,
                "<noscript><p class=\"hint\">Without JavaScript this page shows {} of {} rows. \
                 The formats csv and json have all.</p></noscript>",
                grouped(shown as u64),
                grouped(self.selection.rows.len() as u64)
            )?;
        }
        writeln!(out, "<nav id=\"pages\" hidden></nav>\n</section>")
    }

    /// The colour of a row in the timeline, if it has one.
    fn series_class(&self, row: &Row<'_>) -> Option<String> {
        let count = row.entry.count;
        if self.chart.series.last().is_none_or(|(_, least)| count < *least) {
            return None;
        }
        let name = name(row);
        self.chart.series.iter().position(|(n, _)| *n == name).map(class)
    }

    fn line(
        &self,
        out: &mut dyn Write,
        class: Option<&str>,
        keys: &[String],
        row: &Row<'_>,
        clock: &Clock,
    ) -> io::Result<()> {
        write!(out, "<tr>")?;
        for (n, key) in keys.iter().enumerate() {
            let mark = class.filter(|_| n == 0).map(|c| format!("<i class=\"{c}\"></i>"));
            write!(out, "<td class=\"key\">{}{}</td>", mark.unwrap_or_default(), escape(key))?;
        }
        self.numbers(out, &row.entry, clock, true)?;
        for field in fields(self.options.columns) {
            write!(out, "<td class=\"n\">{}</td>", escape(&field.show(row.stats)))?;
        }
        writeln!(out, "</tr>")
    }

    fn numbers(
        &self,
        out: &mut dyn Write,
        entry: &Entry,
        clock: &Clock,
        has_bar: bool,
    ) -> io::Result<()> {
        let share = entry.count as f64 * 100.0 / self.report.sums.total.max(1) as f64;
        let bar = if has_bar {
            let most = self.chart.series.first().map_or(1, |(_, count)| *count);
            let width = (entry.count as f64 * 100.0 / most as f64).min(100.0);
            format!("<svg class=\"bar\"><rect width=\"{width:.2}%\" height=\"100%\"/></svg>")
        } else {
            String::new()
        };
        write!(
            out,
            "<td class=\"n\">{}</td><td class=\"n share\">{bar}<span>{share:.1}%</span></td>\
             <td class=\"n time\">{}</td><td class=\"n time\">{}</td>",
            entry.count,
            escape(&clock.show(entry.first)),
            escape(&clock.show(entry.last)),
        )
    }

    /// The rows that are not in the table, and all together.
    fn sums(&self, out: &mut dyn Write, clock: &Clock) -> io::Result<()> {
        let (whole, others) = (&self.report.whole, &self.selection.others);
        let columns = self.options.columns;
        let blank = "<td></td>".repeat(whole.keys.list().len().saturating_sub(1));
        writeln!(out, "<tfoot>")?;
        if others.count > 0 {
            let keys = self.selection.other_keys.map(|n| format!(" ({})", grouped(n)));
            write!(
                out,
                "<tr id=\"others\"><th scope=\"row\" class=\"key\">others{}</th>{blank}",
                keys.unwrap_or_default()
            )?;
            self.numbers(out, others, clock, false)?;
            for field in fields(columns) {
                let text = field.show(&self.selection.other_stats);
                write!(out, "<td class=\"n\">{}</td>", escape(&text))?;
            }
            writeln!(out, "</tr>")?;
        }
        write!(out, "<tr><th scope=\"row\" class=\"key\">total</th>{blank}")?;
        self.numbers(out, &whole.all(), clock, false)?;
        for field in fields(columns) {
            write!(out, "<td class=\"n\">{}</td>", escape(&field.show(&whole.stats())))?;
        }
        writeln!(out, "</tr>\n</tfoot>")
    }

    fn intervals(&self, out: &mut dyn Write) -> io::Result<()> {
        let Some(sections) = self.report.intervals.as_ref().filter(|s| !s.is_empty()) else {
            return Ok(());
        };
        let open = if self.options.intervals { " open" } else { "" };
        writeln!(
            out,
            "<section id=\"intervals\"><details{open}><summary><h2>Intervals</h2></summary>\n\
             <div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\" class=\"key\">from</th>\
             <th scope=\"col\" class=\"n\">connections</th><th scope=\"col\" class=\"share\"></th>\
             <th scope=\"col\" class=\"key\">most</th></tr></thead>\n<tbody>"
        )?;
        let most = sections.iter().map(ReportSection::total).max().unwrap_or_default();
        let clock = Clock::new(&self.options.zone, self.interval_detail());
        for section in sections.iter().take(STATIC_INTERVALS) {
            let order =
                Order { sort: Sort::Count, top: Some(INTERVAL_ROWS), min: 0, ..section.order };
            let section = ReportSection { order, ..section.clone() };
            let selection = section.select();
            let names: Vec<String> = section
                .rows(&selection)
                .map(|row| {
                    format!("{} <span>{}</span>", escape(&name(&row)), grouped(row.entry.count))
                })
                .collect();
            let width = section.total() as f64 * 100.0 / most.max(1) as f64;
            let partial = if section.is_partial { " <em>partial</em>" } else { "" };
            writeln!(
                out,
                "<tr><td class=\"key time\">{}{partial}</td><td class=\"n\">{}</td><td class=\"share\">\
                 <svg class=\"bar\"><rect width=\"{width:.2}%\" height=\"100%\"/></svg></td>\
                 <td class=\"key top\">{}</td></tr>",
                escape(&clock.show(section.start)),
                grouped(section.total()),
                names.join(" · ")
            )?;
        }
        writeln!(out, "</tbody></table></div>")?;
        if let Some(more) = sections.len().checked_sub(STATIC_INTERVALS).filter(|n| *n > 0) {
            writeln!(
                out,
                "<p class=\"hint\">{} more intervals are not in this list. The formats csv and json \
                 have them, and so has a longer interval.</p>",
                grouped(more as u64)
            )?;
        }
        writeln!(out, "</details></section>")
    }

    fn interval_detail(&self) -> Detail {
        let has_fraction = self.report.intervals.iter().flatten().any(|s| {
            s.start.is_some_and(|t| t.timestamp().is_some_and(|t| t.subsec_nanosecond() != 0))
        });
        if has_fraction { Detail::Micros } else { Detail::Full }
    }

    fn foot(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(
            out,
            "</main>\n<footer>Written by tcptally {}. Times are in the time zone of the machine that wrote \
             this file, or of --tz.</footer>\n<script type=\"application/json\" id=\"data\">",
            env!("CARGO_PKG_VERSION")
        )?;
        let data = Data {
            report: self.report,
            chart: self.chart,
            selection: self.selection,
            columns: self.options.columns,
            zone: &self.options.zone,
        };
        data.write(out)?;
        writeln!(out, "</script>\n<script>{SCRIPT}</script>\n</body>\n</html>")
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// SHA-256 in Base64, by sha256sum(1).
    fn hash(text: &str) -> String {
        let mut child = Command::new("sha256sum")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sha256sum of coreutils");
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap().stdout;
        let byte =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        let bytes: Vec<u8> = output[..64].chunks(2).map(byte).collect();
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut base64 = String::new();
        for chunk in bytes.chunks(3) {
            let padded = [chunk[0], *chunk.get(1).unwrap_or(&0), *chunk.get(2).unwrap_or(&0)];
            let bits = u32::from_be_bytes([0, padded[0], padded[1], padded[2]]);
            for i in 0..4 {
                let digit = DIGITS[(bits >> (18 - 6 * i)) as usize & 63];
                base64.push(if i > chunk.len() { '=' } else { digit as char });
            }
        }
        base64
    }

    #[test]
    fn the_policy_names_the_style_and_the_script_of_the_page() {
        assert_eq!(hash("abc"), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
        assert_eq!((hash(&style()), hash(SCRIPT)), (STYLE_HASH.into(), SCRIPT_HASH.into()));
    }

    #[test]
    fn the_script_and_the_style_end_where_their_elements_do() {
        for text in [style(), SCRIPT.into()] {
            assert!(!text.contains("</") && !text.contains("<!--") && !text.contains('\r'));
        }
    }
}
