//! What a receiver will never take, with its answer, for its owner alone.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde_json::json;

use super::StateError;

/// A file of dead letters is set aside when it is larger; one older file is kept.
const BYTES_MAX: u64 = 16 << 20;

/// The dead-letter file of a sink.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    path: PathBuf,
}

impl DeadLetters {
    /// Those at `path`; nothing is made before the first.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Adds `line` with what the receiver said of it.
    pub fn add(&self, sink: &str, delivery_id: &str, line: &str, answer: &str) -> Result<(), StateError> {
        let add = || {
            let directory = self.path.parent().unwrap_or(Path::new("."));
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            if fs::metadata(&self.path).is_ok_and(|there| there.len() > BYTES_MAX) {
                fs::rename(&self.path, self.path.with_extension("jsonl.1"))?;
            }
            let letter = json!({
                "schema": "mcp-monitor/dead-letter/v1",
                "time": Timestamp::now().to_string(),
                "sink": sink,
                "delivery_id": delivery_id,
                "answer": answer,
                "line": line,
            });
            let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
            file.write_all(format!("{letter}\n").as_bytes())?;
            file.sync_data()
        };
        add().map_err(|error| StateError::new("write", &self.path, error))
    }
}
