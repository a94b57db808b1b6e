//! Makes a process ignore SIGTRAP, and undoes it: rt_sigaction(2), called by its own first thread.
//!
//! # How the process comes to no harm
//!
//! The tracer may be killed between any two of the steps below, and the thread then runs on with
//! the registers that it was given last. So these make it look as if a signal handler had just
//! been called, whose whole body is `syscall; ret`: on its stack lies the frame that the kernel
//! would have built, with the thread's own registers, signal mask and vector registers. If nobody
//! intervenes, the call is made, the handler returns, and rt_sigreturn(2) lets the thread go on
//! where it was. What is left is the frame, in a part of the stack that is not in use; a call that
//! waits with a timeout (nanosleep, poll) then returns EINTR, as after any handler.
//!
//! The tracer, if it lives, does better and puts everything back itself, at a stop from which the
//! kernel restarts an interrupted call as though nothing had been: that is a stop inside of the
//! kernel's get_signal(), as PTRACE_EVENT_STOP is. It does not single-step: the SIGTRAP of a step is
//! forced, and so turns an ignored SIGTRAP back into the default.
//!
//! All signals are blocked meanwhile, since each of them would be a stop of its own, after which
//! all must begin anew; the frame gives the thread its mask back as well.
//!
//! The frame lies at the far end of the first thread's stack. Nobody else uses that, and the
//! thread does not move meanwhile. Below the stack pointer of a thread there may not even be
//! stack: goroutines and coroutines have theirs in the heap, a few bytes from other data.

use std::io;

use crate::sys::ptrace::{self, Registers, Tid};
use crate::sys::tracee::{self, SignalSet};
use crate::trace::stop::{EventStopState, Stop, SyscallStop, Until};

use super::frame;
use super::injection_site::{InjectError, InjectionSite};

/// What a process does with a signal: the kernel's `struct sigaction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disposition {
    handler: u64,
    flags: u64,
    restorer: u64,
    mask: u64,
}

const IGNORE: u64 = libc::SIG_IGN as u64;
/// The kernel keeps a mask that an ignored signal has no use for: "tcptally", without the bits of
/// SIGKILL and SIGSTOP.
const SIGNATURE: u64 =
    u64::from_be_bytes(*b"tcptally") & !(1 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1));
const SIZE: usize = 32;

impl Disposition {
    /// Ignores the signal, recognisably by order of tcptally.
    pub const IGNORED: Disposition =
        Disposition { handler: IGNORE, flags: 0, restorer: 0, mask: SIGNATURE };

    /// What a signal does in a process that has not asked for anything.
    pub const DEFAULT: Disposition =
        Disposition { handler: libc::SIG_DFL as u64, flags: 0, restorer: 0, mask: 0 };

    /// Whether it is [`Disposition::IGNORED`], or what exec leaves of it.
    pub fn is_ours(&self) -> bool {
        let executed = Disposition { mask: 0, ..Disposition::IGNORED };
        [Disposition::IGNORED, executed].contains(self)
    }

    /// Whether the signal is ignored, by whomever.
    pub fn is_ignore(&self) -> bool {
        self.handler == IGNORE
    }

    /// Neither the default nor ignored: the process has a handler of its own.
    pub fn is_handler(&self) -> bool {
        self.handler != IGNORE && self.handler != libc::SIG_DFL as u64
    }

    fn to_bytes(self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        let words = [self.handler, self.flags, self.restorer, self.mask];
        for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: [u8; SIZE]) -> Disposition {
        let mut words = [0; 4];
        for (word, from) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_ne_bytes(from.try_into().unwrap_or_default());
        }
        let [handler, flags, restorer, mask] = words;
        Disposition { handler, flags, restorer, mask }
    }
}

/// What to do with SIGTRAP in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Ignore it. Whoever has a signal pending of an event that is open already loses that.
    Ignore,
    /// Put this back, unless the process has changed it meanwhile. Events must have been
    /// disabled. Signals that threads have pending, since they block them, are discarded first:
    /// one of these would kill the process as soon as its thread unblocks it.
    PutBack(Disposition),
}

/// An injection under way. It belongs to the first thread of a process, gets each stop of that
/// thread ([`Injection::on_stop`]), and never waits: the thread's stops come when they come.
#[derive(Debug)]
#[must_use = "the thread has borrowed registers until this is done"]
pub struct Injection {
    tid: Tid,
    step: Step,
    registers: Box<Registers>,
    mask: SignalSet,
    /// Where the frame and the call's arguments are, and what was there.
    place: u64,
    displaced: Vec<u8>,
    /// Where the argument and the result of the call are.
    new: u64,
    former: u64,
    borrowed: Box<Registers>,
    change: Change,
}

/// What the thread is on its way to.
#[derive(Debug)]
enum Step {
    Entry,
    Exit,
    /// The second call of two, after which this is the result.
    SecondEntry(Disposition),
    SecondExit(Disposition),
    Return(Result<Disposition, InjectError>),
}

/// How [`start`] went.
#[derive(Debug)]
#[must_use]
pub enum Started {
    /// The thread runs.
    Going(Injection),
    /// Not at this moment: the thread is amid a restartable sequence (rseq(2)), or deeper in its
    /// stack than ever. Let it run on, interrupt it again, look for a [`InjectionSite`] again.
    NotNow(EventStopState),
    /// It cannot be done, for this reason. The thread is as it was.
    InjectError(EventStopState, InjectError),
}

/// How a stop was taken.
#[derive(Debug)]
#[must_use]
pub enum Progress {
    /// The thread runs.
    Going(Injection),
    /// It is over; with what SIGTRAP did before, if the call succeeded: for [`Change::PutBack`]
    /// that is [`Disposition::IGNORED`], or what the process has chosen meanwhile and keeps. The
    /// thread is as it was; the stop is to be taken like any other.
    Done(Stop, Result<Disposition, InjectError>),
    /// Something else came first. The thread is as it was, or gone. Take the stop like any other,
    /// after asking for another PTRACE_EVENT_STOP, from which to start anew with this change.
    Undone(Stop, Change),
}

/// Room below the frame, where a signal's handler may run if the tracer is killed.
const MARGIN: u64 = 8 << 10;
/// What a thread may use below its stack pointer: the ABI's red zone.
const RED_ZONE: u64 = 128;
/// `__USER_CS`: 64-bit code.
const CODE_64: u64 = 0x33;

/// Starts to change what the process does with SIGTRAP. Its first thread has stopped, must have
/// been seized with PTRACE_O_TRACESYSGOOD, and is resumed.
pub fn start(stop: EventStopState, site: &InjectionSite, change: Change) -> Started {
    match prepare(stop.tid(), site, change) {
        Err(unfit) => Started::InjectError(stop, unfit),
        Ok(None) => Started::NotNow(stop),
        Ok(Some((injection, memory))) => {
            let tid = injection.tid;
            let lent = tracee::write_memory(tid, injection.place, &memory)
                .and_then(|()| tracee::set_registers(tid, &injection.borrowed))
                .and_then(|()| tracee::set_blocked(tid, SignalSet::ALL));
            if let Err(e) = lent {
                injection.put_back();
                return Started::InjectError(stop, e.into());
            }
            match stop.run(Until::SyscallStop) {
                // A thread that cannot be resumed is on its way out, which wait will report.
                Ok(()) | Err(_) => Started::Going(injection),
            }
        }
    }
}

fn prepare(
    tid: Tid,
    site: &InjectionSite,
    change: Change,
) -> Result<Option<(Injection, Vec<u8>)>, InjectError> {
    let own = ptrace::registers(tid)?;
    if own.cs != CODE_64 {
        return Err(InjectError::ThirtyTwoBit);
    }
    if tid != site.pid {
        return Err(InjectError::Leader);
    }
    if tracee::has_syscall_dispatch(tid) {
        return Err(InjectError::SyscallDispatch);
    }
    if !site.still_holds() {
        return Err(InjectError::Code);
    }
    if in_restartable_sequence(tid, own.rip) {
        return Ok(None);
    }
    let place = (site.stack.start + MARGIN).next_multiple_of(frame::ALIGNMENT);
    let extended = tracee::extended_registers(tid)?;
    let mask = tracee::blocked(tid)?;
    let mut memory = frame::build(place, site.restorer, &own, &extended, mask);
    let former = place + memory.len() as u64;
    memory.extend(Disposition::DEFAULT.to_bytes());
    let new = place + memory.len() as u64;
    memory.extend(Disposition::IGNORED.to_bytes());
    let Some(displaced) = room(tid, site, own.rsp, place, memory.len())? else { return Ok(None) };
    let borrowed = Registers {
        rip: site.call,
        rsp: place,
        rax: libc::SYS_rt_sigaction as u64,
        orig_rax: u64::MAX,
        rdi: libc::SIGTRAP as u64,
        rsi: new,
        rdx: former,
        r10: size_of::<u64>() as u64,
        ..own
    };
    let injection = Injection {
        tid,
        step: Step::Entry,
        registers: Box::new(own),
        mask,
        place,
        displaced,
        new,
        former,
        borrowed: Box::new(borrowed),
        change,
    };
    Ok(Some((injection, memory)))
}

/// What is now at the place on the stack, if that is free; `None`: it may be later.
///
/// Where the thread is on this stack, everything far below its stack pointer is. Where it is on
/// another (a goroutine's), what has never been written is.
fn room(
    tid: Tid,
    site: &InjectionSite,
    rsp: u64,
    place: u64,
    len: usize,
) -> Result<Option<Vec<u8>>, InjectError> {
    let end = place + len as u64;
    if end > site.stack.end {
        return Err(InjectError::Stack);
    }
    if site.stack.contains(&rsp) && end >= rsp - RED_ZONE {
        return Ok(None);
    }
    let mut bytes = vec![0; (end - site.stack.start) as usize];
    tracee::read_memory(tid, site.stack.start, &mut bytes)?;
    let displaced = bytes.split_off((place - site.stack.start) as usize);
    let is_untouched = |bytes: &[u8]| bytes.iter().all(|b| *b == 0);
    // What a tracer left that was killed amid an injection.
    let is_leftover = displaced.starts_with(&site.restorer.to_ne_bytes());
    let is_free = is_untouched(&bytes) && (is_leftover || is_untouched(&displaced));
    if !site.stack.contains(&rsp) && !is_free {
        return Err(InjectError::Stack);
    }
    Ok(Some(displaced))
}

/// A thread that leaves such a sequence and comes back would not be sent to its start, as it must.
fn in_restartable_sequence(tid: Tid, rip: u64) -> bool {
    let word = |at: u64| {
        let mut bytes = [0; 8];
        tracee::read_memory(tid, at, &mut bytes).ok()?;
        Some(u64::from_ne_bytes(bytes))
    };
    let range = || {
        let sequence = word(tracee::rseq_area(tid).ok()?? + 8).filter(|s| *s != 0)?;
        Some((word(sequence + 8)?, word(sequence + 16)?))
    };
    range().is_some_and(|(start, len)| rip.wrapping_sub(start) < len)
}

impl Injection {
    /// The thread.
    pub fn tid(&self) -> Tid {
        self.tid
    }

    /// Takes a stop of the thread, and resumes the thread where it is not over.
    pub fn on_stop(mut self, stop: Stop) -> Progress {
        let step = std::mem::replace(&mut self.step, Step::Entry);
        match (step, stop) {
            // Its memory is another program's, or nobody's.
            (_, stop @ (Stop::Exec(_) | Stop::Exited(..) | Stop::Killed(..))) => {
                Progress::Undone(stop, self.change)
            }
            (Step::Entry, Stop::Syscall(stop)) => self.run_to_exit(stop, Step::Exit),
            (Step::SecondEntry(former), Stop::Syscall(stop)) => {
                self.run_to_exit(stop, Step::SecondExit(former))
            }
            (Step::Exit, Stop::Syscall(stop)) => match (self.result(), self.change) {
                (Ok(former), Change::PutBack(original)) => {
                    let ours = former.is_ours();
                    self.call_again(stop, former, if ours { original } else { former })
                }
                (result, _) => self.run_to_event_stop(stop, result),
            },
            (Step::SecondExit(former), Stop::Syscall(stop)) => {
                let result = self.result().map(|_| former);
                self.run_to_event_stop(stop, result)
            }
            (Step::Return(result), stop) => {
                self.put_back();
                Progress::Done(stop, result)
            }
            // A signal, before a call; between its entry and its exit there is none.
            (Step::SecondEntry(former) | Step::SecondExit(former), stop) if !former.is_ours() => {
                self.put_back();
                Progress::Undone(stop, Change::PutBack(former))
            }
            (_, stop) => {
                self.put_back();
                Progress::Undone(stop, self.change)
            }
        }
    }

    fn run_to_exit(mut self, stop: SyscallStop, step: Step) -> Progress {
        self.step = step;
        // As in `start`: a failure means that the thread is about to be reported gone.
        let _ = stop.resume(Until::SyscallStop);
        Progress::Going(self)
    }

    /// The first call made the process ignore the signal, which discarded those pending; this
    /// one sets what is to be.
    fn call_again(
        mut self,
        stop: SyscallStop,
        former: Disposition,
        requested: Disposition,
    ) -> Progress {
        let lent = tracee::write_memory(self.tid, self.new, &requested.to_bytes())
            .and_then(|()| tracee::set_registers(self.tid, &self.borrowed));
        if let Err(e) = lent {
            return self.run_to_event_stop(stop, Err(e.into()));
        }
        self.step = Step::SecondEntry(former);
        let _ = stop.resume(Until::SyscallStop);
        Progress::Going(self)
    }

    /// Interrupts it before it runs, so that it does not come to the code behind the call.
    fn run_to_event_stop(
        mut self,
        stop: SyscallStop,
        result: Result<Disposition, InjectError>,
    ) -> Progress {
        self.step = Step::Return(result);
        let _ = ptrace::interrupt(self.tid);
        let _ = stop.resume(Until::AnyStop);
        Progress::Going(self)
    }

    /// What rt_sigaction returned and wrote.
    fn result(&self) -> Result<Disposition, InjectError> {
        let registers = ptrace::registers(self.tid)?;
        if registers.rax != 0 {
            let errno = (registers.rax as i64).wrapping_neg() as i32;
            return Err(InjectError::Call(io::Error::from_raw_os_error(errno)));
        }
        let mut bytes = [0; SIZE];
        tracee::read_memory(self.tid, self.former, &mut bytes)?;
        Ok(Disposition::from_bytes(bytes))
    }

    /// The mask first, which only the frame would give back to the thread, and the frame last,
    /// which the thread does not need once it has its registers.
    fn put_back(&self) {
        // Where this fails the thread is being killed.
        let _ = tracee::set_blocked(self.tid, self.mask);
        let _ = tracee::set_registers(self.tid, &self.registers);
        let _ = tracee::write_memory(self.tid, self.place, &self.displaced);
    }
}
