//! [`Model`]: the counts that the screen shows, by what the user chooses.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use crate::count::key::{Key, Keys};
use crate::filter::Network;
use crate::model::text::printable;
use crate::{Connection, RecordTime};

/// Length of a slot of [`History`] in seconds.
pub(super) const SLOT_SECONDS: i64 = 5;

/// Slots of [`History`]: three minutes.
pub(super) const SLOTS: usize = 36;

/// Slots that a rate is taken from, beside the current one.
const RATE_SLOTS: i64 = 2;

/// Maximum number of rows by all fields. Beyond it, connections are kept without their process, in up to as many
/// additional rows. Connections of further clients are in the total only.
const MAX_ROWS: usize = 200_000;

/// Single connections that are kept for the rows that the user expands.
const MAX_EVENTS: usize = 10_000;

/// Connections per slot of the last minutes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct History {
    counts: VecDeque<u32>,
    /// The number of the last slot.
    last: i64,
}

impl History {
    fn add(&mut self, slot: i64, connections: u32) {
        if self.counts.is_empty() || slot > self.last + SLOTS as i64 {
            self.counts.clear();
            self.counts.push_back(0);
            self.last = slot;
        }
        while self.last < slot {
            self.counts.push_back(0);
            self.last += 1;
        }
        while self.counts.len() > SLOTS {
            self.counts.pop_front();
        }
        if let Some(count) = self.counts.len().checked_sub(1 + (self.last - slot) as usize) {
            self.counts[count] = self.counts[count].saturating_add(connections);
        }
    }

    /// The count of a slot.
    pub(super) fn get(&self, slot: i64) -> u32 {
        let back = usize::try_from(self.last - slot).ok();
        let at = back.and_then(|back| self.counts.len().checked_sub(1 + back));
        at.and_then(|at| self.counts.get(at)).copied().unwrap_or_default()
    }

    fn merge(&mut self, other: &History) {
        for slot in other.last - other.counts.len() as i64 + 1..=other.last {
            match other.get(slot) {
                0 => {}
                connections => self.add(slot, connections),
            }
        }
    }

    /// Connections per second, by the last seconds before `now`.
    fn rate(&self, now: RecordTime, started: RecordTime) -> f64 {
        let slot = slot_of(now);
        let sum: u32 = (slot - RATE_SLOTS..=slot).map(|slot| self.get(slot)).sum();
        let begin = ((slot - RATE_SLOTS) * SLOT_SECONDS) as f64;
        f64::from(sum) / (seconds(now) - begin.max(seconds(started))).max(1.0)
    }
}

/// The slot that a time is in.
pub(super) fn slot_of(time: RecordTime) -> i64 {
    seconds(time) as i64 / SLOT_SECONDS
}

fn seconds(time: RecordTime) -> f64 {
    time.nanoseconds() as f64 / 1e9
}

/// A row of the table.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    /// What it is counted by, as text.
    pub label: String,
    /// The address in it, to sort by.
    ip: Option<IpAddr>,
    /// Its connections.
    pub count: u64,
    /// The time of the last one.
    pub last: Option<RecordTime>,
    /// Those of the last minutes.
    pub history: History,
}

impl Row {
    fn add(&mut self, other: &Row) {
        self.count += other.count;
        self.last = self.last.max(other.last);
        self.history.merge(&other.history);
    }
}

/// What rows are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Rate,
    Count,
    Last,
    Label,
}

impl Sort {
    /// The next one in turn.
    pub(super) fn next(self) -> Sort {
        match self {
            Sort::Rate => Sort::Count,
            Sort::Count => Sort::Last,
            Sort::Last => Sort::Label,
            Sort::Label => Sort::Rate,
        }
    }

    /// Its name on the screen.
    pub(super) fn name(self) -> &'static str {
        match self {
            Sort::Rate => "rate",
            Sort::Count => "count",
            Sort::Last => "last",
            Sort::Label => "key",
        }
    }
}

/// Which connections are shown.
#[derive(Clone, Debug)]
enum Filter {
    All,
    Network(Network),
    Text(String),
}

impl Filter {
    fn of(text: &str) -> Filter {
        match text.trim() {
            "" => Filter::All,
            text => match text.parse() {
                Ok(network) => Filter::Network(network),
                Err(_) => Filter::Text(text.to_lowercase()),
            },
        }
    }

    fn shows(&self, c: &Connection, label: &str) -> bool {
        match self {
            Filter::All => true,
            Filter::Network(network) => c.ip.is_some_and(|ip| network.0.contains(&ip)),
            Filter::Text(text) => label.to_lowercase().contains(text),
        }
    }
}

/// The counts, by all fields and by what is shown.
pub(super) struct Model {
    /// The time at which counting began.
    pub started: RecordTime,
    /// The time of the first connection, which a record may have from before that.
    first: RecordTime,
    /// All connections.
    pub total: u64,
    /// Those whose address is not known.
    pub unknown: u64,
    /// Those that are in no row, because there were too many rows or they came too fast.
    pub not_in_rows: u64,
    /// All connections of the last minutes.
    pub history: History,
    /// The lists of keys to choose from, and the chosen one.
    views: Vec<Keys>,
    view: usize,
    filter: Filter,
    /// What the user typed as the filter.
    pub filter_text: String,
    pub sort: Sort,
    /// A connection for each combination of fields, and its row.
    base: Vec<(Connection, Row)>,
    base_index: HashMap<Vec<u8>, usize>,
    /// [`MAX_ROWS`], or fewer in tests.
    pub max_rows: usize,
    all_keys: Keys,
    rows: Vec<Row>,
    index: HashMap<String, usize>,
    events: VecDeque<Connection>,
}

impl Model {
    /// Creates an empty model that counts by `keys`, and on request by the address, network and port,
    /// by the process if the source knows it, and by the system and the country if there is a database.
    pub(super) fn new(keys: Keys, has_processes: bool, started: RecordTime) -> Model {
        let mut lists = vec![&[Key::Ip][..], &[Key::Net], &[Key::Port]];
        if has_processes {
            lists.push(&[Key::Pid, Key::Comm]);
        }
        if keys.networks().is_some() {
            lists.extend([&[Key::Asn][..], &[Key::Country]]);
        }
        let mut views = vec![keys.clone()];
        views.extend(
            lists.into_iter().filter(|list| *list != keys.list()).map(|list| keys.replaced(list)),
        );
        let mut all = vec![Key::Ip, Key::Port, Key::Pid, Key::Comm];
        all.extend(keys.list());
        Model {
            started,
            first: started,
            total: 0,
            unknown: 0,
            not_in_rows: 0,
            history: History::default(),
            views,
            view: 0,
            filter: Filter::All,
            filter_text: String::new(),
            sort: Sort::Rate,
            base: Vec::new(),
            base_index: HashMap::new(),
            max_rows: MAX_ROWS,
            all_keys: keys.replaced(&all),
            rows: Vec::new(),
            index: HashMap::new(),
            events: VecDeque::new(),
        }
    }

    /// Counts one connection.
    pub(super) fn add(&mut self, c: Connection) {
        let time = match c.time {
            Some(time @ RecordTime::Clock(_)) => time,
            _ => RecordTime::now(),
        };
        self.total += 1;
        self.first = self.first.min(time);
        self.unknown += u64::from(c.ip.is_none() && c.host.is_none());
        self.history.add(slot_of(time), 1);
        let mut one = Row { count: 1, last: c.time, ..Row::default() };
        one.history.add(slot_of(time), 1);
        if self.keep(&c, &one, self.max_rows) {
            self.show(&c, &one);
        } else {
            let client = Connection { pid: None, comm: None, ..c.clone() };
            if !self.keep(&client, &one, 2 * self.max_rows) {
                self.not_in_rows += 1;
                return;
            }
            self.show(&client, &one);
        }
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(c);
    }

    /// Adds a connection to its row by all fields, or to a new one if there are fewer than `most`.
    fn keep(&mut self, c: &Connection, one: &Row, most: usize) -> bool {
        let code = self.all_keys.code(c).bytes().to_vec();
        match self.base_index.get(&code) {
            Some(at) => self.base[*at].1.add(one),
            None if self.base.len() < most => {
                self.base_index.insert(code, self.base.len());
                self.base.push((c.clone(), one.clone()));
            }
            None => return false,
        }
        true
    }

    fn show(&mut self, c: &Connection, row: &Row) {
        let label = self.label(c);
        if !self.filter.shows(c, &label) {
            return;
        }
        let at = match self.index.get(&label) {
            Some(at) => *at,
            None => {
                let at = self.rows.len();
                self.index.insert(label.clone(), at);
                let is_address = self.keys().list().first() == Some(&Key::Ip);
                let ip = c.ip.filter(|_| is_address);
                self.rows.push(Row { label, ip, ..Row::default() });
                at
            }
        };
        self.rows[at].add(row);
    }

    fn label(&self, c: &Connection) -> String {
        let keys = self.keys();
        let code = keys.code(c);
        let text: Vec<String> =
            keys.decode(code.bytes()).map(|value| printable(&value.to_string())).collect();
        text.join(" ")
    }

    /// What is counted by.
    pub(super) fn keys(&self) -> &Keys {
        &self.views[self.view]
    }

    /// The names of the keys.
    pub(super) fn by(&self) -> String {
        self.keys().list().iter().map(|key| key.name()).collect::<Vec<_>>().join(",")
    }

    /// Counts by the next list of keys.
    pub(super) fn next_view(&mut self) {
        self.view = (self.view + 1) % self.views.len();
        self.rebuild();
    }

    /// Shows only what this network, or a row with this text, has.
    pub(super) fn set_filter(&mut self, text: &str) {
        self.filter = Filter::of(text);
        text.trim().clone_into(&mut self.filter_text);
        self.rebuild();
    }

    fn rebuild(&mut self) {
        self.rows.clear();
        self.index.clear();
        let base = std::mem::take(&mut self.base);
        base.iter().for_each(|(c, row)| self.show(c, row));
        self.base = base;
    }

    /// All connections per second, in the last seconds.
    pub(super) fn rate(&self, now: RecordTime) -> f64 {
        self.history.rate(now, self.first)
    }

    /// The number of rows.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The sum of the rows.
    pub(super) fn shown(&self) -> u64 {
        self.rows.iter().map(|row| row.count).sum()
    }

    /// Rows from `from` on, at most `count`, in the chosen order, each with its rate; and the largest count.
    pub(super) fn page(
        &self,
        from: usize,
        count: usize,
        now: RecordTime,
    ) -> (Vec<(Row, f64)>, u64) {
        let rate = |row: &Row| row.history.rate(now, self.first);
        let most = self.rows.iter().map(|row| row.count).max().unwrap_or_default();
        let mut order: Vec<(f64, &Row)> = self
            .rows
            .iter()
            .map(|row| {
                let value = match self.sort {
                    Sort::Rate => rate(row),
                    Sort::Count => row.count as f64,
                    Sort::Last => row.last.map_or(f64::MIN, seconds),
                    Sort::Label => 0.0,
                };
                (value, row)
            })
            .collect();
        let compare = |a: &(f64, &Row), b: &(f64, &Row)| {
            let key = |row: &Row| (row.ip.is_none(), row.ip);
            b.0.total_cmp(&a.0)
                .then_with(|| match self.sort {
                    Sort::Label => std::cmp::Ordering::Equal,
                    _ => b.1.count.cmp(&a.1.count),
                })
                .then_with(|| key(a.1).cmp(&key(b.1)))
                .then_with(|| a.1.label.cmp(&b.1.label))
        };
        let end = from.saturating_add(count);
        if end < order.len() {
            order.select_nth_unstable_by(end, compare);
            order.truncate(end);
        }
        order.sort_unstable_by(compare);
        let page = order.into_iter().skip(from).map(|(_, row)| (row.clone(), rate(row)));
        (page.collect(), most)
    }

    /// The last connections of a row, the latest first.
    pub(super) fn events(&self, label: &str, count: usize) -> Vec<&Connection> {
        self.events.iter().rev().filter(|c| self.label(c) == label).take(count).collect()
    }
}
