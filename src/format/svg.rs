//! The timeline as a picture in SVG.

use std::fmt::Write as _;
use std::io::{self, Write};

use jiff::tz::TimeZone;

use super::chart::{Bar, Chart, count_marks, counted_by};
use super::clock::Clock;
use super::markup::{caption, escape, grouped, period};
use super::{RenderOptions, Report};
use crate::Connection;
use crate::model::plural;

/// Maximum number of rows that have a colour of their own.
pub(super) const SERIES: usize = 6;

/// Maximum number of bars.
pub(super) const BARS: usize = 480;

/// Height of the bars, and of the axis below, in pixels.
const PLOT_HEIGHT: u64 = 200;
const AXIS_HEIGHT: u64 = 28;

/// Space above the highest mark for its label.
const TOP: u64 = 16;

/// The height of [`plot`] in pixels.
pub(super) const HEIGHT: u64 = TOP + PLOT_HEIGHT + AXIS_HEIGHT;

/// Maximum number of marks of the axes.
const COUNT_MARKS: u64 = 4;
const TIME_MARKS: usize = 10;

/// Colours for light and dark surroundings. They differ in brightness too, for people who see few
/// colours.
pub(super) const COLOURS: &str = "\
:root{--bg:#fff;--fg:#1c2128;--muted:#59636e;--line:#d9dee4;--card:#f6f8fa;\
--s0:#0072b2;--s1:#e69f00;--s2:#009e73;--s3:#cc79a7;--s4:#56b4e9;--s5:#d55e00;--rest:#b3bcc6}
@media(prefers-color-scheme:dark){:root{--bg:#0e1318;--fg:#e4e8ec;--muted:#9aa5b1;--line:#2c343d;--card:#161c23;\
--s0:#3d9fe0;--s1:#f0b53c;--s2:#2fbf94;--s3:#dd98be;--s4:#8fd0f5;--s5:#ec7a35;--rest:#5b6672}}
.s0{fill:var(--s0);background:var(--s0)}.s1{fill:var(--s1);background:var(--s1)}
.s2{fill:var(--s2);background:var(--s2)}.s3{fill:var(--s3);background:var(--s3)}
.s4{fill:var(--s4);background:var(--s4)}.s5{fill:var(--s5);background:var(--s5)}
.rest{fill:var(--rest);background:var(--rest)}
.grid{stroke:var(--line)}.axis{fill:var(--muted);font:12px system-ui,sans-serif}.hit{fill:transparent}
";

/// The name of the colour of a series.
pub(super) fn class(series: usize) -> String {
    if series < SERIES { format!("s{series}") } else { "rest".into() }
}

/// The timeline as one SVG document.
pub(super) struct Format {
    zone: TimeZone,
}

impl Format {
    /// Creates the format for one output.
    pub(super) fn new(options: RenderOptions) -> Format {
        Format { zone: options.zone }
    }
}

impl super::Format for Format {
    fn report(&mut self, report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
        const WIDTH: usize = 960;
        const MARGIN: usize = 24;
        const HEAD: usize = 64;
        let chart = Chart::new(report, SERIES, BARS);
        let (legend, legend_height) = legend(&chart, WIDTH - 2 * MARGIN);
        let height = HEAD + HEIGHT as usize + legend_height + MARGIN;
        let inner = WIDTH - 2 * MARGIN;
        let state = if report.is_complete() { "complete" } else { "incomplete" };
        writeln!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" font-family=\"system-ui,sans-serif\">\n<style>{COLOURS}\
             .title{{fill:var(--fg);font-size:20px;font-weight:600}}.sub{{fill:var(--muted);font-size:13px}}\
             .page{{fill:var(--bg)}}</style>\n<rect class=\"page\" width=\"100%\" height=\"100%\" rx=\"8\"/>"
        )?;
        writeln!(
            out,
            "<text class=\"title\" x=\"{MARGIN}\" y=\"34\">{}</text>\n\
             <text class=\"sub\" x=\"{MARGIN}\" y=\"56\">{} · {state} · by {}</text>",
            escape(&caption(report)),
            escape(&period(report, &self.zone)),
            counted_by(report.whole.keys.list()),
        )?;
        writeln!(out, "<svg x=\"{MARGIN}\" y=\"{HEAD}\" width=\"{inner}\" height=\"{HEIGHT}\">")?;
        out.write_all(plot(&chart, &self.zone).as_bytes())?;
        let y = HEAD + HEIGHT as usize;
        writeln!(out, "</svg>\n<g transform=\"translate({MARGIN} {y})\">{legend}</g>\n</svg>")
    }

    fn event(&mut self, _: &Connection, _: &mut dyn Write) -> io::Result<()> {
        Err(io::Error::other("events have no form in svg"))
    }
}

/// The names of the series, in lines of `width` pixels, and the height of all lines.
fn legend(chart: &Chart, width: usize) -> (String, usize) {
    const LINE_HEIGHT: usize = 22;
    /// Pixels of the widest usual character.
    const CHARACTER: usize = 8;
    let others = (chart.others > 0).then(|| ("others".to_owned(), chart.others));
    let all = chart.series.iter().cloned().enumerate().chain(others.map(|o| (SERIES, o)));
    let (mut text, mut x, mut y) = (String::new(), 0, LINE_HEIGHT);
    for (i, (name, count)) in all {
        let label = format!("{name}  {}", grouped(count));
        let taken = label.chars().count() * CHARACTER + 34;
        if x > 0 && x + taken > width {
            (x, y) = (0, y + LINE_HEIGHT);
        }
        let _ = write!(
            text,
            "<rect class=\"{}\" x=\"{x}\" y=\"{}\" width=\"12\" height=\"12\" rx=\"3\"/>\
             <text class=\"sub\" x=\"{}\" y=\"{y}\">{}</text>",
            class(i),
            y - 11,
            x + 18,
            escape(&label)
        );
        x += taken;
    }
    (text, y + 4)
}

/// The bars and the axes, as the content of an `svg` of any width and of [`HEIGHT`].
pub(super) fn plot(chart: &Chart, zone: &TimeZone) -> String {
    let mut text = String::new();
    if chart.bars.is_empty() {
        let _ = write!(
            text,
            "<text class=\"axis\" x=\"50%\" y=\"50%\" text-anchor=\"middle\">No connection has a time.</text>"
        );
        return text;
    }
    let marks = count_marks(chart.most().max(1), COUNT_MARKS);
    let highest = marks.last().copied().unwrap_or(1).max(1);
    let y_of = |n: u64| TOP as f64 + PLOT_HEIGHT as f64 * (1.0 - n as f64 / highest as f64);
    for mark in &marks {
        let y = y_of(*mark);
        let _ = write!(
            text,
            "<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"axis\" x=\"0\" y=\"{:.1}\">{}</text>",
            y - 4.0,
            if *mark == 0 { String::new() } else { grouped(*mark) }
        );
    }
    let bars = chart.bars.len();
    let _ = write!(
        text,
        "\n<svg class=\"bars\" y=\"{TOP}\" width=\"100%\" height=\"{PLOT_HEIGHT}\" viewBox=\"0 0 {bars} \
         {PLOT_HEIGHT}\" preserveAspectRatio=\"none\">"
    );
    text += &stacks(chart, highest);
    for (i, bar) in chart.bars.iter().enumerate() {
        let _ = write!(
            text,
            "<rect class=\"hit\" x=\"{i}\" width=\"1\" height=\"{PLOT_HEIGHT}\"><title>{}</title></rect>",
            escape(&bar_title(bar, zone))
        );
    }
    text += "</svg>\n";
    let ticks = chart.ticks(zone, TIME_MARKS);
    for (i, tick) in ticks.iter().enumerate() {
        let x = tick.bar as f64 * 100.0 / bars as f64;
        let (y1, y2, y) = (TOP + PLOT_HEIGHT, TOP + PLOT_HEIGHT + 5, TOP + PLOT_HEIGHT + 20);
        let anchor = match x {
            x if x < 4.0 => "start",
            x if x > 96.0 => "end",
            _ => "middle",
        };
        // Every second one is left out where there is little room.
        let class = if i % 2 == 1 { "axis odd" } else { "axis" };
        let _ = write!(
            text,
            "<line class=\"grid\" x1=\"{x:.2}%\" x2=\"{x:.2}%\" y1=\"{y1}\" y2=\"{y2}\"/>\
             <text class=\"{class}\" x=\"{x:.2}%\" y=\"{y}\" text-anchor=\"{anchor}\">{}</text>",
            escape(&tick.label)
        );
    }
    text
}

/// One path for each series.
fn stacks(chart: &Chart, highest: u64) -> String {
    let height = |n: u64| n as f64 * PLOT_HEIGHT as f64 / highest as f64;
    let mut paths = vec![String::new(); chart.series.len() + 1];
    for (i, bar) in chart.bars.iter().enumerate() {
        let rest = bar.total.saturating_sub(bar.counts.iter().sum());
        let mut bottom = PLOT_HEIGHT as f64;
        for (path, count) in paths.iter_mut().zip(bar.counts.iter().copied().chain([rest])) {
            if count > 0 {
                let top = bottom - height(count);
                let x = i as f64 + 0.08;
                let _ = write!(path, "M{x:.2} {bottom:.2}V{top:.2}h.84V{bottom:.2}z");
                bottom = top;
            }
        }
    }
    let last = paths.len() - 1;
    let path = |(i, path): (usize, &String)| {
        let class = if i == last { "rest".into() } else { class(i) };
        if path.is_empty() {
            String::new()
        } else {
            format!("<path class=\"{class}\" d=\"{path}\"/>")
        }
    };
    paths.iter().enumerate().map(path).collect()
}

/// The time and the total of a bar.
pub(super) fn bar_title(bar: &Bar, zone: &TimeZone) -> String {
    let time = bar.start.zip(bar.end).map(|(from, to)| Clock::span(zone, from, to));
    let partial = if bar.is_partial { " (partial)" } else { "" };
    format!(
        "{}: {}{partial}",
        time.unwrap_or_default(),
        plural(bar.total, "connection", "connections")
    )
}
