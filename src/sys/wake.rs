//! Signals and deadlines that interrupt the tracer's wait, without a race.
//!
//! A signal that arrives just before waitpid(2) starts does not interrupt it. So every handler also
//! starts a timer that signals the tracer's thread repeatedly until [`take`] is called. A deadline
//! is the same timer with a later first expiry.
#![allow(unsafe_code)]

use std::io;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The signals that have arrived since the last [`take`]: bit N - 1 for signal N.
static PENDING: AtomicU64 = AtomicU64::new(0);
/// Those of [`PENDING`] that a process sent with kill(2), sigqueue(3) or the like.
static SENT: AtomicU64 = AtomicU64::new(0);
/// How often each was sent since the last [`take`]: real-time signals are queued.
static TIMES: [AtomicU32; SIGNALS] = [const { AtomicU32::new(0) }; SIGNALS];
/// The value of the last signal sent by sigqueue(3).
static VALUES: [AtomicU64; SIGNALS] = [const { AtomicU64::new(0) }; SIGNALS];
/// Those of [`SENT`] that have a value.
static QUEUED: AtomicU64 = AtomicU64::new(0);
/// Signals that were ignored at start. They count only if a process sends them.
static IGNORED: AtomicU64 = AtomicU64::new(0);
static TIMER: AtomicPtr<libc::c_void> = AtomicPtr::new(std::ptr::null_mut());
static TIMER_SET: AtomicBool = AtomicBool::new(false);

/// Whether SIGHUP asks to reopen output files: [`reopen_at_hangup`].
static REOPENS: AtomicBool = AtomicBool::new(false);
/// Whether this process had a controlling terminal when [`reopen_at_hangup`] was called.
static HAD_TERMINAL: AtomicBool = AtomicBool::new(false);

/// Signals are numbered from 1 to 64 (signal(7)).
const SIGNALS: usize = 65;
/// The timer's bit in [`PENDING`]: SIGKILL has no handler.
const TIMER_BIT: u64 = bit(libc::SIGKILL);
/// `si_code` of a timer, and of sigqueue(3): sigaction(2).
const SI_TIMER: i32 = -2;
const SI_QUEUE: i32 = -1;

const REPEAT: Duration = Duration::from_millis(10);

const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// Signals that have arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Signals {
    pending: u64,
    sent: u64,
    asks_to_reopen: bool,
}

/// A signal that a process sent to this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Its number.
    pub signal: i32,
    /// How often it was sent.
    pub times: u32,
    /// The value of the last one, if sigqueue(3) sent it.
    pub value: Option<u64>,
}

impl Signals {
    /// Whether `signal` has arrived.
    pub(crate) fn has(self, signal: i32) -> bool {
        self.pending & bit(signal) != 0
    }

    /// Whether a process sent `signal`, for example with kill(2). The signals of a terminal come
    /// from the kernel.
    pub(crate) fn was_sent(self, signal: i32) -> bool {
        self.sent & bit(signal) != 0
    }

    /// Whether SIGHUP asked to reopen output files. Then it counts as no other request.
    pub(crate) fn asks_to_reopen(self) -> bool {
        self.asks_to_reopen
    }

    /// All that have arrived.
    pub(crate) fn numbers(self) -> impl Iterator<Item = i32> {
        (1..SIGNALS as i32).filter(move |s| self.has(*s))
    }
}

extern "C" fn on_signal(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel gives a valid siginfo_t to a handler with SA_SIGINFO.
    let info = unsafe { &*info };
    if signal == libc::SIGALRM && info.si_code == SI_TIMER {
        PENDING.fetch_or(TIMER_BIT, Ordering::SeqCst);
        return;
    }
    let is_sent = info.si_code <= 0 && info.si_code != SI_TIMER;
    if IGNORED.load(Ordering::SeqCst) & bit(signal) != 0 && !is_sent {
        return;
    }
    if is_fault(signal, info) {
        // SAFETY: async-signal-safe. The signal is blocked here and is delivered on return.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
        return;
    }
    if is_sent {
        // An array of 65 has an element for each signal.
        if let (Some(times), Some(value)) =
            (TIMES.get(signal as usize), VALUES.get(signal as usize))
        {
            times.fetch_add(1, Ordering::SeqCst);
            if info.si_code == SI_QUEUE {
                // SAFETY: SI_QUEUE means that the kernel has filled this member.
                value.store(unsafe { info.si_value() }.sival_ptr as u64, Ordering::SeqCst);
                QUEUED.fetch_or(bit(signal), Ordering::SeqCst);
            }
        }
        SENT.fetch_or(bit(signal), Ordering::SeqCst);
    }
    PENDING.fetch_or(bit(signal), Ordering::SeqCst);
    // SAFETY: errno's address is valid for the thread; a handler must leave it as it was.
    let errno = unsafe { *libc::__errno_location() };
    arm(REPEAT);
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// Whether a signal means that this program itself cannot continue: an invalid memory access or
/// instruction, a system call that a filter forbids, a breakpoint, abort(3).
fn is_fault(signal: libc::c_int, info: &libc::siginfo_t) -> bool {
    match signal {
        libc::SIGSYS
        | libc::SIGTRAP
        | libc::SIGILL
        | libc::SIGFPE
        | libc::SIGSEGV
        | libc::SIGBUS => info.si_code > 0,
        // SAFETY: the kernel fills the sender's id for SI_USER and SI_TKILL; getpid only returns.
        libc::SIGABRT => unsafe { info.si_pid() == libc::getpid() },
        _ => false,
    }
}

fn arm(first: Duration) {
    if !TIMER_SET.load(Ordering::SeqCst) {
        return;
    }
    let spec = |d: Duration| libc::timespec {
        tv_sec: d.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: d.subsec_nanos().into(),
    };
    let first = if first.is_zero() { Duration::from_nanos(1) } else { first };
    let setting = libc::itimerspec { it_value: spec(first), it_interval: spec(REPEAT) };
    // SAFETY: the timer was created before TIMER_SET and lives as long as the process;
    // timer_settime is async-signal-safe.
    unsafe {
        libc::timer_settime(
            TIMER.load(Ordering::SeqCst),
            0,
            &raw const setting,
            std::ptr::null_mut(),
        );
    }
}

/// Makes `signals` interrupt waits of the calling thread, and of no other thread from then on,
/// whichever thread receives them. Signals that the process ignores (under nohup) stay ignored, but
/// SIGINT and SIGQUIT only if a terminal sends them: a shell without job control ignores them for
/// background commands, which is not meant for kill(1).
pub(crate) fn install(signals: &[i32]) -> io::Result<()> {
    // SAFETY: all-zero is a valid sigevent; the kernel fills `timer`.
    let timer = unsafe {
        let mut event: libc::sigevent = std::mem::zeroed();
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = libc::SIGALRM;
        event.sigev_notify_thread_id = rustix::thread::gettid().as_raw_pid();
        let mut timer: libc::timer_t = std::ptr::null_mut();
        check(libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer))?;
        timer
    };
    let former = TIMER.swap(timer, Ordering::SeqCst);
    if TIMER_SET.swap(true, Ordering::SeqCst) {
        // SAFETY: the timer was created here and has no other user.
        unsafe { libc::timer_delete(former) };
    }
    handle(libc::SIGALRM)?;
    for &signal in signals {
        let is_ignored = super::is_ignored(signal);
        if !is_ignored || [libc::SIGINT, libc::SIGQUIT].contains(&signal) {
            if is_ignored {
                IGNORED.fetch_or(bit(signal), Ordering::SeqCst);
            }
            handle(signal)?;
        }
    }
    Ok(())
}

fn handle(signal: i32) -> io::Result<()> {
    // SAFETY: the handler only touches atomics and calls async-signal-safe functions. No
    // SA_RESTART: waits must end with EINTR.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        if [libc::SIGSEGV, libc::SIGBUS].contains(&signal) {
            // The stack may have overflowed. The alternate one has room for one handler.
            action.sa_flags |= libc::SA_ONSTACK;
            libc::sigfillset(&raw mut action.sa_mask);
        }
        check(libc::sigaction(signal, &raw const action, std::ptr::null_mut()))
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Runs `write`, which may write to the terminal. In the background, if the terminal has `tostop`
/// set (termios(3)), the write raises SIGTTOU. A handler would interrupt the write repeatedly, and
/// the default action would stop the tracer. A thread that blocks the signal may write. Before
/// [`install`] the signal has its default action.
pub(crate) fn writing<R>(write: impl FnOnce() -> R) -> R {
    if !TIMER_SET.load(Ordering::SeqCst) {
        return write();
    }
    // SAFETY: the sets are initialised by sigemptyset and pthread_sigmask before they are read.
    unsafe {
        let mut terminal: libc::sigset_t = std::mem::zeroed();
        let mut former: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut terminal);
        libc::sigaddset(&raw mut terminal, libc::SIGTTOU);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const terminal, &raw mut former);
        let result = write();
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const former, std::ptr::null_mut());
        result
    }
}

/// Whether a signal or a deadline is due; one load.
pub(crate) fn is_due() -> bool {
    PENDING.load(Ordering::Relaxed) != 0
}

/// Returns the signals that have arrived. The caller sets its next deadline afterwards.
pub(crate) fn take() -> Signals {
    let pending = PENDING.swap(0, Ordering::SeqCst) & !TIMER_BIT;
    let sent = SENT.fetch_and(!pending, Ordering::SeqCst) & pending;
    let hangup = bit(libc::SIGHUP);
    if sent & hangup != 0 && means_reopen(true) {
        Signals { pending: pending & !hangup, sent: sent & !hangup, asks_to_reopen: true }
    } else {
        Signals { pending, sent, asks_to_reopen: false }
    }
}

/// With `reopens`, a SIGHUP that a process sends asks from now on to reopen output files, as for log rotation, unless
/// the controlling terminal is gone: then shells send SIGHUP to their jobs, which means to end.
pub(crate) fn reopen_at_hangup(reopens: bool) {
    HAD_TERMINAL.store(has_terminal(), Ordering::SeqCst);
    REOPENS.store(reopens, Ordering::SeqCst);
}

/// Whether SIGHUP asks to reopen output files; `is_sent`: by a process, and not by the kernel for a terminal.
pub(crate) fn means_reopen(is_sent: bool) -> bool {
    let is_terminal_gone = || HAD_TERMINAL.load(Ordering::SeqCst) && !has_terminal();
    is_sent && REOPENS.load(Ordering::SeqCst) && !is_terminal_gone()
}

/// Whether this process has a controlling terminal: tty(4). When the terminal hangs up, its processes have none.
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// Returns how often `signal` was sent since the last call, and its value.
pub(crate) fn sent(signal: i32) -> Sent {
    let index = signal as usize;
    let times = TIMES.get(index).map_or(0, |times| times.swap(0, Ordering::SeqCst));
    let is_queued = QUEUED.fetch_and(!bit(signal), Ordering::SeqCst) & bit(signal) != 0;
    let value = VALUES.get(index).filter(|_| is_queued).map(|v| v.load(Ordering::SeqCst));
    Sent { signal, times: times.max(1), value }
}

/// Interrupts waits from `deadline` on; `None`: no deadline.
pub(crate) fn at(deadline: Option<Instant>) {
    match deadline {
        Some(t) => arm(t.saturating_duration_since(Instant::now())),
        None => disarm(),
    }
    // A signal that arrived before the timer was set must still interrupt the wait.
    if is_due() {
        arm(REPEAT);
    }
}

fn disarm() {
    if !TIMER_SET.load(Ordering::SeqCst) {
        return;
    }
    // SAFETY: as in `arm`; all-zero disarms.
    unsafe {
        let setting: libc::itimerspec = std::mem::zeroed();
        libc::timer_settime(
            TIMER.load(Ordering::SeqCst),
            0,
            &raw const setting,
            std::ptr::null_mut(),
        );
    }
}

/// Stops this process with `signal` (such as SIGTSTP) as if it had no handler for it. Returns when
/// the process is continued.
pub(crate) fn stop_self(signal: i32) -> io::Result<()> {
    // SAFETY: sets the default action and restores the former one; both are valid.
    unsafe {
        let mut default: libc::sigaction = std::mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        let mut former: libc::sigaction = std::mem::zeroed();
        check(libc::sigaction(signal, &raw const default, &raw mut former))?;
        libc::raise(signal);
        check(libc::sigaction(signal, &raw const former, std::ptr::null_mut()))
    }
}
