//! What a person is told.

use super::{Action, BootNs, Decision, Outcome, Process, Rule, Severity, Workload};
use std::sync::Arc;

/// Where a finding stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FindingState {
    /// Nobody has dealt with it.
    #[default]
    Open,
    /// Somebody looks after it.
    Acknowledged,
    /// Not to be told, for a reason and a time.
    Suppressed,
    /// It was dealt with.
    Closed,
}

impl FindingState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Open, Self::Acknowledged, Self::Suppressed, Self::Closed];

    /// The word in the JSON contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
            Self::Suppressed => "suppressed",
            Self::Closed => "closed",
        }
    }
}

/// What a person is told: events of one kind under one rule, deduplicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Sortable, unique: time-ordered UUID.
    pub id: String,
    /// Which rule.
    pub rule: Rule,
    /// How bad.
    pub severity: Severity,
    /// Where it stands.
    pub state: FindingState,
    /// The first event.
    pub first_seen: BootNs,
    /// The latest event.
    pub last_seen: BootNs,
    /// How many times.
    pub count: u64,
    /// For whom.
    pub workload: Arc<Workload>,
    /// Who did it first.
    pub process: Arc<Process>,
    /// The first event's object.
    pub action: Action,
    /// What came of the first event.
    pub outcome: Outcome,
    /// Why it is a finding.
    pub decision: Decision,
    /// ATT&CK technique, e.g. `T1552.004`.
    pub technique: String,
    /// ATT&CK tactic, e.g. `credential-access`.
    pub tactic: String,
    /// One line.
    pub title: String,
    /// What happened, in words.
    pub message: String,
    /// What to do.
    pub advice: String,
    /// Ids of the first events.
    pub events: Vec<String>,
}
