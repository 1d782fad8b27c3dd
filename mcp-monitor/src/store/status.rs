//! What the store says of itself.

use jiff::Timestamp;
use serde::Serialize;

/// What the store says of itself, for `status` and metrics.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Where it is.
    pub directory: String,
    /// Whether it records.
    pub recording: Recording,
    /// Bytes on the disk, findings included.
    pub bytes: u64,
    /// The files of events, oldest first.
    pub days: Vec<Day>,
    /// The newest row.
    pub last_row: u64,
    /// Events that wait to be written.
    pub queue_events: usize,
    /// Bytes that they take, about.
    pub queue_bytes: usize,
    /// Events written since the start, repeats included.
    pub written: u64,
    /// Events that were put together with others since the start.
    pub rolled_up: u64,
    /// Events that did not fit into the queue since the start.
    pub overflow: u64,
    /// Events that were lost since the disk was full or failed, since the start.
    pub unwritten: u64,
    /// When the chain was last signed.
    pub last_checkpoint: Option<Timestamp>,
    /// The public key, hexadecimal.
    pub public_key: String,
}

/// Whether the store records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Recording {
    /// It does.
    On,
    /// Nobody writes: only read.
    Off,
    /// It does not and tries again, for this reason.
    Stopped {
        /// In words.
        reason: String,
        /// Since when.
        since: Timestamp,
    },
}

/// One file of events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Day {
    /// Its name, e.g. `events-2026-11-20.db`.
    pub file: String,
    /// Its bytes, log included.
    pub bytes: u64,
}
