//! What an attack reports of itself: the ground truth that the monitor's events and findings are compared with.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Write},
    os::unix::fs::MetadataExt,
    path::Path,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::identity::Identity;

/// The exit status of a case that this host does not allow to run (the reason is in its report).
pub const NOT_RUN: i32 = 77;

/// One act of one process that really succeeded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Act {
    /// The process that acted, as `/proc` names it.
    pub process: Identity,
    /// The kind of event that must tell of it; none where the table of evasions says what must.
    #[serde(default)]
    pub kind: Option<String>,
    /// What the event or finding must say, by dotted path: `file.inode`, `network.address` …
    pub fields: BTreeMap<String, Value>,
}

impl Act {
    /// An act of this process.
    pub fn mine() -> Result<Self> {
        Ok(Self { process: Identity::mine()?, kind: None, fields: BTreeMap::new() })
    }

    /// An act of another process, while that one lives.
    pub fn of(pid: i32) -> Result<Self> {
        Ok(Self { process: Identity::of(pid)?, kind: None, fields: BTreeMap::new() })
    }

    /// Requires an event of this kind.
    #[must_use]
    pub fn kind(mut self, kind: &str) -> Self {
        self.kind = Some(kind.to_owned());
        self
    }

    /// Requires no more than an event of this kind by the process.
    #[must_use]
    pub fn only(self, kind: &str) -> Self {
        Self { fields: BTreeMap::new(), ..self.kind(kind) }
    }

    /// Requires a field to have a value.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(field.to_owned(), value.into());
        self
    }

    /// Requires the event to be about this very file, whatever name it was reached by.
    #[must_use]
    pub fn about(self, file: &std::fs::Metadata) -> Self {
        let device = format!("{}:{}", libc::major(file.dev()), libc::minor(file.dev()));
        self.with("file.device", device).with("file.inode", file.ino())
    }

    /// Requires the event to be about the file that is now at `path`.
    pub fn about_path(self, path: &Path) -> Result<Self> {
        let metadata = std::fs::symlink_metadata(path).with_context(|| format!("stat {}", path.display()))?;
        Ok(self.about(&metadata))
    }

    /// Requires the event to name this destination.
    #[must_use]
    pub fn towards(self, transport: &str, address: &str, port: u16) -> Self {
        let act = self.with("network.transport", transport).with("network.address", address);
        if port == 0 { act } else { act.with("network.port", port) }
    }
}

/// How one case of a script ended, one line of the script's log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ended {
    /// The case's name.
    pub case: String,
    /// Whether it was the harmless twin.
    pub benign: bool,
    /// `CLOCK_BOOTTIME` in ns just before the case's process was made: everything that started between this and the
    /// next case's belongs to it.
    pub begin: u64,
    /// The same clock after its last process was gone.
    pub end: u64,
    /// The exit status; 77 is "not run", 124 a missed deadline, 128 + n a signal.
    pub status: i32,
    /// Why it failed or was not run.
    pub reason: String,
    /// What it did.
    pub acts: Vec<Act>,
}

/// Appends one value as one line of JSON.
pub fn append_line<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut file = File::options().create(true).append(true).open(path)?;
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    file.write_all(&line).with_context(|| format!("write {}", path.display()))
}

/// Reads a file of JSON lines; a file that does not exist has none.
pub fn read_lines<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Vec<T>> {
    let Ok(file) = File::open(path) else { return Ok(Vec::new()) };
    BufReader::new(file)
        .lines()
        .map(|line| Ok(serde_json::from_str(&line?)?))
        .collect::<Result<_>>()
        .with_context(|| format!("read {}", path.display()))
}
