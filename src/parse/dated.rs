//! Inputs whose lines have times, in the order of these.

use super::input::Input;
use super::lines;
use super::reader::Context;
use super::timestamp::{Calendar, Stamp};
use crate::RecordTime;

/// An input and what its stamps mean.
pub(super) struct Dated<L> {
    pub input: Input,
    pub calendar: Calendar,
    /// What its first bytes tell of its look.
    pub look: L,
    first: Option<RecordTime>,
}

/// Makes calendars for `inputs` and sorts them by their first times: several come in any order,
/// and what begins in one may go on in the next. `stamp` finds the stamp of a line.
pub(super) fn in_order<L>(
    inputs: Vec<Input>,
    cx: &mut Context<'_>,
    look: impl Fn(&[u8]) -> L,
    stamp: impl Fn(&L, &[u8]) -> Stamp,
) -> Vec<Dated<L>> {
    let dated = |mut input: Input| {
        let look = look(input.head());
        let stamp = |line: &[u8]| stamp(&look, line);
        let calendar = Calendar::new(&mut input, cx, &stamp);
        let mut first = Stamp::None;
        lines::each(input.head(), |line, _| {
            if first == Stamp::None {
                first = stamp(line);
            }
        });
        let first = calendar.peek(first);
        Dated { input, calendar, look, first }
    };
    let mut all: Vec<Dated<L>> = inputs.into_iter().map(dated).collect();
    all.sort_by_key(|dated| dated.first);
    all
}
