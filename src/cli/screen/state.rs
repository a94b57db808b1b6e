//! [`State`]: what the user has chosen, and what the keys do.

use std::path::PathBuf;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::model::{Model, Row, Sort};
use crate::RecordTime;

/// What keys mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Table,
    Help,
    /// The text of a filter is typed.
    Filter(String),
    /// The name of a file is typed.
    Write(String),
}

/// What a key asks the program to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    None,
    Quit,
    /// Ctrl-C, which a command that tcptally started gets too.
    Interrupt,
    Write(PathBuf),
}

/// The screen's content.
pub(super) struct State {
    pub model: Model,
    pub title: String,
    pub engine: String,
    pub lost: u64,
    pub complete: bool,
    /// Connections that came too fast for the screen.
    pub missed: u64,
    pub paused: bool,
    pub mode: Mode,
    pub message: Option<String>,
    /// The row that is selected, and the first that is shown.
    pub selected: usize,
    pub from: usize,
    /// The label of the row whose connections are shown.
    pub expanded: Option<String>,
    /// The rows that are shown, and the largest count.
    pub page: Vec<(Row, f64)>,
    pub most: u64,
}

impl State {
    pub(super) fn new(model: Model, title: String) -> State {
        State {
            model,
            title,
            engine: String::new(),
            lost: 0,
            complete: true,
            missed: 0,
            paused: false,
            mode: Mode::Table,
            message: None,
            selected: 0,
            from: 0,
            expanded: None,
            page: Vec::new(),
            most: 0,
        }
    }

    /// Takes the rows from the model, for `lines` lines.
    pub(super) fn refresh(&mut self, lines: u16, now: RecordTime) {
        let lines = usize::from(lines).max(1);
        self.selected = self.selected.min(self.model.len().saturating_sub(1));
        self.from = self.from.min(self.selected);
        if self.selected >= self.from + lines {
            self.from = self.selected + 1 - lines;
        }
        (self.page, self.most) = self.model.page(self.from, lines, now);
        if self.expanded.is_some() {
            let at = self.page.get(self.selected - self.from);
            self.expanded = at.map(|(row, _)| row.label.clone());
        }
    }

    /// Handles a key. Returns the action that the program must take.
    pub(super) fn press(&mut self, key: KeyEvent, lines: u16) -> Action {
        self.message = None;
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Action::Interrupt;
        }
        match std::mem::replace(&mut self.mode, Mode::Table) {
            Mode::Filter(text) => self.type_filter(text, key.code),
            Mode::Write(text) => return self.type_file(text, key.code),
            Mode::Help => {}
            Mode::Table => return self.command(key.code, usize::from(lines).max(1)),
        }
        Action::None
    }

    fn type_filter(&mut self, mut text: String, key: KeyCode) {
        match key {
            KeyCode::Esc => return self.model.set_filter(""),
            KeyCode::Enter => return,
            KeyCode::Backspace => drop(text.pop()),
            KeyCode::Char(c) => text.push(c),
            _ => {}
        }
        self.model.set_filter(&text);
        self.mode = Mode::Filter(text);
    }

    fn type_file(&mut self, mut text: String, key: KeyCode) -> Action {
        match key {
            KeyCode::Esc => return Action::None,
            KeyCode::Enter if !text.is_empty() => return Action::Write(text.into()),
            KeyCode::Enter => return Action::None,
            KeyCode::Backspace => drop(text.pop()),
            KeyCode::Char(c) => text.push(c),
            _ => {}
        }
        self.mode = Mode::Write(text);
        Action::None
    }

    fn command(&mut self, key: KeyCode, lines: usize) -> Action {
        let last = self.model.len().saturating_sub(1);
        match key {
            KeyCode::Char('q') => return Action::Quit,
            KeyCode::Char('?' | 'h') => self.mode = Mode::Help,
            KeyCode::Char('s') => self.model.sort = self.model.sort.next(),
            KeyCode::Char('r') => self.model.sort = Sort::Rate,
            KeyCode::Char('c') => self.model.sort = Sort::Count,
            KeyCode::Char('l') => self.model.sort = Sort::Last,
            KeyCode::Char('a') => self.model.sort = Sort::Label,
            KeyCode::Char('b') => {
                self.model.next_view();
                (self.selected, self.from, self.expanded) = (0, 0, None);
            }
            KeyCode::Char('/') => self.mode = Mode::Filter(self.model.filter_text.clone()),
            KeyCode::Char('w') => self.mode = Mode::Write("tcptally.html".into()),
            KeyCode::Char(' ' | 'p') => self.paused = !self.paused,
            KeyCode::Esc if self.expanded.is_some() => self.expanded = None,
            KeyCode::Esc => self.model.set_filter(""),
            KeyCode::Enter => {
                let row = self.page.get(self.selected.saturating_sub(self.from));
                let label = row.map(|(row, _)| row.label.clone());
                self.expanded = if self.expanded.is_some() { None } else { label };
            }
            KeyCode::Up | KeyCode::Char('k') => self.selected = self.selected.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.selected = (self.selected + 1).min(last),
            KeyCode::PageUp => self.selected = self.selected.saturating_sub(lines),
            KeyCode::PageDown => self.selected = (self.selected + lines).min(last),
            KeyCode::Home => self.selected = 0,
            KeyCode::End => self.selected = last,
            _ => {}
        }
        Action::None
    }
}
