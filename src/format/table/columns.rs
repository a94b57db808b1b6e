//! [`Columns`]: selects the columns that fit the terminal, and lays out lines.

use std::fmt::Write as _;

use anstyle::Style;

/// Blanks between two columns.
const GAP: usize = 2;

/// Minimum and maximum length of a bar.
const BAR: std::ops::RangeInclusive<usize> = 4..=24;

/// `100.0%`
const SHARE: usize = 6;

/// The widths of the columns; 0 for one that is left out.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    keys: Vec<usize>,
    count: usize,
    share: usize,
    bar: usize,
    time: usize,
    statistics: Vec<usize>,
    /// The colour of bars, if any.
    style: Option<Style>,
    /// Whether bars are ASCII.
    ascii: bool,
}

/// The texts of a line.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    /// The values of the keys.
    pub keys: Vec<String>,
    /// The count, or the heading.
    pub count: String,
    /// The share of the total.
    pub share: String,
    /// The length of the bar: a count, and the largest count.
    pub bar: Option<(u64, u64)>,
    /// The times of the first and the last connection.
    pub times: [String; 2],
    /// The statistics.
    pub statistics: Vec<String>,
}

impl Columns {
    /// Selects columns of these widths. If they do not fit, the bar is left out first, then the share,
    /// then the times. With statistics there is no share and no bar.
    pub(super) fn fit(
        width: usize,
        keys: Vec<usize>,
        count: usize,
        statistics: Vec<usize>,
        time: usize,
        style: Option<Style>,
    ) -> Columns {
        let count = count.max("COUNT".len());
        let asked = keys.iter().chain(&statistics);
        let taken: usize = asked.map(|w| w + GAP).sum::<usize>() + count;
        let plain = statistics.is_empty();
        let mut columns =
            Columns { keys, count, share: 0, bar: 0, time: 0, statistics, style, ascii: false };
        let mut left = width.saturating_sub(taken);
        let mut take = |width: usize, n: usize| {
            let fits = width > 0 && left >= (width + GAP) * n;
            if fits {
                left -= (width + GAP) * n;
            }
            fits
        };
        if take(time, 2) {
            columns.time = time;
        }
        if plain && take(SHARE, 1) {
            columns.share = SHARE;
        }
        if columns.share > 0 && left >= BAR.start() + GAP {
            columns.bar = (left - GAP).min(*BAR.end());
        }
        columns
    }

    /// Draws bars in ASCII.
    pub(super) fn ascii(self, ascii: bool) -> Columns {
        Columns { ascii, ..self }
    }

    /// Lays out a line, without a line feed.
    pub(super) fn line(&self, line: &Line) -> String {
        let mut text = String::new();
        for (value, width) in line.keys.iter().zip(&self.keys) {
            let _ = write!(text, "{value:width$}{:GAP$}", "");
        }
        let _ = write!(text, "{:>width$}", line.count, width = self.count);
        if self.share > 0 {
            let _ = write!(text, "{:GAP$}{:>width$}", "", line.share, width = self.share);
        }
        if self.bar > 0 {
            let (bar, columns) =
                line.bar.map(|(n, most)| bar(n, most, self.bar, self.ascii)).unwrap_or_default();
            let blank = self.bar - columns;
            let _ = match self.style.filter(|_| columns > 0) {
                Some(style) => write!(text, "{:GAP$}{style}{bar}{style:#}{:blank$}", "", ""),
                None => write!(text, "{:GAP$}{bar}{:blank$}", "", ""),
            };
        }
        for (value, width) in line.statistics.iter().zip(&self.statistics) {
            let _ = write!(text, "{:GAP$}{value:>width$}", "");
        }
        if self.time > 0 {
            for time in &line.times {
                let _ = write!(text, "{:GAP$}{time:>width$}", "", width = self.time);
            }
        }
        text.truncate(text.trim_end().len());
        text
    }
}

/// A bar for `n` of `most`, and its width in columns.
pub(super) fn bar(n: u64, most: u64, width: usize, ascii: bool) -> (String, usize) {
    if ascii { draw_ascii(n, most, width) } else { draw(n, most, width) }
}

/// A bar for `n` of `most` in ASCII, and its width in columns.
fn draw_ascii(n: u64, most: u64, width: usize) -> (String, usize) {
    let columns = u128::from(n.min(most)) * width as u128;
    let columns = columns.div_ceil(u128::from(most.max(1))) as usize;
    ("#".repeat(columns), columns)
}

/// A bar for `n` of `most`, to an eighth of a column, and its width in columns.
fn draw(n: u64, most: u64, width: usize) -> (String, usize) {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = u128::from(n.min(most)) * width as u128 * 8;
    let eighths = eighths.div_ceil(u128::from(most.max(1))) as usize;
    ("█".repeat(eighths / 8) + EIGHTHS[eighths % 8], eighths.div_ceil(8))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn width(terminal: usize, key: usize, time: usize) -> (usize, String) {
        let columns = Columns::fit(terminal, vec![key], 5, Vec::new(), time, None);
        let line = columns.line(&Line {
            keys: vec!["k".repeat(key)],
            count: "1".into(),
            share: "100.0%".into(),
            bar: Some((1, 1)),
            times: ["F".repeat(time), "L".repeat(time)],
            statistics: Vec::new(),
        });
        (line.chars().count(), line)
    }

    #[test]
    fn the_longest_address_fits_with_everything() {
        let (width, line) = width(80, 39, 8);
        assert!(width <= 80, "{line}");
        assert!(line.contains('█') && line.contains('%') && line.contains('L'), "{line}");
    }

    #[test]
    fn columns_that_do_not_fit_are_left_out_the_least_important_first() {
        let (w, line) = width(80, 39, 11);
        assert!(w <= 80 && !line.contains('█') && line.contains('%'), "{line}");
        let (w, line) = width(76, 39, 11);
        assert!(w <= 76 && !line.contains('%') && line.contains('L'), "{line}");
        let (w, line) = width(66, 39, 11);
        assert!(w <= 66 && line.contains('█') && !line.contains('L'), "{line}");
        let (_, line) = width(40, 39, 11);
        assert!(line.ends_with('1'), "{line}");
    }

    #[test]
    fn requested_statistics_replace_share_and_bar() {
        let columns = |width| Columns::fit(width, vec![15], 5, vec![8, 9], 8, None);
        let line = Line {
            keys: vec!["192.0.2.7".into()],
            count: "3".into(),
            share: "50.0%".into(),
            bar: Some((1, 2)),
            times: ["FIRST", "LAST"].map(String::from),
            statistics: vec!["1234".into(), "5".into()],
        };
        let wide = columns(80).line(&line);
        let expected = ["192.0.2.7", "3", "1234", "5", "FIRST", "LAST"];
        assert_eq!(wide.split_whitespace().collect::<Vec<_>>(), expected);
        let narrow = columns(50).line(&line);
        assert!(narrow.ends_with(" 5") && narrow.contains("1234"), "{narrow}");
    }

    #[test]
    fn bars_are_as_long_as_their_share() {
        assert_eq!(draw(8, 8, 4), ("████".into(), 4));
        assert_eq!(draw(5, 8, 4), ("██▌".into(), 3));
        assert_eq!(draw(1, 1000, 4), ("▏".into(), 1));
        assert_eq!(draw(0, 8, 4), (String::new(), 0));
        assert_eq!(draw(0, 0, 4), (String::new(), 0));
        assert_eq!(draw_ascii(5, 8, 4), ("###".into(), 3));
        assert_eq!(draw_ascii(0, 0, 4), (String::new(), 0));
        assert_eq!(draw(u64::MAX, u64::MAX, 4), ("████".into(), 4));
    }
}
