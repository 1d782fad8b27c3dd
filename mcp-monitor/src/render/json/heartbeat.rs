//! The part of an event's line that only a sign of life has.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// That the monitor lives, and how far its store is.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Heartbeat {
    /// Counts those of a sink; a gap shows what did not arrive.
    pub number: u64,
    /// Seconds until the next.
    pub interval_s: u64,
    /// Seconds since the monitor's start.
    pub uptime_s: u64,
    /// Records lost since the start, of every cause.
    pub lost: u64,
    /// The newest row of the store.
    pub last_event: u64,
    /// The newest change of a finding.
    pub last_finding_change: u64,
    /// The signed end of the store's chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Checkpoint>,
}

/// The signed end of the store's chain, as `mcp-monitor verify --against` takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Checkpoint {
    /// `mcp-monitor/checkpoint/v1`.
    pub schema: String,
    /// The store, hexadecimal.
    pub store: String,
    /// Which chain: `events`.
    pub chain: String,
    /// The row.
    pub row: u64,
    /// Its link, hexadecimal.
    pub hash: String,
    /// When it was signed.
    pub time: String,
    /// ed25519, hexadecimal.
    pub signature: String,
}
