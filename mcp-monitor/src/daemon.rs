//! The wiring: the only place that knows every stage from the kernel to the reader.

use crate::{
    render::{Stream, StreamError, Summary},
    sensor::SensorError,
};
use mcp_monitor_common::mechanism::Tier;
use std::path::PathBuf;
use tokio::sync::watch;

/// What to watch and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Only this tier; `None` for the strongest that works.
    pub tier: Option<Tier>,
    /// Repeated opens may be counted instead of sent.
    pub relief: bool,
    /// Bytes of the ring buffer.
    pub ring_bytes: u32,
    /// What the command line declares.
    pub declared: Declared,
    /// Where lineages start.
    pub roots: Roots,
}

/// Expectations of the command line, as given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// `--allow-egress`: `HOST[:PORT]`, `ADDRESS[/PREFIX][:PORT]`.
    pub egress: Vec<String>,
    /// `--allow-read`: globs.
    pub read: Vec<String>,
    /// `--secret`: a path, or an entry of the catalogue.
    pub secrets: Vec<String>,
}

/// Where lineages start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roots {
    /// The command that `watch` holds until it is labelled, with its arguments.
    pub command: Option<(u32, Vec<std::ffi::OsString>)>,
    /// Running processes, with their descendants.
    pub pids: Vec<u32>,
    /// cgroups, with all that runs in them.
    pub cgroups: Vec<PathBuf>,
}

/// How far the watch is. What ends it is the reason that the summary shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Go on.
    #[default]
    Running,
    /// The command has ended: go on until its lineage has, too.
    CommandEnded(String),
    /// End now.
    Stop(String),
}

/// What a watch came to.
#[derive(Debug)]
pub struct Report {
    /// Counted.
    pub summary: Summary,
    /// Why the stream ended before the watch, if it did.
    pub stream_error: Option<StreamError>,
}

/// Why there is no watch. Every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// An option's value is wrong.
    #[error("{0}")]
    Usage(String),
    /// Root or a capability is missing.
    #[error("{0}")]
    NotPermitted(String),
    /// This kernel cannot.
    #[error("{0}")]
    Unsupported(String),
    /// Another monitor runs.
    #[error("{0}")]
    AlreadyRunning(String),
    /// The sensor did not start or failed.
    #[error(transparent)]
    Sensor(#[from] SensorError),
    /// Anything else.
    #[error("{0}")]
    Other(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Watches until `phase` says so. `ready` is called once everything is attached and labelled; it is dropped
/// uncalled when that fails.
#[allow(clippy::unused_async, reason = "the stages that are waited for come with the sensor")]
pub async fn run(
    settings: Settings,
    stream: &mut Stream,
    ready: impl FnOnce(),
    phase: watch::Receiver<Phase>,
) -> Result<Report, DaemonError> {
    let _ = (settings, stream, phase);
    drop(ready);
    Err(DaemonError::Other("the stages are not wired yet".into()))
}
