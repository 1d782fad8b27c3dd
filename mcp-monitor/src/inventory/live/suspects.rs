//! What looks like a server and is unknown: held by two pipes of an agent or client for longer than a tool is.

use std::{collections::HashMap, sync::Arc};

use super::registry::Host;
use crate::event::{BootNs, Bytes, ProcessId, ProcessKey};

/// How long a program has to live to be listed.
const LONG_NS: u64 = 3_000_000_000;
/// Programs that are kept.
const SUSPECTS_MAX: usize = 1024;

/// One of them.
#[derive(Clone, Debug)]
pub struct Suspect {
    /// Its process.
    pub process: ProcessKey,
    /// The instance below which it runs.
    pub parent: Option<Arc<str>>,
    /// The client that is no instance.
    pub client: Option<String>,
    /// The most telling name.
    pub name: Bytes,
    /// Executable.
    pub program: Bytes,
    /// Masked arguments.
    pub arguments: Vec<Bytes>,
    /// Working directory.
    pub working_directory: Bytes,
    /// User.
    pub uid: u32,
    /// When it started.
    pub since: BootNs,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Suspects {
    all: HashMap<ProcessId, (Suspect, bool)>,
    refused: u64,
}

impl Suspects {
    pub(super) fn add(&mut self, suspect: Suspect) {
        if self.all.len() >= SUSPECTS_MAX && !self.all.contains_key(&suspect.process.pid) {
            self.refused += 1;
            return;
        }
        self.all.insert(suspect.process.pid, (suspect, false));
    }

    pub(super) fn leave(&mut self, process: ProcessKey) {
        if self.all.get(&process.pid).is_some_and(|(suspect, _)| suspect.process.start == process.start) {
            self.all.remove(&process.pid);
        }
    }

    pub(super) fn tick(&mut self, now: BootNs, host: &mut dyn Host) {
        self.all.retain(|_, (suspect, long)| {
            *long |= now.0.saturating_sub(suspect.since.0) >= LONG_NS;
            host.lives(suspect.process)
        });
    }

    /// Those that have lived long enough to be worth a look, the oldest first.
    #[must_use]
    pub fn listed(&self) -> Vec<&Suspect> {
        let mut listed: Vec<&Suspect> =
            self.all.values().filter(|(_, long)| *long).map(|(suspect, _)| suspect).collect();
        listed.sort_by_key(|suspect| (suspect.since, suspect.process.pid));
        listed
    }

    /// Those that found no place.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }
}
