//! What a sink remembers: how far it is, and its counters. Replaced as a whole, so that a crash leaves the old or the new.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a sink remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The latest change of a finding that is done with; `None` before the first start.
    pub findings: Option<u64>,
    /// The latest event that is done with.
    pub events: Option<u64>,
    /// The latest change of a finding that a digest told of.
    #[serde(default)]
    pub digested: u64,
    /// When the latest digest was due.
    #[serde(default)]
    pub digest_time: Option<Timestamp>,
    /// Records that the receiver took.
    #[serde(default)]
    pub sent: u64,
    /// Attempts that were repeated.
    #[serde(default)]
    pub retried: u64,
    /// Records in the dead-letter file.
    #[serde(default)]
    pub rejected: u64,
    /// Events beyond the rate.
    #[serde(default)]
    pub dropped_rate: u64,
    /// Events that were removed from the source before they were delivered.
    #[serde(default)]
    pub dropped_age: u64,
    /// Findings that await a digest since they are not bad enough.
    #[serde(default)]
    pub below: u64,
    /// Signs of life that were tried.
    #[serde(default)]
    pub heartbeats: u64,
    /// When the receiver last took something.
    #[serde(default)]
    pub last_success: Option<Timestamp>,
    /// Since when it fails; `None` while it works.
    #[serde(default)]
    pub failing_since: Option<Timestamp>,
    /// Its latest answer that was no success.
    #[serde(default)]
    pub last_error: Option<String>,
}

/// What is remembered cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot {what}: {source}", path.display())]
pub struct StateError {
    what: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl StateError {
    pub(super) fn new(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self { what, path: path.to_owned(), source }
    }
}

impl State {
    /// Reads what was written; the beginning when nothing was.
    pub fn read(path: &Path) -> Result<Self, StateError> {
        match fs::read(path) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|error| StateError::new("understand it", path, error.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(StateError::new("read", path, error)),
        }
    }

    /// Replaces what was written, on the disk when it returns.
    pub fn write(&self, path: &Path) -> Result<(), StateError> {
        let write = || {
            let directory = path.parent().unwrap_or(Path::new("."));
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            let new = path.with_extension("new");
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.sync_data()?;
            fs::rename(&new, path)?;
            File::open(directory)?.sync_all()
        };
        write().map_err(|error| StateError::new("write", path, error))
    }
}
