//! Converts an input before its reader reads it: decompression, decoding of UTF-16, unwrapping of
//! JSON.

use std::io::{self, BufReader, Read};
use std::sync::Arc;

use super::encoding::{self, Encoding};
use super::json::LineTimes;
use super::packed::{self, Packing};
use super::source::{Converted, Counted, Source};
use super::{Conversion, FIRST_BYTES, Input, InputError, READ_AT_ONCE, json};

impl Input {
    /// Reads the first bytes, and puts in between what makes text of them.
    pub(super) fn prepare(mut self) -> Result<Input, InputError> {
        self.decompress()?;
        self.decode()?;
        Ok(self)
    }

    /// Looks at the magic number and puts a decompressor in between if there is one.
    fn decompress(&mut self) -> Result<(), InputError> {
        let name = self.name.clone();
        let say = |error| InputError::Read { name: name.clone(), error };
        let mut magic = Vec::new();
        while magic.len() < 6 {
            let mut more = [0; FIRST_BYTES];
            let n = self.fetch(&mut more, magic.len() as u64).map_err(say)?;
            if n == 0 {
                break;
            }
            magic.extend_from_slice(&more[..n]);
        }
        if let Some(tool) = packed::foreign(&magic) {
            return Err(InputError::Compression { name, tool });
        }
        let Some(packing) = Packing::of(&magic) else {
            self.ended = magic.is_empty();
            self.head = magic;
            return Ok(());
        };
        let raw = self.raw(magic).map_err(say)?;
        let raw = Box::new(BufReader::with_capacity(READ_AT_ONCE, raw));
        let from = packing.unpack(raw).map_err(say)?;
        self.source = Source::Stream { from, compressed: true };
        Ok(())
    }

    /// Makes a text of another encoding UTF-8 with line feeds.
    fn decode(&mut self) -> Result<(), InputError> {
        if self.is_compressed() {
            // An error comes again when the record is read.
            let _ = self.grow();
        }
        if self.head.starts_with(encoding::UTF8_MARK) {
            self.head.drain(..encoding::UTF8_MARK.len());
            if let Source::Plain { at, .. } = &mut self.source {
                *at += encoding::UTF8_MARK.len() as u64;
            }
        }
        let Some(encoding) = Encoding::of(&self.head) else { return Ok(()) };
        let compressed = self.is_compressed();
        let head = std::mem::take(&mut self.head);
        let raw = self.raw(head).map_err(|error| {
            let name = self.name.clone();
            InputError::Read { name, error }
        })?;
        self.source = Source::Stream { from: encoding.convert(raw), compressed };
        let _ = self.grow();
        Ok(())
    }

    /// If the lines are wrapped in JSON objects, takes them out. Gives whether they were.
    pub(in crate::parse) fn unwrap_json_if_wrapped(&mut self) -> bool {
        if self.unwrapped.is_some() {
            return false;
        }
        let times = json::wrapped_times(&self.head);
        times.is_some_and(|times| self.unwrap_json(times).is_ok())
    }

    /// Whether the first bytes end within a JSON object, of which only the end tells whether it holds a log.
    pub(in crate::parse) fn has_open_object(&self) -> bool {
        self.unwrapped.is_none() && json::is_open(&self.head)
    }

    /// Whether the first bytes are of an object that has its text twice, and was not unwrapped.
    pub(in crate::parse) fn has_unread_result(&self) -> bool {
        self.unwrapped.is_none() && json::has_unread_result(&self.head)
    }

    pub(super) fn unwrap_json(&mut self, times: LineTimes) -> io::Result<()> {
        let compressed = self.is_compressed();
        let head = std::mem::take(&mut self.head);
        let raw = self.raw(head)?;
        let unwrap = json::Unwrap::new(times, Arc::clone(&self.unwrap_status));
        let from = Converted::new(raw, unwrap);
        self.source = Source::Stream { from: Box::new(from), compressed };
        self.unwrapped = Some(times);
        self.ended = false;
        // An error comes again when the record is read.
        let _ = self.grow();
        Ok(())
    }

    /// Converts the text, once. Returns false if it was converted before or cannot be read.
    pub(in crate::parse) fn convert(&mut self, conversion: Conversion) -> bool {
        if self.conversion.is_some() {
            return false;
        }
        let compressed = self.is_compressed();
        let head = std::mem::take(&mut self.head);
        let Ok(raw) = self.raw(head) else { return false };
        self.source = Source::Stream { from: conversion(raw), compressed };
        self.conversion = Some(conversion);
        self.ended = false;
        // An error comes again when the record is read.
        let _ = self.grow();
        true
    }

    /// The bytes of the source from its beginning, of which `head` was read already. The source
    /// itself is empty then.
    fn raw(&mut self, head: Vec<u8>) -> io::Result<Box<dyn Read + Send>> {
        let nothing: Box<dyn Read + Send> = Box::new(io::empty());
        let empty = Source::Stream { from: nothing, compressed: true };
        Ok(match std::mem::replace(&mut self.source, empty) {
            Source::Plain { file, at, end } => {
                self.origin = Some((Arc::clone(&file), at, end));
                Box::new(Counted { file, start: at, at, end, progress: Arc::clone(&self.progress) })
            }
            Source::Stream { from, .. } => Box::new(io::Cursor::new(head).chain(from)),
        })
    }
}
