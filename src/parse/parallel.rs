//! Processes the parts of a file in several threads, with one step of each part done in order.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::{Builder, ScopedJoinHandle};

use crate::Sink;

/// What a thread does next.
enum Task<J> {
    /// Reads this part into a job that is free.
    Read(u64, J),
    /// Takes the part whose turn it is.
    InOrder(u64, J),
    End,
}

/// The parts between the steps. No thread waits for the turn of a part that it has read: it leaves the part here and
/// reads another, and whoever is free when the turn comes takes it.
struct Queue<J> {
    state: Mutex<State<J>>,
    changed: Condvar,
}

struct State<J> {
    /// The next part to read.
    unread: u64,
    /// The part whose turn it is.
    next: u64,
    /// A thread has the part before `next`, and has not ended its turn.
    in_turn: bool,
    /// Parts that were read before their turn.
    ready: Vec<(u64, J)>,
    free: Vec<J>,
    /// There is no further part to read.
    exhausted: bool,
    /// What is read does not count any more.
    stopped: bool,
    /// Number of threads that wait.
    waiting: usize,
}

impl<J: Default> Queue<J> {
    fn new(jobs: usize) -> Queue<J> {
        let free = (0..jobs).map(|_| J::default()).collect();
        let state = State {
            unread: 0,
            next: 0,
            in_turn: false,
            ready: Vec::new(),
            free,
            exhausted: false,
            stopped: false,
            waiting: 0,
        };
        Queue { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Changes the state, and wakes the threads that wait for it.
    fn change(&self, change: impl FnOnce(&mut State<J>)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        if state.waiting > 0 {
            self.changed.notify_all();
        }
    }

    /// Takes a part that was read. If it is not a part, there are no more.
    fn put(&self, part: u64, job: J, is_part: bool) {
        self.change(|state| match (is_part, state.stopped) {
            (true, false) => state.ready.push((part, job)),
            (true, true) => {}
            (false, _) => state.exhausted = true,
        });
    }

    /// Ends the turn of a part; without `more`, the work too.
    fn end_turn(&self, more: bool) {
        self.change(|state| {
            state.in_turn = false;
            if !more {
                state.stop();
            }
        });
    }

    fn task(&self) -> Task<J> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(task) = state.task() {
                return task;
            }
            state.waiting += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
    }
}

impl<J> State<J> {
    /// `None`: there is nothing to do yet.
    fn task(&mut self) -> Option<Task<J>> {
        let place = self.ready.iter().position(|(part, _)| *part == self.next);
        if let (Some(place), false) = (place, self.in_turn) {
            let (part, job) = self.ready.swap_remove(place);
            self.next += 1;
            self.in_turn = true;
            return Some(Task::InOrder(part, job));
        }
        if self.exhausted {
            return self.ready.is_empty().then_some(Task::End);
        }
        let job = self.free.pop()?;
        self.unread += 1;
        Some(Task::Read(self.unread - 1, job))
    }

    /// Ends the work: what has not had its turn is not used.
    fn stop(&mut self) {
        self.exhausted = true;
        self.stopped = true;
        self.ready.clear();
    }
}

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
struct Alarm<'a, J: Default, T> {
    given_up: &'a AtomicBool,
    queue: &'a Queue<J>,
    merge: &'a Turn<T>,
}

impl<J: Default, T> Drop for Alarm<'_, J, T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.given_up.store(true, Ordering::Relaxed);
            self.queue.change(State::stop);
            // Taking the lock makes sure that nobody is between looking and waiting.
            drop(self.merge.next.lock());
            self.merge.passed.notify_all();
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

/// Jobs for each thread: the parts that it may be ahead of those whose turn it is. More would not stay in the cache.
const JOBS: usize = 2;

/// Does all parts in `threads` threads, with [`JOBS`] of `J` for each, which are used again for other parts.
pub(super) fn run<J, H, R, O, G, A, E>(
    threads: usize,
    sink: &mut dyn Sink,
    steps: Steps<R, O, G, A, E>,
) where
    J: Default + Send,
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
    let given_up = AtomicBool::new(false);
    let ordered = sink.is_ordered();
    let parts: Vec<Box<dyn Sink>> = (0..threads).map(|_| sink.part()).collect();
    let queue = Queue::new(JOBS * threads);
    // Only one thread has its turn, so none waits here.
    let in_order = Mutex::new(in_order);
    let merge = Turn::new(sink);

    let worker = |mut mine: Box<dyn Sink>| {
        let _alarm = Alarm { given_up: &given_up, queue: &queue, merge: &merge };
        let mut held = H::default();
        loop {
            let (part, mut job) = match queue.task() {
                Task::End => break,
                Task::Read(part, mut job) => {
                    let is_part = read(part, &mut job);
                    queue.put(part, job, is_part);
                    continue;
                }
                Task::InOrder(part, job) => (part, job),
            };
            let more = {
                let mut in_order = in_order.lock().unwrap_or_else(PoisonError::into_inner);
                in_order(&mut job)
            };
            queue.end_turn(more);
            give(&mut job, &mut held, &mut *mine);
            if ordered {
                end(&mut held, &mut *mine);
                let empty = mine.part();
                let full = std::mem::replace(&mut mine, empty);
                merge.pass(part, &given_up, |sink| sink.merge(full));
            }
            queue.change(|state| state.free.push(job));
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

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::Connection;

    const PARTS: u64 = 400;

    /// Work on parts that take different times to read; part N gives a connection to port N. `at` gets each step and
    /// its part; false ends the work. Returns the parts in the order of their turns, and the ports.
    fn work(threads: usize, at: impl Fn(&str, u64) -> bool + Sync) -> (Vec<u64>, Vec<u64>) {
        let mut sink: Vec<Connection> = Vec::new();
        let mut turns = Vec::new();
        let steps = Steps {
            read: |part, job: &mut u64| {
                *job = part;
                (0..part * 7919 % 13 * 1000).for_each(|n| _ = std::hint::black_box(n));
                at("read", part) && part < PARTS
            },
            in_order: |part: &mut u64| {
                turns.push(*part);
                at("in order", *part)
            },
            give: |part: &mut u64, (): &mut (), sink: &mut dyn Sink| {
                at("give", *part);
                let local_port = Some(*part as u16);
                sink.take(Connection { local_port, ..Connection::default() });
            },
            join: |(): &mut (), (): (), _: &mut dyn Sink| (),
            end: |(): &mut (), _: &mut dyn Sink| (),
        };
        run(threads, &mut sink, steps);
        (turns, sink.iter().filter_map(|c| c.local_port).map(u64::from).collect())
    }

    #[test]
    fn parts_have_their_turns_in_order_whoever_has_read_them() {
        for threads in [1, 2, 3, 8] {
            let all: Vec<u64> = (0..PARTS).collect();
            assert_eq!(work(threads, |_, _| true), (all.clone(), all), "{threads} threads");
        }
    }

    #[test]
    fn nothing_counts_behind_the_part_that_ends_the_work() {
        for threads in [1, 2, 3, 8] {
            let all: Vec<u64> = (0..=99).collect();
            let until = |step: &str, part| step != "in order" || part < 99;
            assert_eq!(work(threads, until), (all.clone(), all), "{threads} threads");
        }
    }

    #[test]
    fn a_panic_in_a_step_ends_the_work_of_all_threads() {
        for (threads, step) in [(2, "read"), (2, "in order"), (2, "give"), (8, "read"), (8, "give")]
        {
            let (sender, receiver) = mpsc::channel();
            std::thread::spawn(move || {
                let at = |now: &str, part| {
                    assert!(now != step || part != 99, "on purpose");
                    true
                };
                let ended = catch_unwind(AssertUnwindSafe(|| work(threads, at)));
                sender.send(ended.is_err())
            });
            let panicked = receiver.recv_timeout(Duration::from_secs(60));
            assert_eq!(panicked, Ok(true), "{threads} threads, {step}");
        }
    }
}
