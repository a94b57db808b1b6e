//! [`Events`]: a sink that writes connections instead of counting them.

use std::io;
use std::sync::Arc;

use anyhow::Context;

use crate::Connection;
use crate::count::counter::Count;
use crate::format::{Format, OutputFormat, RenderOptions};
use crate::model::sink::{self, Sink, Summary};

use super::output::Output;
use super::request::Request;

/// Bytes that are collected before a write.
const WRITE_BYTES: usize = 1 << 16;

/// Filters connections and writes those that pass. A part of it formats them only.
pub(super) struct Events {
    count: Count,
    /// The machine of connections that do not name theirs.
    host: Arc<str>,
    /// The machine of the record that is read, if that is not `host`.
    record_host: Option<Arc<str>>,
    kind: OutputFormat,
    options: RenderOptions,
    format: Box<dyn Format>,
    text: Vec<u8>,
    /// Connections of one part, if the format needs a single writer for all of them.
    held: Vec<Connection>,
    output: Option<Output>,
    error: Option<io::Error>,
}

impl Events {
    /// Creates a sink that writes the connections that pass the filter of `count`.
    pub(super) fn new(count: Count, request: &Request, output: Output) -> Events {
        let options = request.render_options(output.stream(), !output.continues());
        let host = request.event_host.clone();
        let mut events = Events::with(count, host, request.kind, options, Some(output));
        // Parts write no headings, and a part may be written first.
        let result = events.format.event_headings(&mut events.text);
        events.keep(result);
        events
    }

    fn with(
        count: Count,
        host: Arc<str>,
        kind: OutputFormat,
        options: RenderOptions,
        output: Option<Output>,
    ) -> Events {
        Events {
            count,
            host,
            record_host: None,
            kind,
            format: kind.format(options.clone()),
            options,
            text: Vec::new(),
            held: Vec::new(),
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

    /// Writes the text that is left.
    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        if !self.text.is_empty() {
            self.write();
        }
        match (self.error.take(), &self.output) {
            (Some(error), Some(output)) => Err(error).with_context(|| output.cannot_write()),
            (Some(error), None) => Err(error.into()),
            (None, _) => Ok(()),
        }
    }

    /// Writes the text that is left, and reopens the output file.
    pub(super) fn reopen(&mut self) -> anyhow::Result<()> {
        // A failed write is reported at the end.
        self.pause();
        let Some(output) = &mut self.output else { return Ok(()) };
        output.reopen().with_context(|| output.cannot_reopen())?;
        if !output.continues() {
            self.format =
                self.kind.format(RenderOptions { headings: true, ..self.options.clone() });
            let result = self.format.event_headings(&mut self.text);
            self.keep(result);
        }
        Ok(())
    }

    /// Ends the output.
    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        let result = self.format.finish(&mut self.text);
        self.keep(result);
        self.flush()?;
        let Some(output) = &mut self.output else { return Ok(()) };
        output.complete().with_context(|| output.cannot_write())
    }

    /// Returns an empty sink that writes the same events, without headings and output.
    fn empty(&self) -> Events {
        let options = RenderOptions { headings: false, ..self.options.clone() };
        let record_host = self.record_host.clone();
        let empty = Events::with(self.count.empty(), self.host.clone(), self.kind, options, None);
        Events { record_host, ..empty }
    }

    /// The numbers of connections.
    pub(super) fn count(&self) -> &Count {
        &self.count
    }
}

impl Sink for Events {
    fn take(&mut self, mut c: Connection) {
        c.machine.get_or_insert_with(|| self.record_host.as_ref().unwrap_or(&self.host).clone());
        if self.count.passes(&c) {
            if self.output.is_none() && self.kind == OutputFormat::Parquet {
                self.held.push(c);
                return;
            }
            let result = self.format.event(&c, &mut self.text);
            self.keep(result);
            if self.text.len() >= WRITE_BYTES {
                self.write();
            }
        }
    }

    fn pause(&mut self) {
        if !self.text.is_empty() {
            self.write();
        }
    }

    fn take_summary(&mut self) -> Summary {
        self.count.take_summary()
    }

    fn set_machine(&mut self, machine: Option<Arc<str>>) {
        self.record_host = machine;
    }

    fn part(&self) -> Box<dyn Sink> {
        Box::new(self.empty())
    }

    fn merge(&mut self, later: Box<dyn Sink>) {
        let Some(later) = sink::downcast::<Events>(later) else { return };
        self.count.add(later.count);
        self.text.extend(later.text);
        for c in later.held {
            if self.output.is_none() {
                self.held.push(c);
            } else {
                let result = self.format.event(&c, &mut self.text);
                self.keep(result);
            }
        }
        self.keep(later.error.map_or(Ok(()), Err));
        if self.text.len() >= WRITE_BYTES {
            self.write();
        }
    }
}
