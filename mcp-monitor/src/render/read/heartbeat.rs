//! A sign of life, read back.

use super::Text;
use serde::Deserialize;

/// That the monitor lived, and how far its store was.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Heartbeat {
    /// Counts those of a sink.
    #[serde(default)]
    pub number: u64,
    /// Seconds until the next.
    #[serde(default)]
    pub interval_s: u64,
    /// Seconds since the monitor's start.
    #[serde(default)]
    pub uptime_s: u64,
    /// Records lost since the start.
    #[serde(default)]
    pub lost: u64,
    /// The signed end of the store's chain.
    pub checkpoint: Option<Checkpoint>,
}

/// The signed end of a chain.
#[derive(Clone, Debug, Deserialize)]
pub struct Checkpoint {
    /// The store.
    pub store: Text,
    /// The row.
    pub row: u64,
    /// Its link.
    pub hash: Text,
    /// When it was signed.
    pub time: Text,
    /// The signature.
    pub signature: Text,
}

impl Heartbeat {
    /// Everything by name, for formats that know pairs alone. Names are words of one case.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = vec![
            ("heartbeatNumber", self.number.to_string()),
            ("heartbeatInterval", self.interval_s.to_string()),
            ("heartbeatUptime", self.uptime_s.to_string()),
            ("heartbeatLost", self.lost.to_string()),
        ];
        if let Some(checkpoint) = &self.checkpoint {
            pairs.extend([
                ("checkpointStore", checkpoint.store.to_string()),
                ("checkpointRow", checkpoint.row.to_string()),
                ("checkpointHash", checkpoint.hash.to_string()),
                ("checkpointTime", checkpoint.time.to_string()),
                ("checkpointSignature", checkpoint.signature.to_string()),
            ]);
        }
        pairs
    }
}
