//! Signals and deadlines that interrupt the tracer's wait, without a race.
//!
//! A signal that comes just before waitpid(2) begins does not interrupt it. So every handler
//! also starts a timer that signals the tracer's thread again and again, until [`take`] has
//! seen that something is due. A deadline is the same timer with a later first expiry.
#![allow(unsafe_code)]

use std::io;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Which signals have come since the last [`take`], bit N for signal N; bit 14 (SIGALRM) is the
/// timer's.
static PENDING: AtomicU64 = AtomicU64::new(0);
static TIMER: AtomicPtr<libc::c_void> = AtomicPtr::new(std::ptr::null_mut());
static TIMER_SET: AtomicBool = AtomicBool::new(false);

const REPEAT: Duration = Duration::from_millis(10);

/// Signals that have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals(u64);

impl Signals {
    /// Whether `signal` has come.
    pub fn has(self, signal: i32) -> bool {
        self.0 & (1 << signal) != 0
    }
}

extern "C" fn on_signal(signal: libc::c_int) {
    PENDING.fetch_or(1 << signal, Ordering::SeqCst);
    if signal != libc::SIGALRM {
        // SAFETY: errno's address is valid for the thread; a handler must leave it as it was.
        let errno = unsafe { *libc::__errno_location() };
        arm(REPEAT);
        // SAFETY: as above.
        unsafe { *libc::__errno_location() = errno };
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

/// Makes `signals` interrupt waits of the calling thread (and of no other from now on), whichever
/// thread they come to. Those
/// that the process ignores (a command under nohup) stay ignored.
pub fn install(signals: &[i32]) -> io::Result<()> {
    // SAFETY: all-zero is a valid sigevent; the kernel fills `timer`.
    let timer = unsafe {
        let mut event: libc::sigevent = std::mem::zeroed();
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = libc::SIGALRM;
        event.sigev_notify_thread_id = libc::gettid();
        let mut timer: libc::timer_t = std::ptr::null_mut();
        check(libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer))?;
        timer
    };
    let former = TIMER.swap(timer, Ordering::SeqCst);
    if TIMER_SET.swap(true, Ordering::SeqCst) {
        // SAFETY: the timer was created here, and nothing refers to it any more.
        unsafe { libc::timer_delete(former) };
    }
    handle(libc::SIGALRM)?;
    for &signal in signals {
        if !is_ignored(signal)? {
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
        check(libc::sigaction(signal, &raw const action, std::ptr::null_mut()))
    }
}

fn is_ignored(signal: i32) -> io::Result<bool> {
    // SAFETY: only reads the present action into a live structure.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        check(libc::sigaction(signal, std::ptr::null(), &raw mut action))?;
        Ok(action.sa_sigaction == libc::SIG_IGN)
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Runs `write`, which may write to the terminal. From the background, where the terminal has
/// `tostop` set (termios(3)), that raises SIGTTOU: handled, the write is interrupted again and
/// again, and stopped by it, nobody would be there for what is watched. A thread that blocks the
/// signal may write. Before [`install`] it does what it does to every program.
pub fn writing<R>(write: impl FnOnce() -> R) -> R {
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
pub fn is_due() -> bool {
    PENDING.load(Ordering::Relaxed) != 0
}

/// The signals that have come. The caller arms its next deadline afterwards.
pub fn take() -> Signals {
    Signals(PENDING.swap(0, Ordering::SeqCst))
}

/// Interrupts waits from `deadline` on; `None`: no deadline.
pub fn at(deadline: Option<Instant>) {
    match deadline {
        Some(t) => arm(t.saturating_duration_since(Instant::now())),
        None => disarm(),
    }
    // A signal that came before the timer was set anew must still interrupt the wait.
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

/// Stops this process by `signal` (SIGTSTP and the like) as if it had no handler for it; returns
/// when it is continued.
pub fn stop_self(signal: i32) -> io::Result<()> {
    // SAFETY: puts the default action in place and the former one back; both are valid.
    unsafe {
        let mut default: libc::sigaction = std::mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        let mut former: libc::sigaction = std::mem::zeroed();
        check(libc::sigaction(signal, &raw const default, &raw mut former))?;
        libc::raise(signal);
        check(libc::sigaction(signal, &raw const former, std::ptr::null_mut()))
    }
}
