//! How each sink is, for status and metrics. Written by the sinks' threads, read by whoever asks.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;

use super::State;

/// How a sink is.
#[derive(Clone, Debug, Default)]
pub struct SinkStatus {
    /// The kind of its receiver.
    pub kind: &'static str,
    /// What it remembers.
    pub state: State,
    /// Changes of findings that wait.
    pub waiting_findings: u64,
    /// Events that wait; 0 where it sends none.
    pub waiting_events: u64,
    /// When the oldest record that waits was made.
    pub oldest: Option<Timestamp>,
}

/// Every sink by its name. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<BTreeMap<String, SinkStatus>>>);

impl Board {
    /// Every sink as it was last told.
    #[must_use]
    pub fn read(&self) -> Vec<(String, SinkStatus)> {
        let sinks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sinks.iter().map(|(name, status)| (name.clone(), status.clone())).collect()
    }

    pub(super) fn tell(&self, name: &str, status: SinkStatus) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), status);
    }
}
