//! [`Events`]: the sink that shows connections instead of counting them.

use std::io;

use tcptally::Connection;
use tcptally::connection::{Sink, Split};
use tcptally::count::Sums;
use tcptally::filter::Filter;
use tcptally::report::{Format, Kind, Look};

use super::output::Output;
use super::request::Request;

/// Written at once, as soon as there is so much.
const CHUNK: usize = 1 << 16;

/// Filters connections and writes those that pass. A part formats its share, and writes nothing.
pub struct Events {
    filter: Filter,
    sums: Sums,
    kind: Kind,
    look: Look,
    format: Box<dyn Format>,
    text: Vec<u8>,
    output: Option<Output>,
    error: Option<io::Error>,
}

impl Events {
    /// Shows the connections that pass `filter`.
    pub fn new(filter: Filter, request: &Request, output: Output) -> Events {
        let look = request.look(output.stream(), !output.continues());
        Events::with(filter, request.kind, look, Some(output))
    }

    fn with(filter: Filter, kind: Kind, look: Look, output: Option<Output>) -> Events {
        Events {
            filter,
            sums: Sums::default(),
            kind,
            format: kind.format(look.clone()),
            look,
            text: Vec::new(),
            output,
            error: None,
        }
    }

    fn write(&mut self) {
        if let (Some(output), None) = (&mut self.output, &self.error) {
            self.error = output.write(|out| out.write_all(&self.text)).err();
            self.text.clear();
        }
    }

    fn keep<T>(&mut self, result: io::Result<T>) {
        if let (Err(error), None) = (result, &self.error) {
            self.error = Some(error);
        }
    }

    /// Writes what is left, and says how many there were.
    pub fn finish(mut self) -> io::Result<Sums> {
        self.write();
        self.error.map_or(Ok(self.sums), Err)
    }
}

impl Sink for Events {
    fn take(&mut self, c: Connection) {
        if self.sums.note(self.filter.judge(&c), &c) {
            let result = self.format.event(&c, &mut self.text);
            self.keep(result);
            if self.text.len() >= CHUNK {
                self.write();
            }
        }
    }
}

impl Split for Events {
    fn part(&self) -> Events {
        let look = Look { headings: false, ..self.look.clone() };
        Events::with(self.filter.clone(), self.kind, look, None)
    }

    fn merge(&mut self, later: Events) {
        self.sums.add(later.sums);
        self.text.extend(later.text);
        self.keep(later.error.map_or(Ok(()), Err));
        if self.text.len() >= CHUNK {
            self.write();
        }
    }
}
