//! [`run`]: calls of a library that panics at damaged input.
//!
//! The panic ends the thread that the library is called in, and the program goes on, also where a panic does not
//! unwind: then the program's panic hook calls [`end_thread`].

use std::cell::Cell;
use std::sync::mpsc::sync_channel;
use std::thread::Builder;

/// Parts that wait to be taken.
const MAX_WAITING: usize = 2;

thread_local! {
    /// Says that this thread has panicked, if the program can do without it.
    static AT_PANIC: Cell<Option<Box<dyn FnOnce()>>> = const { Cell::new(None) };
}

/// The work has panicked.
#[derive(Debug, PartialEq)]
pub(super) struct Panicked;

enum Message<T, R> {
    Part(T),
    Result(R),
    Panic,
}

/// Calls `work` in a thread of its own and returns its result. `take` gets each part that it gives. Where no
/// thread can be started, `work` is called in this one.
pub(super) fn run<T: Send + 'static, R: Send + 'static>(
    work: impl FnOnce(&mut dyn FnMut(T)) -> R + Clone + Send + 'static,
    mut take: impl FnMut(T),
) -> Result<R, Panicked> {
    let (sender, messages) = sync_channel(MAX_WAITING);
    let in_thread = {
        let work = work.clone();
        move || {
            let at_panic = sender.clone();
            AT_PANIC.set(Some(Box::new(move || drop(at_panic.send(Message::Panic)))));
            let result = work(&mut |part| drop(sender.send(Message::Part(part))));
            drop(sender.send(Message::Result(result)));
        }
    };
    if Builder::new().name("damaged".into()).spawn(in_thread).is_err() {
        return Ok(work(&mut take));
    }
    loop {
        match messages.recv() {
            Ok(Message::Part(part)) => take(part),
            Ok(Message::Result(result)) => return Ok(result),
            // Without a hook the thread unwinds, and its sender is dropped.
            Ok(Message::Panic) | Err(_) => return Err(Panicked),
        }
    }
}

/// For the panic hook: ends this thread if it was started by [`run`]. Its stack stays allocated.
pub(crate) fn end_thread() {
    let at_panic = AT_PANIC.try_with(Cell::take).ok().flatten();
    if let Some(say) = at_panic {
        say();
        loop {
            std::thread::park();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_the_result_arrive_in_order() {
        let mut parts = Vec::new();
        let work = |give: &mut dyn FnMut(u32)| {
            (0..1000).for_each(give);
            "whole"
        };
        assert_eq!(run(work, |part| parts.push(part)), Ok("whole"));
        assert_eq!(parts, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn a_panic_leaves_the_parts_before_it() {
        let mut parts = Vec::new();
        let work = |give: &mut dyn FnMut(u32)| {
            (0..5).for_each(give);
            assert!(std::hint::black_box(false), "the panic of this test");
        };
        assert_eq!(run(work, |part| parts.push(part)), Err(Panicked));
        assert_eq!(parts, [0, 1, 2, 3, 4]);
    }
}
