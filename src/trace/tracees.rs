//! Which engine stops which tracee.

use std::collections::{BTreeSet, HashMap};

use crate::sys::ptrace::Tid;

use super::engine::Engine;
use super::procfs;

/// The tracees there are, with their engines.
#[derive(Debug)]
pub enum Tracees {
    /// All have the same: those that were spawned. They are not written down, which saves the
    /// work for servers that have a thread per connection.
    Uniform(Engine),
    /// Each has its own.
    Known(HashMap<Tid, Engine>),
}

impl Tracees {
    /// The engine of a tracee. A new thread or child whose creator's stop has not been seen yet
    /// has the engine of its process or parent.
    pub fn engine(&mut self, tid: Tid) -> Engine {
        match self {
            Tracees::Uniform(engine) => *engine,
            Tracees::Known(engines) => {
                if let Some(engine) = engines.get(&tid) {
                    return *engine;
                }
                let process = procfs::process_of(tid);
                let kin = [process, process.and_then(procfs::parent)];
                let engine = kin.into_iter().flatten().find_map(|t| engines.get(&t).copied());
                let engine = engine.unwrap_or(Engine::Syscall);
                engines.insert(tid, engine);
                engine
            }
        }
    }

    /// How many there are, where they are written down.
    pub fn count(&self) -> Option<u64> {
        match self {
            Tracees::Uniform(_) => None,
            Tracees::Known(engines) => Some(engines.len() as u64),
        }
    }

    /// A tracee has made another.
    pub fn added(&mut self, parent: Tid, child: Tid) {
        if matches!(self, Tracees::Known(_)) {
            let engine = self.engine(parent);
            self.set(child, engine);
        }
    }

    /// From now on this engine stops the tracee.
    pub fn set(&mut self, tid: Tid, engine: Engine) {
        if let Tracees::Known(engines) = self {
            engines.insert(tid, engine);
        }
    }

    /// A tracee has ended.
    pub fn forget(&mut self, tid: Tid) {
        if let Tracees::Known(engines) = self {
            engines.remove(&tid);
        }
    }

    /// Whether tracees are written down.
    pub fn are_known(&self) -> bool {
        matches!(self, Tracees::Known(_))
    }

    /// Whether the tracee is one.
    pub fn knows(&self, tid: Tid) -> bool {
        matches!(self, Tracees::Known(engines) if engines.contains_key(&tid))
    }

    /// The tracees that this engine stops, where they are written down.
    pub fn under(&self, engine: Engine) -> Vec<Tid> {
        match self {
            Tracees::Uniform(_) => Vec::new(),
            Tracees::Known(engines) => {
                engines.iter().filter(|t| *t.1 == engine).map(|t| *t.0).collect()
            }
        }
    }

    /// All there are, where they are written down.
    pub fn all(&self) -> Vec<Tid> {
        match self {
            Tracees::Uniform(_) => Vec::new(),
            Tracees::Known(engines) => engines.keys().copied().collect(),
        }
    }

    /// The engines in use.
    pub fn engines(&self) -> BTreeSet<Engine> {
        match self {
            Tracees::Uniform(engine) => BTreeSet::from([*engine]),
            Tracees::Known(engines) => engines.values().copied().collect(),
        }
    }
}
