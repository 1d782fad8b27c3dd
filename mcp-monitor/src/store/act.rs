//! What operators do: recorded in the journal with who did it, and chained like everything else.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Who did it, as the kernel tells (`SO_PEERCRED`) and never as they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// User id.
    pub uid: u32,
    /// Process id, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
}

impl Actor {
    /// The monitor itself.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self { uid: nix::unistd::geteuid().as_raw(), pid: Some(std::process::id()) }
    }
}

/// What an operator did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "kebab-case")]
pub enum Act {
    /// Somebody looks after a finding.
    Acknowledge {
        /// Its id.
        finding: String,
        /// In the operator's words.
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// A finding, and later ones of the same rule, workload and target, is not to be told. Not for `coverage-loss`
    /// and `monitor-tamper`.
    Suppress {
        /// Its id.
        finding: String,
        /// Why; must not be empty.
        reason: String,
        /// Until when; at most a year ahead.
        until: Timestamp,
    },
    /// Findings of one rule and one workload, those that are there and those that come, are not to be told.
    SuppressScope {
        /// Id of the rule.
        rule: String,
        /// Id or name of the workload.
        workload: String,
        /// Why; must not be empty.
        reason: String,
        /// Until when; at most a year ahead.
        until: Timestamp,
    },
    /// Ends a suppression of one rule and one workload.
    UnsuppressScope {
        /// Id of the rule.
        rule: String,
        /// Id or name of the workload, as it was given.
        workload: String,
        /// In the operator's words.
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// A finding is dealt with.
    Close {
        /// Its id.
        finding: String,
        /// In the operator's words.
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// A finding is open again; ends its suppression.
    Reopen {
        /// Its id.
        finding: String,
        /// In the operator's words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// A proposal became an expectation.
    Promote {
        /// Whose.
        workload: String,
        /// What: the file, its digest.
        what: String,
    },
    /// The configuration or an expectation was changed.
    Configuration {
        /// What: the file, its digest.
        what: String,
    },
    /// A lineage was frozen.
    Pause {
        /// Whose.
        workload: String,
        /// Which instance.
        instance: String,
        /// Why.
        reason: String,
    },
    /// A lineage was let go on.
    Resume {
        /// Whose.
        workload: String,
        /// Which instance.
        instance: String,
        /// Why.
        reason: String,
    },
    /// Somebody read what is stored.
    Query {
        /// What was asked.
        what: String,
        /// How often, where the same was asked again and again: the first time is an entry at once, the others one
        /// entry together.
        #[serde(default = "once", skip_serializing_if = "is_once")]
        times: u64,
    },
}

fn once() -> u64 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_once(times: &u64) -> bool {
    *times == 1
}

impl Act {
    /// True when it changes where findings stand.
    #[must_use]
    pub fn concerns_findings(&self) -> bool {
        match self {
            Self::Acknowledge { .. }
            | Self::Suppress { .. }
            | Self::SuppressScope { .. }
            | Self::UnsuppressScope { .. }
            | Self::Close { .. }
            | Self::Reopen { .. } => true,
            Self::Promote { .. }
            | Self::Configuration { .. }
            | Self::Pause { .. }
            | Self::Resume { .. }
            | Self::Query { .. } => false,
        }
    }
}

/// An act that is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ActReceipt {
    /// Its number in the journal.
    pub entry: u64,
    /// When.
    pub time: Timestamp,
}
