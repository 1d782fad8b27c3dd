//! Where the store is and how much it keeps.

use std::{path::PathBuf, time::Duration};

/// The store of the daemon.
pub const DEFAULT_DIRECTORY: &str = "/var/lib/mcp-monitor";

/// Where the store is and how much it keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The directory.
    pub directory: PathBuf,
    /// Days of events that are kept, today included.
    pub days: u16,
    /// Bytes of events that are kept; the oldest files go first, the one being written never.
    pub bytes: u64,
    /// Days that findings and acts are kept.
    pub finding_days: u16,
    /// Events are recorded only while the file system has this many free bytes, so that findings still fit.
    pub reserve_bytes: u64,
    /// Home paths and user names are replaced by keyed hashes before anything is stored.
    pub pseudonyms: bool,
    /// Expected repeats within a minute become one row.
    pub roll_up: bool,
    /// Rows are on the disk this long after they came, at most.
    pub flush_every: Duration,
}

impl Settings {
    /// The defaults, in `directory`.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            days: 14,
            bytes: 4 << 30,
            finding_days: 400,
            reserve_bytes: 64 << 20,
            pseudonyms: false,
            roll_up: true,
            flush_every: Duration::from_millis(500),
        }
    }
}
