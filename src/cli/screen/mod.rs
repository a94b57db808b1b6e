//! [`Screen`]: a screen like that of top(1), in a separate thread. It never slows a source: connections are
//! passed in a list that is locked only to append to it, or to take it as a whole.

mod model;
mod state;
#[cfg(test)]
mod tests;
mod view;

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use jiff::tz::TimeZone;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers, poll, read};
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
    is_raw_mode_enabled, size,
};
use ratatui::crossterm::{cursor, execute};

use self::model::Model;
use self::state::{Action, State};
use self::view::Theme;
use super::intervals::{cover, intervals};
use super::lock::lock;
use super::message;
use super::notes::report;
use super::output::{Mode, Output};
use super::request::{Request, Stream};
use super::terminal::tty;
use crate::count::Count;
use crate::count::order::Order;
use crate::format::{OutputFormat, RenderOptions};
use crate::{Connection, RecordTime, SourceStatus};

/// Time between two frames.
const FRAME: Duration = Duration::from_millis(250);

/// Time between two checks whether the screen is to end.
const POLL: Duration = Duration::from_millis(50);

/// Time between two checks of the user's requests by the thread of the source.
pub(super) const REQUEST_INTERVAL: Duration = Duration::from_millis(100);

/// Maximum number of connections queued for the screen. Further ones are in the total, but in no row.
const MAX_WAITING: usize = 1 << 20;

/// State shared by both threads.
#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    status: Mutex<Option<Status>>,
    message: Mutex<Option<String>>,
    write: Mutex<Option<PathBuf>>,
    quits: AtomicBool,
    ends: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    connections: Vec<Connection>,
    missed: u64,
}

/// The status of the source.
struct Status {
    engine: String,
    lost: u64,
    complete: bool,
}

/// The screen, as the source sees it.
pub(super) struct Screen {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Screen {
    /// Starts the screen.
    pub(super) fn start(
        request: &Request,
        source: &str,
        has_command: bool,
    ) -> anyhow::Result<Screen> {
        let terminal = RawTerminal::open().context("cannot draw on the terminal")?;
        let keys = request.count.tally.keys.clone();
        let has_processes = source != "watch";
        let model = Model::new(keys, has_processes, RecordTime::now());
        let ports = &request.count.filter.ports;
        let title = if ports.0.is_empty() { source.into() } else { format!("{source} :{ports}") };
        let state = State::new(model, title);
        let shared = Arc::new(Shared::default());
        let theme = Theme { has_color: request.render_options(Some(Stream::Stdout), false).color };
        message::hold();
        let thread = std::thread::Builder::new().name("screen".into()).spawn({
            let (shared, zone) = (shared.clone(), request.zone.clone());
            move || {
                // The terminal is restored in every case. If the terminal is gone, counting continues.
                let _ = run(terminal, state, &shared, theme, &zone, has_command);
            }
        });
        Ok(Screen { shared, thread: Some(thread.context(message::NO_THREAD)?) })
    }

    /// Shows one more connection.
    pub(super) fn take(&self, c: Connection) {
        let mut waiting = lock(&self.shared.waiting);
        if waiting.connections.len() < MAX_WAITING {
            waiting.connections.push(c);
        } else {
            waiting.missed += 1;
        }
    }

    /// Shows the status of the source.
    pub(super) fn update(&self, status: &SourceStatus) {
        *lock(&self.shared.status) = Some(Status {
            engine: status.engine.clone().unwrap_or_default(),
            lost: status.lost,
            complete: status.is_complete(),
        });
    }

    /// Whether the user has ended it.
    pub(super) fn quits(&self) -> bool {
        self.shared.quits.load(Ordering::Relaxed)
    }

    /// The file that the user wants a report in.
    pub(super) fn wants_report(&self) -> Option<PathBuf> {
        lock(&self.shared.write).take()
    }

    /// Writes a report of these counts, in a thread of its own.
    pub(super) fn write_report(
        &self,
        path: PathBuf,
        count: Count,
        order: Order,
        status: SourceStatus,
        zone: TimeZone,
    ) {
        let shared = self.shared.clone();
        let write = move || {
            let text = match write_report(&path, count, order, &status, zone) {
                Ok(()) => format!("wrote {}", path.display()),
                Err(error) => format!("{error:#}"),
            };
            *lock(&shared.message) = Some(crate::model::text::printable(&text));
        };
        // Without a thread the user sees that no report was written.
        let _ = std::thread::Builder::new().name("report".into()).spawn(write);
    }

    /// Ends the screen, and prints the messages that came meanwhile.
    pub(super) fn end(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
            message::release();
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.end();
    }
}

/// The format that the end of a name stands for.
fn format_of(path: &Path) -> OutputFormat {
    match path.extension().and_then(|e| e.to_str()) {
        Some("html" | "htm") => OutputFormat::Html,
        Some("svg") => OutputFormat::Svg,
        Some("json") => OutputFormat::Json,
        Some("jsonl") => OutputFormat::Jsonl,
        Some("csv") => OutputFormat::Csv,
        _ => OutputFormat::Table,
    }
}

fn write_report(
    path: &Path,
    mut count: Count,
    order: Order,
    status: &SourceStatus,
    zone: TimeZone,
) -> anyhow::Result<()> {
    let kind = format_of(path);
    let mut output = Output::open(Some(path), Stream::Stdout, Mode::Replace)?;
    let also: Vec<RecordTime> = [status.started, status.ended].into_iter().flatten().collect();
    cover(&mut count, &also);
    let mut report = report(status, &count, order);
    if kind.has_timeline() {
        let (parts, left_out) = intervals(&count, order, also.iter().map(|t| t.just_before()));
        report.intervals = Some(parts);
        report.notes.extend(left_out);
    }
    let mut format = kind.format(RenderOptions {
        color: false,
        width: 100,
        terminal: None,
        fit_hint: None,
        ascii: false,
        zone,
        intervals: false,
        headings: true,
        columns: order.columns,
        histogram: false,
    });
    let written = output.write(|out| format.report(&report, out));
    written.with_context(|| output.cannot_write())
}

/// The terminal in raw mode and with the alternate screen, until it is dropped.
struct RawTerminal {
    terminal: Terminal<CrosstermBackend<BufWriter<File>>>,
}

impl RawTerminal {
    fn open() -> io::Result<RawTerminal> {
        let mut tty = tty()?;
        enable_raw_mode()?;
        let entered = execute!(tty, EnterAlternateScreen, cursor::Hide);
        let terminal =
            entered.and_then(|()| Terminal::new(CrosstermBackend::new(BufWriter::new(tty))));
        terminal.map(|terminal| RawTerminal { terminal }).inspect_err(|_| drop(disable_raw_mode()))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let backend = self.terminal.backend_mut();
        let _ = execute!(backend, cursor::Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}

/// Restores the terminal if the screen is shown, for a program that ends at once.
pub(super) fn leave() {
    if is_raw_mode_enabled().unwrap_or(false) {
        if let Ok(mut tty) = tty() {
            let _ = execute!(tty, cursor::Show, LeaveAlternateScreen);
        }
        let _ = disable_raw_mode();
    }
}

/// Draws frames and handles keys until the screen is to end.
fn run(
    mut raw: RawTerminal,
    mut state: State,
    shared: &Shared,
    theme: Theme,
    zone: &TimeZone,
    has_command: bool,
) -> io::Result<()> {
    while !shared.ends.load(Ordering::Relaxed) {
        let now = RecordTime::now();
        drain(&mut state, shared);
        let (_, height) = size()?;
        let lines = view::row_lines(&state, height);
        if !state.paused {
            state.refresh(lines, now);
        }
        raw.terminal.draw(|frame| view::draw(frame.buffer_mut(), &state, now, theme, zone))?;
        let until = Instant::now() + FRAME;
        let mut is_pressed = false;
        while !is_pressed && Instant::now() < until && !shared.ends.load(Ordering::Relaxed) {
            while poll(if is_pressed { Duration::ZERO } else { POLL })? {
                is_pressed = true;
                let Event::Key(key) = read()? else { continue };
                if key.kind == KeyEventKind::Release {
                    continue;
                }
                if key.modifiers == KeyModifiers::CONTROL && key.code == KeyCode::Char('l') {
                    raw.terminal.clear()?;
                }
                match state.press(key, lines) {
                    Action::None => {}
                    Action::Write(path) => *lock(&shared.write) = Some(path),
                    Action::Interrupt if has_command => {
                        // As the terminal does, which is in raw mode.
                        let _ = kill(Pid::from_raw(0), Signal::SIGINT);
                    }
                    Action::Quit | Action::Interrupt => {
                        shared.quits.store(true, Ordering::Relaxed);
                        state.message = Some("ending ...".into());
                    }
                }
                if state.paused {
                    // What the user chose is seen at once.
                    state.refresh(lines, now);
                }
            }
        }
    }
    Ok(())
}

/// Counts the connections that came since the last frame.
fn drain(state: &mut State, shared: &Shared) {
    let waiting = std::mem::take(&mut *lock(&shared.waiting));
    state.missed += waiting.missed;
    state.model.total += waiting.missed;
    waiting.connections.into_iter().for_each(|c| state.model.add(c));
    if let Some(status) = lock(&shared.status).take() {
        (state.engine, state.lost, state.complete) = (status.engine, status.lost, status.complete);
    }
    if let Some(message) = lock(&shared.message).take() {
        state.message = Some(message);
    }
}
