//! Processes the parts of a file in several threads, with one step of each part done in order.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::{Builder, ScopedJoinHandle};

use crate::Sink;

/// A gate that lets the parts pass one by one, in order.
struct Turn<T> {
    next: Mutex<(u64, T)>,
    passed: Condvar,
}

impl<T> Turn<T> {
    fn new(shared: T) -> Turn<T> {
        Turn { next: Mutex::new((0, shared)), passed: Condvar::new() }
    }

    /// Waits until all parts before `part` have passed, then passes with `work`.
    fn pass(&self, part: u64, given_up: &AtomicBool, work: impl FnOnce(&mut T)) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        while next.0 != part {
            if given_up.load(Ordering::Relaxed) {
                return;
            }
            next = self.passed.wait(next).unwrap_or_else(PoisonError::into_inner);
        }
        work(&mut next.1);
        next.0 += 1;
        self.passed.notify_all();
    }
}

/// Wakes the others when its thread panics, so that the panic ends the program and not a wait.
struct Alarm<'a, A, B>(&'a AtomicBool, &'a Turn<A>, &'a Turn<B>);

impl<A, B> Drop for Alarm<'_, A, B> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
            // Taking the locks makes sure that nobody is between looking and waiting.
            drop(self.1.next.lock());
            drop(self.2.next.lock());
            self.1.passed.notify_all();
            self.2.passed.notify_all();
        }
    }
}

/// Bytes that a thread takes at a time: enough for what must be done in order for each not to
/// matter, and few enough to stay in the cache.
const CHUNK: usize = 256 * 1024;

/// How a file is divided.
pub(super) struct Parts {
    /// The bytes of a part; the last may have less.
    pub chunk: usize,
    /// How many threads share the work.
    pub threads: usize,
    bytes: u64,
}

impl Parts {
    /// Divides `bytes` into chunks of that size (`None`: what is fastest), for no more
    /// threads than there is work for.
    pub(super) fn new(bytes: u64, chunk: Option<usize>, threads: usize) -> Parts {
        let chunk = chunk.unwrap_or(CHUNK).max(1);
        let parts = bytes.div_ceil(chunk as u64);
        Parts { chunk, threads: usize::try_from(parts).unwrap_or(threads).min(threads), bytes }
    }

    /// Where a part begins, if there is one.
    pub(super) fn start(&self, part: u64) -> Option<u64> {
        Some(part.saturating_mul(self.chunk as u64)).filter(|start| *start < self.bytes)
    }
}

/// The steps of each part of the work. A part is a `J`; what a thread holds back is an `H`.
pub(super) struct Steps<Read, InOrder, Give, Join, End> {
    /// Reads part N; false if there is none. Runs in any order.
    pub read: Read,
    /// What must be done in order; false ends the work after this part.
    pub in_order: InOrder,
    /// Gives the part's connections away. Runs in any order.
    pub give: Give,
    /// Adds what another thread holds back. Not used if the order matters.
    pub join: Join,
    /// Gives what was held back. Comes last; if the order matters, after each part.
    pub end: End,
}

/// Does all parts in `threads` threads. Each has one `J` that it uses again for every part.
pub(super) fn run<J, H, R, O, G, A, E>(
    threads: usize,
    sink: &mut dyn Sink,
    steps: Steps<R, O, G, A, E>,
) where
    J: Default,
    H: Default + Send,
    R: Fn(u64, &mut J) -> bool + Sync,
    O: FnMut(&mut J) -> bool + Send,
    G: Fn(&mut J, &mut H, &mut dyn Sink) + Sync,
    A: Fn(&mut H, H, &mut dyn Sink),
    E: Fn(&mut H, &mut dyn Sink) + Sync,
{
    if threads < 2 {
        return run_alone(sink, steps);
    }
    let Steps { read, in_order, give, join, end } = steps;
    let next = AtomicU64::new(0);
    let ended = AtomicBool::new(false);
    let given_up = AtomicBool::new(false);
    let ordered = sink.is_ordered();
    let parts: Vec<Box<dyn Sink>> = (0..threads).map(|_| sink.part()).collect();
    let order = Turn::new(in_order);
    let merge = Turn::new(sink);

    let worker = |mut mine: Box<dyn Sink>| {
        let _alarm = Alarm(&given_up, &order, &merge);
        let (mut job, mut held) = (J::default(), H::default());
        loop {
            let part = next.fetch_add(1, Ordering::Relaxed);
            if given_up.load(Ordering::Relaxed) || !read(part, &mut job) {
                break;
            }
            let mut requested = false;
            order.pass(part, &given_up, |in_order| {
                requested = !ended.load(Ordering::Relaxed);
                if requested && !in_order(&mut job) {
                    ended.store(true, Ordering::Relaxed);
                }
            });
            if requested {
                give(&mut job, &mut held, &mut *mine);
            }
            if ordered {
                end(&mut held, &mut *mine);
                let empty = mine.part();
                let full = std::mem::replace(&mut mine, empty);
                merge.pass(part, &given_up, |sink| sink.merge(full));
            }
            if !requested {
                break;
            }
        }
        (held, mine)
    };
    // This thread works too: if it only waited for the others, the scheduler would put one of them
    // on a processor that is busy, and might leave it there for 20 ms.
    let rest: Vec<(H, Box<dyn Sink>)> = std::thread::scope(|scope| {
        let worker = &worker;
        let mut parts = parts.into_iter();
        let own = parts.next();
        // Where no more threads can be created, there are fewer.
        let start = |mine| Builder::new().spawn_scoped(scope, move || worker(mine)).ok();
        let threads: Vec<_> = parts.filter_map(start).collect();
        own.map(worker).into_iter().chain(wait(threads)).collect()
    });
    if !ordered {
        let (_, sink) = merge.next.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut all = H::default();
        for (held, part) in rest {
            sink.merge(part);
            join(&mut all, held, &mut *sink);
        }
        end(&mut all, &mut *sink);
    }
}

/// Does all parts in this thread.
fn run_alone<J, H, R, O, G, A, E>(sink: &mut dyn Sink, steps: Steps<R, O, G, A, E>)
where
    J: Default,
    H: Default,
    R: Fn(u64, &mut J) -> bool,
    O: FnMut(&mut J) -> bool,
    G: Fn(&mut J, &mut H, &mut dyn Sink),
    E: Fn(&mut H, &mut dyn Sink),
{
    let Steps { read, mut in_order, give, end, .. } = steps;
    let (mut job, mut held) = (J::default(), H::default());
    let mut part = 0;
    while read(part, &mut job) {
        let more = in_order(&mut job);
        give(&mut job, &mut held, sink);
        if !more {
            break;
        }
        part += 1;
    }
    end(&mut held, sink);
}

/// Waits for the threads and returns what each has found.
fn wait<T>(threads: Vec<ScopedJoinHandle<'_, T>>) -> impl Iterator<Item = T> {
    threads
        .into_iter()
        .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}
