//! Connections over time as a chart of text.

use std::io::{self, Write};

use crate::format::chart::Chart;
use crate::format::markup::grouped;
use crate::format::text::{BAR, HEADING};
use crate::format::{RenderOptions, Report};

/// Lines of the bars.
const HEIGHT: u64 = 8;

/// Columns between two labels of the time axis, at least.
const LABEL_WIDTH: usize = 14;

const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Writes the chart of a report that has intervals.
pub(super) fn write(
    report: &Report<'_>,
    options: &RenderOptions,
    out: &mut dyn Write,
) -> io::Result<()> {
    let chart = Chart::new(report, 0, options.window().0.saturating_sub(12).max(10));
    let (most, bars) = (chart.most(), chart.bars.len());
    if bars == 0 || most == 0 {
        return Ok(());
    }
    let label = grouped(most).len();
    // Few intervals have wide bars, and none is wider than a fifth of the chart.
    let room = options.window().0.saturating_sub(label + 3).max(bars);
    let wide = (room / bars).clamp(1, 12);
    let length = chart.bar_length().map(|l| format!(", each bar {l}")).unwrap_or_default();
    let styled = |style: anstyle::Style, text: &str| {
        if options.color { format!("{style}{text}{style:#}") } else { text.to_owned() }
    };
    writeln!(out, "{}{length}", styled(HEADING, "Connections over time"))?;
    let (side, corner, bottom) =
        if options.ascii { ("|", "+", "-") } else { ("│", "└", "─") };
    for line in (0..HEIGHT).rev() {
        let text: String =
            chart.bars.iter().map(|bar| block(bar.total, most, line, wide)).collect();
        let text = if options.ascii { text.replace(&EIGHTHS[1..], "#") } else { text };
        let label_text = match line {
            line if line + 1 == HEIGHT => grouped(most),
            line if line + 1 == HEIGHT / 2 => grouped(most.div_ceil(2)),
            _ => String::new(),
        };
        writeln!(out, "{label_text:>label$} {side}{}", styled(BAR, text.trim_end()))?;
    }
    writeln!(out, "{:>label$} {corner}{}", 0, bottom.repeat(bars * wide))?;
    let mut axis = String::new();
    for tick in chart.ticks(&options.zone, (bars * wide / LABEL_WIDTH).max(1)) {
        let at = tick.bar * wide;
        let used = axis.chars().count();
        if used == 0 || at > used {
            axis += &" ".repeat(at.saturating_sub(used));
            axis += &tick.label;
        }
    }
    writeln!(out, "{:label$}  {axis}", "")?;
    writeln!(out)
}

/// One line of a bar: lines count from the bottom. Every connection is seen.
fn block(total: u64, most: u64, line: u64, wide: usize) -> String {
    let eighths = (u128::from(total) * u128::from(HEIGHT * 8)).div_ceil(u128::from(most.max(1)));
    let here = (eighths as u64).saturating_sub(line * 8).min(8) as usize;
    // Wide bars have a gap between them.
    let gap = usize::from(wide > 2);
    let block = EIGHTHS.get(here).copied().unwrap_or(' ');
    std::iter::repeat_n(block, wide - gap).chain(std::iter::repeat_n(' ', gap)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_show_eighths_and_the_smallest_count() {
        let bar = |total| (0..HEIGHT).map(|line| block(total, 64, line, 1)).collect::<String>();
        assert_eq!([64, 32, 1, 0].map(bar), ["████████", "████    ", "▁       ", "        "]);
        assert_eq!(block(5, 5, 7, 4), "███ ");
    }
}
