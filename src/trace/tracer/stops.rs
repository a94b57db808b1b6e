//! What each kind of stop leads to.

use std::io;

use crate::ShortfallKind;
use crate::model::connection::Connection;
use crate::model::live::Ending;
use crate::sys::ptrace::{Registers, Tid};
use crate::trace::IO_URING_SEEN;
use crate::trace::abi::{self, Arch, Call};
use crate::trace::engine::Engine;
use crate::trace::perf::watch::AcceptNotice;
use crate::trace::procfs;
use crate::trace::registers::CallRegisters;
use crate::trace::seccomp;
use crate::trace::setuid;
use crate::trace::stop::{
    CloneStop, EventStop, ExecStop, GroupStop, SeccompStop, SignalStop, Stop, SyscallStop, Until,
};
use crate::trace::untraced::UntracedClones;

use super::{Phase, Tracer, Watched};

impl Tracer {
    /// Lets the tracee of a stop run on, and gives the connection it accepted, if it did.
    pub(super) fn on_stop(&mut self, stop: Stop) -> io::Result<Option<Connection>> {
        if !matches!(stop, Stop::Exited(..) | Stop::Killed(..)) {
            *self.status.stops.get_or_insert(0) += 1;
        }
        self.answer_interrupt(stop.tid())?;
        match stop {
            Stop::Syscall(stop) => return self.on_syscall(stop),
            Stop::Signal(stop) => return self.on_signal(stop),
            Stop::Seccomp(stop) => self.on_seccomp(stop)?,
            Stop::Group(stop) => self.on_group_stop(stop)?,
            Stop::Event(stop) => self.on_event(stop)?,
            Stop::Birth(stop) => self.on_clone(stop)?,
            Stop::Exec(stop) => self.on_exec(stop)?,
            Stop::Exited(tid, status) => self.on_end(tid, Ending::Exited(status)),
            Stop::Killed(tid, signal) => self.on_end(tid, Ending::Killed(signal)),
        }
        Ok(None)
    }

    /// Whatever a thread stops for, it is the stop that was asked for: the one of
    /// PTRACE_INTERRUPT does not come any more (ptrace(2)).
    fn answer_interrupt(&mut self, tid: Tid) -> io::Result<()> {
        if !self.interrupted.is_empty() {
            self.interrupted.remove(&tid);
        }
        let Some(perf) = &mut self.perf else { return Ok(()) };
        perf.count_from_first_stop(tid);
        if perf.awaits(tid) { self.see_to_mask(tid, false) } else { Ok(()) }
    }

    fn until(&mut self, tid: Tid) -> Until {
        match self.phase {
            _ if self.untraced_clones.awaits_exit(tid) => Until::SyscallStop,
            Phase::Counting if self.awaiting_accept.contains(&tid) => Until::SyscallStop,
            Phase::Counting => self.tracees.engine(tid).until(),
            _ => Until::AnyStop,
        }
    }

    fn on_syscall(&mut self, stop: SyscallStop) -> io::Result<Option<Connection>> {
        let tid = stop.tid();
        if !self.untraced_clones.is_empty() && self.exit_clone(&stop)? {
            let until = self.until(tid);
            stop.resume(until)?;
            return Ok(None);
        }
        if self.awaiting_accept.contains(&tid) {
            self.probe(&stop)?;
            let until = self.until(tid);
            stop.resume(until)?;
            return Ok(None);
        }
        let is_switching = self.switching.remove(&tid);
        if self.passing.remove(&tid) {
            let until = self.until(tid);
            stop.resume(until)?;
            return Ok(None);
        }
        let engine = self.tracees.engine(tid);
        let connection = match self.accept_at_exit(&stop, engine) {
            Ok(connection) => connection,
            // Killed in its stop: nothing of it can be read any more.
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => None,
            Err(e) => return Err(e),
        };
        if let (true, Some(perf)) = (is_switching, &mut self.perf) {
            perf.leave(tid);
        }
        self.cpu_affinity.stopped(tid);
        let until = self.until(tid);
        stop.resume(until)?;
        Ok(connection)
    }

    fn accept_at_exit(
        &mut self,
        stop: &SyscallStop,
        engine: Engine,
    ) -> io::Result<Option<Connection>> {
        if self.phase != Phase::Counting {
            return Ok(None);
        }
        let registers = CallRegisters(stop.registers()?);
        if registers.success().is_none() {
            let is_other = || abi::candidates(registers.number()).next().is_none();
            if engine == Engine::Syscall && registers.is_entry() {
                if is_other() {
                    self.passing.insert(stop.tid());
                } else if let Some((arch, call)) = call_at(stop, engine, &registers)? {
                    if self.reader.wants_entry(stop.tid()) {
                        self.reader.enter(stop.tid(), &registers, arch, call);
                    }
                    self.enter_clone(stop.tid(), registers, arch, call)?;
                }
            }
            return Ok(None);
        }
        let Some((arch, call)) = call_at(stop, engine, &registers)? else { return Ok(None) };
        if call == Call::IoUringSetup {
            self.warn_of_io_uring();
            return Ok(None);
        }
        if let ((Arch::X86_64, Call::Accept), Some(perf)) = ((arch, call), &mut self.perf)
            && !registers.is_x32()
        {
            perf.see_at_exit(stop.tid());
        }
        let connection = self.reader.read(stop.tid(), &registers, arch, call);
        Ok(connection.filter(|c| self.counts(c)))
    }

    fn on_seccomp(&mut self, stop: SeccompStop) -> io::Result<()> {
        let is_clone = match stop.data() {
            Ok(data) => data == seccomp::CLONE_DATA,
            // Killed in its stop.
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => return Ok(()),
            Err(e) => return Err(e),
        };
        let stops_at_exit = if is_clone {
            unless_killed(self.enter_clone_of(&stop))?.unwrap_or(false)
        } else {
            if self.phase == Phase::Counting && self.reader.wants_entry(stop.tid()) {
                unless_killed(self.enter_accept(&stop))?;
            }
            self.phase == Phase::Counting
        };
        stop.resume(if stops_at_exit { Until::SyscallStop } else { Until::AnyStop })
    }

    fn enter_accept(&mut self, stop: &SeccompStop) -> io::Result<()> {
        let registers = CallRegisters(stop.registers()?);
        // No number of a call that accepts means two things.
        if let Some((arch, call)) = abi::candidates(registers.number()).next() {
            self.reader.enter(stop.tid(), &registers, arch, call);
        }
        Ok(())
    }

    fn enter_clone_of(&mut self, stop: &SeccompStop) -> io::Result<bool> {
        let registers = CallRegisters(stop.registers()?);
        let arch = Arch::from_audit(stop.arch()?);
        match abi::candidates(registers.number()).find(|c| Some(c.0) == arch) {
            Some((arch, call)) => self.enter_clone(stop.tid(), registers, arch, call),
            None => Ok(false),
        }
    }

    /// Sees to it that a process made by clone is a tracee.
    fn enter_clone(
        &mut self,
        tid: Tid,
        registers: CallRegisters,
        arch: Arch,
        call: Call,
    ) -> io::Result<bool> {
        match self.untraced_clones.enter(tid, registers, arch, call) {
            Ok(is_changed) => {
                if is_changed {
                    self.status.warn(
                        "the server makes processes with CLONE_UNTRACED; the flag is taken out, \
                         so that they are traced and counted",
                    );
                }
                Ok(is_changed)
            }
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Err(e),
            Err(e) => {
                self.status.record_shortfall(
                    ShortfallKind::Unobservable,
                    1,
                    format!(
                        "process {tid} makes a process with CLONE_UNTRACED, and the flag cannot be \
                         taken out ({e}): what that process accepts is not counted, and under the \
                         engine seccomp its accept fails with ENOSYS; use '--engine syscall'"
                    ),
                );
                Ok(false)
            }
        }
    }

    fn exit_clone(&mut self, stop: &SyscallStop) -> io::Result<bool> {
        let exit =
            |clones: &mut UntracedClones| clones.exit(stop.tid(), CallRegisters(stop.registers()?));
        Ok(unless_killed(exit(&mut self.untraced_clones))?.unwrap_or(false))
    }

    pub(super) fn warn_of_io_uring(&mut self) {
        self.status.record_shortfall(ShortfallKind::Unobservable, 1, IO_URING_SEEN);
    }

    /// A new thread may block all signals when it begins, and then accept: from its first accept
    /// on its mask is as it must be.
    fn probe(&mut self, stop: &SyscallStop) -> io::Result<()> {
        let registers = match stop.registers() {
            Ok(registers) => CallRegisters(registers),
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => return Ok(()),
            Err(e) => return Err(e),
        };
        let is_accept = abi::candidates(registers.number()).any(|c| c.1 == Call::Accept);
        if registers.is_entry() && is_accept {
            self.awaiting_accept.remove(&stop.tid());
            self.see_to_mask(stop.tid(), false)?;
        }
        Ok(())
    }

    /// Whether a connection is of a process that was asked about.
    fn counts(&self, connection: &Connection) -> bool {
        match &self.watched {
            Watched::Spawned(command) if self.options.no_children => {
                connection.pid == Some(command.pid as u32)
            }
            _ => true,
        }
    }

    fn on_signal(&mut self, stop: SignalStop) -> io::Result<Option<Connection>> {
        let tid = stop.tid();
        let (is_foreign, accept) = match self.accept_at_signal(&stop) {
            // Killed in its stop: there is nothing to be read any more, nor to be resumed.
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
            result => result?,
        };
        // The tracepoints of these signals are passed by x86-64 calls alone.
        let read = |r| self.reader.read(tid, &CallRegisters(r), Arch::X86_64, Call::Accept);
        let connection = accept.and_then(read);
        if accept.is_some() {
            self.cpu_affinity.stopped(tid);
        }
        if is_foreign && let Watched::Spawned(command) = &mut self.watched {
            command.delivered(tid, stop.signal);
        }
        let until = self.until(tid);
        if is_foreign { stop.deliver(until) } else { stop.suppress(until) }?;
        Ok(connection.filter(|c| self.counts(c)))
    }

    /// Whether a signal is the tracee's own, and the registers of an accept that is to be read
    /// before it goes on.
    fn accept_at_signal(&mut self, stop: &SignalStop) -> io::Result<(bool, Option<Registers>)> {
        let Some(perf) = &mut self.perf else { return Ok((true, None)) };
        Ok(match perf.notice(stop)? {
            AcceptNotice::Accept(registers) => (false, Some(registers)),
            AcceptNotice::Late => (false, None),
            AcceptNotice::Foreign => (true, perf.accept_before_handler(stop)?),
        })
    }

    fn on_group_stop(&mut self, stop: GroupStop) -> io::Result<()> {
        let tid = stop.tid();
        self.see_to_mask(tid, false)?;
        stop.listen()?;
        match &mut self.watched {
            Watched::Spawned(command) => command.group_stop(tid, true),
            Watched::Attached(_) => Ok(()),
        }
    }

    fn on_event(&mut self, stop: EventStop) -> io::Result<()> {
        let tid = stop.tid();
        match &mut self.watched {
            Watched::Spawned(command) => command.group_stop(tid, false)?,
            // A process made with clone(2) and without SIGCHLD comes with the threads.
            Watched::Attached(targets) if !targets.children && !self.tracees.knows(tid) => {
                if procfs::process_of(tid).is_some_and(|pid| !targets.include(pid)) {
                    return stop.detach();
                }
            }
            Watched::Attached(_) => {}
        }
        if !self.untraced_clones.is_empty() {
            unless_killed(self.untraced_clones.appear(tid))?;
        }
        let is_new = self.tracees.are_known() && {
            let is_known = self.tracees.knows(tid);
            self.pending_threads.appear(tid, is_known)
        };
        if is_new && self.phase == Phase::Counting && self.tracees.engine(tid) == Engine::Perf {
            self.add_to_perf(tid);
        }
        self.see_to_mask(tid, is_new)?;
        let until = self.until(tid);
        stop.resume(until)
    }

    /// A new thread stands at its first stop.
    fn add_to_perf(&mut self, tid: Tid) {
        let Some(perf) = &mut self.perf else { return };
        if let Err(why) = perf.add(tid) {
            self.use_engine(tid, Engine::Syscall);
            self.tell_of_fall(tid, &why);
            return;
        }
        if perf.distrusts_new_threads() {
            self.awaiting_accept.insert(tid);
        }
        self.check.added(tid);
    }

    fn see_to_mask(&mut self, tid: Tid, newborn: bool) -> io::Result<()> {
        let Some(perf) = &mut self.perf else { return Ok(()) };
        if !perf.is_detaching() && self.tracees.engine(tid) != Engine::Perf {
            return Ok(());
        }
        perf.see_to_mask(tid, newborn)?;
        if let Err(why) = perf.open_awaited(tid) {
            self.use_engine(tid, Engine::Syscall);
            self.tell_of_fall(tid, &why);
        }
        Ok(())
    }

    fn on_clone(&mut self, stop: CloneStop) -> io::Result<()> {
        let tid = stop.tid();
        if !stop.is_process {
            self.reader.thread_created();
        }
        if let Ok(child) = stop.child()
            && self.tracees.are_known()
        {
            if stop.is_process {
                self.check.begin_process(child);
            }
            if self.pending_threads.announce(child) {
                self.tracees.added(tid, child);
            } else {
                self.check.end_process(child);
            }
        }
        let until = self.until(tid);
        stop.resume(until)
    }

    pub(super) fn on_exec(&mut self, stop: ExecStop) -> io::Result<()> {
        let tid = stop.tid();
        let former = stop.former_tid().unwrap_or(tid);
        self.reader.forget(tid);
        if former != tid {
            // The thread that called exec goes on under its process' id.
            let engine = self.tracees.engine(former);
            self.use_engine(tid, engine);
            self.forget(former);
        }
        if let Some(program) = setuid::lost(tid) {
            self.status.warn(format!(
                "{program} is setuid or setgid, and runs without those privileges because it is \
                 traced; start it with them, or attach as root"
            ));
        }
        if self.phase == Phase::Counting
            && self.tracees.engine(tid) == Engine::Perf
            && let Some(perf) = &mut self.perf
            && let Err(why) = perf.exec(tid, former)
        {
            self.use_engine(tid, Engine::Syscall);
            self.tell_of_fall(tid, &why);
        }
        self.see_to_mask(tid, false)?;
        let until = self.until(tid);
        stop.resume(until)
    }

    fn on_end(&mut self, tid: Tid, ending: Ending) {
        self.check.end_process(tid);
        self.forget(tid);
        if let Watched::Spawned(command) = &mut self.watched
            && command.pid == tid
        {
            command.ending = Some(ending);
        }
    }

    fn forget(&mut self, tid: Tid) {
        self.reader.forget(tid);
        self.tracees.forget(tid);
        self.interrupted.remove(&tid);
        self.switching.remove(&tid);
        self.pending_threads.end(tid);
        self.awaiting_accept.remove(&tid);
        self.passing.remove(&tid);
        if let Some(perf) = &mut self.perf {
            perf.forget(tid);
        }
    }
}

/// The result, or nothing of a tracee that was killed in its stop.
fn unless_killed<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Which call the tracee is in, if it is one that matters.
fn call_at(
    stop: &SyscallStop,
    engine: Engine,
    registers: &CallRegisters,
) -> io::Result<Option<(Arch, Call)>> {
    let mut candidates = abi::candidates(registers.number()).peekable();
    match (engine, candidates.peek()) {
        (_, None) => Ok(None),
        // The filter has compared architecture and number; no number of a call that accepts means
        // two things.
        (Engine::Seccomp, Some(_)) => Ok(candidates.next()),
        (Engine::Perf | Engine::Syscall, Some(_)) => {
            let arch = Arch::from_audit(stop.arch()?);
            Ok(candidates.find(|c| Some(c.0) == arch))
        }
    }
}
