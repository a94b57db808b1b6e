//! Starts a command and watches it from its first instruction on.

use crate::sys::ptrace::Tid;
use crate::trace::Options;
use crate::trace::attach::Targets;
use crate::trace::command::Command;
use crate::trace::error::Error;
use crate::trace::signals::handled_for_command;
use crate::trace::spawn::Start;

use super::attach::engine_error;
use super::record::Thread;
use super::sampler::Sampler;

impl Sampler {
    /// Starts a command. Events are opened on its process before it executes the command, so all its accepts
    /// count. The command is neither traced nor changed in any way, and continues if this process is
    /// killed.
    ///
    /// # Errors
    /// Those of [`Sampler::attach`], or why the command could not be executed.
    pub fn spawn(start: Start, options: Options) -> Result<Sampler, Error> {
        let targets = Targets { pids: [].into(), children: !options.no_children };
        let mut sampler = Sampler::new(targets, options, &handled_for_command())?;
        let held = start.begin_untraced()?;
        let pid: Tid = held.pid();
        sampler.targets.pids.insert(pid);
        sampler.open(Thread { pid, tid: pid }).map_err(engine_error)?;
        // It waits, and creates no thread.
        sampler.threads.settle(pid);
        sampler.begin();
        for warning in held.release()? {
            sampler.status.warn(warning);
        }
        sampler.command = Some(Command::new(pid));
        Ok(sampler)
    }
}
