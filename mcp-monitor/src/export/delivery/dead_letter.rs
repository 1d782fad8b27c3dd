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

/// What was not taken, and why.
#[derive(Clone, Copy, Debug)]
pub struct Letter<'a> {
    /// The sink's name.
    pub sink: &'a str,
    /// The record's id; empty when it is not known which record it was.
    pub delivery_id: &'a str,
    /// The record; empty when it is not known which it was.
    pub line: &'a str,
    /// Ids of the batch it was among, when it is not known which it was.
    pub among: &'a str,
    /// What the receiver said.
    pub answer: &'a str,
}

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

    /// Adds `letter`, on the disk when it returns.
    pub fn add(&self, letter: &Letter<'_>) -> Result<(), StateError> {
        let add = || {
            let directory = self.path.parent().unwrap_or(Path::new("."));
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            if fs::metadata(&self.path).is_ok_and(|there| there.len() > BYTES_MAX) {
                fs::rename(&self.path, self.path.with_extension("jsonl.1"))?;
            }
            let mut letter = json!({
                "schema": "mcp-monitor/dead-letter/v1",
                "time": Timestamp::now().to_string(),
                "sink": letter.sink,
                "delivery_id": letter.delivery_id,
                "answer": letter.answer,
                "line": letter.line,
                "among": letter.among,
            });
            if let Some(fields) = letter.as_object_mut() {
                fields.retain(|key, value| key != "among" || *value != "");
            }
            let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
            file.write_all(format!("{letter}\n").as_bytes())?;
            file.sync_data()
        };
        add().map_err(|error| StateError::new("write", &self.path, error))
    }
}
