//! Draws the screen.

use jiff::tz::TimeZone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use super::model::{History, Row, SLOTS, slot_of};
use super::state::{Mode, State};
use crate::RecordTime;
use crate::count::value::Value;
use crate::format::Clock;
use crate::model::plural;
use crate::model::text::printable;

/// The smallest screen.
pub(super) const MIN_WIDTH: u16 = 40;
pub(super) const MIN_HEIGHT: u16 = 10;

/// Lines above the rows.
const HEAD_LINES: u16 = 4;

const SPARKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

const HELP: [&str; 14] = [
    "s        sort by rate, count, last, key",
    "r c l a  sort by one of these",
    "b        count by the next key",
    "/        filter: a network (10.0.0.0/8) or text",
    "Esc      no filter; close",
    "↑ ↓      select a row (PgUp PgDn Home End)",
    "Enter    show the row's last connections",
    "Space    pause",
    "w        write a report (html json csv txt)",
    "?        this help",
    "q        stop counting and print the report",
    "",
    "RATE: connections per second in the last 10 s",
    "LAST 3 MIN: each block is 5 s",
];

/// Styles, or attributes only where there are no colours.
#[derive(Clone, Copy)]
pub(super) struct Theme {
    pub has_color: bool,
}

impl Theme {
    // Nearly everybody can distinguish blue and yellow.
    fn colored(self, color: Color) -> Style {
        if self.has_color { Style::new().fg(color) } else { Style::new() }
    }

    fn bar(self) -> Style {
        self.colored(Color::Cyan)
    }

    fn warning(self) -> Style {
        self.colored(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    fn quiet(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn heading(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED)
    }
}

/// How many rows fit.
pub(super) fn row_lines(state: &State, height: u16) -> u16 {
    let all = height.saturating_sub(HEAD_LINES + 1);
    if state.expanded.is_some() { all.div_ceil(2) } else { all }
}

/// Draws everything.
pub(super) fn draw(
    buffer: &mut Buffer,
    state: &State,
    now: RecordTime,
    theme: Theme,
    zone: &TimeZone,
) {
    let area = buffer.area;
    if area.width < MIN_WIDTH || area.height < MIN_HEIGHT {
        let text = format!("at least {MIN_WIDTH} x {MIN_HEIGHT}, please; q quits");
        put(buffer, 0, 0, &text, Style::new());
        return;
    }
    head(buffer, state, now, theme);
    table(buffer, state, now, theme, zone);
    foot(buffer, state, theme);
    if state.mode == Mode::Help {
        help(buffer, theme);
    }
}

fn put(buffer: &mut Buffer, x: u16, y: u16, text: &str, style: Style) -> u16 {
    if y >= buffer.area.height || x >= buffer.area.width {
        return x;
    }
    buffer.set_stringn(x, y, text, usize::from(buffer.area.width - x), style).0
}

fn put_right(buffer: &mut Buffer, right: u16, y: u16, text: &str, style: Style) {
    let width = u16::try_from(text.chars().count()).unwrap_or(u16::MAX);
    put(buffer, right.saturating_sub(width), y, text, style);
}

fn duration(state: &State, now: RecordTime) -> String {
    let ns = match (state.model.started, now) {
        (RecordTime::Clock(a), RecordTime::Clock(b)) => b.saturating_sub(a),
        _ => 0,
    };
    let seconds = ns / 1_000_000_000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

fn head(buffer: &mut Buffer, state: &State, now: RecordTime, theme: Theme) {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let width = buffer.area.width;
    let x = put(buffer, 0, 0, &format!("tcptally {}", state.title), bold);
    if !state.engine.is_empty() {
        put(buffer, x, 0, &format!("  engine {}", state.engine), theme.quiet());
    }
    let right = if state.paused { "PAUSED".into() } else { duration(state, now) };
    let style = if state.paused { theme.warning() } else { theme.quiet() };
    put_right(buffer, width, 0, &format!("  {right}"), style);

    let model = &state.model;
    let rate = model.rate(now);
    let x = put(buffer, 0, 1, &plural(model.total, "connection", "connections"), bold);
    let x = put(buffer, x, 1, &format!("  {}/s", number(rate)), Style::new());
    let x = put(
        buffer,
        x,
        1,
        &format!("  {}", plural(model.len() as u64, "row", "rows")),
        Style::new(),
    );
    let warn = |n: u64| if n > 0 { theme.warning() } else { theme.quiet() };
    let x = put(buffer, x, 1, &format!("  lost {}", state.lost), warn(state.lost));
    let x = put(buffer, x, 1, &format!("  unknown {}", model.unknown), warn(model.unknown));
    let hidden = model.not_in_rows + state.missed;
    let x = match hidden {
        0 => x,
        n => put(buffer, x, 1, &format!("  in no row {n}"), theme.warning()),
    };
    if !state.complete {
        put(buffer, x, 1, "  INCOMPLETE", theme.warning());
    }

    let label = "last 3 min ";
    let x = put(buffer, 0, 2, label, theme.quiet());
    let room = usize::from(width - x);
    let wide = (room / SLOTS).max(1);
    spark(buffer, (x, 2), &model.history, (room.min(SLOTS), wide), now, theme);
}

/// Draws the last slots of a history.
fn spark(
    buffer: &mut Buffer,
    (x, y): (u16, u16),
    history: &History,
    (slots, wide): (usize, usize),
    now: RecordTime,
    theme: Theme,
) {
    let last = slot_of(now);
    let counts: Vec<u32> =
        (0..slots as i64).map(|i| history.get(last - slots as i64 + 1 + i)).collect();
    let most = counts.iter().copied().max().unwrap_or_default().max(1);
    let block = |count: &u32| {
        let eighth = (u64::from(*count) * 8).div_ceil(u64::from(most)) as usize;
        std::iter::repeat_n(SPARKS[eighth.min(8)], wide)
    };
    let text: String = counts.iter().flat_map(block).collect();
    put(buffer, x, y, &text, theme.bar());
}

/// The widths of columns; 0: left out.
struct Columns {
    label: usize,
    share: usize,
    bar: usize,
    spark: usize,
}

/// The width of a rate and a count.
const NUMBERS: usize = 9 + 10;

impl Columns {
    /// The width of what is text.
    fn text(&self) -> u16 {
        let share = if self.share > 0 { self.share + 1 } else { 0 };
        (self.label + NUMBERS + share) as u16
    }

    fn fit(width: usize, longest: usize) -> Columns {
        let label = longest.clamp(12, width.saturating_sub(NUMBERS).max(12));
        let mut left = width.saturating_sub(label + NUMBERS);
        let mut take = |wanted: usize, least: usize| {
            let taken = if left > least { wanted.min(left - 1) } else { 0 };
            left -= if taken > 0 { taken + 1 } else { 0 };
            taken
        };
        let share = take(7, 7);
        let spark = take(SLOTS, 12);
        let bar = take(20, 6);
        Columns { label, share, bar, spark }
    }
}

fn table(buffer: &mut Buffer, state: &State, now: RecordTime, theme: Theme, zone: &TimeZone) {
    let (width, height) = (usize::from(buffer.area.width), buffer.area.height);
    let lines = row_lines(state, height);
    let longest = state.page.iter().map(|(row, _)| row.label.chars().count()).max();
    let columns = Columns::fit(width, longest.unwrap_or(12).max(state.model.by().len()));
    heading(buffer, state, &columns, theme);
    for (i, (row, rate)) in state.page.iter().take(usize::from(lines)).enumerate() {
        let y = HEAD_LINES + i as u16;
        let is_selected = state.from + i == state.selected;
        line(buffer, y, (row, *rate), state, &columns, now, theme);
        if is_selected {
            // Bars in reverse would show the opposite.
            let area = Rect::new(0, y, columns.text().min(buffer.area.width), 1);
            buffer.set_style(area, Style::new().add_modifier(Modifier::REVERSED));
        }
    }
    if state.page.is_empty() {
        let text =
            if state.model.total == 0 { "no connection yet" } else { "no row matches the filter" };
        put(buffer, 2, HEAD_LINES, text, theme.quiet());
    }
    if let Some(label) = &state.expanded {
        events(buffer, HEAD_LINES + lines, label, state, theme, zone);
    }
}

fn heading(buffer: &mut Buffer, state: &State, columns: &Columns, theme: Theme) {
    let mut text = format!("{:<label$}", state.model.by().to_uppercase(), label = columns.label);
    text += &format!("{:>9}{:>10}", "RATE", "COUNT");
    if columns.share > 0 {
        text += &format!(" {:>7}", "SHARE");
    }
    if columns.bar > 0 {
        text += &format!(" {:<bar$}", "", bar = columns.bar);
    }
    if columns.spark > 0 {
        text += &format!(" {:<spark$}", "LAST 3 MIN", spark = columns.spark);
    }
    put(buffer, 0, HEAD_LINES - 1, &text, theme.heading());
}

fn line(
    buffer: &mut Buffer,
    y: u16,
    (row, rate): (&Row, f64),
    state: &State,
    columns: &Columns,
    now: RecordTime,
    theme: Theme,
) {
    let label: String = row.label.chars().take(columns.label).collect();
    let mut text =
        format!("{label:<width$}{:>9}{:>10}", number(rate), row.count, width = columns.label);
    if columns.share > 0 {
        let share = row.count as f64 * 100.0 / state.model.total.max(1) as f64;
        text += &format!(" {share:>6.1}%");
    }
    let mut x = put(buffer, 0, y, &text, Style::new());
    if columns.bar > 0 {
        let eighths = (u128::from(row.count) * columns.bar as u128 * 8)
            .div_ceil(u128::from(state.most.max(1))) as usize;
        let bar = "█".repeat(eighths / 8) + EIGHTHS[eighths % 8];
        put(buffer, x + 1, y, &bar, theme.bar());
        x += 1 + columns.bar as u16;
    }
    if columns.spark > 0 {
        let place = (x + 1, y);
        spark(buffer, place, &row.history, (columns.spark, 1), now, theme);
    }
}

fn events(buffer: &mut Buffer, y: u16, label: &str, state: &State, theme: Theme, zone: &TimeZone) {
    let lines = usize::from(buffer.area.height.saturating_sub(y + 2));
    put(buffer, 0, y, &format!("── {label}: last connections "), theme.quiet());
    let clock = Clock::of_times(zone);
    for (i, c) in state.model.events(label, lines).into_iter().enumerate() {
        let end = |ip, port| Value::Local(ip, port).to_string();
        let mut text = format!("{:<13} {}", clock.show(c.time), end(c.ip, c.port));
        if c.local_port.is_some() {
            text += &format!(" -> {}", end(c.local_ip, c.local_port));
        }
        if let Some(comm) = &c.comm {
            text += &format!("  {}", printable(comm));
        }
        if let Some(pid) = c.pid {
            text += &format!("[{pid}]");
        }
        put(buffer, 0, y + 1 + i as u16, &text, Style::new());
    }
}

fn foot(buffer: &mut Buffer, state: &State, theme: Theme) {
    let y = buffer.area.height - 1;
    let prompt = match &state.mode {
        Mode::Filter(text) => Some(format!("filter: {text}▏")),
        Mode::Write(text) => Some(format!("write to: {text}▏")),
        Mode::Table | Mode::Help => state.message.clone(),
    };
    if let Some(prompt) = prompt {
        put(buffer, 0, y, &prompt, Style::new().add_modifier(Modifier::BOLD));
        return;
    }
    let filter = if state.model.filter_text.is_empty() {
        "/ filter".to_owned()
    } else {
        format!("/ {} ({})", state.model.filter_text, state.model.shown())
    };
    let text = format!(
        "q quit  ? help  s sort:{}  b by:{}  {filter}  Enter expand  Space pause  w write",
        state.model.sort.name(),
        state.model.by()
    );
    put(buffer, 0, y, &text, theme.quiet());
}

fn help(buffer: &mut Buffer, theme: Theme) {
    let (width, height) = (buffer.area.width, buffer.area.height);
    for (y, line) in HELP.iter().enumerate().take(usize::from(height.saturating_sub(2))) {
        let y = y as u16 + 1;
        put(buffer, 0, y, &" ".repeat(usize::from(width)), Style::reset());
        put(buffer, 2, y, line, Style::new());
    }
    put(buffer, 0, 0, &format!("{:<1$}", "Keys", usize::from(width)), theme.heading());
}

/// A rate with about three digits.
fn number(rate: f64) -> String {
    if rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}
