//! The end of a stream, read back.

use super::Text;
use jiff::Timestamp;
use serde::Deserialize;

/// What could not be seen.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Coverage {
    /// Of which workload; empty inside an event.
    #[serde(default)]
    pub workload: Text,
    /// A cause of loss, `weaker-mechanism` …
    #[serde(default)]
    pub cause: Text,
    /// In words.
    #[serde(default)]
    pub what: Text,
    /// How many records, when counted.
    #[serde(default)]
    pub count: u64,
}

/// Records that did not come through.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Loss {
    /// Why.
    #[serde(default)]
    pub cause: Text,
    /// Whose; of the whole host when absent.
    pub workload: Option<Text>,
    /// How many.
    #[serde(default)]
    pub count: u64,
}

/// How many events of a kind got a verdict.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct EventCount {
    /// Kind.
    #[serde(default)]
    pub kind: Text,
    /// Verdict.
    #[serde(default)]
    pub verdict: Text,
    /// How many.
    #[serde(default)]
    pub count: u64,
}

/// What was counted while a stream ran.
#[derive(Clone, Debug, Deserialize)]
pub struct Summary {
    /// End.
    pub time: Timestamp,
    /// Begin.
    pub started: Timestamp,
    /// Occurrences of everything.
    #[serde(default)]
    pub total_events: u64,
    /// Lost records of every cause.
    #[serde(default)]
    pub total_lost: u64,
    /// By kind and verdict.
    #[serde(default)]
    pub events: Vec<EventCount>,
    /// Losses.
    #[serde(default)]
    pub losses: Vec<Loss>,
    /// What could not be seen.
    #[serde(default)]
    pub coverage: Vec<Coverage>,
    /// Why it ended.
    #[serde(default)]
    pub end: Text,
}
