//! What the lines of a record have beside what its program wrote: prefixes of loggers, container
//! engines and shells (`wrapper`), those that every line has (`layers`), and what a terminal, an editor
//! or a web page changed (`pasted` for whole texts, `clean` for a line), texts in strings (`escaped`) or in fields
//! of CSV (`csv_fields`), many lines in one (`one_line`), numbers of lines that look like process numbers
//! (`line_numbers`), mails (`quoted_printable`), and tags before the first line (`tags`).

pub(super) mod clean;
pub(super) mod csv_fields;
pub(super) mod escaped;
pub(super) mod layers;
pub(super) mod line_numbers;
pub(super) mod one_line;
pub(super) mod pasted;
pub(super) mod quoted_printable;
pub(super) mod tags;
pub(super) mod wrapper;
