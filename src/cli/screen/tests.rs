use std::time::Instant;

use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent};

use super::*;
use crate::count::Networks;
use crate::count::key::Keys;

/// 2026-11-22T11:30:00Z.
const NOON: i64 = 1_795_347_000;

fn at(seconds: i64) -> RecordTime {
    RecordTime::Clock((NOON + seconds) * 1_000_000_000)
}

fn connection(seconds: i64, ip: [u8; 4], port: u16) -> Connection {
    Connection {
        time: Some(at(seconds)),
        ip: Some(ip.into()),
        port: Some(40_000),
        local_port: Some(port),
        pid: Some(4711),
        comm: Some("nginx".into()),
        ..Connection::default()
    }
}

/// Two minutes: one client often in the last 20 seconds, one all the time, and some others.
fn state() -> State {
    let model = Model::new(Keys::default(), true, at(0));
    let mut state = State::new(model, "trace :443".into());
    for i in 0..120 {
        state.model.add(connection(i, [192, 0, 2, 7], 443));
        if i % 10 == 0 {
            state.model.add(connection(i, [198, 51, 100, (i / 10) as u8], 80));
        }
        if i >= 100 {
            for _ in 0..4 {
                state.model.add(connection(i, [203, 0, 113, 9], 443));
            }
        }
    }
    state.engine = "sample".into();
    state
}

fn draw(state: &mut State, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    state.refresh(view::row_lines(state, height), at(119));
    let theme = Theme { has_color: false };
    let zone = TimeZone::UTC;
    terminal.draw(|f| view::draw(f.buffer_mut(), state, at(119), theme, &zone)).unwrap();
    text(terminal.backend().buffer())
}

fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width);
    let line = |cells: &[ratatui::buffer::Cell]| {
        let text: String = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
        text.trim_end().to_owned() + "\n"
    };
    buffer.content.chunks(width).map(line).collect()
}

fn press(state: &mut State, keys: &str) -> Action {
    let mut action = Action::None;
    for c in keys.chars() {
        let code = match c {
            '\n' => KeyCode::Enter,
            '\x1b' => KeyCode::Esc,
            '↓' => KeyCode::Down,
            c => KeyCode::Char(c),
        };
        action = state.press(KeyEvent::from(code), 10);
        state.refresh(10, at(119));
    }
    action
}

fn labels(state: &State) -> Vec<&str> {
    state.page.iter().map(|(row, _)| row.label.as_str()).collect()
}

fn snapshot(name: &str, shown: &str) {
    let path = format!("{}/src/cli/screen/snapshots/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("TCPTALLY_UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, shown).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(shown, expected, "TCPTALLY_UPDATE_SNAPSHOTS=1 writes {path}");
}

#[test]
fn the_screen_at_three_sizes() {
    for (width, height) in [(40, 10), (80, 24), (140, 30)] {
        let shown = draw(&mut state(), width, height);
        assert_eq!(shown.lines().count(), usize::from(height));
        snapshot(&format!("{width}x{height}"), &shown);
    }
    assert!(draw(&mut state(), 39, 10).contains("at least 40 x 10"));
}

#[test]
fn keys_sort_filter_and_change_what_is_counted_by() {
    let mut state = state();
    press(&mut state, "r");
    assert_eq!(labels(&state)[0], "203.0.113.9");
    press(&mut state, "c");
    assert_eq!(labels(&state)[..2], ["192.0.2.7", "203.0.113.9"]);
    press(&mut state, "a");
    assert_eq!(labels(&state)[..2], ["192.0.2.7", "198.51.100.0"]);
    press(&mut state, "/198.51.100.8/29\n");
    assert_eq!((state.model.len(), state.model.shown()), (4, 4));
    press(&mut state, "/\x1b");
    assert_eq!(state.model.len(), 14);
    press(&mut state, "/113.9\n");
    assert_eq!(labels(&state), ["203.0.113.9"]);
    press(&mut state, "\x1bbc");
    assert_eq!(state.model.by(), "net");
    assert_eq!(labels(&state), ["192.0.2.0/24", "203.0.113.0/24", "198.51.100.0/24"]);
    press(&mut state, "b");
    assert_eq!(labels(&state), ["443", "80"]);
    press(&mut state, "b");
    assert_eq!(labels(&state), ["4711 nginx"]);
    assert_eq!(state.page[0].0.count, state.model.total);
}

/// A record that is followed has connections from before the screen.
#[test]
fn rates_of_earlier_connections_are_by_their_own_times() {
    let model = Model::new(Keys::default(), true, at(120));
    let mut state = State::new(model, "parse".into());
    (0..120).for_each(|i| state.model.add(connection(i, [192, 0, 2, 7], 443)));
    let rate = state.model.rate(at(120));
    assert!((0.5..1.5).contains(&rate), "{rate}");
}

#[test]
fn enter_shows_the_connections_of_a_row() {
    let mut state = state();
    press(&mut state, "c↓\n");
    assert_eq!(state.expanded.as_deref(), Some("203.0.113.9"));
    let shown = draw(&mut state, 100, 24);
    assert!(shown.contains("── 203.0.113.9: last connections"), "{shown}");
    assert!(shown.contains("11:31:59.000  203.0.113.9:40000 -> *:443  nginx[4711]"), "{shown}");
    press(&mut state, "\n");
    assert_eq!(state.expanded, None);
}

#[test]
fn other_keys_ask_the_program() {
    let mut state = state();
    assert_eq!(press(&mut state, "q"), Action::Quit);
    assert_eq!(press(&mut state, "w\n"), Action::Write("tcptally.html".into()));
    press(&mut state, "?");
    assert!(draw(&mut state, 80, 24).contains("stop counting and print the report"));
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(state.press(control_c, 10), Action::Interrupt);
    press(&mut state, "x ");
    assert!(state.paused && draw(&mut state, 80, 24).contains("PAUSED"));
}

#[test]
fn addresses_are_counted_when_there_are_too_many_processes() {
    let mut state = State::new(Model::new(Keys::default(), true, at(0)), "trace".into());
    state.model.max_rows = 10;
    for n in 0..100 {
        let c = connection(n, [192, 0, 2, n as u8 % 5], 443);
        state.model.add(Connection { pid: Some(n as u32), ..c });
    }
    press(&mut state, "c");
    assert_eq!((state.model.len(), state.model.shown(), state.model.not_in_rows), (5, 100, 0));
    (0..100).for_each(|n| state.model.add(connection(0, [198, 51, 100, n], 443)));
    assert_eq!((state.model.total, state.model.shown()), (200, 200 - state.model.not_in_rows));
    assert_eq!(state.model.not_in_rows, 95);
}

#[test]
fn connections_that_come_too_fast_are_in_the_total() {
    let shared = Shared::default();
    *lock(&shared.waiting) =
        Waiting { connections: vec![connection(0, [192, 0, 2, 1], 443)], missed: 6 };
    let mut state = state();
    let before = state.model.total;
    drain(&mut state, &shared);
    assert_eq!(state.model.total, before + 7);
    assert!(draw(&mut state, 80, 24).contains("in no row 6"));
}

#[test]
fn with_a_database_it_counts_by_system_and_country() {
    let database = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/mmdb/made-up.mmdb");
    let networks = Networks::open(&[database]).unwrap();
    let keys = Keys::default().with_networks(Arc::new(networks));
    let mut state = State::new(Model::new(keys, false, at(0)), "watch".into());
    (0..5).for_each(|i| state.model.add(connection(i, [198, 51, 100, i as u8], 443)));
    press(&mut state, "bbbc");
    assert_eq!(state.model.by(), "asn");
    assert_eq!(labels(&state), ["AS64502 Example Two"]);
    press(&mut state, "b");
    assert_eq!((state.model.by().as_str(), labels(&state)), ("country", vec!["US"]));
}

/// The goals are 10 ms a frame and, with four frames a second, 5 % of a CPU. `make bench-screen` shows it.
#[test]
#[ignore = "a measurement"]
fn frames_of_a_hundred_thousand_addresses() {
    let mut state = State::new(Model::new(Keys::default(), false, at(0)), "watch :443".into());
    let begin = Instant::now();
    for i in 0..1_000_000u32 {
        let [_, a, b, c] = (i % 100_000).to_be_bytes();
        state.model.add(connection(i64::from(i / 10_000), [10, a, b, c], 443));
    }
    println!("a connection: {:?}", begin.elapsed() / 1_000_000);
    for (name, keys) in [("rate", "r"), ("count", "c"), ("last", "l"), ("key", "a"), ("port", "bb")]
    {
        press(&mut state, keys);
        let begin = Instant::now();
        for _ in 0..100 {
            draw(&mut state, 120, 40);
        }
        println!("a frame by {name}, {} rows: {:?}", state.model.len(), begin.elapsed() / 100);
    }
}

#[test]
fn the_end_of_a_name_chooses_the_format() {
    let formats = ["a.html", "b.json", "c.csv", "d.txt", "e"].map(|n| format_of(Path::new(n)));
    let expected = [OutputFormat::Html, OutputFormat::Json, OutputFormat::Csv];
    assert_eq!(formats[..3], expected);
    assert_eq!(formats[3..], [OutputFormat::Table; 2]);
}
