//! Handles each kind of ptrace-stop.

use std::io;

use crate::ShortfallKind;
use crate::model::connection::Connection;
use crate::model::event_source::Ending;
use crate::sys::arch::{Arch, Call, Registers};
use crate::sys::ptrace::Tid;
use crate::trace::abi::{self, CallAt};
use crate::trace::accept_buffer::BufferEvidence;
use crate::trace::accepted::is_socketcall_accept;
use crate::trace::engine::PtraceEngine;
use crate::trace::perf::watch::AcceptNotice;
use crate::trace::procfs;
use crate::trace::seccomp;
use crate::trace::stop::{
    CloneStop, EventStop, ExecStop, GroupStop, SeccompStop, SignalStop, Stop, SyscallStop, Until,
};

use super::tracees::{Phase, Tracees, Watched};

/// The shortfall if it is unknown whether a call was accept.
const AMBIGUOUS: &str = "a process of the server is not dumpable and makes calls that may be accept by int 0x80: the \
                         kernel does not tell their architecture (PTRACE_GET_SYSCALL_INFO, Linux 5.3), and only root \
                         (CAP_SYS_PTRACE) may read the instruction, so the connections are not counted; run tcptally \
                         as root, or 'tcptally watch'";

impl Tracees {
    /// Handles a stop and resumes the tracee. Returns the connection if it accepted one.
    pub(super) fn on_stop(&mut self, stop: Stop) -> io::Result<Option<Connection>> {
        if !matches!(stop, Stop::Exited(..) | Stop::Killed(..)) {
            *self.status.stops.get_or_insert(0) += 1;
        }
        if self.threads.clear_interrupted(stop.tid()) {
            self.coverage.begin(stop.tid());
        }
        if let Some(perf) = &mut self.perf {
            perf.count_from_first_stop(stop.tid());
            if perf.awaits(stop.tid()) {
                self.update_mask(stop.tid(), false)?;
            }
        }
        match stop {
            Stop::Syscall(stop) => return self.on_syscall(stop),
            Stop::Signal(stop) => return self.on_signal(stop),
            Stop::Seccomp(stop) => self.on_seccomp(stop)?,
            Stop::Group(stop) => self.on_group_stop(stop)?,
            Stop::Event(stop) => self.on_event(stop)?,
            Stop::Clone(stop) => self.on_clone(stop)?,
            Stop::Exec(stop) => self.on_exec(stop)?,
            Stop::Exited(tid, status) => self.on_end(tid, Ending::Exited(status)),
            Stop::Killed(tid, signal) => self.on_end(tid, Ending::Killed(signal)),
        }
        Ok(None)
    }

    /// Returns until when a thread runs.
    fn until(&mut self, tid: Tid) -> Until {
        if self.untraced_clones.awaits_exit(tid) {
            return Until::SyscallStop;
        }
        if self.phase != Phase::Counting {
            return Until::AnyStop;
        }
        if self.threads.get(tid).is_some_and(|thread| thread.is_awaiting_accept) {
            return Until::SyscallStop;
        }
        self.threads.engine(tid).until()
    }

    fn on_syscall(&mut self, stop: SyscallStop) -> io::Result<Option<Connection>> {
        let tid = stop.tid();
        let connection = self.read_syscall(&stop)?;
        let until = self.until(tid);
        stop.resume(until)?;
        Ok(connection)
    }

    fn read_syscall(&mut self, stop: &SyscallStop) -> io::Result<Option<Connection>> {
        let tid = stop.tid();
        if !self.untraced_clones.is_empty() && self.exit_clone(stop)? {
            return Ok(None);
        }
        let mut is_leaving_perf = false;
        if let Some(thread) = self.threads.get_mut(tid) {
            if thread.is_awaiting_accept {
                self.await_accept(stop)?;
                return Ok(None);
            }
            is_leaving_perf = std::mem::take(&mut thread.is_leaving_perf);
            if std::mem::take(&mut thread.is_in_other_call) {
                return Ok(None);
            }
        }
        let engine = self.threads.engine(tid);
        // A tracee that is killed in its stop cannot be read.
        let connection = unless_killed(self.accept_at_exit(stop, engine))?.flatten();
        if let (true, Some(perf)) = (is_leaving_perf, &mut self.perf) {
            perf.leave(tid);
        }
        self.cpu_affinity.note_stop(tid);
        Ok(connection)
    }

    fn accept_at_exit(
        &mut self,
        stop: &SyscallStop,
        engine: PtraceEngine,
    ) -> io::Result<Option<Connection>> {
        if self.phase != Phase::Counting {
            return Ok(None);
        }
        let registers = stop.registers()?;
        if registers.is_entry() {
            if engine == PtraceEngine::Syscall {
                self.enter_call(stop, &registers)?;
            }
            return Ok(None);
        }
        if registers.success().is_none() {
            return Ok(None);
        }
        let (arch, call) = match call_at(stop, engine, &registers)? {
            CallAt::Known(arch, call) => (arch, call),
            CallAt::Ambiguous => {
                self.record_ambiguous(&registers);
                return Ok(None);
            }
            CallAt::Other => return Ok(None),
        };
        if call == Call::IoUringSetup {
            self.record_io_uring();
            return Ok(None);
        }
        if call == Call::Accept
            && registers.has_tracepoint(arch)
            && let Some(perf) = &mut self.perf
        {
            perf.see_at_exit(stop.tid());
        }
        Ok(self.read_connection(stop.tid(), &registers, arch, call))
    }

    /// Reads the connection that a thread has accepted, if it is to be counted.
    fn read_connection(
        &mut self,
        tid: Tid,
        registers: &Registers,
        arch: Arch,
        call: Call,
    ) -> Option<Connection> {
        let evidence = &mut self.threads.state(tid).buffer;
        let connection = self.reader.read(tid, evidence, registers, arch, call)?;
        self.coverage.stop(tid);
        if connection.ip.is_none() {
            self.explain_unknown_peer(tid);
        }
        let is_counted = self.is_counted(&connection);
        self.accepts_of_children += u64::from(!is_counted);
        is_counted.then_some(connection)
    }

    /// Reports why the kernel refuses to tell the peers of a process.
    fn explain_unknown_peer(&mut self, tid: Tid) {
        // Looked at once for each thread: it takes some reads of /proc.
        let is_explained = &mut self.threads.state(tid).is_unknown_peer_explained;
        if !std::mem::replace(is_explained, true) && procfs::is_undumpable(tid) {
            self.status.warn(
                "a process of the server is not dumpable, since it has changed its user or \
                 privileges (or asked for it with prctl), so only root (CAP_SYS_PTRACE) may read its \
                 memory and sockets, and the addresses of its clients are not known; run tcptally as \
                 root, or 'tcptally watch'",
            );
        }
    }

    /// Records a call that may have accepted a connection.
    fn record_ambiguous(&mut self, registers: &Registers) {
        let may_accept = |(arch, call)| match call {
            Call::Accept => true,
            Call::Socketcall => is_socketcall_accept(registers, arch),
            Call::IoUringSetup | Call::Clone | Call::Clone3 => false,
        };
        let mut candidates = abi::candidates(registers.number()).peekable();
        if candidates.peek().is_some_and(|c| c.1 == Call::IoUringSetup) {
            // On each architecture.
            self.record_io_uring();
        } else if candidates.any(may_accept) {
            self.status.record_shortfall(ShortfallKind::LostConnections, 1, AMBIGUOUS);
        }
    }

    /// Handles the entry to a system call under the engine `syscall`.
    fn enter_call(&mut self, stop: &SyscallStop, registers: &Registers) -> io::Result<()> {
        let tid = stop.tid();
        if abi::candidates(registers.number()).next().is_none() {
            self.threads.state(tid).is_in_other_call = true;
            return Ok(());
        }
        if let CallAt::Known(arch, call) = call_at(stop, PtraceEngine::Syscall, registers)? {
            let evidence = &mut self.threads.state(tid).buffer;
            if evidence.needs_length() {
                evidence.enter(tid, registers, arch, call);
            }
            self.enter_clone(tid, registers, arch, call)?;
        }
        Ok(())
    }

    fn on_seccomp(&mut self, stop: SeccompStop) -> io::Result<()> {
        let Some(data) = unless_killed(stop.data())? else { return Ok(()) };
        let stops_at_exit = match data {
            seccomp::CLONE_DATA => unless_killed(self.enter_clone_of(&stop))?.unwrap_or(false),
            seccomp::ACCEPT_DATA => {
                let is_counting = self.phase == Phase::Counting;
                if is_counting {
                    let evidence = &mut self.threads.state(stop.tid()).buffer;
                    if evidence.needs_length() {
                        unless_killed(enter_accept(evidence, &stop))?;
                    }
                }
                is_counting
            }
            seccomp::LISTENER_DATA => {
                self.status.record_shortfall(
                    ShortfallKind::Unobservable,
                    1,
                    "the server lets another process decide on its system calls (seccomp_unotify(2)): if accept \
                     is among them, its connections are not counted; use '--engine syscall'",
                );
                false
            }
            // A filter of the server's own. To continue would allow what it does not.
            _ => {
                unless_killed(stop.fail_call())?;
                false
            }
        };
        stop.resume(if stops_at_exit { Until::SyscallStop } else { Until::AnyStop })
    }

    /// Unblocks the signal of the perf events at the first accept of a new thread, which may have
    /// blocked all signals since it started.
    fn await_accept(&mut self, stop: &SyscallStop) -> io::Result<()> {
        let Some(registers) = unless_killed(stop.registers())? else { return Ok(()) };
        let is_accept = abi::candidates(registers.number()).any(|c| c.1 == Call::Accept);
        if registers.is_entry() && is_accept {
            self.threads.state(stop.tid()).is_awaiting_accept = false;
            self.update_mask(stop.tid(), false)?;
        }
        Ok(())
    }

    /// Whether a connection belongs to a process that is counted.
    fn is_counted(&self, connection: &Connection) -> bool {
        match &self.watched {
            Watched::Spawned(command) if self.options.no_children => {
                connection.pid == Some(command.pid as u32)
            }
            _ => true,
        }
    }

    fn on_signal(&mut self, stop: SignalStop) -> io::Result<Option<Connection>> {
        let tid = stop.tid();
        // A tracee that is killed in its stop can neither be read nor resumed.
        let Some((is_foreign, accept)) = unless_killed(self.accept_at_signal(&stop))? else {
            return Ok(None);
        };
        let mut connection = None;
        if let Some(registers) = accept {
            // Only 64-bit calls hit the tracepoints of these signals.
            connection = self.read_connection(tid, &registers, Arch::Native, Call::Accept);
            self.cpu_affinity.note_stop(tid);
        } else {
            unless_killed(stop.wait_again())?;
        }
        if is_foreign && let Watched::Spawned(command) = &mut self.watched {
            command.note_delivery(tid, stop.signal);
        }
        let until = self.until(tid);
        if is_foreign { stop.deliver(until) } else { stop.suppress(until) }?;
        Ok(connection)
    }

    /// Returns whether a signal must be delivered to the tracee, and the registers of an accept
    /// that must be read before the tracee is resumed.
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
        self.update_mask(tid, false)?;
        stop.listen()?;
        match &mut self.watched {
            Watched::Spawned(command) => command.set_group_stop(tid, true),
            Watched::Attached(_) => Ok(()),
        }
    }

    fn on_event(&mut self, stop: EventStop) -> io::Result<()> {
        let tid = stop.tid();
        match &mut self.watched {
            Watched::Spawned(command) => command.set_group_stop(tid, false)?,
            // PTRACE_O_TRACECLONE also reports processes that clone(2) creates without SIGCHLD.
            Watched::Attached(targets) if !targets.children && !self.threads.is_recorded(tid) => {
                if procfs::process_of(tid).is_some_and(|pid| !targets.include(pid)) {
                    return stop.detach();
                }
            }
            Watched::Attached(_) => {}
        }
        if !self.untraced_clones.is_empty() {
            unless_killed(self.untraced_clones.appear(tid))?;
        }
        let is_new = self.threads.are_recorded() && self.threads.note_first_stop(tid);
        if is_new {
            self.coverage.begin(tid);
        }
        if is_new && self.phase == Phase::Counting && self.threads.engine(tid) == PtraceEngine::Perf
        {
            self.add_to_perf(tid);
        }
        self.update_mask(tid, is_new)?;
        // A new thread comes from clone(2), which does not wait.
        if !is_new {
            unless_killed(stop.wait_again())?;
        }
        let until = self.until(tid);
        stop.resume(until)
    }

    /// Opens the perf events of a new thread, which is at its first stop.
    fn add_to_perf(&mut self, tid: Tid) {
        let Some(perf) = &mut self.perf else { return };
        if let Err(reason) = perf.add(tid) {
            self.fall_back_thread(tid, &reason);
            return;
        }
        if perf.distrusts_new_threads() {
            self.threads.state(tid).is_awaiting_accept = true;
        }
        self.check.add_thread(tid);
    }

    /// Unblocks the signal of the perf events in a stopped thread, or blocks it again while
    /// detaching. Then opens the events of a thread that was stopped for its mask.
    fn update_mask(&mut self, tid: Tid, is_new: bool) -> io::Result<()> {
        let Some(perf) = &mut self.perf else { return Ok(()) };
        if !perf.is_detaching() && self.threads.engine(tid) != PtraceEngine::Perf {
            return Ok(());
        }
        perf.adjust_mask(tid, is_new)?;
        let is_awaited = perf.awaits(tid);
        if let Err(reason) = perf.open_awaited(tid) {
            self.fall_back_thread(tid, &reason);
        }
        if is_awaited {
            self.coverage.begin(tid);
        }
        Ok(())
    }

    fn on_clone(&mut self, stop: CloneStop) -> io::Result<()> {
        let tid = stop.tid();
        if !stop.is_process {
            self.reader.note_thread_created();
        }
        if let Ok(child) = stop.child()
            && self.threads.are_recorded()
        {
            if stop.is_process {
                self.check.add_process(child);
            }
            if !self.threads.announce(tid, child) {
                self.check.note_end(child);
            }
        }
        let until = self.until(tid);
        stop.resume(until)
    }

    pub(super) fn on_exec(&mut self, stop: ExecStop) -> io::Result<()> {
        let tid = stop.tid();
        let former = stop.former_tid().unwrap_or(tid);
        self.coverage.begin(tid);
        self.reader.forget(tid);
        if let Some(thread) = self.threads.get_mut(tid) {
            thread.buffer = BufferEvidence::default();
        }
        if former != tid {
            // The thread that called exec gets the id of its process.
            let engine = self.threads.engine(former);
            self.threads.set_engine(tid, engine);
            self.forget(former);
        }
        if let Some(program) = procfs::program_without_its_setuid(tid) {
            self.status.warn(format!(
                "{program} is setuid or setgid, but runs without those privileges because it is \
                 traced; start it with them, or attach as root"
            ));
        }
        if self.phase == Phase::Counting
            && self.threads.engine(tid) == PtraceEngine::Perf
            && let Some(perf) = &mut self.perf
            && let Err(reason) = perf.exec(tid, former)
        {
            self.fall_back_thread(tid, &reason);
        }
        self.update_mask(tid, false)?;
        let until = self.until(tid);
        stop.resume(until)
    }

    fn on_end(&mut self, tid: Tid, ending: Ending) {
        self.check.note_end(tid);
        self.forget(tid);
        if let Watched::Spawned(command) = &mut self.watched
            && command.pid == tid
        {
            command.ending = Some(ending);
        }
    }

    fn forget(&mut self, tid: Tid) {
        self.reader.forget(tid);
        self.threads.remove(tid);
        if let Some(perf) = &mut self.perf {
            perf.forget(tid);
        }
    }
}

/// Returns `None` if the tracee was killed in its stop.
pub(super) fn unless_killed<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Notes the buffer of a thread at the entry of accept.
fn enter_accept(evidence: &mut BufferEvidence, stop: &SeccompStop) -> io::Result<()> {
    let registers = stop.registers()?;
    // The number of a call that accepts has one meaning only, whatever the architecture.
    if let Some((arch, call)) = abi::candidates(registers.number()).next() {
        evidence.enter(stop.tid(), &registers, arch, call);
    }
    Ok(())
}

/// Returns the call that the tracee is in.
fn call_at(stop: &SyscallStop, engine: PtraceEngine, registers: &Registers) -> io::Result<CallAt> {
    match engine {
        // The filter has compared architecture and number, and the number of a call that accepts
        // has one meaning only.
        PtraceEngine::Seccomp => Ok(abi::candidates(registers.number()).next().into()),
        PtraceEngine::Perf | PtraceEngine::Syscall => {
            abi::call_at(|| stop.arch(), stop.tid(), registers)
        }
    }
}
