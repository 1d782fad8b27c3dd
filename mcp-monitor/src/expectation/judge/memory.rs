//! What is remembered of an instance over time, for what no single event shows: secrets that were read, places that it
//! has been to, what was refused, what was removed, what was fetched. Bounded; what goes first is said at each table.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use crate::{
    event::{BootNs, ProcessKey},
    expectation::{commands::Passing, lineage::PipeIdentity},
};

/// Instances that are remembered; the one that was first seen goes.
const INSTANCES_MAX: usize = 4096;
/// Reads of secrets that are remembered; the oldest goes.
const SECRETS_MAX: usize = 64;
/// Destinations that are remembered; more are taken for places seen before, so that a flood finds nothing.
const DESTINATIONS_MAX: usize = 8192;
/// Pipes and fetched files that are remembered; the oldest goes.
const PASSED_MAX: usize = 1024;
/// Domains that are remembered; the oldest goes.
const DOMAINS_MAX: usize = 256;
/// Entries of a window; the oldest goes.
const WINDOW_MAX: usize = 4096;

/// A secret that was read by somebody who does not own it.
#[derive(Clone, Debug)]
pub(super) struct SecretRead {
    pub(super) at: BootNs,
    pub(super) process: ProcessKey,
    pub(super) pipes: [Option<PipeIdentity>; 2],
    pub(super) forebears: Arc<[ProcessKey]>,
    pub(super) title: String,
}

/// Distinct things in the last while.
#[derive(Debug, Default)]
pub(super) struct Window {
    entries: VecDeque<(BootNs, u64)>,
    distinct: HashSet<u64>,
}

impl Window {
    /// Takes note of `thing`. `true` when it makes `threshold` distinct things within `span_ns`; then counting begins
    /// anew.
    pub(super) fn note(
        &mut self,
        now: BootNs,
        span_ns: u64,
        threshold: usize,
        thing: impl std::hash::Hash,
    ) -> bool {
        while let Some(&(at, oldest)) = self.entries.front()
            && (now.0.saturating_sub(at.0) > span_ns || self.entries.len() >= WINDOW_MAX)
        {
            self.entries.pop_front();
            self.distinct.remove(&oldest);
        }
        let mut hasher = DefaultHasher::new();
        thing.hash(&mut hasher);
        let thing = hasher.finish();
        if self.distinct.insert(thing) {
            self.entries.push_back((now, thing));
        }
        let full = self.distinct.len() >= threshold;
        if full {
            self.entries.clear();
            self.distinct.clear();
        }
        full
    }
}

/// Who writes into a pipe and who runs what comes out.
#[derive(Clone, Debug, Default)]
pub(super) struct Pipe {
    pub(super) fed_by: Option<(Passing, String)>,
    pub(super) run_by: Option<String>,
}

/// What is remembered of one instance.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    pub(super) secrets: VecDeque<SecretRead>,
    destinations: HashMap<u64, BootNs>,
    pub(super) refused_files: Window,
    pub(super) refused_destinations: Window,
    pub(super) removed: Window,
    pub(super) swept: Window,
    domains: HashMap<Box<str>, (Window, Window)>,
    domain_order: VecDeque<Box<str>>,
    pipes: HashMap<PipeIdentity, Pipe>,
    pipe_order: VecDeque<PipeIdentity>,
    fetched: HashMap<Vec<u8>, String>,
    fetched_order: VecDeque<Vec<u8>>,
}

impl Remembered {
    pub(super) fn note_secret(&mut self, read: SecretRead) {
        if self.secrets.len() >= SECRETS_MAX {
            self.secrets.pop_front();
        }
        self.secrets.push_back(read);
    }

    /// When the instance first went to a destination; now, if it never did.
    pub(super) fn first_seen(&mut self, destination: &[u8], now: BootNs) -> BootNs {
        let mut hasher = DefaultHasher::new();
        destination.hash(&mut hasher);
        let key = hasher.finish();
        if self.destinations.len() >= DESTINATIONS_MAX && !self.destinations.contains_key(&key) {
            return BootNs(0);
        }
        *self.destinations.entry(key).or_insert(now)
    }

    /// Names that were looked up below a domain: those that carry data, and all.
    pub(super) fn domain(&mut self, domain: &str) -> (&mut Window, &mut Window) {
        if !self.domains.contains_key(domain) {
            if self.domain_order.len() >= DOMAINS_MAX
                && let Some(oldest) = self.domain_order.pop_front()
            {
                self.domains.remove(&oldest);
            }
            self.domain_order.push_back(domain.into());
        }
        let (data, all) = self.domains.entry(domain.into()).or_default();
        (data, all)
    }

    pub(super) fn pipe(&mut self, pipe: PipeIdentity) -> &mut Pipe {
        if !self.pipes.contains_key(&pipe) {
            if self.pipe_order.len() >= PASSED_MAX
                && let Some(oldest) = self.pipe_order.pop_front()
            {
                self.pipes.remove(&oldest);
            }
            self.pipe_order.push_back(pipe);
        }
        self.pipes.entry(pipe).or_default()
    }

    /// Takes note that `by` fetched the file at `path` from the network.
    pub(super) fn note_fetched(&mut self, path: &[u8], by: String) {
        if !self.fetched.contains_key(path) {
            if self.fetched_order.len() >= PASSED_MAX
                && let Some(oldest) = self.fetched_order.pop_front()
            {
                self.fetched.remove(&oldest);
            }
            self.fetched_order.push_back(path.to_vec());
        }
        self.fetched.insert(path.to_vec(), by);
    }

    /// What was fetched to `from` lies at `to` now.
    pub(super) fn move_fetched(&mut self, from: &[u8], to: &[u8]) {
        if let Some(by) = self.fetched.remove(from) {
            self.fetched_order.retain(|path| path != from);
            self.note_fetched(to, by);
        }
    }

    /// Who fetched the file at `path`.
    pub(super) fn fetched(&self, path: &[u8]) -> Option<&str> {
        self.fetched.get(path).map(String::as_str)
    }
}

/// What is remembered of every instance.
#[derive(Debug, Default)]
pub(super) struct Memory {
    instances: HashMap<Arc<str>, Remembered>,
    order: VecDeque<Arc<str>>,
    forgotten: u64,
}

impl Memory {
    pub(super) fn of(&mut self, instance: &Arc<str>) -> &mut Remembered {
        if !self.instances.contains_key(instance) {
            if self.order.len() >= INSTANCES_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.instances.remove(&oldest);
                self.forgotten += 1;
            }
            self.order.push_back(Arc::clone(instance));
        }
        self.instances.entry(Arc::clone(instance)).or_default()
    }

    pub(super) fn forget(&mut self, instance: &str) {
        self.instances.remove(instance);
        self.order.retain(|known| known.as_ref() != instance);
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_counts_distinct_things_of_the_last_while() {
        let mut window = Window::default();
        assert!(!window.note(BootNs(1), 10, 3, "a"));
        assert!(!window.note(BootNs(2), 10, 3, "a"));
        assert!(!window.note(BootNs(3), 10, 3, "b"));
        assert!(window.note(BootNs(4), 10, 3, "c"));
        assert!(!window.note(BootNs(5), 10, 3, "d"));
        assert!(!window.note(BootNs(6), 10, 3, "e"));
        assert!(!window.note(BootNs(16), 10, 3, "f"), "d is too old");
    }

    #[test]
    fn everything_is_bounded() {
        let mut remembered = Remembered::default();
        let mut window = Window::default();
        for number in 0..10_000_u64 {
            remembered.first_seen(&number.to_le_bytes(), BootNs(number + 1));
            remembered.pipe((1, number));
            remembered.note_fetched(&number.to_le_bytes(), String::new());
            remembered.domain(&format!("d{number}.example"));
            window.note(BootNs(0), 10, usize::MAX, number);
        }
        assert_eq!(remembered.destinations.len(), DESTINATIONS_MAX);
        assert_eq!(remembered.first_seen(b"new", BootNs(9)), BootNs(0), "full: nothing is new");
        assert_eq!((remembered.pipes.len(), remembered.fetched.len()), (PASSED_MAX, PASSED_MAX));
        assert_eq!((remembered.domains.len(), remembered.domain_order.len()), (DOMAINS_MAX, DOMAINS_MAX));
        assert!(window.distinct.len() <= WINDOW_MAX);
        let mut memory = Memory::default();
        for number in 0..INSTANCES_MAX + 2 {
            memory.of(&number.to_string().into());
        }
        assert_eq!((memory.instances.len(), memory.forgotten()), (INSTANCES_MAX, 2));
    }
}
